//! `backup show`.

use serde_json::json;

use super::progress::Ear;
use super::{Place, chosen, failed};
use crate::failure::Result;
use crate::output::{Output, Tone, bytes};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which: its id or the beginning of it [default: the newest]
    id: Option<String>,
}

pub(crate) async fn run(place: &Place, arguments: &Args, output: Output) -> Result {
    let repository = place.open().await?;
    let catalogue = place.catalogue(&repository).await?;
    let id = chosen(&catalogue, arguments.id.as_deref(), &Ear::new(output))?;
    let chain = catalogue.chain(id).map_err(failed)?;
    let backup = chain.last().expect("a chain has one link at least");
    let links: Vec<_> = chain.iter().map(|link| link.id).collect();
    if output.json {
        let caps = repository.capabilities();
        return output
            .value(&json!({ "backup": backup, "chain": links, "repository": repository.id(), "capabilities": caps }));
    }
    let row = |label: &str, text: String| {
        output.line(format_args!("{}{text}", output.paint(Tone::Dim, format_args!("{label:<11}"))))
    };
    row("backup", format!("{}, {}", output.paint(Tone::Bold, backup.id), backup.kind))?;
    row("node", format!("{}, store {}, timeline {}", backup.node, backup.store, backup.timeline))?;
    if let Some(mesh) = &backup.mesh {
        row("mesh", mesh.clone())?;
    }
    row(
        "continues",
        if links.len() > 1 {
            links[..links.len() - 1].iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        } else {
            "nothing: it stands alone".into()
        },
    )?;
    for (name, run) in [("records", &backup.main), ("events", &backup.events)] {
        let held = match run.count() {
            0 => "nothing new".to_owned(),
            count => format!("{} to {} ({count})", run.first, run.last),
        };
        let restores = match run.last < run.oldest {
            true => "none".to_owned(),
            false => format!("{} to {}", run.oldest, run.last),
        };
        row(name, format!("{held}; restores {restores}"))?;
    }
    row("as of", backup.main.stamp.wall.to_string())?;
    row("made", format!("{} to {} by version {}", backup.started, backup.finished, backup.tool))?;
    let encrypted = if backup.key.is_some() { ", encrypted" } else { "" };
    row(
        "stored",
        format!(
            "{} as {}, {} objects, {}{encrypted}",
            bytes(backup.statistics.plain_bytes),
            bytes(backup.statistics.stored_bytes),
            backup.objects.len(),
            backup.codec
        ),
    )
}

//! `restore --repo`: a data directory made from a backup.

use std::path::Path;

use clap::Args;
use oxigdal_ha::backup::{self, Catalogue, ChainName, Done, Error, Found, LeftOut, Repository};
use oxigdal_ha::recovery::target::{Stamp, Target};
use serde_json::json;

use super::progress::Ear;
use super::{Place, chosen, failed, warn};
use crate::failure::Result;
use crate::output::{Output, Tone, bytes, millis};
use crate::recoveries::Stopwatch;

/// Where in a repository it is looked.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Repository")]
pub(crate) struct Search {
    /// Look only in this backup and what it continues; the beginning of its id will do
    #[arg(long, value_name = "ID", requires = "repo")]
    backup: Option<String>,
    /// Look in all backups that are whole, though others are damaged; what is damaged is told
    #[arg(long, requires = "repo", conflicts_with = "backup")]
    accept_damage: bool,
}

impl Search {
    /// In all backups that are whole, and in what is whole of others.
    pub(crate) const fn around_damage() -> Self {
        Self { backup: None, accept_damage: true }
    }

    /// Finds the moment and does something with it. If damage was accepted, and some is met on the way, it is told, and looked for
    /// again around it.
    pub(crate) async fn find_for<T>(
        &self,
        repository: &Repository,
        catalogue: &mut Catalogue,
        (target, exclusive): (&Target, bool),
        ear: &Ear,
        mut work: impl AsyncFnMut(&Catalogue, &Found) -> std::result::Result<T, Error>,
    ) -> Result<(Found, T, Vec<Error>)> {
        let named = self.backup.as_deref().map(|id| chosen(catalogue, Some(id), ear)).transpose()?;
        let mut damage = if self.accept_damage { catalogue.accept_damage() } else { Vec::new() };
        warn(&damage);
        loop {
            let found = match named {
                Some(id) => backup::find_in(repository, catalogue, id, target, exclusive, ear).await,
                None => backup::find(repository, catalogue, target, exclusive, ear).await,
            };
            let done = match found {
                Ok(found) => work(catalogue, &found).await.map(|done| (found, done)),
                Err(error) => Err(error),
            };
            match done {
                Ok((found, done)) => return Ok((found, done, damage)),
                Err(error) if catalogue.goes_around(&error) => {
                    warn(std::slice::from_ref(&error));
                    damage.push(error);
                }
                Err(error) => return Err(failed(error)),
            }
        }
    }
}

/// What is not restored since it is damaged.
pub(crate) fn left_out(found: &Found) -> Vec<String> {
    let say = |LeftOut { chain, first, last }: &LeftOut| match chain {
        ChainName::Main => format!("records {first} to {last} of the log, which were in the newest backup"),
        ChainName::Events => format!("events {first} to {last}"),
    };
    found.left_out.iter().map(say).collect()
}

/// Restores the moment into the directory; without one it is only looked for.
pub(crate) async fn run(
    place: &Place,
    search: &Search,
    target: &Target,
    exclusive: bool,
    into: Option<&Path>,
    output: Output,
) -> Result {
    let mut watch = Stopwatch::start("restore", target);
    let repository = place.open().await?;
    let mut catalogue = place.catalogue(&repository).await?;
    let ear = Ear::new(output);
    let why = format!("{target}{}", if exclusive { ", exclusive" } else { "" });
    let work = async |catalogue: &Catalogue, found: &Found| {
        watch.lap("find");
        let Some(into) = into else {
            return Ok((Some(backup::beyond(&repository, catalogue, found, &ear).await?), None));
        };
        let done = backup::restore_into(&repository, catalogue, found, why.clone(), into, &ear).await?;
        watch.lap("fetch and write");
        Ok((None, Some(done)))
    };
    let found = search.find_for(&repository, &mut catalogue, (target, exclusive), &ear, work).await;
    ear.done();
    let (found, (beyond, done), damage) = found?;
    if let (Some(into), Some(done)) = (into, &done) {
        let newest = catalogue.backups().map(|backup| backup.main.stamp.wall).max().unwrap_or(found.at.wall);
        watch.from(format!("{}, backup {}", repository.at(), found.backup));
        watch.wrote(done.written.records, done.written.bytes);
        watch.lost(Some(newest.as_millis().saturating_sub(found.at.wall.as_millis())));
        watch.keep(into, None);
    }
    if output.json {
        return output.value(&json!({
            "from": repository.at(), "node": catalogue.node, "target": target.to_string(), "exclusive": exclusive,
            "found": found, "beyond": beyond, "into": into, "done": done, "ms": ear.elapsed_ms(),
            "damage": damage.iter().map(Error::to_string).collect::<Vec<_>>(),
        }));
    }
    let row = |label: &str, text: String| {
        output.line(format_args!("{}{text}", output.paint(Tone::Dim, format_args!("{label:<9}"))))
    };
    let Found { backup, links, upto, at, older_history, .. } = &found;
    let (links, at) = (*links, *at);
    let links = if links > 1 { format!(", with {} that it continues", links - 1) } else { String::new() };
    row("from", format!("{}, backup {backup}{links}, node {}", repository.at(), catalogue.node))?;
    row("to", format!("lsn:{} of {}, events up to {}", upto.main, Stamp(at.wall), upto.events))?;
    if *older_history {
        row("", "this is not of the newest history: the log was replaced or put back since".into())?;
    }
    for what in left_out(&found) {
        row("left out", what)?;
    }
    if let Some(beyond) = beyond {
        row("beyond", crate::restore::beyond_of(&beyond, at.wall))?;
    }
    let into = match (done, into) {
        (Some(done), Some(into)) => written(&done, into, &ear),
        _ => "nothing: a dry run".into(),
    };
    row("into", into)
}

fn written(Done { read, written }: &Done, into: &Path, ear: &Ear) -> String {
    format!(
        "{}: {} records, {} in {} segments, out of {} in {} objects; took {}",
        into.display(),
        written.records,
        bytes(written.bytes),
        written.segments,
        bytes(read.stored_bytes),
        read.objects,
        millis(ear.elapsed_ms())
    )
}

//! `quarantine`: entries that this peer refused, and having them judged again.

use clap::Subcommand;
use oxigdal_ha::types::NodeId;
use serde_json::{Value, json};

use crate::args::Target;
use crate::client::Client;
use crate::failure::Result;
use crate::output::{Output, Tone, cell};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show whose entries were refused, where they stand and why
    #[command(name = "ls", visible_alias = "list")]
    List,
    /// Judge refused entries again, as after an update of this peer
    Release {
        /// The node whose logs brought them; all if none is given
        origin: Option<NodeId>,
    },
}

pub(crate) fn quarantine(arguments: Args, output: Output) -> Result {
    let client = Client::new(&arguments.target)?;
    match arguments.command {
        Command::List => list(&client, output),
        Command::Release { origin } => {
            let answer: Value = client.send("POST", "/v1/quarantine/release", &[], &json!({ "origin": origin }))?;
            if output.json {
                return output.value(&answer);
            }
            output.line(format_args!("{} entries are judged again", answer["released"]))
        }
    }
}

fn list(client: &Client, output: Output) -> Result {
    let answer: Value = client.get("/v1/quarantine", &[])?;
    if output.json {
        return output.value(&answer);
    }
    let rows = |key: &str| answer[key].as_array().cloned().unwrap_or_default();
    let (origins, entries) = (rows("origins"), rows("entries"));
    if origins.is_empty() {
        return output.line("nothing is quarantined");
    }
    let mut table = output.table(&["ORIGIN", "REFUSED", "WAITING", "LOGS"]);
    for origin in &origins {
        let number = |key: &str| cell(Tone::Dim, origin[key].to_string());
        let node = cell(Tone::Bold, origin["node"].as_str().unwrap_or_default());
        table.add_row([node, number("refused"), number("waiting"), number("logs")]);
    }
    output.rows(&table)?;
    if entries.is_empty() {
        return Ok(());
    }
    let mut table = output.table(&["NODE", "MINT", "SEQ", "DOCUMENT", "WHY"]);
    for entry in &entries {
        let text = |pointer: &str| match entry.pointer(pointer) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => "-".to_owned(),
            Some(other) => other.to_string(),
        };
        table.add_row([
            cell(Tone::Name, text("/log/actor/node")),
            cell(Tone::Dim, text("/log/actor/mint")),
            cell(Tone::Dim, text("/seq")),
            cell(Tone::Bold, text("/doc")),
            cell(Tone::Bad, text("/why")),
        ]);
    }
    output.rows(&table)
}

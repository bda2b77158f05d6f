//! `snapshot`: what a peer's log says so far, in a file beside it, so that its next start is quick.

use std::path::PathBuf;

use clap::{Subcommand, ValueHint};
use oxigdal_ha::recovery::target::Stamp;
use oxigdal_ha::recovery::{Source, snapshot};
use oxigdal_ha::types::WallTime;
use serde_json::Value;

use crate::args::Target;
use crate::client::Client;
use crate::failure::{Failure, Result};
use crate::output::{Output, Tone, bytes, cell, number};

const AFTER: &str = "\
Peers take snapshots by themselves: see `[snapshots]` in `config init`. A start reads the newest good one and the log behind it; the log \
alone says all of it, so a snapshot that is damaged or removed costs time and nothing else. No backup needs them.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Have a running peer take one now, and wait until it is durable
    Create,
    /// Show which there are
    List {
        /// Look at the files of this data directory, whether a peer runs on them or not, and at every byte of them
        #[arg(long = "data-dir", alias = "data", value_name = "DIR", value_hint = ValueHint::DirPath)]
        data: Option<PathBuf>,
    },
}

pub(crate) fn run(arguments: &Args, output: Output) -> Result {
    match &arguments.command {
        Command::Create => create(&Client::new(&arguments.target)?, output),
        Command::List { data: None } => {
            let all: Vec<Value> = Client::new(&arguments.target)?.get("/v1/snapshots", &[])?;
            list(&all, output)
        }
        Command::List { data: Some(dir) } => {
            let found = Source::open(dir).and_then(|source| snapshot::beside(&source)).map_err(Failure::new)?;
            let all: Vec<Value> = found.iter().map(|file| serde_json::to_value(file).expect("it is JSON")).collect();
            list(&all, output)
        }
    }
}

fn create(client: &Client, output: Output) -> Result {
    let made: Value = client.send("POST", "/v1/snapshots", &[], &Value::Null)?;
    if output.json {
        return output.value(&made);
    }
    let good = &made["state"]["good"];
    let size = bytes(good["bytes"].as_u64().unwrap_or_default());
    output.line(format_args!(
        "snapshot {} is durable: up to lsn:{}, {} documents, {} entries, {size}",
        made["id"], good["lsn"], good["documents"], good["entries"]
    ))
}

fn list(all: &[Value], output: Output) -> Result {
    if output.json {
        return output.value(&all);
    }
    if all.is_empty() {
        return output.line("there is no snapshot");
    }
    let mut table = output.table(&["SNAPSHOT", "LSN", "TAKEN", "BYTES", "STATE"]);
    for one in all {
        let good = &one["state"]["good"];
        let known = |value: &Value, shown: &dyn Fn(u64) -> String| value.as_u64().map_or_else(|| "-".to_owned(), shown);
        let state = match one["state"]["refused"].as_str() {
            Some(why) => cell(Tone::Bad, format!("not taken: {why}")),
            None if good.is_object() => cell(Tone::Good, "good"),
            None => cell(Tone::Dim, "not looked at: a newer one was good"),
        };
        table.add_row([
            number(&one["id"]),
            number(known(&good["lsn"], &|lsn| lsn.to_string())),
            cell(Tone::Dim, known(&good["taken"], &|at| Stamp(WallTime::from_micros(at)).to_string())),
            number(known(&good["bytes"], &|size| bytes(size).to_string())),
            state,
        ]);
    }
    output.rows(&table)
}

//! `restore-point`: a name in a running peer's log, to come back to this moment by it.

use oxigdal_ha::recovery::target::Stamp;
use oxigdal_ha::types::WallTime;
use serde_json::Value;

use crate::args::Target;
use crate::client::{Client, doc_path};
use crate::failure::Result;
use crate::output::{Output, Tone, cell, number};

const AFTER: &str = "\
The name is durable in the log of this peer when the command returns: `restore --at point:NAME` goes back to it, and so does
`revert`. Other peers have other logs, and points of their own.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    /// 1 to 64 letters, digits, `.`, `_` or `-`; none lists those that there are
    name: Option<String>,
    #[command(flatten)]
    target: Target,
}

pub(crate) fn run(arguments: &Args, output: Output) -> Result {
    let client = Client::new(&arguments.target)?;
    let Some(name) = &arguments.name else { return list(&client, output) };
    let made: Value = client.send("POST", &doc_path("/v1/restore-points", name), &[], &Value::Null)?;
    if output.json {
        return output.value(&made);
    }
    output.line(format_args!("restore point {name} is durable: lsn:{}, {}", made["lsn"], stamp(&made)))
}

fn list(client: &Client, output: Output) -> Result {
    let points: Vec<Value> = client.get("/v1/restore-points", &[])?;
    if output.json {
        return output.value(&points);
    }
    if points.is_empty() {
        return output.line("there is no restore point");
    }
    let mut table = output.table(&["NAME", "LSN", "AT"]);
    for point in &points {
        let name = point["name"].as_str().unwrap_or_default();
        table.add_row([cell(Tone::Name, name), number(&point["lsn"]), cell(Tone::Dim, stamp(point))]);
    }
    output.rows(&table)
}

fn stamp(point: &Value) -> String {
    Stamp(WallTime::from_micros(point["at"]["wall"].as_u64().unwrap_or_default())).to_string()
}

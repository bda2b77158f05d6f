//! `revert`: documents of a living mesh brought back to how they were.

use oxigdal_ha::recovery::target;
use oxigdal_ha::recovery::target::Stamp;
use oxigdal_ha::types::WallTime;
use serde_json::{Value, json};

use crate::args::Target;
use crate::client::Client;
use crate::failure::{Failure, Result};
use crate::output::{Output, Tone};

const AFTER: &str = "\
The peer reads its own log and writes ordinary new changes: they spread to all peers, the history stays, and a revert can be
reverted. Documents whose ids do not begin with PREFIX are not touched. A document that was not there then is deleted; one that
was deleted since comes back. What others write to the same documents meanwhile, elsewhere and without having seen this, is
merged as with any other edit: another field stays as they set it, and a document that they edit is not deleted.

The peer holds its log up to that moment in memory while it looks.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    /// Documents whose ids begin with this; \"\" means all
    prefix: String,
    /// To when: a time with its zone, how long ago (10m), lsn:N, point:NAME or snapshot:ID, by this peer's log
    #[arg(long, value_name = "TARGET")]
    at: target::Target,
    /// Leave out what stands at the target itself
    #[arg(long)]
    exclusive: bool,
    /// Only list the documents and what would change
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    target: Target,
}

pub(crate) fn run(arguments: &Args, output: Output) -> Result {
    let client = Client::new(&arguments.target)?;
    let Args { prefix, at, exclusive, dry_run, .. } = arguments;
    let at = match at {
        // The peer reads the very text that was given.
        target::Target::Ago(ago) => format!("{}ms", ago.as_millis()),
        at => at.to_string(),
    };
    let asked = json!({ "prefix": prefix, "at": at, "exclusive": exclusive, "dry_run": dry_run });
    let answer: Value = client.send("POST", "/v1/revert", &[], &asked)?;
    if answer["steps"].as_array().is_none_or(Vec::is_empty) && answer["same"] == 0 {
        // Who mistypes a prefix must not take it for done.
        let none = format!("no document's id begins with {prefix:?}, then or now: nothing was changed");
        return Err(Failure::new(none).kind(Some("not_found")).hint("`oxigdal-ha doc ls` shows what there is"));
    }
    if output.json {
        return output.value(&answer);
    }
    let stamp = Stamp(WallTime::from_micros(answer["to"]["at"]["wall"].as_u64().unwrap_or_default()));
    let steps = answer["steps"].as_array().map_or(&[][..], Vec::as_slice);
    for step in steps {
        let (tone, what) = match step["change"].as_str() {
            Some("deleted") => (Tone::Bad, "deleted, was not there"),
            Some("revived") => (Tone::Good, "brought back, was deleted since"),
            _ => (Tone::Warn, "put back"),
        };
        let paths: Vec<&str> = step["paths"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let doc = output.paint(Tone::Name, step["doc"].as_str().unwrap_or_default());
        output.line(format_args!("{doc}  {}  {}", output.paint(tone, what), paths.join(" ")))?;
    }
    let would = if *dry_run { "would change" } else { "changed" };
    output.line(format_args!(
        "{} documents {would} to be as at lsn:{} of {stamp}; {} are as they were",
        steps.len(),
        answer["to"]["lsn"],
        answer["same"]
    ))
}

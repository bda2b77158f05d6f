//! `lag`, `peer`, `statistics`: how far the others are, what crossed, and with whom nothing shall cross.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::args::Target;
use crate::client::{Client, doc_path};
use crate::failure::Result;
use crate::output::{Output, Tone, bytes, cell, millis, number};

/// How often `lag --watch` looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(crate) struct Lag {
    /// Go on showing it, each second
    #[arg(long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Debug, Args)]
pub(crate) struct Peer {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(subcommand)]
    pub(crate) command: PeerCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PeerCommand {
    /// List the other members as replicas of what this peer holds
    List,
    /// Exchange no data with a member, neither way, until it is resumed; also over restarts of this peer
    #[command(after_help = PAUSE)]
    Pause {
        /// Its name, or its id
        who: String,
    },
    /// Exchange data with a member again
    Resume {
        /// Its name, or its id
        who: String,
    },
}

/// What a pause does in which overlay; shown below the help.
const PAUSE: &str = "\
A pause is a matter of the one link between this peer and the member: nothing is sent to it, nothing is taken from it, and what \
it asks is refused. Others go on exchanging with both. In a mesh both hear all from them. In a star or tree there is no other \
way: whoever is on the other side of the link is cut off from this side, and the answer names them. Nothing is lost: what \
piles up on both sides is exchanged after `peer resume`. Meanwhile `lag` shows how much that is.";

/// Writes wait for copies.
#[derive(Clone, Debug, Args)]
pub(crate) struct Ack {
    /// Done when so many other members hold it too: local, a number, or all [default: what the peer's settings say]
    #[arg(long, global = true, value_name = "LEVEL", help_heading = "Copies")]
    pub(crate) ack: Option<oxigdal_ha::replication::Ack>,
}

impl Ack {
    /// As part of a query.
    pub(crate) fn text(&self) -> Option<String> {
        self.ack.map(|ack| ack.to_string())
    }
}

#[derive(Debug, Args)]
pub(crate) struct Statistics {
    #[command(flatten)]
    pub(crate) target: Target,
}

pub(crate) fn lag(arguments: &Lag, output: Output) -> Result {
    let client = Client::new(&arguments.target)?;
    loop {
        let looked = Instant::now();
        let lag: Value = client.look("/v1/lag", &[])?;
        if output.json {
            output.value(&lag)?;
        } else {
            if arguments.watch && output.terminal {
                output.line("\x1b[2J\x1b[H")?;
            }
            table(replicas(&lag["replicas"]), output)?;
        }
        if !arguments.watch {
            return Ok(());
        }
        std::thread::sleep(LOOK_EVERY.saturating_sub(looked.elapsed()));
    }
}

pub(crate) fn peer(arguments: &Peer, output: Output) -> Result {
    let client = Client::new(&arguments.target)?;
    match &arguments.command {
        PeerCommand::List => {
            let peers: Value = client.look("/v1/peers", &[])?;
            if output.json { output.value(&peers) } else { table(replicas(&peers), output) }
        }
        PeerCommand::Pause { who } => paused(&client, who, "pause", output),
        PeerCommand::Resume { who } => paused(&client, who, "resume", output),
    }
}

fn paused(client: &Client, who: &str, verb: &str, output: Output) -> Result {
    let says: Value = client.send("POST", &format!("{}/{verb}", doc_path("/v1/peers", who)), &[], &Value::Null)?;
    if output.json {
        return output.value(&says);
    }
    let state = if says["paused"] == true { "is paused" } else { "is not paused" };
    output.line(format_args!("{who} {state} here"))?;
    if says["neighbor"] != true {
        output.line("it is no neighbour of this peer: no data is exchanged with it directly anyway")?;
    }
    let cut_off: Vec<&str> = replicas(&says["cut_off"]).iter().filter_map(Value::as_str).collect();
    if !cut_off.is_empty() {
        let who = format!("cut off from this peer, on every way: {}", cut_off.join(", "));
        output.line(output.paint(Tone::Warn, who))?;
    }
    Ok(())
}

fn replicas(value: &Value) -> &[Value] {
    value.as_array().map_or(&[][..], Vec::as_slice)
}

fn table(replicas: &[Value], output: Output) -> Result {
    let mut table = output.table(&["NAME", "STATE", "CHANGES", "BYTES", "LAG", "AS OF", "LINK", "PRIORITY", "NODE"]);
    for replica in replicas {
        let text = |key: &str| replica[key].as_str().unwrap_or_default();
        let count = |key: &str| replica[key].as_u64().unwrap_or_default();
        let lag = |shown: String| if replica["known"] == false { "unknown".to_owned() } else { shown };
        let (state, tone) = match text("state") {
            "active" => ("active", Tone::Good),
            "catching_up" => ("catching up", Tone::Warn),
            "initializing" => ("initializing", Tone::Warn),
            "paused" => ("paused", Tone::Warn),
            "failed" => ("failed", Tone::Bad),
            other => (other, Tone::Dim),
        };
        let tone = if replica["lagging"] == true { Tone::Bad } else { tone };
        table.add_row([
            cell(Tone::Bold, text("name")),
            cell(tone, state),
            number(lag(count("changes").to_string())),
            number(lag(bytes(count("bytes")))),
            number(lag(millis(count("lag_ms")))),
            number(lag(format!("{} ago", millis(count("as_of_ms"))))),
            cell(Tone::Dim, if replica["neighbor"] == true { "data" } else { "-" }),
            number(&replica["priority"]),
            cell(Tone::Dim, text("id")),
        ]);
    }
    output.rows(&table)
}

pub(crate) fn statistics(arguments: &Statistics, output: Output) -> Result {
    let says: Value = Client::new(&arguments.target)?.look("/v1/statistics", &[])?;
    if output.json {
        return output.value(&says);
    }
    let count = |key: &str| says[key].as_u64().unwrap_or_default();
    let size = |key: &str| bytes(count(key));
    let window = format!("{} s", count("window_s"));
    let rows = [
        ("sent", format!("{} entries, {}", count("pushed"), size("pushed_bytes"))),
        ("taken", format!("{} entries, {}; {} again", count("taken"), size("taken_bytes"), count("duplicates"))),
        (
            "lately",
            format!(
                "{} entries/s and {}/s sent, {} entries/s and {}/s taken, over {window}",
                count("pushed_per_s"),
                size("pushed_bytes_per_s"),
                count("taken_per_s"),
                size("taken_bytes_per_s")
            ),
        ),
        ("packed", format!("{} became {}", size("raw_bytes"), size("compressed_bytes"))),
        (
            "again",
            format!("{} batches after no answer, {} lost with their link", count("retransmits"), count("failed")),
        ),
        ("repaired", format!("{} ranges asked for, {} sent", count("wants"), size("repaired_bytes"))),
        ("traffic", format!("{} sent, {} received", size("bytes_sent"), size("bytes_received"))),
    ];
    let level = says.pointer("/settings/compression_level").and_then(Value::as_u64);
    let packing = level.map_or_else(|| "as they are".to_owned(), |level| format!("zstd level {level}"));
    let of = |key: &str| says["settings"][key].as_u64().unwrap_or_default();
    let settings = format!(
        "batches of {} entries or {}, {} ms apart while one is under way, {packing}; again after {} to {} ms",
        of("batch_size"),
        bytes(of("batch_bytes")),
        of("batch_timeout_ms"),
        of("retry_min_ms"),
        of("retry_max_ms")
    );
    for (label, value) in rows.into_iter().chain([("settings", settings)]) {
        output.line(format_args!("{} {value}", output.paint(Tone::Dim, format_args!("{label:<10}"))))?;
    }
    Ok(())
}

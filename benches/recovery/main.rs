//! What it costs to keep what was acknowledged: the log's commit, its scan and its replay, backups and restores, each
//! beside what others do with the same bytes on the same disk in the same minutes.
//!
//! `cargo bench --bench recovery` prints what `benches/README.md` tells; `.. -- commit`, `replay` or `backup` one of them.
//! Programs are counted by what they used of the cores, since machines are shared, and by the most memory that they held.
//! Without `--bench` each runs for a moment, to show that it works. restic, tar and zstd are measured where they are installed.

#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "real programs are measured in real time")]
#![expect(clippy::unwrap_used, reason = "a bench may stop where it stands")]

mod backup;
mod commit;
mod content;
mod program;
mod replay;

use std::path::Path;

use oxigdal_ha::config::{self, Config, Flags};
use oxigdal_ha::driver::Peer;

/// How much is done of everything.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    /// Bytes of the log that is backed up.
    pub(crate) bytes: u64,
    /// Changes that are replayed.
    pub(crate) changes: u64,
    /// Records that are committed by each number of writers.
    pub(crate) records: u64,
    /// How often each program runs.
    pub(crate) rounds: usize,
}

const MEASURED: Plan = Plan { bytes: 1 << 30, changes: 1_000_000, records: 20_000, rounds: 3 };
const SHOWN: Plan = Plan { bytes: 2 << 20, changes: 2_000, records: 100, rounds: 1 };

type Run = fn(&tokio::runtime::Runtime, Plan);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let plan = if arguments.iter().any(|argument| argument == "--bench") { MEASURED } else { SHOWN };
    let names: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (name, run) in [("commit", commit::run as Run), ("replay", replay::run), ("backup", backup::run)] {
        if names.is_empty() || names.iter().any(|wanted| *wanted == name) {
            println!("\n{name}; load average {}", load_average());
            run(&runtime, plan);
        }
    }
}

fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap();
    text.split(' ').next().unwrap().to_owned()
}

/// A peer on its own, on this directory.
pub(crate) async fn peer(dir: &Path) -> Peer {
    Peer::start(config(dir)).await.unwrap()
}

fn config(dir: &Path) -> Config {
    let set = |flags: Flags, (key, value)| flags.set("bench", key, value);
    // All that is written stays: by default streams hold 256 MiB, and a log would never become as large as is wanted.
    let flags = [
        ("node.data-dir", dir.to_str().unwrap()),
        ("api.listen", ""),
        ("streams.retention-bytes", "1099511627776"),
        ("streams.total-bytes", "1099511627776"),
    ]
    .into_iter()
    .fold(Flags::new(), set)
    .list("bench", "network.listen", ["127.0.0.1:0"]);
    config::parse(None, [], &flags).unwrap()
}

/// The middle one.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

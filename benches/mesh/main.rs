//! Whole meshes: three processes of the released program on one machine, under load from outside.
//!
//! `cargo bench --bench mesh` prints what `benches/README.md` tells; `.. -- events`, `edits` or `latency` one of them. Beside
//! each figure stands what the disk can do in the same directory at that time, and what the processes used of the cores:
//! machines are shared, and ratios last longer than seconds. Without `--bench` each runs for a moment, to show that it works.

#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "real processes are measured in real time")]
#![expect(clippy::unwrap_used, reason = "a bench may stop where it stands")]

mod edits;
mod events;
#[expect(dead_code, reason = "the tests of processes use more of it")]
#[path = "../../tests/processes/harness.rs"]
mod harness;
mod latency;
mod mesh;

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use mesh::Mesh;

/// How long a load lasts.
const LOAD: Duration = Duration::from_secs(10);

/// What was asked for.
pub(crate) struct Plan {
    /// How long a load lasts.
    pub(crate) load: Duration,
    /// How many single edits are timed.
    pub(crate) rounds: usize,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let measured = arguments.iter().any(|argument| argument == "--bench");
    let plan = match measured {
        true => Plan { load: LOAD, rounds: 300 },
        false => Plan { load: Duration::from_millis(300), rounds: 5 },
    };
    let names: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    for (name, run) in [("events", events::run as fn(&Mesh, &Plan)), ("edits", edits::run), ("latency", latency::run)] {
        if names.is_empty() || names.iter().any(|wanted| *wanted == name) {
            let mesh = Mesh::of_three();
            println!("\n{name}; load average {}", load_average());
            run(&mesh, &plan);
        }
    }
}

fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap();
    text.split(' ').next().unwrap().to_owned()
}

/// How long one small durable write takes in this directory, from the shortest to the longest.
pub(crate) fn syncs(dir: &Path, count: usize) -> Vec<Duration> {
    let path = dir.join("probe");
    let mut file = File::create(&path).unwrap();
    let mut times: Vec<Duration> = (0..count)
        .map(|_| {
            let began = Instant::now();
            file.write_all(&[7; 200]).unwrap();
            file.sync_data().unwrap();
            began.elapsed()
        })
        .collect();
    std::fs::remove_file(path).unwrap();
    times.sort_unstable();
    times
}

/// The part of a hundred of sorted times, in milliseconds.
pub(crate) fn quantile(sorted: &[Duration], percent: usize) -> f64 {
    let at = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted[at].as_secs_f64() * 1e3
}

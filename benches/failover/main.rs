//! What failures of a leader cost: three voters, each a process of its own with a log that is synced, on one machine.
//!
//! `cargo bench --bench failover` prints what `benches/README.md` tells; `.. -- kill 100` one of `kill`, `kill-busy`, `stop`, `stop-idle`,
//! `term`, `rolling`, `clients`, `clients-primary` and `cut` so many times. Where `etcd` is found, three of its members are struck in turn with
//! ours, and the ratio stands beside.
//! Nothing fails because a machine is slow: goals are told beside what was found. Without `--bench` each is done once, to show that it works.

#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "real processes are measured in real time")]
#![expect(clippy::unwrap_used, reason = "a bench may stop where it stands")]

mod ask;
mod clients;
mod cut;
mod etcd;
#[expect(dead_code, reason = "the tests of processes use more of it")]
#[path = "../../tests/processes/harness.rs"]
mod harness;
#[expect(dead_code, reason = "the tests of processes use more of it")]
#[path = "../../tests/processes/lab.rs"]
mod lab;
mod ours;
mod told;
mod trials;

use std::path::Path;

use etcd::Etcd;
use ours::Ours;
use trials::{Blow, Cost, strike};

/// How often each is done, if nobody says.
const COUNT: usize = 40;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, port] = &arguments[..]
        && word == "serve"
    {
        return clients::serve(port);
    }
    let measured = arguments.iter().any(|argument| argument == "--bench");
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let count = wanted.iter().find_map(|word| word.parse().ok()).unwrap_or(if measured { COUNT } else { 1 });
    let names: Vec<&&String> = wanted.iter().filter(|word| word.parse::<usize>().is_err()).collect();
    let is_wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| **wanted == name);
    etcd::try_dry();
    for (name, blow) in Blow::ALL {
        if is_wanted(name) {
            run(blow, count, measured);
        }
    }
    for (name, run) in [
        ("clients", clients::of_leader as fn(&Path, usize)),
        ("clients-primary", clients::of_primary),
        ("cut", cut::run),
    ] {
        if is_wanted(name) {
            run(home().path(), count);
        }
    }
}

/// Beside the build, so on a real disk.
fn home() -> tempfile::TempDir {
    tempfile::tempdir_in("target").unwrap()
}

fn run(blow: Blow, count: usize, measured: bool) {
    println!("\n{}; {count} times, load average {}", blow.words(), told::load_average());
    let home = home();
    let version = etcd::version().filter(|_| measured);
    let (mut ours, mut theirs) = (Ours::start(home.path()), version.as_ref().map(|_| Etcd::start(home.path())));
    let (mut our, mut their) = (Vec::new(), Vec::new());
    let mut luck = told::Luck::default();
    for _ in 0..count {
        our.push(strike(&mut ours, blow, luck.next()));
        their.extend(theirs.as_mut().map(|theirs| strike(theirs, blow, luck.next())));
    }
    told::table(blow, &our, version.as_deref().map(|version| (version, &their[..])));
    if measured && version.is_none() {
        println!("etcd is not installed (Debian: etcd-server): no ratio");
    }
    println!("load average {}", told::load_average());
}

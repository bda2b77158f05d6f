//! What people really wrote, written again by peers: the history of a project of many authors, and two people who write one
//! text at the same time. A fork of the history is a partition, a merge is its healing: each edit is made on exactly the
//! version on which it was made then, while it travels between real peers, and between simulated ones through faults.
//!
//! The data stays outside of this project (its licences are in its README), so where it is absent these tests skip, and say so. A part of each is replayed by default;
//! `OXIGDAL_HA_TRACES=whole cargo test --release --test traces -- --nocapture` replays all of it and prints figures.

#![cfg(feature = "net")]
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "real peers are waited for in real time")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod history;
mod merges;
mod peers;
mod replay;
#[cfg(feature = "sim")]
mod sim;
mod text;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
#[cfg(feature = "sim")]
use std::time::Duration;

use replay::Trace;

/// The text of a compressed file of the data, if it is here.
fn data(name: &str) -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(name);
    let Ok(file) = File::open(&path) else {
        println!("skipped: {} is not here", path.display());
        return None;
    };
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    Some(text)
}

/// How much of a trace is replayed.
fn part(few: usize) -> usize {
    match std::env::var("OXIGDAL_HA_TRACES").as_deref() {
        Ok("whole") => usize::MAX,
        Ok(other) => panic!("OXIGDAL_HA_TRACES is {other:?}, not whole"),
        Err(_) => few,
    }
}

fn replay(overlay: &str, trace: Option<Trace>) {
    if let Some(trace) = trace {
        peers::replay(overlay, &trace);
    }
}

#[test]
fn a_history_of_many_authors_on_a_mesh() {
    replay("mesh", history::trace(part(120)));
}

#[test]
fn a_history_of_many_authors_on_a_tree() {
    replay("tree", history::trace(part(60)));
}

#[test]
fn a_text_of_two_writers_on_a_star() {
    replay("star", text::trace(part(150)));
}

#[test]
fn a_text_of_two_writers_on_a_mesh() {
    replay("mesh", text::trace(part(150)));
}

#[test]
fn a_text_of_two_writers_on_a_tree() {
    replay("tree", text::trace(part(150)));
}

/// In simulation: a part slowly, so that faults happen meanwhile, all of it faster.
#[cfg(feature = "sim")]
fn simulate(overlay: &str, trace: Option<Trace>) {
    let Some(trace) = trace else { return };
    match part(0) {
        0 => sim::replay(overlay, trace, Duration::from_millis(600), 150),
        _ => sim::replay(overlay, trace, Duration::from_millis(50), 900),
    }
}

#[cfg(feature = "sim")]
#[test]
fn a_history_of_many_authors_on_a_lossy_mesh_in_simulation() {
    simulate("mesh", history::trace(part(120)));
}

#[cfg(feature = "sim")]
#[test]
fn a_history_of_many_authors_on_a_lossy_tree_in_simulation() {
    simulate("tree:2", history::trace(part(120)));
}

#[cfg(feature = "sim")]
#[test]
fn a_text_of_two_writers_on_a_lossy_star_in_simulation() {
    simulate("star", text::trace(part(150)));
}

#[cfg(feature = "sim")]
#[test]
fn a_text_of_two_writers_on_a_lossy_tree_in_simulation() {
    simulate("tree:2", text::trace(part(150)));
}

#[cfg(feature = "sim")]
#[test]
fn a_text_of_two_writers_on_a_lossy_mesh_in_simulation() {
    simulate("mesh", text::trace(part(150)));
}

#[test]
fn merged_documents_against_what_people_committed_by_policy() {
    if let Some(history) = history::History::read(usize::MAX) {
        merges::compare(&history);
    }
}

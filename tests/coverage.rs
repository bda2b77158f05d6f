//! A quick sweep of the simulator reaches every mark in the core: what must happen now and then does.
//!
//! `oxigdal-ha simulate coverage` prints the same over any scenarios and seeds.
#![cfg(all(feature = "sim", debug_assertions))]
#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod scenarios;
mod sources;

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use oxigdal_ha::sim::{Coverage, run};
use scenarios::scenario;

/// The quickest that reach everything together, and how many seeds of each.
const SWEEP: &[(&str, u64)] = &[
    ("full-disk", 1),
    ("little-memory", 1),
    ("lost-change", 1),
    ("mixed-versions", 1),
    ("replica-paused", 1),
    ("small-clocks", 2),
    ("small-copies", 4),
    ("small-crashes", 2),
    ("small-datagrams", 2),
    ("small-distances", 1),
    ("small-leaves", 1),
    ("small-pauses", 4),
    ("small-power", 2),
    ("small-rollback", 3),
    ("small-streams", 3),
    ("small-turns", 3),
    ("small-voters", 3),
    ("snapshots", 3),
    ("swarm-small", 28),
];

#[test]
fn every_mark_is_reached() {
    let runs: Vec<(&str, u64)> =
        SWEEP.iter().flat_map(|(name, seeds)| (1..=*seeds).map(|seed| (*name, seed))).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut reached = Coverage::default();
        while let Some((name, seed)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = run(&scenario(name), *seed, None);
            assert!(outcome.passed(), "{outcome}");
            // What a thread hits is its own.
            reached.add(&Coverage::take());
        }
        reached
    };
    let mut coverage = Coverage::default();
    thread::scope(|scope| {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        workers.into_iter().for_each(|worker| coverage.add(&worker.join().unwrap()));
    });
    coverage.iter().for_each(|(mark, hits)| println!("{hits:>10}  {}", mark.id));
    let never: Vec<&str> = coverage.never().map(|mark| mark.id).collect();
    assert_eq!(never, [""; 0], "never reached: the sweep is too weak, or the code is dead");
}

#[test]
fn every_mark_stands_somewhere() {
    let sources = sources::texts("src");
    for (mark, _) in Coverage::default().iter() {
        let quoted = format!("\"{}\")", mark.id);
        let found: usize = sources.iter().map(|text| text.matches(&quoted).count()).sum();
        // Once in the list, and where it stands.
        assert!(found >= 2, "{} stands nowhere", mark.id);
    }
}

//! Two versions in one mesh.

use super::scenario;
use crate::sim::run;

const WORLD: &str = r#"
mesh = { peers = 4 }
phases = { warm-up = "5s", chaos = "15s", calm = "20s" }
edits = [{ docs = 2, rate = "2/s" }]
fault = [{ at = "6s", for = "4s", kind = "next-version", peers = ["p-1", "p-2"], stagger = "1s", share = "20%" }]
"#;

#[test]
fn some_downgrades_are_refused_for_what_was_written_and_every_run_ends_as_it_should() {
    let outcomes: Vec<_> = (1..=6).map(|seed| run(&scenario(WORLD), seed, None)).collect();
    let failed: Vec<String> = outcomes.iter().filter(|it| !it.passed()).map(ToString::to_string).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    // Four starts, two upgrades, two ways back; each that was refused is an upgrade more.
    let starts: Vec<u64> = outcomes.iter().map(|it| it.figures.starts - it.figures.refused_newer).collect();
    assert_eq!(starts, [8; 6]);
    let refused: u64 = outcomes.iter().map(|it| it.figures.refused_newer).sum();
    assert!((1..12).contains(&refused), "{refused} of 12");
}

//! Real runs made smaller. What fails here fails on purpose: an expectation that no mesh with a stalled peer can meet, and an
//! invariant that does not hold of peers that lie.

use super::*;
use crate::sim::outcome::Line;
use crate::sim::scenario::{Error, Found};
use crate::sim::{run, trace::TraceHash};

const STALLED: &str = r#"schema = 1
description = "somebody stalls, and much else happens"
mesh = { peers = 4 }
phases = { warm-up = "4s", chaos = "14s", calm = "6s" }
expect = { suspicions = 0 }

[[edits]]
docs = 2
rate = "2/s"

[[turn]]
at = "6s"
overlay = "star"

[random]
clock-step = { every = "2s", for = ["1s", "3s"] }
slow-disk = { every = "2s", for = ["1s", "3s"] }

[[fault]]
at = "9s"
for = "8s"
kind = "pause"
peers = "p-3"
"#;

fn parse(text: &str) -> Result<Scenario, Error> {
    let mut none = |name: &str| -> Result<Found, String> { Err(format!("no topology {name:?}")) };
    Scenario::parse("simulations/test.toml", text, &mut none)
}

fn shrunk(text: &str, seed: u64) -> Shrunk {
    shrink(&parse(text).unwrap(), text, seed, &mut |_| (), &|| false).unwrap()
}

#[test]
fn what_is_left_fails_alike_is_minimal_and_is_replayed_from_its_file() {
    let small = shrunk(STALLED, 1);
    assert!(small.before.faults > 4 && small.before.edits > 20, "{:?}", small.before);
    // A peer that stalls, and one that suspects it.
    assert_eq!(small.after, Size { faults: 1, peers: 2, ..Size::default() }, "{}", small.text);
    assert!(small.minimal);
    assert_eq!(small.outcome.judgement.key().as_deref(), Some("suspicions"));
    let repro = parse(&small.text).unwrap();
    assert_eq!((repro.repro(), repro.broke()), (Some(1), Some("suspicions")));
    // The seed is not asked for.
    let again = run(&repro, 99, None);
    assert_eq!((again.hash, &again.judgement), (small.outcome.hash, &small.outcome.judgement));
    assert_eq!(again.replay(), "oxigdal-ha simulate run simulations/test.toml");
    // Nothing is left to be spared, and the file of it is the same.
    let twice = shrink(&repro, &small.text, 5, &mut |_| (), &|| false).unwrap();
    assert_eq!((twice.before, twice.text), (small.after, small.text));
}

#[test]
fn the_best_so_far_is_kept_when_it_is_called_off() {
    let scenario = parse(STALLED).unwrap();
    let enough = std::cell::Cell::new(false);
    let mut watch = |progress: Progress| enough.set(progress.runs > 3);
    let some = shrink(&scenario, STALLED, 1, &mut watch, &|| enough.get()).unwrap();
    assert!(!some.minimal && some.after.pieces() < some.before.pieces(), "{:?}", some.after);
    assert_eq!(run(&parse(&some.text).unwrap(), 1, None).hash, some.outcome.hash);
}

#[test]
fn what_passes_is_not_made_smaller() {
    let text = STALLED.replace("suspicions = 0", "suspicions = 1000");
    let outcome = shrink(&parse(&text).unwrap(), &text, 1, &mut |_| (), &|| false).unwrap_err();
    assert!(matches!(&outcome, NotShrunk::Passes(outcome) if outcome.passed()), "{outcome}");
}

#[test]
fn a_run_is_the_same_up_to_the_first_thing_that_is_missing() {
    let scenario = parse(STALLED).unwrap();
    let (_, _, plan) = drawn(&scenario, 1).unwrap();
    let late = (plan.items.len() / 2..plan.items.len()).max_by_key(|at| plan.items[*at].at).unwrap();
    let at = plan.items[late].at;
    let kept: Vec<Piece> = plan.pieces().into_iter().filter(|piece| *piece != Piece::Fault(late)).collect();
    let lines = |plan: Plan| -> (Vec<Line>, TraceHash) {
        let mut lines = Vec::new();
        let mut sink = |line: Line| lines.push(line);
        let orders = Orders { plan: Some(&plan), sink: Some(&mut sink), ..Orders::default() };
        let hash = follow(&scenario, 1, orders).unwrap().hash;
        lines.retain(|line| line.at < at);
        (lines, hash)
    };
    let ((all, whole), (part, smaller)) = (lines(plan.keep(&plan.pieces())), lines(plan.keep(&kept)));
    assert_eq!(whole, run(&scenario, 1, None).hash, "a part with everything is the whole");
    assert_ne!(whole, smaller);
    assert!(all.len() > 100 && all == part);
}

#[test]
fn a_repro_file_that_cannot_be_is_refused_with_what_is_wrong() {
    let small = shrunk(STALLED, 1);
    let refused = |from: &str, to: &str| {
        assert!(small.text.contains(from), "{from}\n{}", small.text);
        parse(&small.text.replace(from, to)).unwrap_err().to_string()
    };
    let fault = "peer = 2";
    for (from, to, expected) in [
        (fault, "peer = 4", "repro.faults[0]: there is no peer 4, counted from 0 there are 4"),
        (" n = ", " n = 9", "repro.faults[0]: n is 9"),
        ("\"p-3\" = ", "\"p-9\" = ", "repro.starts: the topology has no node \"p-9\""),
        ("luck = \"", "luck = \"x", "luck: 64 hexadecimal digits are needed"),
        ("kind = \"pause\", peer", "kind = \"meteor\", peer", "meteor"),
        ("breaks = ", "brakes = ", "unknown field `brakes`"),
    ] {
        let found = refused(from, to);
        assert!(found.starts_with("simulations/test.toml") && found.contains(expected), "{found}");
    }
}

//! The simulator itself: plans and small runs.

mod ends;
mod faults;
mod guests;
mod links;
mod swarm;
mod versions;

use std::time::Duration;

use serde_json::json;

use crate::documents::Edit;
use crate::sim::luck::Luck;
use crate::sim::plan::Plan;
use crate::sim::{Found, Judgement, Replay, ReplayError, ReplayStep, Scenario, run, run_replay};
use crate::types::DocId;

fn scenario(text: &str) -> Scenario {
    let head = "schema = 1\ndescription = \"test\"\n";
    let mut none = |name: &str| -> Result<Found, String> { Err(format!("no topology {name:?}")) };
    Scenario::parse("test.toml", &format!("{head}{text}"), &mut none).unwrap()
}

const STORMY: &str = r#"
[mesh]
peers = 6
[phases]
warm-up = "5s"
chaos = "60s"
calm = "30s"
[[edits]]
docs = 3
rate = "5/s"
[random]
crash = { every = "10s", for = ["1s", "5s"] }
partition = { every = "20s", for = ["1s", "5s"] }
"#;

#[test]
fn taking_a_family_of_faults_away_leaves_the_rest_of_the_plan_alone() {
    let luck = Luck::new(1, "fixed");
    let with = Plan::expand(&scenario(STORMY), &luck).unwrap();
    let without = Plan::expand(&scenario(&STORMY.replace("partition", "#")), &luck).unwrap();
    assert!(with.items.len() > without.items.len() && !without.items.is_empty());
    assert!(without.items.iter().all(|item| with.items.contains(item)));
    assert_eq!(with.edits, without.edits);
}

#[test]
fn a_run_is_a_function_of_its_seed() {
    let scenario = scenario(&STORMY.replace("\"60s\"", "\"10s\"").replace("\"30s\"", "\"15s\""));
    let (first, second, other) = (run(&scenario, 1, None), run(&scenario, 1, None), run(&scenario, 2, None));
    assert_eq!(first, second);
    assert_ne!(first.hash, other.hash);
}

#[test]
fn an_overlay_is_set_at_the_peers_that_are_named_in_their_order() {
    let turn = "[[turn]]\nat = \"20s\"\noverlay = \"star\"\npeers = [\"p-3\", \"p-1\"]\n[random]";
    let plan = Plan::expand(&scenario(&STORMY.replace("[random]", turn)), &Luck::new(1, "fixed")).unwrap();
    let turns: Vec<_> = plan.turns.iter().map(|turn| (turn.at, &turn.peers[..])).collect();
    assert_eq!(turns, [(20_000_000_000, &[2, 0][..])]);
}

const REPLAYED: &str = r#"
mesh = { peers = 3, overlay = "star" }
phases = { warm-up = "5s", chaos = "40s", calm = "30s" }
disk = { sync = "20ms", jitter = "20ms", torn = "50%" }
"#;

/// Two writers, one letter a step, each behind what both wrote before.
fn letters(steps: usize) -> Replay {
    let doc = DocId::parse("replayed").unwrap();
    let splice = |at| Edit::Splice { path: "text".into(), at, remove: 0, insert: "x".into() };
    let step = |at: usize| {
        let edits = if at == 0 { vec![Edit::Put { value: json!({}) }, splice(0)] } else { vec![splice(at)] };
        ReplayStep {
            writer: 1 + u32::from(at % 2 == 1),
            doc: doc.clone(),
            edits,
            after: at.checked_sub(1).into_iter().collect(),
        }
    };
    let end = [(doc.clone(), json!({ "text": "x".repeat(steps) }))].into();
    Replay { steps: (0..steps).map(step).collect(), pace: Duration::from_millis(200), end }
}

#[test]
fn a_replay_goes_through_crashes_and_disks_that_are_put_back_and_is_written_once() {
    let faults = r#"
random = { crash = { every = "4s", for = ["100ms", "1s"] } }
fault = [{ at = "25s", kind = "roll-back", peers = "p-2", image = "5s", for = "1s" }]
"#;
    let (scenario, replay) = (scenario(&format!("{REPLAYED}{faults}")), letters(60));
    for seed in 1..=4 {
        let first = run_replay(&scenario, seed, &replay, None).unwrap();
        assert!(first.passed() && first.figures.starts > 6, "{first}");
        assert_eq!(run_replay(&scenario, seed, &replay, None), Ok(first));
    }
}

#[test]
fn a_replay_that_is_not_made_or_reads_otherwise_is_a_violation() {
    let scenario = scenario(REPLAYED);
    let check = |replay: &Replay| match run_replay(&scenario, 1, replay, None).unwrap().judgement {
        Judgement::Violated { violation, .. } => format!("{} {}", violation.check, violation.what),
        other => panic!("{other:?}"),
    };
    let slow = Replay { pace: Duration::from_secs(60), ..letters(9) };
    let found = check(&slow);
    assert!(found.contains("T1") && found.contains(" of 9 steps"), "{found}");
    let mut other = letters(3);
    other.end.values_mut().for_each(|value| *value = json!({ "text": "y" }));
    let found = check(&other);
    assert!(found.contains("T1") && found.contains("does not read"), "{found}");
}

#[test]
fn a_replay_that_cannot_be_run_is_refused() {
    let scenario = scenario(REPLAYED);
    let refused = |replay: &Replay| run_replay(&scenario, 1, replay, None).unwrap_err();
    let mut replay = letters(3);
    replay.steps[1].after = vec![1];
    assert_eq!(refused(&replay), ReplayError::NotBefore { step: 1, after: 1 });
    replay.steps[0].writer = 3;
    assert_eq!(refused(&replay), ReplayError::NoSuchPeer { step: 0, writer: 3, peers: 3 });
}

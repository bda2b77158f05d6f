//! The simulator itself: plans and small runs.

use super::luck::Luck;
use super::plan::Plan;
use super::{Found, Scenario, run};

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

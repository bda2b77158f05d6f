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
fn an_overlay_is_set_at_one_peer_and_only_at_a_peer_that_there_is() {
    let turn = |who: &str| STORMY.replace("[random]", &format!("[[turn]]\nat = \"20s\"\noverlay = \"star\"\n{who}\n[random]"));
    let plan = |who: &str| Plan::expand(&scenario(&turn(who)), &Luck::new(1, "fixed"));
    let plan_of = plan("peers = [\"p-2\", \"p-0\"]").unwrap();
    assert_eq!(plan_of.turns.iter().map(|turn| (turn.at, turn.peers.clone())).collect::<Vec<_>>(), [(20_000_000_000, vec![2, 0])]);
    assert!(plan("peers = \"nobody\"").unwrap_err().contains("turn[0]"));
}

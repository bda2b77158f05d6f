//! What a seed draws of a swarm, and what becomes of a core that is healed.

use std::collections::BTreeSet;

use super::scenario;
use crate::sim::luck::Luck;
use crate::sim::plan::{Fault, Plan};
use crate::sim::{Drawn, Judgement, Scenario, Step, Why, explain, run};

const SWARM: &str = r#"
mesh = { peers = 4 }
phases = { warm-up = "5s", chaos = "20s", quiet = "2s", calm = "20s" }
[swarm]
peers = [3, 6]
overlays = ["star", "mesh:4", "tree:2"]
delay = ["1ms", "40ms"]
modes = ["stream", "datagram"]
edits = ["1/s", "9/s"]
config = { "wal.segment-bytes" = [65536, 131072] }
[swarm.faults]
crash = { every = ["5s", "20s"], for = ["1s", "4s"] }
pause = { every = ["5s", "20s"], for = ["1s", "4s"] }
duplicate = { every = ["5s", "20s"], for = ["1s", "4s"] }
cut = { every = ["5s", "20s"], for = ["1s", "4s"] }
"#;

fn drawn(scenario: &Scenario, seed: u64) -> Drawn {
    scenario.for_seed(&Luck::new(seed, scenario.text())).unwrap().drawn().unwrap().clone()
}

#[test]
fn seeds_differ_in_kind_and_each_leaves_a_fault_out() {
    let scenario = scenario(SWARM);
    let all: Vec<Drawn> = (0..200).map(|seed| drawn(&scenario, seed)).collect();
    assert_eq!(drawn(&scenario, 7), all[7]);
    let values = |of: fn(&Drawn) -> String| all.iter().map(of).collect::<BTreeSet<_>>();
    assert_eq!(values(|drawn| drawn.peers.to_string()).len(), 4);
    assert_eq!(values(|drawn| drawn.overlay.clone()).len(), 3);
    assert_eq!(values(|drawn| drawn.settings["wal.segment-bytes"].clone()).len(), 2);
    assert!(all.iter().all(|drawn| drawn.faults.len() < 4));
    for kind in ["crash", "pause", "duplicate", "cut"] {
        let with = all.iter().filter(|drawn| drawn.faults.contains_key(kind)).count();
        assert!((10..120).contains(&with), "{kind}: {with}");
    }
    let datagrams = |drawn: &Drawn| drawn.settings["network.mode"] == "datagram";
    assert!(all.iter().all(|drawn| datagrams(drawn) || !drawn.faults.contains_key("duplicate")));
    assert!(all.iter().flat_map(|drawn| drawn.faults.values()).all(|every| (5_000..=20_000).contains(every)));
}

#[test]
fn no_fault_begins_when_it_is_quiet() {
    let scenario = scenario(SWARM);
    for seed in 0..50 {
        let luck = Luck::new(seed, scenario.text());
        let plan = Plan::expand(&scenario.for_seed(&luck).unwrap(), &luck).unwrap();
        assert!(plan.items.iter().all(|item| item.at < 25_000_000_000 && item.until <= Some(27_000_000_000)));
    }
}

#[test]
fn a_plan_is_written_and_read_back() {
    let scenario = scenario(&SWARM.replace("calm = \"20s\"", "calm = \"20s\", heal = \"core\""));
    for seed in 0..20 {
        let luck = Luck::new(seed, scenario.text());
        let plan = Plan::expand(&scenario.for_seed(&luck).unwrap(), &luck).unwrap();
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
        let text = toml::to_string(&plan).unwrap();
        assert_eq!(toml::from_str::<Plan>(&text).unwrap(), plan);
    }
}

#[test]
fn what_a_swarm_cannot_draw_is_refused() {
    let parse = |text: &str| {
        let mut none = |_: &str| Err("none".to_owned());
        let text = format!("schema = 1\ndescription = \"x\"\n{text}");
        Scenario::parse("test.toml", &text, &mut none).unwrap_err().to_string()
    };
    for (from, to, expected) in [
        ("[65536, 131072]", "[]", "wal.segment-bytes has no value"),
        ("[65536, 131072]", "[65536, 5]", "`wal.segment-bytes` = 5"),
        ("wal.segment-bytes", "segment", "\"segment\" is no SECTION.KEY"),
        ("crash =", "crush =", "unknown variant `crush`"),
        ("[3, 6]", "[3, 6]\nlength = 3", "unknown field `length`"),
    ] {
        assert!(SWARM.contains(from), "{from}");
        let found = parse(&SWARM.replacen(from, to, 1));
        assert!(found.contains(expected), "{found}");
    }
}

const CORE: &str = r#"
mesh = { peers = 5, overlay = "mesh:4" }
phases = { warm-up = "5s", chaos = "15s", quiet = "1s", calm = "40s", heal = "core" }
edits = [{ docs = 4, rate = "4/s" }]
fault = [
    { at = "8s", kind = "partition" },
    { at = "10s", kind = "pause", peers = "all" },
    { at = "12s", kind = "throttle", peers = "all" },
]
"#;

#[test]
fn a_core_agrees_while_what_is_wrong_with_the_others_stays() {
    let scenario = scenario(CORE);
    let mut sizes = BTreeSet::new();
    for seed in 1..=6 {
        let plan = Plan::expand(&scenario, &Luck::new(seed, scenario.text())).unwrap();
        sizes.insert(plan.core.len());
        let outcome = run(&scenario, seed, None);
        assert!(outcome.passed(), "{outcome}");
        assert!(outcome.figures.converged_ns.is_some(), "{outcome}");
    }
    assert!(sizes.len() > 1 && sizes.iter().all(|size| (3..=5).contains(size)), "{sizes:?}");
}

#[test]
fn a_core_that_is_not_healed_is_stuck() {
    let text = CORE.replace("kind = \"partition\"", "permanent = true, kind = \"isolate\", peers = \"all\"");
    let stuck = |text: &str| match run(&scenario(text), 1, None).judgement {
        Judgement::Violated { violation, .. } if violation.check == "L1" => violation.what,
        other => panic!("{other}"),
    };
    assert!(!stuck(&text).contains("too short"));
    // What was cut for good led to it, though no event did: that the core is stuck is seen by looking.
    let story = explain(&scenario(&text), 1);
    let led = |step: &Step| step.why == Why::Cause && step.what.starts_with("fault begins: cut ");
    assert!(story.looked && story.steps.iter().any(led), "{story}");
    assert!(story.to_string().lines().count() <= 60, "{story}");
    // Whoever gives it no time to heal is told so.
    let why = stuck(&text.replace("calm = \"40s\"", "calm = \"9s\""));
    assert!(why.contains("the calm of 9s may be too short for that: it takes up to 33s"), "{why}");
    let plan = Plan::expand(&scenario(&text), &Luck::new(1, scenario(&text).text())).unwrap();
    assert!(plan.items.iter().any(|item| item.permanent && matches!(item.fault, Fault::Cut { .. })));
}

/// A start that never ends is seen, though nobody is there to be judged by what it serves.
#[test]
fn peers_that_never_are_ready_are_seen() {
    let hangs = |peers: &str| {
        let text = format!(
            "mesh = {{ peers = 3 }}\nphases = {{ warm-up = \"5s\", chaos = \"5s\", calm = \"30s\" }}\n\
             [[fault]]\nat = \"6s\"\nkind = \"crash\"\npeers = \"all\"\nfor = \"2s\"\n\
             [[fault]]\nat = \"7s\"\nkind = \"stall-disk\"\npeers = {peers}\npermanent = true\n"
        );
        run(&scenario(&text), 1, None)
    };
    // One whose disk stands still for good has an excuse; where nobody is left, nothing was judged.
    assert!(hangs("[\"p-1\"]").passed());
    match hangs("\"all\"").judgement {
        Judgement::Violated { violation, .. } => assert_eq!(violation.check, "L2", "{}", violation.what),
        other => panic!("{other}"),
    }
}

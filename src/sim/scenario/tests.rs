//! Scenarios are read strictly, and errors name file, place, key and reason.

use super::{Found, Scenario};
use crate::machine::mutate;

const GOOD: &str = r#"
schema = 1
description = "Two halves edit apart and agree."
[mesh]
peers = 4
[phases]
warm-up = "5s"
chaos = "10s"
calm = "10s"
[[edits]]
docs = 2
rate = "10/s"
[[fault]]
at = "6s"
kind = "cut"
peers = "random 2"
for = "5s"
[expect]
converge-within = "5s"
"#;

fn parse(text: &str) -> Result<Scenario, String> {
    let mut none = |name: &str| -> Result<Found, String> { Err(format!("no topology {name:?}")) };
    Scenario::parse("simulations/x.toml", text, &mut none).map_err(|error| error.to_string())
}

#[test]
fn a_good_scenario_is_read() {
    let scenario = parse(GOOD).unwrap();
    assert_eq!((scenario.name(), scenario.peers(), scenario.span_ns()), ("x", 4, 25_000_000_000));
}

#[test]
fn what_is_wrong_is_refused_with_its_place_and_reason() {
    for (from, to, expected) in [
        ("peers = 4", "peers = 4\nfoo = 1", "simulations/x.toml:6:1: unknown field `foo`"),
        ("\"5s\"\nchaos", "\"5\"\nchaos", "simulations/x.toml:7:11: "),
        ("schema = 1", "schema = 2", "simulations/x.toml:2:1: schema: 2 is unknown"),
        ("random 2", "random x", "\"x\" is not a number"),
        ("random 2", "somebody", "simulations/x.toml:13:1: fault[0]: peers: the topology has no node \"somebody\""),
        ("kind = \"cut\"", "kind = \"meteor\"", "unknown variant `meteor`"),
        ("kind = \"cut\"", "kind = \"slow\"", "fault[0]: factor: at least 2 is needed"),
        ("peers = 4", "peers = 4\nregions = 3", "mesh: 4 peers cannot be dealt to 3 regions alike"),
        ("[expect]", "[[turn]]\nat = \"6s\"\noverlay = \"ring\"\n[expect]", "unknown overlay \"ring\""),
        ("[expect]", "[[turn]]\nat = \"99h\"\noverlay = \"star\"\n[expect]", "turn[0]: at: 356400 s is too late"),
        (
            "[expect]",
            "[[fault]]\nat = \"99h\"\nkind = \"crash\"\npeers = \"first 1\"\n[expect]",
            "is too late: the calm begins at",
        ),
        ("docs = 2", "docs = 0", "edits[0].docs: at least 1"),
        ("[mesh]\npeers = 4", "topology = \"nowhere\"", "topology: no topology \"nowhere\""),
        ("[expect]", "[config.overlay]\nlinks-max = 1\n[expect]", "overlay.links-max"),
        ("[expect]", "[config.node]\nname = \"x\"\n[expect]", "config.node: not in a simulation"),
        (
            "kind = \"cut\"",
            "kind = \"slow\"\nfactor = 100000",
            "simulations/x.toml:16:1: fault[0].factor: 100000, at most 100",
        ),
        (
            "[expect]",
            "[random]\ncrash = { every = \"9s\", for = [\"2s\", \"1s\"] }\n[expect]",
            "simulations/x.toml:19:25: random.crash.for: the range is reversed",
        ),
        ("[expect]", "[swarm]\npeers = [0, 3]\n[expect]", "simulations/x.toml:19:1: swarm.peers: at least 1 peer"),
        ("[expect]", "[swarm]\ndocs = [3, 2]\n[expect]", "simulations/x.toml:19:1: swarm.docs: the range is reversed"),
        (
            "[expect]",
            "[swarm.faults]\npause = { every = [\"9s\", \"3s\"], for = [\"1s\", \"2s\"] }\n[expect]",
            "simulations/x.toml:19:11: swarm.faults.pause.every: the range is reversed",
        ),
        (
            "[expect]",
            "[config.membership]\nprofile = \"lan\"\nfast = 1\n[expect]",
            "simulations/x.toml:20:1: config.membership.fast: there is no key",
        ),
        (
            "[expect]",
            "[[own]]\npeers = \"first 1\"\nconfig.membership.fast = 1\n[expect]",
            "simulations/x.toml:20:19: own[0].config.membership.fast: there is no key",
        ),
        (
            "[expect]",
            "[checks]\nexcept = { Z9 = \"why not\" }\n[expect]",
            "checks.except: there is no invariant \"Z9\"",
        ),
        (
            "[expect]",
            "[checks]\nexcept = { C2 = \" \" }\n[expect]",
            "simulations/x.toml:19:12: checks.except.C2: a reason is needed",
        ),
        ("random 2", "region r9", "simulations/x.toml:13:1: fault[0]: peers: \"region r9\" is nobody of this mesh"),
        ("random 2", "first 0", "\"first 0\" is nobody of this mesh"),
        ("peers = 4", "peers = 0", "simulations/x.toml:5:1: mesh.peers: a group has 1 to 10000 nodes, not 0"),
        ("peers = 4", "peers = 4\ndelay = \"x\"", "simulations/x.toml:6:1: mesh.delay: "),
        ("peers = 4", "peers = 4\nregions = 2\napart = \"x\"", "simulations/x.toml:7:1: mesh.apart: "),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let found = parse(&GOOD.replacen(from, to, 1)).expect_err(to);
        assert!(found.contains(expected), "{to:?}: expected {expected:?}, found {found:?}");
    }
}

/// Behind [`GOOD`]: one run of it.
const REPRO: &str = r#"
[repro]
of = "x.toml"
seed = 2
luck = "16a4198fe6dbf8dad70a42c0cc77f04586d5afcd1afed759702e6dbda22769d2"
breaks = "C2"
whole = { faults = 3, turns = 0, edits = 9, appends = 0 }
faults = [
    { at = 6000000000, fault = { kind = "cut", from = [0], to = [1, 2], one_way = false }, n = 1, permanent = false },
    { at = 7000000000, fault = { kind = "crash", peer = 3 }, n = 2, until = 8000000000, permanent = false },
]
edits = [
    { at = 8000000000, doc = 1, n = 7, padding = 0, peer = 1, shared = false },
]
[repro.starts]
"p-1" = 0
"p-2" = 24430522
"#;

#[test]
fn a_repro_file_of_what_cannot_happen_is_refused_with_its_place() {
    let whole = format!("{GOOD}{REPRO}");
    assert_eq!(parse(&whole).unwrap().repro(), Some(2));
    for (from, to, expected) in [
        (
            "at = 6000000000",
            "at = 15000000000",
            "28:7: repro.faults[0].at: 15.000 s is too late: the calm begins at 15.000 s",
        ),
        ("until = 8000000000", "until = 5", "29:69: repro.faults[1].until: 0.000 s is before it begins, at 7.000 s"),
        ("to = [1, 2]", "to = []", "28:24: repro.faults[0].fault: `to` is empty"),
        ("from = [0]", "from = []", "28:24: repro.faults[0].fault: `from` is empty"),
        ("to = [1, 2]", "to = [1, 0]", "28:24: repro.faults[0].fault: peer 0 stands on both sides"),
        (
            "doc = 1",
            "doc = 2",
            "32:24: repro.edits[0].doc: 2 is none of those that [[edits]] has, counted from 0 there are 2",
        ),
        ("at = 8000000000, doc", "at = 25000000000, doc", "32:7: repro.edits[0].at: 25.000 s is too late"),
        (
            "\"p-1\" = 0",
            "\"p-1\" = 25000000000",
            "35:1: repro.starts.p-1: 25.000 s is too late: the run ends at 25.000 s",
        ),
        ("breaks = \"C2\"", "breaks = \"ZZ9\"", "25:1: repro.breaks: there is no invariant \"ZZ9\""),
    ] {
        assert!(whole.contains(from), "{from}");
        let found = parse(&whole.replacen(from, to, 1)).expect_err(to);
        assert!(
            found.contains(&format!("simulations/x.toml:{expected}")),
            "{to:?}: expected {expected:?}, found {found:?}"
        );
    }
    let expects = whole.replace("breaks = \"C2\"", "breaks = \"converge-within\"");
    assert!(parse(&expects).is_ok(), "an expectation of the file");
}

#[test]
fn how_long_a_calm_is_needed_follows_from_the_configuration() {
    let seconds = |text: &str| parse(text).unwrap().calm_needed().0 / 1_000_000_000;
    // A dial hangs for 5 s; four periods of 1 s; six suspicions of 4 s.
    assert_eq!(seconds(GOOD), 5 + 4 + 24);
    let slow = GOOD.replace("[expect]", "[config.membership]\nprofile = \"wan\"\n[expect]");
    assert_eq!(seconds(&slow), 5 + 12 + 72);
}

#[test]
fn peers_are_dealt_to_regions() {
    let scenario = parse(&GOOD.replace("peers = 4", "peers = 4\nregions = 2\napart = \"30ms\"")).unwrap();
    let nodes = scenario.mesh.nodes();
    let regions: Vec<_> = nodes.iter().map(|node| node.region.as_deref().unwrap_or_default()).collect();
    assert_eq!(regions, ["region-1", "region-1", "region-2", "region-2"]);
    let delay = |a, b| scenario.mesh.path(a, b).delay.as_micros();
    assert_eq!((delay(0, 1), delay(1, 2)), (400, 30_000));
}

#[test]
fn the_text_is_part_of_the_identity_of_a_run() {
    let (one, other) = (parse(GOOD).unwrap(), parse(&format!("{GOOD}# another\n")).unwrap());
    assert_ne!(one.text(), other.text());
}

#[test]
fn every_mutant_of_a_scenario_is_read_or_refused_with_its_file() {
    let (mut rng, cases, mut read) = (mutate::luck("scenarios"), mutate::cases(500, 10), 0);
    for _ in 0..cases {
        match parse(&mutate::text(&mut rng, GOOD, GOOD)) {
            Ok(_) => read += 1,
            Err(why) => assert!(why.starts_with("simulations/x.toml"), "{why}"),
        }
    }
    mutate::report("scenarios", &format!("{read} of {cases} read"));
    assert!(read > cases / 50 && read < cases, "{read} of {cases}");
}

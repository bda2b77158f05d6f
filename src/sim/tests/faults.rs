//! Every kind of fault changes what happens, and the mesh bears it.

use super::scenario;
use crate::sim::scenario::Kind;
use crate::sim::{Judgement, Scenario, run, words};

const WORLD: &str = r#"
mesh = { peers = 6, regions = 2, apart = "10ms", overlay = "mesh:4" }
phases = { warm-up = "5s", chaos = "20s", calm = "40s" }
budget = { copies = true }
edits = [{ docs = 4, rate = "6/s", padding = 100 }]
disk = { sync = "5ms", jitter = "5ms" }
config.wal.segment-bytes = 65536
"#;

/// A fault of this kind from the tenth second on.
fn with(kind: Kind, more: &str) -> Scenario {
    let name = kind.about().name;
    let peers = if more.contains("peers") { "" } else { ", peers = \"p1-2\"" };
    // What is wrong with dials shows when links are gone, what is wrong with reads when somebody reads.
    let (other, config) = match kind {
        Kind::RefuseDials | Kind::HangDials | Kind::Nat => {
            (", { at = \"11s\", kind = \"reset\", peers = \"p1-2\" }", "")
        }
        Kind::UnreadableDisk => (", { at = \"11s\", for = \"1s\", kind = \"crash\", peers = \"p1-2\" }", ""),
        Kind::MisreadDisk => {
            let wiped = ", { at = \"11s\", for = \"1s\", kind = \"wipe\", peers = \"p1-3\" }";
            (wiped, "config.replication.cache-bytes = 65536\n")
        }
        _ => ("", ""),
    };
    let fault = format!("fault = [{{ at = \"10s\", for = \"8s\", kind = {name:?}{peers}{more} }}{other}]\n{config}");
    let besides = match kind {
        Kind::Garble => "checks.except = { M2 = \"x\", C6 = \"x\", C7 = \"x\" }\n",
        Kind::Duplicate | Kind::Reorder => "network = { mode = \"datagram\" }\n",
        _ => "",
    };
    let world =
        if kind == Kind::MisreadDisk { WORLD.replace("padding = 100", "padding = 4000") } else { WORLD.to_owned() };
    scenario(&format!("{world}{fault}{besides}"))
}

/// What a kind needs to be said of it.
fn of(kind: Kind) -> &'static str {
    match kind {
        Kind::Slow | Kind::SlowDisk | Kind::SlowLink => ", factor = 20",
        Kind::Loss => ", share = \"5%\"",
        Kind::Garble => ", share = \"2%\"",
        Kind::ClockStep => ", by = \"30s\"",
        Kind::RollBack => ", image = \"3s\"",
        Kind::Corrupt => ", share = \"0.5%\"",
        Kind::MisreadDisk => ", share = \"100%\"",
        Kind::Partition | Kind::Bridge | Kind::Split | Kind::Ring | Kind::Swizzle => ", peers = \"all\"",
        Kind::RegionCut => ", peers = \"region region-1\"",
        Kind::Hold => ", from = \"p1-1\"",
        _ => "",
    }
}

/// What is wrong with a run with a fault of this kind; nothing, if it acts and the mesh bears it.
fn fails(kind: Kind) -> Option<String> {
    let scenario = with(kind, of(kind));
    let outcome = run(&scenario, 1, None);
    // Counted under the name that the scenario gave it, whatever it comes to.
    let acted = outcome.figures.kinds.get(kind.about().name).is_some_and(|faults| faults.acted > 0);
    let told = || format!("{}: {outcome} {:?}", kind.about().name, outcome.figures.kinds);
    (!acted || outcome.judgement != Judgement::Passed).then(told)
}

macro_rules! acts {
    ($($test:ident $($kind:ident)*;)*) => {
        $(
            #[test]
            fn $test() {
                let failed: Vec<String> = [$(Kind::$kind),*].into_iter().filter_map(fails).collect();
                assert!(failed.is_empty(), "{}", failed.join("\n"));
            }
        )*

        #[test]
        fn every_kind_is_tried() {
            let tried = [$($(Kind::$kind),*),*];
            assert!(Kind::ALL.iter().all(|kind| tried.contains(kind)) && Kind::ALL.len() >= 38);
        }
    };
}

acts! {
    faults_of_partitions_act Cut OneWay Isolate Partition Split Bridge Ring RegionCut Flap;
    faults_of_ways_act Clog Swizzle Delay SlowLink Throttle Reset;
    faults_of_frames_act Loss BurstLoss Duplicate Reorder Corrupt;
    faults_of_dials_act RefuseDials HangDials Nat NewAddress;
    faults_of_processes_act Crash CrashWriting Pause Slow Leave;
    faults_of_machines_act PowerLoss TornPages ReorderedWrites Wipe Replace RollBack;
    faults_of_clocks_act ClockStep WallDrift WallFreeze ClockDrift ClockFreeze;
    faults_of_disks_act SlowDisk StallDisk FullDisk FailingDisk UnreadableDisk MisreadDisk;
    faults_that_damage_disks_act BitRot MisdirectedWrite LostWrite;
    faults_of_conduct_act Hold Garble LoseChange NextVersion;
}

#[test]
fn every_fault_is_told_in_plain_words() {
    for kind in Kind::ALL {
        let scenario = with(*kind, of(*kind));
        let (_, _, plan) = crate::sim::drawn(&scenario, 1).unwrap();
        assert!(!plan.items.is_empty(), "{}", kind.about().name);
        for item in &plan.items {
            let told = words::fault(&item.fault, &|place| format!("p-{place}"));
            let debug = |c: char| "_{}[]".contains(c);
            assert!(!told.contains(debug) && !told.contains("true") && !told.contains("false"), "{told}");
            assert!(!told.contains(" bits "), "what only the machine needs: {told}");
        }
    }
}

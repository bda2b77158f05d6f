//! Every scenario of `simulations/`, on fixed seeds: the invariants hold, the expectations are met, and where there are several seeds
//! two runs of the first one leave the same trace.
//!
//! `OXIGDAL_HA_SIM_SEEDS=A..B` adds a sweep of fresh seeds over all scenarios, bounded by `OXIGDAL_HA_SIM_SECONDS` (60).
#![cfg(feature = "sim")]
#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "a sweep is bounded by the wall clock")]

mod scenarios;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use oxigdal_ha::sim::{Outcome, Scenario, run};
use scenarios::{root, scenario};

/// The scenarios and how many seeds of each are run here: those that cost seconds one, and once; the others a few, the first of them
/// twice.
macro_rules! scenarios {
    ($($(#[$meta:meta])* $test:ident $name:literal $seeds:literal;)*) => {
        $(
            $(#[$meta])*
            #[test]
            fn $test() {
                passes($name, $seeds);
            }
        )*

        const NAMES: &[&str] = &[$($name),*];
    };
}

scenarios! {
    #[ignore = "minutes in a debug build: cargo test --release --test sim -- --ignored"]
    calm_1000 "calm-1000" 1;
    calm_5 "calm-5" 2;
    calm_50 "calm-50" 1;
    rest_50 "rest-50" 1;
    clocks "clocks" 1;
    conflicts_five "conflicts-five" 1;
    conflicts_policies "conflicts-policies" 1;
    conflicts_small "conflicts-small" 2;
    copies_disk_lost "copies-disk-lost" 1;
    copies_tree "copies-tree" 1;
    crash_restart "crash-restart" 1;
    datagrams "datagrams" 2;
    deaf_leader "deaf-leader" 2;
    figure_8 "figure-8" 3;
    full_disk "full-disk" 2;
    garbled "garbled" 2;
    join_through_one "join-through-one" 1;
    kitchen_sink "kitchen-sink" 1;
    lag_thresholds "lag-thresholds" 1;
    leader_cut "leader-cut" 2;
    leader_dies "leader-dies" 2;
    leave_rejoin "leave-rejoin" 1;
    little_memory "little-memory" 1;
    little_memory_rolled_back "little-memory-rolled-back" 1;
    lossy_links "lossy-links" 2;
    lost_change "lost-change" 2;
    membership_cut "membership-cut" 1;
    membership_deaths "membership-deaths" 1;
    membership_edge "membership-edge" 1;
    membership_few_links "membership-few-links" 1;
    #[ignore = "minutes in a debug build: cargo test --release --test sim -- --ignored"]
    membership_join_1000 "membership-join-1000" 1;
    membership_loss "membership-loss" 1;
    membership_mass_restart "membership-mass-restart" 1;
    membership_stalls "membership-stalls" 1;
    mesh_heal "mesh-heal" 1;
    mixed_versions "mixed-versions" 2;
    mute_leader "mute-leader" 2;
    one_way_cut "one-way-cut" 2;
    overlay_unreachable "overlay-unreachable" 1;
    partition_heal "partition-heal" 1;
    paused_primary "paused-primary" 2;
    overlay_gateway_dies "overlay-gateway-dies" 1;
    overlay_hub_dies "overlay-hub-dies" 1;
    overlay_mesh_100 "overlay-mesh-100" 1;
    overlay_mesh_blow "overlay-mesh-blow" 1;
    overlay_mesh_cut "overlay-mesh-cut" 1;
    overlay_parent_dies "overlay-parent-dies" 1;
    overlay_regions "overlay-regions" 1;
    overlay_set_cut "overlay-set-cut" 1;
    overlay_set_storm "overlay-set-storm" 1;
    overlay_star_30 "overlay-star-30" 1;
    overlay_switch "overlay-switch" 1;
    overlay_tree_30 "overlay-tree-30" 1;
    #[ignore = "minutes in a debug build: cargo test --release --test sim -- --ignored"]
    overlay_mesh_1000 "overlay-mesh-1000" 1;
    overlay_mesh_30 "overlay-mesh-30" 1;
    power_loss "power-loss" 1;
    rejoining_voter "rejoining-voter" 3;
    relay_dies "relay-dies" 1;
    replica_paused "replica-paused" 2;
    rolled_back "rolled-back" 1;
    rolling_restart "rolling-restart" 1;
    rolling_voters "rolling-voters" 1;
    slow_disks "slow-disks" 2;
    slow_members "slow-members" 1;
    small_blackouts "small-blackouts" 3;
    small_calm "small-calm" 2;
    small_clocks "small-clocks" 2;
    small_copies "small-copies" 2;
    small_crashes "small-crashes" 2;
    small_datagrams "small-datagrams" 2;
    small_distances "small-distances" 2;
    small_duels "small-duels" 4;
    small_leaves "small-leaves" 2;
    small_pauses "small-pauses" 2;
    small_power "small-power" 1;
    small_rollback "small-rollback" 2;
    small_streams "small-streams" 2;
    small_turns "small-turns" 2;
    small_roles "small-roles" 4;
    small_voters "small-voters" 4;
    snapshot_to_a_follower "snapshot-to-a-follower" 2;
    snapshots "snapshots" 1;
    star_hub_dies "star-hub-dies" 1;
    star_hub_gone "star-hub-gone" 1;
    streams_crash "streams-crash" 1;
    streams_partition "streams-partition" 1;
    streams_retention "streams-retention" 1;
    swarm_mesh "swarm-mesh" 1;
    swarm_small "swarm-small" 4;
    tree_root_dies "tree-root-dies" 1;
    voters_blackout "voters-blackout" 1;
    voters_churn "voters-churn" 2;
    voters_wished "voters-wished" 1;
}

#[test]
fn every_scenario_is_listed_here() {
    let found: BTreeSet<String> = std::fs::read_dir(root().join("simulations"))
        .unwrap()
        .filter_map(|entry| Some(entry.unwrap().file_name().to_str()?.strip_suffix(".toml")?.to_owned()))
        .collect();
    assert_eq!(found, NAMES.iter().map(|name| (*name).to_owned()).collect());
}

/// Fresh seeds, as CI draws them from the commit.
#[test]
fn a_sweep_of_fresh_seeds_passes() {
    let Ok(seeds) = std::env::var("OXIGDAL_HA_SIM_SEEDS") else { return };
    let (from, to) = seeds.split_once("..").expect("OXIGDAL_HA_SIM_SEEDS is A..B");
    let (from, to): (u64, u64) = (from.parse().unwrap(), to.parse().unwrap());
    let seconds = std::env::var("OXIGDAL_HA_SIM_SECONDS").map_or(60, |seconds| seconds.parse().unwrap());
    let (began, bound) = (Instant::now(), Duration::from_secs(seconds));
    let only = std::env::var("OXIGDAL_HA_SIM_NAMES").unwrap_or_default();
    let is_meant = |name: &&str| only.is_empty() || only.split(',').any(|meant| meant == *name);
    let meant = NAMES.iter().copied().filter(is_meant);
    let small: Vec<Scenario> = meant.map(scenario).filter(|it| it.peers() <= 20).collect();
    let (mut runs, mut failed) = (0, Vec::new());
    'sweep: for seed in from..to {
        for scenario in &small {
            if began.elapsed() > bound {
                break 'sweep;
            }
            runs += 1;
            let outcome = run(scenario, seed, None);
            if !outcome.passed() {
                eprintln!("{outcome}");
                failed.push(outcome);
            }
        }
    }
    println!("{runs} runs from seed {from}");
    assert!(failed.is_empty(), "{}", told(&failed));
}

/// Runs that failed once: each is one run, whatever its seed.
#[test]
fn no_regression_comes_back() {
    let Ok(entries) = std::fs::read_dir(root().join("simulations/regressions")) else { return };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "toml"));
    files.sort();
    for file in files {
        let stem = file.file_stem().unwrap().to_str().unwrap();
        let outcome = run(&scenario(&format!("regressions/{stem}")), 0, None);
        assert!(outcome.passed(), "{outcome}");
    }
}

/// The first seed twice, where there are several.
fn passes(name: &str, seeds: u64) {
    let scenario = scenario(name);
    for seed in 1..=seeds {
        let first = run(&scenario, seed, None);
        println!("{first}\n      {}", first.figures.spread);
        assert!(first.passed(), "{first}");
        if seed == 1 && seeds > 1 {
            let second = run(&scenario, seed, None);
            let common = first.common_events(&second);
            assert_eq!(first.hash, second.hash, "{}: the same for {common} events only", first.replay());
            assert_eq!(first, second, "{}", first.replay());
        }
    }
}

fn told(outcomes: &[Outcome]) -> String {
    outcomes.iter().map(|outcome| format!("\n{outcome}")).collect()
}

//! Every planted bug is seen by the invariant that has to see it, within a few seeds.
//!
//! `OXIGDAL_HA_BUGS=room/what,..` hunts these alone, `OXIGDAL_HA_BUGS=all` all of them; by default a few quick ones, one a room.
#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod scenarios;
mod sources;

use std::collections::BTreeMap;

use oxigdal_ha::sim::{BUGS, Bug, Scenario, hunt};
use scenarios::scenario;

/// Seeds that are looked at before a bug counts as one that survives.
const SEEDS: u64 = 20;

/// Those that a mesh meets; those of repositories are hunted by `recovery_test`.
fn of_meshes() -> impl Iterator<Item = &'static Bug> {
    BUGS.iter().filter(|bug| !bug.scenarios.is_empty())
}

fn chosen() -> Vec<&'static Bug> {
    let wanted = std::env::var("OXIGDAL_HA_BUGS").unwrap_or_default();
    if wanted == "all" {
        return of_meshes().collect();
    }
    if !wanted.is_empty() {
        return wanted.split(',').map(|id| Bug::find(id).unwrap_or_else(|| panic!("no bug {id}"))).collect();
    }
    let mut rooms: BTreeMap<&str, &Bug> = BTreeMap::new();
    of_meshes().for_each(|bug| _ = rooms.entry(bug.room()).or_insert(bug));
    rooms.into_values().collect()
}

#[test]
fn every_bug_is_planted() {
    let sources = sources::texts("src");
    for bug in BUGS {
        let call = format!("planted!(\"{}\")", bug.id);
        assert!(sources.iter().any(|text| text.contains(&call)), "{} is planted nowhere", bug.id);
    }
}

#[test]
fn planted_bugs_are_killed() {
    let seeds = std::env::var("OXIGDAL_HA_BUG_SEEDS").map_or(SEEDS, |seeds| seeds.parse().unwrap());
    let mut failed = Vec::new();
    for bug in chosen() {
        let began = cpu_time::ThreadTime::now();
        let all: Vec<Scenario> = bug.scenarios.iter().map(|name| scenario(name)).collect();
        let hunted = hunt(bug, &all.iter().collect::<Vec<_>>(), 1..=seeds);
        let took = began.elapsed();
        println!("{:45} {:?} {:3} seeds  {:?}", bug.id, took, hunted.seeds, hunted.kill);
        hunted.false_alarms.iter().for_each(|alarm| println!("    {alarm}"));
        if !hunted.as_listed(bug) || !hunted.false_alarms.is_empty() {
            failed.push(bug.id);
        }
    }
    assert!(failed.is_empty(), "not killed, or by another invariant than listed: {}", failed.join(", "));
}

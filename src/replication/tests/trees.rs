//! Trees over a partial mesh: what they cost, and that they follow the mesh.

use std::collections::BTreeMap;

use super::mesh::{MS, World, web};
use super::spreading::bill;
use super::*;

#[test]
fn a_partial_mesh_costs_at_most_half_more_than_the_minimum_with_few_duplicates() {
    for (n, degree, rate) in [(30, 8, 50), (45, 4, 50), (30, 8, 1_000)] {
        let bill = bill("partial mesh", &web(n, degree), 200, rate, 4);
        assert!(bill.ratio <= 1.5 && bill.duplicates <= 0.01, "{} {}", bill.ratio, bill.duplicates);
    }
}

/// Who delivered the last entry of the log of node 1 to this node.
fn source(world: &World, n: u8) -> Option<NodeId> {
    let logs = &world.hosts[&node(n)].machine.logs;
    logs.by_id().find(|(_, log)| log.id.actor.node == node(1)).and_then(|(_, log)| log.source)
}

#[test]
fn a_new_edge_that_is_faster_becomes_part_of_the_tree() {
    let chain: Vec<(u8, u8)> = (1..6).map(|n| (n, n + 1)).collect();
    let mut world = World::new(1, &chain, Config::default());
    let write = |world: &mut World| {
        for _ in 0..10 {
            world.originate(node(1), 100);
            world.run(200);
        }
    };
    write(&mut world);
    assert_eq!(source(&world, 6), Some(node(5)));
    world.edges.insert((node(1), node(6)));
    world.join_all();
    write(&mut world);
    assert_eq!(source(&world, 6), Some(node(1)));
    // One duplicate at each end of what was the chain's end and is no longer used, and no more.
    let duplicates = world.statistics().duplicates;
    write(&mut world);
    assert_eq!(world.statistics().duplicates, duplicates);
}

/// How long entries of node 1 take to each other node along the tree, and how long a flood would take, links alone.
fn depths(world: &World) -> Vec<(u64, u64)> {
    let nodes: Vec<u8> = (2..=u8::try_from(world.hosts.len()).unwrap()).collect();
    let hop = |a: NodeId, b: NodeId| world.delay((a.min(b), a.max(b)));
    let mut flood = BTreeMap::from([(node(1), 0)]);
    for _ in &nodes {
        for (a, b) in &world.edges {
            for (from, to) in [(a, b), (b, a)] {
                if let Some(at) = flood.get(from).map(|at| at + hop(*a, *b)) {
                    flood.entry(*to).and_modify(|known| *known = at.min(*known)).or_insert(at);
                }
            }
        }
    }
    let along = |n: u8| {
        let (mut at, mut took) = (node(n), 0);
        while at != node(1) {
            let above = source(world, at.as_bytes()[15]).expect("a tree ends at its origin");
            (at, took) = (above, took + hop(at, above));
        }
        took
    };
    nodes.into_iter().map(|n| (along(n), flood[&node(n)])).collect()
}

/// How much longer the worst way along the tree is than the worst way of a flood.
fn stretch(world: &World) -> f64 {
    let depths = depths(world);
    let (tree, flood) = depths.iter().fold((0, 0), |most, depth| (most.0.max(depth.0), most.1.max(depth.1)));
    tree as f64 / flood as f64
}

#[test]
fn trees_follow_when_links_become_faster_and_slower() {
    let mut world = World::new(1, &web(24, 6), Config::default());
    world.net.delay = (10 * MS, 100 * MS);
    let write = |world: &mut World, entries: u32| {
        for _ in 0..entries {
            world.originate(node(1), 100);
            world.run(300);
        }
    };
    write(&mut world, 10);
    let fresh = stretch(&world);
    // Every link has another delay now.
    world.net.drawn += 1;
    let before = (stretch(&world), world.statistics());
    write(&mut world, 30 * 64);
    let (after, statistics) = (stretch(&world), world.statistics());
    let duplicates = (statistics.duplicates - before.1.duplicates) as f64 / (statistics.taken - before.1.taken) as f64;
    println!(
        "stretch {fresh:.2}, {:.2} after a change, {after:.2} in the end; {:.2} % duplicates",
        before.0,
        duplicates * 100.0
    );
    assert!(fresh <= 1.2 && before.0 > 1.3 && after <= 1.2 && duplicates <= 0.03);
}

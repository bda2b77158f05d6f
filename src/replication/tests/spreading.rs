//! Whole meshes: what they agree on, what it costs, how fast they heal.

use std::time::Duration;

use super::mesh::{MS, Net, Traffic, World, full, star, tree};
use super::*;

/// What a mesh spent on a workload after it had warmed up.
pub(super) struct Bill {
    pub(super) ratio: f64,
    pub(super) duplicates: f64,
}

/// 16 writers at most, `rate` entries a second in all, for `seconds`; the bill of what came after the warm-up.
pub(super) fn bill(name: &str, edges: &[(u8, u8)], len: usize, rate: u64, seconds: u64) -> Bill {
    let mut world = World::new(1, edges, Config::default());
    let nodes: Vec<NodeId> = world.hosts.keys().copied().collect();
    let writers: Vec<NodeId> = nodes.iter().copied().take(16).collect();
    let mut luck = crate::machine::Rng::fork(&[5; 32], "workload");
    world.run(100);
    for _ in 0..6 {
        for writer in &writers {
            world.originate(*writer, len);
            world.run(20);
        }
    }
    world.run(1_000);
    let (before, warm) = (world.answered.len(), world.statistics());
    world.traffic = Traffic::default();
    for _ in 0..rate * seconds {
        let writer = *luck.pick(&writers).unwrap();
        world.originate(writer, len);
        world.run_nanos(luck.below(2_000_000_000 / rate));
    }
    world.settle(Duration::from_secs(5));
    world.run(500);
    let entries = (world.answered.len() - before) as u64;
    // What must cross: each entry once to each other node, as its stamp, its length and its body.
    let minimum = entries * (nodes.len() as u64 - 1) * (len as u64 + 11 + u64::from(len > 250) * 2);
    let after = world.statistics();
    let (taken, duplicates) = (after.taken - warm.taken, after.duplicates - warm.duplicates);
    let ratio = world.traffic.bytes as f64 / minimum as f64;
    let duplicates = duplicates as f64 / taken as f64;
    println!(
        "{name}: {} nodes, {entries} entries of {len} B at {rate}/s: {ratio:.3}x the minimum, {:.2} % duplicates, {:?}",
        nodes.len(),
        duplicates * 100.0,
        world.traffic
    );
    assert_eq!(after.faults, 0);
    Bill { ratio, duplicates }
}

#[test]
fn a_star_costs_at_most_a_seventh_more_than_the_minimum_and_has_no_duplicates() {
    for (n, rate) in [(5, 50), (30, 50), (5, 2_000)] {
        let bill = bill("star", &star(n), 200, rate, 4);
        assert!(bill.ratio <= 1.15 && bill.duplicates == 0.0, "{}", bill.ratio);
    }
}

#[test]
fn a_tree_costs_at_most_a_seventh_more_than_the_minimum_and_has_no_duplicates() {
    for (n, rate) in [(13, 50), (30, 500)] {
        let bill = bill("tree", &tree(n, 3), 200, rate, 4);
        assert!(bill.ratio <= 1.15 && bill.duplicates == 0.0, "{}", bill.ratio);
    }
}

#[test]
fn a_mesh_costs_at_most_half_more_than_the_minimum_with_few_duplicates() {
    for (n, rate) in [(5, 50), (16, 50), (30, 50), (5, 2_000)] {
        let bill = bill("mesh", &full(n), 200, rate, 4);
        assert!(bill.ratio <= 1.5 && bill.duplicates <= 0.05, "{} {}", bill.ratio, bill.duplicates);
    }
}

#[test]
fn every_graph_agrees_and_each_is_told_once() {
    for (name, edges) in [("star", star(8)), ("tree", tree(13, 3)), ("mesh", full(6)), ("pair", star(2))] {
        let mut world = World::new(2, &edges, Config::default());
        let nodes: Vec<NodeId> = world.hosts.keys().copied().collect();
        for round in 0..20 {
            for node in &nodes {
                world.originate(*node, 50 + round);
            }
            world.run(7);
        }
        let took = world.settle(Duration::from_secs(3));
        println!("{name}: {took:?}");
        for host in world.hosts.values() {
            assert_eq!(host.machine.view().entries(), 20 * nodes.len() as u64);
        }
    }
}

#[test]
fn a_newcomer_gets_everything_from_one_source_through_the_disk() {
    let config = Config { cache_bytes: 10_000, batch_bytes: 20_000, window_bytes: 60_000, ..Config::default() };
    let mut world = World::new(3, &full(4), config);
    for _ in 0..100 {
        for n in 1..=4 {
            world.originate(node(n), 1_000);
        }
        world.run(3);
    }
    world.settle(Duration::from_secs(10));
    // Node 4 loses its disk, and comes back as another writer.
    world.kill(node(4));
    world.run(100);
    world.hosts.get_mut(&node(4)).unwrap().disk.clear();
    world.hosts.get_mut(&node(4)).unwrap().machine.actor = actor(4, 2);
    world.restart(node(4));
    let before = (world.traffic, world.statistics());
    world.join_all();
    let took = world.settle(Duration::from_secs(20));
    let (bytes, missing) = (world.traffic.bytes - before.0.bytes, 400 * 1_012);
    println!("newcomer: {took:?}, {:.3}x the missing bytes", bytes as f64 / missing as f64);
    assert!(bytes * 10 <= missing * 12, "{bytes} of {missing}");
}

#[test]
fn a_node_whose_disk_was_put_back_writes_as_another_and_all_hold_both_branches() {
    for (name, edges, written_before_links) in [("mesh", full(4), 0), ("star", star(4), 0), ("mesh", full(4), 2)] {
        let mut world = World::new(9, &edges, Config::default());
        for _ in 0..20 {
            (1..=4).for_each(|n| world.originate(node(n), 100));
            world.run(20);
        }
        world.settle(Duration::from_secs(5));
        world.put_back(node(3), 31);
        // With luck it hears of it before it writes; without, what it wrote stands beside what the mesh holds.
        (0..written_before_links).for_each(|_| world.originate(node(3), 100));
        world.run(10);
        world.join_all();
        world.run(200);
        let rolled_back = |event: &Event| matches!(event, Event::RolledBack { .. });
        assert_eq!(world.hosts[&node(3)].events.iter().filter(|event| rolled_back(event)).count(), 1, "{name}");
        (1..=4).for_each(|n| world.originate(node(n), 100));
        world.run(50);
        world.settle(Duration::from_secs(5));
        let entries = |n| world.hosts[&node(n)].machine.view().entries();
        assert_eq!([1, 2, 3, 4].map(entries), [84 + written_before_links; 4], "{name}");
        assert_eq!(world.statistics().branches, written_before_links.min(1), "nobody else has to do anything");
    }
}

#[test]
fn a_lost_frame_is_repaired_in_about_one_round_trip() {
    let mut world = World::new(4, &star(2), Config::default());
    world.net.delay = (20 * MS, 20 * MS);
    for _ in 0..20 {
        world.originate(node(1), 100);
        world.run(60);
    }
    world.net.loss = 1_000;
    world.originate(node(1), 100);
    world.run(10);
    world.net.loss = 0;
    world.originate(node(1), 100);
    // 20 ms for the next entry, 40 for the request and its answer, a few for disks and gathering.
    let took = world.settle(Duration::from_secs(1));
    assert!(took <= Duration::from_millis(75), "{took:?}");
    assert_eq!(world.statistics().wants, 1);
}

#[test]
fn a_lost_last_frame_is_sent_again() {
    let mut world = World::new(4, &star(2), Config::default());
    for _ in 0..20 {
        world.originate(node(1), 100);
        world.run(60);
    }
    world.net.loss = 1_000;
    world.originate(node(1), 100);
    world.run(10);
    world.net.loss = 0;
    let took = world.settle(Duration::from_secs(1));
    assert!(took <= Duration::from_millis(200), "{took:?}");
}

#[test]
fn in_sync_a_round_of_anti_entropy_costs_at_most_64_bytes() {
    let mut world = World::new(5, &full(5), Config::default());
    for n in 1..=5 {
        world.originate(node(n), 100);
    }
    world.run(5_000);
    world.agrees().unwrap();
    world.traffic = Traffic::default();
    world.run(60_000);
    println!("in sync: {:?}", world.traffic);
    assert!(world.traffic.frames >= 5 * 20 && world.traffic.bytes <= 64 * world.traffic.frames);
    assert_eq!(world.traffic.bytes, world.traffic.digests, "digests only");
}

#[test]
fn a_mesh_under_loss_still_agrees_within_a_second() {
    let mut world = World::new(6, &full(6), Config::default());
    world.net.loss = 10;
    let mut luck = crate::machine::Rng::fork(&[6; 32], "workload");
    for _ in 0..500 {
        world.originate(node(u8::try_from(luck.below(6)).unwrap() + 1), 112);
        world.run(10);
    }
    let took = world.settle(Duration::from_secs(5));
    println!("1 % loss: {took:?} after the last entry, {:?}", world.statistics());
    assert!(took <= Duration::from_secs(1), "{took:?}");
}

#[test]
fn a_partition_is_healed_with_little_more_than_what_is_missing() {
    for (name, edges) in [("star", star(6)), ("tree", tree(9, 2)), ("mesh", full(6))] {
        let mut world = World::new(7, &edges, Config::default());
        world.run(200);
        let across: Vec<_> = world.edges.iter().copied().filter(|(a, b)| (*a > node(3)) != (*b > node(3))).collect();
        across.iter().for_each(|(a, b)| world.cut(*a, *b));
        for _ in 0..200 {
            for id in world.hosts.keys().copied().collect::<Vec<_>>() {
                world.originate(id, 200);
            }
            world.run(50);
        }
        world.run(3_000);
        let missing: u64 = {
            let nodes = world.hosts.len() as u64;
            let held: u64 = world.hosts.values().map(|host| host.machine.view().entries()).sum();
            (200 * nodes * nodes - held) * 211
        };
        let (bytes, before) = (world.traffic.bytes, world.statistics());
        world.join_all();
        let took = world.settle(Duration::from_secs(6));
        world.run(1_000);
        let spent = world.traffic.bytes - bytes;
        let after = world.statistics();
        println!(
            "{name}: healed in {took:?}, {:.3}x the missing bytes, {} duplicates of {}",
            spent as f64 / missing as f64,
            after.duplicates - before.duplicates,
            after.taken - before.taken,
        );
        assert!(spent * 10 <= missing * 12, "{name}: {spent} for {missing}");
    }
}

/// What may happen to a mesh, drawn from a few numbers.
fn schedule(world: &mut World, steps: &[(u8, u8, u8)]) {
    let edges: Vec<_> = world.edges.iter().copied().collect();
    let nodes: Vec<NodeId> = world.hosts.keys().copied().collect();
    for (what, which, much) in steps {
        let edge = edges[usize::from(*which) % edges.len()];
        let id = nodes[usize::from(*which) % nodes.len()];
        match what % 12 {
            0 => world.cut(edge.0, edge.1),
            1 => world.join(edge.0, edge.1),
            2 => world.kill(id),
            3 => world.restart(id),
            4 => {
                world.net = Net {
                    loss: u64::from(*much) % 100,
                    doubled: u64::from(*which) % 100,
                    reorder: much % 3 == 0,
                    ..Net::default()
                }
            }
            5 => world.run(u64::from(*much) * 8),
            6 => (0..*much / 4).for_each(|_| world.originate(id, 3_000)),
            _ => {
                world.originate(id, usize::from(*much) * 4);
                world.run(u64::from(*much) / 16);
            }
        }
    }
    world.net = Net::default();
    nodes.iter().for_each(|id| world.restart(*id));
    world.join_all();
}

fn agrees_after(edges: &[(u8, u8)], steps: &[(u8, u8, u8)]) -> bool {
    // Small bounds, so that schedules reach them.
    let config = Config {
        cache_bytes: 20_000,
        batch_bytes: 8_000,
        window_bytes: 30_000,
        held_bytes: 20_000,
        batch_size: 16,
        ..Config::default()
    };
    let mut world = World::new(8, edges, config);
    schedule(&mut world, steps);
    world.settle(Duration::from_secs(60));
    world.statistics().faults == 0
}

pub(super) type Steps = Vec<(u8, u8, u8)>;

/// A whole mesh for each case: fewer cases than of a plain function.
fn for_some(law: fn(Vec<(u8, u8)>, Steps) -> bool) {
    quickcheck::QuickCheck::new().tests(25).quickcheck(law);
}

#[test]
fn a_mesh_agrees_after_any_schedule() {
    for_some(|_, steps| agrees_after(&full(5), &steps));
}

#[test]
fn a_star_agrees_after_any_schedule() {
    for_some(|_, steps| agrees_after(&star(6), &steps));
}

#[test]
fn a_tree_agrees_after_any_schedule() {
    for_some(|_, steps| agrees_after(&tree(7, 2), &steps));
}

/// Disks are put back to earlier images, also of hosts that are cut off from some, so that both branches of a log find
/// takers.
pub(super) fn put_back(world: &mut World, steps: &[(u8, u8, u8)]) {
    let edges: Vec<_> = world.edges.iter().copied().collect();
    let nodes: Vec<NodeId> = world.hosts.keys().copied().collect();
    let mut images: BTreeMap<NodeId, usize> = BTreeMap::new();
    for (what, which, much) in steps {
        let id = nodes[usize::from(*which) % nodes.len()];
        match what % 10 {
            0 => {
                let side = |id: &NodeId| *much >> (id.as_bytes()[15] % 8) & 1;
                edges.iter().filter(|(a, b)| side(a) != side(b)).for_each(|(a, b)| world.cut(*a, *b));
            }
            1 => world.join_all(),
            2 => _ = images.insert(id, world.hosts[&id].disk.len()),
            3 | 4 => {
                world.put_back(id, images.get(&id).copied().unwrap_or_else(|| usize::from(*much)));
                let same = |(a, b): &&(NodeId, NodeId)| much & 1 == 0 && (*a == id || *b == id);
                edges.iter().filter(same).for_each(|(a, b)| world.join(*a, *b));
            }
            5 => world.run(u64::from(*much) * 4),
            _ => {
                world.originate(id, usize::from(*much));
                world.run(u64::from(*much) / 32);
            }
        }
    }
    world.join_all();
}

#[test]
fn a_mesh_whose_disks_are_put_back_agrees_and_loses_nothing() {
    let law: fn(Steps) -> bool = |steps| {
        let mut world = World::new(8, &full(4), Config { window_bytes: 30_000, batch_size: 16, ..Config::default() });
        put_back(&mut world, &steps);
        world.run(20);
        world.settle(Duration::from_secs(60));
        world.statistics().faults == 0
    };
    quickcheck::QuickCheck::new().tests(100).quickcheck(law);
}

#[test]
fn any_graph_agrees_after_any_schedule() {
    for_some(|edges, steps| {
        // A chain, so that it is connected, and what else was drawn.
        let more = edges.iter().map(|(a, b)| (a % 9 + 1, b % 9 + 1)).filter(|(a, b)| a < b);
        let edges: Vec<_> = (1..9).map(|n| (n, n + 1)).chain(more).collect();
        agrees_after(&edges, &steps)
    });
}

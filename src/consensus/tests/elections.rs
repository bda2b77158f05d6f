//! Elections: how long they take, who is not disturbed, and who gives up.

use super::world::{MS, Weather, World, ms};
use super::*;

/// How long it takes from the leader's death to the next decision, in milliseconds, in order; links are seen to close, or not.
fn failovers(seeds: u64, voters: usize, weather: Weather, is_seen: bool) -> Vec<u64> {
    let once = |seed| {
        let (mut world, leader) = World::led(seed, voters);
        world.weather = weather;
        world.run(200);
        let phase = world.below(50);
        world.run(phase);
        world.crash(leader, is_seen);
        world.until(5_000, |world| world.leader().is_some())
    };
    let mut took: Vec<u64> = (0..seeds).map(once).collect();
    took.sort_unstable();
    took
}

/// F1, G3.
#[test]
fn a_dead_leader_is_followed_in_turn() {
    for voters in [3, 5] {
        let took = failovers(60, voters, Weather::FAIR, false);
        println!("{voters} voters: p50 {} max {} ms", took[30], took[59]);
        assert!(took[59] <= 250, "{took:?}");
    }
}

/// F2.
#[test]
fn a_closed_link_makes_it_faster() {
    for voters in [3, 5] {
        let took = failovers(60, voters, Weather::FAIR, true);
        println!("{voters} voters: p50 {} max {} ms", took[30], took[59]);
        assert!(took[59] <= 120, "{took:?}");
    }
}

/// G3: disks of 4 to 30 ms.
#[test]
fn slow_disks_make_no_split_votes() {
    let took = failovers(60, 3, Weather { sync: (4_000, 30_000), ..Weather::FAIR }, false);
    println!("p50 {} max {} ms", took[30], took[59]);
    assert!(took[59] <= 400, "{took:?}");
}

/// Where a sync takes as long as a timeout of an election, one ballot ends before the next begins.
#[test]
fn disks_slower_than_elections_elect_nevertheless() {
    for sync in [200_000, 400_000] {
        let took = failovers(10, 3, Weather { sync: (sync, sync), ..Weather::FAIR }, false);
        println!("{sync} us: p50 {} max {} ms", took[5], took[9]);
        assert!(took[9] <= 1_500, "{took:?}");
    }
}

/// F23, within reason: where nobody can take the office over in time, a leader with a slow disk does not try again and again, since it
/// takes nothing on while it does.
#[test]
fn a_slow_disk_does_not_refuse_everything() {
    let (mut world, leader) = World::led(5, 3);
    world.run(200);
    let later = world.now + 10_000 * MS;
    world.peers.iter_mut().for_each(|peer| peer.disk_stuck_until = later);
    let mut taken = 0;
    for n in 0..90 {
        world.run(50);
        taken += u32::from(world.propose(leader, &format!("{}", n % 8)).1.is_ok());
    }
    println!("{taken} of 90 taken on");
    assert!(taken >= 60, "{taken} of 90");
}

/// F2: one broken link is no reason for anything.
#[test]
fn a_false_alarm_changes_nothing() {
    for seed in 0..5 {
        let (mut world, leader) = World::led(seed, 3);
        let follower = (leader + 1) % 3;
        let term = world.view(leader).term();
        world.cut.extend([(leader, follower), (follower, leader)]);
        for (at, other) in [(leader, follower), (follower, leader)] {
            let node = world.peers[other].node;
            world.step(at, |machine, cx| machine.on_unlinked(cx, node));
        }
        world.run(60_000);
        assert_eq!((world.leader(), world.view(leader).term()), (Some(leader), term));
        world.decide("goes on");
    }
}

/// F3, R15: pre-vote.
#[test]
fn a_voter_that_comes_back_deposes_nobody() {
    for seed in 0..5 {
        let (mut world, leader) = World::led(seed, 3);
        let term = world.view(leader).term();
        world.isolate(&[(leader + 1) % 3]);
        world.run(60_000);
        world.decide("meanwhile");
        world.cut.clear();
        world.run(2_000);
        assert_eq!((world.leader(), world.view(leader).term()), (Some(leader), term));
        assert_eq!(world.view((leader + 1) % 3).leader(), Some(world.id(leader)));
    }
}

/// F4, R16: cut off, deaf, or mute, it gives up within 300 ms; and nothing is begun there any more.
#[test]
fn a_leader_without_a_majority_gives_up() {
    for seed in 0..30 {
        for way in ["cut off", "deaf"] {
            let (mut world, leader) = World::led(seed, if seed % 2 == 0 { 3 } else { 5 });
            let others: Vec<_> = (0..world.peers.len()).filter(|at| *at != leader).collect();
            world.cut.extend(others.iter().map(|other| (*other, leader)));
            if way == "cut off" {
                world.cut.extend(others.iter().map(|other| (leader, *other)));
            }
            let gave_up = |world: &World| world.view(leader).standing() != Standing::Leader;
            let took = world.until(5_000, gave_up);
            assert!(took <= 300, "{way}: {took} ms");
            assert_eq!(world.propose(leader, "too late").1, Err(Refusal::NoQuorum));
            // The others go on without it.
            let took = world.until(5_000, |world| world.leader().is_some_and(|at| at != leader));
            assert!(took <= 450, "{way}: {took} ms");
            world.decide("without it");
            world.heal();
        }
    }
}

/// A leader that nobody hears is followed by somebody, and does not come back by force.
#[test]
fn a_mute_leader_is_replaced() {
    for seed in 0..10 {
        let (mut world, leader) = World::led(seed, 3);
        world.cut.extend((0..3).filter(|at| *at != leader).map(|other| (leader, other)));
        let took = world.until(5_000, |world| world.leader().is_some_and(|at| at != leader));
        assert!(took <= 300, "{took} ms");
        world.heal();
    }
}

/// A process that was stopped while somebody else was elected does nothing before it knows.
#[test]
fn a_leader_that_was_stopped_begins_nothing() {
    let (mut world, leader) = World::led(1, 3);
    world.peers[leader].paused_until = world.now + 2_000 * MS;
    world.run(1_999);
    assert!(world.leader().is_some_and(|at| at != leader) && world.view(leader).standing() == Standing::Leader);
    assert_eq!(world.propose(leader, "old").1, Err(Refusal::NoQuorum));
    assert_eq!(world.view(leader).standing(), Standing::Follower);
    world.heal();
}

/// F10, G9: the next decision comes at once, and without waiting for a timeout.
#[test]
fn the_office_is_handed_over() {
    let mut took = Vec::new();
    for seed in 0..40 {
        let (mut world, leader) = World::led(seed, 3);
        let to = world.step(leader, |machine, cx| machine.transfer(cx, None)).unwrap();
        took.push(world.until(1_000, |world| world.leader().is_some_and(|at| at != leader)));
        assert_eq!(world.leader().map(|at| world.id(at)), Some(to));
        assert!(
            world.told(leader).iter().any(|event| matches!(event, Event::Resigned { why: Resigned::LaterTerm, .. }))
        );
        world.decide("after");
    }
    took.sort_unstable();
    println!("p50 {} max {} ms", took[20], took[39]);
    assert!(took[39] <= 100, "{took:?}");
}

#[test]
fn a_hand_over_that_cannot_be_is_refused_or_given_up() {
    let (mut world, leader) = World::led(2, 3);
    let nobody = Actor { node: NodeId::from_u128(9), mint: Mint::new(9) };
    let refused = world.step(leader, |machine, cx| machine.transfer(cx, Some(nobody)));
    assert_eq!(refused, Err(TransferError::NoSuccessor { wanted: Some(nobody) }));
    // It dies at the wrong moment: the office stays, and is usable again after a second.
    let to = (leader + 1) % 3;
    let id = world.id(to);
    world.crash(to, true);
    assert_eq!(world.step(leader, |machine, cx| machine.transfer(cx, Some(id))), Ok(id));
    assert!(matches!(world.propose(leader, "in between").1, Err(Refusal::NotLeader { leader: None, .. })));
    world.run(1_200);
    assert!(world.told(leader).contains(&Event::TransferFailed { to: id }));
    assert_eq!(world.propose(leader, "again").1, Ok(()));
    world.heal();
}

/// F23: whoever leads with a disk that stalls hands the office over.
#[test]
fn a_stalled_disk_costs_the_office() {
    for seed in 0..10 {
        let (mut world, leader) = World::led(seed, 3);
        world.peers[leader].disk_stuck_until = world.now + 20_000 * MS;
        world.propose(leader, "stuck").1.unwrap();
        let took = world.until(5_000, |world| world.leader().is_some_and(|at| at != leader));
        assert!(took <= 1_000, "{took} ms");
        world.decide("elsewhere");
        world.heal();
    }
}

/// Clocks that differ by a tenth do not make elections begin by themselves.
#[test]
fn clocks_that_drift_are_borne() {
    for seed in 0..5 {
        let (mut world, leader) = World::led(seed, 5);
        for at in 0..5 {
            world.peers[at].drift = if at % 2 == 0 { 50 } else { -50 };
        }
        world.run(30_000);
        assert_eq!((world.leader(), world.checks.elections), (Some(leader), 1));
    }
}

/// The higher priority is elected as a rule.
#[test]
fn the_first_in_rank_is_elected() {
    let mut first = 0;
    for seed in 0..40 {
        let mut world = World::new(seed, 3, awake());
        let voters: Vec<_> = [0, 1, 2].map(|at| (world.id(at), [0, 9, 5][at])).into();
        (0..3).for_each(|at| world.step(at, |machine, cx| machine.found(cx, Mint::new(7), &voters).unwrap()));
        let leader = world.settle();
        world.run(200);
        world.crash(leader, true);
        world.until(5_000, |world| world.leader().is_some());
        let expected = if leader == 1 { 2 } else { 1 };
        first += u32::from(world.leader() == Some(expected));
    }
    assert!(first >= 38, "{first} of 40");
}

#[test]
fn a_group_of_one_leads_itself() {
    let mut world = World::founded(1, 1, 1, awake());
    let took = world.until(100, |world| world.leader() == Some(0));
    assert!(took < 20, "{took} ms");
    world.decide("alone");
    world.crash(0, true);
    world.restart(0);
    assert!(world.until(100, |world| world.leader() == Some(0)) < 20);
}

/// What suspects a peer that is heard is not believed.
#[test]
fn a_suspicion_of_a_leader_that_is_heard_says_nothing() {
    let (mut world, leader) = World::led(1, 3);
    let (follower, node) = ((leader + 1) % 3, world.peers[leader].node);
    world.step(follower, |machine, cx| machine.on_suspected(cx, node));
    assert_eq!(world.view(follower).leader(), Some(world.id(leader)));
    world.isolate(&[leader]);
    world.until(140, |world| {
        let heard_at = world.peers[follower].machine.heard_at;
        world.clock(follower).mono.since(heard_at) > ms(101)
    });
    world.step(follower, |machine, cx| machine.on_suspected(cx, node));
    assert_eq!(world.view(follower).leader(), None);
}

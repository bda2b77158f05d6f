//! Orders that are asked for at any peer.

use std::time::Duration;

use super::super::*;
use super::world::World;

/// A world of five with three voters, who acts there, and somebody who neither leads nor acts nor votes.
fn served() -> (World, usize, usize) {
    let (world, primary) = World::served(7, 5, 3, Config { hooks: true, ..Config::primary() });
    let far = (0..5).rev().find(|at| *at != primary && Some(*at) != world.leader()).unwrap();
    (world, primary, far)
}

#[test]
fn any_peer_takes_an_order_and_answers() {
    let (mut world, primary, far) = served();
    let id = world.order_at(far, OrderWhat::Move { to: Some(world.peers[far].node) }, 5);
    world.until(2_000, |world| world.answer(id).is_some());
    let token = world.answer(id).unwrap().unwrap();
    world.until(1_000, |world| world.primary() == Some(far));
    assert_eq!(world.grant().0, token);
    assert_ne!(primary, far);
}

#[test]
fn a_refusal_of_the_leader_comes_back() {
    let (mut world, primary, far) = served();
    let id = world.order_at(far, OrderWhat::Move { to: Some(world.peers[primary].node) }, 5);
    world.until(500, |world| world.answer(id).is_some());
    assert_eq!(world.answer(id), Some(Err(OrderError::Already)));
}

#[test]
fn an_order_outlives_the_leader_and_is_carried_out_once() {
    for after in [0, 1, 2, 4, 6, 8, 10, 15, 20] {
        let (mut world, _, far) = served();
        let id = world.order_at(far, OrderWhat::Move { to: None }, 20);
        world.run(after);
        let leader = world.leader().unwrap();
        world.crash(leader, true);
        world.until(20_000, |world| world.answer(id).is_some());
        world.restart(leader);
        world.heal();
        let grant = world.grant().1;
        let reasons = grant.history.iter().map(|past| past.turn.reason).chain([grant.turn.reason]);
        let switched = reasons.filter(|reason| *reason == Reason::Switchover).count();
        match world.answer(id).unwrap() {
            Ok(_) => assert_eq!(switched, 1, "after {after} ms"),
            Err(error) => assert!(switched <= 1, "after {after} ms: {error}"),
        }
    }
}

/// A voter asks for a move, the leader decides it and dies before its answer is on its way, and whoever asked is elected: how often it was so, of
/// so many worlds.
fn elected_with_a_decided_order(sees_outcomes: bool) -> usize {
    let mut times = 0;
    for seed in 0..12 {
        let (mut world, _) = World::served(seed, 5, 3, Config { hooks: true, ..Config::primary() });
        world.sees_outcomes = sees_outcomes;
        let leader = world.leader().unwrap();
        // Whoever is first to see the link close is elected.
        let asker = (0..3).find(|at| *at != leader).unwrap();
        let id = world.order_at(asker, OrderWhat::Move { to: None }, 20);
        world.until(2_000, |world| world.is_decided_at(leader, id));
        world.lose_what_is_under_way_to(asker);
        world.crash(leader, true);
        world.until(5_000, |world| world.leader().is_some_and(|at| at != leader));
        times += usize::from(world.leader() == Some(asker));
        world.until(5_000, |world| world.answer(id).is_some());
        assert!(matches!(world.answer(id), Some(Ok(_))), "seed {seed}: {:?}", world.answer(id));
        // There is failover, also after whatever the order came to.
        world.until(5_000, |world| world.primary().is_some());
        world.restart(leader);
        world.run(1_000);
        let primary = world.primary().unwrap();
        world.crash(primary, true);
        world.until(5_000, |world| world.primary().is_some_and(|at| at != primary));
        world.heal();
        let grant = world.grant().1;
        let reasons = grant.history.iter().map(|past| past.turn.reason).chain([grant.turn.reason]);
        assert_eq!(reasons.filter(|reason| *reason == Reason::Switchover).count(), 1, "seed {seed}");
    }
    times
}

#[test]
fn who_is_elected_with_an_order_of_its_own_that_is_decided_answers_it() {
    assert!(elected_with_a_decided_order(true) > 0);
}

/// Where a host does not know what came of an order, the order comes to what was decided under its name, and the role is free for others.
#[test]
fn what_was_decided_before_is_no_reason_to_wait_for_ever() {
    assert!(elected_with_a_decided_order(false) > 0);
}

#[test]
fn where_nobody_leads_that_is_said_soon() {
    let (mut world, ..) = served();
    let far = (0..3).find(|at| Some(*at) != world.leader()).unwrap();
    world.isolate(&[far]);
    world.close_links(far);
    world.run(2_000);
    let id = world.order_at(far, OrderWhat::Pause, 20);
    let took = world.until(5_000, |world| world.answer(id).is_some());
    assert!(matches!(world.answer(id), Some(Err(OrderError::NotLeader { leader: None } | OrderError::Unknown))));
    assert!(Duration::from_millis(took) <= Duration::from_millis(300), "{took} ms");
}

//! What is asked for: done once, refused for certain, or unknown until asked again; and reads.

use super::world::{MS, World};
use super::*;
use crate::types::WallTime;

/// R13: asked of the old leader and of the new one, it is done once, and both times the same answer comes.
#[test]
fn what_is_asked_twice_is_done_once() {
    for seed in 0..10 {
        let (mut world, leader) = World::led(seed, 3);
        let (request, _) = world.propose(leader, "once");
        world.run(100);
        let first = world.answer(leader, request).unwrap();
        world.crash(leader, true);
        world.until(2_000, |world| world.leader().is_some());
        let next = world.leader().unwrap();
        assert_eq!(world.propose_as(next, "once", request), Ok(()));
        assert_eq!(world.answer(next, request), Some(first));
        world.heal();
    }
}

/// F13: appended in a minority it is unknown, and never hangs; asked again it is done, once.
#[test]
fn unknown_is_answered_in_time_and_asking_again_tells() {
    for seed in 0..10 {
        let (mut world, leader) = World::led(seed, 3);
        world.isolate(&[leader]);
        let (request, result) = world.propose(leader, "perhaps");
        assert_eq!(result, Ok(()));
        let took = world.until(1_000, |world| world.answer(leader, request).is_some());
        assert!(took <= 300 && world.answer(leader, request) == Some(Answer::Unknown), "{took} ms");
        world.cut.clear();
        world.until(3_000, |world| world.leader().is_some());
        world.run(500);
        let next = world.leader().unwrap();
        assert_eq!(world.propose_as(next, "perhaps", request), Ok(()));
        world.run(200);
        assert!(matches!(world.answer(next, request), Some(Answer::Decided { outcome: Outcome::Done, .. })));
        world.heal();
    }
}

/// While it is on its way it is not appended a second time.
#[test]
fn what_is_on_its_way_is_not_appended_again() {
    let (mut world, leader) = World::led(1, 3);
    let (request, _) = world.propose(leader, "a");
    let last = world.view(leader).last();
    assert_eq!(world.propose_as(leader, "a", request), Ok(()));
    assert_eq!(world.view(leader).last(), last);
    world.run(100);
    assert!(matches!(world.answer(leader, request), Some(Answer::Decided { .. })));
}

/// F13: in a minority everybody says so, at once, soon after the cut.
#[test]
fn a_minority_says_that_it_is_one() {
    for seed in 0..10 {
        let (mut world, leader) = World::led(seed, 5);
        let follower = (leader + 1) % 5;
        world.isolate(&[leader, follower]);
        world.run(300);
        assert_eq!(world.propose(leader, "no").1, Err(Refusal::NoQuorum));
        // Who follows heard from the leader until that gave up.
        world.run(300);
        for at in [leader, follower] {
            assert_eq!(world.propose(at, "no").1, Err(Refusal::NoQuorum), "{at}");
            let read = world.step(at, |machine, cx| machine.read(cx, 1));
            assert_eq!(read, Err(Refusal::NoQuorum));
        }
        world.heal();
    }
}

/// F11: whoever does not lead says who does.
#[test]
fn a_follower_names_the_leader() {
    let (mut world, leader) = World::led(1, 3);
    let follower = (leader + 1) % 3;
    let (epoch, term) = (world.view(leader).epoch(), world.view(leader).term());
    let expected = Refusal::NotLeader { leader: Some(world.peers[leader].node), epoch, term };
    assert_eq!(world.propose(follower, "no").1, Err(expected));
    let mut stranger = World::new(1, 1, awake());
    assert_eq!(stranger.propose(0, "no").1, Err(Refusal::Outsider));
}

/// F13: what has expired is not begun.
#[test]
fn what_has_expired_is_not_begun() {
    let (mut world, leader) = World::led(4, 3);
    world.run(200);
    let action = Action { name: Name::new("late").unwrap(), expect: Expect::Any, value: None };
    let request = RequestId { born: world.view(leader).commit(), number: 5 };
    let wall = world.clock(leader).wall.as_micros();
    let past = Intent { request, expires: WallTime::from_micros(wall - 1), action };
    let refused = world.step(leader, |machine, cx| machine.propose(cx, past));
    assert!(matches!(refused, Err(Refusal::Expired { .. })));
}

#[test]
fn names_from_the_past_and_from_the_future_are_refused() {
    let mut world = World::founded(1, 1, 1, awake());
    world.settle();
    let old = RequestId { born: world.view(0).commit(), number: 1 };
    assert_eq!(world.propose_as(0, "old", old), Ok(()));
    let last = world.view(0).last().index;
    let unborn = RequestId { born: Index::new(last.value() + 2), number: 2 };
    assert_eq!(world.propose_as(0, "x", unborn), Err(Refusal::Unborn { born: unborn.born, last }));
    for n in 0..SESSIONS_MAX {
        if n % 512 == 0 {
            world.run(20);
        }
        world.propose(0, "x").1.unwrap();
    }
    world.run(100);
    // Its outcome is forgotten; that it may have been done is not.
    assert_eq!(world.view(0).outcome(old), None);
    assert!(matches!(world.propose_as(0, "old", old), Err(Refusal::Forgotten { .. })));
}

/// A read sees all that was decided before it was asked.
#[test]
fn a_read_sees_what_was_decided_before() {
    for seed in 0..10 {
        let (mut world, leader) = World::led(seed, 3);
        let token = world.decide("before");
        world.step(leader, |machine, cx| machine.read(cx, 7)).unwrap();
        world.until(100, |world| world.peers[leader].told.iter().any(|event| matches!(event, Event::Readable { .. })));
        let told = world.told(leader);
        let read = told.iter().find_map(|event| match event {
            Event::Readable { read: 7, index } => Some(*index),
            _ => None,
        });
        assert!(read.is_some_and(|index| index >= token.index));
    }
}

/// R12: a leader that is cut off, and does not know it yet, answers no read, while others decide.
#[test]
fn a_leader_that_is_cut_off_answers_no_read() {
    for seed in 0..20 {
        let (mut world, leader) = World::led(seed, 3);
        world.isolate(&[leader]);
        world.told(leader);
        let mut taken = 0;
        for read in 0..30 {
            world.run(10);
            taken += u64::from(world.step(leader, |machine, cx| machine.read(cx, read)).is_ok());
        }
        assert!(taken > 10);
        world.decide("elsewhere");
        world.cut.clear();
        world.run(1_000);
        let told = world.told(leader);
        assert!(!told.iter().any(|event| matches!(event, Event::Readable { .. })));
        let failed = told.iter().filter(|event| matches!(event, Event::Unreadable { .. })).count();
        assert_eq!(failed as u64, taken);
    }
}

/// A leader that has not committed in its term does not know what is committed: reads wait for that.
#[test]
fn a_read_waits_for_the_first_commit_of_a_term() {
    let (mut world, leader) = World::led(2, 3);
    world.run(100);
    // Followers hold what the leader decides, and do not know that it is decided.
    let followers = [(leader + 1) % 3, (leader + 2) % 3];
    let (request, _) = world.propose(leader, "x");
    world.until(100, |world| world.answer(leader, request).is_some());
    let decided = world.view(leader).commit();
    world.crash(leader, true);
    world.until(2_000, |world| followers.iter().any(|at| matches!(world.peers[*at].machine.office, Office::Leader(_))));
    let next = *followers.iter().find(|at| matches!(world.peers[**at].machine.office, Office::Leader(_))).unwrap();
    assert!(!world.view(next).is_settled());
    world.told(next);
    world.step(next, |machine, cx| machine.read(cx, 1)).unwrap();
    world.run(100);
    let index = world.told(next).iter().find_map(|event| match event {
        Event::Readable { index, .. } => Some(*index),
        _ => None,
    });
    assert!(index.is_some_and(|index| index >= decided), "{index:?}");
}

/// Refusals are certain: whatever was refused is never done.
#[test]
fn a_refusal_is_certain() {
    for seed in 0..10 {
        let (mut world, leader) = World::led(seed, 3);
        world.peers[leader].paused_until = world.now + 1_000 * MS;
        world.run(1_000);
        let (request, result) = world.propose(leader, "refused");
        assert!(result.is_err());
        world.heal();
        assert!((0..3).all(|at| world.view(at).outcome(request).is_none()));
    }
}

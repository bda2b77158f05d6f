//! What comes after the worst: all down at once, a majority lost for good, a store that lost what it promised.

use super::world::World;
use super::*;

/// All lose power at once, at any moment: what was acknowledged is there.
#[test]
fn a_power_cut_loses_nothing_that_was_acknowledged() {
    for seed in 0..20 {
        let (mut world, leader) = World::led(seed, 3);
        for n in 0..20 {
            let _ = world.propose(leader, &format!("{n}"));
            let pause = world.below(4);
            world.run(pause);
        }
        (0..3).for_each(|at| world.crash(at, false));
        world.heal();
    }
}

/// A rolling restart: links that died unseen do not slow the next election down (G8).
#[test]
fn a_rolling_restart_is_survived() {
    let (mut world, _) = World::led(1, 3);
    for at in 0..3 {
        world.crash(at, true);
        world.run(100);
        world.restart(at);
        world.settle();
        world.decide("between");
    }
    let leader = world.leader().unwrap();
    world.crash(leader, true);
    let took = world.until(1_000, |world| world.leader().is_some());
    assert!(took <= 120, "{took} ms");
}

/// F18, F19, G12: three of five are lost. The survivor with the furthest log forms the group anew; what is of the old generation is refused,
/// changes nothing, and joins as a learner.
#[test]
fn a_group_that_lost_its_majority_is_formed_anew() {
    let (mut world, leader) = World::led(2, 5);
    world.decide("kept");
    world.run(200);
    let rest: Vec<_> = (0..5).filter(|at| *at != leader).collect();
    let (survivor, lost) = (rest[0], [leader, rest[2], rest[3]]);
    // The other survivor holds more: an operator takes the furthest log.
    lost.iter().for_each(|at| world.crash(*at, true));
    world.run(1_000);
    assert_eq!(world.leader(), None);
    let state = world.peers[survivor].machine.state.clone();
    world.checks.begin_anew(Epoch::new(2), &state);
    let again = world.step(survivor, |machine, cx| machine.reform(cx, Epoch::new(1), 0));
    assert_eq!(again, Err(FormError::Epoch { wanted: Epoch::new(1), known: Epoch::new(1) }));
    world.step(survivor, |machine, cx| machine.reform(cx, Epoch::new(2), 0)).unwrap();
    let took = world.until(2_000, |world| world.leader() == Some(survivor));
    assert!(took < 100, "{took} ms");
    assert!(world.view(survivor).registers().contains_key(&Name::new("kept").unwrap()));
    let token = world.decide("new");
    assert_eq!(token.epoch, Epoch::new(2));

    // The lost come back, and are three of five again.
    lost.iter().for_each(|at| world.restart(*at));
    world.run(3_000);
    for at in lost {
        assert_eq!(world.view(at).epoch(), Epoch::new(1));
        let told = world.told(at);
        let is_told = |event: &Event| matches!(event, Event::NewerEpoch { epoch, .. } if *epoch == Epoch::new(2));
        // Whoever asks for votes hears it.
        let asks = told.iter().any(|event| matches!(event, Event::Elected { .. } | Event::Resigned { .. }));
        assert!(asks || told.iter().any(is_told) || world.view(at).leader().is_some(), "{told:?}");
    }
    assert!(world.told(survivor).iter().any(|event| matches!(event, Event::OldEpoch { .. })));
    assert_eq!(world.view(survivor).group().unwrap().members().len(), 1);
    for at in lost {
        world.step(at, |machine, cx| machine.withdraw(cx));
    }
    world.run(50);
    for at in lost {
        let id = world.id(at);
        for change in [Change::AddLearner { id, priority: 0 }, Change::Promote { id }] {
            world.step(survivor, |machine, cx| machine.change(cx, change)).unwrap();
            world.run(300);
        }
    }
    assert!(lost.iter().all(|at| world.view(*at).epoch() == Epoch::new(2)));
    // It is on the disks.
    (0..5).filter(|at| *at != rest[1]).for_each(|at| world.crash(at, true));
    world.crash(rest[1], true);
    for at in lost.into_iter().chain([survivor]) {
        world.restart(at);
    }
    world.until(3_000, |world| world.leader().is_some());
    assert_eq!(world.decide("after").epoch, Epoch::new(2));
}

/// A generation counts its terms from where its log ends: also one that ran out of them can be formed anew.
#[test]
fn a_new_generation_has_terms_again() {
    let (mut world, leader) = World::led(6, 3);
    let (at, from) = ((leader + 1) % 3, world.id((leader + 2) % 3));
    (0..3).filter(|other| *other != at).for_each(|other| world.crash(other, true));
    world.run(500);
    let last = world.view(at).last();
    let (founding, epoch, to) = (Mint::new(7), Epoch::new(1), world.id(at).mint);
    let body = Body::Ask { last, ballot: Ballot::Vote };
    let message = Message { founding, epoch, term: Term::new(COUNT_MAX - 1), from: from.mint, to, body };
    world.step(at, |machine, cx| machine.on_message(cx, from.node, message));
    assert_eq!(world.view(at).term(), Term::new(COUNT_MAX - 1));
    world.run(20);
    let state = world.peers[at].machine.state.clone();
    world.checks.begin_anew(Epoch::new(2), &state);
    world.step(at, |machine, cx| machine.reform(cx, Epoch::new(2), 0)).unwrap();
    world.until(1_000, |world| world.leader() == Some(at));
    let before = world.decide("new");
    world.crash(at, true);
    world.restart(at);
    world.until(1_000, |world| world.leader() == Some(at));
    assert!(world.decide("again") > before);
}

/// What is told as decided is durable: a group is not formed anew of what the disk has not answered yet.
#[test]
fn what_is_not_durable_is_not_formed_anew() {
    let (mut world, leader) = World::led(7, 3);
    world.run(200);
    let later = world.now + 1_000_000_000;
    world.peers[leader].disk_stuck_until = later;
    world.propose(leader, "not durable").1.unwrap();
    let formed = world.step(leader, |machine, cx| machine.reform(cx, Epoch::new(2), 0));
    assert_eq!(formed, Err(FormError::NotDurable));
}

#[test]
fn what_cannot_be_formed_is_refused() {
    let mut world = World::new(1, 2, awake());
    let (one, other) = (world.id(0), world.id(1));
    let found = |world: &mut World, voters: &[(Actor, u8)]| {
        world.step(0, |machine, cx| machine.found(cx, Mint::new(7), voters))
    };
    assert_eq!(found(&mut world, &[(other, 0)]), Err(FormError::NotAmongThem(one)));
    assert_eq!(found(&mut world, &[]), Err(FormError::Group(GroupError::NoVoter)));
    let reformed = world.step(0, |machine, cx| machine.reform(cx, Epoch::new(2), 0));
    assert_eq!(reformed, Err(FormError::Outsider));
    assert_eq!(found(&mut world, &[(one, 0)]), Ok(()));
    assert_eq!(found(&mut world, &[(one, 0)]), Err(FormError::InGroup));
}

/// A host that knows that its log lost its end says so: the store takes part under a new name.
#[test]
fn a_log_that_lost_its_end_makes_a_new_member() {
    let (mut world, leader) = World::led(3, 3);
    let at = (leader + 1) % 3;
    let old = world.id(at);
    world.crash(at, true);
    world.restart(at);
    assert_eq!(world.id(at), old);
    world.crash(at, true);
    world.peers[at].disk.pop();
    world.restart_cut(at);
    assert!(world.id(at) != old && world.view(at).standing() == Standing::Outsider);
}

/// One that does not know it is found out by the leader's next words: it is a voter no more, also after a restart.
#[test]
fn a_store_that_forgot_what_it_acknowledged_is_found_out() {
    let (mut world, leader) = World::led(4, 3);
    (0..5).for_each(|n| _ = world.decide(&format!("{n}")));
    let at = (leader + 1) % 3;
    let old = world.id(at);
    world.crash(at, false);
    world.checks.is_damaged = true;
    let len = world.peers[at].disk.len();
    world.peers[at].disk.truncate(len - 3);
    world.restart(at);
    world.run(500);
    assert!(world.told(at).iter().any(|event| matches!(event, Event::LostMemory { .. })));
    assert_ne!(world.id(at), old);
    world.crash(at, true);
    world.restart(at);
    let id = world.id(at);
    assert_ne!(id, old);
    assert_eq!(world.view(at).standing(), Standing::Outsider);
    world.step(leader, |machine, cx| machine.change(cx, Change::AddLearner { id, priority: 0 })).unwrap();
    world.run(500);
    assert_eq!(world.view(at).standing(), Standing::Learner);
}

//! Replication: what is committed, what is taken back, what is sent again, and what comes as a snapshot.

use super::super::log::ENTRIES_MAX;
use super::world::{Weather, World};
use super::*;

fn small() -> Config {
    Config { snapshot_every: 32, entries_kept: 8, ..awake() }
}

/// Figure 8 of the paper, R8: an entry of an earlier term that a majority holds is not committed by that.
///
/// Peer 0 leads in term 1 and appends an entry that only peer 1 gets. It dies; peer 2, which does not have it, is elected by others and
/// appends one that nobody gets. Peer 0 comes back, is elected, and spreads its old entry to a majority; but before its own entry of the new
/// term is there too, it dies again. Then peer 2 may be elected and replace the old entry: so it must not have been committed.
#[test]
fn figure_8() {
    let (mut world, leader) = World::led(8, 5);
    let others: Vec<_> = (0..5).filter(|at| *at != leader).collect();
    let (holder, rival) = (others[0], others[1]);
    // (a) The entry reaches one.
    let all_but_holder: Vec<_> = others.iter().filter(|at| **at != holder).map(|at| (leader, *at)).collect();
    world.cut.extend(all_but_holder);
    let (old, _) = world.propose(leader, "old");
    let at = world.view(leader).last();
    world.until(100, |world| world.peers[holder].machine.log.has(at));
    // (b) The leader and who has it are gone; the rival is elected and appends what nobody gets.
    world.crash(leader, false);
    world.crash(holder, false);
    world.cut.clear();
    world.until(2_000, |world| {
        others[1..].iter().any(|at| matches!(world.peers[*at].machine.office, Office::Leader(_)))
    });
    let rival =
        *others[1..].iter().find(|at| matches!(world.peers[**at].machine.office, Office::Leader(_))).unwrap_or(&rival);
    world.crash(rival, false);
    let rival_last = world.view(rival).last();
    assert!(rival_last.term > at.term && rival_last.index == at.index);
    // (c) The old leader is elected again. What it holds goes to a majority; its own entry of this term goes nowhere.
    world.restart(leader);
    world.restart(holder);
    world.until(4_000, |world| {
        let Office::Leader(lead) = &world.peers[leader].machine.office else { return world.leader().is_some() };
        lead.peers.values().filter(|it| it.matched >= at.index).count() >= 2
    });
    world.crash(leader, false);
    world.restart(rival);
    world.run(1_000);
    // (d, e) Whatever came, it is one of the two, everywhere: the checks hold it.
    world.heal();
    let outcome = (0..5).map(|at| world.view(at).outcome(old)).collect::<Vec<_>>();
    assert!(outcome.windows(2).all(|pair| pair[0] == pair[1]), "{outcome:?}");
}

/// The heart of figure 8, on one machine: a majority holds an entry of an earlier term, and nothing is committed until one of this term is held.
#[test]
fn only_entries_of_its_own_term_are_counted() {
    let (mut world, leader) = World::led(3, 3);
    world.run(200);
    let (one, other) = ((leader + 1) % 3, (leader + 2) % 3);
    // An entry of this term is held by the leader and one more, which does not hear that it is committed.
    world.cut.extend([(leader, other), (one, leader)]);
    world.propose(leader, "old").1.unwrap();
    let old = world.view(leader).last();
    world.until(100, |world| world.peers[one].machine.log.has(old));
    world.run(20);
    world.crash(leader, false);
    world.cut.clear();
    let commit = world.view(one).commit();
    assert!(commit < old.index);
    world.until(2_000, |world| matches!(world.peers[one].machine.office, Office::Leader(_)));
    // Its own entry is not to be held by anybody for a while, the old one is.
    let (me, peer) = (world.id(one), world.id(other));
    let first = world.view(one).last().index;
    assert_eq!(world.view(one).commit(), commit);
    let (term, mint) = (world.view(one).term(), peer.mint);
    let body = Body::Appended { matched: old.index };
    let message = Message { founding: Mint::new(7), epoch: Epoch::new(1), term, from: mint, to: me.mint, body };
    world.step(one, |machine, cx| machine.on_message(cx, peer.node, message));
    assert_eq!(world.view(one).commit(), commit, "a majority holds it, and it is of an earlier term");
    // What was said in the other's name is found out there, or has become true by then. A majority is there without it.
    world.checks.is_damaged = true;
    world.run(300);
    world.restart(leader);
    world.until(1_000, |world| world.view(one).commit() >= first);
    world.heal();
}

/// What was said in an earlier term is about another log, and another election.
#[test]
fn late_answers_count_for_nothing() {
    let (mut world, leader) = World::led(4, 3);
    world.run(100);
    let (from, me, last) = (world.id((leader + 1) % 3), world.id(leader), world.view(leader).last());
    world.isolate(&[leader]);
    world.propose(leader, "held here alone").1.unwrap();
    let late = |world: &mut World, body: Body| {
        let term = Term::new(world.view(leader).term().value() - 1);
        let message =
            Message { founding: Mint::new(7), epoch: Epoch::new(1), term, from: from.mint, to: me.mint, body };
        world.step(leader, |machine, cx| machine.on_message(cx, from.node, message));
    };
    late(&mut world, Body::Appended { matched: last.index.next() });
    let known = world.view(leader).progress().find(|(id, ..)| *id == from).map(|(_, matched, _)| matched);
    assert_eq!(known, Some(last.index));
    world.run(20);
    assert_eq!(world.view(leader).commit(), last.index);
    // Nor does a vote of an earlier election elect.
    world.until(2_000, |world| matches!(world.peers[leader].machine.office, Office::PreCandidate(_)));
    world.step(leader, |machine, cx| machine.stand(cx, Ballot::Vote));
    world.run(10);
    late(&mut world, Body::Voted { granted: true });
    assert!(matches!(world.peers[leader].machine.office, Office::Candidate { .. }));
    world.heal();
}

#[test]
fn what_was_not_committed_is_taken_back() {
    for seed in 0..10 {
        let (mut world, leader) = World::led(seed, 3);
        world.isolate(&[leader]);
        let (lost, result) = world.propose(leader, "lost");
        assert_eq!(result, Ok(()));
        world.until(1_000, |world| world.answer(leader, lost).is_some());
        assert_eq!(world.answer(leader, lost), Some(Answer::Unknown));
        world.decide("kept");
        world.heal();
        for at in 0..3 {
            assert!(world.view(at).registers().contains_key(&Name::new("kept").unwrap()));
            assert!(!world.view(at).registers().contains_key(&Name::new("lost").unwrap()));
        }
    }
}

/// Logs part in many terms: it takes one round for each term, not for each entry.
#[test]
fn where_logs_part_is_found_fast() {
    let (mut world, leader) = World::led(5, 3);
    world.isolate(&[leader]);
    for n in 0..200 {
        let _ = world.propose(leader, &format!("lost {n}"));
    }
    world.until(2_000, |world| world.leader().is_some_and(|at| at != leader));
    for n in 0..100 {
        world.decide_quickly(&format!("kept {n}"));
    }
    // Who leads next knows nothing of the others' logs.
    let first = world.leader().unwrap();
    world.step(first, |machine, cx| machine.transfer(cx, None)).unwrap();
    world.until(2_000, |world| world.leader().is_some_and(|at| at != leader && at != first));
    world.run(500);
    let (sent, behind) = (world.sent, world.view(leader).last());
    assert!(behind.index.value() > 150);
    world.cut.clear();
    world.until(2_000, |world| {
        let best = world.leader().map(|at| world.view(at).last());
        best.is_some_and(|best| world.view(leader).last() == best && world.view(leader).commit() == best.index)
    });
    assert!(world.sent - sent < 120, "{} messages", world.sent - sent);
    world.heal();
}

/// A window of frames, and what comes meanwhile is gathered: no more is under way than may be.
#[test]
fn what_is_under_way_is_bounded_and_gathered() {
    let (mut world, leader) = World::led(6, 3);
    world.weather.delay = (20_000, 20_000);
    world.run(200);
    let sent = world.sent;
    let mut asked = Vec::new();
    for n in 0..600 {
        let (request, result) = world.propose(leader, &format!("{n}"));
        result.unwrap();
        asked.push(request);
        if n % 50 == 0 {
            world.run(1);
        }
        let Office::Leader(lead) = &world.peers[leader].machine.office else { panic!("it leads") };
        for progress in lead.peers.values() {
            if let progress::Pace::Stream(inflight) = &progress.pace {
                assert!(inflight.len() <= world.config().inflight_max);
            }
        }
    }
    world.until(2_000, |world| asked.iter().all(|request| world.answer(leader, *request).is_some()));
    assert!(world.sent - sent < 600, "{} messages for 600 actions to two", world.sent - sent);
    world.heal();
}

/// Too much at once is refused, and what was taken on is done.
#[test]
fn too_much_at_once_is_refused() {
    let (mut world, leader) = World::led(7, 3);
    let mut refused = 0;
    for n in 0..lead::WAITING_MAX + 10 {
        match world.propose(leader, &format!("{}", n % 8)).1 {
            Ok(()) => {}
            Err(Refusal::Busy { waiting }) => refused += usize::from(waiting == lead::WAITING_MAX),
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(refused, 10);
    world.run(1_500);
    world.propose(leader, "again").1.unwrap();
    world.heal();
    const { assert!(lead::UNCOMMITTED_MAX > ENTRIES_MAX as u64) };
}

/// Frames that are lost are sent again, in the end all is there.
#[test]
fn what_is_lost_is_sent_again() {
    for seed in 0..10 {
        let (mut world, _) = World::led(seed, 3);
        world.weather = Weather { lost: 200, doubled: 200, delay: (500, 30_000), sync: (1_000, 20_000) };
        for n in 0..10 {
            if let Some(leader) = world.leader() {
                let _ = world.propose(leader, &format!("{n}"));
            }
            world.run(100);
        }
        world.heal();
    }
}

/// R11: a follower that was away for longer than the log is kept gets a snapshot, also a long one, also over a bad network.
#[test]
fn a_slow_follower_gets_a_snapshot() {
    for seed in 0..4 {
        let mut world = World::founded(seed, 3, 3, small());
        let leader = world.settle();
        let away = (leader + 1) % 3;
        world.crash(away, true);
        for n in 0..80 {
            world.decide_long(&format!("{}", n % 20), 12 << 10);
        }
        assert!(world.view(leader).consensus.log.base().index > Index::new(40));
        if seed % 2 == 1 {
            world.weather = Weather { lost: 100, doubled: 100, delay: (500, 10_000), sync: (1_000, 5_000) };
        }
        world.restart(away);
        world
            .until(20_000, |world| world.peers[away].told.iter().any(|event| matches!(event, Event::Installed { .. })));
        world.heal();
        let installed = world.view(away).consensus.snapshot.clone();
        assert!(installed.state.bytes().len() > 200 << 10, "{} bytes", installed.state.bytes().len());
        // What it has by that is on its disk.
        world.crash(away, true);
        world.restart(away);
        world.heal();
    }
}

/// A follower that falls in the middle of a snapshot begins it anew.
#[test]
fn a_snapshot_that_was_broken_off_is_begun_anew() {
    let mut world = World::founded(3, 3, 3, small());
    let leader = world.settle();
    let away = (leader + 1) % 3;
    world.crash(away, true);
    for n in 0..80 {
        world.decide_long(&format!("{}", n % 20), 12 << 10);
    }
    for _ in 0..2 {
        world.restart(away);
        world.until(5_000, |world| {
            let sent = |(id, it): (&Actor, &progress::Progress)| {
                let under_way = matches!(it.pace, progress::Pace::Snapshot { upto, .. } if upto > 64 << 10);
                *id == world.id(away) && under_way
            };
            let Office::Leader(lead) = &world.peers[leader].machine.office else { return false };
            lead.peers.iter().any(sent)
        });
        world.crash(away, false);
    }
    world.restart(away);
    world.until(5_000, |world| world.peers[away].told.iter().any(|event| matches!(event, Event::Installed { .. })));
    world.heal();
}

/// A restart reads what it wrote, and the log in memory stays short.
#[test]
fn a_restart_begins_with_the_last_snapshot() {
    let mut world = World::founded(1, 1, 1, small());
    for n in 0..200 {
        world.decide_quickly(&format!("{}", n % 8));
    }
    let before = world.peers[0].machine.state.clone();
    world.crash(0, true);
    world.restart(0);
    let machine = &world.peers[0].machine;
    assert!(machine.commit.value() > 160 && machine.log.base().index.value() > 150);
    world.heal();
    world.told(0);
    assert_eq!(world.peers[0].machine.state.registers().len(), before.registers().len() + 1);
}

/// A disk that fails ends it: nothing is acknowledged, and the others go on.
#[test]
fn who_cannot_write_takes_part_in_nothing() {
    use crate::types::{DiskFault, DiskFaultKind};
    let (mut world, leader) = World::led(9, 3);
    let fault = DiskFault { kind: DiskFaultKind::Failed, what: "sync".into(), why: "broken".into() };
    let (request, _) = world.propose(leader, "lost");
    let wait = Wait { number: 1, last: Mark::default(), snapshot: None };
    world.step(leader, |machine, cx| machine.on_persisted(cx, wait, Err(fault.clone())));
    assert_eq!(world.answer(leader, request), Some(Answer::Unknown));
    assert_eq!(world.view(leader).standing(), Standing::Halted);
    assert_eq!(world.propose(leader, "more").1, Err(Refusal::Disk(fault)));
    assert!(!world.view(leader).is_disk_well());
    world.until(2_000, |world| world.leader().is_some_and(|at| at != leader));
    world.decide("elsewhere");
    world.crash(leader, true);
    world.restart(leader);
    world.heal();
}

/// Decisions are read by who is no member, as far as they are kept.
#[test]
fn what_was_decided_can_be_read_on() {
    let mut world = World::founded(1, 3, 3, small());
    let first = world.decide("one");
    let leader = world.leader().unwrap();
    let decided: Vec<_> = world.view(leader).decided(Index::ZERO.next()).unwrap().map(|(at, _)| at).collect();
    assert!(decided.contains(&first.index) && decided.is_sorted());
    for n in 0..100 {
        world.decide_quickly(&format!("{}", n % 8));
    }
    world.run(100);
    assert!(world.view(leader).decided(first.index).is_none());
}

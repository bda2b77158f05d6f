//! Changes of the group, and stores that are lost and come back.

use super::world::{World, ms};
use super::*;
use crate::types::DiskFaultKind;

impl World {
    /// Changes the group, however often it has to be tried.
    fn change(&mut self, change: Change) {
        for _ in 0..100 {
            self.until(10_000, |world| world.leader().is_some());
            let leader = self.leader().unwrap();
            self.told(leader);
            if self.step(leader, |machine, cx| machine.change(cx, change)).is_ok() {
                self.run(200);
                if self.told(leader).contains(&Event::ChangeEnded { change, committed: true }) {
                    return;
                }
            }
            self.run(50);
        }
        panic!("{change:?} is never made");
    }

    fn voters(&self, at: usize) -> Vec<Actor> {
        self.view(at).group().map_or_else(Vec::new, |group| group.voters().map(|voter| voter.id).collect())
    }
}

fn is_told_to_be_none(world: &mut World, at: usize) -> bool {
    world.told(at).iter().any(|event| matches!(event, Event::NoMember { .. }))
}

fn small() -> Config {
    Config { snapshot_every: 16, entries_kept: 4, ..awake() }
}

#[test]
fn a_group_grows_and_shrinks() {
    let mut world = World::founded(1, 5, 1, small());
    for at in 1..5 {
        world.decide("between");
        let id = world.id(at);
        world.change(Change::AddLearner { id, priority: 0 });
        assert_eq!(world.voters(0).len(), at);
        world.change(Change::Promote { id });
        assert_eq!(world.voters(0).len(), at + 1);
    }
    assert_eq!(world.view(0).tolerates(), 2);
    world.heal();
    for at in (1..5).rev() {
        let id = world.id(at);
        world.change(Change::Remove { id });
        world.decide("between");
    }
    let left = world.leader().unwrap();
    assert_eq!(world.voters(left), [world.id(left)]);
}

/// What a member is sent first is a snapshot, which may be of long ago.
#[test]
fn who_becomes_a_member_knows_no_less_than_before() {
    for seed in 0..10 {
        let mut world = World::founded(seed, 4, 3, small());
        let leader = world.settle();
        (0..40).for_each(|_| _ = world.decide("often"));
        world.run(1_000);
        let (id, knew) = (world.id(3), world.view(3).known());
        assert_eq!(knew, world.view(leader).known());
        let register = world.view(3).registers().clone();
        world.step(leader, |machine, cx| machine.change(cx, Change::AddLearner { id, priority: 0 })).unwrap();
        for _ in 0..2_000 {
            world.run(1);
            assert!(world.view(3).known() >= knew, "{seed}: {knew}, and later {}", world.view(3).known());
            assert_eq!(*world.view(3).registers(), register, "{seed}");
        }
        assert_eq!(world.view(3).standing(), Standing::Learner);
        assert!(world.view(3).commit() > knew.index);
    }
}

/// Learners have no voice: a majority is one of voters.
#[test]
fn a_learner_is_not_counted() {
    let mut world = World::founded(2, 5, 3, small());
    for at in [3, 4] {
        let id = world.id(at);
        world.change(Change::AddLearner { id, priority: 9 });
    }
    world.run(500);
    let leader = world.leader().unwrap();
    let voters: Vec<_> = (0..3).filter(|at| *at != leader).collect();
    world.crash(voters[0], true);
    world.crash(voters[1], true);
    let took = world.until(1_000, |world| world.view(leader).standing() != Standing::Leader);
    assert!(took <= 300, "two learners are no majority: {took} ms");
    world.run(5_000);
    assert_eq!(world.leader(), None);
    assert!((3..5).all(|at| world.view(at).standing() == Standing::Learner));
    world.heal();
}

#[test]
fn what_is_not_to_be_changed_is_refused() {
    let (mut world, leader) = World::led(3, 3);
    let stranger = Actor { node: NodeId::from_u128(9), mint: Mint::new(9) };
    let change = |world: &mut World, change| world.step(leader, |machine, cx| machine.change(cx, change));
    // A learner that is not there is not promoted, and nothing is begun while something is not certain.
    let add = Change::AddLearner { id: stranger, priority: 0 };
    assert_eq!(change(&mut world, add), Ok(()));
    let at = world.view(leader).last().index;
    assert_eq!(change(&mut world, Change::Remove { id: stranger }), Err(ChangeError::Pending { at }));
    world.run(50);
    let promoted = change(&mut world, Change::Promote { id: stranger });
    assert!(matches!(promoted, Err(ChangeError::NotReady { .. })), "{promoted:?}");
    // One of three is down: without another one nothing could be decided.
    let (down, other) = ((leader + 1) % 3, (leader + 2) % 3);
    world.crash(down, true);
    world.run(300);
    let id = world.id(other);
    let removed = change(&mut world, Change::Remove { id });
    assert_eq!(removed, Err(ChangeError::WouldLoseQuorum { reached: 1, needed: 2 }));
    let id = world.id(down);
    assert_eq!(change(&mut world, Change::Remove { id }), Ok(()));
    world.run(300);
    assert_eq!(world.voters(leader).len(), 2);
}

/// Ongaro, raft-dev, July 2015: a leader that has not committed in its term changes nothing.
#[test]
fn a_new_leader_commits_before_it_changes() {
    let (mut world, leader) = World::led(4, 3);
    world.run(100);
    world.crash(leader, true);
    let leads = |world: &World, at: &usize| matches!(world.peers[*at].machine.office, Office::Leader(_));
    world.until(2_000, |world| (0..3).any(|at| world.peers[at].up && leads(world, &at)));
    let next = (0..3).find(|at| world.peers[*at].up && leads(&world, at)).unwrap();
    assert!(!world.view(next).is_settled());
    let add = Change::AddLearner { id: Actor { node: NodeId::from_u128(9), mint: Mint::new(9) }, priority: 0 };
    let too_soon = world.step(next, |machine, cx| machine.change(cx, add));
    assert_eq!(too_soon, Err(ChangeError::NewInOffice));
    world.until(1_000, |world| world.view(next).is_settled());
    assert_eq!(world.step(next, |machine, cx| machine.change(cx, add)), Ok(()));
}

/// A change that was not certain when its leader fell is taken back with the log: whoever made it does not refuse for it those whom
/// it would have removed.
#[test]
fn a_change_that_was_not_certain_is_taken_back() {
    let (mut world, leader) = World::led(5, 3);
    world.run(100);
    world.isolate(&[leader]);
    let id = world.id((leader + 1) % 3);
    world.told(leader);
    let change = Change::Remove { id };
    assert_eq!(world.step(leader, |machine, cx| machine.change(cx, change)), Ok(()));
    assert_eq!(world.voters(leader).len(), 2);
    world.run(1_000);
    let told = world.told(leader);
    assert!(told.contains(&Event::ChangeEnded { change, committed: false }), "{told:?}");
    world.heal();
    assert!((0..3).all(|at| world.voters(at).len() == 3));
}

/// Ongaro's dissertation, 4.2.2: a leader that removes itself leads until that is certain.
#[test]
fn a_leader_may_remove_itself() {
    for seed in 0..5 {
        let (mut world, leader) = World::led(seed, 3);
        world.run(100);
        let id = world.id(leader);
        world.step(leader, |machine, cx| machine.change(cx, Change::Remove { id })).unwrap();
        assert_eq!(world.view(leader).standing(), Standing::Leader);
        world.until(500, |world| world.view(leader).standing() == Standing::Outsider);
        world.until(2_000, |world| world.leader().is_some_and(|at| at != leader));
        world.decide("without it");
    }
}

/// Ongaro's dissertation, 4.2.3: who was removed and was not told disturbs nobody, and is told.
#[test]
fn who_was_removed_disturbs_nobody() {
    let (mut world, leader) = World::led(6, 3);
    world.run(100);
    let gone = (leader + 1) % 3;
    world.isolate(&[gone]);
    world.run(300);
    let (id, term) = (world.id(gone), world.view(leader).term());
    world.change(Change::Remove { id });
    world.cut.clear();
    world.run(10_000);
    assert_eq!((world.leader(), world.view(leader).term()), (Some(leader), term));
    assert!(is_told_to_be_none(&mut world, gone));
    // Its name is used up (F16). Under a new one it comes back.
    let add = Change::AddLearner { id, priority: 0 };
    let again = world.step(leader, |machine, cx| machine.change(cx, add));
    assert_eq!(again, Err(GroupError::Retired(id).into()));
    world.step(gone, |machine, cx| machine.withdraw(cx));
    world.run(50);
    let id = world.id(gone);
    world.change(Change::AddLearner { id, priority: 0 });
    world.change(Change::Promote { id });
    world.heal();
    assert_eq!(world.voters(gone).len(), 3);
}

/// F16, R7: a voter whose store was wiped comes back under a new name, as a learner, and its old vote counts for nobody.
#[test]
fn a_wiped_voter_comes_back_as_a_learner() {
    for seed in 0..5 {
        let (mut world, leader) = World::led(seed, 3);
        world.decide("before");
        let wiped = (leader + 1) % 3;
        let old = world.id(wiped);
        world.told(leader);
        world.wipe(wiped);
        world.run(1_000);
        assert_ne!(world.id(wiped), old);
        assert_eq!(world.view(wiped).standing(), Standing::Outsider);
        let reborn = Event::Reborn { member: old, mint: world.id(wiped).mint };
        assert!(world.told(leader).contains(&reborn));
        // It votes for nobody: the other two are needed.
        world.crash(leader, true);
        world.run(3_000);
        assert_eq!(world.leader(), None);
        world.restart(leader);
        let id = world.id(wiped);
        world.change(Change::AddLearner { id, priority: 0 });
        world.change(Change::Promote { id });
        world.change(Change::Remove { id: old });
        world.heal();
        assert_eq!(world.view(wiped).group().unwrap().at(world.peers[wiped].node).collect::<Vec<_>>(), [id]);
    }
}

/// A learner that was promoted and does not know it yet still helps to elect; so does one that lags behind in what it knows of the group.
#[test]
fn who_does_not_know_of_its_voice_votes_nevertheless() {
    let mut world = World::founded(7, 4, 3, awake());
    let leader = world.settle();
    let id = world.id(3);
    world.change(Change::AddLearner { id, priority: 0 });
    world.run(300);
    // The learner does not get the entry that makes it a voter; one follower does.
    let (one, other) = ((leader + 1) % 3, (leader + 2) % 3);
    world.isolate(&[3]);
    world.step(leader, |machine, cx| machine.change(cx, Change::Promote { id })).unwrap();
    world.run(300);
    assert_eq!(world.voters(one).len(), 4);
    world.cut.clear();
    world.crash(leader, true);
    world.crash(other, true);
    world.restart(other);
    let took = world.until(3_000, |world| world.leader().is_some());
    println!("{took} ms");
    world.heal();
}

/// raft-rs#571: what a member said before it was removed does not speak for it after it came back.
#[test]
fn late_words_of_a_former_member_count_for_nobody() {
    let (mut world, leader) = World::led(8, 3);
    world.run(200);
    let gone = (leader + 1) % 3;
    let (old, term) = (world.id(gone), world.view(leader).term());
    world.change(Change::Remove { id: old });
    world.step(gone, |machine, cx| machine.withdraw(cx));
    world.run(50);
    let id = world.id(gone);
    world.isolate(&[gone]);
    world.step(leader, |machine, cx| machine.change(cx, Change::AddLearner { id, priority: 0 })).unwrap();
    world.run(200);
    let matched = world.view(leader).last().index;
    let (to, body) = (world.id(leader).mint, Body::Appended { matched });
    let late = Message { founding: Mint::new(7), epoch: Epoch::new(1), term, from: old.mint, to, body };
    world.step(leader, |machine, cx| machine.on_message(cx, old.node, late));
    let known = world.view(leader).progress().find(|(of, ..)| *of == id).map(|(_, matched, _)| matched);
    assert_eq!(known, Some(Index::ZERO));
    assert!(world.config().promote_lag > 0 && world.config().slot > ms(0));
}

/// Who is removed is not sent the entry that says so: it would refuse its vote to the shorter logs of the others and not seek office
/// itself.
#[test]
fn who_is_removed_does_not_block_the_rest() {
    let (mut world, leader) = World::led(9, 3);
    world.run(200);
    let (gone, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let id = world.id(gone);
    world.cut.insert((leader, other));
    world.step(leader, |machine, cx| machine.change(cx, Change::Remove { id })).unwrap();
    world.run(20);
    world.crash(leader, true);
    world.cut.clear();
    world.until(3_000, |world| world.leader().is_some());
    world.decide("without the leader, which is dead for good");
}

/// Ongaro's dissertation, 4.2.2: whose own removal is not certain still helps to decide it, also by seeking office: nobody else may be
/// far enough.
#[test]
fn whose_removal_is_not_certain_still_seeks_office() {
    let (mut world, leader) = World::led(10, 4);
    world.run(200);
    world.crash((leader + 1) % 4, true);
    world.run(300);
    let id = world.id(leader);
    world.isolate(&[leader]);
    world.step(leader, |machine, cx| machine.change(cx, Change::Remove { id })).unwrap();
    world.run(1_000);
    world.cut.clear();
    world.until(5_000, |world| world.leader().is_some());
    world.decide("without the one that is dead for good");
}

/// Nobody is told to be no member before that is certain: it would give up its name.
#[test]
fn no_member_is_told_to_be_none_before_that_is_certain() {
    let (mut world, leader) = World::led(11, 4);
    world.run(200);
    let (gone, one, other) = ((leader + 1) % 4, (leader + 2) % 4, (leader + 3) % 4);
    let id = world.id(gone);
    world.cut.insert((leader, other));
    world.cut.insert((one, leader));
    world.step(leader, |machine, cx| machine.change(cx, Change::Remove { id })).unwrap();
    world.run(20);
    assert_eq!(world.voters(one).len(), 3);
    let (last, to) = (world.view(gone).last(), world.id(one).mint);
    let (founding, epoch, term) = (Mint::new(7), Epoch::new(1), world.view(gone).term().next());
    let body = Body::Ask { last, ballot: Ballot::Pre };
    let message = Message { founding, epoch, term, from: id.mint, to, body };
    world.step(one, |machine, cx| machine.on_message(cx, id.node, message));
    world.run(20);
    let told = world.told(gone);
    assert!(!told.iter().any(|event| matches!(event, Event::NoMember { .. })), "{told:?}");
    world.heal();
}

/// A learner seeks no office, so nobody would refuse it: who was removed and was not told hears it from the next link, or when it says its
/// name (small-blackouts). Else it takes itself for a member for ever, and learns of no decision.
#[test]
fn whose_addition_was_taken_back_hears_of_decisions_again() {
    for seed in 0..5 {
        let mut world = World::founded(seed, 4, 3, small());
        let leader = world.settle();
        (0..20).for_each(|_| _ = world.decide("before"));
        world.run(1_000);
        let (id, others) = (world.id(3), [(leader + 1) % 3, (leader + 2) % 3]);
        // Only the newcomer hears of it.
        world.isolate(&others);
        world.step(leader, |machine, cx| machine.change(cx, Change::AddLearner { id, priority: 0 })).unwrap();
        world.until(500, |world| world.view(3).standing() == Standing::Learner);
        assert_eq!(world.view(3).standing(), Standing::Learner);
        world.crash(leader, true);
        world.until(5_000, |world| world.leader().is_some());
        world.decide("meanwhile");
        world.cut.clear();
        world.restart(leader);
        world.run(30_000);
        assert!(is_told_to_be_none(&mut world, 3), "{seed}");
        world.step(3, |machine, cx| machine.leave_group(cx));
        world.run(30_000);
        let known = world.view(world.leader().unwrap()).known();
        assert_eq!(world.view(3).known(), known, "{seed}");
    }
}

#[test]
fn a_learner_that_was_removed_unheard_is_told() {
    for by_name in [false, true] {
        let mut world = World::founded(7, 4, 3, awake());
        let leader = world.settle();
        let id = world.id(3);
        world.change(Change::AddLearner { id, priority: 0 });
        world.run(300);
        assert_eq!(world.view(3).standing(), Standing::Learner);
        world.isolate(&[3]);
        world.change(Change::Remove { id });
        world.run(300);
        world.cut.clear();
        let node = world.peers[3].node;
        assert!(!is_told_to_be_none(&mut world, 3));
        if by_name {
            world.step(leader, |machine, cx| machine.ask_name(cx, node));
        } else {
            world.step(leader, |machine, cx| machine.on_linked(cx, node));
        }
        world.run(100);
        assert!(is_told_to_be_none(&mut world, 3));
        assert!(!world.told(leader).contains(&Event::Met { id }), "its name is used up");
    }
}

/// Found by swarm-small, seed 2001346: its links stayed up, so nobody greeted it when its disk had room again.
#[test]
fn a_learner_that_was_removed_while_its_disk_was_full_is_told() {
    let mut world = World::founded(7, 4, 3, awake());
    world.settle();
    let id = world.id(3);
    world.change(Change::AddLearner { id, priority: 0 });
    world.run(300);
    let full = DiskFault { kind: DiskFaultKind::Full, what: "write".into(), why: "no space left".into() };
    world.step(3, |machine, cx| machine.halt(cx, full));
    world.change(Change::Remove { id });
    world.run(300);
    world.reopen(3);
    assert_eq!(world.view(3).standing(), Standing::Learner);
    assert!(!is_told_to_be_none(&mut world, 3));
    world.run(300);
    assert!(is_told_to_be_none(&mut world, 3));
}

/// Found by small-duels, seed 103029. It hears of neither: it learns from what was decided that its name is used up.
#[test]
fn who_was_added_and_removed_unheard_takes_another_name() {
    let mut world = World::founded(8, 4, 3, awake());
    world.settle();
    let id = world.id(3);
    world.isolate(&[3]);
    world.change(Change::AddLearner { id, priority: 0 });
    world.change(Change::Remove { id });
    world.cut.clear();
    world.run(30_000);
    let other = world.id(3);
    assert_ne!(other, id);
    let known = world.view(3).known();
    assert!(known.index.value() > 2, "what it knows from outside stays known: {known:?}");
    world.change(Change::AddLearner { id: other, priority: 0 });
    world.run(500);
    assert_eq!(world.view(3).standing(), Standing::Learner);
}

/// Of the voters that it knew, one votes no more by the time it comes back: that one has heard of it too, and says so under another name.
#[test]
fn who_was_removed_is_told_also_by_those_who_vote_no_more() {
    let mut world = World::founded(12, 5, 3, awake());
    let leader = world.settle();
    world.run(200);
    let (gone, other) = ((leader + 1) % 3, (leader + 2) % 3);
    world.isolate(&[gone]);
    for at in [3, 4] {
        let id = world.id(at);
        world.change(Change::AddLearner { id, priority: 0 });
        world.change(Change::Promote { id });
    }
    for at in [gone, other] {
        let id = world.id(at);
        world.change(Change::Remove { id });
    }
    world.step(other, |machine, cx| machine.withdraw(cx));
    world.run(30_000);
    assert!(!is_told_to_be_none(&mut world, gone));
    world.cut.clear();
    world.run(10_000);
    assert!(is_told_to_be_none(&mut world, gone));
}

/// It was away while others became voters, and one of them leads: it asks those that it knows, and takes part.
#[test]
fn a_leader_that_is_not_known_yet_is_asked_about() {
    let mut world = World::founded(13, 5, 3, awake());
    world.settle();
    world.decide("before");
    world.run(200);
    world.isolate(&[3]);
    let newcomer = world.id(4);
    world.change(Change::AddLearner { id: newcomer, priority: 9 });
    world.change(Change::Promote { id: newcomer });
    let leader = world.leader().unwrap();
    world.step(leader, |machine, cx| machine.transfer(cx, Some(newcomer))).unwrap();
    world.until(2_000, |world| world.leader() == Some(4));
    let id = world.id(3);
    world.change(Change::AddLearner { id, priority: 0 });
    world.cut.clear();
    world.run(5_000);
    assert_eq!(world.view(3).standing(), Standing::Learner);
}

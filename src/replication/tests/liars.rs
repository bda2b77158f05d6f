//! A member that lies about who holds what, and what was true in an earlier life.

use std::num::NonZeroU8;
use std::time::Duration;

use super::mesh::{World, full, star};
use super::*;
use crate::replication::knowledge::short;
use crate::types::Boot;
use message::SEQ_MAX;

const BOTH: Ack = Ack::Members(NonZeroU8::new(2).unwrap());

impl World {
    /// `liar` tells `to` that `whom` holds this log so far.
    fn lie(&mut self, liar: u8, to: u8, whom: u8, (log, last, chain): (LogId, u64, Short)) {
        let lines = vec![Hold { log: Name::Id(log), last: Seq::new(last), chain }];
        let boot = Boot::new(self.hosts[&node(whom)].life);
        let held = Message::Held(vec![Held { member: node(whom), boot, age_ms: 0, lines }]);
        self.step(node(to), |machine, cx| machine.on_message(cx, node(liar), held));
    }

    fn chain(&self, who: u8, log: LogId, seq: u64) -> Short {
        let logs = &self.hosts[&node(who)].machine.logs;
        Short::of(logs.get(logs.find(log).unwrap()).chain_at(seq).unwrap())
    }

    fn cell(&self, who: u8, whom: u8, log: LogId) -> u64 {
        let machine = &self.hosts[&node(who)].machine;
        machine.replicas.row(node(whom)).unwrap().seq(machine.logs.find(log).unwrap())
    }

    /// Who holds what this one wrote first, as it is told after a while.
    fn copied_first(&mut self, who: u8, ack: Ack) -> Result<Vec<NodeId>, Vec<NodeId>> {
        let place = (own(who), Seq::new(1));
        self.step(node(who), |machine, cx| machine.await_copies(cx, 9, place, ack, Duration::from_secs(2)));
        self.run(3_000);
        let told = self.hosts[&node(who)].events.iter().find_map(|event| match event {
            Event::Copied { token: 9, members } => Some(Ok(members.clone())),
            Event::NotCopied { token: 9, members } => Some(Err(members.clone())),
            _ => None,
        });
        told.expect("it is answered")
    }
}

fn own(n: u8) -> LogId {
    LogId { actor: actor(n, 1), topic: Topic::DOCUMENTS }
}

#[test]
fn where_each_speaks_for_itself_nobody_makes_copies_of_others() {
    let mut world = World::new(1, &full(3), Config::default());
    world.introduce(true);
    world.run(1_000);
    world.cut(node(1), node(3));
    world.cut(node(2), node(3));
    world.originate(node(1), 100);
    world.run(1_000);
    let chain = world.chain(1, own(1), 1);
    world.lie(2, 1, 3, (own(1), 1, chain));
    let digest = world.hosts.get_mut(&node(1)).unwrap().machine.logs.digest();
    let members = vec![short(node(3), Boot::new(world.hosts[&node(3)].life))];
    world.step(node(1), |machine, cx| machine.on_message(cx, node(2), Message::Equal { digest, members }));
    assert_eq!(world.copied_first(1, BOTH), Err(vec![node(2)]));
}

#[test]
fn what_is_not_written_yet_is_held_by_nobody() {
    let mut world = World::new(2, &star(3), Config::default());
    world.introduce(false);
    world.run(1_000);
    world.lie(1, 2, 3, (own(2), SEQ_MAX, Short::default()));
    world.originate(node(2), 100);
    world.run(1_000);
    assert_eq!(world.copied_first(2, BOTH), Ok(vec![node(1), node(3)]), "the lie stands in nobody's way");
}

#[test]
fn what_a_member_says_itself_counts_more_than_what_cannot_be_checked() {
    let mut world = World::new(3, &star(4), Config::default());
    world.introduce(false);
    world.originate(node(4), 100);
    world.run(1_000);
    world.lie(2, 1, 3, (own(4), SEQ_MAX, Short::default()));
    assert_eq!(world.cell(1, 3, own(4)), 1, "nobody says that there is so much of it");
    let have = Message::Have(vec![Have { log: Name::Id(own(4)), last: Seq::new(SEQ_MAX) }]);
    world.step(node(1), |machine, cx| machine.on_message(cx, node(2), have));
    world.lie(2, 1, 3, (own(4), SEQ_MAX, Short::default()));
    assert_eq!(world.cell(1, 3, own(4)), SEQ_MAX);
    world.originate(node(4), 100);
    world.run(1_000);
    assert_eq!(world.cell(1, 3, own(4)), 2);
}

#[test]
fn who_holds_another_branch_lacks_ours_when_all_are_to_hold_it() {
    let mut world = World::new(4, &full(3), Config::default());
    world.introduce(true);
    world.run(3_000);
    world.cut(node(1), node(3));
    let machine = &mut world.hosts.get_mut(&node(1)).unwrap().machine;
    let at = machine.logs.intern(own(1));
    machine.replicas.raise(node(3), at, (7, Short::default()), node(3), Time::from_nanos(world.now), true);
    world.originate(node(1), 100);
    world.run(1_000);
    assert_eq!(world.known(1, 3).state, ReplicationState::Active);
    assert_eq!(world.copied_first(1, Ack::All), Err(vec![node(2)]));
    let machine = &world.hosts[&node(1)].machine;
    assert!(!machine.replicas.row(node(3)).unwrap().covers(&machine.logs, node(3)), "nor is it told to hold the same");
    assert!(machine.replicas.row(node(2)).unwrap().covers(&machine.logs, node(2)));
}

#[test]
fn who_is_said_to_hold_the_same_is_said_so_of_one_life() {
    let mut world = World::new(5, &star(3), Config::default());
    world.introduce(false);
    world.originate(node(1), 100);
    world.run(1_000);
    let digest = world.hosts.get_mut(&node(2)).unwrap().machine.logs.digest();
    let mut known_to_be_held = |boot: u64, said: u64| {
        let lives = [(node(1), Boot::new(1), true), (node(2), Boot::new(1), true), (node(3), Boot::new(boot), true)];
        world.step(node(2), |machine, cx| machine.on_members(cx, lives.into_iter(), false));
        let members = vec![short(node(3), Boot::new(said))];
        let equal = Message::Equal { digest, members };
        world.step(node(2), |machine, cx| machine.on_message(cx, node(1), equal));
        world.cell(2, 3, own(1))
    };
    assert_eq!([known_to_be_held(8, 7), known_to_be_held(9, 9)], [0, 1], "the life before may have had another disk");
}

#[test]
fn who_asks_again_and_again_is_told_once() {
    let mut world = World::new(6, &star(3), Config::default());
    world.introduce(false);
    world.originate(node(1), 100);
    world.run(10_000);
    let told = |world: &mut World| {
        let before = world.traffic.held;
        let watch = Message::Watch(vec![Name::Id(own(1))]);
        world.step(node(1), |machine, cx| machine.on_message(cx, node(2), watch));
        world.run(200);
        world.traffic.held - before
    };
    let first = told(&mut world);
    assert!(first > 0);
    assert_eq!([told(&mut world), told(&mut world)], [0, 0]);
    world.run(3_000);
    assert_eq!(told(&mut world), first, "what was lost is told again");
}

#[test]
fn what_is_known_to_be_all_is_looked_through_anew_once_it_may_be_less() {
    let mut world = World::new(7, &star(3), Config::default());
    world.introduce(false);
    world.originate(node(1), 100);
    world.run(10_000);
    let digest = world.hosts.get_mut(&node(2)).unwrap().machine.logs.digest();
    let third = short(node(3), Boot::new(world.hosts[&node(3)].life));
    let equal = Message::Equal { digest, members: vec![third] };
    world.step(node(2), |machine, cx| machine.on_message(cx, node(1), equal));
    let all = |world: &mut World| {
        let machine = &mut world.hosts.get_mut(&node(2)).unwrap().machine;
        let digest = machine.logs.digest();
        let row = machine.replicas.row(node(3)).unwrap();
        assert!(!row.is_known_to_hold(digest) || row.covers(&machine.logs, node(3)));
        (row.is_known_to_hold(digest), world.known(2, 3).lag == Lag::default())
    };
    assert_eq!(all(&mut world), (true, true));
    let machine = &mut world.hosts.get_mut(&node(2)).unwrap().machine;
    let at = machine.logs.find(own(1)).unwrap();
    machine.replicas.part(at);
    assert_eq!(all(&mut world), (false, false), "the branch that it was known to hold ended here");
}

#[test]
fn who_said_that_a_member_holds_the_same_is_not_told_so() {
    let mut world = World::new(8, &star(3), Config::default());
    world.introduce(false);
    world.originate(node(1), 100);
    world.run(10_000);
    let digest = world.hosts.get_mut(&node(2)).unwrap().machine.logs.digest();
    // A new life of the third: the hub says that it holds the same.
    let life = |n: u8| Boot::new(world.hosts[&node(n)].life);
    let lives = [(node(1), life(1), true), (node(2), life(2), true), (node(3), Boot::new(9), true)];
    world.step(node(2), |machine, cx| machine.on_members(cx, lives.into_iter(), false));
    let equal = Message::Equal { digest, members: vec![short(node(3), Boot::new(9))] };
    world.step(node(2), |machine, cx| machine.on_message(cx, node(1), equal));
    let before = world.traffic.held;
    world.run(5_000);
    assert_eq!((world.cell(2, 3, own(1)), world.traffic.held), (1, before));
}

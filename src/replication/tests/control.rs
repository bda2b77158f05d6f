//! What the operator controls: pauses, and acknowledgements that wait for copies.

use std::num::NonZeroU8;
use std::time::Duration;

use super::mesh::{World, full, star, tree};
use super::rules::{Bench, sent, vector};
use super::*;

const PATIENCE: Duration = Duration::from_secs(5);

fn members(count: u8) -> Ack {
    Ack::Members(NonZeroU8::new(count).unwrap())
}

impl World {
    fn pause(&mut self, who: u8, whom: u8, paused: bool) {
        self.step(node(who), |machine, cx| machine.pause(cx, node(whom), paused, 1));
        self.run(50);
    }

    /// How far a host holds the log of another.
    fn held(&self, who: u8, whose: u8) -> u64 {
        let log = LogId { actor: actor(whose, 1), topic: Topic::DOCUMENTS };
        self.hosts[&node(who)].machine.view().vector().of(log).value()
    }

    /// Writes at a host, and waits for copies. Gives who holds it, or the few who do when it was waited long enough.
    fn copied(&mut self, who: u8, ack: Ack) -> Result<Vec<NodeId>, Vec<NodeId>> {
        self.originate(node(who), 100);
        self.run(20);
        let log = LogId { actor: actor(who, 1), topic: Topic::DOCUMENTS };
        let place = (log, self.hosts[&node(who)].machine.view().vector().of(log));
        self.step(node(who), |machine, cx| machine.await_copies(cx, 9, place, ack, PATIENCE));
        for _ in 0..60 {
            let told = self.hosts[&node(who)].events.iter().rev().find_map(|event| match event {
                Event::Copied { token: 9, members } => Some(Ok(members.clone())),
                Event::NotCopied { token: 9, members } => Some(Err(members.clone())),
                _ => None,
            });
            if let Some(told) = told {
                self.hosts.get_mut(&node(who)).unwrap().events.clear();
                let holders = told.as_ref().unwrap_or_else(|members| members);
                for member in holders {
                    let held = self.hosts[member].machine.view().vector().of(log);
                    assert!(held >= place.1, "{member:?} is said to hold {:?} and holds {held:?}", place.1);
                }
                return told;
            }
            self.run(100);
        }
        panic!("no answer");
    }
}

#[test]
fn a_paused_replica_gets_nothing_asks_in_vain_and_catches_up_when_it_is_resumed() {
    let mut world = World::new(1, &star(4), Config::default());
    world.introduce(false);
    world.run(1_000);
    world.pause(1, 3, true);
    for who in [1, 2, 3] {
        (0..5).for_each(|_| world.originate(node(who), 100));
    }
    world.run(20_000);
    assert_eq!((world.held(2, 1), world.held(4, 2)), (5, 5), "the others go on");
    assert_eq!((world.held(3, 1), world.held(3, 2), world.held(1, 3)), (0, 0, 0), "neither way");
    let known = world.known(1, 3);
    assert_eq!((known.state, known.lag.changes), (ReplicationState::Paused, 10), "its own are no lag of its");
    let by = |world: &World, now| {
        let is = |event: &&Event| **event == Event::PausedBy { peer: node(1), paused: now };
        world.hosts[&node(3)].events.iter().filter(is).count()
    };
    assert_eq!(by(&world, true), 1, "it knows who");
    world.pause(1, 3, false);
    world.settle(Duration::from_secs(20));
    assert_eq!(by(&world, false), 1);
    world.run(5_000);
    assert_eq!((world.known(1, 3).state, world.known(1, 3).lag), (ReplicationState::Active, Lag::default()));
}

#[test]
fn a_pause_is_on_the_disk_and_a_new_link_changes_nothing() {
    let mut world = World::new(2, &star(3), Config::default());
    world.introduce(false);
    world.pause(1, 2, true);
    world.kill(node(1));
    world.restart(node(1));
    world.introduce(false);
    world.join_all();
    world.originate(node(1), 100);
    world.run(10_000);
    assert_eq!((world.held(2, 1), world.held(3, 1)), (0, 1));
    world.cut(node(1), node(2));
    world.join_all();
    world.run(10_000);
    assert_eq!(world.held(2, 1), 0);
    world.pause(1, 2, false);
    world.settle(Duration::from_secs(20));
}

#[test]
fn what_is_asked_last_counts_though_nothing_of_it_is_durable_yet() {
    let mut world = World::new(5, &full(2), Config::default());
    world.introduce(false);
    world.run(1_000);
    let asked = [true, false, true, true, false];
    for (token, paused) in (10..).zip(asked) {
        world.step(node(1), |machine, cx| machine.pause(cx, node(2), paused, token));
    }
    world.run(1_000);
    let told = world.hosts[&node(1)].events.iter().filter_map(|event| match event {
        Event::Paused { token, paused, .. } => Some((*token, *paused)),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), (10..).zip(asked).collect::<Vec<_>>(), "in the order in which it was asked");
    world.originate(node(1), 100);
    world.settle(Duration::from_secs(20));
}

#[test]
fn a_mesh_routes_around_a_pause() {
    let mut world = World::new(3, &full(4), Config::default());
    world.introduce(true);
    world.run(1_000);
    world.pause(1, 2, true);
    (1..=4).for_each(|who| (0..5).for_each(|_| world.originate(node(who), 100)));
    world.settle(Duration::from_secs(30));
}

#[test]
fn who_pauses_each_other_must_both_resume_and_lost_frames_do_not_matter() {
    let mut world = World::new(4, &star(3), Config::default());
    world.net.loss = 300;
    world.introduce(false);
    world.pause(1, 2, true);
    world.pause(2, 1, true);
    world.originate(node(1), 100);
    world.run(30_000);
    world.pause(1, 2, false);
    world.run(30_000);
    assert_eq!(world.held(2, 1), 0);
    world.pause(2, 1, false);
    world.net.loss = 0;
    world.settle(Duration::from_secs(120));
}

#[test]
fn an_acknowledgement_waits_for_as_many_disks_as_are_wanted_however_far() {
    for (name, edges, direct, most) in
        [("star", star(6), false, 5), ("tree", tree(13, 3), false, 12), ("full", full(5), true, 4)]
    {
        let mut world = World::new(5, &edges, Config::default());
        world.introduce(direct);
        world.run(3_000);
        // A leaf or spoke has one neighbour.
        let who = u8::try_from(world.hosts.len()).unwrap();
        for wanted in [1, 2, most] {
            let began = world.now;
            let told = world.copied(who, members(wanted)).unwrap_or_else(|held| panic!("{name}, {wanted}: {held:?}"));
            assert!(told.len() >= usize::from(wanted), "{name}: {told:?}");
            assert!(world.now - began < 1_000 * mesh::MS, "{name}: it is told at once");
        }
        assert_eq!(world.copied(who, Ack::All).unwrap().len(), usize::from(most), "{name}");
        let few = world.copied(who, members(most + 1)).unwrap_err();
        assert_eq!(few.len(), usize::from(most), "{name}: nobody is counted twice");
    }
}

#[test]
fn who_is_cut_off_is_not_counted_and_the_entry_is_not_undone() {
    let mut world = World::new(6, &star(4), Config::default());
    world.introduce(false);
    world.run(3_000);
    world.cut(node(1), node(4));
    assert_eq!(world.copied(1, members(3)), Err(vec![node(2), node(3)]));
    assert_eq!(world.copied(1, members(2)), Ok(vec![node(2), node(3)]));
    // Who is paused is not waited for by `all`; who is cut off is, while it is thought to be active.
    assert!(world.copied(1, Ack::All).is_err());
    world.pause(1, 4, true);
    assert_eq!(world.copied(1, Ack::All), Ok(vec![node(2), node(3)]));
    assert_eq!(world.copied(4, members(1)), Err(vec![]), "alone");
    assert_eq!(world.copied(4, Ack::All), Err(vec![]), "nobody is no promise");
    world.pause(1, 4, false);
    world.join_all();
    world.settle(Duration::from_secs(20));
}

#[test]
fn copies_are_counted_over_lossy_links_too() {
    let mut world = World::new(7, &tree(13, 3), Config::default());
    world.introduce(false);
    world.net.loss = 100;
    world.run(3_000);
    let reached = (0..10).filter(|_| world.copied(13, members(6)).is_ok()).count();
    assert!(reached >= 8, "{reached} of 10 within five seconds");
}

#[test]
fn levels_are_written_as_they_are_read() {
    for text in ["local", "1", "255", "all"] {
        assert_eq!(text.parse::<Ack>().unwrap().to_string(), text);
    }
    for text in ["256", "-1", "any", ""] {
        assert!(text.parse::<Ack>().unwrap_err().to_string().contains("1 to 255"), "{text}");
    }
    assert!(Ack::Local < members(1) && members(255) < Ack::All, "ranges over levels rely on it");
}

#[test]
fn copies_of_what_many_wrote_are_members_that_hold_all_of_it() {
    let mut world = World::new(9, &star(5), Config::default());
    world.introduce(false);
    world.run(1_000);
    for who in [2, 3] {
        world.originate(node(who), 100);
    }
    world.run(1_000);
    // Who is cut off has what the second wrote and not what the third wrote then.
    world.cut(node(1), node(5));
    world.originate(node(3), 100);
    world.run(1_000);
    let log = |n| LogId { actor: actor(n, 1), topic: Topic::DOCUMENTS };
    let mut ask = |token, places: &[(LogId, Seq)], ack| {
        world.step(node(4), |machine, cx| machine.await_copies_of_all(cx, token, places, ack, PATIENCE));
        world.run(6_000);
        assert_eq!(world.hosts[&node(4)].machine.awaited(), 0);
        let told = world.hosts[&node(4)].events.iter().find_map(|event| match event {
            Event::Copied { token: of, members } if *of == token => Some(Ok(members.clone())),
            Event::NotCopied { token: of, members } if *of == token => Some(Err(members.clone())),
            _ => None,
        });
        told.expect("it is answered")
    };
    let all = [(log(2), Seq::new(1)), (log(3), Seq::new(2))];
    let whole = vec![node(1), node(2), node(3)];
    assert_eq!(ask(7, &all, members(3)), Ok(whole.clone()));
    assert_eq!(ask(8, &all, members(4)), Err(whole), "the fifth holds one of the two");
    assert_eq!(ask(9, &all[..1], members(4)).map(|members| members.len()), Ok(4));
}

#[test]
fn a_paused_replica_that_goes_on_asking_is_told_so_now_and_then() {
    let mut bench = Bench::with(&[2], Config::default());
    let ops = bench.run(|machine, cx| machine.pause(cx, node(2), true, 1));
    bench.sync(&ops);
    let refusals = |bench: &mut Bench| {
        let ops = bench.hear(2, vector(&[]));
        sent(&ops).into_iter().filter(|(to, message)| *to == node(2) && **message == Message::Paused).count()
    };
    assert_eq!(refusals(&mut bench), 1);
    assert_eq!(refusals(&mut bench), 0, "not at once again");
    bench.millis += 999;
    assert_eq!(refusals(&mut bench), 0);
    bench.millis += 1;
    assert_eq!((refusals(&mut bench), refusals(&mut bench)), (1, 0));
}

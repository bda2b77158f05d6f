//! Who knows how far whom: lag of every member at every other, over stars, trees and meshes.

use super::super::message::Short;
use super::mesh::{MS, World, full, star, tree, web};
use super::spreading::{Steps, put_back};
use super::*;
use crate::types::Boot;

impl World {
    /// Tells everybody who is a member, and who of them is there.
    pub(super) fn introduce(&mut self, direct: bool) {
        let members: Vec<_> = self.hosts.iter().map(|(id, host)| (*id, Boot::new(host.life), host.up)).collect();
        let up: Vec<NodeId> = members.iter().filter(|(.., up)| *up).map(|(id, ..)| *id).collect();
        for id in up {
            self.step(id, |machine, cx| machine.on_members(cx, members.iter().copied(), direct));
        }
    }

    pub(super) fn known(&self, who: u8, whom: u8) -> Known {
        self.hosts[&node(who)].machine.view().known(node(whom), Time::from_nanos(self.now)).unwrap()
    }

    fn pairs(&self) -> Vec<(u8, u8)> {
        let count = u8::try_from(self.hosts.len()).unwrap();
        (1..=count).flat_map(|who| (1..=count).filter(move |whom| *whom != who).map(move |whom| (who, whom))).collect()
    }

    fn write_all(&mut self, times: u32) {
        let ids: Vec<NodeId> = self.hosts.keys().copied().collect();
        for _ in 0..times {
            ids.iter().for_each(|id| self.originate(*id, 100));
            self.run(50);
        }
    }
}

#[test]
fn everybody_learns_how_far_everybody_is_whatever_the_overlay() {
    for (name, edges, direct) in
        [("star", star(8), false), ("tree", tree(13, 3), false), ("web", web(20, 6), false), ("full", full(6), true)]
    {
        let mut world = World::new(1, &edges, Config::default());
        world.introduce(direct);
        world.write_all(10);
        world.run(60_000);
        for (who, whom) in world.pairs() {
            let known = world.known(who, whom);
            assert_eq!((known.state, known.lag), (ReplicationState::Active, Lag::default()), "{name}: {whom} at {who}");
        }
    }
}

#[test]
fn what_a_member_lacks_is_counted_at_everybody_and_gone_when_it_is_back() {
    // 13 is a leaf below 4.
    let mut world = World::new(2, &tree(13, 3), Config::default());
    world.introduce(false);
    world.write_all(3);
    world.run(30_000);
    world.cut(node(4), node(13));
    for _ in 0..7 {
        world.originate(node(1), 100);
        world.run(1_000);
    }
    // Knowledge of it is as old as the cut; after minutes that is no excuse.
    world.run(610_000);
    for who in [1, 4, 12] {
        let known = world.known(who, 13);
        assert_eq!((known.state, known.lag.changes), (ReplicationState::CatchingUp, 7), "at {who}");
        assert!(known.lag.bytes >= 700 && known.lag.bytes < 1_500, "{known:?}");
        assert!(known.lag.lag_ms > 600_000, "{known:?}");
        assert!(known.lagging, "beyond 60 s it is told");
    }
    let told =
        |world: &World, event: fn(&Event) -> bool| world.hosts[&node(1)].events.iter().filter(|it| event(it)).count();
    assert_eq!(told(&world, |event| matches!(event, Event::Lagging { member, .. } if *member == node(13))), 1);
    world.join_all();
    world.run(60_000);
    for (who, whom) in world.pairs() {
        assert_eq!(world.known(who, whom).lag, Lag::default(), "{whom} at {who}");
    }
    assert_eq!(told(&world, |event| matches!(event, Event::CaughtUp { member } if *member == node(13))), 1);
}

#[test]
fn a_new_life_is_compared_with_anew_and_a_dead_one_has_failed() {
    let mut world = World::new(3, &star(4), Config::default());
    world.introduce(false);
    world.write_all(2);
    world.run(70_000);
    world.kill(node(3));
    world.introduce(false);
    assert_eq!(world.known(1, 3).state, ReplicationState::Failed);
    world.restart(node(3));
    world.introduce(false);
    assert_eq!(world.known(1, 3).state, ReplicationState::Initializing);
    assert_eq!(world.known(1, 3).lag.changes, 6, "what it held in its life before counts no more");
    world.run(10_000);
    assert!(!world.known(1, 3).lagging, "nobody has compared with it: that it lacks all is not known");
    world.join_all();
    world.run(20_000);
    assert_eq!((world.known(4, 3).state, world.known(4, 3).lag), (ReplicationState::Active, Lag::default()));
}

/// What 3 knows of 2 it has from 1. Begun anew, 1 knows nothing of it any more, and has only 3 to ask.
#[test]
fn who_forgot_what_it_told_is_told_it() {
    let mut world = World::new(6, &full(3), Config::default());
    world.introduce(false);
    world.cut(node(2), node(3));
    world.write_all(3);
    world.run(30_000);
    assert_eq!(world.known(3, 2).lag, Lag::default());
    world.kill(node(1));
    world.restart(node(1));
    world.introduce(false);
    world.join(node(2), node(3));
    world.join(node(1), node(3));
    world.run(120_000);
    for (who, whom) in world.pairs() {
        assert_eq!(world.known(who, whom).lag, Lag::default(), "{whom} at {who}");
    }
}

#[test]
fn lost_frames_leave_no_false_lag() {
    let mut world = World::new(4, &tree(10, 3), Config::default());
    world.introduce(false);
    world.net.loss = 200;
    world.write_all(10);
    world.net.loss = 0;
    world.run(400_000);
    for (who, whom) in world.pairs() {
        assert_eq!(world.known(who, whom).lag, Lag::default(), "{whom} at {who}");
    }
}

#[test]
fn knowledge_costs_a_share_of_what_flows_and_nothing_at_rest() {
    let mut world = World::new(5, &tree(20, 3), Config::default());
    world.introduce(false);
    world.write_all(100);
    world.run(1_000);
    let (held, all, seconds, links) = (world.traffic.held, world.traffic.bytes, 6, 19);
    assert!(held > 0 && held < all / 16 + seconds * links * 2 * 64, "{held} of {all} bytes");
    world.run(120_000);
    let before = world.traffic.held;
    world.run(120_000);
    assert_eq!(world.traffic.held, before, "nothing changes, nothing is told");
}

#[test]
fn what_came_after_the_last_word_is_not_held_against_a_member_whose_word_is_fresh() {
    let mut logs = Logs::default();
    let at = logs.intern(LogId { actor: actor(2, 1), topic: Topic::DOCUMENTS });
    let time = |seconds: u64| Time::from_nanos(seconds * 1_000 * MS);
    for seq in 1..=10 {
        logs.restore(at, &Entry { hlc: Hlc::default(), body: Bytes::from_static(b"x") }, super::at(seq, 10));
        logs.get_mut(at).mark(time(seq * 10));
    }
    let log = logs.get(at);
    assert_eq!([9, 10, 15, 20, 99, 100, 200].map(|second| log.held_at(time(second))), [0, 1, 1, 2, 9, 10, 10]);
    assert_eq!([1, 2, 10].map(|seq| log.durable_since(seq)), [10, 20, 100].map(time));
    let mut replicas = replicas::Replicas::default();
    replicas.set_members(time(0), [(node(3), Boot::new(1), true)].into_iter());
    let row = replicas.row_mut(node(3)).unwrap();
    (row.compared, row.as_of) = (true, time(55));
    replicas.raise(node(3), at, (3, Short::default()), node(3), time(55), true);
    let lag = replicas.lag(&logs, node(3), time(100), false).unwrap();
    assert_eq!(lag, Lag { changes: 2, bytes: 20, lag_ms: 15_000 }, "as of second 55, when 5 were held");
    let paused = replicas.lag(&logs, node(3), time(100), true).unwrap();
    logs.restore(at, &Entry { hlc: Hlc::default(), body: Bytes::from_static(b"x") }, super::at(11, 10));
    let now = replicas.lag(&logs, node(3), time(100), true).unwrap();
    assert_eq!(now.changes, 8, "what came just now counts when nothing is fresh");
    assert_eq!(paused, Lag { changes: 7, bytes: 70, lag_ms: 60_000 });
    // One that came when all of it was there already lags since it came.
    replicas.set_members(time(90), [(node(4), Boot::new(1), true)].into_iter());
    let joined = replicas.lag(&logs, node(4), time(100), false).unwrap();
    assert_eq!((joined.changes, joined.lag_ms), (11, 10_000));
}

/// Logs are passed over that a member is known to hold: no other ones are.
fn nothing_is_passed_over(world: &World) {
    for (id, host) in &world.hosts {
        let (logs, replicas) = (&host.machine.logs, &host.machine.replicas);
        for (member, row) in replicas.iter() {
            let looked_at = row.in_question(logs);
            let passed_over = logs.by_id().filter(|(at, _)| !looked_at.contains(at));
            for (at, log) in passed_over {
                assert!(row.holds_all(at, log), "{:?} of {member:?} at {id:?}", log.id);
            }
        }
    }
}

#[test]
fn who_is_not_in_question_holds_all_whatever_happens_to_disks_and_links() {
    let law: fn(Steps) -> bool = |steps| {
        let mut world = World::new(8, &web(6, 3), Config { batch_size: 16, ..Config::default() });
        world.introduce(false);
        for some in steps.chunks(5) {
            put_back(&mut world, some);
            nothing_is_passed_over(&world);
            world.introduce(false);
            for _ in 0..4 {
                world.run(700);
                nothing_is_passed_over(&world);
            }
        }
        true
    };
    quickcheck::QuickCheck::new().tests(25).quickcheck(law);
}

#[test]
fn who_is_said_to_hold_more_than_is_held_here_is_in_question_again() {
    let mut world = World::new(9, &full(2), Config::default());
    world.introduce(true);
    world.originate(node(1), 100);
    world.run(10_000);
    let now = Time::from_nanos(world.now);
    let machine = &mut world.hosts.get_mut(&node(1)).unwrap().machine;
    let at = machine.logs.find(LogId { actor: actor(1, 1), topic: Topic::DOCUMENTS }).unwrap();
    let digest = machine.logs.digest();
    machine.replicas.row_mut(node(2)).unwrap().note_all(&machine.logs, digest);
    let in_question = |machine: &Replication| machine.replicas.row(node(2)).unwrap().in_question(&machine.logs);
    assert!(in_question(machine).is_empty());
    assert!(machine.replicas.raise(node(2), at, (9, Short::of(digest)), node(2), now, true));
    assert_eq!(in_question(machine), [at]);
    machine.replicas.part(at);
    assert_eq!(in_question(machine), [at], "nothing is known of it any more");
    nothing_is_passed_over(&world);
}

//! What a neighbour can have us do by words alone: logs of which it speaks and nothing is held, pauses, questions.

use super::mesh::{World, star};
use super::rules::{Bench, delivered, line, log_of, push, root, run, sent, told, vector};
use super::*;

/// The `n`th log that does not exist.
fn made_up(n: u64) -> LogId {
    LogId {
        actor: Actor { node: NodeId::from_u128(1 << 64 | u128::from(n)), mint: Mint::new(n) },
        topic: Topic::DOCUMENTS,
    }
}

/// Of one node, another of its logs.
fn another(n: u8, mint: u64) -> LogId {
    LogId { actor: actor(n, mint), topic: Topic::DOCUMENTS }
}

fn have(logs: impl Iterator<Item = LogId>) -> Message {
    Message::Have(logs.map(|log| Have { log: Name::Id(log), last: Seq::new(1) }).collect())
}

/// The ways to name logs.
fn namings(logs: &[LogId]) -> [Message; 5] {
    let (last, chain) = (Seq::new(1), Short::default());
    let line = |log: &LogId| Line { log: *log, last, chain: crate::types::Digest::new(9) };
    let hold = |log: &LogId| Hold { log: Name::Id(*log), last, chain };
    let boot = crate::types::Boot::new(1);
    let held = Held { member: node(2), boot, age_ms: 0, lines: logs.iter().map(hold).collect() };
    let offers = logs.iter().map(|log| Have { log: Name::Id(*log), last }).collect();
    [
        have(logs.iter().copied()),
        vector(&logs.iter().map(line).collect::<Vec<_>>()),
        Message::Held(vec![held]),
        Message::Watch(logs.iter().map(|log| Name::Id(*log)).collect()),
        Message::Offer(offers),
    ]
}

/// A few places: what is true of them is true of many.
fn small() -> Config {
    Config { logs_max: 24, logs_per_node_max: 4, named_max: 8, ..Config::default() }
}

fn faults(ops: &[crate::machine::Op<Replication>]) -> usize {
    told(ops).into_iter().filter(|event| matches!(event, Event::PeerFault { .. })).count()
}

fn held(bench: &Bench, n: u8) -> u64 {
    bench.machine.logs.find(log_of(n)).map_or(0, |at| bench.machine.logs.get(at).durable())
}

fn grafted(ops: &[crate::machine::Op<Replication>], to: u8) -> Vec<LogId> {
    let grafts = sent(ops).into_iter().filter(|(peer, _)| *peer == node(to));
    let logs = grafts.flat_map(|(_, message)| match message {
        Message::Graft(grafts) => grafts.iter().map(|graft| graft.log).collect(),
        _ => Vec::new(),
    });
    logs.collect()
}

#[test]
fn whoever_names_more_logs_than_there_may_be_keeps_nobody_from_writing() {
    let mut world = World::new(1, &star(4), Config::default());
    world.introduce(false);
    world.run(1_000);
    for chunk in 0..70 {
        let logs = (chunk * 1_000..(chunk + 1) * 1_000).map(made_up);
        world.step(node(1), |machine, cx| machine.on_message(cx, node(2), have(logs)));
    }
    assert_eq!(world.hosts[&node(1)].machine.statistics.faults, 0);
    world.originate(node(3), 100);
    world.originate(node(4), 100);
    world.run(2_000);
    for who in 1..=4 {
        let vector = world.hosts[&node(who)].machine.view().vector();
        assert_eq!(vector.iter().filter(|(_, seq)| *seq == Seq::new(1)).count(), 2, "{who} holds {vector:?}");
    }
    // Nor do its lies go further than to those to whom it told them.
    assert!(world.hosts[&node(3)].machine.logs.len() <= 4);
}

#[test]
fn an_entry_and_an_honest_word_find_a_place_however_it_was_filled() {
    for kind in 0..5 {
        let mut bench = Bench::with(&[2, 3], small());
        let members = [(node(2), crate::types::Boot::new(1), true), (node(3), crate::types::Boot::new(1), true)];
        bench.run(|machine, cx| machine.on_members(cx, members.into_iter(), false));
        for n in 0..40 {
            let [ours, theirs] = [made_up(n), another(9, n + 7)];
            bench.hear(2, namings(&[ours, theirs])[kind].clone());
        }
        assert_eq!(faults(&bench.hear(3, have([log_of(9)].into_iter()))), 0, "kind {kind}");
        bench.millis += 1_000;
        let ops = bench.run(|machine, cx| machine.on_timer(cx, Timer::Behind));
        assert!(grafted(&ops, 3).contains(&log_of(9)), "kind {kind}: {ops:?}");
        let ops = bench.take(3, push(1, vec![run(9, 1, 2), run(8, 1, 1)]));
        assert_eq!(delivered(&ops).len(), 3, "kind {kind}");
    }
}

#[test]
fn who_names_little_finds_a_place_beside_those_who_name_much() {
    let mut bench = Bench::with(&[2, 3, 4, 5], small());
    for n in 0..120 {
        bench.hear([2, 3, 4][usize::try_from(n % 3).unwrap()], have([made_up(n)].into_iter()));
    }
    assert_eq!(bench.machine.logs.len(), 24);
    bench.hear(5, have([log_of(8), log_of(9)].into_iter()));
    assert!([8, 9].map(|n| bench.machine.logs.find(log_of(n))).iter().all(Option::is_some));
    bench.hear(2, have([made_up(500)].into_iter()));
    assert_eq!(bench.machine.logs.find(made_up(500)), None, "who has most gives way to nobody else's harm");
}

#[test]
fn what_is_held_or_ours_is_never_given_up_and_a_full_table_says_so() {
    let mut bench = Bench::with(&[2, 3], small());
    bench.write(10);
    let all: Vec<u8> = (10..32).collect();
    for n in &all {
        bench.take(3, push(u64::from(*n), vec![run(*n, 1, 1)]));
    }
    for n in 0..100 {
        bench.hear(2, have([made_up(n)].into_iter()));
    }
    assert_eq!((bench.machine.logs.len(), bench.machine.logs.entries()), (24, 23));
    assert_eq!(delivered(&bench.take(3, push(90, vec![run(32, 1, 1)]))).len(), 1, "in the place of a lie");
    let ops = bench.take(3, push(91, vec![run(33, 1, 1)]));
    assert_eq!((delivered(&ops).len(), faults(&ops)), (0, 1));
    assert!(all.iter().all(|n| held(&bench, *n) == 1));
}

#[test]
fn whoever_honestly_holds_more_than_its_share_is_asked_for_the_rest() {
    let mut bench = Bench::with(&[2], small());
    let logs: Vec<u8> = (10..30).collect();
    let lines: Vec<Line> = logs.iter().map(|n| line(*n, 1)).collect();
    let mut asked = 0;
    bench.hear(2, vector(&lines));
    for number in 1..=20 {
        let named: Vec<u8> = logs.iter().copied().filter(|n| bench.machine.logs.find(log_of(*n)).is_some()).collect();
        let lacks = |n: &u8| held(&bench, *n) == 0;
        let Some(next) = named.into_iter().find(lacks) else { break };
        let ops = bench.take(2, push(number, vec![run(next, 1, 1)]));
        if sent(&ops).iter().any(|(_, message)| matches!(message, Message::Vector(chunk) if chunk.answer)) {
            asked += 1;
            bench.hear(2, vector(&lines));
        }
    }
    assert_eq!(bench.machine.logs.entries(), 20);
    assert!((1..=6).contains(&asked), "asked {asked} times");
}

#[test]
fn a_place_that_was_given_up_brings_nothing_of_what_it_was() {
    let mut bench = Bench::with(&[2, 3], small());
    for n in 0..8 {
        bench.hear(2, have([made_up(n)].into_iter()));
        bench.hear(2, Message::Watch(vec![Name::Id(made_up(n))]));
    }
    let at = bench.machine.logs.find(made_up(0)).unwrap();
    bench.machine.replicas.set_members(Time::ZERO, [(node(2), crate::types::Boot::new(1), true)].into_iter());
    bench.machine.replicas.raise(node(2), at, (7, Short::default()), node(2), Time::ZERO, false);
    bench.millis += 100_000;
    bench.hear(2, have([made_up(100)].into_iter()));
    assert_eq!((bench.machine.logs.find(made_up(0)), bench.machine.logs.find(made_up(100))), (None, Some(at)));
    assert_eq!(bench.machine.peers[&node(2)].edge(at).known, 1, "of what it is now");
    assert_eq!(bench.machine.replicas.row(node(2)).unwrap().seq(at), 0);
    assert!(bench.machine.logs.tagged(Short::of(root(made_up(0)))).is_empty());
}

#[test]
fn whoever_says_that_what_we_never_heard_of_expired_is_not_believed() {
    let mut bench = Bench::with(&[2], small());
    let expired = |n| {
        Message::Trimmed(Line {
            log: LogId { topic: Topic::EVENTS, ..made_up(n) },
            last: Seq::new(5),
            chain: crate::types::Digest::new(9),
        })
    };
    let ops: Vec<_> = (0..40).flat_map(|n| bench.take(2, expired(n))).collect();
    assert!(!ops.iter().any(|op| matches!(op, crate::machine::Op::Persist(..))), "{ops:?}");
    assert_eq!(bench.machine.logs.len(), 0);
}

#[test]
fn who_pauses_and_resumes_again_and_again_is_not_told_everything_each_time() {
    let mut bench = Bench::with(&[2], Config::default());
    bench.write(10);
    let mut told = 0;
    for _ in 0..600 {
        bench.millis += 100;
        bench.hear(2, Message::Paused);
        let ops = bench.hear(2, Message::Digest(crate::types::Digest::new(1)));
        told += sent(&ops).iter().filter(|(_, message)| matches!(message, Message::Vector(_))).count();
    }
    assert!((6..=16).contains(&told), "{told} vectors in a minute");
    bench.millis += 601_000;
    bench.hear(2, Message::Paused);
    let ops = bench.hear(2, vector(&[]));
    assert!(sent(&ops).iter().any(|(_, message)| matches!(message, Message::Vector(_))), "one who means it is heard");
}

#[test]
fn questions_are_handed_on_seldom_and_few_at_a_time() {
    let mut bench = Bench::with(&[2, 3, 4], Config::default());
    let members = (2..=4).map(|n| (node(n), crate::types::Boot::new(1), true));
    bench.run(|machine, cx| machine.on_members(cx, members, false));
    let held: Vec<u8> = (10..210).collect();
    for n in &held {
        bench.take(3, push(u64::from(*n), vec![run(*n, 1, 1)]));
    }
    let watch = Message::Watch(held.iter().map(|n| Name::Id(log_of(*n))).collect());
    let mut handed_on = 0;
    for _ in 0..60 {
        bench.millis += 100;
        let ops = bench.hear(2, watch.clone());
        assert!(!sent(&ops).iter().any(|(to, message)| *to == node(2) && matches!(message, Message::Watch(_))));
        handed_on +=
            sent(&ops).iter().filter(|(to, message)| *to == node(4) && matches!(message, Message::Watch(_))).count();
    }
    // In 6 seconds: of 200 logs 64 a second, and each once in 3.
    assert!((64..=6 * 64).contains(&handed_on), "{handed_on}");
    bench.millis += 10_000;
    let one = Message::Watch(vec![Name::Id(log_of(10))]);
    let mut again = |millis: u64| {
        bench.millis += millis;
        sent(&bench.hear(2, one.clone())).iter().filter(|(_, message)| matches!(message, Message::Watch(_))).count()
    };
    assert_eq!([0, 1_000, 1_500, 1_000].map(&mut again), [2, 0, 0, 2], "a circle of links does not turn it for ever");
}

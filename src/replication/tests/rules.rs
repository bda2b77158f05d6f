//! Rules one by one: one machine, its inputs, its ops.

use super::*;
use crate::machine::Op;
use crate::machine::testkit::step_at;
use crate::types::{Boot, DiskFaultKind, Now, Range, WallTime};
use std::time::Duration;

pub(super) const ME: u8 = 1;

pub(super) fn now(millis: u64) -> Now {
    let wall = WallTime::from_micros(1_700_000_000_000_000 + millis * 1_000);
    Now { mono: Time::from_nanos(millis * 1_000_000), wall }
}

/// One machine, its disk and the time.
pub(super) struct Bench {
    pub(super) machine: Replication,
    pub(super) millis: u64,
    written: u64,
    pub(super) disk: Vec<Kept>,
}

impl Bench {
    pub(super) fn new(config: Config) -> Self {
        let mut bench =
            Self { machine: Replication::new(actor(ME, 1), config), millis: 1, written: 0, disk: Vec::new() };
        bench.run(|machine, cx| machine.start(cx));
        bench
    }

    /// With these neighbours, who hold nothing.
    pub(super) fn with(peers: &[u8], config: Config) -> Self {
        let mut bench = Self::new(config);
        for peer in peers {
            bench.run(|machine, cx| machine.on_neighbor_up(cx, node(*peer)));
            bench.hear(*peer, vector(&[]));
        }
        bench
    }

    pub(super) fn run(
        &mut self,
        input: impl FnOnce(&mut Replication, &mut Cx<'_, Replication>),
    ) -> Vec<Op<Replication>> {
        step_at(now(self.millis), |cx| input(&mut self.machine, cx))
    }

    pub(super) fn hear(&mut self, from: u8, message: Message) -> Vec<Op<Replication>> {
        self.run(|machine, cx| machine.on_message(cx, node(from), message))
    }

    /// Answers the writes among these ops.
    pub(super) fn sync(&mut self, ops: &[Op<Replication>]) -> Vec<Op<Replication>> {
        let mut more = Vec::new();
        for op in ops {
            if let Op::Persist(kept, wait) = op {
                let len = if let Kept::Entry(record) = kept { record.body.len() } else { 0 };
                let position = at(self.written, len);
                self.written += 1;
                self.disk.push(kept.clone());
                more.extend(self.run(|machine, cx| machine.on_persisted(cx, *wait, Ok(position))));
            }
        }
        more
    }

    /// What the disk gives for a read.
    pub(super) fn read(&self, position: Position) -> Record {
        match &self.disk[usize::try_from(position.offset).unwrap()] {
            Kept::Entry(record) => record.clone(),
            other => panic!("{other:?} is read as an entry"),
        }
    }

    /// Answers the writes and reads among these ops, and those that come of it; all ops together.
    pub(super) fn settle(&mut self, ops: Vec<Op<Replication>>) -> Vec<Op<Replication>> {
        let (mut queue, mut done) = (VecDeque::from(ops), Vec::new());
        while let Some(op) = queue.pop_front() {
            queue.extend(match &op {
                Op::Persist(..) => self.sync(std::slice::from_ref(&op)),
                Op::Read(position, wait) => {
                    let record = self.read(*position);
                    self.run(|machine, cx| machine.on_read(cx, *wait, Ok(record)))
                }
                _ => Vec::new(),
            });
            done.push(op);
        }
        done
    }

    /// Hears a message; its writes are durable at once.
    pub(super) fn take(&mut self, from: u8, message: Message) -> Vec<Op<Replication>> {
        let mut ops = self.hear(from, message);
        let more = self.sync(&ops);
        ops.extend(more);
        ops
    }

    /// Originates an entry that is durable at once.
    pub(super) fn write(&mut self, len: usize) -> Vec<Op<Replication>> {
        let body = body(log_of(ME), self.written, len);
        let ops = self.run(|machine, cx| machine.originate(cx, Topic::DOCUMENTS, body, 7));
        self.sync(&ops)
    }
}

pub(super) fn log_of(n: u8) -> LogId {
    LogId { actor: actor(n, 1), topic: Topic::DOCUMENTS }
}

/// Entry `seq` of the log of node `n`.
pub(super) fn entry(n: u8, seq: u64) -> Entry {
    let hlc = Hlc { wall: WallTime::from_micros(1_700_000_000_000_000 + seq), logical: 0 };
    Entry { hlc, body: body(log_of(n), seq, 100) }
}

/// The chain of the log of node `n` after entry `seq`.
pub(super) fn chain(n: u8, seq: u64) -> crate::types::Digest {
    let mut logs = Logs::default();
    let at = logs.intern(log_of(n));
    (1..=seq).for_each(|seq| logs.get_mut(at).push_pending(entry(n, seq)));
    logs.get(at).chain_at(seq).unwrap()
}

/// The chain of a log before its first entry.
pub(super) fn root(log: LogId) -> crate::types::Digest {
    let mut logs = Logs::default();
    let at = logs.intern(log);
    logs.get(at).chain_at(0).unwrap()
}

/// Entries `first..=last` of the log of node `n`.
pub(super) fn run(n: u8, first: u64, last: u64) -> Run {
    let entries = (first..=last).map(|seq| entry(n, seq)).collect();
    Run { log: Name::Id(log_of(n)), first: Seq::new(first), before: Short::of(chain(n, first - 1)), entries }
}

pub(super) fn push(number: u64, runs: Vec<Run>) -> Message {
    Message::Push(Batch { number, runs })
}

pub(super) fn line(n: u8, last: u64) -> Line {
    Line { log: log_of(n), last: Seq::new(last), chain: chain(n, last) }
}

pub(super) fn vector(lines: &[Line]) -> Message {
    Message::Vector(Chunk { after: None, upto: None, lines: lines.to_vec(), answer: false })
}

pub(super) fn sent(ops: &[Op<Replication>]) -> Vec<(NodeId, &Message)> {
    ops.iter().filter_map(|op| if let Op::Send(to, message) = op { Some((*to, message)) } else { None }).collect()
}

pub(super) fn told(ops: &[Op<Replication>]) -> Vec<&Event> {
    ops.iter().filter_map(|op| if let Op::Emit(event) = op { Some(event) } else { None }).collect()
}

pub(super) fn delivered(ops: &[Op<Replication>]) -> Vec<(LogId, u64)> {
    let places = told(ops).into_iter().filter_map(|event| match event {
        Event::Delivered { log, seq, .. } => Some((*log, seq.value())),
        _ => None,
    });
    places.collect()
}

fn broken() -> DiskFault {
    DiskFault { kind: DiskFaultKind::Failed, what: "write".into(), why: "i/o error".into() }
}

#[test]
fn an_entry_is_told_and_pushed_when_it_is_durable_and_not_before() {
    let mut bench = Bench::with(&[2], Config::default());
    let ops = bench.run(|machine, cx| machine.originate(cx, Topic::DOCUMENTS, Bytes::from_static(b"x"), 7));
    assert!(matches!(ops[..], [Op::Persist(..)]), "{ops:?}");
    let ops = bench.sync(&ops);
    assert!(matches!(told(&ops)[..], [Event::Originated { token: 7, .. }]));
    assert!(matches!(sent(&ops)[..], [(_, Message::Push(batch))] if batch.runs[0].first == Seq::new(1)));
}

#[test]
fn who_answers_nothing_wakes_nobody_until_it_answers() {
    let mut bench = Bench::with(&[2], Config::default());
    bench.write(100);
    bench.millis += 60_000;
    bench.run(|machine, cx| machine.on_timer(cx, Timer::Retransmit(node(2))));
    // What was sent again is under way, and nothing follows it yet.
    let ops = bench.write(100);
    assert_eq!(sent(&ops), []);
    assert!(!ops.contains(&Op::Arm(Timer::Flush(node(2)), Config::default().batch_timeout)), "{ops:?}");
    let ops = bench.hear(2, Message::Ack { number: 2 });
    let pushed = |message: &&Message| matches!(message, Message::Push(batch) if batch.runs[0].first == Seq::new(2));
    assert!(sent(&ops).iter().any(|(_, message)| pushed(message)), "{ops:?}");
}

#[test]
fn a_batch_is_acknowledged_when_all_of_it_is_durable() {
    let mut bench = Bench::with(&[2], Config::default());
    let ops = bench.hear(2, push(5, vec![run(2, 1, 2)]));
    assert_eq!(sent(&ops), []);
    assert_eq!(sent(&bench.sync(&ops[..1])), [], "the second is not durable yet");
    assert_eq!(sent(&bench.sync(&ops[1..])), [(node(2), &Message::Ack { number: 5 })]);
}

#[test]
fn after_a_failed_write_nothing_is_acknowledged_delivered_or_originated() {
    let mut bench = Bench::with(&[2], Config::default());
    let ops = bench.hear(2, push(1, vec![run(2, 1, 1)]));
    let Op::Persist(_, wait) = &ops[0] else { panic!("{ops:?}") };
    let failed = bench.run(|machine, cx| machine.on_persisted(cx, *wait, Err(broken())));
    assert_eq!((told(&failed).len(), sent(&failed).len()), (0, 0));
    let refused = bench.run(|machine, cx| machine.originate(cx, Topic::DOCUMENTS, Bytes::new(), 8));
    assert_eq!(refused, [Op::Emit(Event::OriginateFailed { topic: Topic::DOCUMENTS, token: 8, fault: broken() })]);
    assert_eq!(bench.hear(2, push(2, vec![run(2, 1, 2)])), []);
    assert_eq!(bench.hear(2, vector(&[line(2, 9)])), [], "what cannot be kept is not asked for");
    bench.run(Replication::reopen);
    assert_eq!(bench.machine.view().behind(), 1, "what was told meanwhile is lacking still");
}

#[test]
fn what_cannot_be_originated_is_answered_so() {
    let mut bench = Bench::new(Config::default());
    let mut why = |topic, len| {
        let ops = bench.run(|machine, cx| machine.originate(cx, topic, vec![0; len].into(), 1));
        let [Op::Emit(Event::OriginateFailed { fault, .. })] = &ops[..] else { panic!("{ops:?}") };
        fault.why.to_string()
    };
    assert_eq!(why(Topic::new(9), 1), "topic 9 does not exist");
    assert_eq!(why(Topic::DOCUMENTS, ENTRY_MAX + 1), "an entry of 16777217 bytes, the limit is 16777216");
}

#[test]
fn a_gap_is_asked_for_once_and_what_waited_is_delivered_in_order() {
    let mut bench = Bench::with(&[2], Config::default());
    bench.take(2, push(1, vec![run(2, 1, 1)]));
    let want = Message::Want(vec![Range { log: log_of(2), first: Seq::new(2), last: Seq::new(3) }]);
    let ops = bench.take(2, push(2, vec![run(2, 4, 5)]));
    assert_eq!(sent(&ops), [(node(2), &want), (node(2), &Message::Part { number: 2 })]);
    let ops = bench.take(2, push(3, vec![run(2, 6, 6)]));
    assert_eq!(sent(&ops), [(node(2), &Message::Part { number: 3 })], "it was asked for already");
    let ops = bench.take(2, Message::Fill(Batch { number: 4, runs: vec![run(2, 2, 3)] }));
    assert_eq!(delivered(&ops), (2..=6).map(|seq| (log_of(2), seq)).collect::<Vec<_>>());
}

#[test]
fn what_waits_behind_gaps_is_bounded_and_asked_for_again() {
    let mut bench = Bench::with(&[2], Config { held_bytes: 1_000, ..Config::default() });
    for first in (3..100).step_by(2) {
        bench.take(2, push(first, vec![run(2, first, first)]));
    }
    assert!(bench.machine.statistics.overflows > 40);
    bench.take(2, Message::Fill(Batch { number: 4, runs: vec![run(2, 1, 2)] }));
    bench.millis += 30_000;
    let ops = bench.run(|machine, cx| machine.on_timer(cx, Timer::Behind));
    assert!(matches!(sent(&ops)[..], [(_, Message::Graft(_))]), "{ops:?}");
}

#[test]
fn a_duplicate_prunes_whoever_is_not_the_parent() {
    let mut bench = Bench::with(&[2, 3], Config::default());
    bench.take(2, push(1, vec![run(4, 1, 1)]));
    bench.hear(3, Message::Ack { number: 1 });
    let pruned = Message::Prune(vec![log_of(4)]);
    let ops = bench.take(3, push(1, vec![run(4, 1, 1)]));
    assert_eq!(sent(&ops), [(node(3), &pruned), (node(3), &Message::Ack { number: 1 })]);
    let ops = bench.take(3, push(2, vec![run(4, 1, 1)]));
    assert_eq!(sent(&ops), [(node(3), &Message::Ack { number: 2 })], "once for what was under way");
    // The other is faster now and then; that is no reason to lose the parent.
    bench.millis += 1_000;
    bench.take(3, push(3, vec![run(4, 2, 2)]));
    let ops = bench.take(2, push(2, vec![run(4, 2, 2)]));
    assert_eq!(sent(&ops)[0], (node(3), &pruned));
    assert_eq!(bench.machine.statistics.duplicates, 3);
}

#[test]
fn batches_that_cross_acknowledge_each_other_and_those_who_sent_them_part() {
    let mut bench = Bench::with(&[2, 3], Config::default());
    let members = [2, 3].map(|n| (node(n), Boot::new(1), true));
    bench.run(|machine, cx| machine.on_members(cx, members.into_iter(), true));
    let ops = bench.take(2, push(1, vec![run(4, 1, 1)]));
    assert!(sent(&ops).iter().any(|(to, message)| *to == node(3) && matches!(message, Message::Push(_))), "{ops:?}");
    let ops = bench.take(3, push(1, vec![run(4, 1, 1)]));
    assert_eq!(sent(&ops), [], "the other sees the same");
    assert_eq!(bench.machine.peers[&node(3)].flights(), 0, "it holds what was sent to it");
    let at = bench.machine.logs.find(log_of(4)).unwrap();
    assert_eq!(bench.machine.replicas.row(node(3)).map(|row| row.seq(at)), Some(1), "which is known of it from now on");
    // Neither pushes the log to the other from now on.
    let ops = bench.take(2, push(2, vec![run(4, 2, 2)]));
    assert_eq!(sent(&ops), [(node(2), &Message::Ack { number: 2 })]);
    // If the other does all the same it is asked to stop.
    bench.millis += 1_000;
    let ops = bench.take(3, push(2, vec![run(4, 2, 2)]));
    assert_eq!(sent(&ops), [(node(3), &Message::Prune(vec![log_of(4)])), (node(3), &Message::Ack { number: 2 })]);
}

#[test]
fn later_entries_that_cross_are_acknowledged_by_each_other_and_one_is_asked_to_stop() {
    let mut bench = Bench::with(&[2, 3], Config::default());
    bench.take(2, push(1, vec![run(4, 1, 1)]));
    bench.hear(3, Message::Ack { number: 1 });
    bench.take(2, push(2, vec![run(4, 2, 2)]));
    let ops = bench.take(3, push(1, vec![run(4, 2, 2)]));
    assert_eq!(sent(&ops), [(node(3), &Message::Prune(vec![log_of(4)]))]);
}

#[test]
fn what_crosses_news_that_bring_less_is_acknowledged() {
    let mut bench = Bench::with(&[2, 3], Config::default());
    bench.take(2, push(1, vec![run(4, 1, 1)]));
    let ops = bench.take(3, push(1, vec![run(4, 1, 2)]));
    assert!(sent(&ops).contains(&(node(3), &Message::Ack { number: 1 })), "{ops:?}");
    assert_eq!(bench.machine.peers[&node(3)].flights(), 0, "it holds what was sent to it, and more");
}

#[test]
fn who_asked_for_a_log_is_not_parted_from() {
    let mut bench = Bench::with(&[2, 3], Config::default());
    bench.hear(3, Message::Graft(vec![Graft { log: log_of(4), after: Seq::ZERO }]));
    bench.take(2, push(1, vec![run(4, 1, 1)]));
    bench.hear(3, Message::Graft(vec![Graft { log: log_of(4), after: Seq::ZERO }]));
    let ops = bench.take(3, push(1, vec![run(4, 1, 1)]));
    assert_eq!(sent(&ops)[0], (node(3), &Message::Prune(vec![log_of(4)])), "it does not know that it should stop");
    let ops = bench.take(2, push(2, vec![run(4, 2, 2)]));
    let pushes = |(to, message): &(NodeId, &Message)| *to == node(3) && matches!(message, Message::Push(_));
    assert!(sent(&ops).iter().any(pushes) || bench.machine.peers[&node(3)].has_ready(), "{ops:?}");
}

#[test]
fn a_repair_that_comes_twice_prunes_nobody() {
    let mut bench = Bench::with(&[2, 3], Config::default());
    bench.take(2, push(1, vec![run(4, 1, 1)]));
    let ops = bench.take(3, Message::Fill(Batch { number: 1, runs: vec![run(4, 1, 1)] }));
    assert_eq!(sent(&ops), [(node(3), &Message::Ack { number: 1 })]);
}

#[test]
fn a_pruned_neighbour_hears_announcements_and_gets_pushes_again_when_it_grafts() {
    let mut bench = Bench::with(&[2, 3], Config::default());
    bench.write(10);
    bench.hear(2, Message::Prune(vec![log_of(ME)]));
    bench.hear(3, Message::Ack { number: 1 });
    let ops = bench.write(10);
    assert!(matches!(sent(&ops)[..], [(to, Message::Push(_))] if to == node(3)), "{ops:?}");
    let ops = bench.run(|machine, cx| machine.on_timer(cx, Timer::Announce));
    let have = Message::Have(vec![Have { log: Name::Id(log_of(ME)), last: Seq::new(2) }]);
    assert_eq!(sent(&ops), [(node(2), &have)]);
    let ops = bench.hear(2, Message::Graft(vec![Graft { log: log_of(ME), after: Seq::new(1) }]));
    let [(_, Message::Backlog(batch))] = sent(&ops)[..] else { panic!("{ops:?}") };
    assert_eq!((batch.runs[0].first, batch.runs[0].entries.len()), (Seq::new(2), 1));
    assert!(sent(&bench.write(10)).is_empty(), "gathered: a batch is under way");
    bench.hear(2, Message::Ack { number: 1 });
    let ops = bench.hear(2, Message::Ack { number: 2 });
    assert!(matches!(sent(&ops)[..], [(_, Message::Push(_))]), "{ops:?}");
}

#[test]
fn what_is_caught_up_on_is_offered_and_whoever_has_no_better_source_asks() {
    let mut bench = Bench::with(&[3], Config::default());
    bench.run(|machine, cx| machine.on_neighbor_up(cx, node(2)));
    let ops = bench.hear(2, vector(&[line(4, 2)]));
    let graft = Message::Graft(vec![Graft { log: log_of(4), after: Seq::ZERO }]);
    assert_eq!(sent(&ops), [(node(2), &graft)]);
    let ops = bench.take(2, Message::Backlog(Batch { number: 1, runs: vec![run(4, 1, 2)] }));
    assert_eq!(sent(&ops), [(node(2), &Message::Ack { number: 1 })]);
    let ops = bench.run(|machine, cx| machine.on_timer(cx, Timer::Offer));
    let offer = Message::Offer(vec![Have { log: Name::Id(log_of(4)), last: Seq::new(2) }]);
    assert_eq!(sent(&ops), [(node(3), &offer)]);
    // On the other side of such an offer.
    let mut other = Bench::with(&[2, 3], Config::default());
    assert_eq!(sent(&other.hear(2, offer.clone())), [(node(2), &graft)]);
    other.hear(2, Message::Have(vec![Have { log: Name::Id(log_of(4)), last: Seq::new(2) }]));
    assert_eq!(sent(&other.hear(3, offer)), [], "a source has it too");
}

#[test]
fn a_lost_parent_is_replaced_by_who_was_pruned() {
    let mut bench = Bench::with(&[2, 3], Config::default());
    bench.take(2, push(1, vec![run(4, 1, 1)]));
    bench.take(3, push(1, vec![run(4, 1, 1)]));
    let ops = bench.run(|machine, cx| machine.on_neighbor_down(cx, node(2)));
    let graft = Message::Graft(vec![Graft { log: log_of(4), after: Seq::new(1) }]);
    assert_eq!(sent(&ops), [(node(3), &graft)]);
}

#[test]
fn a_holder_who_is_ahead_for_too_long_is_asked_to_push() {
    let mut bench = Bench::with(&[2, 3], Config::default());
    bench.take(2, push(1, vec![run(4, 1, 1)]));
    let ops = bench.hear(3, Message::Have(vec![Have { log: Name::Id(log_of(4)), last: Seq::new(2) }]));
    assert_eq!(ops, [Op::Arm(Timer::Behind, Duration::from_millis(100))]);
    assert_eq!(sent(&bench.run(|machine, cx| machine.on_timer(cx, Timer::Behind))), []);
    bench.millis += 5_000;
    let ops = bench.run(|machine, cx| machine.on_timer(cx, Timer::Behind));
    let graft = Message::Graft(vec![Graft { log: log_of(4), after: Seq::new(1) }]);
    assert_eq!(sent(&ops), [(node(3), &graft)], "not the parent, who does not have it");
    bench.take(3, push(1, vec![run(4, 2, 2)]));
    assert_eq!(bench.run(|machine, cx| machine.on_timer(cx, Timer::Behind)), [], "it is over");
}

#[test]
fn more_of_our_own_log_elsewhere_stops_us_until_a_new_actor_is_minted() {
    let mut bench = Bench::with(&[2], Config { queue_max: 2, ..Config::default() });
    bench.write(10);
    let ahead = Message::Have(vec![Have { log: Name::Id(log_of(ME)), last: Seq::new(5) }]);
    let ops = bench.hear(2, ahead.clone());
    let expected = Event::RolledBack { log: log_of(ME), held: Seq::new(1), theirs: Seq::new(5) };
    assert_eq!(ops, [Op::Emit(expected)]);
    assert_eq!(bench.hear(2, ahead), [], "told once");
    let mut originate = |token| bench.run(|machine, cx| machine.originate(cx, Topic::DOCUMENTS, Bytes::new(), token));
    assert_eq!((originate(1), originate(2)), (vec![], vec![]));
    assert!(matches!(&originate(3)[..], [Op::Emit(Event::OriginateFailed { token: 3, .. })]));
    let ops = bench.run(|machine, cx| machine.mint(cx, actor(ME, 2)));
    let written: Vec<_> = ops
        .iter()
        .filter_map(|op| if let Op::Persist(Kept::Entry(record), _) = op { Some(record) } else { None })
        .collect();
    assert_eq!(
        written.iter().map(|record| (record.log.actor, record.seq.value())).collect::<Vec<_>>(),
        [(actor(ME, 2), 1), (actor(ME, 2), 2)]
    );
    // What others hold of the old log is fetched like anybody's.
    bench.millis += 5_000;
    let ops = bench.run(|machine, cx| machine.on_timer(cx, Timer::Behind));
    let graft = Message::Graft(vec![Graft { log: log_of(ME), after: Seq::new(1) }]);
    assert_eq!(sent(&ops), [(node(2), &graft)]);
}

#[test]
fn what_no_correct_peer_sends_is_told_and_ignored() {
    let seq = Seq::new(1);
    let unknown = LogId { topic: Topic::new(9), ..log_of(4) };
    let range =
        |first, last| Message::Want(vec![Range { log: log_of(4), first: Seq::new(first), last: Seq::new(last) }]);
    let have = |log, last| Message::Have(vec![Have { log: Name::Id(log), last: Seq::new(last) }]);
    let wild = |first| push(1, vec![Run { first: Seq::new(first), ..run(4, 1, 1) }]);
    let nonsense = [
        range(0, 1),
        range(5, 4),
        range(1, u64::MAX),
        have(log_of(4), 0),
        have(log_of(4), u64::MAX),
        have(unknown, 1),
        wild(0),
        wild(u64::MAX),
        push(1, vec![Run { entries: Vec::new(), ..run(4, 1, 1) }]),
        push(1, vec![run(4, 1, 1); message::RUNS_MAX + 1]),
        vector(&[line(5, 1), line(4, 1)]),
        vector(&[line(4, 1), line(4, 1)]),
        Message::Vector(Chunk { after: Some(log_of(4)), upto: None, lines: vec![line(4, 1)], answer: false }),
        Message::Graft(vec![Graft { log: log_of(4), after: Seq::new(u64::MAX) }]),
        Message::Prune(vec![log_of(4); message::LINES_MAX + 1]),
        Message::Have(vec![Have { log: Name::Id(log_of(4)), last: seq }; message::LINES_MAX + 1]),
    ];
    let mut bench = Bench::with(&[2], Config::default());
    for message in nonsense {
        let ops = bench.hear(2, message.clone());
        let events = told(&ops);
        assert!(matches!(events[..], [Event::PeerFault { .. }]), "{message:?}: {ops:?}");
        assert!(!ops.iter().any(|op| matches!(op, Op::Persist(..) | Op::Send(_, Message::Want(_)))), "{ops:?}");
    }
    assert_eq!(bench.machine.statistics.faults, 16);
}

#[test]
fn the_number_of_logs_is_bounded_in_all_and_for_one_node() {
    let first = |n: u8, mint| {
        let log = LogId { actor: actor(n, mint), topic: Topic::DOCUMENTS };
        let run =
            Run { log: Name::Id(log), first: Seq::new(1), before: Short::of(root(log)), entries: vec![entry(n, 1)] };
        push(mint, vec![run])
    };
    let mut bench = Bench::with(&[2], Config { logs_max: 6, logs_per_node_max: 3, ..Config::default() });
    let mut refused =
        |n, mint| told(&bench.take(2, first(n, mint))).iter().any(|event| matches!(event, Event::PeerFault { .. }));
    assert!((1..=3).all(|mint| !refused(4, mint)) && refused(4, 4));
    assert!((1..=3).all(|mint| !refused(5, mint)) && refused(6, 1));
}

#[test]
fn whoever_is_no_neighbour_is_not_heard() {
    let mut bench = Bench::new(Config::default());
    assert_eq!(bench.hear(2, push(1, vec![run(2, 1, 1)])), []);
}

#[test]
fn a_stamp_from_the_far_future_is_taken_and_told_once_but_not_followed() {
    let mut bench = Bench::with(&[2], Config::default());
    let mut far = run(2, 1, 2);
    far.entries.iter_mut().for_each(|entry| entry.hlc.wall = WallTime::from_micros(u64::MAX / 2));
    let ops = bench.take(2, push(1, vec![far]));
    assert_eq!(told(&ops).iter().filter(|event| matches!(event, Event::Drifted { .. })).count(), 1);
    assert_eq!(delivered(&ops).len(), 2);
    let ops = bench.write(1);
    let Event::Originated { hlc, .. } = told(&ops)[0] else { panic!("{ops:?}") };
    assert_eq!(hlc.wall, now(bench.millis).wall);
}

#[test]
fn our_stamps_are_above_those_that_we_delivered_before_a_restart() {
    let mut machine = Replication::new(actor(ME, 1), Config::default());
    let ahead = Hlc { wall: WallTime::from_micros(now(1).wall.as_micros() + 5_000_000), logical: 3 };
    let record = Record { log: log_of(2), seq: Seq::new(1), hlc: ahead, body: Bytes::new() };
    machine.restore(&record, at(0, 1)).unwrap();
    let ops = step_at(now(1), |cx| {
        machine.start(cx);
        machine.originate(cx, Topic::DOCUMENTS, Bytes::new(), 1);
    });
    let Some(Op::Persist(Kept::Entry(record), _)) = ops.last() else { panic!("{ops:?}") };
    assert!(record.hlc > ahead);
}

#[test]
fn a_log_with_a_hole_is_not_restored() {
    let mut machine = Replication::new(actor(ME, 1), Config::default());
    let mut restore = |seq| {
        let record = Record { log: log_of(2), seq: Seq::new(seq), hlc: Hlc::default(), body: Bytes::new() };
        machine.restore(&record, at(seq, 1))
    };
    assert_eq!(restore(1), Ok(()));
    let hole = |found| Err(RestoreError::NotDense { log: log_of(2), expected: Seq::new(2), found: Seq::new(found) });
    assert_eq!((restore(3), restore(1), restore(2)), (hole(3), hole(1), Ok(())));
}

#[test]
fn a_peer_that_does_not_acknowledge_gets_no_more_than_its_window() {
    let config = Config { window_bytes: 50_000, batch_bytes: 10_000, ..Config::default() };
    let mut bench = Bench::with(&[2], config);
    let bytes = |ops: &[Op<Replication>]| -> usize {
        let batches = sent(ops).into_iter().filter_map(|(_, message)| match message {
            Message::Push(batch) | Message::Fill(batch) => Some(batch),
            _ => None,
        });
        batches.flat_map(|batch| &batch.runs).flat_map(|run| &run.entries).map(Entry::weight).sum()
    };
    let first: usize = (0..200).map(|_| bytes(&bench.write(1_000))).sum();
    assert!(first > 40_000 && first < 61_000, "{first}");
    bench.millis += 60_000;
    let again = bytes(&bench.run(|machine, cx| machine.on_timer(cx, Timer::Retransmit(node(2)))));
    assert!(again > 0 && again <= 10_000, "one batch at a time until it answers: {again}");
    let ops = bench.hear(2, Message::Ack { number: u64::MAX });
    assert_eq!(bytes(&ops), 0, "an answer to nothing gives no credit for what is under way");
    let ops: Vec<_> = (1..=20).flat_map(|number| bench.hear(2, Message::Ack { number })).collect();
    assert!(bytes(&ops) > 30_000, "{}", bytes(&ops));
}

#[test]
fn an_entry_that_cannot_be_read_back_is_told_and_the_rest_before_it_is_sent() {
    let mut bench = Bench::new(Config { cache_bytes: 0, ..Config::default() });
    (0..5).for_each(|_| _ = bench.write(10));
    bench.run(|machine, cx| machine.on_neighbor_up(cx, node(2)));
    bench.hear(2, vector(&[]));
    let ops = bench.hear(2, Message::Graft(vec![Graft { log: log_of(ME), after: Seq::ZERO }]));
    let read = |op: &Op<Replication>| if let Op::Read(position, wait) = op { Some((*position, *wait)) } else { None };
    let reads: Vec<(Position, Wait)> = ops.iter().filter_map(read).collect();
    assert_eq!(reads.len(), 5);
    let mut ops = Vec::new();
    for (position, wait) in reads {
        let record = bench.read(position);
        let result = if position.offset == 3 { Err(broken()) } else { Ok(record) };
        ops.extend(bench.run(|machine, cx| machine.on_read(cx, wait, result)));
    }
    assert_eq!(told(&ops), [&Event::Unreadable { log: log_of(ME), seq: Seq::new(4), fault: broken() }]);
    let [(_, Message::Backlog(batch))] = sent(&ops)[..] else { panic!("{ops:?}") };
    assert_eq!(batch.runs[0].entries.len(), 3);
    let ops = bench.hear(2, Message::Graft(vec![Graft { log: log_of(ME), after: Seq::new(3) }]));
    let ops = bench.settle(ops);
    let [(_, Message::Backlog(batch))] = sent(&ops)[..] else { panic!("asked again, it is read again: {ops:?}") };
    assert_eq!(batch.runs[0].entries.len(), 2);
}

#[test]
fn a_vector_of_thousands_of_logs_goes_in_chunks_that_each_fit_a_frame() {
    let mut bench = Bench::new(Config::default());
    for n in 0..2_500_u64 {
        let log = LogId {
            actor: Actor { node: NodeId::from_u128(u128::from(n) << 64), mint: Mint::new(u64::MAX) },
            topic: Topic::DOCUMENTS,
        };
        let record = Record { log, seq: Seq::new(1), hlc: Hlc::default(), body: Bytes::new() };
        bench.machine.restore(&record, at(n, 1)).unwrap();
    }
    let ops = bench.run(|machine, cx| machine.on_neighbor_up(cx, node(2)));
    let chunks: Vec<&Message> = sent(&ops).into_iter().map(|(_, message)| message).collect();
    assert_eq!(chunks.len(), 3);
    let mut other = Bench::new(Config::default());
    other.run(|machine, cx| machine.on_neighbor_up(cx, node(3)));
    let mut grafts = 0;
    for chunk in chunks {
        let frame = crate::wire::seal(crate::wire::Kind::Replication, Lane::Control, chunk);
        assert!(frame.len() <= crate::wire::CONTROL_MAX);
        let ops = other.hear(3, chunk.clone());
        grafts += sent(&ops).iter().map(|(_, m)| if let Message::Graft(g) = m { g.len() } else { 0 }).sum::<usize>();
    }
    assert_eq!(grafts, 2_500);
}

#[test]
fn digests_are_compared_and_vectors_only_if_they_differ() {
    let (mut a, mut b) = (Bench::with(&[2], Config::default()), Bench::with(&[1], Config::default()));
    let digest = |bench: &mut Bench| Message::Digest(bench.machine.logs.digest());
    let same = digest(&mut b);
    assert_eq!(a.hear(2, same.clone()), []);
    a.take(2, push(1, vec![run(2, 1, 1)]));
    a.millis += 10_000;
    assert!(matches!(sent(&a.hear(2, same))[..], [(_, Message::Vector(_))]));
}

/// Any message, from a few numbers; many of them senseless.
fn message(n: &mut impl FnMut(u64) -> u64) -> Message {
    let edge = [0, 1, 2, 3, 5, 9, 1 << 48, u64::MAX];
    let seq = |n: &mut dyn FnMut(u64) -> u64| edge[usize::try_from(n(8)).unwrap()];
    let log = |n: &mut dyn FnMut(u64) -> u64| LogId {
        actor: actor(u8::try_from(n(5)).unwrap(), n(2)),
        topic: Topic::new(u16::try_from(n(12) / 11).unwrap()),
    };
    let (last, first, id) = (Seq::new(seq(n)), Seq::new(seq(n)), log(n));
    let name = if n(2) == 0 { Name::Id(id) } else { Name::Tag(Short::of(crate::types::Digest::new(n(3)))) };
    let entries = (0..n(4)).map(|at| entry(4, at + n(2))).collect();
    let before = Short::of(if n(2) == 0 { chain(4, n(4)) } else { crate::types::Digest::new(n(9)) });
    let batch = Batch { number: seq(n), runs: vec![Run { log: name, first, before, entries }] };
    match n(12) {
        0 => Message::Push(batch),
        1 => Message::Fill(batch),
        2 => Message::Backlog(batch),
        3 => Message::Ack { number: n(9) },
        4 => Message::Have(vec![Have { log: name, last }]),
        5 => Message::Offer(vec![Have { log: name, last }]),
        6 => Message::Want(vec![Range { log: id, first, last }]),
        7 => Message::Graft(vec![Graft { log: id, after: last }]),
        8 => Message::Prune(vec![id]),
        9 => Message::Digest(crate::types::Digest::new(n(3))),
        10 => {
            let marks = (1..4).map(|seq| Mark { seq: Seq::new(seq), chain: chain(4, seq + n(2)) }).collect();
            Message::Marks(Marks { log: id, marks })
        }
        _ => {
            let lines = vec![Line { log: id, last, chain: chain(4, n(4)) }];
            Message::Vector(Chunk { after: (n(3) == 0).then(|| log(n)), upto: None, lines, answer: n(2) == 0 })
        }
    }
}

quickcheck::quickcheck! {
    fn no_sequence_of_messages_breaks_a_node(seed: u64, length: u16) -> bool {
        let mut luck = crate::machine::Rng::fork(&[8; 32], &seed.to_string());
        let mut n = |bound| luck.below(bound);
        let config = Config { cache_bytes: 500, held_bytes: 2_000, logs_max: 12, ..Config::default() };
        let mut bench = Bench::with(&[2, 3], config);
        let timers = [Timer::Behind, Timer::Announce, Timer::Offer, Timer::AntiEntropy, Timer::Flush(node(2)),
            Timer::Retransmit(node(2)), Timer::Retransmit(node(3)), Timer::Synchronize(node(2))];
        for _ in 0..length % 500 {
            bench.millis += n(200);
            let ops = match n(8) {
                0 => bench.write(10),
                1 => {
                    let timer = timers[usize::try_from(n(8)).unwrap()];
                    bench.run(|machine, cx| machine.on_timer(cx, timer))
                }
                _ => {
                    let (from, message) = (u8::try_from(n(2)).unwrap() + 2, message(&mut n));
                    bench.hear(from, message)
                }
            };
            bench.settle(ops);
        }
        // Whatever it was told, our own log is what we wrote, and nothing is unbounded.
        bench.machine.logs.len() <= 13
            && bench.machine.logs.held_bytes() <= 2_000
            && (bench.machine.view().forks().iter().all(|(log, ..)| *log != log_of(ME)) || bench.machine.rolled_back)
    }
}

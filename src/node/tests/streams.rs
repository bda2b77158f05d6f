//! Streams through the whole node: the chain of their own, what is trimmed, and a crash at every moment of it.

use bytes::Bytes;

use super::*;
use crate::events::{self, Begin, Name, Page, Retention};
use crate::replication;
use crate::types::{Chain, LogId, Seq, Topic};

/// Segments of a few entries, and streams of a few events.
fn config() -> Config {
    let retention = Retention { count: Some(6), ..Retention::default() };
    let events = events::Config { retention, cache_bytes: 0, ..events::Config::default() };
    Config { events, wal: wal::Config { segment_bytes: 600 }, ..Config::default() }
}

fn name() -> Name {
    Name::parse("s").unwrap()
}

fn append(host: &mut Host, n: u64, at: u64) -> bool {
    let events = vec![Bytes::from(format!("event {n}"))];
    let command = Command::Events(events::Command::Append { stream: name(), events });
    host.handle(at, Input::Command { id: CommandId::new(n), command });
    host.settle(at);
    host.replies.remove(&CommandId::new(n)).is_some_and(|reply| reply.is_ok())
}

fn read(host: &mut Host, at: u64) -> Page {
    let id = CommandId::new(1 << 32 | at);
    let command = events::Command::Read { stream: name(), from: Begin::Start, limit: 100, upto: None };
    host.handle(at, Input::Command { id, command: Command::Events(command) });
    host.settle(at);
    match host.replies.remove(&id) {
        Some(Ok(Outcome::Events(events::Outcome::Page(page)))) => page,
        other => panic!("{other:?}"),
    }
}

fn texts(page: &Page) -> Vec<String> {
    page.events.iter().map(|item| String::from_utf8(item.body.to_vec()).unwrap()).collect()
}

fn segments(files: &BTreeMap<SegmentId, Vec<u8>>) -> usize {
    files.keys().filter(|segment| segment.chain() == Chain::Events).count()
}

#[test]
fn a_crash_at_any_moment_of_a_trim_loses_nothing_that_is_kept() {
    let mut host = Host::with(1, BTreeMap::new(), 1, config());
    let mut acknowledged = Vec::new();
    for n in 1..=40 {
        let before = host.history.len();
        assert!(append(&mut host, n, 1));
        acknowledged.extend((before..host.history.len()).map(|_| n - 1));
    }
    let after_last = host.files.clone();
    assert!(segments(&after_last) <= 4, "old segments are gone: {:?}", after_last.keys());
    let trimmed = |told: &[Event]| {
        told.iter().filter(|event| matches!(event, Event::Replication(replication::Event::Trimmed { .. }))).count()
    };
    assert!(trimmed(&host.told) >= 5, "the log was trimmed again and again");
    let images: Vec<_> = std::mem::take(&mut host.history);
    let skip = images.len() - acknowledged.len();
    for (files, last) in images.into_iter().skip(skip).zip(acknowledged).step_by(3) {
        let mut again = Host::with(1, files, 2, config());
        assert_eq!(again.refused, None);
        let found = texts(&read(&mut again, 2));
        let kept: Vec<String> = (last.saturating_sub(5).max(1)..=last).map(|n| format!("event {n}")).collect();
        // The one that was under way may be there, and then pushes one out.
        let behind = found.iter().filter(|text| **text == format!("event {}", last + 1)).count();
        let expected = &kept[(kept.len() + behind).saturating_sub(6)..];
        assert_eq!(&found[..found.len() - behind], expected, "after {last} were acknowledged");
        assert!(append(&mut again, 1_000, 3), "it goes on");
        let log = LogId { actor: again.node().actor(), topic: Topic::EVENTS };
        assert_eq!(again.node().replication().vector().of(log), Seq::new(last + 1 + behind as u64));
    }
}

#[test]
fn a_trimmed_log_has_the_same_digest_as_a_whole_one_and_a_late_peer_passes_over_the_gap() {
    let unlimited = Config { wal: config().wal, ..Config::default() };
    let (mut one, mut whole) =
        (Host::with(1, BTreeMap::new(), 1, config()), Host::with(2, BTreeMap::new(), 1, unlimited));
    link(&mut one, &mut whole, 2);
    converse(&mut one, &mut whole, 2, 20);
    for n in 1..=30 {
        assert!(append(&mut one, n, 20 + n));
        converse(&mut one, &mut whole, 20 + n, 21 + n);
    }
    assert_eq!(one.node().replication().vector(), whole.node().replication().vector());
    let log = LogId { actor: one.node().actor(), topic: Topic::EVENTS };
    assert_eq!(one.node().replication().tip(log), whole.node().replication().tip(log));
    assert_eq!((texts(&read(&mut one, 61)).len(), texts(&read(&mut whole, 61)).len()), (6, 30));
    assert!(one.node().replication().base(log) > Seq::new(10));

    let mut late = Host::with(3, BTreeMap::new(), 62, config());
    link(&mut one, &mut late, 62);
    converse(&mut one, &mut late, 62, 90);
    let page = read(&mut late, 91);
    assert_eq!(texts(&page), texts(&read(&mut one, 91)));
    assert!(!page.gaps.is_empty(), "what it never had is told");
    assert_eq!(one.node().replication().vector(), late.node().replication().vector());
    assert_eq!(one.node().replication().tip(log), late.node().replication().tip(log));
    let again = &mut Host::with(3, late.files.clone(), 92, config());
    assert_eq!((again.refused.clone(), texts(&read(again, 93))), (None, texts(&page)));
}

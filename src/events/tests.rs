//! The machine as its host sees it: a log that gives back what was written, and readers that must get everything once.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::machine::{Op, Rng};
use crate::types::{Actor, DiskFault, DiskFaultKind, Mint, NodeId, Now, SegmentId, Time, Topic, WallTime};

const ME: u128 = 1;

/// The room with a log that answers, in segments of some entries.
struct Host {
    events: Events,
    rng: Rng,
    now: u64,
    /// Bodies by the number of their entry, over all origins: also where they stand.
    disk: Vec<Bytes>,
    segment_entries: usize,
    seqs: BTreeMap<u128, u64>,
    /// Entries of ours that the log has not answered.
    pending: VecDeque<(Token, Bytes)>,
    replies: BTreeMap<u64, Result<Outcome, Error>>,
    told: Vec<Event>,
    commands: u64,
    cold_reads: usize,
}

fn actor(node: u128) -> Actor {
    Actor { node: NodeId::from_u128(node), mint: Mint::new(7) }
}

fn log(node: u128) -> LogId {
    LogId { actor: actor(node), topic: Topic::EVENTS }
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn bodies(page: &Page) -> Vec<String> {
    page.events.iter().map(|item| String::from_utf8(item.body.to_vec()).unwrap()).collect()
}

impl Host {
    fn new(config: Config) -> Self {
        Self {
            events: Events::new(config),
            rng: Rng::fork(&[1; 32], "events"),
            now: 1_000_000,
            disk: Vec::new(),
            segment_entries: 10,
            seqs: BTreeMap::new(),
            pending: VecDeque::new(),
            replies: BTreeMap::new(),
            told: Vec::new(),
            commands: 0,
            cold_reads: 0,
        }
    }

    fn step(&mut self, run: impl FnOnce(&mut Events, &mut Cx<'_, Events>)) {
        let mut run = Some(run);
        self.step_dyn(&mut |events, cx| run.take().expect("once")(events, cx));
    }

    fn step_dyn(&mut self, run: &mut dyn FnMut(&mut Events, &mut Cx<'_, Events>)) {
        let now = Now { mono: Time::ZERO, wall: WallTime::from_micros(self.now) };
        let mut ops = Vec::new();
        run(&mut self.events, &mut Cx::new(now, &mut self.rng, &mut ops));
        for op in ops {
            match op {
                Op::Emit(Event::Originate { token, body }) => self.pending.push_back((token, body)),
                Op::Emit(Event::Replied { command, result }) => {
                    assert!(self.replies.insert(command.value(), result).is_none(), "answered once");
                }
                Op::Emit(event) => self.told.push(event),
                Op::Read(position, wait) => {
                    self.cold_reads += 1;
                    let body = self.disk[usize::try_from(position.offset).unwrap()].clone();
                    self.step(|events, cx| events.on_read(cx, wait, Ok(body)));
                }
                Op::Arm(..) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn stamp(&mut self, node: u128, body: &Bytes) -> Stamp {
        let seq = self.seqs.entry(node).or_default();
        *seq += 1;
        self.disk.push(body.clone());
        let offset = self.disk.len() - 1;
        let segment = SegmentId::new((offset / self.segment_entries) as u64 + 1);
        let len = u32::try_from(body.len()).unwrap();
        let position = Position { segment, offset: offset as u64, len };
        Stamp {
            log: log(node),
            seq: Seq::new(*seq),
            hlc: Hlc { wall: WallTime::from_micros(self.now), logical: 0 },
            position,
        }
    }

    fn ask(&mut self, command: Command) -> u64 {
        self.commands += 1;
        let id = CommandId::new(self.commands);
        self.step(|events, cx| events.on_command(cx, id, command));
        self.commands
    }

    fn append(&mut self, stream: &str, events: &[&str]) -> u64 {
        let events = events.iter().map(|event| Bytes::copy_from_slice(event.as_bytes())).collect();
        self.ask(Command::Append { stream: name(stream), events })
    }

    /// The log answers for its oldest entry of ours.
    fn land(&mut self) -> bool {
        let Some((token, body)) = self.pending.pop_front() else { return false };
        self.now += 1;
        let stamp = self.stamp(ME, &body);
        self.step(|events, cx| events.on_originated(cx, token, stamp));
        true
    }

    fn deliver(&mut self, node: u128, stream: &str, events: &[&str]) -> (Stamp, Bytes) {
        let events = events.iter().map(|event| Bytes::copy_from_slice(event.as_bytes())).collect();
        let body = Batch { stream: name(stream), events }.encode();
        let stamp = self.stamp(node, &body);
        self.step(|events, cx| events.on_delivered(cx, stamp, body.clone()));
        (stamp, body)
    }

    fn page(&mut self, stream: &str, from: Begin, limit: usize) -> Page {
        let id = self.ask(Command::Read { stream: name(stream), from, limit, upto: None });
        match self.replies.remove(&id) {
            Some(Ok(Outcome::Page(page))) => page,
            other => panic!("{other:?}"),
        }
    }

    /// Everything from the cursor on, page by page.
    fn all(&mut self, stream: &str, mut cursor: Cursor, limit: usize) -> (Vec<Item>, Vec<Gap>) {
        let (mut events, mut gaps) = (Vec::new(), Vec::new());
        loop {
            let page = self.page(stream, Begin::Cursor(cursor), limit);
            events.extend(page.events);
            gaps.extend(page.gaps);
            cursor = page.cursor.to_string().parse().unwrap();
            if !page.more {
                return (events, gaps);
            }
        }
    }

    fn freed(&self) -> Option<u64> {
        let freed = |event: &Event| if let Event::Expired { before } = event { Some(before.value()) } else { None };
        self.told.iter().filter_map(freed).next_back()
    }
}

#[test]
fn the_first_append_goes_at_once_and_what_comes_meanwhile_becomes_one_entry() {
    let mut host = Host::new(Config::default());
    let first = host.append("s", &["a"]);
    let more: Vec<u64> = ["b", "c"].iter().map(|event| host.append("s", &[event, event])).collect();
    let other = host.append("t", &["x"]);
    assert_eq!(host.pending.len(), 2, "one entry for each stream");
    assert!(host.replies.is_empty(), "nothing is durable");
    while host.land() {}
    let id = |command| match &host.replies[&command] {
        Ok(Outcome::Appended(appended)) => (appended.first.seq.value(), appended.first.index, appended.events),
        other => panic!("{other:?}"),
    };
    assert_eq!((id(first), id(other)), ((1, 0, 1), (2, 0, 1)));
    assert_eq!((id(more[0]), id(more[1])), ((3, 0, 2), (3, 2, 2)), "gathered into one entry");
    assert_eq!(bodies(&host.page("s", Begin::Start, 100)), ["a", "b", "b", "c", "c"]);
}

#[test]
fn a_large_gathering_does_not_wait_and_the_pipeline_is_bounded() {
    let mut host = Host::new(Config { batch_bytes: 4, ..Config::default() });
    (0..20).for_each(|_| _ = host.append("s", &["12345"]));
    assert_eq!(host.pending.len(), 4);
    while host.land() {}
    assert_eq!((host.replies.len(), host.events.waiting), (20, (0, 0)));
    assert!(host.events.gathering.is_empty(), "nothing is kept of a stream at rest");
}

#[test]
fn what_exceeds_a_bound_is_refused_with_its_name() {
    let mut host = Host::new(Config { waiting_max: 2, waiting_bytes: 10, streams_max: 1, ..Config::default() });
    let refusals = [
        (host.append("s", &[]), "there are no events"),
        (host.append("s", &[&"x".repeat(EVENT_MAX + 1)]), "the length of an event is 1048577, the limit is 1048576"),
        (host.append("s", &vec!["x"; BATCH_EVENTS_MAX + 1]), "the number of events is 65537"),
    ];
    for (id, why) in refusals {
        assert!(host.replies[&id].as_ref().unwrap_err().to_string().contains(why), "{:?}", host.replies[&id]);
    }
    host.append("s", &["12345678"]);
    let bytes = host.append("s", &["123"]);
    host.append("s", &["1"]);
    let many = host.append("s", &["1"]);
    for id in [bytes, many] {
        assert!(matches!(host.replies[&id], Err(Error::Busy { .. })), "{:?}", host.replies[&id]);
    }
    while host.land() {}
    let other = host.append("t", &["1"]);
    assert!(matches!(host.replies[&other], Err(Error::TooMany { max: 1, .. })));
}

#[test]
fn a_failed_disk_answers_everybody_and_nothing_is_read() {
    let mut host = Host::new(Config::default());
    let ids = [host.append("s", &["a"]), host.append("s", &["b"])];
    let fault = DiskFault { kind: DiskFaultKind::Failed, what: "write".into(), why: "no".into() };
    while let Some((token, _)) = host.pending.pop_front() {
        host.step(|events, cx| events.on_originate_failed(cx, token, &fault));
    }
    assert!(ids.iter().all(|id| host.replies[id] == Err(Error::Disk(fault.clone()))));
    assert_eq!((host.page("s", Begin::Start, 9).events, host.events.waiting), (Vec::new(), (0, 0)));
}

#[test]
fn a_reader_gets_a_late_origin_behind_what_it_has_read_and_nothing_twice() {
    let mut host = Host::new(Config::default());
    host.deliver(2, "s", &["2a", "2b"]);
    host.now += 10;
    let (stamp, body) = host.deliver(3, "s", &["3a"]);
    let first = host.page("s", Begin::Start, 2);
    assert_eq!((bodies(&first), first.more), (vec!["2a".into(), "2b".into()], true));
    host.now -= 5;
    host.deliver(4, "s", &["4a"]);
    host.step(|events, cx| events.on_delivered(cx, stamp, body));
    let second = host.page("s", Begin::Cursor(first.cursor), 10);
    assert_eq!(bodies(&second), ["4a", "3a"], "by stamp, as far as it is here");
    assert!(host.page("s", Begin::Cursor(second.cursor), 10).events.is_empty());
    let now = host.page("s", Begin::Now, 10);
    host.now += 20;
    host.deliver(2, "s", &["2c"]);
    assert_eq!(bodies(&host.page("s", Begin::Cursor(now.cursor), 10)), ["2c"]);
}

#[test]
fn a_watermark_holds_back_what_is_younger() {
    let mut host = Host::new(Config::default());
    host.deliver(2, "s", &["old"]);
    let upto = Some(WallTime::from_micros(host.now));
    host.now += 10;
    host.deliver(3, "s", &["young"]);
    let id = host.ask(Command::Read { stream: name("s"), from: Begin::Start, limit: 9, upto });
    let Some(Ok(Outcome::Page(page))) = host.replies.remove(&id) else { panic!("no page") };
    assert_eq!((bodies(&page), page.more), (vec!["old".into()], false));
    assert_eq!(bodies(&host.page("s", Begin::Cursor(page.cursor), 9)), ["young"]);
}

#[test]
fn what_expires_is_told_as_a_gap_and_frees_whole_segments() {
    let retention = Retention { count: Some(15), ..Retention::default() };
    let mut host = Host::new(Config { retention, cache_bytes: 0, ..Config::default() });
    for n in 0..40 {
        host.now += 1;
        host.deliver(2, "s", &[&n.to_string()]);
    }
    // Segments of ten entries: 1 and 2 are gone whole, 25 entries have expired.
    assert_eq!(host.freed(), Some(3));
    let page = host.page("s", Begin::Start, 100);
    assert_eq!(page.gaps, [Gap { origin: actor(2), after: Seq::ZERO, upto: Seq::new(25) }]);
    assert_eq!(bodies(&page), (25..40).map(|n| n.to_string()).collect::<Vec<_>>());
    assert!(host.page("s", Begin::Cursor(page.cursor), 9).gaps.is_empty(), "told once");
    let info = host.events.index.list("").remove(0);
    assert_eq!((info.events, info.first), (15, Some(WallTime::from_micros(1_000_026))));
    assert!(host.cold_reads > 0, "without a cache everything is read from the disk");
}

#[test]
fn age_is_looked_at_by_the_clock_and_a_long_kept_stream_holds_its_segment() {
    let short = Retention { age: Some(Duration::from_secs(1)), ..Retention::default() };
    let config =
        Config { retention: Retention::default(), retention_of: vec![("short/".into(), short)], ..Config::default() };
    let mut host = Host::new(config);
    host.deliver(2, "long", &["l"]);
    (0..15).for_each(|_| drop(host.deliver(2, "short/s", &["s"])));
    host.now += 2_000_000;
    host.step(|events, cx| events.on_timer(cx, Timer::Retention));
    assert!(host.page("short/s", Begin::Start, 9).events.is_empty());
    assert_eq!((host.freed(), bodies(&host.page("long", Begin::Start, 9))), (None, vec!["l".into()]));
}

#[test]
fn the_bound_over_all_streams_takes_the_oldest_segment_whatever_it_holds() {
    let unlimited = Retention::default();
    let mut host = Host::new(Config { retention: unlimited, total_bytes: 250, ..Config::default() });
    (0..100).for_each(|_| drop(host.deliver(2, "s", &["1234567"])));
    let (freed, kept) = (host.freed().unwrap(), host.events.index.bytes());
    assert!(freed > 5 && kept <= 250 + 140, "before {freed}, {kept} bytes");
}

#[test]
fn what_a_holder_had_trimmed_is_a_gap_behind_what_is_here() {
    let mut host = Host::new(Config::default());
    host.deliver(2, "s", &["1"]);
    host.step(|events, _| events.skip(log(2), Seq::new(1), Seq::new(50)));
    host.seqs.insert(2, 50);
    host.deliver(2, "s", &["51"]);
    let first = host.page("s", Begin::Start, 1);
    assert_eq!(bodies(&first), ["1"]);
    let (events, gaps) = host.all("s", Cursor::start(), 1);
    assert_eq!(events.len(), 2);
    assert_eq!(gaps, [Gap { origin: actor(2), after: Seq::new(1), upto: Seq::new(50) }]);
}

#[test]
fn a_reader_who_knew_an_origin_of_which_nothing_is_left_is_told() {
    let mut host = Host::new(Config::default());
    host.deliver(2, "s", &["1"]);
    let cursor = host.page("s", Begin::Start, 9).cursor;
    let mut other = Host::new(Config::default());
    other.step(|events, _| events.skip(log(2), Seq::ZERO, Seq::new(9)));
    let page = other.page("s", Begin::Cursor(cursor), 9);
    assert_eq!(page.gaps, [Gap { origin: actor(2), after: Seq::new(1), upto: Seq::new(9) }]);
    assert_eq!(other.page("s", Begin::Cursor(page.cursor), 9).gaps, []);
}

#[test]
fn a_branch_that_gives_way_is_read_again_under_its_new_name() {
    let mut host = Host::new(Config::default());
    (1..=3).for_each(|n: u8| drop(host.deliver(2, "s", &[&n.to_string()])));
    host.events.give_way(log(2), Seq::new(2));
    host.seqs.insert(2, 1);
    assert_eq!(bodies(&host.page("s", Begin::Start, 9)), ["1"]);
    host.deliver(2, "s", &["other 2"]);
    host.deliver(9, "s", &["2"]);
    assert_eq!(bodies(&host.page("s", Begin::Start, 9)), ["1", "other 2", "2"]);
}

#[test]
fn a_log_that_is_read_back_gives_the_same_streams() {
    let mut host = Host::new(Config::default());
    let told: Vec<(Stamp, Bytes)> = (0..5).map(|n| host.deliver(2 + n % 2, "s", &[&n.to_string()])).collect();
    let mut again = Events::new(Config::default());
    told.iter().for_each(|(stamp, body)| again.restore(*stamp, body));
    assert_eq!(again.index.list(""), host.events.index.list(""));
}

#[test]
fn an_entry_that_is_no_batch_is_told_and_passed() {
    let mut host = Host::new(Config::default());
    let stamp = host.stamp(2, &Bytes::new());
    host.step(|events, cx| events.on_delivered(cx, stamp, Bytes::from_static(b"\x09")));
    assert!(matches!(&host.told[..], [Event::Refused { why, .. }] if why.contains("version 9")));
    host.deliver(2, "s", &["fine"]);
    assert_eq!(bodies(&host.page("s", Begin::Start, 9)), ["fine"]);
}

quickcheck::quickcheck! {
    /// Whatever arrives in whatever turns, and however small the pages: each origin in order, each event once, by stamp
    /// for who reads when all is there.
    fn readers_get_everything_once(arrivals: Vec<(u8, u8, bool)>, limit: u8) -> bool {
        let mut host = Host::new(Config { cache_bytes: 64, ..Config::default() });
        let (mut cursor, mut seen) = (Cursor::start(), Vec::new());
        let limit = usize::from(limit % 7) + 1;
        for (turn, (node, events, read)) in arrivals.iter().enumerate() {
            host.now += u64::from(*events % 3);
            let events: Vec<String> = (0..1 + events % 5).map(|n| format!("{turn}.{n}")).collect();
            host.deliver(2 + u128::from(node % 4), "s", &events.iter().map(String::as_str).collect::<Vec<_>>());
            if *read {
                let page = host.page("s", Begin::Cursor(cursor), limit);
                seen.extend(page.events);
                cursor = page.cursor;
            }
        }
        seen.extend(host.all("s", cursor, limit).0);
        let (all, gaps) = host.all("s", Cursor::start(), limit);
        let mut by_origin: BTreeMap<Actor, Vec<(u64, u32)>> = BTreeMap::new();
        for item in &seen {
            by_origin.entry(item.id.origin).or_default().push((item.id.seq.value(), item.id.index));
        }
        let mut ids: Vec<Id> = seen.iter().map(|item| item.id).collect();
        ids.sort_unstable();
        gaps.is_empty()
            && all.is_sorted_by(|a, b| a.id < b.id)
            && by_origin.values().all(|places| places.is_sorted_by(|a, b| a < b))
            && ids == all.iter().map(|item| item.id).collect::<Vec<_>>()
    }
}

//! Snapshots: a start from one and the log behind it is the start from the whole log; what is not whole or not of the log is not taken.

use super::*;
use crate::types::Chain;

type Files = BTreeMap<SegmentId, Vec<u8>>;

/// Small segments, and snapshots only when they are asked for.
fn config() -> Config {
    let snapshots = wal::SnapshotConfig { every: std::time::Duration::from_secs(1 << 20), ..Default::default() };
    Config { wal: wal::Config { segment_bytes: 700 }, snapshots, ..Config::default() }
}

fn snapshots_of(files: &Files) -> Vec<SegmentId> {
    files.keys().filter(|file| file.family() == Family::Snapshot).copied().collect()
}

fn without(files: &Files) -> Files {
    files.iter().filter(|(file, _)| file.family() != Family::Snapshot).map(|(file, it)| (*file, it.clone())).collect()
}

fn command(host: &mut Host, n: u64, at: u64, command: Command) -> Result<Outcome, CommandError> {
    let id = CommandId::new(n);
    host.handle(at, Input::Command { id, command });
    host.settle(at);
    for wait in 1..100 {
        if host.replies.contains_key(&id) {
            break;
        }
        host.handle(at + wait / 50, Input::Wake);
        host.settle(at + wait / 50);
    }
    host.replies.remove(&id).expect("answered")
}

fn snapshot(host: &mut Host, n: u64, at: u64) -> SnapshotFile {
    match command(host, n, at, Command::Snapshot).unwrap() {
        Outcome::Snapshot(file) => file,
        other => panic!("{other:?}"),
    }
}

fn many(n: u64) -> DocId {
    DocId::parse(&format!("many/{n}")).unwrap()
}

/// One of the things that a client or an operator does.
fn act(host: &mut Host, n: u64, byte: u8) {
    let at = 10 + n;
    match byte % 8 {
        0 => drop(snapshot(host, n, at)),
        1 => drop(command(host, n, at, Command::Point { name: format!("point-{n}") })),
        2 => {
            let stream = events::Name::parse("s").unwrap();
            let append = events::Command::Append { stream, events: vec![bytes::Bytes::from(vec![byte; 9])] };
            drop(command(host, n, at, Command::Events(append)));
        }
        3 => drop(command(host, n, at, Command::Pause(replication::Pause { peer: id(9), paused: byte > 99 }))),
        _ => {
            let (doc, path) = (many(u64::from(byte / 8 % 4)), format!("f{}", byte / 64));
            let edit = Edit::Set { path: path.clone(), value: json!(n) };
            if host.ask(n, at, documents::Command::Edit { doc: doc.clone(), edits: vec![edit], create: false }).is_err()
            {
                let edits = vec![Edit::Put { value: json!({ path: n }) }];
                drop(host.ask(n + (1 << 32), at, documents::Command::Edit { doc, edits, create: true }));
            }
        }
    }
}

/// All that can be seen of a node from outside, but for what is in memory.
fn seen(host: &mut Host, at: u64) -> String {
    let scan = documents::Command::Scan { prefix: String::new(), after: None, limit: 100, values: true };
    let values = host.ask(1 << 40, at, scan).unwrap();
    let points = command(host, (1 << 40) + 1, at, Command::Points);
    let streams = command(host, (1 << 40) + 2, at, Command::Events(events::Command::List { prefix: String::new() }));
    let node = host.node();
    let (documents, replication) = (node.documents(), node.replication());
    let heads: Vec<_> = (0..4).map(|n| documents.state(&many(n)).map(|state| state.heads.clone())).collect();
    let logs = (replication.digest(), replication.vector(), replication.entries(), replication.paused().clone());
    let documents = (documents.content(), documents.count(), documents.orphans(), documents.refused());
    let lives = (node.boot, node.actor, node.put_back.clone());
    format!("{values:?}\n{points:?}\n{streams:?}\n{heads:?}\n{logs:?}\n{documents:?}\n{lives:?}")
}

fn start(files: &Files, at: u64) -> Host {
    let host = Host::with(1, files.clone(), at, config());
    assert!(host.refused.is_none(), "{:?}", host.refused);
    host
}

fn is_the_same_start(acts: &[u8], restarts: &[u8]) -> bool {
    let mut host = start(&Files::new(), 1);
    for (n, byte) in (1..).zip(acts.iter().take(60)) {
        if restarts.contains(&u8::try_from(n % 200).unwrap()) {
            host = start(&host.files, 9 + n);
        }
        act(&mut host, n, *byte);
    }
    let (mut with, mut alone) = (start(&host.files, 90), start(&without(&host.files), 90));
    let report = with.report.clone().unwrap();
    assert!(report.untaken.is_empty(), "{report:?}");
    assert_eq!(report.snapshot.is_some(), !snapshots_of(&host.files).is_empty());
    assert!(report.records <= alone.report.as_ref().unwrap().records);
    let (one, other) = (seen(&mut with, 91), seen(&mut alone, 91));
    assert_eq!(one, other);
    // And both go on the same way.
    act(&mut with, 92, 4);
    act(&mut alone, 92, 4);
    let (mut with, mut alone) = (start(&with.files, 95), start(&without(&with.files), 95));
    seen(&mut with, 96) == seen(&mut alone, 96)
}

#[test]
fn a_start_from_a_snapshot_is_the_start_from_the_whole_log() {
    let law = |acts: Vec<u8>, restarts: Vec<u8>| is_the_same_start(&acts, &restarts);
    quickcheck::QuickCheck::new().tests(40).quickcheck(law as fn(Vec<u8>, Vec<u8>) -> bool);
}

/// A host that has lived for a while, and has two snapshots.
fn lived() -> Host {
    let mut host = start(&Files::new(), 1);
    (1..=12).for_each(|n| act(&mut host, n, u8::try_from(n * 37 % 250).unwrap() | 4));
    snapshot(&mut host, 20, 30);
    (31..=36).for_each(|n| act(&mut host, n, u8::try_from(n * 31 % 250).unwrap() | 4));
    snapshot(&mut host, 40, 50);
    (51..=54).for_each(|n| act(&mut host, n, u8::try_from(n * 29 % 250).unwrap() | 4));
    host
}

#[test]
fn only_the_log_behind_it_is_read_and_documents_are_opened_when_they_are_wanted() {
    let mut host = lived();
    host = start(&host.files, 60);
    snapshot(&mut host, 1, 70);
    let mut again = start(&host.files, 80);
    let report = again.report.clone().unwrap();
    assert_eq!(report.records, 0, "{report:?}");
    assert_eq!(again.node().documents().memory().documents, 0);
    assert!(again.node().documents().count() > 0);
    assert_eq!(seen(&mut again, 81), seen(&mut start(&without(&host.files), 80), 81));
    let status = again.node().status(now(82));
    assert_eq!(status.snapshots.start.unwrap().id, 3);
}

#[test]
fn any_damage_of_the_newest_falls_back_to_the_one_before_it_and_then_to_the_log() {
    let host = lived();
    let [older, newest] = snapshots_of(&host.files)[..] else { panic!("two are kept") };
    let whole = seen(&mut start(&without(&host.files), 60), 61);
    let len = host.files[&newest].len();
    for at in (0..len).step_by(7) {
        let mut files = host.files.clone();
        files.get_mut(&newest).unwrap()[at] ^= 1 << (at % 8);
        let mut again = start(&files, 60);
        let report = again.report.clone().unwrap();
        assert_eq!(report.snapshot.as_ref().map(|it| it.id), Some(id_of_snapshot(older)), "byte {at}: {report:?}");
        assert_eq!(report.untaken.len(), 1);
        assert!(again.told.iter().any(|it| matches!(it, Event::SnapshotRefused { .. })));
        if at % 5 == 0 {
            assert_eq!(seen(&mut again, 61), whole, "byte {at}");
            files.get_mut(&older).unwrap()[at % 64] ^= 1;
            let mut alone = start(&files, 60);
            assert!(alone.report.as_ref().unwrap().snapshot.is_none());
            assert_eq!(seen(&mut alone, 61), whole);
        }
    }
    for end in (0..len).step_by(5) {
        let mut files = host.files.clone();
        files.get_mut(&newest).unwrap().truncate(end);
        assert_eq!(
            start(&files, 60).report.unwrap().snapshot.map(|it| it.id),
            Some(id_of_snapshot(older)),
            "{end} bytes"
        );
    }
}

#[test]
fn what_is_bad_goes_with_the_next_one_and_never_a_good_one_before_that() {
    let host = lived();
    let [older, newest] = snapshots_of(&host.files)[..] else { panic!("two are kept") };
    let mut files = host.files.clone();
    files.get_mut(&newest).unwrap().pop();
    let mut again = start(&files, 60);
    assert_eq!(snapshots_of(&again.files), [older, newest], "nothing is removed before there is a new one");
    let third = snapshot(&mut again, 1, 61);
    assert_eq!(snapshots_of(&again.files).len(), 2);
    assert_eq!(snapshots_of(&again.files)[0], older);
    assert_eq!(id_of_snapshot(snapshots_of(&again.files)[1]), third.id);
    // At every moment there was one that a start takes.
    for files in again.history.iter().filter(|files| !files.is_empty()) {
        assert!(start(files, 60).report.unwrap().snapshot.is_some());
    }
}

#[test]
fn a_log_that_is_another_or_ends_before_it_has_no_snapshot() {
    let host = lived();
    let refused = |files: &Files, word: &str| {
        let report = start(files, 60).report.unwrap();
        assert!(report.snapshot.is_none());
        assert!(report.untaken.iter().all(|it| it.why.contains(word)), "{report:?}");
        assert_eq!(report.untaken.len(), 2);
    };
    let (mut cut, mut other) = (host.files.clone(), start(&Files::new(), 2));
    let main: Vec<_> = cut.keys().filter(|it| it.family() == Family::Log(Chain::Main)).copied().collect();
    main[2..].iter().for_each(|it| drop(cut.remove(it)));
    refused(&cut, "");
    let mut short = host.files.clone();
    short.get_mut(&main[0]).unwrap().pop();
    // The log itself is damaged then, which nobody passes over.
    assert!(Host::with(1, short, 60, config()).refused.is_some());
    (1..=60).for_each(|n| act(&mut other, n, 4));
    let mut foreign = without(&other.files);
    foreign.extend(host.files.iter().filter(|(it, _)| it.family() == Family::Snapshot).map(|(k, v)| (*k, v.clone())));
    refused(&foreign, "");
}

#[test]
fn a_disk_without_room_for_it_does_the_log_no_harm() {
    let mut host = lived();
    host.no_room = true;
    let before = snapshots_of(&host.files);
    assert!(matches!(command(&mut host, 60, 61, Command::Snapshot), Err(CommandError::Snapshot { .. })));
    assert!(host.node().read_only().is_none());
    host.set(1, 62, 5).unwrap();
    assert_eq!(snapshots_of(&host.files), before);
    host.no_room = false;
    snapshot(&mut host, 63, 64);
}

#[test]
fn they_are_taken_by_records_by_bytes_and_by_time_and_an_idle_peer_takes_none() {
    let day = std::time::Duration::from_secs(86_400);
    let taken = |snapshots: wal::SnapshotConfig, acts: u64, until: u64| {
        let mut host = Host::with(1, Files::new(), 1, Config { snapshots, ..config() });
        for n in 1..=acts {
            act(&mut host, n, 4);
        }
        for at in [until, until + 6] {
            host.handle(at, Input::Wake);
            host.settle(at);
        }
        snapshots_of(&host.files).len()
    };
    let never = wal::SnapshotConfig { every: day, bytes: u64::MAX, records: u64::MAX, ..Default::default() };
    assert_eq!(taken(never.clone(), 9, 200), 0);
    assert_eq!(taken(wal::SnapshotConfig { records: 8, ..never.clone() }, 9, 200), 1);
    assert_eq!(taken(wal::SnapshotConfig { bytes: 900, ..never.clone() }, 9, 200), 1);
    let hourly = wal::SnapshotConfig { every: std::time::Duration::from_secs(100), ..never.clone() };
    assert_eq!(taken(hourly.clone(), 9, 200), 0, "nine records are not worth it");
    assert_eq!(taken(wal::SnapshotConfig { records: 10, ..hourly.clone() }, 0, 200), 0);
    assert_eq!(taken(wal::SnapshotConfig { keep: 0, records: 1, ..never }, 9, 200), 0);
}

#[test]
fn every_codec_gives_the_same_start() {
    for codec in wal::Codec::ALL {
        let snapshots = wal::SnapshotConfig { codec, ..config().snapshots };
        let mut host = Host::with(1, Files::new(), 1, Config { snapshots, ..config() });
        (1..=9).for_each(|n| act(&mut host, n, 4));
        snapshot(&mut host, 20, 30);
        let (mut with, mut alone) = (start(&host.files, 60), start(&without(&host.files), 60));
        assert!(with.report.as_ref().unwrap().snapshot.is_some(), "{codec}");
        assert_eq!(seen(&mut with, 61), seen(&mut alone, 61), "{codec}");
    }
}

#[test]
fn a_client_is_answered_however_long_a_snapshot_has_to_wait_and_where_none_are_taken_by_themselves() {
    let snapshots = wal::SnapshotConfig { keep: 0, ..config().snapshots };
    let config = Config { snapshots, ..config() };
    let mut host = Host::with(1, Files::new(), 1, config.clone());
    (1..=3).for_each(|n| act(&mut host, n, 4));
    let mut host = Host::begun(1, host.files, 20, config);
    // While documents are put together none is begun.
    host.held = true;
    host.settle(20);
    let asked = CommandId::new(9);
    host.handle(21, Input::Command { id: asked, command: Command::Snapshot });
    host.settle(21);
    for at in 22..40 {
        host.handle(at, Input::Wake);
        host.settle(at);
    }
    assert!(!host.replies.contains_key(&asked));
    host.held = false;
    while let Some((id, task)) = host.tasks.pop_front() {
        let done = host.engine.run(task);
        host.handle(40, Input::TaskDone { id, done });
        host.settle(40);
    }
    for at in 41..50 {
        host.handle(at, Input::Wake);
        host.settle(at);
    }
    assert!(matches!(host.replies.remove(&asked), Some(Ok(Outcome::Snapshot(_)))));
}

#[test]
fn a_disk_that_stays_full_is_tried_less_and_less_often() {
    let snapshots = wal::SnapshotConfig { records: 1, ..config().snapshots };
    let mut host = Host::with(1, Files::new(), 1, Config { snapshots, ..config() });
    host.no_room = true;
    (1..=9).for_each(|n| act(&mut host, n, 4));
    let tries = |host: &mut Host| host.told.iter().filter(|it| matches!(it, Event::SnapshotFailed { .. })).count();
    // Three hours.
    for at in (20..10_820).step_by(6) {
        host.handle(at, Input::Wake);
        host.settle(at);
    }
    let failed = tries(&mut host);
    assert!((5..=10).contains(&failed), "{failed}");
    host.no_room = false;
    for at in (10_820..14_500).step_by(6) {
        host.handle(at, Input::Wake);
        host.settle(at);
    }
    assert!(!snapshots_of(&host.files).is_empty(), "and it is tried still");
}

//! Images and what is read back from them, on real files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use bytes::Bytes;
use tempfile::TempDir;

use super::image::{ImageError, Plan, Written, write};
use super::*;
use crate::node::{Own, Restored};
use crate::replication::Record;
use crate::types::{Actor, Boot, Digest, Hlc, Mint, NodeId, Seq, TimelineId, Topic, WallTime};
use crate::wal::{self, Frame};

const ME: NodeId = NodeId::from_u128(7);
const ACTOR: Actor = Actor { node: ME, mint: Mint::new(3) };

type Given = Vec<Result<Frame, SourceError>>;

fn stamp(n: u64) -> Hlc {
    Hlc { wall: WallTime::from_micros(1_000_000 + n), logical: 0 }
}

fn log(topic: Topic) -> LogId {
    LogId { actor: ACTOR, topic }
}

fn entry(topic: Topic, seq: u64) -> Own {
    let (seq, hlc) = (Seq::new(seq), stamp(seq));
    Own::Entry(Record { log: log(topic), seq, hlc, body: Bytes::from(vec![9; 40]) })
}

/// These records as a source would give them, from a record on.
fn frames(first: u64, owns: &[Own]) -> Given {
    let framed = owns.iter().zip(first..).map(|(own, lsn)| {
        let (kind, payload) = own.encode();
        let position = crate::types::Position { segment: SegmentId::new(99), offset: 0, len: 0 };
        Ok(Frame { lsn: Lsn::new(lsn), kind, hlc: stamp(lsn), position, payload: payload.into() })
    });
    framed.collect()
}

/// A life, and these many entries.
fn main(entries: u64) -> Vec<Own> {
    let life = [Own::Minted { actor: ACTOR }, Own::Booted { boot: Boot::new(4) }];
    life.into_iter().chain((1..=entries).map(|seq| entry(Topic::DOCUMENTS, seq))).collect()
}

fn events(entries: u64) -> Vec<Own> {
    (1..=entries).map(|seq| entry(Topic::EVENTS, seq)).collect()
}

fn trim(first: u64, next: u64) -> Trim {
    let line = Line { log: log(Topic::EVENTS), last: Seq::new(next - 1), chain: Digest::new(4) };
    Trim { first: SegmentId::new(Chain::Events.origin().value() + first), next: Lsn::new(next), lines: vec![line] }
}

fn plan(main: u64, events: u64) -> Plan {
    let at = stamp(main);
    Plan {
        node: ME,
        wal: wal::Config { segment_bytes: 400 },
        upto: Upto { main: Lsn::new(main), events: Lsn::new(events) },
        later: Vec::new(),
        restored: Restored { from: "here".into(), lsn: Lsn::new(main), at, timeline: 1, fork: 0, why: "a test".into() },
        line: image::Line::New(TimelineId { number: 1, fork: 0 }),
        now: WallTime::from_micros(5),
    }
}

fn make(dir: &Path, plan: &Plan, main: &[Own], events: Given) -> Result<Written, ImageError> {
    write(dir, plan, frames(1, main), events)
}

/// What a directory holds: both chains as they decode, stamps apart.
fn read(dir: &Path) -> (Vec<Own>, Vec<Own>, Vec<Hlc>) {
    let source = Source::open(dir).unwrap();
    assert_eq!(source.node(), ME);
    let main: Vec<_> = source.main(None).map(Result::unwrap).collect();
    let begins = source.beginning(None).unwrap();
    let events: Vec<_> = source.events(&begins, None).map(Result::unwrap).collect();
    let owns = |frames: &[Frame]| frames.iter().map(|frame| source.own(frame).unwrap()).collect();
    (owns(&main), owns(&events), main.iter().map(|frame| frame.hlc).collect())
}

#[test]
fn an_image_holds_what_was_given_up_to_its_limits_and_says_that_it_is_one() {
    let dir = TempDir::new().unwrap();
    let to = dir.path().join("one");
    let written = make(&to, &plan(12, 9), &main(40), frames(1, &events(30))).unwrap();
    let (got, got_events, stamps) = read(&to);
    let restored = Own::Restored(plan(12, 9).restored);
    assert_eq!(got, [&main(10)[..], &[restored]].concat());
    assert_eq!(got_events, events(9));
    assert_eq!(stamps[..12], (1..=12).map(stamp).collect::<Vec<_>>()[..], "stamps stay");
    assert!(stamps[12] > stamps[11], "and rise, though the clock stands back");
    let files = fs::read_dir(to.join(LOG_DIR)).unwrap().count();
    assert_eq!((written.records, written.segments), (22, files));
    assert!(files > 4, "in segments: {files}");
    assert_eq!(fs::read_to_string(to.join(NODE_FILE)).unwrap().trim(), ME.to_string());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&to), mode(&to.join(LOG_DIR)), mode(&to.join(NODE_FILE))), (0o700, 0o700, 0o600));
    let beside: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(beside, ["one"], "nothing is left over");
}

#[test]
fn two_images_of_one_log_have_different_stores() {
    let dir = TempDir::new().unwrap();
    let store = |name: &str| {
        let to = dir.path().join(name);
        make(&to, &plan(3, 0), &main(2), frames(1, &[])).map(|_| Source::open(&to).unwrap().store())
    };
    assert_ne!(store("a").unwrap(), store("b").unwrap());
}

#[test]
fn the_events_chain_begins_where_the_trims_before_the_limit_say() {
    let dir = TempDir::new().unwrap();
    let mut owns = main(4);
    owns.insert(5, Own::Trim(trim(3, 6)));
    let to = dir.path().join("at");
    make(&to, &plan(6, 9), &owns, frames(1, &events(20))).unwrap();
    assert_eq!(read(&to).1, events(9)[5..], "those before it are passed over");
    let to = dir.path().join("before");
    make(&to, &plan(5, 9), &owns, frames(1, &events(20))).unwrap();
    assert_eq!(read(&to).1, events(9), "that trim has not happened yet");
}

#[test]
fn events_that_expired_since_are_said_to_be_trimmed() {
    let dir = TempDir::new().unwrap();
    let later = |main, events| Plan { later: vec![trim(2, 4), trim(3, 6)], ..plan(main, events) };
    let to = dir.path().join("one");
    let written = make(&to, &later(4, 9), &main(2), frames(6, &events(20)[5..])).unwrap();
    let (owns, rest, _) = read(&to);
    assert_eq!((rest, written.events_from), (events(9)[5..].to_vec(), Lsn::new(6)));
    assert_eq!(owns[4], Own::Trim(trim(3, 6)), "as one record");
    assert!(matches!(owns[5], Own::Restored(_)));
    let to = dir.path().join("two");
    make(&to, &later(4, 3), &main(2), frames(6, &events(20)[5..])).unwrap();
    assert_eq!(read(&to).1, []);
    let refused = make(&dir.path().join("three"), &plan(4, 9), &main(2), frames(6, &events(20)[5..])).unwrap_err();
    assert_eq!(refused.to_string(), "the events' chain: record 1 is missing: record 6 comes in its place");
}

#[test]
fn what_is_incomplete_or_fails_leaves_nothing_behind() {
    let dir = TempDir::new().unwrap();
    let to = dir.path().join("one");
    let refused = |result: Result<Written, ImageError>| result.unwrap_err().to_string();
    let short = make(&to, &plan(12, 0), &main(5), frames(1, &[]));
    assert_eq!(refused(short), "the main chain: record 8 is missing");
    let mut holed = frames(1, &main(20));
    drop(holed.remove(6));
    let holed = write(&to, &plan(12, 0), holed, frames(1, &[]));
    assert_eq!(refused(holed), "the main chain: record 7 is missing: record 8 comes in its place");
    let broken: Given = frames(1, &main(3)).into_iter().chain([Err(SourceError::NoLog { dir: "x".into() })]).collect();
    assert!(refused(write(&to, &plan(12, 0), broken, frames(1, &[]))).starts_with("x holds no log"));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn what_is_there_is_never_written_over() {
    let dir = TempDir::new().unwrap();
    let (full, empty) = (dir.path().join("full"), dir.path().join("empty"));
    fs::create_dir(&full).unwrap();
    fs::create_dir(&empty).unwrap();
    fs::write(full.join("precious"), b"x").unwrap();
    let refused = make(&full, &plan(3, 0), &main(2), frames(1, &[])).unwrap_err();
    assert!(matches!(refused, ImageError::NotEmpty { .. }), "{refused}");
    assert_eq!(fs::read(full.join("precious")).unwrap(), b"x");
    make(&empty, &plan(3, 0), &main(2), frames(1, &[])).unwrap();
    assert!(make(&empty, &plan(3, 0), &main(2), frames(1, &[])).is_err(), "nor is an image");
}

#[test]
fn half_an_image_of_a_killed_recovery_is_swept_and_one_under_way_is_respected() {
    let dir = TempDir::new().unwrap();
    let (to, half) = (dir.path().join("one"), dir.path().join(".one.restoring"));
    fs::create_dir_all(half.join(LOG_DIR)).unwrap();
    fs::write(half.join(LOG_DIR).join("0000000000000001.wal"), b"half").unwrap();
    let mode = |mode| fs::set_permissions(&half, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    mode(0o755);
    let refused = make(&to, &plan(3, 0), &main(2), frames(1, &[])).unwrap_err();
    assert!(matches!(refused, ImageError::NotOurs { .. }) && half.join(LOG_DIR).exists(), "{refused}");
    mode(0o700);
    let held = fs::File::open(&half).unwrap();
    held.lock().unwrap();
    let refused = make(&to, &plan(3, 0), &main(2), frames(1, &[])).unwrap_err();
    assert!(matches!(refused, ImageError::Busy { .. }), "{refused}");
    assert!(half.join(LOG_DIR).exists());
    drop(held);
    make(&to, &plan(3, 0), &main(2), frames(1, &[])).unwrap();
    // Nor is what stands behind a link of that name anybody's to remove.
    let precious = dir.path().join("precious");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("file"), b"x").unwrap();
    std::os::unix::fs::symlink(&precious, dir.path().join(".two.restoring")).unwrap();
    let refused = make(&dir.path().join("two"), &plan(3, 0), &main(2), frames(1, &[])).unwrap_err();
    assert!(matches!(refused, ImageError::NotOurs { .. }) && precious.join("file").exists(), "{refused}");
    assert_eq!(read(&to).0.len(), 4);
    assert!(!half.exists());
}

#[test]
fn what_stands_behind_the_limit_is_not_looked_at_and_any_flip_before_it_is_named() {
    let dir = TempDir::new().unwrap();
    let to = dir.path().join("one");
    make(&to, &plan(30, 0), &main(28), frames(1, &[])).unwrap();
    let source = Source::open(&to).unwrap();
    let limit = source.main(None).map(Result::unwrap).find(|frame| frame.lsn == Lsn::new(20)).unwrap().position;
    let end = limit.offset + u64::from(limit.len);
    let read = || source.main(Some(Lsn::new(20))).collect::<Result<Vec<_>, _>>();
    for (segment, len) in source.segments().clone() {
        let path = source.dir().join(wal::file_name(segment));
        let whole = fs::read(&path).unwrap();
        for at in (0..len).step_by(3) {
            let mut flipped = whole.clone();
            flipped[usize::try_from(at).unwrap()] ^= 0x20;
            fs::write(&path, &flipped).unwrap();
            let behind = segment > limit.segment || (segment == limit.segment && at >= end);
            match read() {
                Ok(frames) => assert!(behind && frames.len() == 20, "byte {at} of {segment}: {}", frames.len()),
                Err(error) => {
                    assert!(!behind, "byte {at} of {segment}: {error}");
                    assert!(error.to_string().contains(&wal::file_name(segment)), "byte {at} of {segment}: {error}");
                }
            }
        }
        fs::write(&path, &whole).unwrap();
    }
}

#[test]
fn a_directory_without_a_log_and_a_file_that_only_looks_like_a_segment_are_told() {
    let dir = TempDir::new().unwrap();
    assert!(matches!(Source::open(dir.path()), Err(SourceError::NoLog { .. })));
    fs::write(dir.path().join("1.wal"), b"").unwrap();
    let refused = Source::open(dir.path()).unwrap_err().to_string();
    assert!(refused.contains("1.wal: not the name of a segment"), "{refused}");
}

#[test]
fn what_a_running_peer_wrote_meanwhile_is_taken_up_to_the_last_event_that_was_read() {
    let dir = TempDir::new().unwrap();
    let to = dir.path().join("one");
    // Event n is stamped between the records 4n and 4n + 1 of the main chain.
    let events: Given = frames(1, &events(6))
        .into_iter()
        .map(|frame| frame.map(|frame| Frame { hlc: Hlc { logical: 1, ..stamp(4 * frame.lsn.value()) }, ..frame }))
        .collect();
    let one_segment = wal::Config { segment_bytes: 1 << 20 };
    make(&to, &Plan { wal: one_segment, ..plan(40, 6) }, &main(38), events).unwrap();
    let source = Source::open(&to).unwrap();
    let path = source.dir().join(wal::file_name(Chain::Main.origin().next()));
    let whole = fs::read(&path).unwrap();
    let end = source.main(None).map(Result::unwrap).find(|frame| frame.lsn == Lsn::new(10)).unwrap().position;
    fs::write(&path, &whole[..usize::try_from(end.offset).unwrap() + usize::try_from(end.len).unwrap()]).unwrap();
    let mut survey = Survey::of(&source).unwrap();
    let upto = |main, events| Upto { main: Lsn::new(main), events: Lsn::new(events) };
    assert_eq!(survey.upto, upto(10, 6), "nothing stands behind it");
    fs::write(&path, &whole).unwrap();
    survey.catch_up(&source).unwrap();
    assert_eq!(survey.upto, upto(24, 6));
    let located = survey.locate(&source, &target::Target::Latest, false, WallTime::from_micros(9)).unwrap();
    assert_eq!((located.upto, located.last.lsn), (upto(24, 6), Lsn::new(24)));
}

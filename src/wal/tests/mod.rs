//! The log as a reader of files sees it: whole, cut, damaged.

mod crash;
mod damage;

use std::collections::BTreeMap;

use bytes::Bytes;

use super::*;
use crate::types::{Hlc, Lsn, NodeId, Position, WallTime};

const ME: NodeId = NodeId::from_u128(7);
const ONE: SegmentId = SegmentId::new(1);
const STORE: u64 = 0x0123_4567_89ab_cdef;

/// The files of a log, and the records that were put into them.
#[derive(Clone, Debug, Default)]
struct Log {
    files: BTreeMap<SegmentId, Vec<u8>>,
    records: Vec<(Appended, u8, Vec<u8>)>,
}

impl Log {
    fn append(&mut self, writer: &mut Writer, kind: u8, payload: &[u8]) {
        let appended = writer.append(kind, hlc(writer.next_lsn()), payload).unwrap();
        let file = self.files.entry(appended.segment).or_default();
        assert_eq!(file.len() as u64, appended.offset, "a write goes to the end of its file");
        file.extend_from_slice(&appended.bytes);
        self.records.push((appended, kind, payload.to_vec()));
    }

    /// A log in which each record was durable before the next was appended.
    fn of(segment_bytes: u64, payloads: &[Vec<u8>]) -> (Self, Writer) {
        let mut log = Self::default();
        let mut writer = Writer::new(Config { segment_bytes }, Scanner::new(ME).finish().end, STORE);
        for (kind, payload) in (0_u8..=255).cycle().zip(payloads) {
            log.append(&mut writer, kind, payload);
            let last = &log.records.last().unwrap().0;
            writer.on_persisted(last.lsn, last.position);
        }
        (log, writer)
    }

    /// A log of one segment with these records.
    fn one(payloads: &[&[u8]]) -> Vec<u8> {
        let payloads: Vec<_> = payloads.iter().map(|payload| payload.to_vec()).collect();
        Self::of(u64::MAX, &payloads).0.files.remove(&ONE).unwrap()
    }

    /// The first `n` records, as a scan gives them.
    fn frames(&self, n: usize) -> Vec<Frame> {
        let frame = |(appended, kind, payload): &(Appended, u8, Vec<u8>)| Frame {
            lsn: appended.lsn,
            kind: *kind,
            hlc: hlc(appended.lsn),
            position: appended.position,
            payload: Bytes::from(payload.clone()),
        };
        self.records.iter().take(n).map(frame).collect()
    }
}

fn hlc(lsn: Lsn) -> Hlc {
    Hlc { wall: WallTime::from_micros(1_700_000_000_000_000 + lsn.value()), logical: 5 }
}

fn scan(files: &BTreeMap<SegmentId, Vec<u8>>) -> Result<(Vec<Frame>, Scanned), Error> {
    let (mut scanner, mut frames) = (Scanner::new(ME), Vec::new());
    for (segment, bytes) in files {
        frames.extend(scanner.segment(*segment, &Bytes::from(bytes.clone()))?);
    }
    Ok((frames, scanner.finish()))
}

quickcheck::quickcheck! {
    fn what_is_written_is_read(payloads: Vec<Vec<u8>>, segment_bytes: u16) -> bool {
        let (log, writer) = Log::of(u64::from(segment_bytes), &payloads);
        let (frames, scanned) = scan(&log.files).unwrap();
        let again = Writer::new(Config { segment_bytes: u64::from(segment_bytes) }, scanned.end, 0);
        frames == log.frames(usize::MAX) && scanned.cut.is_none()
            && (payloads.is_empty() || format!("{again:?}") == format!("{writer:?}"))
    }
}

#[test]
fn the_bytes_are_those_of_the_format() {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let log = Log::one(&[b"hello", b""]);
    let (header, frames) = log.split_at(80);
    let golden = [
        "4f584841_57414c0a 01000000_00000000 00000000_00000000_00000000_00000007",
        "efcdab89_67452301 01000000_00000000 01000000_00000000 00000000_00000000 00000000_00000000 00000000",
    ];
    let golden = golden.concat().replace(['_', ' '], "");
    assert_eq!(hex(&header[..76]), golden);
    let golden = [
        "4e58a774 05000000 01000000_00000000 01401e18_240a0600 05000000 00000000 00 000000 9035b3f5 68656c6c_6f000000",
        "0a85f64a 00000000 02000000_00000000 02401e18_240a0600 05000000 00000000 01 000000 23d8b065",
    ];
    assert_eq!(hex(frames), golden.concat().replace(['_', ' '], ""));
}

#[test]
fn a_record_is_read_back_from_its_place_alone() {
    let (log, writer) = Log::of(200, &[b"one".to_vec(), vec![2; 300], Vec::new()]);
    for (frame, (appended, ..)) in log.frames(3).into_iter().zip(&log.records) {
        let position = appended.position;
        let from = usize::try_from(position.offset).unwrap();
        let to = from + usize::try_from(position.len).unwrap();
        let bytes = Bytes::copy_from_slice(&log.files[&position.segment][from..to]);
        assert_eq!(writer.decode(position, &bytes).as_ref(), Ok(&frame));
        let short = writer.decode(position, &bytes.slice(..bytes.len() - 1)).unwrap_err();
        let at = Place { segment: position.segment, offset: position.offset };
        let what = Damage::Short { need: u64::from(position.len), have: u64::from(position.len) - 1 };
        assert_eq!(short, Error::Unreadable { at, what });
        for n in 0..bytes.len() {
            let mut flipped = bytes.to_vec();
            flipped[n] ^= 0x10;
            assert!(writer.decode(position, &flipped.into()).is_err(), "byte {n}");
        }
    }
}

#[test]
fn a_place_that_is_longer_than_its_record_is_none() {
    let (log, writer) = Log::of(u64::MAX, &[b"one".to_vec(), b"two".to_vec()]);
    let (first, second) = (log.records[0].0.position, log.records[1].0.position);
    let both = Position { len: first.len + second.len, ..first };
    let bytes = Bytes::copy_from_slice(&log.files[&ONE][80..]);
    let at = Place { segment: ONE, offset: first.offset };
    let what = Damage::Short { need: u64::from(both.len), have: u64::from(first.len) };
    assert_eq!(writer.decode(both, &bytes), Err(Error::Unreadable { at, what }));
}

#[test]
fn a_segment_takes_records_until_it_is_full_to_the_byte() {
    for (segment_bytes, files) in [(80 + 2 * 48, 2), (80 + 2 * 48 - 1, 3)] {
        let (log, _) = Log::of(segment_bytes, &[b"three".to_vec(), b"words".to_vec(), b"fit".to_vec()]);
        assert_eq!(log.files.len(), files, "{segment_bytes}");
    }
}

#[test]
fn a_scanner_says_which_record_comes_next() {
    let mut scanner = Scanner::new(ME);
    assert_eq!(scanner.next_lsn(), Lsn::new(1));
    scanner.segment(ONE, &Log::one(&[b"one", b"two"]).into()).unwrap();
    assert_eq!(scanner.next_lsn(), Lsn::new(3));
}

#[test]
fn a_record_that_is_too_long_leaves_the_log_as_it_was() {
    let mut log = Log::default();
    let mut writer = Writer::new(Config::default(), Scanner::new(ME).finish().end, STORE);
    let before = format!("{writer:?}");
    let refused = writer.append(1, Hlc::default(), &vec![0; RECORD_MAX + 1]);
    assert_eq!(refused, Err(Error::TooLong { len: RECORD_MAX + 1 }));
    assert_eq!(format!("{writer:?}"), before);
    log.append(&mut writer, 1, &vec![9; RECORD_MAX]);
    log.append(&mut writer, 2, b"small");
    assert_eq!(log.files.len(), 2, "a record larger than a segment gets one of its own");
    assert_eq!(scan(&log.files).unwrap().0, log.frames(2));
}

#[test]
fn file_names_sort_and_are_spelled_one_way() {
    assert_eq!(file_name(SegmentId::new(0x1f)), "000000000000001f.wal");
    assert_eq!(segment_of("000000000000001f.wal"), Some(SegmentId::new(0x1f)));
    assert_eq!(segment_of("ffffffffffffffff.wal"), Some(SegmentId::new(u64::MAX)));
    for name in ["000000000000001F.wal", "1f.wal", "0000000000000000.wal", "000000000000001f", "+00000000000001f.wal"] {
        assert_eq!(segment_of(name), None, "{name}");
    }
}

#[test]
fn a_writer_says_whose_store_it_writes() {
    let (log, writer) = Log::of(200, &vec![vec![1; 50]; 9]);
    assert_eq!((writer.store(), scan(&log.files).unwrap().1.end.store), (STORE, Some(STORE)));
}

#[test]
fn names_of_snapshots_are_spelled_one_way_and_are_no_segments() {
    let first = Family::SNAPSHOTS.next();
    let name = file_name(first);
    assert_eq!((snapshot_of(&name), segment_of(&name)), (Some(first), None), "{name}");
    assert_eq!(snapshot_of("7fffffffffffffff.snap"), Some(SegmentId::new(u64::MAX >> 1)));
    // One before the first, those of the chains, and what is not spelled our way.
    for name in [
        "4000000000000000.snap",
        "0000000000000001.snap",
        "8000000000000001.snap",
        "4000000000000001.wal",
        "4000000000000001.SNAP",
        "+400000000000001.snap",
        "400000000000000A.snap",
        "40000000000000001.snap",
    ] {
        assert_eq!(snapshot_of(name), None, "{name}");
    }
}

#[test]
fn what_is_not_durable_is_taken_back_and_its_numbers_are_given_again() {
    for segment_bytes in [u64::MAX, 200] {
        let (mut log, mut writer) = Log::of(segment_bytes, &[vec![1; 50], vec![2; 50], vec![3; 50]]);
        let (files, end) = (log.files.clone(), writer.durable_end());
        let appended: Vec<Appended> =
            (0..3).map(|n| writer.append(n, hlc(writer.next_lsn()), &[4; 60]).unwrap()).collect();
        writer.roll_back();
        assert_eq!(writer.durable_end(), end);
        assert_eq!(writer.append(0, hlc(appended[0].lsn), &[4; 60]).unwrap(), appended[0]);
        writer.roll_back();
        log.append(&mut writer, 9, b"goes on");
        let (frames, scanned) = scan(&log.files).unwrap();
        assert_eq!((frames, scanned.cut), (log.frames(4), None));
        assert_ne!(files, log.files);
    }
}

/// Before anything is durable, even the header of the first segment is written anew, and so is what it says of a cut.
#[test]
fn a_log_that_never_wrote_begins_again() {
    let mut writer = Writer::new(Config::default(), Scanner::new(ME).finish().end, STORE);
    let first = writer.append(1, Hlc::default(), b"x").unwrap();
    writer.roll_back();
    assert_eq!((writer.durable_end().1, writer.append(1, Hlc::default(), b"x").unwrap()), (0, first));
}

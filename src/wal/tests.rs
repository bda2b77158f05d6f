//! The log as a reader of files sees it: whole, cut, damaged.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::*;
use crate::types::{Hlc, Lsn, NodeId, WallTime};

const ME: NodeId = NodeId::from_u128(7);
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
            writer.on_persisted(log.records.last().unwrap().0.lsn);
        }
        (log, writer)
    }

    fn scan(&self) -> Result<(Vec<Frame>, Scanned), Error> {
        scan(&self.files)
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
        let (frames, scanned) = log.scan().unwrap();
        let again = Writer::new(Config { segment_bytes: u64::from(segment_bytes) }, scanned.end, 0);
        frames == log.frames(usize::MAX) && scanned.cut.is_none()
            && (payloads.is_empty() || format!("{again:?}") == format!("{writer:?}"))
    }
}

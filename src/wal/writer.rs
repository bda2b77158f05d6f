//! Turns records into the bytes to be written, and numbers them.

use bytes::Bytes;

use super::error::{Error, Place};
use super::frame::{self, Frame, HEAD, Head, RECORD_MAX, frame_len, len32};
use super::header::{HEADER, Header, Mask};
use super::scan::End;
use super::{Config, Damage};
use crate::probe::{always, planted, reachable};
use crate::types::{Hlc, Lsn, NodeId, Position, SegmentId};

/// The writing end of a log: a value without IO. Where the bytes go is in [`Appended`].
#[derive(Clone, Debug)]
pub struct Writer {
    config: Config,
    node: NodeId,
    store: u64,
    next: Lsn,
    synced: Lsn,
    segment: SegmentId,
    /// What the next segment's header says of those before.
    cut: Option<Place>,
    /// Length of the segment; 0 before its header is written.
    length: u64,
    /// Where it goes on if nothing of what is not durable is written.
    durable: Mark,
}

/// The end of what is durable.
#[derive(Clone, Copy, Debug)]
struct Mark {
    next: Lsn,
    segment: SegmentId,
    length: u64,
    cut: Option<Place>,
}

/// A framed record, and where its bytes have to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The record's number.
    pub lsn: Lsn,
    /// Where its frame will stand, to read it back.
    pub position: Position,
    /// Which file to write.
    pub segment: SegmentId,
    /// Where: always its end; 0 makes a new file.
    pub offset: u64,
    /// What: the frame, behind the segment's header if the file is new.
    pub bytes: Bytes,
}

impl Writer {
    /// Goes on where a scan ended. If it cut something, the first record appended makes the cut durable. `store` is a random number; it becomes the store's
    /// if nothing was written before.
    #[must_use]
    pub fn new(config: Config, end: End, store: u64) -> Self {
        let End { node, store: found, next, segment, offset, cut, last_hlc: _ } = end;
        // What was read at boot is durable: drivers sync before the first read.
        let synced = Lsn::new(next.value() - 1);
        let durable = Mark { next, segment, length: offset, cut };
        Self { config, node, store: found.unwrap_or(store), next, synced, segment, cut, length: offset, durable }
    }

    /// Frames a record.
    ///
    /// # Errors
    /// [`Error::TooLong`]: nothing was appended.
    pub fn append(&mut self, kind: u8, hlc: Hlc, payload: &[u8]) -> Result<Appended, Error> {
        if payload.len() > RECORD_MAX {
            return Err(Error::TooLong { len: payload.len() });
        }
        let whole = frame_len(payload.len());
        if self.length > HEADER as u64 && self.length + whole as u64 > self.config.segment_bytes {
            self.segment = self.segment.next();
            self.length = 0;
        }
        let (lsn, offset) = (self.next, self.length);
        always!(self.synced < self.next, "wal/records-are-numbered-above-what-is-durable");
        let mut bytes = Vec::with_capacity(HEADER + whole);
        if offset == 0 {
            reachable!("wal/segment-begun");
            let Self { node, store, segment, .. } = *self;
            Header { node, store, segment, first: lsn, cut: self.cut.take() }.encode(&mut bytes);
        }
        let start = if planted!("wal/place-without-header") { offset } else { offset + bytes.len() as u64 };
        let synced = if planted!("wal/claims-unsynced") { Lsn::new(lsn.value() - 1) } else { self.synced };
        Head { len: payload.len(), lsn, hlc, synced, kind }.encode(payload, self.mask(), &mut bytes);
        let position = Position { segment: self.segment, offset: start, len: len32(whole) };
        self.next = lsn.next();
        self.length = start + whole as u64;
        Ok(Appended { lsn, position, segment: self.segment, offset, bytes: bytes.into() })
    }

    /// Everything up to this record, whose frame stands there, is durable. Later records say so, which is how a scan tells a
    /// write that a power cut lost from a damaged one. Never goes back.
    ///
    /// # Panics
    /// When the record was never appended: the caller mixed up two logs.
    pub fn on_persisted(&mut self, lsn: Lsn, position: Position) {
        assert!(lsn < self.next, "record {lsn} is durable, but the next to be appended is {}", self.next);
        if lsn > self.synced {
            let Position { segment, offset, len } = position;
            self.durable = Mark { next: lsn.next(), segment, length: offset + u64::from(len), cut: None };
        }
        self.synced = self.synced.max(lsn);
    }

    /// The segment that holds the last durable record, and where that ends. 0 if nothing stands in it.
    #[must_use]
    pub fn durable_end(&self) -> (SegmentId, u64) {
        (self.durable.segment, self.durable.length)
    }

    /// Takes back every record that is not durable: none of their bytes is in the files any more. Their numbers are given again.
    pub fn roll_back(&mut self) {
        let Mark { next, segment, length, cut } = self.durable;
        (self.next, self.segment, self.length, self.cut) = (next, segment, length, cut);
    }

    /// Whose log it is, drawn when it was begun.
    #[must_use]
    pub const fn store(&self) -> u64 {
        self.store
    }

    /// The number of the next record.
    #[must_use]
    pub fn next_lsn(&self) -> Lsn {
        self.next
    }

    /// Reads one record back from the bytes that stand at `position`.
    ///
    /// # Errors
    /// [`Error::Unreadable`] with the place, when they are not an intact record of this store.
    pub fn decode(&self, position: Position, bytes: &Bytes) -> Result<Frame, Error> {
        read_back(self.store, position, bytes)
    }

    fn mask(&self) -> Mask {
        Mask::of(self.store)
    }
}

/// Reads one record of this store back from the bytes that stand at `position`.
///
/// # Errors
/// [`Error::Unreadable`] with the place, when they are not an intact record of this store.
pub fn read_back(store: u64, position: Position, bytes: &Bytes) -> Result<Frame, Error> {
    let at = Place { segment: position.segment, offset: position.offset };
    let unreadable = |what| Error::Unreadable { at, what };
    let (need, have) = (u64::from(position.len), bytes.len() as u64);
    match frame::read(bytes, 0, Mask::of(store)) {
        frame::Read::Frame(head) if head.frame_len() as u64 == need => {
            Ok(Frame::of(&head, position, bytes.slice(HEAD..HEAD + head.len)))
        }
        frame::Read::Frame(head) => Err(unreadable(Damage::Short { need, have: head.frame_len() as u64 })),
        frame::Read::Unknown => Err(Error::FutureRecord { at, lsn: Lsn::ZERO }),
        frame::Read::Damaged(what) => Err(unreadable(if have < need { Damage::Short { need, have } } else { what })),
    }
}

//! Why a log is refused, and what was cut from one that is not. File names and offsets in every message.

use std::fmt;

use super::file_name;
use super::header::HEADER;
use crate::types::{Lsn, NodeId, SegmentId};

/// A place in the log's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The segment file.
    pub segment: SegmentId,
    /// Bytes from its start.
    pub offset: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, byte {}", file_name(self.segment), self.offset)
    }
}

/// What is wrong with bytes that should be a header or a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// The file ends before it does.
    #[error("{need} bytes are needed and {have} are there")]
    Short {
        /// Bytes from its start that it needs.
        need: u64,
        /// Bytes from its start to the end of the file.
        have: u64,
    },
    /// Zeros up to the end of the file.
    #[error("the last {len} bytes are zero")]
    Zeros {
        /// How many.
        len: u64,
    },
    /// A segment's header does not match its checksum.
    #[error("the segment header has checksum {found:#010x}, expected {expected:#010x}")]
    Header {
        /// As stored.
        expected: u32,
        /// Of the bytes there.
        found: u32,
    },
    /// The head of a frame (length, LSN, stamp, kind) does not match its checksum.
    #[error("the record head has checksum {found:#010x}, expected {expected:#010x}")]
    Head {
        /// As stored.
        expected: u32,
        /// Of the bytes there.
        found: u32,
    },
    /// The head is intact, the payload does not match its checksum.
    #[error("the payload has checksum {found:#010x}, expected {expected:#010x}")]
    Payload {
        /// As stored.
        expected: u32,
        /// Of the bytes there.
        found: u32,
    },
}

/// Why the log is refused. No variant changes the log or its files.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Damage, and an intact record behind it: not a torn write, so never truncated.
    #[error(
        "{at}: record {lsn} is damaged: {what}; record {intact_lsn} at {intact} is intact, so this is not a torn write"
    )]
    Corrupt {
        /// Where the damage begins.
        at: Place,
        /// The record that should be there.
        lsn: Lsn,
        /// What is wrong.
        what: Damage,
        /// Where an intact record follows.
        intact: Place,
        /// Which one.
        intact_lsn: Lsn,
    },
    /// The header of the only segment is damaged and what follows could not be judged within bounds.
    #[error("{at}: {what}; gave up the search for intact records after {summed} bytes")]
    Unjudged {
        /// Where the damage begins.
        at: Place,
        /// What is wrong.
        what: Damage,
        /// How many bytes were summed in vain.
        summed: u64,
    },
    /// The file does not begin as a segment does.
    #[error("{}, byte 0: not a log segment: begins with {found:02x?}", file_name(*.segment))]
    NotALog {
        /// The segment file.
        segment: SegmentId,
        /// Its first bytes.
        found: [u8; 8],
    },
    /// The segment was written by a later version of this program.
    #[error("{}, byte 8: format version {found}, this program knows {known}", file_name(*.segment))]
    FutureVersion {
        /// The segment file.
        segment: SegmentId,
        /// Its version.
        found: u32,
        /// The highest version known.
        known: u32,
    },
    /// A record was written by a later version of this program: it is intact, but says what this version cannot say.
    #[error("{at}: record {lsn} is intact but not of format version 1")]
    FutureRecord {
        /// Where.
        at: Place,
        /// Which record should be there.
        lsn: Lsn,
    },
    /// The segment belongs to another node.
    #[error("{}, byte 16: written by node {found}, this is node {expected}", file_name(*.segment))]
    ForeignNode {
        /// The segment file.
        segment: SegmentId,
        /// This node.
        expected: NodeId,
        /// Its writer.
        found: NodeId,
    },
    /// The segment belongs to another history of this node's store.
    #[error("{}, byte 32: of store {found:016x}, the segment before is of store {expected:016x}", file_name(*.segment))]
    ForeignStore {
        /// The segment file.
        segment: SegmentId,
        /// The store of the segment before.
        expected: u64,
        /// Its store.
        found: u64,
    },
    /// The segment's header has another number than its file name.
    #[error("{}, byte 40: the header says that this is {}", file_name(*.segment), file_name(*.found))]
    Misnamed {
        /// As the file name says.
        segment: SegmentId,
        /// As the header says.
        found: SegmentId,
    },
    /// A segment is missing, or comes twice or out of order.
    #[error("{} is missing: {} comes in its place", file_name(*.expected), file_name(*.found))]
    MissingSegment {
        /// Which should come.
        expected: SegmentId,
        /// Which came.
        found: SegmentId,
    },
    /// Records are missing.
    #[error("{at}: record {found} in the place of record {expected}: records are missing")]
    LsnGap {
        /// Where.
        at: Place,
        /// The record that should be there.
        expected: Lsn,
        /// The record that is.
        found: Lsn,
    },
    /// A record comes again.
    #[error("{at}: record {found} in the place of record {expected}: it comes a second time")]
    LsnRepeated {
        /// Where.
        at: Place,
        /// The record that should be there.
        expected: Lsn,
        /// The record that is.
        found: Lsn,
    },
    /// One record that is read back is damaged.
    #[error("{at}: {what}")]
    Unreadable {
        /// Where.
        at: Place,
        /// What is wrong.
        what: Damage,
    },
    /// A record to be appended is larger than [`RECORD_MAX`](super::RECORD_MAX).
    #[error("a record of {len} bytes is larger than {max}", max = super::RECORD_MAX)]
    TooLong {
        /// Its length.
        len: usize,
    },
}

impl Error {
    /// Where it is seen, if it is at a place of the log.
    #[must_use]
    pub const fn place(&self) -> Option<Place> {
        match *self {
            Self::Corrupt { at, .. }
            | Self::Unjudged { at, .. }
            | Self::FutureRecord { at, .. }
            | Self::LsnGap { at, .. }
            | Self::LsnRepeated { at, .. }
            | Self::Unreadable { at, .. } => Some(at),
            Self::NotALog { segment, .. } => Some(Place { segment, offset: 0 }),
            Self::FutureVersion { segment, .. } => Some(Place { segment, offset: 8 }),
            Self::ForeignNode { segment, .. } => Some(Place { segment, offset: 16 }),
            Self::ForeignStore { segment, .. } => Some(Place { segment, offset: 32 }),
            Self::Misnamed { segment, .. } => Some(Place { segment, offset: 40 }),
            Self::MissingSegment { expected, .. } => Some(Place { segment: expected, offset: 0 }),
            Self::TooLong { .. } => None,
        }
    }

    /// Which record should be there, if that is known.
    #[must_use]
    pub const fn lsn(&self) -> Option<Lsn> {
        match *self {
            Self::Corrupt { lsn, .. } | Self::FutureRecord { lsn, .. } => Some(lsn),
            Self::LsnGap { expected, .. } | Self::LsnRepeated { expected, .. } => Some(expected),
            _ => None,
        }
    }
}

/// A damaged last write: from where on the log does not count, and what that loses. Nobody can tell for certain whether it was torn
/// (then it was never acknowledged) or damaged later (then it was), so it is reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// From where on.
    pub at: Place,
    /// The first record that is lost.
    pub lsn: Lsn,
    /// What is wrong there.
    pub what: Damage,
    /// Whether it looks as a power cut leaves a write that was never acknowledged: its end, or a whole sector of it, was never
    /// written. What was written in full and reads otherwise now was damaged later, and somebody may rely on it.
    pub looks_torn: bool,
    /// Bytes that do not count any more, over all files.
    pub lost_bytes: u64,
    /// Intact records among them: writes behind a torn one that were not acknowledged either.
    pub dropped: u64,
    /// Later segments that hold nothing intact, in order: they do not count either.
    pub(super) behind: Vec<SegmentId>,
}

impl Cut {
    /// The segment to shorten, and to how many bytes, once a record is durable behind the cut; before that, the damage
    /// must stay in sight. None if its header is damaged: it stays as it is, since nothing of it counts.
    #[must_use]
    pub fn truncation(&self) -> Option<(SegmentId, u64)> {
        (self.at.offset >= HEADER as u64).then_some((self.at.segment, self.at.offset))
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, lsn, what, lost_bytes, dropped, behind, .. } = self;
        write!(f, "{at}: the last write is torn or damaged from record {lsn} on: {what}; cut {lost_bytes} bytes")?;
        match dropped {
            0 => {}
            1 => f.write_str(" with 1 intact record that was not acknowledged")?,
            n => write!(f, " with {n} intact records that were not acknowledged")?,
        }
        behind.iter().try_for_each(|segment| write!(f, " and {}", file_name(*segment)))
    }
}

//! Snapshots: what the main chain says up to a record, in a file of its own, so that a start reads the newest good one and then the
//! log behind it.
//!
//! **The log stays whole and stays the truth.** A snapshot can be lost, damaged or forged and nothing is lost but time: a start takes the
//! newest that is whole and of this log ([`Base`]), else the one before it, and in the end reads the whole log. What it refuses, it
//! reports. Documents are not in it, only where their changes stand; they are opened when somebody wants them.
//!
//! **Taken while serving**, a bounded step at a time, each begun when the piece before is durable: so many documents, then so
//! many entries of logs. A worker compresses each piece, and it is written by the log's own effects. Nothing has to stand still
//! for that:
//! - *Documents first*, each as it stands when its turn comes (see `documents::Kept`). What it takes in later is at no document's places.
//! - *Then the moment*: in one step it is noted how far the chain and each log are durable, and what the chain says of the node. That is
//!   [`Mark`]; all that documents had is before it.
//! - *Then the logs up to there*: entries follow each other and do not change, so they may be copied while others follow.
//! - *The end* is written last, and makes it whole.
//!
//! Only a branch that moves entries to another log would make untrue what was copied: then it is abandoned, and begun anew. A start that
//! meets such a record behind a snapshot does not take it.
//!
//! **Left out: the events' chain.** It is bounded by its retention, its segments are read at each start, and expiry removes them from its
//! beginning; an index of it in a snapshot would have to follow that.
//!
//! **Invariants.** A snapshot is taken for good only when its end is durable, and only then is an older one removed. Nothing of the log
//! waits for a snapshot, and a snapshot that cannot be written does the log no harm.
//!
//! # Format
#![doc = include_str!("FORMAT.md")]

mod base;
mod file;
mod kept;
mod take;

use bincode::{Decode, Encode};
use serde::Serialize;

pub(super) use base::{Base, Missing};
pub use file::Pack;
pub(super) use kept::Snapshots;
pub use kept::{SnapshotFile, SnapshotState};
pub(super) use take::Wait;

use crate::types::{Checksum, Hlc, Lsn, NodeId, Position, SegmentId, WallTime};
use crate::wal;

/// A record of the main chain, by which its log is known again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(super) struct Mark {
    /// Segment, byte and bytes.
    pub(super) position: (SegmentId, u64, u32),
    pub(super) lsn: Lsn,
    pub(super) hlc: Hlc,
    /// Of its payload.
    pub(super) sum: u32,
}

impl Mark {
    pub(super) const fn at(position: Position, lsn: Lsn, hlc: Hlc, sum: Checksum) -> Self {
        let Position { segment, offset, len } = position;
        Self { position: (segment, offset, len), lsn, hlc, sum: sum.value() }
    }

    const fn position(&self) -> Position {
        let (segment, offset, len) = self.position;
        Position { segment, offset, len }
    }
}

/// A snapshot that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Taken {
    /// The last record of the main chain that it goes up to.
    pub lsn: Lsn,
    /// That one's stamp.
    pub at: Hlc,
    /// When it was taken, by this peer's clock.
    pub taken: WallTime,
    /// Documents that it knows, and entries of logs.
    pub documents: u64,
    /// Entries.
    pub entries: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// A snapshot that a start did not take, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Untaken {
    /// The file.
    pub file: String,
    /// What is wrong with it, in words.
    pub why: String,
}

/// The number of a snapshot's file as people read it: without what sets it apart from segments.
#[must_use]
pub const fn id_of_snapshot(number: SegmentId) -> u64 {
    number.value() & !crate::types::Family::SNAPSHOTS.value()
}

/// Reads a snapshot of a log with these segments, for whoever looks at a directory. `read` gives the bytes at a place of the log.
///
/// # Errors
/// Why a start would not take it, in words.
pub fn look_at_snapshot(
    node: NodeId,
    number: SegmentId,
    bytes: &[u8],
    segments: &[(SegmentId, u64)],
    read: impl FnOnce(Position) -> Result<Vec<u8>, String>,
) -> Result<Taken, String> {
    let mut base = Base::read(node, number, bytes, segments)?;
    let frame = wal::read_back(base.store, base.position(), &read(base.position())?.into());
    base.follows(&frame.map_err(|error| error.to_string())?)?;
    base.check()?;
    Ok(base.taken)
}

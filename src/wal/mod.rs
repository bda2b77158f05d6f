//! The log as bytes: what a node writes before it speaks, and how it is read back. No IO: bytes in, bytes out.
//!
//! It owns the format of segment files, the numbering of records and the judgement about damage. When to sync is the
//! driver's, what a record means is the node's. How bytes are compressed is here too, for whoever keeps some.
//!
//! Invariants:
//! - **LSNs are dense from 1.** A gap, a repetition or a missing segment is refused by name.
//! - **Damage before an intact record is refused and never truncated**; a damaged last write is cut and reported, since
//!   nobody can tell it from a torn one. "Intact record" is found by searching on behind the damage, not by trusting the
//!   damaged length.
//! - **A cut is durable together with the first record behind it**: damage stays in sight until the node has written who it
//!   is from now on.
//! - **A payload cannot imitate a record**: checksums are masked with a number that only this store knows, so that no
//!   document can make a boot refuse or loop.
//! - **A segment is durable before the next one's file is made.** Drivers promise it, real and simulated: an intact
//!   record in a later segment therefore proves that damage in an earlier one is not a torn write.
//!
//! # Format
#![doc = include_str!("FORMAT.md")]

mod codec;
mod error;
mod frame;
mod header;
mod scan;
mod search;
mod snapshot;
#[cfg(test)]
mod tests;
mod writer;

pub use codec::{Codec, Packed, Packer};
pub use error::{Cut, Damage, Error, Place};
pub use frame::{Frame, RECORD_MAX};
pub use header::{HEADER, owner};
pub use scan::{End, Scanned, Scanner};
pub use snapshot::SnapshotConfig;
pub use writer::{Appended, Writer, read_back};

use crate::types::{Family, SegmentId};

/// The log's settings.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Config {
    /// A segment that would grow beyond this many bytes is closed and the next one begun; a record larger than this gets a
    /// segment of its own. 16 MiB: a boot holds one segment in memory, and a read at 100 MB/s takes 0.2 s.
    pub segment_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { segment_bytes: 16 << 20 }
    }
}

/// How file names of segments end.
pub const SUFFIX: &str = ".wal";

/// How file names of snapshots end.
pub const SNAPSHOT_SUFFIX: &str = ".snap";

/// The name of a segment's file: sixteen hexadecimal digits, so that names sort as numbers do: the chains one after the other.
/// Snapshots are named the same way and end otherwise.
#[must_use]
pub fn file_name(segment: SegmentId) -> String {
    let suffix = if segment.family() == Family::Snapshot { SNAPSHOT_SUFFIX } else { SUFFIX };
    format!("{:016x}{suffix}", segment.value())
}

/// The snapshot with this file name, if it is one.
#[must_use]
pub fn snapshot_of(name: &str) -> Option<SegmentId> {
    let snapshot = SegmentId::new(u64::from_str_radix(name.strip_suffix(SNAPSHOT_SUFFIX)?, 16).ok()?);
    (snapshot > Family::SNAPSHOTS && file_name(snapshot) == name).then_some(snapshot)
}

/// The segment with this file name, if it is one.
#[must_use]
pub fn segment_of(name: &str) -> Option<SegmentId> {
    let segment = SegmentId::new(u64::from_str_radix(name.strip_suffix(SUFFIX)?, 16).ok()?);
    // Refuses what is not spelled our way: signs, capitals, other widths, and zero.
    (segment > segment.chain().origin() && file_name(segment) == name).then_some(segment)
}

//! Where bytes go: positions in the log, lanes between peers, and what a disk says when it fails.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::SegmentId;

/// Where one record stands in the log's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The segment file.
    pub segment: SegmentId,
    /// Bytes from the start of that file to the record's frame.
    pub offset: u64,
    /// Bytes of the whole frame.
    pub len: u32,
}

/// One of the log's two runs of segment files. They have one format and are made durable together; they differ in how long
/// they are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Chain {
    /// The node's own records, and all entries but those of streams. Kept whole.
    Main,
    /// Entries of streams. Its oldest segments are removed when all in them has expired.
    Events,
}

/// What a file beside the others in the log's directory is: a segment of one of the chains, or a snapshot of what they say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// A segment of a chain.
    Log(Chain),
    /// A snapshot. It can be lost: the log says all that it says.
    Snapshot,
}

/// What a segment's number has set if it is of the events' chain.
const EVENTS: u64 = 1 << 63;
/// What the number of a snapshot has set.
const SNAPSHOT: u64 = 1 << 62;

impl Family {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Log(Chain::Main), Self::Log(Chain::Events), Self::Snapshot];

    /// The number before the first snapshot's.
    pub const SNAPSHOTS: SegmentId = SegmentId::new(SNAPSHOT);
}

impl Chain {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Main, Self::Events];

    /// The number before its first segment's.
    #[must_use]
    pub const fn origin(self) -> SegmentId {
        match self {
            Self::Main => SegmentId::ZERO,
            Self::Events => SegmentId::new(EVENTS),
        }
    }
}

impl SegmentId {
    /// Which chain it is a part of: its number says so.
    #[must_use]
    pub const fn chain(self) -> Chain {
        if self.value() & EVENTS == 0 { Chain::Main } else { Chain::Events }
    }

    /// What the file of this number is.
    #[must_use]
    pub const fn family(self) -> Family {
        if self.value() & (EVENTS | SNAPSHOT) == SNAPSHOT { Family::Snapshot } else { Family::Log(self.chain()) }
    }
}

/// Which of a link's streams carries a message. Control never waits behind bulk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Small and urgent: membership, digests, requests. Frames of at most 64 KiB.
    Control,
    /// Deltas, under credit. Frames of at most 16 MiB.
    Sync,
}

/// What kind of failure a disk reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskFaultKind {
    /// No space is left: nothing of the write is kept.
    Full,
    /// A write, sync or read failed.
    Failed,
    /// An earlier write or sync failed, so this one was not tried: after a failed sync nobody knows what the disk holds.
    Poisoned,
    /// The file, or that part of it, is not there.
    Missing,
}

/// A disk operation that was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{what}: {why}")]
pub struct DiskFault {
    /// The kind, for decisions.
    pub kind: DiskFaultKind,
    /// The operation and the file, for people.
    pub what: Arc<str>,
    /// The system's own words.
    pub why: Arc<str>,
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Control => "control",
            Self::Sync => "sync",
        })
    }
}

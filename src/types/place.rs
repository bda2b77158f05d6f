//! Where bytes go: positions in the log, lanes between peers, and what a disk says when it fails.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

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

/// Which of a link's streams carries a message. Control never waits behind bulk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Small and urgent: membership, digests, requests. Frames of at most 64 KiB.
    Control,
    /// Deltas, under credit. Frames of at most 16 MiB.
    Sync,
}

/// What kind of failure a disk reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
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

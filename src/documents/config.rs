//! What an operator may turn: memory and patience. What decides whether a change is admitted is the same for every peer
//! and stands in [`admission`](super::engine), as constants.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::checks::Checks;
use super::policy::Policies;
use crate::conflict::Customs;

/// Limits of this room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Documents in one page of a scan.
    pub page_max: usize,
    /// Bytes of contents in one page of a scan, about; a page holds at least one document.
    pub page_bytes: usize,
    /// Commands that become one change of a document at most.
    pub batch_max: usize,
    /// Bytes of edits that become one change at most; a single command may be larger.
    pub batch_bytes: usize,
    /// Commands that wait at most, over all documents.
    pub waiting_max: usize,
    /// Changes in one [`Task::Apply`](super::Task::Apply) at most.
    pub apply_max: usize,
    /// Documents to which changes are applied at the same time at most.
    pub applies_max: usize,
    /// Bytes of delivered changes that wait to be applied at most; more stay in the log and are read again.
    pub inbox_bytes: usize,
    /// Changes that wait in memory for others at most; more stay in the log and are read again.
    pub orphans_max: usize,
    /// Their bytes at most.
    pub orphan_bytes: usize,
    /// How long a change waits in memory for others before it is left to the log.
    pub orphan_ttl: Duration,
    /// Bytes of closed documents in memory at most, about. Beyond it those that were not used for longest are given up, and
    /// read back from the log when they are needed. Documents that are being worked on do not count as unused.
    pub memory_bytes: usize,
    /// Documents that are read back at the same time at most.
    pub returns_max: usize,
    /// By what it is decided what shows where several values stand, as long as nothing was decided for the mesh. All peers must have the
    /// same.
    #[serde(default)]
    pub policies: Policies,
    /// Functions that make a value of those that stand at one place, by the names that policies know them by. All peers must have the
    /// same.
    #[serde(skip)]
    pub customs: Customs,
    /// What this peer finds odd in documents: told to who reads and watches here, and decides nothing.
    #[serde(skip)]
    pub checks: Checks,
    /// Of the merge engine.
    pub limits: Limits,
    /// Bytes of changes that one way through the log may gather to build documents again; a single document may have more. The
    /// rest is gathered by the next.
    pub rebuild_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            page_max: 1_000,
            page_bytes: 4 << 20,
            batch_max: 100, // Beyond 100 operations a change grows by 14 bytes an operation whatever the grouping.
            batch_bytes: 256 << 10,
            waiting_max: 10_000,
            apply_max: 1_000,
            applies_max: 64,
            inbox_bytes: 64 << 20,
            orphans_max: 10_000,
            orphan_bytes: 32 << 20,
            orphan_ttl: Duration::from_secs(600),
            memory_bytes: 64 << 20,
            returns_max: 16,
            policies: Policies::default(),
            customs: Customs::new(),
            checks: Checks::new(),
            limits: Limits::default(),
            rebuild_bytes: 64 << 20,
        }
    }
}

/// How much of the documents a merge engine keeps opened. A closed document costs its changes' bytes, which
/// [`Config::memory_bytes`] bounds, and is opened again by applying them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Opened documents at most.
    pub open_docs: usize,
    /// Operations in opened documents at most; one document may be larger.
    pub open_ops: usize,
    /// With so many changes a document's past is folded into its state; 0: never.
    pub history: usize,
}

impl Limits {
    /// The part of one engine where `count` share the room's limits.
    #[must_use]
    pub fn shared(self, count: usize) -> Self {
        Self { open_docs: (self.open_docs / count).max(1), open_ops: (self.open_ops / count).max(1), ..self }
    }
}

impl Default for Limits {
    fn default() -> Self {
        // About 31 kB a document of 100 operations and 200 bytes an operation of larger ones: some 100 MB.
        Self { open_docs: 2_000, open_ops: 400_000, history: 256 }
    }
}

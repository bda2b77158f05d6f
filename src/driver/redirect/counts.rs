//! What a redirector has done.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// Counts, as they grow.
#[derive(Debug, Default)]
pub struct Counts {
    accepted: AtomicU64,
    open: AtomicU64,
    ended: AtomicU64,
    moved: AtomicU64,
    drained: AtomicU64,
    unserved: AtomicU64,
}

/// Counts of one moment. What was accepted is open, or is counted as exactly one of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Carried {
    /// Connections that came.
    pub accepted: u64,
    /// Carried, or waiting for a holder.
    pub open: u64,
    /// Ended by themselves.
    pub ended: u64,
    /// Ended since the role had moved.
    pub moved: u64,
    /// Ended by themselves after the role had moved.
    pub drained: u64,
    /// Closed since no holder took them in time.
    pub unserved: u64,
}

/// How a connection was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Ended,
    Moved,
    Drained,
    Unserved,
}

impl Counts {
    /// These.
    #[must_use]
    pub fn read(&self) -> Carried {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Carried {
            accepted: get(&self.accepted),
            open: get(&self.open),
            ended: get(&self.ended),
            moved: get(&self.moved),
            drained: get(&self.drained),
            unserved: get(&self.unserved),
        }
    }

    /// One more came.
    pub(super) fn accept(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    /// One is over.
    pub(super) fn end(&self, end: End) {
        let count = match end {
            End::Ended => &self.ended,
            End::Moved => &self.moved,
            End::Drained => &self.drained,
            End::Unserved => &self.unserved,
        };
        count.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

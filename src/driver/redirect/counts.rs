//! What a redirector has done, and what keeps it from doing more.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

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
    refused: AtomicU64,
    filled: AtomicU64,
    trouble: Mutex<Option<Trouble>>,
}

/// A holder that took no connection when it was tried last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Who holds the role.
    pub holder: String,
    /// What each of its places did, in words: `127.0.0.1:5432 refuses connections`.
    pub why: String,
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
    /// Closed since there was no holder in time.
    pub unserved: u64,
    /// Closed since there was a holder, whose service took no connection in time.
    pub refused: u64,
}

/// How a connection was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Ended,
    Moved,
    Drained,
    Unserved,
    Refused,
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
            refused: get(&self.refused),
        }
    }

    /// The holder that takes nothing, until one takes something or another one holds the role.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        self.troubled().clone()
    }

    /// How often no more were accepted, since as many were open as may be.
    #[must_use]
    pub fn filled(&self) -> u64 {
        self.filled.load(Ordering::Relaxed)
    }

    /// No more are accepted until one is over.
    pub(super) fn fill(&self) {
        self.filled.fetch_add(1, Ordering::Relaxed);
    }

    /// A holder took nothing.
    pub(super) fn fails(&self, trouble: Trouble) {
        *self.troubled() = Some(trouble);
    }

    /// A holder took a connection.
    pub(super) fn works(&self) {
        *self.troubled() = None;
    }

    /// What another holder did is of the past.
    pub(super) fn held_by(&self, holder: Option<&str>) {
        let mut trouble = self.troubled();
        if trouble.as_ref().is_some_and(|it| Some(&*it.holder) != holder) {
            *trouble = None;
        }
    }

    fn troubled(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
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
            End::Refused => &self.refused,
        };
        count.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

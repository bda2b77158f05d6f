//! Every armed timer of the node, in one table: the host sees one deadline, so no wake-up is lost, doubled or stale.

use std::collections::{BTreeMap, BTreeSet};

use crate::types::Time;
use crate::{audit, consensus, documents, events, membership, overlay, replication, roles};

/// The name of a timer: arming it again replaces it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    Membership(membership::Timer),
    Overlay(overlay::Timer),
    Replication(replication::Timer),
    Documents(documents::Timer),
    Events(events::Timer),
    Audit(audit::Timer),
    Consensus(consensus::Timer),
    Roles(roles::Timer),
    /// Is there something to do about the voters?
    Voters,
    /// The disk was full: is there room again?
    Reopen,
    /// Has the disk answered?
    Stall,
    /// Is a snapshot due?
    Snapshot,
}

/// The table. Timers due at the same time fire in the order of their names.
#[derive(Debug, Default)]
pub(super) struct Timers {
    at: BTreeMap<Timer, Time>,
    due: BTreeSet<(Time, Timer)>,
}

impl Timers {
    pub(super) fn arm(&mut self, timer: Timer, at: Time) {
        if let Some(before) = self.at.insert(timer.clone(), at) {
            self.due.remove(&(before, timer.clone()));
        }
        self.due.insert((at, timer));
    }

    pub(super) fn disarm(&mut self, timer: Timer) {
        if let Some(at) = self.at.remove(&timer) {
            self.due.remove(&(at, timer));
        }
    }

    pub(super) fn next(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
    }

    pub(super) fn take_due(&mut self, now: Time) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        let (_, timer) = self.due.pop_first()?;
        self.at.remove(&timer);
        Some(timer)
    }
}

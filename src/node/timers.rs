//! Every armed timer of the node, in one table: the host sees one deadline, so no wake-up is lost, doubled or stale.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

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
///
/// What was armed stays in the queue when it is disarmed or armed for another time, and counts no more: `at` says what does. The
/// first of the queue always counts, and at least about half of a long one.
#[derive(Debug, Default)]
pub(super) struct Timers {
    at: BTreeMap<Timer, Time>,
    due: BinaryHeap<Reverse<(Time, Timer)>>,
}

/// A shorter queue is never looked through.
const QUEUE_MIN: usize = 64;

impl Timers {
    pub(super) fn arm(&mut self, timer: Timer, at: Time) {
        let before = self.at.insert(timer.clone(), at);
        if before == Some(at) {
            return;
        }
        self.due.push(Reverse((at, timer)));
        if before.is_some() {
            self.tidy();
        }
    }

    pub(super) fn disarm(&mut self, timer: Timer) {
        if self.at.remove(&timer).is_some() {
            self.tidy();
        }
    }

    pub(super) fn next(&self) -> Option<Time> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    pub(super) fn take_due(&mut self, now: Time) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        let Reverse((_, timer)) = self.due.pop()?;
        self.at.remove(&timer);
        self.tidy();
        Some(timer)
    }

    /// Drops what counts no more from the front of the queue. A queue that is longer by far than what is armed is made anew.
    fn tidy(&mut self) {
        let at = &self.at;
        let counts = |Reverse((when, timer)): &Reverse<(Time, Timer)>| at.get(timer) == Some(when);
        if self.due.len() > QUEUE_MIN + 2 * at.len() {
            self.due = at.iter().map(|(timer, when)| Reverse((*when, timer.clone()))).collect();
        }
        while self.due.peek().is_some_and(|first| !counts(first)) {
            self.due.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    quickcheck::quickcheck! {
        fn they_fire_in_order_each_once_at_the_last_time_it_was_armed_for(steps: Vec<(u8, u8, u8)>) -> bool {
            let names = [Timer::Voters, Timer::Reopen, Timer::Stall, Timer::Snapshot];
            let (mut timers, mut naive) = (Timers::default(), BTreeMap::new());
            steps.into_iter().enumerate().all(|(now, (what, which, after))| {
                let timer = names[usize::from(which) % names.len()].clone();
                let at = |after: u8| Time::from_nanos(now as u64 + u64::from(after % 8));
                match what % 4 {
                    0 | 1 => {
                        timers.arm(timer.clone(), at(after));
                        naive.insert(timer, at(after));
                    }
                    2 => {
                        timers.disarm(timer.clone());
                        naive.remove(&timer);
                    }
                    _ => {
                        let due = |(timer, when): (&Timer, &Time)| (*when <= at(0)).then(|| (*when, timer.clone()));
                        let first = naive.iter().filter_map(due).min().map(|(_, timer)| timer);
                        first.iter().for_each(|timer| _ = naive.remove(timer));
                        if timers.take_due(at(0)) != first {
                            return false;
                        }
                    }
                }
                timers.next() == naive.values().min().copied() && timers.due.len() <= QUEUE_MIN + 2 * naive.len() + 1
            })
        }
    }
}

//! What a leader knows of one member: how far it holds the log, what is under way to it, and when it was heard.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::vocabulary::Mark;
use crate::types::{Index, Time};

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    /// Up to here it holds our log, durably.
    pub(super) matched: Index,
    /// What it gets next.
    pub(super) next: Index,
    pub(super) pace: Pace,
    /// When it last answered.
    pub(super) heard_at: Time,
    /// The last round that it answered.
    pub(super) round: u64,
}

/// How it gets the log.
#[derive(Clone, Debug)]
pub(super) enum Pace {
    /// It is not known where its log parts from ours: one frame at a time.
    Probe {
        /// When one was sent that is not answered.
        sent: Option<Time>,
    },
    /// It follows: some frames are sent ahead. Each with where it ends and when it was sent.
    Stream(VecDeque<(Index, Time)>),
    /// It needs what is not there any more: a piece at a time.
    Snapshot {
        /// Which.
        last: Mark,
        /// Its bytes.
        bytes: Bytes,
        /// So many are there.
        upto: u64,
        /// When the piece behind was sent.
        sent: Option<Time>,
    },
    /// Not at all: the store is lost, and its node has another one.
    Gone,
}

impl Progress {
    /// Of somebody whose log is not known yet.
    pub(super) fn new(last: Index, heard_at: Time) -> Self {
        Self { matched: Index::ZERO, next: last.next(), pace: Pace::Probe { sent: None }, heard_at, round: 0 }
    }

    /// It holds the log up to here.
    pub(super) fn acknowledge(&mut self, matched: Index) {
        self.matched = self.matched.max(matched);
        self.next = self.next.max(matched.next());
        match &mut self.pace {
            Pace::Probe { .. } => self.pace = Pace::Stream(VecDeque::new()),
            Pace::Stream(inflight) => while inflight.pop_front_if(|(end, _)| *end <= matched).is_some() {},
            Pace::Snapshot { last, .. } if last.index <= matched => self.pace = Pace::Stream(VecDeque::new()),
            Pace::Snapshot { .. } | Pace::Gone => {}
        }
    }

    /// It does not hold what some entries came behind, and names where our logs may part. Whether that is news: late answers to what
    /// is settled are not.
    pub(super) fn reject(&mut self, rejected: Index, parted: Index) -> bool {
        let is_news = match &self.pace {
            Pace::Probe { .. } => rejected.next() == self.next,
            Pace::Stream(_) => rejected > self.matched,
            Pace::Snapshot { .. } | Pace::Gone => false,
        };
        let next = parted.next().min(rejected).max(self.matched.next());
        // A member that rejects what it acknowledged finds that out by itself; asking again would go on for ever.
        if !is_news || (next == self.next && matches!(self.pace, Pace::Probe { .. })) {
            return false;
        }
        self.next = next;
        self.pace = Pace::Probe { sent: None };
        true
    }

    /// What was sent so long ago without an answer is taken for lost.
    pub(super) fn forget_lost(&mut self, now: Time, resend: Duration) {
        let is_lost = |sent: Time| now.since(sent) >= resend;
        match &mut self.pace {
            Pace::Probe { sent } => *sent = sent.filter(|sent| !is_lost(*sent)),
            // It may have lost the pieces that it had, and says how far it is when it gets one.
            Pace::Snapshot { sent, upto, .. } if sent.is_some_and(is_lost) => (*sent, *upto) = (None, 0),
            Pace::Snapshot { .. } | Pace::Gone => {}
            Pace::Stream(inflight) => {
                if inflight.front().is_some_and(|(_, sent)| is_lost(*sent)) {
                    self.next = self.matched.next();
                    self.pace = Pace::Probe { sent: None };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress() -> Progress {
        Progress::new(Index::new(10), Time::ZERO)
    }

    #[test]
    fn a_probe_that_is_answered_becomes_a_stream() {
        let mut progress = progress();
        assert!(progress.reject(Index::new(10), Index::new(4)));
        assert_eq!((progress.next, progress.matched), (Index::new(5), Index::ZERO));
        assert!(!progress.reject(Index::new(10), Index::new(2)), "an answer to another frame");
        progress.acknowledge(Index::new(7));
        assert!(matches!(progress.pace, Pace::Stream(_)) && progress.next == Index::new(8));
        assert!(!progress.reject(Index::new(7), Index::ZERO), "what is held is not held any more");
    }

    #[test]
    fn what_is_not_answered_is_sent_again() {
        let mut progress = progress();
        progress.acknowledge(Index::new(10));
        progress.next = Index::new(13);
        progress.pace = Pace::Stream([(Index::new(12), Time::from_nanos(5))].into());
        progress.forget_lost(Time::from_nanos(14), Duration::from_nanos(10));
        assert_eq!(progress.next, Index::new(13));
        progress.forget_lost(Time::from_nanos(15), Duration::from_nanos(10));
        assert_eq!(progress.next, Index::new(11));
        assert!(matches!(progress.pace, Pace::Probe { sent: None }));
    }

    #[test]
    fn a_probe_always_goes_back_or_ends() {
        let mut progress = progress();
        for _ in 0..20 {
            let before = progress.next;
            progress.reject(Index::new(before.value() - 1), Index::new(99));
            assert!(progress.next < before || progress.next == Index::new(1), "{before}");
        }
        assert_eq!(progress.next, Index::new(1));
    }
}

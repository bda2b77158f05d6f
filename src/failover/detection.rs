//! Whether the holder of a role is alive, as its leader sees it: by its renewals, and sooner by hints.

#[cfg(feature = "net")]
pub use crate::managers::failover::detection::{FailureDetection, FailureDetector, HealthStatus};

use super::FailoverLimits;
use crate::types::Time;

/// What is believed of a holder. It is a reason to look for another one, and none to start another one: for that the lease has to be
/// over, or given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It renews.
    Alive,
    /// A renewal is missing, or membership suspects it.
    Suspect,
    /// Too many are, or its link is closed, or it is silent and suspected.
    Dead,
}

/// Watches one holder.
#[derive(Clone, Debug)]
pub struct HolderWatch {
    config: FailoverLimits,
    heard_at: Time,
    /// It renewed at least once.
    has_begun: bool,
    suspected: bool,
    unlinked: bool,
}

impl HolderWatch {
    /// Of a holder of whom nothing was heard yet; the time counts from [`begin`](Self::begin).
    #[must_use]
    pub fn new(config: FailoverLimits) -> Self {
        Self { config, heard_at: Time::ZERO, has_begun: false, suspected: false, unlinked: false }
    }

    /// Counts from now on. One that was granted the role just now has longer to begin than one that had.
    pub fn begin(&mut self, now: Time, has_begun: bool) {
        (self.heard_at, self.has_begun, self.suspected, self.unlinked) = (now, has_begun, false, false);
    }

    /// It renewed: whatever was said against it is not so.
    pub fn heard(&mut self, now: Time) {
        self.begin(now, true);
    }

    /// Its link is closed: a killed process's connections are closed at once.
    pub fn unlinked(&mut self) {
        self.unlinked = true;
    }

    /// Membership suspects it.
    pub fn suspected(&mut self) {
        self.suspected = true;
    }

    /// Whether it ever renewed.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// When it was last heard.
    #[must_use]
    pub fn heard_at(&self) -> Time {
        self.heard_at
    }

    /// What is to be believed.
    #[must_use]
    pub fn verdict(&self, now: Time) -> Verdict {
        let silent = now.since(self.heard_at);
        let is_late = silent > 2 * self.config.heartbeat;
        let patience = if self.has_begun { self.config.dead_after } else { self.config.promotion_timeout };
        if self.unlinked || silent > patience || (is_late && self.suspected) {
            Verdict::Dead
        } else if (is_late && self.has_begun) || self.suspected {
            Verdict::Suspect
        } else {
            Verdict::Alive
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(ms: u64) -> Time {
        Time::ZERO + Duration::from_millis(ms)
    }

    fn watching() -> HolderWatch {
        let mut detector = HolderWatch::new(FailoverLimits::default());
        detector.heard(at(1_000));
        detector
    }

    #[test]
    fn silence_is_suspect_then_dead() {
        let verdicts = [1_100, 1_101, 1_150, 1_151].map(|ms| watching().verdict(at(ms)));
        assert_eq!(verdicts, [Verdict::Alive, Verdict::Suspect, Verdict::Suspect, Verdict::Dead]);
    }

    #[test]
    fn hints_are_believed_until_it_is_heard() {
        let mut detector = watching();
        detector.suspected();
        assert_eq!((detector.verdict(at(1_001)), detector.verdict(at(1_101))), (Verdict::Suspect, Verdict::Dead));
        detector.unlinked();
        assert_eq!(detector.verdict(at(1_001)), Verdict::Dead);
        detector.heard(at(1_002));
        assert_eq!(detector.verdict(at(1_003)), Verdict::Alive);
    }

    #[test]
    fn who_is_to_begin_has_longer() {
        let mut detector = HolderWatch::new(FailoverLimits::default());
        detector.begin(at(1_000), false);
        assert_eq!((detector.verdict(at(2_000)), detector.verdict(at(2_001))), (Verdict::Alive, Verdict::Dead));
    }
}

//! How much one peer may send: a debt that is paid off at a rate. Who is in debt is not read for as long, so that the transport
//! holds the sender back and nothing is lost; who stays in debt is not only busy.

use std::time::{Duration, Instant};

/// A rate, and how much may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// So many units a second.
    pub per_second: u32,
    /// So many at once, after a pause.
    pub burst: u32,
}

/// What one peer has sent of one kind.
#[derive(Debug)]
pub(super) struct Meter {
    rate: Rate,
    /// What may still come, in millionths of a unit; below zero it is a debt.
    left: i64,
    filled_at: Instant,
}

const MILLION: i64 = 1_000_000;

impl Meter {
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, left: i64::from(rate.burst) * MILLION, filled_at: now }
    }

    /// Counts what came. Gives how long to wait before more is read.
    pub(super) fn count(&mut self, units: usize, now: Instant) -> Duration {
        let per_second = i64::from(self.rate.per_second.max(1));
        let micros = i64::try_from(now.saturating_duration_since(self.filled_at).as_micros()).unwrap_or(i64::MAX);
        let full = i64::from(self.rate.burst) * MILLION;
        self.left = self.left.saturating_add(micros.saturating_mul(per_second)).min(full);
        self.filled_at = now;
        let units = i64::try_from(units).unwrap_or(i64::MAX);
        self.left = self.left.saturating_sub(units.saturating_mul(MILLION));
        Duration::from_micros(self.left.min(0).unsigned_abs() / per_second.unsigned_abs())
    }
}

/// Since when a peer has been in debt without a pause.
#[derive(Debug, Default)]
pub(super) struct Debt {
    since: Option<Instant>,
    /// Waiting pays everything off, so that a moment without a debt says nothing.
    last: Option<Instant>,
}

impl Debt {
    /// Notes whether there is one; gives for how long there has been.
    pub(super) fn note(&mut self, in_debt: bool, now: Instant) -> Duration {
        let recent = self.last.is_some_and(|last| now.saturating_duration_since(last) < Duration::from_secs(1));
        if in_debt {
            self.last = Some(now);
        }
        if !in_debt && !recent {
            self.since = None;
        } else if in_debt {
            self.since.get_or_insert(now);
        }
        self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_more_is_paid_off_at_the_rate() {
        let now = Instant::now();
        let mut meter = Meter::new(Rate { per_second: 100, burst: 50 }, now);
        assert_eq!(meter.count(50, now), Duration::ZERO);
        assert_eq!(meter.count(10, now), Duration::from_millis(100));
        assert_eq!(meter.count(0, now + Duration::from_millis(60)), Duration::from_millis(40));
        let later = now + Duration::from_secs(60);
        assert_eq!(meter.count(50, later), Duration::ZERO, "a pause fills it, and no further than the burst");
        assert_eq!(meter.count(1, later), Duration::from_millis(10));
        assert!(meter.count(usize::MAX, later) > Duration::from_secs(1_000_000), "no overflow");
    }

    #[test]
    fn a_debt_lasts_until_there_was_none_for_a_second() {
        let (mut debt, start) = (Debt::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(debt.note(false, at(0)), Duration::ZERO);
        assert_eq!(debt.note(true, at(100)), Duration::ZERO);
        assert_eq!(debt.note(false, at(900)), Duration::from_millis(800));
        assert_eq!(debt.note(true, at(1000)), Duration::from_millis(900));
        assert_eq!(debt.note(false, at(2100)), Duration::ZERO);
        assert_eq!(debt.note(true, at(2200)), Duration::ZERO);
    }
}

//! How much passed in the last minute: counted in seconds, without a timer.

use std::time::Duration;

use crate::types::Time;

/// Seconds that are looked back on.
const SECONDS: usize = 60;

/// Counts of the last [`Rate::WINDOW`], in whole seconds of the monotonic clock.
#[derive(Clone, Debug)]
pub struct Rate {
    /// Count, and which second it is of.
    buckets: [(u64, u64); SECONDS],
}

impl Default for Rate {
    fn default() -> Self {
        Self { buckets: [(0, u64::MAX); SECONDS] }
    }
}

impl Rate {
    /// How far back it looks.
    pub const WINDOW: Duration = Duration::from_secs(SECONDS as u64);

    /// So much passed just now.
    pub fn add(&mut self, now: Time, count: u64) {
        let second = second(now);
        let bucket = &mut self.buckets[usize::try_from(second % SECONDS as u64).expect("below the window")];
        if bucket.1 != second {
            *bucket = (0, second);
        }
        bucket.0 = bucket.0.saturating_add(count);
    }

    /// How much a second, on the mean of the window, or of the time since the start if that is shorter.
    #[must_use]
    pub fn per_second(&self, now: Time) -> u64 {
        let this = second(now);
        let within = |of: u64| of <= this && this - of < SECONDS as u64;
        let sum = self.buckets.iter().filter(|(_, of)| within(*of)).fold(0, |sum: u64, (n, _)| sum.saturating_add(*n));
        sum / (this + 1).min(SECONDS as u64)
    }
}

fn second(now: Time) -> u64 {
    now.as_nanos() / 1_000_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Time {
        Time::from_nanos(second * 1_000_000_000)
    }

    #[test]
    fn what_is_older_than_the_window_does_not_count() {
        let mut rate = Rate::default();
        (0..200).for_each(|second| rate.add(at(second), 6));
        assert_eq!(rate.per_second(at(199)), 6);
        assert_eq!(rate.per_second(at(199 + 30)), 3, "half of the window was quiet");
        assert_eq!(rate.per_second(at(199 + 60)), 0);
    }

    #[test]
    fn a_young_process_divides_by_its_age() {
        let mut rate = Rate::default();
        rate.add(at(0), 10);
        rate.add(at(1), 10);
        assert_eq!(rate.per_second(at(1)), 10);
    }
}

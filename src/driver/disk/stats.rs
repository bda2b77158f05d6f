//! What the disk did, and how long its syncs took.

use std::time::Duration;

use serde::Serialize;

/// What was done since the opening.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Writes answered as durable.
    pub writes: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Syncs of segment files: group commit shows in `writes / syncs`.
    pub syncs: u64,
    /// Half of these syncs took at most so long, to the microsecond bucket (12 % wide at most).
    pub sync_p50: Duration,
    /// 99 of 100 took at most so long.
    pub sync_p99: Duration,
    /// Set when the log takes no writes until it is opened anew.
    pub poisoned: bool,
}

/// Buckets of durations in microseconds: eight for each doubling, so none is wider than an eighth of its lower bound.
const BUCKETS: usize = 8 * 40;

#[derive(Debug)]
pub(super) struct Tally {
    pub(super) writes: u64,
    pub(super) bytes: u64,
    pub(super) poisoned: bool,
    syncs: u64,
    buckets: [u64; BUCKETS],
}

impl Default for Tally {
    fn default() -> Self {
        Self { writes: 0, bytes: 0, poisoned: false, syncs: 0, buckets: [0; BUCKETS] }
    }
}

impl Tally {
    pub(super) fn synced(&mut self, took: Duration) {
        self.syncs += 1;
        self.buckets[bucket(took)] += 1;
    }

    pub(super) fn stats(&self) -> Stats {
        let Self { writes, bytes, poisoned, syncs, .. } = *self;
        Stats { writes, bytes, syncs, sync_p50: self.quantile(50), sync_p99: self.quantile(99), poisoned }
    }

    fn quantile(&self, percent: u64) -> Duration {
        let rank = (self.syncs * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let reached = self.buckets.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        reached.map_or(Duration::ZERO, upper)
    }
}

/// Values below 8 have a bucket each; above, the three bits after the leading one choose among eight.
fn bucket(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let index = match micros.checked_ilog2() {
        None | Some(0..=2) => micros,
        Some(octave) => u64::from(octave - 2) * 8 + (micros >> (octave - 3)) % 8,
    };
    usize::try_from(index).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// The largest duration in a bucket.
fn upper(bucket: usize) -> Duration {
    let (octave, part) = (bucket / 8, bucket as u64 % 8);
    Duration::from_micros(match octave {
        0 => part,
        octave => ((8 + part + 1) << (octave - 1)) - 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    quickcheck::quickcheck! {
        fn a_bucket_is_at_most_an_eighth_wide(micros: u32) -> bool {
            let upper = upper(bucket(Duration::from_micros(u64::from(micros)))).as_micros();
            let micros = u128::from(micros);
            micros <= upper && upper <= micros + micros / 8
        }
    }

    #[test]
    fn quantiles_are_those_of_what_was_counted() {
        let mut tally = Tally::default();
        assert_eq!(tally.stats().sync_p99, Duration::ZERO);
        (1..=98).for_each(|_| tally.synced(Duration::from_micros(3)));
        (1..=2).for_each(|_| tally.synced(Duration::from_micros(7)));
        let Stats { sync_p50, sync_p99, syncs, .. } = tally.stats();
        assert_eq!((sync_p50.as_micros(), sync_p99.as_micros(), syncs), (3, 7, 100));
    }
}

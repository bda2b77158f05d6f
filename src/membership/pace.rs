//! How long an answer may take: measured round trips, as RFC 6298 has it for one connection, here for all probes of a node.
//! A timeout made for the slowest network would be most of the time that a silent crash takes to be seen in a fast one.

use std::time::Duration;

/// An answer is waited for this many of the longest round trip seen lately.
const ROUND_TRIPS: u32 = 3;
/// No timeout is shorter: a host that is busy answers late. TCP's own least retransmission timeout in Linux.
const FLOOR: Duration = Duration::from_millis(200);
/// Probes that are "lately", once and up to twice.
const SAMPLES: u32 = 32;

/// The longest round trips of late: a maximum over a window, which is the 97th percentile or above of 32 to 64 probes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    longest: Duration,
    longest_before: Option<Duration>,
    samples: u32,
}

impl Pace {
    /// A ping was answered after this long.
    pub(super) fn saw(&mut self, round_trip: Duration) {
        self.longest = self.longest.max(round_trip);
        self.samples += 1;
        if self.samples == SAMPLES {
            *self = Self { longest_before: Some(self.longest), ..Self::default() };
        }
    }

    /// How long to wait for an answer; `longest` until enough was seen, and never more.
    pub(super) fn timeout(&self, longest: Duration) -> Duration {
        self.longest_before.map_or(longest, |before| {
            let measured = self.longest.max(before) * ROUND_TRIPS;
            measured.max(FLOOR).min(longest)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_follows_the_slowest_of_late_within_bounds() {
        let (ms, longest) = (Duration::from_millis, Duration::from_millis(500));
        let mut pace = Pace::default();
        for _ in 1..SAMPLES {
            pace.saw(ms(20));
            assert_eq!(pace.timeout(longest), longest, "too little was seen");
        }
        pace.saw(ms(20));
        assert_eq!(pace.timeout(longest), ms(200));
        pace.saw(ms(90));
        assert_eq!(pace.timeout(longest), ms(270));
        pace.saw(ms(400));
        assert_eq!(pace.timeout(longest), longest);
        for _ in 0..2 * SAMPLES {
            pace.saw(ms(20));
        }
        assert_eq!(pace.timeout(longest), ms(200), "what was long ago is forgotten");
        assert_eq!(pace.timeout(ms(100)), ms(100), "a profile for one machine keeps its own");
    }
}

//! Each node's two clocks, as they differ from true time. True time is visible to the simulator alone.

use crate::types::{Now, Time, WallTime};

/// A monotonic clock that may run fast or slow and a wall clock that may also jump.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    /// True time and monotonic reading when the rate last changed.
    since: (u64, u64),
    /// Parts per million that the monotonic clock gains.
    drift_ppm: i32,
    /// Microseconds to add to the monotonic reading for wall time.
    wall_offset_us: u64,
}

/// 2026-01-01T00:00:00Z, where simulated wall clocks begin.
const WALL_START_US: u64 = 1_767_225_600_000_000;

/// Most that a clock may drift: beyond it the conversions would lose their meaning.
pub(super) const DRIFT_MAX_PPM: i32 = 100_000;

impl Clock {
    /// A clock that shows `mono_start` nanoseconds at true time zero and is `wall_skew_us` ahead of true wall time.
    pub(super) fn new(mono_start: u64, wall_skew_us: i64) -> Self {
        let wall_offset_us = WALL_START_US.saturating_add_signed(wall_skew_us) - mono_start / 1_000;
        Self { since: (0, mono_start), drift_ppm: 0, wall_offset_us }
    }

    /// What it shows at true time `at`.
    pub(super) fn read(&self, at: u64) -> Now {
        let mono = self.mono(at);
        Now { mono: Time::from_nanos(mono), wall: WallTime::from_micros(mono / 1_000 + self.wall_offset_us) }
    }

    /// The first true time at which the monotonic clock shows `deadline` or more; `at` if it does already.
    pub(super) fn when(&self, deadline: Time, at: u64) -> u64 {
        let ahead = deadline.as_nanos().saturating_sub(self.since.1);
        let true_ahead = if self.drift_ppm == 0 {
            ahead
        } else {
            let scaled = (u128::from(ahead) * 1_000_000).div_ceil(u128::from(self.rate()));
            u64::try_from(scaled).unwrap_or(u64::MAX)
        };
        self.since.0.saturating_add(true_ahead).max(at)
    }

    /// Lets it gain or lose from now on.
    pub(super) fn drift(&mut self, at: u64, ppm: i32) {
        self.since = (at, self.mono(at));
        self.drift_ppm = ppm.clamp(-DRIFT_MAX_PPM, DRIFT_MAX_PPM);
    }

    /// Lets the wall clock jump.
    pub(super) fn step(&mut self, by_us: i64) {
        self.wall_offset_us = self.wall_offset_us.saturating_add_signed(by_us);
    }

    fn mono(&self, at: u64) -> u64 {
        let elapsed = at - self.since.0;
        if self.drift_ppm == 0 {
            return self.since.1 + elapsed;
        }
        let scaled = u128::from(elapsed) * u128::from(self.rate()) / 1_000_000;
        self.since.1 + u64::try_from(scaled).expect("a run is shorter than 2^63 nanoseconds")
    }

    fn rate(&self) -> u32 {
        1_000_000_u32.saturating_add_signed(self.drift_ppm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    quickcheck::quickcheck! {
        fn a_deadline_is_reached_when_it_is_said_to_be_and_not_before(drift: i16, start: u32, at: u32, ahead: u32) -> bool {
            let mut clock = Clock::new(u64::from(start), 0);
            clock.drift(u64::from(at), i32::from(drift));
            let at = u64::from(at);
            let deadline = Time::from_nanos(clock.read(at).mono.as_nanos() + u64::from(ahead));
            let when = clock.when(deadline, at);
            clock.read(when).mono >= deadline && (when == at || clock.read(when - 1).mono < deadline)
        }

        fn the_monotonic_clock_never_goes_back(drifts: Vec<(i16, u16)>) -> bool {
            let (mut clock, mut at, mut last) = (Clock::new(5, 0), 0, Time::ZERO);
            drifts.iter().all(|(ppm, after)| {
                at += u64::from(*after);
                clock.drift(at, i32::from(*ppm));
                let mono = clock.read(at).mono;
                std::mem::replace(&mut last, mono) <= mono
            })
        }
    }

    #[test]
    fn the_wall_clock_jumps_and_the_monotonic_one_does_not() {
        let mut clock = Clock::new(1_000_000_000, 250_000);
        let before = clock.read(10);
        clock.step(-1_000_000);
        let after = clock.read(10);
        assert_eq!(after.mono, before.mono);
        assert_eq!(after.wall.as_micros() + 1_000_000, before.wall.as_micros());
    }
}

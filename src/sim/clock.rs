//! Each node's two clocks, as they differ from true time. True time is visible to the simulator alone.

use crate::types::{Now, Time, WallTime};

/// A monotonic clock that may run fast or slow, and a wall clock that may jump, and run apart from it.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    /// True time and both readings, in nanoseconds and microseconds, when a rate last changed.
    since: (u64, u64, u64),
    rates: Rates,
}

/// How a node's clocks run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rates {
    /// Parts per million that the monotonic clock gains on true time.
    pub(super) mono_ppm: i32,
    /// Parts per million that the wall clock gains on the monotonic one.
    pub(super) wall_ppm: i32,
    /// Neither runs.
    pub(super) frozen: bool,
    /// The wall clock does not run.
    pub(super) wall_frozen: bool,
}

/// 2026-01-01T00:00:00Z, where simulated wall clocks begin.
const WALL_START_US: u64 = 1_767_225_600_000_000;

/// Most that a clock may drift: beyond it the conversions would lose their meaning.
pub(super) const DRIFT_MAX_PPM: i32 = 100_000;

impl Clock {
    /// A clock that shows `mono_start` nanoseconds at true time zero and is `wall_skew_us` ahead of true wall time.
    pub(super) fn new(mono_start: u64, wall_skew_us: i64) -> Self {
        Self { since: (0, mono_start, WALL_START_US.saturating_add_signed(wall_skew_us)), rates: Rates::default() }
    }

    /// What it shows at true time `at`.
    pub(super) fn read(&self, at: u64) -> Now {
        let mono = self.mono(at);
        Now { mono: Time::from_nanos(mono), wall: WallTime::from_micros(self.wall(mono)) }
    }

    /// The first true time at which the monotonic clock shows `deadline` or more; `at` if it does already. Never, while it is
    /// frozen: then far in the future.
    pub(super) fn when(&self, deadline: Time, at: u64) -> u64 {
        let ahead = deadline.as_nanos().saturating_sub(self.since.1);
        let true_ahead = match self.rates {
            Rates { frozen: true, .. } if deadline.as_nanos() > self.since.1 => return u64::MAX,
            Rates { mono_ppm: 0, .. } => ahead,
            _ => {
                let scaled = (u128::from(ahead) * 1_000_000).div_ceil(u128::from(rate(self.rates.mono_ppm)));
                u64::try_from(scaled).unwrap_or(u64::MAX)
            }
        };
        self.since.0.saturating_add(true_ahead).max(at)
    }

    /// Lets both run otherwise from now on.
    pub(super) fn run(&mut self, at: u64, rates: Rates) {
        let mono = self.mono(at);
        self.since = (at, mono, self.wall(mono));
        let within = |ppm: i32| ppm.clamp(-DRIFT_MAX_PPM, DRIFT_MAX_PPM);
        self.rates = Rates { mono_ppm: within(rates.mono_ppm), wall_ppm: within(rates.wall_ppm), ..rates };
    }

    /// Lets the wall clock jump.
    pub(super) fn step(&mut self, by_us: i64) {
        self.since.2 = self.since.2.saturating_add_signed(by_us);
    }

    fn mono(&self, at: u64) -> u64 {
        let elapsed = if self.rates.frozen { 0 } else { at - self.since.0 };
        self.since.1 + scaled(elapsed, self.rates.mono_ppm)
    }

    fn wall(&self, mono: u64) -> u64 {
        let elapsed = if self.rates.wall_frozen { 0 } else { mono / 1_000 - self.since.1 / 1_000 };
        self.since.2 + scaled(elapsed, self.rates.wall_ppm)
    }
}

fn scaled(elapsed: u64, ppm: i32) -> u64 {
    if ppm == 0 {
        return elapsed;
    }
    let scaled = u128::from(elapsed) * u128::from(rate(ppm)) / 1_000_000;
    u64::try_from(scaled).expect("a run is shorter than 2^63 nanoseconds")
}

fn rate(ppm: i32) -> u32 {
    1_000_000_u32.saturating_add_signed(ppm)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drifting(ppm: i16) -> Rates {
        Rates { mono_ppm: i32::from(ppm), ..Rates::default() }
    }

    quickcheck::quickcheck! {
        fn a_deadline_is_reached_when_it_is_said_to_be_and_not_before(drift: i16, start: u32, at: u32, ahead: u32) -> bool {
            let mut clock = Clock::new(u64::from(start), 0);
            clock.run(u64::from(at), drifting(drift));
            let at = u64::from(at);
            let deadline = Time::from_nanos(clock.read(at).mono.as_nanos() + u64::from(ahead));
            let when = clock.when(deadline, at);
            clock.read(when).mono >= deadline && (when == at || clock.read(when - 1).mono < deadline)
        }

        fn the_monotonic_clock_never_goes_back(drifts: Vec<(i16, u16)>) -> bool {
            let (mut clock, mut at, mut last) = (Clock::new(5, 0), 0, Time::ZERO);
            drifts.iter().all(|(ppm, after)| {
                at += u64::from(*after);
                clock.run(at, drifting(*ppm));
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

    #[test]
    fn wall_and_monotonic_clock_run_apart() {
        const SECOND: u64 = 1_000_000_000;
        let passed = |rates| {
            let mut clock = Clock::new(7, 0);
            clock.run(SECOND, rates);
            let (from, to) = (clock.read(SECOND), clock.read(11 * SECOND));
            (to.mono.as_nanos() - from.mono.as_nanos(), to.wall.as_micros() - from.wall.as_micros())
        };
        let rates = Rates::default();
        assert_eq!(passed(rates), (10_000_000_000, 10_000_000));
        assert_eq!(passed(Rates { wall_ppm: -1_000, ..rates }), (10_000_000_000, 9_990_000));
        assert_eq!(passed(Rates { wall_frozen: true, ..rates }), (10_000_000_000, 0));
        assert_eq!(passed(Rates { mono_ppm: 50_000, ..rates }), (10_500_000_000, 10_500_000));
        assert_eq!(passed(Rates { frozen: true, ..rates }), (0, 0));
    }

    #[test]
    fn a_frozen_clock_reaches_no_deadline_and_goes_on_where_it_stood() {
        let mut clock = Clock::new(0, 0);
        clock.run(5, Rates { frozen: true, ..Rates::default() });
        assert_eq!(clock.when(Time::from_nanos(6), 100), u64::MAX);
        assert_eq!(clock.when(Time::from_nanos(5), 100), 100);
        clock.run(1_000, Rates::default());
        assert_eq!(clock.when(Time::from_nanos(6), 1_000), 1_001);
    }
}

//! Both clocks of the host, read once for each input.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::types::{Now, Time, WallTime};

/// Reads the clocks. The monotonic origin is the moment of its making. Clones are one clock.
#[derive(Clone, Debug)]
pub struct Clock {
    origin: Instant,
    /// By how much wall time is ahead of the host's, in microseconds.
    ahead_us: Arc<AtomicU64>,
}

impl Clock {
    /// A clock that starts at [`Time::ZERO`] now.
    #[must_use]
    pub fn start() -> Self {
        Self { origin: Instant::now(), ahead_us: Arc::default() }
    }

    /// Moves wall time ahead, for this clock and its clones: a rehearsal of what happens after a week need not take one.
    /// Monotonic time goes on as it did.
    pub fn advance(&self, by: Duration) {
        self.ahead_us.fetch_add(micros(by), Ordering::Relaxed);
    }

    /// Both clocks. A wall clock set before 1970 reads as the epoch.
    #[must_use]
    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            mono: Time::from_nanos(nanos(self.origin.elapsed())),
            wall: WallTime::from_micros(micros(wall).saturating_add(self.ahead_us.load(Ordering::Relaxed))),
        }
    }

    /// The host's name for a point of the node's time; `None` if it lies beyond what the host can name.
    #[must_use]
    pub fn instant(&self, at: Time) -> Option<Instant> {
        self.origin.checked_add(Duration::from_nanos(at.as_nanos()))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_and_names_the_hosts_instants() {
        let clock = Clock::start();
        let first = clock.now();
        let second = clock.now();
        assert!(second.mono >= first.mono);
        assert!(first.wall > WallTime::from_micros(1_700_000_000_000_000), "the wall clock of this host is far off");
        let later = clock.instant(second.mono + Duration::from_secs(1)).expect("a second from now has a name");
        assert!(later > Instant::now());
    }

    #[test]
    fn a_rehearsal_moves_wall_time_alone() {
        let clock = Clock::start();
        let before = clock.now();
        clock.clone().advance(Duration::from_hours(24));
        let after = clock.now();
        assert!(after.wall.as_micros() - before.wall.as_micros() >= 86_400_000_000);
        assert!(after.mono.since(before.mono) < Duration::from_hours(1));
    }
}

//! What a run costs: the time that its thread had a core, since other programs share the cores.

use std::time::{Duration, Instant};

/// Reads what the calling thread used, from now on.
pub(super) struct Meter {
    began: Instant,
    used: Option<Duration>,
}

impl Meter {
    pub(super) fn start() -> Self {
        Self { began: Instant::now(), used: used() }
    }

    /// Of a core since the start; where the system does not tell threads apart, the wall's time.
    pub(super) fn took(&self) -> Duration {
        let used = self.used.and_then(|before| used()?.checked_sub(before));
        used.unwrap_or_else(|| self.began.elapsed())
    }
}

/// What this thread has had of a core since it began. Linux: nanoseconds, the first number of the file.
fn used() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    stat.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

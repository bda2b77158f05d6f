//! Where a role stands in a failover, and how long those before took.

use std::time::Duration;

use bincode::{Decode, Encode};
use serde::Serialize;

/// Where a role stands, as its leader sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FailoverState {
    /// It is held, and the holder renews; or nobody is to hold it.
    #[default]
    Normal,
    /// A renewal is missing.
    Detecting,
    /// A successor is looked for, and the old lease is waited out.
    Electing,
    /// It is granted; the new holder has not begun, or the hooks that begin its work run.
    Promoting,
    /// The new holder's hooks are done; that it has begun is written down, by which clients are sent to it everywhere.
    Redirecting,
    /// That is decided.
    Complete,
    /// It goes back to who is preferred.
    Failback,
}

/// How long failovers took, from the first sign of trouble until the new holder was ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct FailoverStatistics {
    /// How many.
    pub count: u64,
    /// All together, in microseconds.
    pub total_us: u64,
    /// The shortest, in microseconds.
    pub min_us: u64,
    /// The longest, in microseconds.
    pub max_us: u64,
    /// The last, in microseconds.
    pub last_us: u64,
}

impl FailoverStatistics {
    /// One more.
    pub fn add(&mut self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.min_us = if self.count == 0 { took } else { self.min_us.min(took) };
        self.max_us = self.max_us.max(took);
        self.last_us = took;
        self.count = self.count.saturating_add(1);
        self.total_us = self.total_us.saturating_add(took);
    }

    /// The mean, in microseconds; nothing before the first.
    #[must_use]
    pub fn average_us(&self) -> Option<u64> {
        self.total_us.checked_div(self.count)
    }
}

#[test]
fn the_figures_are_those_of_all() {
    let mut statistics = FailoverStatistics::default();
    assert_eq!(statistics.average_us(), None);
    for us in [30, 10, 20] {
        statistics.add(Duration::from_micros(us));
    }
    assert_eq!((statistics.min_us, statistics.max_us, statistics.last_us), (10, 30, 20));
    assert_eq!((statistics.count, statistics.average_us()), (3, Some(20)));
}

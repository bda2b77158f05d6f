//! What an operator may turn: memory, disk, and how long events are kept.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Name;

/// Limits of this room. The defaults are for a box with 512 MB of memory and an SD card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Streams that are indexed at most.
    pub streams_max: usize,
    /// Bytes of events that are gathered for one entry while another is on its way to the disk; a single append may be
    /// larger.
    pub batch_bytes: usize,
    /// Appends that wait for the disk at most, over all streams.
    pub waiting_max: usize,
    /// Their bytes at most.
    pub waiting_bytes: usize,
    /// Bytes of the newest entries kept in memory for readers.
    pub cache_bytes: usize,
    /// Events in one page at most.
    pub page_max: usize,
    /// Bytes of events in one page, about; a page holds at least one entry.
    pub page_bytes: usize,
    /// Reads that wait for the disk at most.
    pub reads_max: usize,
    /// Entries that are indexed at most, some 100 bytes each; beyond, the oldest segment expires.
    pub entries_max: u64,
    /// Bytes of all streams on the disk, about; beyond, the oldest segment expires.
    pub total_bytes: u64,
    /// How often age is looked at.
    pub retention_tick: Duration,
    /// How long events are kept, of streams for which nothing else is said.
    pub retention: Retention,
    /// The same for streams whose names begin so; the longest beginning counts.
    pub retention_of: Vec<(String, Retention)>,
}

/// How long the events of a stream are kept: until one of the limits is passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// By their stamps.
    pub age: Option<Duration>,
    /// Bytes of events.
    pub bytes: Option<u64>,
    /// Number of events.
    pub count: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            streams_max: 4_096,
            batch_bytes: 256 << 10, // Beyond, nothing is gained: hashing and framing cost by the byte.
            waiting_max: 10_000,
            waiting_bytes: 32 << 20,
            cache_bytes: 4 << 20,
            page_max: 10_000,
            page_bytes: 1 << 20,
            reads_max: 256,
            entries_max: 500_000,
            total_bytes: 256 << 20,
            retention_tick: Duration::from_secs(10),
            retention: Retention { age: Some(Duration::from_hours(7 * 24)), bytes: Some(64 << 20), count: None },
            retention_of: Vec::new(),
        }
    }
}

impl Config {
    /// How long the events of this stream are kept.
    #[must_use]
    pub fn retention_of(&self, stream: &Name) -> Retention {
        let fits = self.retention_of.iter().filter(|(prefix, _)| stream.as_str().starts_with(prefix.as_str()));
        fits.max_by_key(|(prefix, _)| prefix.len()).map_or(self.retention, |(_, retention)| *retention)
    }
}

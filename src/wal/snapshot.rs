//! When snapshots of what the log says are taken, and how many are kept. What they are is the node's.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Codec;

/// When snapshots are taken, whichever is first, and how many are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotConfig {
    /// So long after the one before, if there is anything worth it by then.
    pub every: Duration,
    /// When the main chain has grown by so many bytes.
    pub bytes: u64,
    /// When it has grown by so many records.
    pub records: u64,
    /// How many whole ones are kept; none are taken at 0.
    pub keep: usize,
    /// How they are compressed.
    pub codec: Codec,
}

impl Default for SnapshotConfig {
    fn default() -> Self {
        let (bytes, records) = (64 << 20, 200_000);
        Self { every: Duration::from_secs(3_600), bytes, records, keep: 2, codec: Codec::default() }
    }
}

impl SnapshotConfig {
    /// Fewer new records than this are read faster than a snapshot of them is written, so a peer that is idle takes none.
    #[must_use]
    pub fn least(&self) -> u64 {
        self.records.clamp(1, 256)
    }
}

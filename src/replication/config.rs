//! The numbers of this room.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Ack, Lag};
use crate::types::Topic;
use crate::wire::Packing;

/// How much is kept, gathered and asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Which topics exist. Logs of any other are a peer's fault.
    pub topics: BTreeSet<Topic>,
    /// A batch is sent as soon as it holds this many entries.
    pub batch_size: usize,
    /// A batch is sent as soon as its entries take this many bytes. A single larger entry travels alone.
    pub batch_bytes: usize,
    /// What waits for an acknowledgement to come back waits no longer than this.
    pub batch_timeout: Duration,
    /// Bytes of entries under way to one peer and not yet acknowledged as durable, repairs included: the credit of a peer.
    pub window_bytes: usize,
    /// Bytes of entries kept for live push; older ones are read back from the log.
    pub cache_bytes: usize,
    /// Bytes of entries that arrived ahead of a gap and wait for it to be filled, over all logs.
    pub held_bytes: usize,
    /// How often the vector's digest is compared with one random neighbour; jittered by a half either way.
    pub anti_entropy: Duration,
    /// Ranges are announced to lazy neighbours this long after the first of them became durable.
    pub announce: Duration,
    /// To how many lazy neighbours a range is announced at once. The others learn of it by anti-entropy if they must.
    pub announce_fanout: usize,
    /// How many origin logs there may be.
    pub logs_max: usize,
    /// How many of them may belong to one node: one a topic, and more each time its store was rolled back.
    pub logs_per_node_max: usize,
    /// How many logs of which nothing is held one neighbour may have named.
    pub named_max: usize,
    /// Entries that may wait for a new actor after a roll-back was found.
    pub queue_max: usize,
    /// From which lag on a replica is told of.
    pub lag_warn: LagWarn,
    /// How batches are made shorter.
    pub packing: Packing,
    /// When a batch that was not acknowledged is sent again.
    pub retry: Retry,
    /// How many other members must hold what is asked here before it is acknowledged, if the request does not say.
    pub ack: Ack,
    /// How long that is waited for.
    pub ack_timeout: Duration,
}

/// When a batch that was not acknowledged is sent again: after the link's round trip and four times its variation (RFC 6298)
/// within these bounds, and twice as long after each time, up to the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// To a peer that has not acknowledged anything yet.
    pub first: Duration,
    /// Not sooner: less is noise of disks and schedulers.
    pub min: Duration,
    /// Not later, but for the time that the bytes take over the slowest link.
    pub max: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        // The first is a guess: an edge box behind LTE.
        Self { first: Duration::from_millis(500), min: Duration::from_millis(100), max: Duration::from_secs(30) }
    }
}

/// From which lag on a replica is told of: any of them; zero means that it does not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LagWarn {
    /// In changes.
    pub changes: u64,
    /// In bytes.
    pub bytes: u64,
    /// In time, in milliseconds.
    pub lag_ms: u64,
}

impl LagWarn {
    /// Whether the lag has reached one of the thresholds divided by `part`.
    pub(super) fn is_passed(&self, lag: Lag, part: u64) -> bool {
        let reached = |found: u64, warn: u64| warn > 0 && found >= warn.div_ceil(part);
        reached(lag.changes, self.changes) || reached(lag.bytes, self.bytes) || reached(lag.lag_ms, self.lag_ms)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            topics: BTreeSet::from([Topic::DOCUMENTS, Topic::EVENTS]),
            batch_size: 512,
            batch_bytes: 256 << 10, // notes: frames of at most 256 kB; larger ones gain nothing in compression.
            batch_timeout: Duration::from_millis(5),
            window_bytes: 1 << 20, // 100 Mbit/s over 80 ms.
            cache_bytes: 8 << 20,
            held_bytes: 4 << 20,
            anti_entropy: Duration::from_secs(2), // Jittered to 1 to 3 s.
            announce: Duration::from_millis(100),
            announce_fanout: 3,
            logs_max: 1 << 16,
            logs_per_node_max: 256,
            named_max: 1 << 12,
            queue_max: 1 << 14,
            lag_warn: LagWarn { changes: 100_000, bytes: 0, lag_ms: 60_000 },
            packing: Packing::default(),
            retry: Retry::default(),
            ack: Ack::Local,
            ack_timeout: Duration::from_secs(5),
        }
    }
}

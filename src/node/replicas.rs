//! What an operator sees of replication: the replicas with their lag, and what crossed.

use std::time::Duration;

use serde::Serialize;

use super::Node;
use crate::replication::{Config, Known, Lag, LagWarn, Rate, ReplicationState, Statistics};
use crate::types::{Address, Boot, NodeId, Now, Time, WallTime};

/// Another member of the mesh as a replica of what this node holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReplicaNode {
    /// Who.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Where it listens, if it says so.
    pub address: Option<Address>,
    /// Higher is preferred as hub and root.
    pub priority: u16,
    /// Which life of it.
    pub boot: Boot,
    /// How it stands.
    pub state: ReplicationState,
    /// Whether this node exchanges entries with it. What is known of others came over neighbours.
    pub neighbor: bool,
    /// When it was last known to hold more than before, by this node's wall clock.
    pub last_replicated_at: Option<WallTime>,
    /// What this node holds, durably, and the replica is not known to hold.
    #[serde(flatten)]
    pub lag: Lag,
    /// Whether anybody compared with it in its present life. If not, nothing is known of what it holds, and its lag is all that is
    /// held here: so it is of one that was paused before this node started.
    pub known: bool,
    /// How old this knowledge is, in milliseconds. What came here since then counts as lag only if the replica is paused,
    /// dead, was not compared with yet, or was not heard of for ten minutes.
    pub as_of_ms: u64,
    /// Its lag has passed a threshold, and is not below half of each yet.
    pub lagging: bool,
}

/// The replicas, and from which lag on one is told of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Replicas {
    /// From which lag on a replica is a trouble; 0: it does not matter.
    pub warn: LagWarn,
    /// In order of id.
    pub replicas: Vec<ReplicaNode>,
}

/// What crossed, since the start and lately.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReplicationStatistics {
    /// Counts since the start.
    #[serde(flatten)]
    pub totals: Statistics,
    /// Payloads of entries and their surroundings before compression, in bytes.
    pub raw_bytes: u64,
    /// What was sent for them.
    pub compressed_bytes: u64,
    /// Bytes of all frames sent.
    pub bytes_sent: u64,
    /// Bytes of all frames received.
    pub bytes_received: u64,
    /// Over so many seconds, or since the start if that is shorter, what follows is the mean.
    pub window_s: u64,
    /// Entries sent a second.
    pub pushed_per_s: u64,
    /// Their bytes a second, before compression.
    pub pushed_bytes_per_s: u64,
    /// Entries taken a second.
    pub taken_per_s: u64,
    /// Their bytes a second.
    pub taken_bytes_per_s: u64,
    /// As it is configured.
    pub settings: ReplicationSettings,
}

/// How batches are made, as it is configured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReplicationSettings {
    /// Entries in a batch at most.
    pub batch_size: usize,
    /// Bytes in a batch at most.
    pub batch_bytes: usize,
    /// How long what comes next waits while a batch is under way.
    pub batch_timeout_ms: u64,
    /// zstd's level; absent: batches go as they are.
    pub compression_level: Option<i32>,
    /// Payloads of fewer bytes go as they are.
    pub compress_above: usize,
    /// A batch that was not acknowledged is sent again after so long, to a peer that never acknowledged one.
    pub retry_first_ms: u64,
    /// And to others not sooner than this.
    pub retry_min_ms: u64,
    /// Nor later than this, however often it was in vain.
    pub retry_max_ms: u64,
}

impl ReplicationSettings {
    fn of(config: &Config) -> Self {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            batch_size: config.batch_size,
            batch_bytes: config.batch_bytes,
            batch_timeout_ms: ms(config.batch_timeout),
            compression_level: config.packing.level,
            compress_above: config.packing.above,
            retry_first_ms: ms(config.retry.first),
            retry_min_ms: ms(config.retry.min),
            retry_max_ms: ms(config.retry.max),
        }
    }
}

impl Node {
    /// The other members as replicas of what this node holds.
    #[must_use]
    pub fn replicas(&self, now: Now) -> Replicas {
        let view = self.replication.view();
        let members = self.membership.view().members();
        let replicas = members.filter_map(|member| {
            let known = view.known(member.id, now.mono)?;
            let neighbor = self.overlay.view().neighbors().contains(&member.id);
            let Known { state, lag, compared, as_of, replicated_at, lagging } = known;
            Some(ReplicaNode {
                id: member.id,
                name: member.meta.name.clone(),
                address: member.meta.addresses.first().cloned(),
                priority: member.meta.priority,
                boot: member.boot,
                state,
                neighbor,
                last_replicated_at: replicated_at.map(|at| wall(now, at)),
                lag,
                known: compared,
                as_of_ms: millis(now, as_of),
                lagging,
            })
        });
        Replicas { warn: view.config().lag_warn, replicas: replicas.collect() }
    }

    /// What crossed, since the start and lately.
    #[must_use]
    pub fn replication_statistics(&self, now: Now) -> ReplicationStatistics {
        let (view, counts) = (self.replication.view(), self.shared.counts);
        let [pushed_per_s, pushed_bytes_per_s, taken_per_s, taken_bytes_per_s] = view.rates(now.mono);
        ReplicationStatistics {
            totals: view.statistics(),
            raw_bytes: counts.sync_raw,
            compressed_bytes: counts.sync_sent,
            bytes_sent: counts.bytes_sent,
            bytes_received: counts.bytes_received,
            window_s: Rate::WINDOW.as_secs(),
            pushed_per_s,
            pushed_bytes_per_s,
            taken_per_s,
            taken_bytes_per_s,
            settings: ReplicationSettings::of(view.config()),
        }
    }
}

/// A time of the monotonic clock, by the wall clock of now.
fn wall(now: Now, at: Time) -> WallTime {
    let ago = u64::try_from(now.mono.since(at).as_micros()).unwrap_or(u64::MAX);
    WallTime::from_micros(now.wall.as_micros().saturating_sub(ago))
}

fn millis(now: Now, at: Time) -> u64 {
    u64::try_from(now.mono.since(at).as_millis()).unwrap_or(u64::MAX)
}

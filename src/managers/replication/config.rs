//! What is configured, and what of that is a node's.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::replication::Ack;
use crate::topology::Policy;

/// When an event is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplicationMode {
    /// When all active members hold it on their disks.
    Synchronous,
    /// When this node does.
    #[default]
    Asynchronous,
    /// When one other member does too.
    SemiSynchronous,
}

impl ReplicationMode {
    pub(super) fn ack(self) -> Ack {
        match self {
            Self::Synchronous => Ack::All,
            Self::Asynchronous => Ack::Local,
            Self::SemiSynchronous => Ack::Members(std::num::NonZeroU8::MIN),
        }
    }
}

/// Who exchanges data with whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplicationTopology {
    /// All with one.
    #[default]
    Star,
    /// Each with all, or in large meshes with some.
    Mesh,
    /// Along a tree.
    Tree,
}

/// How events are replicated, with the fields and defaults of the user's documents.
///
/// `mode`, `batch_size`, `max_lag_ms`, `max_retries` and `retry_backoff_ms` are what the manager goes by. [`configure`](Self::configure) lays all of
/// them, and the others, on the configuration that a node is started with: what a batch on the wire is, and whom it goes to, is the
/// node's own affair, and the mesh's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReplicationConfig {
    /// When an event is acknowledged.
    pub mode: ReplicationMode,
    /// The overlay of the mesh. All nodes of a mesh have to agree on it: one that differs is not linked.
    pub topology: ReplicationTopology,
    /// Events that are appended together at most, and entries in a batch on the wire. 1 to 100,000; what is outside is brought inside.
    /// One append takes 65,536 events and 8 MiB, so what is more goes in several.
    pub batch_size: usize,
    /// How long the node gathers for a batch while another one is under way, in milliseconds; up to 10,000. It sends at once when
    /// nothing is under way.
    pub batch_timeout_ms: u64,
    /// A replica that lags longer is a trouble, in milliseconds: [`check_health`](super::ActiveActiveReplication::check_health) says so.
    /// The node itself looks in whole seconds, one at least.
    pub max_lag_ms: u64,
    /// Whether batches are compressed, by zstd.
    pub enable_compression: bool,
    /// How hard. The mesh knows 1 to 3, since more costs several times the work for some 10 % fewer bytes: the documents' 6 is 3.
    pub compression_level: u32,
    /// How often an append that the node was too busy for is tried again.
    pub max_retries: u32,
    /// How long is waited before that, in milliseconds; doubled each time. On the wire it is how soon a batch without an answer is
    /// sent again to a peer that never answered one; up to 600,000.
    pub retry_backoff_ms: u64,
}

impl Default for ReplicationConfig {
    fn default() -> Self {
        Self {
            mode: ReplicationMode::default(),
            topology: ReplicationTopology::default(),
            batch_size: 1_000,
            batch_timeout_ms: 100,
            max_lag_ms: 5_000,
            enable_compression: true,
            compression_level: 6,
            max_retries: 3,
            retry_backoff_ms: 1_000,
        }
    }
}

impl ReplicationConfig {
    /// The configuration of a node that replicates so: for [`Mesh::builder`](crate::Mesh::builder).
    #[must_use]
    pub fn configure(&self, mut config: Config) -> Config {
        let replication = &mut config.replication;
        replication.ack = self.mode.ack();
        replication.batch_size = self.batch_size();
        replication.batch_timeout = Duration::from_millis(self.batch_timeout_ms.min(10_000));
        let level = i32::try_from(self.compression_level.clamp(1, 3)).expect("it is small");
        replication.packing.level = self.enable_compression.then_some(level);
        replication.lag_warn.lag_ms = self.max_lag_ms.max(1_000);
        replication.retry.first = Duration::from_millis(self.retry_backoff_ms.clamp(10, 600_000));
        replication.retry.max = replication.retry.max.max(replication.retry.first);
        config.cluster.overlay = match (self.topology, config.cluster.overlay) {
            (ReplicationTopology::Star, _) => Policy::Star,
            (ReplicationTopology::Mesh, mesh @ Policy::Mesh { .. }) => mesh,
            (ReplicationTopology::Tree, tree @ Policy::Tree { .. }) => tree,
            (ReplicationTopology::Mesh, _) => Policy::mesh(8).expect("an even degree within its bounds"),
            (ReplicationTopology::Tree, _) => Policy::Tree { arity: 3 },
        };
        config
    }

    pub(super) fn batch_size(&self) -> usize {
        self.batch_size.clamp(1, 100_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What differs from a node by the documents' defaults, after one field was changed.
    fn configured(change: impl FnOnce(&mut ReplicationConfig)) -> (Config, Config) {
        let mut config = ReplicationConfig::default();
        let before = config.configure(Config::default());
        change(&mut config);
        (before, config.configure(Config::default()))
    }

    #[test]
    fn the_documented_defaults_are_kept() {
        let text = serde_json::to_string(&ReplicationConfig::default()).unwrap();
        let documented = r#"{"mode":"asynchronous","topology":"star","batch_size":1000,"batch_timeout_ms":100,"max_lag_ms":5000,"enable_compression":true,"compression_level":6,"max_retries":3,"retry_backoff_ms":1000}"#;
        assert_eq!(text, documented);
        assert_eq!(serde_json::from_str::<ReplicationConfig>("{}").unwrap(), ReplicationConfig::default());
    }

    #[test]
    fn mode_is_how_many_copies_a_write_waits_for() {
        let ack = |mode| configured(|config| config.mode = mode).1.replication.ack;
        assert_eq!(ack(ReplicationMode::Asynchronous), Ack::Local);
        assert_eq!(ack(ReplicationMode::SemiSynchronous), "1".parse().unwrap());
        assert_eq!(ack(ReplicationMode::Synchronous), Ack::All);
    }

    #[test]
    fn topology_is_the_overlay() {
        let overlay = |topology| configured(|config| config.topology = topology).1.cluster.overlay;
        assert_eq!(overlay(ReplicationTopology::Star), Policy::Star);
        assert!(matches!(overlay(ReplicationTopology::Mesh), Policy::Mesh { .. }));
        assert!(matches!(overlay(ReplicationTopology::Tree), Policy::Tree { arity: 3 }));
    }

    #[test]
    fn batch_size_and_batch_timeout_are_those_of_batches() {
        let (before, after) = configured(|config| (config.batch_size, config.batch_timeout_ms) = (7, 70));
        let of = |config: Config| (config.replication.batch_size, config.replication.batch_timeout.as_millis());
        assert_eq!((of(before), of(after)), ((1_000, 100), (7, 70)));
        assert_eq!(configured(|config| config.batch_size = 0).1.replication.batch_size, 1);
    }

    #[test]
    fn max_lag_is_when_a_replica_is_a_trouble() {
        let (before, after) = configured(|config| config.max_lag_ms = 9_000);
        let of = |config: Config| config.replication.lag_warn.lag_ms;
        assert_eq!((of(before), of(after)), (5_000, 9_000));
    }

    #[test]
    fn compression_is_on_or_off_and_as_hard_as_the_mesh_knows() {
        let level = |on, level| {
            let set = |config: &mut ReplicationConfig| {
                (config.enable_compression, config.compression_level) = (on, level);
            };
            configured(set).1.replication.packing.level
        };
        assert_eq!(
            [level(true, 6), level(true, 2), level(true, 0), level(false, 6)],
            [Some(3), Some(2), Some(1), None]
        );
    }

    #[test]
    fn retry_backoff_is_when_a_batch_is_sent_again() {
        let (before, after) = configured(|config| config.retry_backoff_ms = 40_000);
        let of = |config: Config| (config.replication.retry.first.as_secs(), config.replication.retry.max.as_secs());
        assert_eq!((of(before), of(after)), ((1, 30), (40, 40)));
    }
}

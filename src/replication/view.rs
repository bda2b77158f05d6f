//! What others may read of replication.

use super::{Replication, Statistics};
use crate::types::{Actor, Digest, LogId, NodeId, Position, Seq, VersionVector};

/// The origin logs as they are held here, durably. Reading changes nothing.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub(super) replication: &'a Replication,
}

impl View<'_> {
    /// As whom this node writes.
    #[must_use]
    pub fn actor(&self) -> Actor {
        self.replication.actor
    }

    /// How far each log is held.
    #[must_use]
    pub fn vector(&self) -> VersionVector {
        self.replication.logs.by_id().map(|(_, log)| (log.id, Seq::new(log.durable()))).collect()
    }

    /// Where a durable entry stands on the disk.
    #[must_use]
    pub fn position(&self, log: LogId, seq: Seq) -> Option<Position> {
        let logs = &self.replication.logs;
        logs.get(logs.find(log)?).position(seq.value())
    }

    /// Up to where a log is not held any more.
    #[must_use]
    pub fn base(&self, log: LogId) -> Seq {
        let logs = &self.replication.logs;
        logs.find(log).map_or(Seq::ZERO, |at| Seq::new(logs.get(at).base()))
    }

    /// How many entries are held, over all logs.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.replication.logs.entries()
    }

    /// Counts since the start.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.replication.statistics
    }

    /// Of how many logs somebody is known to hold more.
    #[must_use]
    pub fn behind(&self) -> usize {
        self.replication.behind.len()
    }

    /// The logs of which a neighbour holds another branch, and that is not settled yet: which, where the two part at the
    /// latest, and who holds the other.
    #[must_use]
    pub fn forks(&self) -> Vec<(LogId, Seq, NodeId)> {
        let disputes = self.replication.disputes.iter();
        disputes.map(|((at, peer), dispute)| (self.replication.logs.get(*at).id, dispute.upto, *peer)).collect()
    }

    /// Equal for nodes that hold the same entries at the same places.
    #[must_use]
    pub fn tip(&self, log: LogId) -> Option<Digest> {
        let logs = &self.replication.logs;
        logs.find(log).and_then(|at| logs.get(at).chain_at(logs.get(at).durable()))
    }
}

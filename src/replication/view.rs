//! What others may read of replication.

use std::collections::BTreeSet;

use super::{Config, Lag, Rate, Replication, ReplicationState, Statistics};
use crate::types::{Actor, Digest, LogId, NodeId, Position, Seq, Time, VersionVector};

/// What is known of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// How it stands.
    pub state: ReplicationState,
    /// What it is not known to hold of what is held here.
    pub lag: Lag,
    /// Whether anybody compared with it in its present life, or showed what it holds. If not, nothing is known of it, and its
    /// lag is all that is held here.
    pub compared: bool,
    /// As of when that is known; of one that is paused, dead, or was not heard of for minutes the lag is counted up to now.
    pub as_of: Time,
    /// When it was last known to hold more than before.
    pub replicated_at: Option<Time>,
    /// Its lag has passed a threshold and has not recovered.
    pub lagging: bool,
}

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
        self.logs().collect()
    }

    /// The logs of which something is held, in order, and how far each is.
    pub fn logs(&self) -> impl Iterator<Item = (LogId, Seq)> + '_ {
        let held = self.replication.logs.by_id().map(|(_, log)| (log.id, Seq::new(log.durable())));
        held.filter(|(_, seq)| *seq > Seq::ZERO)
    }

    /// Of all that is held durably, entries and not only how many: equal logs have equal digests.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.replication.logs.current_digest()
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

    /// Of how many logs somebody is known to hold more, or a branch has to move first.
    #[must_use]
    pub fn behind(&self) -> usize {
        self.replication.behind.len() + self.replication.moves.len()
    }

    /// How many neighbours have told all that they hold since the exchange with them began, and how many have not yet.
    #[must_use]
    pub fn heard(&self) -> (usize, usize) {
        let peers = &self.replication.peers;
        let heard = peers.values().filter(|peer| peer.heard).count();
        (heard, peers.len() - heard)
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

    /// What is known of a replica; `None` if it is no other member.
    #[must_use]
    pub fn known(&self, member: NodeId, now: Time) -> Option<Known> {
        let this = self.replication;
        let row = this.replicas.row(member).filter(|_| member != this.actor.node)?;
        let lag = this.lag_of(member, now)?;
        Some(Known {
            state: this.state_of(member, lag),
            lag,
            compared: row.compared,
            as_of: row.as_of,
            replicated_at: row.replicated_at,
            lagging: row.lagging.is_some(),
        })
    }

    /// The replicas that the operator paused here.
    #[must_use]
    pub fn paused(&self) -> &BTreeSet<NodeId> {
        &self.replication.pauses.here
    }

    /// The neighbours where this node is paused.
    #[must_use]
    pub fn paused_by(&self) -> &BTreeSet<NodeId> {
        &self.replication.pauses.there
    }

    /// How many acknowledgements wait for copies.
    #[must_use]
    pub fn awaited(&self) -> usize {
        self.replication.awaited()
    }

    /// How this room is configured.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.replication.config
    }

    /// Entries and their bytes a second over the last minute: sent, sent, taken, taken.
    #[must_use]
    pub fn rates(&self, now: Time) -> [u64; 4] {
        let rates = &self.replication.rates;
        [&rates.entries_out, &rates.bytes_out, &rates.entries_in, &rates.bytes_in]
            .map(|rate: &Rate| rate.per_second(now))
    }
}

//! The revoked: a signed set that only grows, so that it can be gossiped in any order and never disagrees for long.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};

use super::key::{Purpose, SecretKey, Signature, encode};
use super::refusal::Refusal;
use super::ticket::IssuerCertificate;
use crate::types::{ClusterId, Digest, NodeId, WallTime, digest64};

/// Most revocations that a mesh keeps: about 1.5 MB on the disk and in memory.
pub const REVOCATIONS_MAX: usize = 4096;

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
struct RevocationBody {
    cluster: ClusterId,
    node: NodeId,
    at: WallTime,
}

/// One node's expulsion, for good. It carries its issuer's certificate, so that anybody can check it at any time.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Revocation {
    body: RevocationBody,
    chain: IssuerCertificate,
    signature: Signature,
}

impl Revocation {
    pub(super) fn sign(issuer: &SecretKey, chain: &IssuerCertificate, node: NodeId, at: WallTime) -> Self {
        let body = RevocationBody { cluster: chain.cluster(), node, at };
        Self { signature: issuer.sign(Purpose::Revocation, &body), chain: chain.clone(), body }
    }

    /// Who.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.body.node
    }

    /// When, by the issuer's clock.
    #[must_use]
    pub const fn at(&self) -> WallTime {
        self.body.at
    }

    /// Expiry of the certificate does not matter: a revocation holds for ever.
    fn verify(&self, cluster: ClusterId) -> Result<(), Refusal> {
        if self.body.cluster != cluster {
            return Err(Refusal::WrongCluster { found: self.body.cluster });
        }
        self.chain.check_root(cluster)?;
        let good = self.chain.body.key.verify(Purpose::Revocation, &self.body, &self.signature);
        if good { Ok(()) } else { Err(Refusal::ForgedTicket) }
    }
}

/// All revocations that this peer knows.
#[derive(Clone, Debug, Default)]
pub(super) struct RevocationSet {
    by_node: BTreeMap<NodeId, Revocation>,
    /// In the order they were learned: links remember how far they have handed them on.
    learned: Vec<NodeId>,
}

impl RevocationSet {
    pub(super) fn contains(&self, node: NodeId) -> bool {
        self.by_node.contains_key(&node)
    }

    pub(super) fn get(&self, node: NodeId) -> Option<&Revocation> {
        self.by_node.get(&node)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Revocation> {
        self.by_node.values()
    }

    pub(super) fn after(&self, known: usize) -> Vec<Revocation> {
        let new = self.learned.get(known..).unwrap_or_default();
        new.iter().filter_map(|node| self.by_node.get(node).cloned()).collect()
    }

    /// Equal sets of nodes have equal digests, whoever signed: what counts is who is out.
    pub(super) fn digest(&self) -> Digest {
        if self.by_node.is_empty() {
            return Digest::ZERO;
        }
        let nodes: Vec<NodeId> = self.by_node.keys().copied().collect();
        digest64(&encode(&nodes))
    }

    /// Adds those that are new and properly signed; gives them back. A full set takes no more: the caller tells.
    pub(super) fn merge(&mut self, cluster: ClusterId, entries: Vec<Revocation>) -> Result<Vec<Revocation>, Refusal> {
        let mut new = Vec::new();
        for entry in entries {
            if self.contains(entry.node()) {
                continue;
            }
            entry.verify(cluster)?;
            if self.by_node.len() >= REVOCATIONS_MAX {
                return Err(Refusal::Full);
            }
            self.by_node.insert(entry.node(), entry.clone());
            self.learned.push(entry.node());
            new.push(entry);
        }
        Ok(new)
    }
}

//! What this life of the peer has learned of others by meeting them: who signs tickets, and which key speaks for which node.

use std::collections::BTreeMap;

use super::MEMBERS_MAX;
use super::key::PublicKey;
use super::revocation::RevocationSet;
use super::ticket::{Credential, IssuerCertificate, Member};
use crate::types::{NodeId, WallTime};

/// Most issuers that a peer keeps in mind. A mesh has some; each is signed by hand.
pub const ISSUERS_MAX: usize = 64;

/// A member as it was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Met {
    pub(super) key: PublicKey,
    /// The node of the issuer that signed its ticket.
    pub(super) signed_by: NodeId,
}

/// Members and issuers, as they were met.
#[derive(Debug, Default)]
pub(super) struct Known {
    members: BTreeMap<NodeId, Met>,
    /// The latest certificate of each issuer, with the number of its arrival: links remember how far they have told them.
    issuers: BTreeMap<NodeId, (u64, IssuerCertificate)>,
    arrivals: u64,
}

impl Known {
    /// A member has shown this credential, which holds. Gives whether there is something new to tell of issuers.
    pub(super) fn meet(&mut self, member: &Member, key: PublicKey, credential: &Credential) -> bool {
        let met = Met { key, signed_by: credential.chain.body.holder };
        match self.members.get(&member.node) {
            Some(known) if known.key != key => {
                tracing::error!(node = %member.node, "two keys hold tickets for one node: revoke the node");
            }
            None if self.members.len() >= MEMBERS_MAX => {}
            _ => _ = self.members.insert(member.node, met),
        }
        self.hear_of(&credential.chain)
    }

    /// Whether a certificate would be kept if the root signed it.
    pub(super) fn is_news(&self, certificate: &IssuerCertificate) -> bool {
        let body = &certificate.body;
        match self.issuers.get(&body.holder) {
            Some((_, known)) => known.body.expires_at < body.expires_at,
            None => self.issuers.len() < ISSUERS_MAX,
        }
    }

    /// Keeps a certificate that the root signed, if it is the issuer's latest. Gives whether it was new.
    pub(super) fn hear_of(&mut self, certificate: &IssuerCertificate) -> bool {
        let (new, body) = (self.is_news(certificate), &certificate.body);
        if new {
            self.arrivals += 1;
            self.issuers.insert(body.holder, (self.arrivals, certificate.clone()));
            // Issuers sign their own tickets.
            self.members.get_mut(&body.holder).into_iter().for_each(|met| met.signed_by = body.holder);
        }
        new
    }

    pub(super) fn members(&self) -> impl Iterator<Item = (NodeId, &Met)> {
        self.members.iter().map(|(node, met)| (*node, met))
    }

    pub(super) fn issuers(&self) -> impl Iterator<Item = &IssuerCertificate> {
        self.issuers.values().map(|(_, certificate)| certificate)
    }

    /// Whether this node can sign tickets, as far as is known here.
    pub(super) fn is_issuer(&self, node: NodeId, revoked: &RevocationSet, now: WallTime) -> bool {
        let certificate = self.issuers.get(&node).map(|(_, certificate)| certificate);
        !revoked.contains(node) && certificate.is_some_and(|certificate| certificate.body.expires_at > now)
    }

    /// Certificates that came after the first `known` arrivals, and how many arrivals there are now.
    pub(super) fn issuers_after(&self, known: u64) -> (Vec<IssuerCertificate>, u64) {
        let new = self.issuers.values().filter(|(arrival, _)| *arrival > known);
        (new.map(|(_, certificate)| certificate.clone()).collect(), self.arrivals)
    }
}

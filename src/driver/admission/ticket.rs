//! Certificates: the root signs issuers, issuers sign tickets, a ticket binds a transport key to a node id.

use bincode::{Decode, Encode};
use sha2::{Digest as _, Sha256};

use super::key::{PublicKey, Purpose, SecretKey, Signature, encode};
use super::refusal::Refusal;
use super::revocation::RevocationSet;
use crate::types::{ClusterId, NodeId, WallTime};

/// Longest name of a member, in bytes.
pub const NAME_MAX: usize = 64;

/// What a member may do beyond talking. A set of bits; unknown ones are kept and mean nothing here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Roles(u16);

impl Roles {
    /// A member.
    pub const MEMBER: Self = Self(1);
}

/// What the root says of an issuer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct IssuerBody {
    /// The root's public key: its hash is the cluster's id.
    pub(super) root: PublicKey,
    /// The key that may sign tickets, invites' answers and revocations.
    pub(super) key: PublicKey,
    /// The node that keeps it: revoking this node revokes what it issued.
    pub(super) holder: NodeId,
    pub(super) issued_at: WallTime,
    pub(super) expires_at: WallTime,
}

/// An issuer's certificate.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct IssuerCertificate {
    pub(super) body: IssuerBody,
    signature: Signature,
}

impl IssuerCertificate {
    pub(super) fn sign(
        root: &SecretKey,
        key: PublicKey,
        holder: NodeId,
        issued_at: WallTime,
        expires_at: WallTime,
    ) -> Self {
        let body = IssuerBody { root: root.public(), key, holder, issued_at, expires_at };
        Self { signature: root.sign(Purpose::Issuer, &body), body }
    }

    /// The cluster that this certificate claims.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        cluster_of(self.body.root)
    }

    /// Whether the root of `cluster` signed it, whatever the time.
    pub(super) fn check_root(&self, cluster: ClusterId) -> Result<(), Refusal> {
        if self.cluster() != cluster {
            return Err(Refusal::WrongCluster { found: self.cluster() });
        }
        let good = self.body.root.verify(Purpose::Issuer, &self.body, &self.signature);
        if good { Ok(()) } else { Err(Refusal::ForgedIssuer) }
    }
}

/// The cluster with this root key.
pub(super) fn cluster_of(root: PublicKey) -> ClusterId {
    ClusterId::from_bytes(Sha256::digest(root.as_bytes()).into())
}

/// What an issuer says of a member.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct TicketBody {
    pub(super) cluster: ClusterId,
    /// The member's transport key. The handshake has already proved that the peer holds it: a ticket is no bearer secret.
    pub(super) key: PublicKey,
    pub(super) node: NodeId,
    pub(super) roles: Roles,
    pub(super) serial: u64,
    /// For people.
    pub(super) name: String,
    pub(super) issued_at: WallTime,
    pub(super) expires_at: WallTime,
}

/// A member's ticket.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Ticket {
    pub(super) body: TicketBody,
    signature: Signature,
}

impl Ticket {
    pub(super) fn sign(issuer: &SecretKey, body: TicketBody) -> Self {
        Self { signature: issuer.sign(Purpose::Ticket, &body), body }
    }
}

/// A ticket with the certificate of the issuer that signed it: all that a member shows.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Credential {
    pub(super) chain: IssuerCertificate,
    pub(super) ticket: Ticket,
}

/// Who a credential admits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its node id.
    pub node: NodeId,
    /// What it may do.
    pub roles: Roles,
    /// Its name, for people.
    pub name: String,
    /// Until when the ticket is good.
    pub expires_at: WallTime,
}

impl Credential {
    /// Checks everything about a credential shown by the holder of `key`: both signatures, the cluster, the holder, both
    /// expiries, revocation. A peer whose clock is behind sees tickets from the future; only expiry counts.
    pub(super) fn verify(
        &self,
        cluster: ClusterId,
        key: PublicKey,
        revoked: &RevocationSet,
        now: WallTime,
    ) -> Result<Member, Refusal> {
        let member = self.verify_but_expiry(cluster, key, revoked)?;
        if self.chain.body.expires_at <= now {
            return Err(Refusal::IssuerExpired { at: self.chain.body.expires_at });
        }
        if self.ticket.body.expires_at <= now {
            return Err(Refusal::TicketExpired { at: self.ticket.body.expires_at });
        }
        Ok(member)
    }

    /// As [`Self::verify`], whatever the time: for a member that asks to have its ticket renewed.
    pub(super) fn verify_but_expiry(
        &self,
        cluster: ClusterId,
        key: PublicKey,
        revoked: &RevocationSet,
    ) -> Result<Member, Refusal> {
        let (chain, ticket) = (&self.chain.body, &self.ticket.body);
        if ticket.cluster != cluster {
            return Err(Refusal::WrongCluster { found: ticket.cluster });
        }
        // What costs nothing is checked before the signatures.
        if ticket.key != key {
            return Err(Refusal::WrongPeer);
        }
        if ticket.name.len() > NAME_MAX {
            return Err(Refusal::Malformed);
        }
        self.chain.check_root(cluster)?;
        if !chain.key.verify(Purpose::Ticket, ticket, &self.ticket.signature) {
            return Err(Refusal::ForgedTicket);
        }
        // Only to whoever once was a member is told who is revoked.
        if revoked.contains(ticket.node) {
            return Err(Refusal::Revoked { node: ticket.node });
        }
        if revoked.contains(chain.holder) {
            return Err(Refusal::IssuerRevoked { holder: chain.holder });
        }
        Ok(self.member())
    }

    /// Who it says that its holder is.
    pub(super) fn member(&self) -> Member {
        let ticket = &self.ticket.body;
        Member { node: ticket.node, roles: ticket.roles, name: ticket.name.clone(), expires_at: ticket.expires_at }
    }

    pub(super) const fn issued_at(&self) -> WallTime {
        self.ticket.body.issued_at
    }

    pub(crate) const fn expires_at(&self) -> WallTime {
        self.ticket.body.expires_at
    }

    /// The node of the issuer that signed it.
    pub(crate) const fn signed_by(&self) -> NodeId {
        self.chain.body.holder
    }

    /// When to ask for the next ticket: at half the life of this one.
    pub(super) fn renew_at(&self) -> WallTime {
        let body = &self.ticket.body;
        WallTime::from_micros(body.issued_at.as_micros().midpoint(body.expires_at.as_micros()))
    }

    /// Its canonical bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        encode(self)
    }
}

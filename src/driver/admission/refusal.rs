//! Why a peer is not let in: one list for both ends of the wire, each reason with its own words.

use bincode::{Decode, Encode};

use crate::config::Differences;
use crate::types::{ClusterId, NodeId, TimelineId, WallTime};

/// Why a peer was refused. It travels to the refused peer, so that whoever runs it knows what to do.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The request cannot be read.
    #[error("the request cannot be read")]
    Malformed,
    /// The request is of another version of the protocol.
    #[error("admission protocol version {found} is not spoken here")]
    Version {
        /// The version found.
        found: u16,
    },
    /// Of another mesh.
    #[error("this is a peer of another cluster ({found})")]
    WrongCluster {
        /// The cluster found.
        found: ClusterId,
    },
    /// The root of the cluster did not sign this issuer.
    #[error("the issuer's certificate is not signed by the cluster's root")]
    ForgedIssuer,
    /// The issuer did not sign this ticket.
    #[error("the ticket is not signed by its issuer")]
    ForgedTicket,
    /// The ticket belongs to another transport key.
    #[error("the ticket belongs to another peer")]
    WrongPeer,
    /// The ticket is too old.
    #[error("the ticket expired at {at}")]
    TicketExpired {
        /// When.
        at: WallTime,
    },
    /// The issuer's certificate is too old.
    #[error("the issuer's certificate expired at {at}")]
    IssuerExpired {
        /// When.
        at: WallTime,
    },
    /// The member was revoked.
    #[error("node {node} is revoked")]
    Revoked {
        /// Which.
        node: NodeId,
    },
    /// The issuer of the ticket was revoked.
    #[error("the issuer on node {holder} is revoked, and with it the tickets it signed")]
    IssuerRevoked {
        /// Who keeps that issuer's key.
        holder: NodeId,
    },
    /// The invite was made by another issuer, which alone knows it.
    #[error("this peer did not make the invite: only the issuer that made it can redeem it")]
    NotTheIssuer,
    /// No such invite, or another secret.
    #[error("the invite is not known here")]
    InviteUnknown,
    /// Another peer came first.
    #[error("the invite was already used")]
    InviteUsed,
    /// Too late.
    #[error("the invite expired at {at}")]
    InviteExpired {
        /// When.
        at: WallTime,
    },
    /// Taken back by whoever made it.
    #[error("the invite was revoked")]
    InviteRevoked,
    /// Another key already holds a ticket for this node id.
    #[error("node id {node} belongs to another peer")]
    NodeTaken {
        /// Which.
        node: NodeId,
    },
    /// The peer is at its limit of members.
    #[error("the issuer keeps track of as many members as it can")]
    Full,
    /// The issuer could not record the answer, so it gave none.
    #[error("the issuer could not write to its disk")]
    Disk,
    /// Both are members, and what all members must have alike in their configurations is not alike.
    #[error("the configurations differ: {0}")]
    Differs(Differences),
    /// Only issuers renew tickets.
    #[error("this peer is no issuer, so it cannot renew tickets")]
    NotAnIssuer,
    /// The member that a request names did not make it.
    #[error("the request is not signed by the member that it names")]
    ForgedRequest,
    /// The issuer that it names did not sign this policy.
    #[error("the overlay policy is not signed by the issuer that it names")]
    ForgedPolicy,
    /// The root of the cluster did not sign this statement.
    #[error("the statement that begins the timeline is not signed by the cluster's root")]
    ForgedTimeline,
    /// Both are members, and one of them is on an older history of the mesh.
    #[error("the timelines differ: {here} here, {there} there; the newer one began at {began}")]
    OtherTimeline {
        /// That of the peer that tells.
        here: TimelineId,
        /// That of the other.
        there: TimelineId,
        /// When the newer one of both began, by the clock of whoever signed it.
        began: WallTime,
    },
    /// Two timelines of one number were begun apart from each other.
    #[error("two timelines were begun apart from each other: {here} here, {there} there")]
    ForkedTimeline {
        /// That of the peer that tells.
        here: TimelineId,
        /// That of the other.
        there: TimelineId,
    },
}

impl Refusal {
    /// As the refused peer says it: what was there is here.
    #[must_use]
    pub(crate) fn turned(self) -> Self {
        match self {
            Self::Differs(differences) => Self::Differs(differences.turned()),
            Self::OtherTimeline { here, there, began } => Self::OtherTimeline { here: there, there: here, began },
            Self::ForkedTimeline { here, there } => Self::ForkedTimeline { here: there, there: here },
            other => other,
        }
    }

    /// Whether trying again soon cannot help. What time or an operator of the other peer mends is tried like an address
    /// that does not answer.
    #[must_use]
    pub(crate) const fn is_final(&self) -> bool {
        !matches!(
            self,
            Self::TicketExpired { .. }
                | Self::IssuerExpired { .. }
                | Self::NotAnIssuer
                | Self::Full
                | Self::Disk
                | Self::Differs(_)
                | Self::OtherTimeline { .. }
                | Self::ForkedTimeline { .. }
        )
    }
}

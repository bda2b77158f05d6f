//! What membership tells, each with its cause.

use serde::Serialize;

use crate::types::{Address, Incarnation, NodeId};

/// A change in what this node thinks of a member, with its cause. Read the member itself from the [`View`](super::View).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A member is new, or present again after it was dead or had left.
    Joined {
        /// Who.
        member: NodeId,
        /// Who told us; the member itself if it spoke for itself.
        from: NodeId,
    },
    /// A member does not answer.
    Suspected {
        /// Who.
        member: NodeId,
        /// Who says so; this node itself if its own probe failed.
        by: NodeId,
        /// Why.
        grounds: Grounds,
    },
    /// A suspected member proved to be alive.
    Refuted {
        /// Who.
        member: NodeId,
        /// Who told us; the member itself if it spoke for itself.
        from: NodeId,
    },
    /// A member was declared dead.
    Died {
        /// Who.
        member: NodeId,
        /// Who accused it first, as far as is known here.
        by: NodeId,
        /// All who accuse it, at most [`Accusers::LEN_MAX`](super::Accusers::LEN_MAX).
        accusers: Vec<NodeId>,
        /// How long it was suspect here without an answer, in milliseconds.
        suspected_ms: u64,
        /// How unwell this node found itself when it decided: 0 is well, 8 the worst.
        health: u8,
    },
    /// A member said goodbye.
    Left {
        /// Who.
        member: NodeId,
        /// Who told us; the member itself if it spoke for itself.
        from: NodeId,
    },
    /// A present member changed what it says of itself, or lives its next life without having been missed.
    Updated {
        /// Who.
        member: NodeId,
    },
    /// This node refuted a claim that it was suspect or dead.
    Defended {
        /// Its incarnation since.
        incarnation: Incarnation,
        /// Who told us of the claim.
        from: NodeId,
    },
    /// A link to this member is wanted: to hear from itself what others say of it, or to probe it where links are few.
    Seek {
        /// Who.
        member: NodeId,
        /// Where it is said to listen.
        addresses: Vec<Address>,
    },
    /// The link to this member, which was sought, is wanted no more.
    Release {
        /// Who.
        member: NodeId,
    },
    /// A peer sent what no correct peer sends; it was ignored.
    PeerFault {
        /// Who sent it.
        peer: NodeId,
        /// What was wrong.
        why: String,
    },
}

/// Why a member is suspect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "grounds", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Grounds {
    /// Our own probe of it was not answered.
    Unanswered(Unanswered),
    /// Another member says so.
    Told {
        /// Who.
        from: NodeId,
        /// Whether it says that the member is dead already.
        dead: bool,
    },
    /// This node has no link to anybody: the doubt is of itself.
    Alone,
}

/// A probe that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Unanswered {
    /// Pings over a link of our own.
    pub pings: u8,
    /// Helpers asked to ping it too.
    pub helpers: u8,
    /// Of these, how many pinged it and heard nothing.
    pub silent: u8,
    /// How many have lost their link to it, or could not make one.
    pub lost: u8,
    /// How many have no link to it, nor need one.
    pub unlinked: u8,
    /// From the first ping to the verdict, in milliseconds. Helpers not counted above said nothing in that time.
    pub waited_ms: u32,
    /// How unwell this node found itself: 0 is well, 8 the worst.
    pub health: u8,
}

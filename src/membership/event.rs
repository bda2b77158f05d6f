//! What membership tells.

use serde::Serialize;

use crate::types::{Incarnation, NodeId};

/// A change in what this node thinks of a member, with its cause. Read the member itself from the [`View`](super::View).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A member is new, or present again after it was dead or had left.
    Joined {
        /// Who.
        member: NodeId,
    },
    /// A member does not answer.
    Suspected {
        /// Who.
        member: NodeId,
        /// Who says so; this node itself if its own probe failed.
        by: NodeId,
    },
    /// A suspected member proved to be alive.
    Refuted {
        /// Who.
        member: NodeId,
    },
    /// A member was declared dead.
    Died {
        /// Who.
        member: NodeId,
        /// Who accused it first, as far as is known here.
        by: NodeId,
    },
    /// A member said goodbye.
    Left {
        /// Who.
        member: NodeId,
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
    },
    /// A peer sent what no correct peer sends; it was ignored.
    PeerFault {
        /// Who sent it.
        peer: NodeId,
        /// What was wrong.
        why: String,
    },
}

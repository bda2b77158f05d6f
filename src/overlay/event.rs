//! What the overlay tells.

use serde::Serialize;

use super::signed::SignedPolicy;
use crate::types::{Address, NodeId};

/// A change of neighbours, or a wish about links.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// Deltas are exchanged with this linked peer from now on.
    NeighborUp {
        /// Who.
        peer: NodeId,
    },
    /// Deltas are no longer exchanged with this peer.
    NeighborDown {
        /// Who.
        peer: NodeId,
    },
    /// A link to this member is wanted.
    Dial {
        /// Who.
        peer: NodeId,
        /// Where it listens, best first.
        addresses: Vec<Address>,
    },
    /// A peer tells a policy that is news here. The host shall check it, keep it, and say so.
    PolicyTold {
        /// Who.
        peer: NodeId,
        /// What. Nothing of it is checked.
        policy: SignedPolicy,
    },
    /// Another policy is in force for the mesh.
    PolicyInForce {
        /// Which.
        policy: SignedPolicy,
    },
}

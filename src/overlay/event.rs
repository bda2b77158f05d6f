//! What the overlay tells.

use serde::Serialize;

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
}

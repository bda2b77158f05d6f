//! What peers say to each other about the overlay: only what no view of the membership tells them.

use bincode::{Decode, Encode};

use crate::types::Lane;

/// A wish of one peer to its linked peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Message {
    /// Exchange deltas with me although you do not compute it: somebody is out of my reach.
    StandIn,
    /// Do so only if you compute it.
    StandDown,
}

impl Message {
    pub(super) const fn lane(self) -> Lane {
        match self {
            Self::StandIn | Self::StandDown => Lane::Control,
        }
    }
}

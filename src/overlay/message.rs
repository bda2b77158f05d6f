//! What peers say to each other about the overlay: whom they hold for neighbours, and what was set for the mesh. Views of the membership differ for a while, and
//! no view knows who cannot reach whom.

use bincode::{Decode, Encode};

use super::signed::SignedPolicy;
use crate::types::{Digest, Lane};

/// What a peer tells its linked peer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Message {
    /// Whether I hold you for a neighbour.
    Wish {
        /// Of two wishes that were said over one link the one with the higher number counts.
        number: u64,
        /// Exchange deltas with me, whether you compute it or not; else only if you hold me for a neighbour.
        holds: bool,
    },
    /// This was set for the mesh.
    Policy(SignedPolicy),
    /// A digest of the policies that I hold: tell me yours if they differ.
    Policies {
        /// The digest.
        digest: Digest,
        /// Whether I want to know your digest too, if it is another: not when this is the answer to yours.
        asks: bool,
    },
    /// Of your wishes this is the last.
    Heard {
        /// Its number.
        number: u64,
    },
}

impl Message {
    pub(super) const fn lane(&self) -> Lane {
        match self {
            Self::Wish { .. } | Self::Policy(_) | Self::Policies { .. } | Self::Heard { .. } => Lane::Control,
        }
    }
}

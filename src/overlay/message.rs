//! What peers say to each other about the overlay: whom they hold for neighbours, and what was set for the mesh. Views of the membership differ for a while, and
//! no view knows who cannot reach whom.

use bincode::{Decode, Encode};

use super::signed::SignedPolicy;
use crate::types::{Digest, Lane};

/// What a peer tells its linked peer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Message {
    /// I hold you for a neighbour: exchange deltas with me, whether you compute it or not.
    Hold,
    /// I do not any more: exchange deltas with me only if you hold me for one.
    Release,
    /// This was set for the mesh.
    Policy(SignedPolicy),
    /// A digest of the policies that I hold: tell me yours if they differ.
    Policies {
        /// The digest.
        digest: Digest,
        /// Whether I want to know your digest too, if it is another: not when this is the answer to yours.
        asks: bool,
    },
    /// This is the last that I heard of you: whether you hold me.
    Heard {
        /// Whether it was that you do.
        holds: bool,
    },
}

impl Message {
    pub(super) const fn lane(&self) -> Lane {
        match self {
            Self::Hold | Self::Release | Self::Policy(_) | Self::Policies { .. } | Self::Heard { .. } => Lane::Control,
        }
    }
}

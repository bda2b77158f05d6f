//! What peers say to each other about the overlay: whom they hold for neighbours. Views of the membership differ for a while, and
//! no view knows who cannot reach whom.

use bincode::{Decode, Encode};

use crate::types::Lane;

/// What a peer tells its linked peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Message {
    /// I hold you for a neighbour: exchange deltas with me, whether you compute it or not.
    Hold,
    /// I do not any more: exchange deltas with me only if you hold me for one.
    Release,
}

impl Message {
    pub(super) const fn lane(self) -> Lane {
        match self {
            Self::Hold | Self::Release => Lane::Control,
        }
    }
}

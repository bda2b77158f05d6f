//! What crosses the network, and its bounds.

use bincode::{Decode, Encode};

use crate::types::{Digest, Lane};

/// What neighbours say to each other.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Message {
    /// Equal vectors have equal digests.
    Digest(Digest),
}

impl Message {
    pub(super) fn lane(&self) -> Lane {
        match self {
            Self::Digest(_) => Lane::Control,
        }
    }
}

//! What a peer keeps of roles on its disk: the highest token that it saw of each.

use bincode::{Decode, Encode};

use super::vocabulary::RoleName;
use crate::consensus::Token;

/// A record of this room.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Record {
    /// No lower token of this role is heeded here, ever again.
    Fence {
        /// Which role.
        role: RoleName,
        /// Its token.
        token: Token,
    },
    /// The same; and this peer was granted the role under this token and is about to begin, which it does once.
    Begun {
        /// Which role.
        role: RoleName,
        /// Its token.
        token: Token,
    },
}

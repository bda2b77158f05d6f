//! What neighbours say to each other in an audit.

use bincode::{Decode, Encode};

use crate::documents::Prefix;
use crate::types::Digest;

/// Most branches in one message: 5 KB of sums.
pub(super) const PREFIXES_MAX: usize = 32;
/// Leaves are told rather than sums when there are at most so many.
pub(super) const LEAVES_MAX: usize = 8;

/// One step of an audit.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Message {
    /// Do we hold the same documents?
    Begin {
        /// Of all logs that the sender holds.
        vector: Digest,
        /// Of all its documents.
        content: Digest,
    },
    /// We do.
    Same,
    /// It cannot be said now: my logs are others, or something is under way.
    Later,
    /// We do not: my digests of these branches.
    Sums {
        /// As in `Begin`.
        vector: Digest,
        /// At least one.
        about: Vec<Sums>,
    },
    /// My documents below branches that differ.
    Leaves {
        /// As in `Begin`.
        vector: Digest,
        /// At least one.
        about: Vec<Leaves>,
        /// Whether the sender wants the receiver's too.
        answer: bool,
    },
}

/// The digests of a branch's 16 branches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Sums {
    /// Which branch.
    pub prefix: Prefix,
    /// In order.
    pub sums: [u64; 16],
}

/// The documents below a branch.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Leaves {
    /// Which branch.
    pub prefix: Prefix,
    /// Of each document the hash of its id, and the digest of id and heads.
    pub leaves: Vec<(u64, u64)>,
}

impl Message {
    /// What no correct peer sends.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let (branches, valid) = match self {
            Self::Begin { .. } | Self::Same | Self::Later => return Ok(()),
            Self::Sums { about, .. } => (about.len(), about.iter().all(|sums| sums.prefix.is_valid())),
            Self::Leaves { about, .. } => {
                let few = |leaves: &Leaves| leaves.prefix.is_valid() && leaves.leaves.len() <= 4 * LEAVES_MAX;
                (about.len(), about.iter().all(few))
            }
        };
        if branches <= PREFIXES_MAX && valid { Ok(()) } else { Err("branches that no correct peer names") }
    }
}

//! The overlay policy: the one rule by which every peer computes with whom it exchanges deltas.

use std::fmt;
use std::str::FromStr;

use bincode::de::{BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Decode, Encode};
use serde::{Deserialize, Serialize};

/// Which overlay the peers of a mesh form. All peers of a mesh must have the same: views that differ for a while only cost
/// duplicates, policies that differ would last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[non_exhaustive]
pub enum Policy {
    /// Everybody exchanges with the hub, which relays.
    Star,
    /// Everybody exchanges with everybody; where there are many, with about `degree` others.
    Mesh {
        /// Neighbours of one peer: even, from [`Policy::DEGREE_MIN`] to [`Policy::DEGREE_MAX`].
        degree: u8,
    },
    /// Everybody exchanges with a parent and at most `arity` children.
    Tree {
        /// Most children of one peer, from [`Policy::ARITY_MIN`] to [`Policy::ARITY_MAX`].
        arity: u8,
    },
}

/// Why a text is not a policy. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// No such kind.
    #[error("unknown overlay {0:?}; expected \"star\", \"mesh\", \"mesh:DEGREE\", \"tree\" or \"tree:ARITY\"")]
    Unknown(String),
    /// The degree of a mesh is out of range.
    #[error("a mesh's degree is an even number from {min} to {max}, not {0}", min = Policy::DEGREE_MIN, max = Policy::DEGREE_MAX)]
    Degree(String),
    /// The arity of a tree is out of range.
    #[error("a tree's arity is {min} to {max}, not {0}", min = Policy::ARITY_MIN, max = Policy::ARITY_MAX)]
    Arity(String),
}

impl Policy {
    /// Fewest children a tree may allow: with 1 it would be a chain, whose depth is the mesh's size.
    pub const ARITY_MIN: u8 = 2;
    /// Most children a tree may allow: a parent sends each delta so many times.
    pub const ARITY_MAX: u8 = 32;
    /// What `tree` means without a number: 13 peers in three levels.
    pub const ARITY_DEFAULT: u8 = 3;

    /// Fewest neighbours in a mesh of many: with 2 it would be one ring, which two deaths cut.
    pub const DEGREE_MIN: u8 = 4;
    /// Most neighbours in a mesh of many: each costs a link, and lines in every announcement.
    pub const DEGREE_MAX: u8 = 32;
    /// What `mesh` means without a number. Of 1,000 peers 300 die at one blow: with 6 neighbours the rest is in one piece in 18
    /// of 40 trials, with 8 in 38, with 10 in 40; what is cut off are one or two peers, which find a stand-in within a second.
    pub const DEGREE_DEFAULT: u8 = 8;
    /// So many peers, and any number up to the degree and one, are a full mesh: its edges cost less than a detour.
    pub const FULL_MAX: usize = 16;

    /// A mesh with this degree.
    ///
    /// # Errors
    /// [`PolicyError::Degree`] when it is odd or out of range.
    pub fn mesh(degree: u8) -> Result<Self, PolicyError> {
        if (Self::DEGREE_MIN..=Self::DEGREE_MAX).contains(&degree) && degree.is_multiple_of(2) {
            Ok(Self::Mesh { degree })
        } else {
            Err(PolicyError::Degree(degree.to_string()))
        }
    }

    /// A tree with this arity.
    ///
    /// # Errors
    /// [`PolicyError::Arity`] when it is out of range.
    pub fn tree(arity: u8) -> Result<Self, PolicyError> {
        if (Self::ARITY_MIN..=Self::ARITY_MAX).contains(&arity) {
            Ok(Self::Tree { arity })
        } else {
            Err(PolicyError::Arity(arity.to_string()))
        }
    }

    /// `star`, `mesh` or `tree`.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Star => "star",
            Self::Mesh { .. } => "mesh",
            Self::Tree { .. } => "tree",
        }
    }

    /// Its number with the number's name: `degree` or `arity`. A star has none.
    #[must_use]
    pub const fn parameter(self) -> Option<(&'static str, u8)> {
        match self {
            Self::Star => None,
            Self::Mesh { degree } => Some(("degree", degree)),
            Self::Tree { arity } => Some(("arity", arity)),
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::Mesh { degree: Self::DEGREE_DEFAULT }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        self.parameter().map_or(Ok(()), |(_, number)| write!(f, ":{number}"))
    }
}

impl FromStr for Policy {
    type Err = PolicyError;
    fn from_str(text: &str) -> Result<Self, PolicyError> {
        match text.split_once(':') {
            None if text == "star" => Ok(Self::Star),
            None if text == "mesh" => Ok(Self::default()),
            None if text == "tree" => Ok(Self::Tree { arity: Self::ARITY_DEFAULT }),
            Some(("mesh", degree)) => {
                degree.parse().map_err(|_| PolicyError::Degree(degree.into())).and_then(Self::mesh)
            }
            Some(("tree", arity)) => arity.parse().map_err(|_| PolicyError::Arity(arity.into())).and_then(Self::tree),
            _ => Err(PolicyError::Unknown(text.into())),
        }
    }
}

/// As text: what is out of range does not come in.
impl Encode for Policy {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.to_string().encode(encoder)
    }
}

impl<C> Decode<C> for Policy {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let text: String = Decode::decode(decoder)?;
        text.parse().map_err(|error: PolicyError| DecodeError::OtherString(error.to_string()))
    }
}

impl<'de, C> BorrowDecode<'de, C> for Policy {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}

impl From<Policy> for String {
    fn from(policy: Policy) -> Self {
        policy.to_string()
    }
}

impl TryFrom<String> for Policy {
    type Error = PolicyError;
    fn try_from(text: String) -> Result<Self, PolicyError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read_as_they_are_printed() {
        let meshes = [4, 8, 32].map(|degree| Policy::Mesh { degree });
        for policy in meshes.into_iter().chain([Policy::Star, Policy::Tree { arity: 2 }, Policy::Tree { arity: 32 }]) {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        assert_eq!("mesh".parse(), Ok(Policy::Mesh { degree: Policy::DEGREE_DEFAULT }));
        assert_eq!("tree".parse(), Ok(Policy::Tree { arity: Policy::ARITY_DEFAULT }));
    }

    #[test]
    fn what_is_no_policy_is_refused_with_its_own_text() {
        assert_eq!("ring".parse::<Policy>(), Err(PolicyError::Unknown("ring".into())));
        assert_eq!("star:3".parse::<Policy>(), Err(PolicyError::Unknown("star:3".into())));
        for arity in ["", "1", "33", "300", "-2", "x"] {
            assert_eq!(format!("tree:{arity}").parse::<Policy>(), Err(PolicyError::Arity(arity.into())));
        }
        for degree in ["", "2", "7", "34", "300", "-2", "x"] {
            assert_eq!(format!("mesh:{degree}").parse::<Policy>(), Err(PolicyError::Degree(degree.into())));
        }
    }
}

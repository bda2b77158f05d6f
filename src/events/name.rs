//! The name of a stream.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::types::{DocId, IdError};

/// The path that names a stream, such as `sensors/harbour/tide`: by the same rules as a document's, and shorter, since it
/// goes with every batch. A value of this type is the proof that it was checked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Name(DocId);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Why a text names no stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameError(IdError);

impl Name {
    /// Longest name, in bytes.
    pub const LEN_MAX: usize = 128;

    /// Checks a text.
    ///
    /// # Errors
    /// [`NameError`] says which part is not allowed and where it stands.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.len() > Self::LEN_MAX {
            return Err(NameError(IdError::Length { len: text.len() }));
        }
        DocId::parse(text).map(Self).map_err(NameError)
    }

    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Name {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            IdError::Length { len } => {
                write!(f, "a stream's name is 1 to {} bytes, this one has {len}", Name::LEN_MAX)
            }
            IdError::Segment { text, segment, at } => {
                write!(f, "stream {text:?}: segment {segment:?} at byte {at} is not allowed")
            }
            IdError::Character { text, character, at } => {
                write!(f, "stream {text:?}: character {character:?} at byte {at} is not allowed")
            }
            other => other.fmt(f),
        }
    }
}

impl std::error::Error for NameError {}

//! How far a reader has come: a version vector of one stream, as an opaque text.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::types::{Actor, Seq};

/// How far a reader has come in one stream. Good on any peer: it names entries by their origin, not by where they stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Cursor(pub(super) BTreeMap<Actor, Mark>);

/// How far in the log of one origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(super) struct Mark {
    /// Everything up to here was read.
    pub(super) seq: Seq,
    /// And so many events of the entry right behind.
    pub(super) within: u32,
}

/// A text is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of a stream: take one as it was given, or start, or now")]
pub struct CursorError;

/// Version and most origins: a cursor comes from clients.
const VERSION: u8 = b'1';
const ORIGINS_MAX: usize = 1 << 16;
const BYTES_MAX: usize = 4 << 20;

impl From<Cursor> for String {
    fn from(cursor: Cursor) -> Self {
        cursor.to_string()
    }
}

impl TryFrom<String> for Cursor {
    type Error = CursorError;

    fn try_from(text: String) -> Result<Self, CursorError> {
        text.parse()
    }
}

impl Cursor {
    /// Nothing was read.
    #[must_use]
    pub const fn start() -> Self {
        Self(BTreeMap::new())
    }

    pub(super) fn of(&self, origin: Actor) -> Mark {
        self.0.get(&origin).copied().unwrap_or_default()
    }

    pub(super) fn set(&mut self, origin: Actor, mark: Mark) {
        self.0.insert(origin, mark);
    }
}

impl fmt::Display for Cursor {
    /// Hexadecimal digits behind a version, so that it needs no quotes in a URL, a header or a shell.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let marks: Vec<(Actor, Mark)> = self.0.iter().map(|(origin, mark)| (*origin, *mark)).collect();
        let bytes = bincode::encode_to_vec(marks, bincode::config::standard()).expect("writing to a Vec does not fail");
        write!(f, "{}", char::from(VERSION))?;
        bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let Some((&VERSION, digits)) = text.as_bytes().split_first() else { return Err(CursorError) };
        if digits.len() % 2 != 0 || digits.len() > 2 * BYTES_MAX {
            return Err(CursorError);
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let byte = |pair: &[u8]| u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok();
        let bytes: Vec<u8> = digits.chunks_exact(2).map(byte).collect::<Option<_>>().ok_or(CursorError)?;
        let config = bincode::config::standard().with_limit::<BYTES_MAX>();
        let decoded: Result<(Vec<(Actor, Mark)>, usize), _> = bincode::decode_from_slice(&bytes, config);
        match decoded {
            Ok((marks, read)) if read == bytes.len() && marks.len() <= ORIGINS_MAX => {
                Ok(Self(marks.into_iter().collect()))
            }
            _ => Err(CursorError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Mint, NodeId};

    #[test]
    fn a_cursor_is_the_same_after_it_was_a_text() {
        let origin = |n| Actor { node: NodeId::from_u128(n), mint: Mint::new(3) };
        let mut cursor = Cursor::start();
        assert_eq!((cursor.to_string().as_str(), "100".parse()), ("100", Ok(cursor.clone())));
        cursor.set(origin(1), Mark { seq: Seq::new(300), within: 2 });
        cursor.set(origin(9), Mark { seq: Seq::new(1), within: 0 });
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "1", "2", "10", "1zz", "10", "200", "1ff", "10000", "1fcffffffff"] {
            assert_eq!(text.parse::<Cursor>(), Err(CursorError), "{text}");
        }
    }
}

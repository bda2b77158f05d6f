//! The terms on which peers meet: a short list of keys and values that both must have alike.
//!
//! The list travels whole and not as a hash, so that both ends can say what differs and not only that something does. **A
//! key that only one of them names is no difference**: a version that adds a key, or that moves one from the configuration
//! to the gossip, can be rolled out peer by peer. What such a version may not do unnoticed is the business of the
//! protocol's version.

use std::collections::BTreeMap;
use std::fmt;

use bincode::de::{BorrowDecoder, Decoder};
use bincode::error::DecodeError;
use bincode::{BorrowDecode, Decode, Encode};
use serde::Serialize;

/// Most terms.
pub const TERMS_MAX: usize = 16;
/// Longest key, in bytes.
pub const TERM_KEY_MAX: usize = 32;
/// Longest value, in bytes.
pub const TERM_VALUE_MAX: usize = 64;

/// What a peer tells of the configuration that all must agree on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Serialize)]
pub struct Terms(BTreeMap<String, String>);

impl Terms {
    /// # Panics
    /// When there are too many, or one is too long or not made of visible ASCII: the terms of a version are fixed by its code.
    pub(super) fn of<const N: usize>(terms: [(&str, String); N]) -> Self {
        let terms = Self(terms.into_iter().map(|(key, value)| (key.to_owned(), value)).collect());
        assert!(terms.is_proper(), "{terms:?}");
        terms
    }

    /// The terms, in order of key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// All but this one: a peer that does not name it differs from nobody in it.
    #[must_use]
    pub fn without(&self, key: &str) -> Self {
        Self(self.0.iter().filter(|(name, _)| *name != key).map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    /// Where a peer with other terms differs.
    #[must_use]
    pub fn against(&self, theirs: &Self) -> Differences {
        let differs = |(key, here): (&String, &String)| {
            let there = theirs.0.get(key).filter(|there| *there != here)?;
            Some(Difference { key: key.clone(), here: here.clone(), there: there.clone() })
        };
        Differences(self.0.iter().filter_map(differs).collect())
    }

    fn is_proper(&self) -> bool {
        let proper = |(key, value): (&String, &String)| is_word(key, TERM_KEY_MAX) && is_word(value, TERM_VALUE_MAX);
        self.0.len() <= TERMS_MAX && self.0.iter().all(proper)
    }
}

impl<C> Decode<C> for Terms {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let terms = Self(Decode::decode(decoder)?);
        if terms.is_proper() { Ok(terms) } else { Err(improper()) }
    }
}

impl<'de, C> BorrowDecode<'de, C> for Terms {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}

/// One term that two peers have not alike.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Difference {
    /// The key.
    pub key: String,
    /// The value of the peer that tells.
    pub here: String,
    /// The value of the other.
    pub there: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} here, {} there", self.key, self.here, self.there)
    }
}

/// Everything in which two peers differ, in order of key. Shown as `overlay: star here, mesh there`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Serialize)]
pub struct Differences(Vec<Difference>);

impl Differences {
    /// Whether the peers agree.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As the other peer sees them.
    #[must_use]
    pub fn turned(self) -> Self {
        let turn = |Difference { key, here, there }| Difference { key, here: there, there: here };
        Self(self.0.into_iter().map(turn).collect())
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(at, difference)| {
            let comma = if at == 0 { "" } else { "; " };
            write!(f, "{comma}{difference}")
        })
    }
}

impl<C> Decode<C> for Differences {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let all: Vec<Difference> = Decode::decode(decoder)?;
        let proper = |one: &Difference| {
            is_word(&one.key, TERM_KEY_MAX) && is_word(&one.here, TERM_VALUE_MAX) && is_word(&one.there, TERM_VALUE_MAX)
        };
        if all.len() <= TERMS_MAX && all.iter().all(proper) { Ok(Self(all)) } else { Err(improper()) }
    }
}

impl<'de, C> BorrowDecode<'de, C> for Differences {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}

/// What others tell ends in logs and on terminals: nothing but visible ASCII.
fn is_word(text: &str, max: usize) -> bool {
    !text.is_empty() && text.len() <= max && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn improper() -> DecodeError {
    DecodeError::Other("terms are few, short, and of visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded<T: Decode<()>>(value: &impl Encode) -> Result<T, DecodeError> {
        let bytes = bincode::encode_to_vec(value, bincode::config::standard()).unwrap();
        bincode::decode_from_slice(&bytes, bincode::config::standard()).map(|(value, _)| value)
    }

    fn terms<const N: usize>(terms: [(&str, &str); N]) -> Terms {
        Terms::of(terms.map(|(key, value)| (key, value.to_owned())))
    }

    #[test]
    fn a_difference_names_the_key_and_both_values_on_both_sides() {
        let (here, there) = (terms([("a", "1"), ("overlay", "star")]), terms([("a", "1"), ("overlay", "mesh")]));
        assert_eq!(here.against(&there).to_string(), "overlay: star here, mesh there");
        assert_eq!(here.against(&there).turned(), there.against(&here));
        assert!(here.against(&here).is_empty());
    }

    #[test]
    fn what_only_one_peer_names_is_no_difference() {
        let (old, new) = (terms([("overlay", "star")]), terms([("zone", "x")]));
        assert!(old.against(&new).is_empty() && new.against(&old).is_empty());
    }

    #[test]
    fn terms_of_a_peer_are_bounded_and_cannot_paint_a_terminal() {
        let map = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        assert_eq!(decoded::<Terms>(&map("overlay", "star")).unwrap(), terms([("overlay", "star")]));
        for (key, value) in [("a", "\x1b[2J"), ("a\n", "b"), ("", "b"), ("a", ""), ("a", &"b".repeat(65))] {
            assert!(decoded::<Terms>(&map(key, value)).is_err(), "{key:?} {value:?}");
            let difference = Difference { key: key.into(), here: value.into(), there: "x".into() };
            assert!(decoded::<Differences>(&vec![difference]).is_err(), "{key:?} {value:?}");
        }
        let many: BTreeMap<String, String> = (0..17).map(|n| (n.to_string(), "x".to_owned())).collect();
        assert!(decoded::<Terms>(&many).is_err());
    }
}

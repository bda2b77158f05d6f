//! Identities, and the paths that name documents.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bincode::de::{BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Decode, Encode};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Seq;

/// Why a text is not an identity. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// A document path is empty or too long.
    #[error("a document id is 1 to {max} bytes, this one has {len}", max = DocId::LEN_MAX)]
    Length {
        /// Bytes found.
        len: usize,
    },
    /// A segment between two slashes is empty, `.` or `..`.
    #[error("document id {text:?}: segment {segment:?} at byte {at} is not allowed")]
    Segment {
        /// The whole text.
        text: String,
        /// The segment.
        segment: String,
        /// Where it begins.
        at: usize,
    },
    /// A character that no path may hold.
    #[error("document id {text:?}: character {character:?} at byte {at} is not allowed")]
    Character {
        /// The whole text.
        text: String,
        /// The character.
        character: char,
        /// Where it stands.
        at: usize,
    },
    /// An address is empty or too long.
    #[error("an address is 1 to {max} bytes, this one has {len}", max = Address::LEN_MAX)]
    AddressLength {
        /// Bytes found.
        len: usize,
    },
}

/// One peer of the mesh, for its whole life: bound to its transport key in the admission ticket.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(Uuid);

/// That of its bytes, compared as one number: sorted maps of members are looked up for every row of news, and a call to compare
/// bytes was a fifth of the time in which a simulated mesh of 1,000 forms.
impl Ord for NodeId {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.as_u128().cmp(&other.0.as_u128())
    }
}

impl PartialOrd for NodeId {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl NodeId {
    /// The id with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The id of this UUID.
    #[must_use]
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// A small id for tests and simulations.
    #[must_use]
    pub const fn from_u128(raw: u128) -> Self {
        Self(Uuid::from_u128(raw))
    }

    /// Its 16 bytes, which is also its order.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The UUID.
    #[must_use]
    pub const fn uuid(&self) -> Uuid {
        self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for NodeId {
    /// The last eight digits: enough to tell peers apart in a trace.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [.., a, b, c, d] = *self.as_bytes();
        write!(f, "n{a:02x}{b:02x}{c:02x}{d:02x}")
    }
}

impl FromStr for NodeId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

impl Encode for NodeId {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.as_bytes().encode(encoder)
    }
}

impl<C> Decode<C> for NodeId {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Ok(Self::from_bytes(Decode::decode(decoder)?))
    }
}
bincode::impl_borrow_decode!(NodeId);

/// One mesh: SHA-256 of its root public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct ClusterId([u8; 32]);

impl ClusterId {
    /// The id with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "c{a:02x}{b:02x}{c:02x}{d:02x}")
    }
}

/// Tells one history of a node's store from another: drawn at random when the store is first written, and again when its
/// log was cut or found to be behind what neighbours hold, so that no (actor, sequence) is ever used twice. In JSON it is 16
/// hexadecimal digits: many readers keep only 53 bits of a number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Mint(u64);

impl Mint {
    /// The mint with this raw value.
    #[must_use]
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The raw value.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }
}

impl From<Mint> for String {
    fn from(mint: Mint) -> Self {
        mint.to_string()
    }
}

impl TryFrom<String> for Mint {
    type Error = std::num::ParseIntError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        u64::from_str_radix(&text, 16).map(Self)
    }
}

impl fmt::Debug for Mint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Display for Mint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A writer: one node with one history of its store. The Automerge actor and the owner of origin logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
pub struct Actor {
    /// The node that writes.
    pub node: NodeId,
    /// Which history of its store.
    pub mint: Mint,
}

impl Actor {
    /// Its 24 bytes, as they stand in Automerge changes: the node id, then the mint, big-endian.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(self.node.as_bytes());
        bytes[16..].copy_from_slice(&self.mint.0.to_be_bytes());
        bytes
    }

    /// The actor of these bytes, if they are 24.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (node, mint) = bytes.split_at_checked(16)?;
        Some(Self {
            node: NodeId::from_bytes(node.try_into().ok()?),
            mint: Mint(u64::from_be_bytes(mint.try_into().ok()?)),
        })
    }
}

/// What an origin log carries: the unit of subscription and of the version vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Topic(u16);

impl Topic {
    /// Automerge changes of all documents.
    pub const DOCUMENTS: Self = Self(0);
    /// Events of all streams.
    pub const EVENTS: Self = Self(1);

    /// The topic with this number.
    #[must_use]
    pub const fn new(raw: u16) -> Self {
        Self(raw)
    }

    /// Its number.
    #[must_use]
    pub const fn value(self) -> u16 {
        self.0
    }
}

/// One origin log: everything that one writer originates in one topic, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
pub struct LogId {
    /// Who originates it.
    pub actor: Actor,
    /// What it carries.
    pub topic: Topic,
}

impl LogId {
    /// The entry of this log at `seq`, for messages to people.
    #[must_use]
    pub fn at(self, seq: Seq) -> String {
        format!("{}/{}#{}:{seq}", self.actor.node, self.actor.mint, self.topic.0)
    }
}

/// The path that names a document, such as `layers/countries/FJI`.
///
/// 1 to 255 bytes of UTF-8; segments between slashes are not empty, `.` or `..`; no control characters, no white space but
/// inner spaces, none of `\ ? # * "  < > |`. A value of this type is the proof that it was checked.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct DocId(Arc<str>);

impl DocId {
    /// Longest path, in bytes.
    pub const LEN_MAX: usize = 255;

    /// Checks a text.
    ///
    /// # Errors
    /// [`IdError`] says which part is not allowed and where it stands.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        if text.is_empty() || text.len() > Self::LEN_MAX {
            return Err(IdError::Length { len: text.len() });
        }
        if let Some((at, character)) = text.char_indices().find(|(_, c)| !Self::allows(*c)) {
            return Err(IdError::Character { text: text.to_owned(), character, at });
        }
        let mut at = 0;
        for segment in text.split('/') {
            if matches!(segment, "" | "." | "..") || segment.trim() != segment {
                return Err(IdError::Segment { text: text.to_owned(), segment: segment.to_owned(), at });
            }
            at += segment.len() + 1;
        }
        Ok(Self(text.into()))
    }

    fn allows(c: char) -> bool {
        !c.is_control() && (c == ' ' || !c.is_whitespace()) && !r#"\?#*"<>|"#.contains(c)
    }

    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DocId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for DocId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "«{}»", self.0)
    }
}

impl FromStr for DocId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::parse(text)
    }
}

impl<'de> Deserialize<'de> for DocId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl Encode for DocId {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.as_str().encode(encoder)
    }
}

impl<C> Decode<C> for DocId {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let text: String = Decode::decode(decoder)?;
        Self::parse(&text).map_err(|error| DecodeError::OtherString(error.to_string()))
    }
}
impl<'de, C> BorrowDecode<'de, C> for DocId {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Decode::decode(decoder)
    }
}

/// Where a peer listens, in the transport's own notation (a multiaddr in production); opaque to the core.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Address(Arc<str>);

impl Address {
    /// Longest address, in bytes.
    pub const LEN_MAX: usize = 256;

    /// Checks the length.
    ///
    /// # Errors
    /// [`IdError::AddressLength`] when it is empty or too long.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        if text.is_empty() || text.len() > Self::LEN_MAX {
            return Err(IdError::AddressLength { len: text.len() });
        }
        Ok(Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Encode for Address {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.as_str().encode(encoder)
    }
}

impl<C> Decode<C> for Address {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let text: String = Decode::decode(decoder)?;
        Self::parse(&text).map_err(|error| DecodeError::OtherString(error.to_string()))
    }
}
bincode::impl_borrow_decode!(Address);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document_ids_are_checked_and_errors_name_the_place() {
        for good in ["a", "layers/countries/FJI", "Köln/Straße 1", "us-7000abc.1"] {
            assert_eq!(DocId::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "/a", "a/", "a//b", "a/../b", ".", "a/ b", "a\nb", "a\\b", "a?b", &"x".repeat(256)] {
            assert!(DocId::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(
            DocId::parse("a/b/../c"),
            Err(IdError::Segment { text: "a/b/../c".into(), segment: "..".into(), at: 4 })
        );
    }

    quickcheck::quickcheck! {
        fn nodes_are_ordered_as_their_bytes(a: u128, b: u128) -> bool {
            let (a, b) = (NodeId::from_u128(a), NodeId::from_u128(b));
            a.cmp(&b) == a.as_bytes().cmp(b.as_bytes())
        }
    }

    #[test]
    fn actors_keep_their_bytes() {
        let actor = Actor { node: NodeId::from_u128(7), mint: Mint::new(9) };
        assert_eq!(Actor::from_bytes(&actor.to_bytes()), Some(actor));
        assert_eq!(Actor::from_bytes(&[0; 23]), None);
        let json = serde_json::to_value(actor).unwrap();
        assert_eq!(json["mint"], "0000000000000009");
        assert_eq!(serde_json::from_value::<Actor>(json).unwrap(), actor);
    }
}

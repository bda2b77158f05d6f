//! Messages as bytes: the frames that peers exchange, the same in production and in the simulator.
//!
//! ```text
//! byte 0      version of this layout (1)
//! byte 1      kind: whose message it is; the high bit says that a reader who does not know it may skip it
//! byte 2      coding: 0 plain, 1 zstd
//! coding 1    4 bytes, little-endian: length of the plain payload
//! rest        payload: one message, bincode 2 standard configuration (little-endian, variable-length integers)
//! ```
//!
//! The transport adds its own length prefix and encryption; this room sees whole frames. Lengths and ratios are checked
//! before anything is allocated, so a frame can cost at most its lane's limit.
//!
//! **What a next version may send** to a peer that says an older one of itself (`Meta::protocol`): whatever that one knows, and
//! frames of kinds of its own that have the high bit. All of such a frame behind its kind is the next version's: coding and payload are
//! not looked at, only its length. It is skipped and counted, and the link stays. Nothing else: another layout, a kind without the
//! high bit, another coding, a field more behind a message that is known, or a variant more within it is refused, and the link is closed.
//! A byte that nobody reads is a byte in which two peers may differ unseen, so messages do not grow: what is new is of a new kind.
//!
//! **Invariant:** no input makes [`open`] or [`Payload::decode`] panic, allocate more than the lane allows, or accept a
//! frame that has bytes left over.

use std::borrow::Cow;

use bincode::enc::write::Writer;
use bincode::error::EncodeError;
use bincode::{Decode, Encode};
use bytes::{BufMut as _, Bytes, BytesMut};

use crate::types::Lane;

#[cfg(test)]
mod tests;
mod zip;

/// The version of the frame layout and of every message in it.
pub const VERSION: u8 = 1;
/// Longest control frame, in bytes.
pub const CONTROL_MAX: usize = 64 << 10;
/// Longest plain payload of a sync frame, in bytes: one entry of 16 MiB and its surroundings.
pub const SYNC_MAX: usize = (16 << 20) + (64 << 10);
/// How many times longer than its frame a payload may become.
pub const RATIO_MAX: usize = 200;
/// Payloads below this are not worth compressing, in bytes: of a single change, hashes and ids for the most part, a zstd frame gains
/// next to nothing, and takes longer to make than all else that is done with it.
pub const PLAIN_BELOW: usize = 400;

/// What a payload no longer than a control frame may claim to decode to, in bytes of memory. Lists count with the size
/// that their elements have in memory, which is a few times what they have in the frame.
const SMALL_MAX: usize = 1 << 20;
const HEADER: usize = 3;
const SKIPPABLE: u8 = 0x80;
const OVERLAY: u8 = 3 | SKIPPABLE;
const AUDIT: u8 = 4 | SKIPPABLE;
const CONSENSUS: u8 = 5 | SKIPPABLE;
const ROLES: u8 = 6 | SKIPPABLE;
const PLAIN: u8 = 0;
const ZSTD: u8 = 1;

/// How payloads of the sync lane are made shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Packing {
    /// zstd's level, 1 to 3; `None`: they go as they are.
    pub level: Option<i32>,
    /// Payloads of fewer bytes go as they are.
    pub above: usize,
}

impl Default for Packing {
    /// The fastest level: measured on change batches, higher ones gain below 10 % for several times the work.
    fn default() -> Self {
        Self { level: Some(1), above: PLAIN_BELOW }
    }
}

/// Whose message a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Of membership.
    Membership,
    /// Of replication.
    Replication,
    /// Of the overlay. Who does not know it may skip it: its wishes are not granted then.
    Overlay,
    /// Of audits. Who does not know it may skip it: it is not audited then.
    Audit,
    /// Of consensus. Who does not know it may skip it: it never votes, and learns of no decision.
    Consensus,
    /// Of roles. Who does not know it may skip it: it never holds one.
    Roles,
}

impl Kind {
    const fn number(self) -> u8 {
        match self {
            Self::Membership => 1,
            Self::Replication => 2,
            Self::Overlay => OVERLAY,
            Self::Audit => AUDIT,
            Self::Consensus => CONSENSUS,
            Self::Roles => ROLES,
        }
    }

    const fn of(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Membership),
            2 => Some(Self::Replication),
            OVERLAY => Some(Self::Overlay),
            AUDIT => Some(Self::Audit),
            CONSENSUS => Some(Self::Consensus),
            ROLES => Some(Self::Roles),
            _ => None,
        }
    }
}

/// Why a frame was not read. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The frame ends inside its own header.
    #[error("a frame of {len} bytes ends inside its header")]
    Truncated {
        /// Bytes found.
        len: usize,
    },
    /// The frame or its payload is longer than the lane allows.
    #[error("{len} bytes on the {lane} lane, the limit is {max}")]
    TooLong {
        /// Bytes found or announced.
        len: usize,
        /// Bytes allowed.
        max: usize,
        /// On which lane.
        lane: Lane,
    },
    /// Another version of the layout.
    #[error("wire version {found}, this node speaks {VERSION}")]
    Version {
        /// The version found.
        found: u8,
    },
    /// A kind that this node does not know and must not skip.
    #[error("message kind {found} is not known")]
    Kind {
        /// The kind found.
        found: u8,
    },
    /// A coding that this node does not know.
    #[error("payload coding {found} is not known")]
    Coding {
        /// The coding found.
        found: u8,
    },
    /// A decompression bomb, or a damaged frame that looks like one.
    #[error("a payload of {announced} bytes is announced by a frame of {len}, the ratio limit is {RATIO_MAX}")]
    Ratio {
        /// Bytes announced.
        announced: usize,
        /// Bytes of the frame.
        len: usize,
    },
    /// The compressed payload cannot be read or has another length than announced.
    #[error("zstd: {why}")]
    Zstd {
        /// The decoder's words.
        why: String,
    },
    /// The payload is not one message of its kind.
    #[error("message of kind {kind:?}: {why}")]
    Message {
        /// Of which kind.
        kind: Kind,
        /// The decoder's words.
        why: String,
    },
    /// Bytes follow the message.
    #[error("message of kind {kind:?}: {extra} bytes are left over")]
    LeftOver {
        /// Of which kind.
        kind: Kind,
        /// How many.
        extra: usize,
    },
}

/// An opened frame: checked and decompressed, not yet decoded.
#[derive(Debug)]
pub struct Payload<'a> {
    kind: Kind,
    bytes: Cow<'a, [u8]>,
}

/// The longest payload that this lane carries, in bytes.
#[must_use]
pub const fn payload_max(lane: Lane) -> usize {
    match lane {
        Lane::Control => CONTROL_MAX,
        Lane::Sync => SYNC_MAX,
    }
}

/// A frame of this message, packed as by default.
///
/// # Panics
/// When the message is longer than its lane allows: machines bound what they send.
#[must_use]
pub fn seal<M: Encode>(kind: Kind, lane: Lane, message: &M) -> Bytes {
    seal_packed(kind, lane, message, Packing::default())
}

/// A frame of this message. Payloads of the sync lane are compressed when that makes them shorter.
///
/// # Panics
/// When the message is longer than its lane allows: machines bound what they send.
#[must_use]
pub fn seal_packed<M: Encode>(kind: Kind, lane: Lane, message: &M, packing: Packing) -> Bytes {
    // Most messages are shorter than that, and the others grow in few steps.
    let most = if lane == Lane::Sync { 256 } else { 64 };
    let mut plain = Frame(Vec::with_capacity(most));
    plain.0.extend_from_slice(&[VERSION, kind.number(), PLAIN]);
    bincode::encode_into_writer(message, &mut plain, bincode::config::standard()).expect("a Vec takes everything");
    let payload = &plain.0[HEADER..];
    assert!(payload.len() <= payload_max(lane), "{kind:?} sends {} bytes on the {lane} lane", payload.len());
    let level = packing.level.filter(|_| lane == Lane::Sync && payload.len() >= packing.above);
    let packed = level
        .and_then(|level| zip::pack(payload, level).ok())
        .filter(|packed| packed.len() + 4 < payload.len() && payload.len() / RATIO_MAX < packed.len());
    let Some(packed) = packed else { return plain.0.into() };
    let mut frame = BytesMut::with_capacity(HEADER + 4 + packed.len());
    frame.put_slice(&[VERSION, kind.number(), ZSTD]);
    frame.put_u32_le(u32::try_from(payload.len()).expect("bounded above"));
    frame.put_slice(&packed);
    frame.freeze()
}

/// A frame that is written in one go: bincode's own way to a `Vec` walks through the message twice, to count first.
struct Frame(Vec<u8>);

impl Writer for Frame {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// Whose message a frame carries, by its header alone.
#[must_use]
pub fn kind(frame: &[u8]) -> Option<Kind> {
    frame.get(1).copied().and_then(Kind::of)
}

/// How long the payload of a frame of ours is without compression, in bytes, its header included.
#[must_use]
pub fn plain_len(frame: &[u8]) -> usize {
    match frame {
        [_, _, ZSTD, a, b, c, d, ..] => HEADER + u32::from_le_bytes([*a, *b, *c, *d]) as usize,
        _ => frame.len(),
    }
}

/// Checks and opens a frame. `None` for a message from a newer peer that asks to be skipped by who does not know it.
///
/// # Errors
/// [`Error`] says what is wrong; the sender is at fault.
pub fn open(frame: &[u8], lane: Lane) -> Result<Option<Payload<'_>>, Error> {
    let max = payload_max(lane);
    let Some((&[version, kind, coding], body)) = frame.split_first_chunk::<HEADER>() else {
        return Err(Error::Truncated { len: frame.len() });
    };
    if body.len() > max {
        return Err(Error::TooLong { len: body.len(), max, lane });
    }
    if version != VERSION {
        return Err(Error::Version { found: version });
    }
    let Some(kind) = Kind::of(kind) else {
        return if kind & SKIPPABLE == 0 { Err(Error::Kind { found: kind }) } else { Ok(None) };
    };
    let bytes = match coding {
        PLAIN => Cow::Borrowed(body),
        ZSTD => Cow::Owned(inflate(body, lane)?),
        found => return Err(Error::Coding { found }),
    };
    Ok(Some(Payload { kind, bytes }))
}

fn inflate(body: &[u8], lane: Lane) -> Result<Vec<u8>, Error> {
    let Some((len, packed)) = body.split_first_chunk::<4>() else {
        return Err(Error::Truncated { len: HEADER + body.len() });
    };
    let announced = usize::try_from(u32::from_le_bytes(*len)).unwrap_or(usize::MAX);
    let max = payload_max(lane);
    if announced > max {
        return Err(Error::TooLong { len: announced, max, lane });
    }
    if announced / RATIO_MAX > packed.len() {
        return Err(Error::Ratio { announced, len: packed.len() });
    }
    let plain = zip::unpack(packed, announced).map_err(|error| Error::Zstd { why: error.to_string() })?;
    if plain.len() != announced {
        return Err(Error::Zstd { why: format!("{} bytes in place of the {announced} announced", plain.len()) });
    }
    Ok(plain)
}

impl Payload<'_> {
    /// Whose message it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Decodes the message.
    ///
    /// # Errors
    /// [`Error::Message`] or [`Error::LeftOver`]: the sender is at fault.
    pub fn decode<M: Decode<()>>(&self) -> Result<M, Error> {
        // The limit bounds what a length inside the message may claim, before it is allocated.
        let config = bincode::config::standard();
        let decoded = if self.bytes.len() <= CONTROL_MAX {
            bincode::decode_from_slice(&self.bytes, config.with_limit::<SMALL_MAX>())
        } else {
            bincode::decode_from_slice(&self.bytes, config.with_limit::<SYNC_MAX>())
        };
        let (message, read) = decoded.map_err(|error| Error::Message { kind: self.kind, why: error.to_string() })?;
        match self.bytes.len() - read {
            0 => Ok(message),
            extra => Err(Error::LeftOver { kind: self.kind, extra }),
        }
    }
}

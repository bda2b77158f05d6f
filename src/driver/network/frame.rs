//! The bytes on a lane.
//!
//! ```text
//! every frame   u32 little-endian length of the rest, checked before anything is allocated
//!               u8  kind
//! control lane  0 node      a frame of the node's, opaque here
//!               1 ping      u64 number        2 pong  u64 number of the ping
//!               3 ack       u64 bytes of the sync lane taken off since the connection began
//!               4 revoked   revocations       5 renew credential   6 renewed credential
//!               7 goodbye   text              8 issuers certificates
//!              16 relays    nothing: the sender relays for members
//! sync lane     0 first     u32 length of the whole, then up to 16 KiB of it
//!               1 more      up to 16 KiB
//! ```
//!
//! A frame of the node's on the sync lane travels in pieces, so that a control frame never waits behind more than the
//! unacknowledged ones. Integers are little-endian; revocations, credentials and certificates are bincode 2
//! (standard configuration).

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::sync::OwnedSemaphorePermit;

use super::fault::Fault;
use super::limit::CHUNK;
use crate::types::Lane;
use crate::wire;

/// The longest frame of the node's that a lane carries, in bytes: the longest payload and its header.
pub(super) const fn max(lane: Lane) -> usize {
    wire::payload_max(lane) + 64
}

/// The longest length that may stand before a frame on the wire.
const fn wire_max(lane: Lane) -> usize {
    match lane {
        Lane::Control => 1 + max(lane),
        Lane::Sync => 1 + 4 + CHUNK,
    }
}

const LEN: usize = 4;

pub(super) const NODE: u8 = 0;
pub(super) const PING: u8 = 1;
pub(super) const PONG: u8 = 2;
pub(super) const ACK: u8 = 3;
pub(super) const REVOKED: u8 = 4;
pub(super) const RENEW: u8 = 5;
pub(super) const RENEWED: u8 = 6;
pub(super) const GOODBYE: u8 = 7;
pub(super) const ISSUERS: u8 = 8;
pub(super) const RELAYS: u8 = 16;

const FIRST: u8 = 0;
const MORE: u8 = 1;

/// A frame of the control lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Control {
    Node(Bytes),
    Ping(u64),
    Pong(u64),
    Ack(u64),
    Revoked(Bytes),
    Renew(Bytes),
    Renewed(Bytes),
    Goodbye(String),
    Issuers(Bytes),
    Relays,
}

/// Longest goodbye that is shown.
const GOODBYE_MAX: usize = 256;

/// Appends a frame.
pub(super) fn put(buffer: &mut BytesMut, kind: u8, payload: &[u8]) {
    let len = u32::try_from(payload.len() + 1).expect("frames are bounded before they are written");
    buffer.reserve(LEN + 1 + payload.len());
    buffer.put_u32_le(len);
    buffer.put_u8(kind);
    buffer.put_slice(payload);
}

pub(super) fn put_number(buffer: &mut BytesMut, kind: u8, number: u64) {
    put(buffer, kind, &number.to_le_bytes());
}

/// Takes the next whole frame off the front of what was read: its kind and payload.
fn take(buffer: &mut BytesMut, lane: Lane) -> Result<Option<(u8, Bytes)>, Fault> {
    let Some(prefix) = buffer.first_chunk::<LEN>() else { return Ok(None) };
    let announced = u32::from_le_bytes(*prefix);
    let len = usize::try_from(announced).unwrap_or(usize::MAX);
    if len == 0 {
        return Err(Fault::Empty { lane });
    }
    if len > wire_max(lane) {
        return Err(Fault::TooLong { lane, len: announced.into(), max: wire_max(lane) });
    }
    if buffer.len() < LEN + len {
        return Ok(None);
    }
    buffer.advance(LEN);
    let mut frame = buffer.split_to(len);
    let kind = frame.get_u8();
    Ok(Some((kind, frame.freeze())))
}

/// The next frame of the control lane, if a whole one was read.
pub(super) fn take_control(buffer: &mut BytesMut) -> Result<Option<Control>, Fault> {
    let lane = Lane::Control;
    let Some((kind, payload)) = take(buffer, lane)? else { return Ok(None) };
    let number = || {
        let bytes = payload.as_ref().try_into().map_err(|_| Fault::Malformed { lane, kind })?;
        Ok(u64::from_le_bytes(bytes))
    };
    Ok(Some(match kind {
        NODE => Control::Node(payload),
        PING => Control::Ping(number()?),
        PONG => Control::Pong(number()?),
        ACK => Control::Ack(number()?),
        REVOKED => Control::Revoked(payload),
        RENEW => Control::Renew(payload),
        RENEWED => Control::Renewed(payload),
        ISSUERS => Control::Issuers(payload),
        RELAYS => Control::Relays,
        GOODBYE => {
            let shown = String::from_utf8_lossy(&payload[..payload.len().min(GOODBYE_MAX)]);
            Control::Goodbye(shown.chars().filter(|c| !c.is_control()).collect())
        }
        kind => return Err(Fault::Kind { lane, kind }),
    }))
}

/// A piece of a sync frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    First { total: usize, bytes: Bytes },
    More(Bytes),
}

/// The next piece on the sync lane, if a whole one was read.
pub(super) fn take_piece(buffer: &mut BytesMut) -> Result<Option<Piece>, Fault> {
    let lane = Lane::Sync;
    let Some((kind, mut payload)) = take(buffer, lane)? else { return Ok(None) };
    match kind {
        FIRST => {
            let announced = payload.try_get_u32_le().map_err(|_| Fault::Malformed { lane, kind })?;
            let total = usize::try_from(announced).unwrap_or(usize::MAX);
            if total > max(lane) {
                return Err(Fault::TooLong { lane, len: announced.into(), max: max(lane) });
            }
            Ok(Some(Piece::First { total, bytes: payload }))
        }
        MORE => Ok(Some(Piece::More(payload))),
        kind => Err(Fault::Kind { lane, kind }),
    }
}

/// A sync frame on its way out.
#[derive(Debug)]
pub(super) struct Outgoing {
    frame: Bytes,
    sent: usize,
}

impl Outgoing {
    pub(super) fn new(frame: Bytes) -> Self {
        Self { frame, sent: 0 }
    }

    /// Bytes of its next piece.
    pub(super) fn next_len(&self) -> usize {
        (self.frame.len() - self.sent).min(CHUNK)
    }

    /// Appends the next piece; `true` when it was the last.
    pub(super) fn put_piece(&mut self, buffer: &mut BytesMut) -> bool {
        let piece = &self.frame[self.sent..self.sent + self.next_len()];
        let first = self.sent == 0;
        let head = if first { 1 + 4 } else { 1 };
        buffer.reserve(LEN + head + piece.len());
        buffer.put_u32_le(u32::try_from(head + piece.len()).expect("a piece is at most 16 KiB"));
        if first {
            buffer.put_u8(FIRST);
            buffer.put_u32_le(u32::try_from(self.frame.len()).expect("sync frames are bounded when queued"));
        } else {
            buffer.put_u8(MORE);
        }
        buffer.put_slice(piece);
        self.sent += piece.len();
        self.sent == self.frame.len()
    }
}

/// A sync frame on its way in.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    expected: usize,
    bytes: BytesMut,
    /// Its share of the memory that all incomplete frames together may take.
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

impl Assembly {
    /// Whether a frame is incomplete.
    pub(super) fn is_open(&self) -> bool {
        self.expected > 0
    }

    /// Adds a piece; gives the frame when it is whole.
    pub(super) fn add(&mut self, piece: Piece) -> Result<Option<Bytes>, Fault> {
        let bytes = match piece {
            Piece::First { total, bytes } => {
                if self.is_open() || total == 0 {
                    return Err(Fault::Pieces);
                }
                if bytes.len() == total {
                    return Ok(Some(bytes));
                }
                self.expected = total;
                // Its share of memory was taken before.
                self.bytes.reserve(total);
                bytes
            }
            Piece::More(bytes) => bytes,
        };
        let have = self.bytes.len() + bytes.len();
        // An empty piece would let a peer keep a frame open for ever.
        if !self.is_open() || bytes.is_empty() || have > self.expected {
            return Err(Fault::Pieces);
        }
        self.bytes.extend_from_slice(&bytes);
        if have < self.expected {
            return Ok(None);
        }
        self.expected = 0;
        Ok(Some(self.bytes.split().freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::mutate;

    fn pieces(frame: &[u8]) -> BytesMut {
        let mut buffer = BytesMut::new();
        let mut outgoing = Outgoing::new(Bytes::copy_from_slice(frame));
        while !outgoing.put_piece(&mut buffer) {}
        buffer
    }

    fn whole(buffer: &mut BytesMut) -> Result<Vec<Bytes>, Fault> {
        let (mut assembly, mut frames) = (Assembly::default(), Vec::new());
        while let Some(piece) = take_piece(buffer)? {
            frames.extend(assembly.add(piece)?);
        }
        Ok(frames)
    }

    #[test]
    fn the_bytes_of_a_control_frame_are_as_documented() {
        let mut buffer = BytesMut::new();
        put(&mut buffer, NODE, b"ab");
        put_number(&mut buffer, PING, 0x0102);
        assert_eq!(&buffer[..], b"\x03\0\0\0\0ab\x09\0\0\0\x01\x02\x01\0\0\0\0\0\0");
        assert_eq!(take_control(&mut buffer), Ok(Some(Control::Node(Bytes::from_static(b"ab")))));
        assert_eq!(take_control(&mut buffer), Ok(Some(Control::Ping(0x0102))));
        assert_eq!(take_control(&mut buffer), Ok(None));
    }

    #[test]
    fn the_bytes_of_a_sync_frame_are_as_documented() {
        assert_eq!(&pieces(b"abc")[..], b"\x08\0\0\0\0\x03\0\0\0abc");
        let long = pieces(&vec![7; CHUNK + 1]);
        assert_eq!(&long[LEN + 5 + CHUNK..], b"\x02\0\0\0\x01\x07");
    }

    #[test]
    fn lengths_are_refused_before_their_bytes_arrive() {
        let mut garbage = BytesMut::from(&b"\xff\xff\xff\xff"[..]);
        let max = wire_max(Lane::Control);
        assert_eq!(take_control(&mut garbage), Err(Fault::TooLong { lane: Lane::Control, len: 0xffff_ffff, max }));
        let mut empty = BytesMut::from(&b"\0\0\0\0"[..]);
        assert_eq!(take_control(&mut empty), Err(Fault::Empty { lane: Lane::Control }));
        let mut long = BytesMut::from(&b"\x05\0\0\0\0\xff\xff\xff\x7f"[..]);
        let max = max_of_sync();
        assert_eq!(take_piece(&mut long), Err(Fault::TooLong { lane: Lane::Sync, len: 0x7fff_ffff, max }));
        let mut unknown = BytesMut::from(&b"\x01\0\0\0\x63"[..]);
        assert_eq!(take_control(&mut unknown), Err(Fault::Kind { lane: Lane::Control, kind: 0x63 }));
        let mut short = BytesMut::from(&b"\x02\0\0\0\x01\x01"[..]);
        assert_eq!(take_control(&mut short), Err(Fault::Malformed { lane: Lane::Control, kind: PING }));
    }

    fn max_of_sync() -> usize {
        max(Lane::Sync)
    }

    #[test]
    fn pieces_that_do_not_add_up_are_refused() {
        let piece = Bytes::from_static(b"ab");
        let mut assembly = Assembly::default();
        assert_eq!(assembly.add(Piece::More(piece.clone())), Err(Fault::Pieces));
        assert_eq!(assembly.add(Piece::First { total: 3, bytes: piece.clone() }), Ok(None));
        assert_eq!(assembly.add(Piece::More(Bytes::new())), Err(Fault::Pieces));
        assert_eq!(assembly.add(Piece::First { total: 3, bytes: piece.clone() }), Err(Fault::Pieces));
        assert_eq!(assembly.add(Piece::More(piece)), Err(Fault::Pieces));
        assert_eq!(Assembly::default().add(Piece::First { total: 0, bytes: Bytes::new() }), Err(Fault::Pieces));
    }

    #[test]
    fn no_mutant_of_a_lane_panics_or_makes_more_of_it() {
        let mut lanes = [BytesMut::new(), pieces(&vec![7; 2 * CHUNK + 9])];
        put(&mut lanes[0], NODE, b"a frame");
        put_number(&mut lanes[0], PING, 7);
        put(&mut lanes[0], GOODBYE, "b\u{fc}".as_bytes());
        put(&mut lanes[0], REVOKED, &[0]);
        let (mut rng, mut frames) = (mutate::luck("lanes"), 0);
        for _ in 0..mutate::cases(2_000, 10) {
            let at = rng.index(2);
            let bytes = mutate::bytes(&mut rng, &lanes[at], &lanes[1 - at]);
            let (mut control, mut sync) = (BytesMut::from(&bytes[..]), BytesMut::from(&bytes[..]));
            while let Ok(Some(_)) = take_control(&mut control) {
                frames += 1;
            }
            let whole = whole(&mut sync).unwrap_or_default();
            frames += whole.len();
            assert!(whole.iter().map(Bytes::len).sum::<usize>() <= bytes.len());
        }
        mutate::report("lanes", &format!("{frames} frames read"));
        assert!(frames > 0);
    }

    quickcheck::quickcheck! {
        fn a_sync_frame_arrives_whole(len: usize) -> bool {
            let frame: Vec<u8> = (0..=255).cycle().take(len % (3 * CHUNK) + 1).collect();
            whole(&mut pieces(&frame)) == Ok(vec![Bytes::from(frame)])
        }

        fn garbage_never_panics_and_never_grows(bytes: Vec<u8>) -> bool {
            let (mut control, mut sync) = (BytesMut::from(&bytes[..]), BytesMut::from(&bytes[..]));
            while let Ok(Some(_)) = take_control(&mut control) {}
            _ = whole(&mut sync);
            control.len() <= bytes.len() && sync.len() <= bytes.len()
        }
    }
}

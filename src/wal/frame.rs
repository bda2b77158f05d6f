//! One record as bytes.

use bytes::Bytes;

use super::error::Damage;
use super::header::{Mask, len64};
use crate::probe::planted;
use crate::types::{Hlc, Lsn, Position, WallTime};

/// Bytes of a frame's head.
pub(super) const HEAD: usize = 40;

/// Frames begin at multiples of this.
pub(super) const ALIGN: usize = 8;

/// The largest payload of one record: a delta of the largest size (16 MiB) and its envelope.
pub const RECORD_MAX: usize = (16 << 20) + (64 << 10);

/// A record, as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its number.
    pub lsn: Lsn,
    /// Whose record it is; the node gives meaning.
    pub kind: u8,
    /// When it became part of this log: rises with every record of either chain.
    pub hlc: Hlc,
    /// Where it stands.
    pub position: Position,
    /// What it says. Shares the memory that it was read into: copy what shall outlive the boot, or a whole segment stays.
    pub payload: Bytes,
}

/// The head of a frame whose checksums are right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Bytes of the payload.
    pub(super) len: usize,
    pub(super) lsn: Lsn,
    pub(super) hlc: Hlc,
    /// Up to which record everything was known to be durable when this one was framed.
    pub(super) synced: Lsn,
    pub(super) kind: u8,
}

/// What stands where a frame should be.
pub(super) enum Read {
    /// A frame.
    Frame(Head),
    /// A frame whose checksums are right and that this version would never write.
    Unknown,
    /// Anything else.
    Damaged(Damage),
}

impl Frame {
    /// The record of this frame.
    pub(super) fn of(head: &Head, position: Position, payload: Bytes) -> Self {
        Self { lsn: head.lsn, kind: head.kind, hlc: head.hlc, position, payload }
    }
}

impl Head {
    /// Bytes of the whole frame.
    pub(super) fn frame_len(&self) -> usize {
        frame_len(self.len)
    }

    /// Appends the frame of this head and payload.
    pub(super) fn encode(&self, payload: &[u8], mask: Mask, out: &mut Vec<u8>) {
        let start = out.len();
        let unsynced = self.lsn.value() - 1 - self.synced.value();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&len32(payload.len()).to_le_bytes());
        out.extend_from_slice(&self.lsn.value().to_le_bytes());
        out.extend_from_slice(&self.hlc.wall.as_micros().to_le_bytes());
        out.extend_from_slice(&self.hlc.logical.to_le_bytes());
        out.extend_from_slice(&u32::try_from(unsynced).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&[self.kind, 0, 0, 0, 0, 0, 0, 0]);
        out.extend_from_slice(payload);
        out.resize(start + frame_len(payload.len()), 0);
        let body = mask.sum(&out[start + HEAD..]);
        out[start + 36..start + HEAD].copy_from_slice(&body.to_le_bytes());
        let head = mask.sum(&out[start + 4..start + HEAD]);
        out[start..start + 4].copy_from_slice(&head.to_le_bytes());
    }

    /// What the fields of these bytes say, if this version would write them. Looks at no checksum.
    pub(super) fn fields(head: &[u8; HEAD]) -> Option<Self> {
        let (len, lsn, unsynced) = (usize::try_from(le32(head, 4)).ok()?, le64(head, 8), u64::from(le32(head, 28)));
        (len <= RECORD_MAX && unsynced < lsn && head[33..36] == [0; 3]).then(|| Self {
            len,
            lsn: Lsn::new(lsn),
            hlc: Hlc { wall: WallTime::from_micros(le64(head, 16)), logical: le32(head, 24) },
            synced: Lsn::new(lsn - 1 - unsynced),
            kind: head[32],
        })
    }
}

/// Reads what stands at `at`.
pub(super) fn read(bytes: &[u8], at: usize, mask: Mask) -> Read {
    let rest = &bytes[at..];
    let Some(head) = rest.first_chunk::<HEAD>() else {
        return Read::Damaged(zeros(rest).unwrap_or_else(|| Damage::Short { need: HEAD as u64, have: len64(rest) }));
    };
    let (expected, found) = (le32(head, 0), mask.sum(&head[4..]));
    if expected != found {
        return Read::Damaged(zeros(rest).unwrap_or(Damage::Head { expected, found }));
    }
    let Some(fields) = Head::fields(head) else { return Read::Unknown };
    let Some(body) = rest.get(HEAD..fields.frame_len()) else {
        return Read::Damaged(Damage::Short { need: fields.frame_len() as u64, have: len64(rest) });
    };
    let (expected, found) = (le32(head, 36), mask.sum(body));
    if expected != found && !planted!("wal/payload-sum-unchecked") {
        return Read::Damaged(Damage::Payload { expected, found });
    }
    Read::Frame(fields)
}

/// Bytes of a frame with a payload of this length.
pub(super) const fn frame_len(payload: usize) -> usize {
    (HEAD + payload).next_multiple_of(ALIGN)
}

/// The length of a payload or a frame, as files and positions hold it.
pub(super) fn len32(len: usize) -> u32 {
    u32::try_from(len).expect("RECORD_MAX and a head fit 32 bits")
}

/// Zeros to the end of the file, if that is what these are.
fn zeros(rest: &[u8]) -> Option<Damage> {
    rest.iter().all(|byte| *byte == 0).then(|| Damage::Zeros { len: len64(rest) })
}

/// The integer of the four bytes at `at`.
pub(super) fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("the range is four long"))
}

/// The integer of the eight bytes at `at`.
pub(super) fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("the range is eight long"))
}

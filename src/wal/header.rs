//! The header of a segment, and the mask that every checksum behind it carries.

use super::error::{Damage, Error, Place};
use super::frame::{le32, le64};
use crate::types::{Checksum, Lsn, NodeId, SegmentId};

/// Bytes of a segment's header.
pub const HEADER: usize = 80;

/// The only version there is.
pub(super) const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"OXHAWAL\n";

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) node: NodeId,
    pub(super) store: u64,
    pub(super) segment: SegmentId,
    pub(super) first: Lsn,
    /// What stands from here to the end of the segment before is cut.
    pub(super) cut: Option<Place>,
}

/// Sets this store's checksums apart from all others': a payload's author does not know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mask(u32);

impl Mask {
    /// The mask of this store.
    pub(super) fn of(store: u64) -> Self {
        Self(Checksum::of(&store.to_le_bytes()).value())
    }

    /// The masked checksum of these bytes.
    pub(super) fn sum(self, bytes: &[u8]) -> u32 {
        Checksum::of(bytes).value() ^ self.0
    }

    /// The mask under which `bytes` have this checksum.
    pub(super) fn from_sum(sum: u32, bytes: &[u8]) -> Self {
        Self(Checksum::of(bytes).value() ^ sum)
    }
}

/// What the first bytes of a file are.
pub(super) enum Read {
    /// A header of this version.
    Header(Header),
    /// A header that is torn or damaged.
    Damaged(Damage),
}

impl Header {
    pub(super) fn encode(self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(self.node.as_bytes());
        out.extend_from_slice(&self.store.to_le_bytes());
        out.extend_from_slice(&self.segment.value().to_le_bytes());
        out.extend_from_slice(&self.first.value().to_le_bytes());
        let (segment, offset) = self.cut.map_or((0, 0), |cut| (cut.segment.value(), cut.offset));
        out.extend_from_slice(&segment.to_le_bytes());
        out.extend_from_slice(&offset.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        let sum = Checksum::of(&out[start..]).value();
        out.extend_from_slice(&sum.to_le_bytes());
    }

    /// Reads the header of a file. Errors are what can be neither ours nor a torn write of ours.
    pub(super) fn read(segment: SegmentId, bytes: &[u8]) -> Result<Read, Error> {
        let magic = &bytes[..bytes.len().min(MAGIC.len())];
        let zero = magic.iter().all(|byte| *byte == 0);
        if !zero && !MAGIC.starts_with(magic) {
            let mut found = [0; 8];
            found[..magic.len()].copy_from_slice(magic);
            return Err(Error::NotALog { segment, found });
        }
        if !bytes.is_empty() && bytes.iter().all(|byte| *byte == 0) {
            return Ok(Read::Damaged(Damage::Zeros { len: len64(bytes) }));
        }
        let Some(header) = bytes.first_chunk::<HEADER>() else {
            return Ok(Read::Damaged(Damage::Short { need: HEADER as u64, have: len64(bytes) }));
        };
        let (expected, found) = (le32(header, 76), Checksum::of(&header[..76]).value());
        if zero || expected != found {
            return Ok(Read::Damaged(Damage::Header { expected, found }));
        }
        let found = le32(header, 8);
        if found != VERSION {
            return Err(Error::FutureVersion { segment, found, known: VERSION });
        }
        let cut = Place { segment: SegmentId::new(le64(header, 56)), offset: le64(header, 64) };
        Ok(Read::Header(Self {
            node: NodeId::from_bytes(header[16..32].try_into().expect("the range is sixteen long")),
            store: le64(header, 32),
            segment: SegmentId::new(le64(header, 40)),
            first: Lsn::new(le64(header, 48)),
            cut: (cut.segment > SegmentId::ZERO).then_some(cut),
        }))
    }
}

/// Whose log a segment is of, and of which store, by its header; `None` if the header is damaged. Looks at nothing else.
///
/// # Errors
/// When the file is no segment, or one of a later version.
pub fn owner(segment: SegmentId, bytes: &[u8]) -> Result<Option<(NodeId, u64)>, Error> {
    Ok(match Header::read(segment, bytes)? {
        Read::Header(header) => Some((header.node, header.store)),
        Read::Damaged(_) => None,
    })
}

/// How long, as offsets count.
pub(super) fn len64(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).expect("memory is smaller than 2^64 bytes")
}

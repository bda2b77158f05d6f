//! A snapshot as bytes. No IO: bytes in, bytes out.

use std::fmt;

use bincode::{Decode, Encode};
use bytes::Bytes;

use super::Mark;
use crate::documents::Kept;
use crate::node::life::Life;
use crate::node::policies::Remembered;
use crate::replication::Slots;
use crate::types::{Checksum, Hlc, NodeId, SegmentId, WallTime};
use crate::wal::{Codec, Packed, Packer};
use crate::{consensus, roles};

const MAGIC: [u8; 8] = *b"OXHASNP\n";
const VERSION: u32 = 1;
const HEADER: usize = 64;
const HEAD: usize = 24;
/// Bytes of a chunk, unpacked, at most: many times what one is begun with, since a document may have many places.
pub(super) const PLAIN_MAX: usize = 32 << 20;

/// What a chunk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Documents,
    Logs,
    End,
    Decided,
    Roles,
    Policies,
}

impl Kind {
    const fn number(self) -> u8 {
        match self {
            Self::Documents => 1,
            Self::Logs => 2,
            Self::End => 3,
            Self::Decided => 4,
            Self::Roles => 5,
            Self::Policies => 6,
        }
    }
}

/// The last chunk: what makes the file whole.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(in crate::node) struct End {
    /// Chunks, documents and entries before.
    pub(super) chunks: u32,
    pub(super) documents: u64,
    pub(super) entries: u64,
    /// Of all heads before.
    pub(super) sum: u32,
    pub(super) mark: Mark,
    /// The lengths of the main chain's segments before the mark's.
    pub(super) segments: Vec<u64>,
    pub(super) life: Life,
    pub(super) stamps: (Hlc, Hlc),
    pub(super) taken: WallTime,
}

/// A snapshot, as read.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) store: u64,
    pub(super) end: End,
    pub(super) documents: Vec<Kept>,
    pub(super) slots: Vec<Slots>,
    /// Of consensus.
    pub(super) decided: Vec<consensus::Record>,
    /// Of roles.
    pub(super) roles: Vec<roles::Record>,
    /// By which the node showed what met: one, or none.
    pub(super) policies: Vec<Remembered>,
}

/// Sets a file's chunks apart from those of all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seed(Checksum);

/// The first bytes of a snapshot, and what its chunks are summed with.
pub(super) fn header(node: NodeId, store: u64, number: SegmentId) -> (Vec<u8>, Seed) {
    let mut out = Vec::with_capacity(HEADER);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(node.as_bytes());
    out.extend_from_slice(&store.to_le_bytes());
    out.extend_from_slice(&number.value().to_le_bytes());
    out.extend_from_slice(&[0; 12]);
    let seed = Seed(Checksum::of(&out[16..48]));
    out.extend_from_slice(&Checksum::of(&out).value().to_le_bytes());
    (out, seed)
}

/// A chunk that a worker compresses and frames.
#[derive(Clone, PartialEq, Eq)]
pub struct Pack {
    pub(super) seed: Seed,
    pub(super) kind: Kind,
    pub(super) codec: Codec,
    pub(super) number: u32,
    pub(super) plain: Vec<u8>,
}

impl fmt::Debug for Pack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, codec, number, plain, .. } = self;
        write!(f, "Pack({kind:?} {number} {codec} {} bytes {})", plain.len(), Checksum::of(plain))
    }
}

impl Pack {
    /// How many bytes are to be compressed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.plain.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty()
    }

    /// The same, not compressed.
    #[must_use]
    pub fn raw(self) -> Self {
        Self { codec: Codec::None, ..self }
    }

    /// The bytes to be written. The same for the same chunk.
    #[must_use]
    pub fn run(self) -> Bytes {
        let Self { seed, kind, codec, number, plain } = self;
        let (codec, stored) = match Packer::new(codec).pack(&plain) {
            Packed::Smaller(packed) => (codec, packed),
            // What does not get smaller, or does not come back as it went in, is stored as it is.
            Packed::Raw | Packed::Wrong => (Codec::None, plain.clone()),
        };
        let mut out = vec![0; 4];
        out.extend_from_slice(&[kind.number(), codec.number(), 0, 0]);
        for field in [len32(stored.len()), len32(plain.len()), number, Checksum::of(&stored).value()] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        let sum = seed.0.and(&out[4..]);
        out[..4].copy_from_slice(&sum.value().to_le_bytes());
        out.extend_from_slice(&stored);
        out.into()
    }
}

/// The sum of all heads, with this chunk's.
pub(super) fn summed(sum: Checksum, chunk: &[u8]) -> Checksum {
    sum.and(&chunk[..HEAD.min(chunk.len())])
}

fn len32(len: usize) -> u32 {
    u32::try_from(len).expect("chunks are bounded")
}

/// Appends a value.
pub(super) fn put(value: &impl Encode, out: &mut Vec<u8>) {
    bincode::encode_into_std_write(value, out, bincode::config::standard()).expect("writing to a Vec does not fail");
}

/// All values of a chunk.
fn all<T: Decode<()>>(mut plain: &[u8], into: &mut Vec<T>) -> Result<(), String> {
    while !plain.is_empty() {
        let config = bincode::config::standard().with_limit::<PLAIN_MAX>();
        let (value, read) = bincode::decode_from_slice(plain, config).map_err(|error| error.to_string())?;
        into.push(value);
        plain = plain.get(read.max(1)..).unwrap_or_default();
    }
    Ok(())
}

struct Chunk<'a> {
    kind: u8,
    codec: Codec,
    plain: usize,
    stored: &'a [u8],
}

/// The chunk at the front of `rest`, which is the file's `number`th.
fn chunk(rest: &[u8], seed: Seed, number: u32) -> Result<(Chunk<'_>, &[u8]), String> {
    let (head, behind) =
        rest.split_first_chunk::<HEAD>().ok_or("it ends in the middle: it was not written to its end")?;
    let field = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if seed.0.and(&head[4..]).value() != field(0) {
        return Err("the head's checksum is wrong".to_owned());
    }
    let codec = Codec::of_number(head[5]).filter(|_| head[6..8] == [0; 2]).ok_or("the head is of no known form")?;
    if field(16) != number {
        return Err(format!("it says that it is chunk {}", field(16)));
    }
    let fits = |len: u32| usize::try_from(len).ok().filter(|len| *len <= PLAIN_MAX).ok_or("it is too long");
    let (stored, plain) = (fits(field(8))?, fits(field(12))?);
    let (stored, rest) =
        behind.split_at_checked(stored).ok_or("it ends in the middle: it was not written to its end")?;
    if Checksum::of(stored).value() != field(20) {
        return Err("its checksum is wrong".to_owned());
    }
    Ok((Chunk { kind: head[4], codec, plain, stored }, rest))
}

/// Reads a whole snapshot.
///
/// # Errors
/// Where and why it is none, or not whole, in words.
pub(super) fn read(node: NodeId, number: SegmentId, bytes: &[u8]) -> Result<Read, String> {
    let (head, mut rest) = bytes.split_first_chunk::<HEADER>().ok_or("it ends within its header")?;
    let version = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
    if head[..8] != MAGIC || Checksum::of(&head[..60]).value().to_le_bytes() != head[60..] {
        return Err("its header is damaged".to_owned());
    }
    if version != VERSION {
        return Err(format!("it is of version {version}, and this program knows {VERSION}"));
    }
    let store = u64::from_le_bytes(head[32..40].try_into().expect("8 bytes"));
    let (expected, seed) = header(node, store, number);
    if head[..] != expected[..] {
        return Err("it is of another node, or of another number".to_owned());
    }
    let (mut documents, mut slots, mut sum) = (Vec::new(), Vec::new(), Checksum::of(&[]));
    let (mut decided, mut roles, mut policies) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0.. {
        let offset = bytes.len() - rest.len();
        let at = |why: String| format!("chunk {n} at byte {offset}: {why}");
        let (chunk, behind) = chunk(rest, seed, n).map_err(at)?;
        let plain = chunk.codec.unpack(chunk.stored, chunk.plain).map_err(at)?;
        match chunk.kind {
            1 => all(&plain, &mut documents).map_err(at)?,
            2 => all(&plain, &mut slots).map_err(at)?,
            4 => all(&plain, &mut decided).map_err(at)?,
            5 => all(&plain, &mut roles).map_err(at)?,
            6 => all(&plain, &mut policies).map_err(at)?,
            3 => {
                let mut ends: Vec<End> = Vec::new();
                all(&plain, &mut ends).map_err(at)?;
                let end = ends.pop().filter(|_| ends.is_empty() && behind.is_empty());
                let end = end.ok_or_else(|| at("it is no end, or not the last".to_owned()))?;
                let entries = slots.iter().map(|slots: &Slots| slots.entries.len() as u64).sum::<u64>();
                let counted = (n, documents.len() as u64, entries, sum.value());
                if counted != end.counts() {
                    return Err(at(format!("it counts {:?} and {counted:?} are there", end.counts())));
                }
                return Ok(Read { store, end, documents, slots, decided, roles, policies });
            }
            kind => return Err(at(format!("it is of kind {kind}"))),
        }
        sum = summed(sum, rest);
        rest = behind;
    }
    Err("it has no end".to_owned())
}

impl End {
    const fn counts(&self) -> (u32, u64, u64, u32) {
        (self.chunks, self.documents, self.entries, self.sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes_of_header_and_chunk() {
        let (header, seed) = header(NodeId::from_u128(1), 2, SegmentId::new(1 << 62 | 3));
        let id = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let store_number = [2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 64];
        let plain = [b"OXHASNP\n", &[1, 0, 0, 0, 0, 0, 0, 0][..], &id, &store_number, &[0; 12]].concat();
        assert_eq!(header, [&plain[..], &Checksum::of(&plain).value().to_le_bytes()].concat());
        let pack = Pack { seed, kind: Kind::Logs, codec: Codec::None, number: 5, plain: vec![9, 8] };
        let head = [2, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0];
        let head = [&head[..], &Checksum::of(&[9, 8]).value().to_le_bytes()].concat();
        let sum = Checksum::of(&plain[16..48]).and(&head).value().to_le_bytes();
        assert_eq!(pack.run(), [&sum[..], &head, &[9, 8]].concat());
    }

    quickcheck::quickcheck! {
        fn bytes_that_are_no_snapshot_are_refused(bytes: Vec<u8>, codec: u8) -> bool {
            let (node, number) = (NodeId::from_u128(1), SegmentId::new(1 << 62 | 3));
            let (mut file, seed) = header(node, 2, number);
            let codec = Codec::ALL[usize::from(codec % 4)];
            for kind in [Kind::Documents, Kind::Logs, Kind::End, Kind::Decided, Kind::Roles, Kind::Policies] {
                // Well framed, and no values.
                let mut file = file.clone();
                let pack = Pack { seed, kind, codec, number: 0, plain: [&[255][..], &bytes].concat() };
                file.extend_from_slice(&pack.run());
                if read(node, number, &file).is_ok() {
                    return false;
                }
            }
            file.extend_from_slice(&bytes);
            read(node, number, &file).is_err() && read(node, number, &bytes).is_err()
        }
    }
}

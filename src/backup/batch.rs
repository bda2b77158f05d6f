//! Records in a row, as plain bytes and packed: what objects are made of. `FORMAT.md` has the bytes.

use bytes::Bytes;

use super::codec::{BackupCompression, Packed, Packer};
use super::error::Error;
use super::manifest::LSN_MAX;
use crate::types::{Hlc, Lsn, Position, SegmentId, WallTime};
use crate::wal::{Frame, RECORD_MAX};

/// Bytes before a batch's content.
pub(super) const HEAD: usize = 32;
/// Bytes before a record's payload.
pub(super) const RECORD: usize = 17;
/// A batch is closed when its plain records are this long: what a codec needs to be good, and little to lose time on.
pub(super) const BATCH_BYTES: usize = 1 << 20;
/// The longest batch: one that is nearly full, and the longest record.
const PLAIN_MAX: usize = BATCH_BYTES + RECORD + RECORD_MAX;

/// Records that follow each other in one segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Batch {
    segment: SegmentId,
    first: Lsn,
    count: u32,
    plain: Vec<u8>,
}

impl Batch {
    pub(super) fn new(segment: SegmentId, first: Lsn) -> Self {
        Self { segment, first, count: 0, plain: Vec::new() }
    }

    /// Whether this record may follow.
    pub(super) fn takes(&self, frame: &Frame) -> bool {
        self.segment == frame.position.segment && self.plain.len() < BATCH_BYTES
    }

    /// Appends a record: the one after the last, which the caller has checked.
    pub(super) fn push(&mut self, frame: &Frame) {
        put_record(frame, &mut self.plain);
        self.count += 1;
    }

    pub(super) fn plain_len(&self) -> u64 {
        u64::try_from(self.plain.len()).expect("lengths fit 64 bits")
    }

    /// Appends the batch, packed, to the body of an object.
    pub(super) fn pack(&self, packer: &mut Packer, codec: BackupCompression, body: &mut Vec<u8>) -> Result<(), Error> {
        let chain = self.segment.chain();
        let packed = match packer.pack(&self.plain) {
            Packed::Raw => None,
            Packed::Smaller(packed) => Some(packed),
            Packed::Wrong => return Err(Error::Codec { chain, first: self.first, codec: codec.name() }),
        };
        let (number, stored) = packed.as_ref().map_or((0, &self.plain), |packed| (codec.number(), packed));
        body.extend_from_slice(&[number, 0, 0, 0]);
        body.extend_from_slice(&self.count.to_le_bytes());
        body.extend_from_slice(&self.segment.value().to_le_bytes());
        body.extend_from_slice(&self.first.value().to_le_bytes());
        body.extend_from_slice(&len32(&self.plain).to_le_bytes());
        body.extend_from_slice(&len32(stored).to_le_bytes());
        body.extend_from_slice(stored);
        Ok(())
    }
}

/// The bytes by which a record is kept, and known again.
pub(super) fn put_record(frame: &Frame, out: &mut Vec<u8>) {
    out.extend_from_slice(&len32(&frame.payload).to_le_bytes());
    out.extend_from_slice(&frame.hlc.wall.as_micros().to_le_bytes());
    out.extend_from_slice(&frame.hlc.logical.to_le_bytes());
    out.push(frame.kind);
    out.extend_from_slice(&frame.payload);
}

fn len32(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("batches are shorter than 2^32 bytes")
}

/// The next batch of a body, from byte `at` on; none at its end.
///
/// # Errors
/// What is wrong, in words; what came before is good, and nothing comes behind.
pub(super) fn next(body: &Bytes, at: &mut usize) -> Option<Result<Vec<Frame>, String>> {
    (*at < body.len()).then(|| {
        let read = read(body, at);
        *at = if read.is_ok() { *at } else { body.len() };
        read
    })
}

fn read(body: &Bytes, at: &mut usize) -> Result<Vec<Frame>, String> {
    let start = *at;
    let wrong = |what: &str| format!("the batch at byte {start} of its content {what}");
    let head: &[u8; HEAD] = body[start..].first_chunk().ok_or_else(|| wrong("ends before its head does"))?;
    let codec = BackupCompression::of_number(head[0]).filter(|_| head[1..4] == [0; 3]);
    let codec = codec.ok_or_else(|| wrong("is of no codec that is known"))?;
    let (segment, first) = (SegmentId::new(le64(head, 8)), le64(head, 16));
    let (count, plain, stored) = (le32(head, 4), le32(head, 24), le32(head, 28));
    if plain > PLAIN_MAX || first == 0 || first > LSN_MAX.value() {
        return Err(wrong("says of itself what cannot be"));
    }
    *at = start + HEAD + stored;
    let stored = body.get(start + HEAD..*at).ok_or_else(|| wrong("is longer than its object"))?;
    let plain = match codec {
        BackupCompression::None if stored.len() == plain => body.slice(start + HEAD..*at),
        _ => Bytes::from(codec.unpack(stored, plain).map_err(|error| wrong(&format!("cannot be unpacked: {error}")))?),
    };
    // What a batch of these bytes can hold at most bounds what is allocated.
    let mut frames = Vec::with_capacity(count.min(plain.len() / RECORD));
    let (mut from, mut lsn) = (0, Lsn::new(first));
    while from < plain.len() {
        let head: &[u8; RECORD] = plain[from..].first_chunk().ok_or_else(|| wrong("ends within a record"))?;
        let end = from + RECORD + le32(head, 0);
        let payload = plain.get(from + RECORD..end).ok_or_else(|| wrong("ends within a record"))?;
        let payload = plain.slice_ref(payload);
        let hlc = Hlc { wall: WallTime::from_micros(le64(head, 4)), logical: narrow(le32(head, 12)) };
        let position = Position { segment, offset: 0, len: 0 };
        frames.push(Frame { lsn, kind: head[16], hlc, position, payload });
        (from, lsn) = (end, lsn.next());
    }
    if frames.len() == count && count > 0 {
        Ok(frames)
    } else {
        Err(wrong("has another count of records than it says"))
    }
}

fn le32(bytes: &[u8], at: usize) -> usize {
    let read = u32::from_le_bytes(bytes[at..at + 4].try_into().expect("the range is four long"));
    usize::try_from(read).expect("addresses have 32 bits at least")
}

fn narrow(read: usize) -> u32 {
    u32::try_from(read).expect("it was read from four bytes")
}

pub(super) fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("the range is eight long"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    fn frame(lsn: u64, kind: u8, payload: &[u8]) -> Frame {
        let hlc = Hlc { wall: WallTime::from_micros(lsn * 7), logical: u32::from(kind) };
        let position = Position { segment: SegmentId::new(3), offset: 0, len: 0 };
        Frame { lsn: Lsn::new(lsn), kind, hlc, position, payload: Bytes::copy_from_slice(payload) }
    }

    #[test]
    fn golden_bytes() {
        let mut batch = Batch::new(SegmentId::new(3), Lsn::new(5));
        batch.push(&frame(5, 1, b"ab"));
        let mut body = Vec::new();
        batch.pack(&mut Packer::new(BackupCompression::None), BackupCompression::None, &mut body).unwrap();
        let head =
            [[0, 0, 0, 0, 1, 0, 0, 0], [3, 0, 0, 0, 0, 0, 0, 0], [5, 0, 0, 0, 0, 0, 0, 0], [19, 0, 0, 0, 19, 0, 0, 0]];
        let record = [2, 0, 0, 0, 35, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, b'a', b'b'];
        assert_eq!(body, [head.as_flattened(), &record[..]].concat());
    }

    quickcheck! {
        fn a_batch_gives_back_its_records(payloads: Vec<Vec<u8>>, first: u32, codec: u8) -> bool {
            let codec = BackupCompression::ALL[usize::from(codec % 4)];
            let first = u64::from(first) + 1;
            let framed = |(lsn, payload): (u64, &Vec<u8>)| frame(lsn, payload.first().copied().unwrap_or(9), payload);
            let frames: Vec<Frame> = (first..).zip(&payloads).map(framed).collect();
            let mut batch = Batch::new(SegmentId::new(3), Lsn::new(first));
            frames.iter().for_each(|frame| batch.push(frame));
            let mut body = Vec::new();
            if !frames.is_empty() {
                batch.pack(&mut Packer::new(codec), codec, &mut body).unwrap();
            }
            let body = Bytes::from(body);
            let mut at = 0;
            std::iter::from_fn(|| next(&body, &mut at)).collect::<Result<Vec<_>, _>>().unwrap().concat() == frames
        }

        fn garbage_is_refused_in_words(bytes: Vec<u8>) -> bool {
            let bytes = Bytes::from(bytes);
            let mut at = 0;
            bytes.is_empty() || std::iter::from_fn(|| next(&bytes, &mut at)).any(|batch| batch.is_err())
        }
    }
}

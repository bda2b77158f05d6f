//! The search for an intact record behind damage.

use super::frame::{self, ALIGN, HEAD, Head, Read, le32};
use super::header::Mask;

/// What a power cut loses or keeps as one: no disk has smaller sectors.
const SECTOR: usize = 512;

/// How many times its own length a segment may be summed when its mask is unknown. An honest segment needs one.
const UNKNOWN_MASK_ROUNDS: usize = 4;

/// An intact record that was found behind damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Intact {
    pub(super) offset: usize,
    pub(super) head: Head,
}

/// The first intact frame at or behind `from`, which is a multiple of 8. `most` bounds the LSN of a frame at the start of
/// the file.
///
/// Cost: one look at sixteen bytes per candidate; one checksum of 36 bytes for the few whose fields are plausible; one
/// checksum of the payload for those whose head is right, which no payload can imitate. So linear in the file's length.
pub(super) fn intact(bytes: &[u8], from: usize, most: u64, mask: Mask) -> Option<Intact> {
    candidates(bytes, from, most).find_map(|(offset, _)| match frame::read(bytes, offset, mask) {
        Read::Frame(head) => Some(Intact { offset, head }),
        Read::Unknown | Read::Damaged(_) => None,
    })
}

/// The same when the mask is lost with the only header: a frame whose two checksums agree on one mask is intact.
/// Here a payload can imitate, so the work has a bound.
///
/// # Errors
/// When the bound is reached: how many bytes were summed.
pub(super) fn intact_unmasked(bytes: &[u8], from: usize, most: u64) -> Result<Option<Intact>, u64> {
    let (mut summed, bound) = (0_usize, UNKNOWN_MASK_ROUNDS * bytes.len());
    for (offset, head) in candidates(bytes, from, most) {
        let Some(frame) = bytes.get(offset..offset + head.frame_len()) else { continue };
        summed += frame.len();
        if summed > bound {
            return Err(summed as u64);
        }
        if Mask::from_sum(le32(frame, 0), &frame[4..HEAD]) == Mask::from_sum(le32(frame, 36), &frame[HEAD..]) {
            return Ok(Some(Intact { offset, head }));
        }
    }
    Ok(None)
}

/// Where a frame may stand, by what its fields say.
fn candidates(bytes: &[u8], from: usize, most: u64) -> impl Iterator<Item = (usize, Head)> + '_ {
    (from..bytes.len()).step_by(ALIGN).filter_map(move |offset| {
        let head = Head::fields(bytes[offset..].first_chunk()?)?;
        (head.lsn.value() <= most + (offset / HEAD) as u64).then_some((offset, head))
    })
}

/// Whether a sector between the damage at `from` and the intact record at `to` looks never written: all zero, from the
/// damage or the sector's start to the sector's end.
pub(super) fn lost_a_sector(bytes: &[u8], from: usize, to: usize) -> bool {
    (from / SECTOR..=to / SECTOR).any(|sector| {
        let sector = (sector * SECTOR).max(from)..((sector + 1) * SECTOR).min(bytes.len());
        !sector.is_empty() && bytes[sector].iter().all(|byte| *byte == 0)
    })
}

//! What a disk does to what it holds: bits that rot, writes that land elsewhere, writes that never were.
//!
//! A write that went astray is seen by the process as it was meant, from the page cache, until the process ends.

use super::Disk;
use crate::types::SegmentId;

/// A write that did not land where it was meant to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Astray {
    segment: SegmentId,
    offset: u64,
    len: u64,
    /// What says where it landed; nowhere if nothing does.
    bits: Option<u64>,
}

impl Disk {
    /// The next write lands over what is durable, where `bits` say; nowhere without them.
    pub(in crate::sim) fn misplace_next(&mut self, bits: Option<u64>) {
        self.misplace = Some(bits);
    }

    /// The next write lands where it is meant to.
    pub(in crate::sim) fn place_next(&mut self) {
        self.misplace = None;
    }

    /// A write was taken: it may be the one that goes astray.
    pub(super) fn took(&mut self, segment: SegmentId, offset: u64, len: u64) {
        if let Some(bits) = self.misplace.take() {
            self.astray.push(Astray { segment, offset, len, bits });
        }
    }

    /// Whether the next end of the process will find writes astray.
    pub(in crate::sim) fn has_astray(&self) -> bool {
        !self.astray.is_empty()
    }

    /// They landed where they were meant to after all.
    pub(in crate::sim) fn forgive_astray(&mut self) {
        self.astray.clear();
    }

    /// The page cache is gone: what went astray is seen where it is. Says whether anything changed.
    pub(in crate::sim) fn uncover(&mut self) -> bool {
        let mut changed = false;
        for Astray { segment, offset, len, bits } in std::mem::take(&mut self.astray) {
            let Some(file) = self.files.get_mut(&segment) else { continue };
            let place = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(file.len());
            let (from, to) = (place(offset), place(offset + len));
            let written = file[from..to].to_vec();
            file[from..to].fill(0);
            changed |= written.iter().any(|byte| *byte != 0);
            let Some(bits) = bits.filter(|_| !written.is_empty()) else { continue };
            let landed = usize::try_from(bits % offset.max(1)).unwrap_or(0);
            let end = (landed + written.len()).min(from.max(landed));
            file[landed..end].copy_from_slice(&written[..end - landed]);
        }
        changed
    }

    /// A bit of what is there changes. Says whether there is any.
    pub(in crate::sim) fn rot(&mut self, bits: u64) -> bool {
        let used = self.used();
        let Some(mut at) = bits.checked_rem(used) else { return false };
        for file in self.files.values_mut() {
            let len = file.len() as u64;
            if at < len {
                file[usize::try_from(at).expect("below a length")] ^= 1 << (bits >> 32 & 7);
                return true;
            }
            at -= len;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Model, Stop};
    use super::*;
    use crate::sim::luck::Luck;
    use crate::types::PersistId;

    const SEGMENT: SegmentId = SegmentId::new(1);

    fn write(disk: &mut Disk, byte: u8) {
        let offset = disk.len(SEGMENT).unwrap_or(0);
        disk.write(PersistId::new(offset), SEGMENT, offset, &vec![byte; 100].into()).unwrap();
        disk.start_sync();
        assert!(disk.finish_sync().iter().all(|(_, result)| result.is_ok()));
    }

    fn stopped(mut disk: Disk) -> Vec<u8> {
        disk.stop(Stop::Crash, Model::Prefix, 0, Luck::new(1, "").stream(""), 0, 0);
        disk.read(SEGMENT, 0, 1_000).unwrap().to_vec()
    }

    #[test]
    fn a_write_that_was_lost_is_seen_until_the_process_ends() {
        let mut disk = Disk::default();
        write(&mut disk, 1);
        disk.misplace_next(None);
        write(&mut disk, 2);
        write(&mut disk, 3);
        assert_eq!(disk.read(SEGMENT, 100, 100).unwrap(), vec![2; 100]);
        assert_eq!(stopped(disk), [vec![1; 100], vec![0; 100], vec![3; 100]].concat());
    }

    #[test]
    fn a_misdirected_write_is_missing_at_its_place_and_stands_at_another() {
        let mut disk = Disk::default();
        write(&mut disk, 1);
        disk.misplace_next(Some(30));
        write(&mut disk, 2);
        assert_eq!(stopped(disk), [vec![1; 30], vec![2; 70], vec![0; 100]].concat());
    }

    #[test]
    fn one_bit_rots_at_once() {
        let mut disk = Disk::default();
        assert!(!disk.rot(5));
        write(&mut disk, 0);
        assert!(disk.rot(205));
        let changed: Vec<_> =
            disk.read(SEGMENT, 0, 1_000).unwrap().iter().copied().enumerate().filter(|it| it.1 != 0).collect();
        assert_eq!(changed, [(5, 1)]);
    }
}

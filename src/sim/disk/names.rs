//! Names: which files a power loss may take as a whole, and which ones that were removed it may give back.
//!
//! A file that is made has its name for good once its directory is synced. The driver does that with the first sync of the file,
//! before it answers any write to it, and before it makes the next one of the same family. What it removes is gone for good when
//! it has answered that; files are removed one after the other.

use std::collections::{BTreeSet, VecDeque};

use super::Disk;
use crate::probe::planted;
use crate::sim::luck::Stream;
use crate::types::{Family, SegmentId};

/// What is not sure of the names yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// Files whose names no sync of the directory has covered.
    fresh: BTreeSet<SegmentId>,
    /// Operations that are not answered, in order; with what was removed, if it was not only shortened.
    going: VecDeque<Option<(SegmentId, Vec<u8>)>>,
}

impl Names {
    /// A file is made.
    pub(super) fn made(&mut self, segment: SegmentId) {
        if !planted!("disk/names-not-synced") {
            self.fresh.retain(|earlier| earlier.family() != segment.family());
        }
        self.fresh.insert(segment);
    }

    /// A sync has covered these files.
    pub(super) fn synced(&mut self, segments: impl Iterator<Item = SegmentId>) {
        if !planted!("disk/names-not-synced") {
            segments.for_each(|segment| _ = self.fresh.remove(&segment));
        }
    }

    pub(super) fn is_durable(&self, segment: SegmentId) -> bool {
        !self.fresh.contains(&segment)
    }

    /// A file is shortened, or removed with these bytes.
    pub(super) fn goes(&mut self, removed: Option<(SegmentId, Vec<u8>)>) {
        if let Some((segment, _)) = &removed {
            self.fresh.remove(segment);
        }
        self.going.push_back(removed);
    }
}

impl Disk {
    /// A file is shortened or removed, and the process knows.
    pub(in crate::sim) fn answered_removal(&mut self) {
        self.names.going.pop_front();
    }

    /// The power goes: names that were not durable are there or not, and what was removed last may be there again.
    pub(super) fn lose_names(&mut self, luck: Stream, entity: u64, base: u64) {
        let Names { fresh, going } = std::mem::take(&mut self.names);
        for (n, segment) in (0..).zip(&fresh) {
            if luck.chance(entity, base + n, 500_000) {
                self.files.remove(segment);
            }
        }
        let done = luck.below(entity, base + (1 << 10), going.len() as u64 + 1);
        for (segment, bytes) in going.into_iter().skip(usize::try_from(done).expect("a usize")).flatten() {
            self.files.entry(segment).or_insert(bytes);
        }
    }

    /// A process opens what is there: the driver syncs the directory and what it reads.
    pub(in crate::sim) fn open(&mut self) {
        self.names = Names::default();
        self.durable = self.files.iter().map(|(segment, bytes)| (*segment, bytes.len() as u64)).collect();
    }

    /// How many bytes of a file are on the medium.
    pub(in crate::sim) fn written_len(&self, segment: SegmentId) -> u64 {
        self.durable.get(&segment).copied().unwrap_or(0)
    }

    /// How many bytes of a file are on the medium, and can be found there.
    pub(in crate::sim) fn durable_len(&self, segment: SegmentId) -> u64 {
        if self.names.is_durable(segment) { self.written_len(segment) } else { 0 }
    }

    /// The files of this family whose names and bytes are on the medium in full.
    pub(in crate::sim) fn whole(&self, family: Family) -> impl Iterator<Item = SegmentId> {
        let whole = move |(segment, bytes): &(&SegmentId, &Vec<u8>)| {
            segment.family() == family && self.durable_len(**segment) >= bytes.len() as u64
        };
        self.files.iter().filter(whole).map(|(segment, _)| *segment)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::{Model, Stop};
    use super::*;
    use crate::sim::luck::Luck;
    use crate::types::PersistId;

    fn write(disk: &mut Disk, segment: u64, offset: u64) {
        let bytes = Bytes::from_static(b"123456");
        disk.write(PersistId::new(offset), SegmentId::new(segment), offset, &bytes).unwrap();
    }

    fn sync(disk: &mut Disk) {
        disk.start_sync();
        assert!(disk.finish_sync().iter().all(|(_, result)| result.is_ok()));
    }

    /// What of the files is there after a power loss, over seeds.
    fn left(disk: &Disk) -> BTreeSet<Vec<u64>> {
        let stopped = |seed| {
            let mut disk = disk.clone();
            disk.stop(Stop::PowerLoss, Model::Prefix, 0, Luck::new(seed, "").stream("stop"), 0, 0);
            disk.list().into_iter().map(|(segment, _)| segment.value()).collect()
        };
        (0..50).map(stopped).collect()
    }

    #[test]
    fn a_file_that_was_synced_is_there_and_one_that_was_not_is_there_or_not() {
        let mut disk = Disk::default();
        write(&mut disk, 1, 0);
        sync(&mut disk);
        assert_eq!((disk.durable_len(SegmentId::new(1)), left(&disk)), (6, BTreeSet::from([vec![1]])));
        write(&mut disk, 2, 0);
        assert_eq!((disk.durable_len(SegmentId::new(2)), left(&disk)), (0, BTreeSet::from([vec![1], vec![1, 2]])));
        disk.fail_next_sync = true;
        disk.start_sync();
        disk.finish_sync();
        assert_eq!((disk.durable_len(SegmentId::new(2)), left(&disk)), (0, BTreeSet::from([vec![1], vec![1, 2]])));
    }

    #[test]
    fn files_that_were_removed_are_there_again_until_that_is_answered_the_last_first() {
        let mut disk = Disk::default();
        for segment in [1, 2, 3] {
            write(&mut disk, segment, 0);
        }
        sync(&mut disk);
        disk.truncate(SegmentId::new(1), 0).unwrap();
        disk.truncate(SegmentId::new(2), 0).unwrap();
        assert_eq!(left(&disk), BTreeSet::from([vec![1, 2, 3], vec![2, 3], vec![3]]));
        disk.answered_removal();
        assert_eq!(left(&disk), BTreeSet::from([vec![2, 3], vec![3]]));
        disk.answered_removal();
        assert_eq!(left(&disk), BTreeSet::from([vec![3]]));
    }
}

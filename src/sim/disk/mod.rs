//! One node's disk, on the real log bytes: what the process sees, what is durable, and what a crash leaves of the rest.
//!
//! A write is seen by the process at once and durable only when a sync that began after it has ended; one sync serves all
//! writes that waited for it. A *crash* ends the process: what the kernel was given stays, what still waited in the process
//! is gone. A *power loss* takes the page cache too: each write that no sync had covered is kept, dropped or torn at sector
//! boundaries. A file that was made may then be gone as a whole, and one that was removed may be there again (`names`). Taken from the fault models of TigerBeetle's VOPR and of turmoil-fs; torn sectors as ALICE (OSDI 2014) found.

mod damage;
mod names;
mod newer;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::luck::Stream;
use crate::probe::planted;
use crate::types::{DiskFault, DiskFaultKind, Family, PersistId, SegmentId};

/// A disk writes sectors whole or not at all.
const SECTOR: u64 = 512;
/// Or pages.
const PAGE: u64 = 4_096;

/// What survives of writes that no sync had covered when the power went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Model {
    /// They reach the platter in order: a prefix survives, its last write perhaps torn.
    #[default]
    Prefix,
    /// The same, of a disk that writes pages of 4096 bytes: the last write is always torn.
    Page,
    /// They reach it in any order: each sector survives or not, and holes read as zeros.
    Subset,
}

/// How the process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// `kill -9`: the kernel lives on.
    Crash,
    /// The machine lost power.
    PowerLoss,
}

/// The segment files of one node.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    files: BTreeMap<SegmentId, Vec<u8>>,
    /// Not durable yet, in order of the writes. The first [`Self::syncing`] belong to the running sync.
    waiting: VecDeque<Write>,
    syncing: usize,
    /// Writes whose sync failed: nobody knows what the disk holds of them.
    doubtful: Vec<Write>,
    /// How much of each file is on the medium, whatever becomes of the rest.
    durable: BTreeMap<SegmentId, u64>,
    names: names::Names,
    /// Bytes that fit; `None` is no limit.
    pub(super) capacity: Option<u64>,
    /// The next sync fails.
    pub(super) fail_next_sync: bool,
    poisoned: bool,
    /// For want of room, and for nothing else.
    full: bool,
    /// How the next write goes astray, and those that did.
    misplace: Option<Option<u64>>,
    astray: Vec<damage::Astray>,
    /// What a process of the next version left.
    newer: Option<newer::Newer>,
}

#[derive(Clone, Debug)]
struct Write {
    id: PersistId,
    segment: SegmentId,
    offset: u64,
    len: u64,
    result: Result<(), DiskFault>,
}

impl Disk {
    /// An empty disk.
    pub(super) fn new(capacity: Option<u64>) -> Self {
        Self { capacity, ..Self::default() }
    }

    /// Takes a write. Afterwards a sync must run: see [`start_sync`](Self::start_sync).
    ///
    /// # Errors
    /// The node's own mistake: it writes elsewhere than at the file's end. The disk is unchanged.
    pub(super) fn write(
        &mut self,
        id: PersistId,
        segment: SegmentId,
        offset: u64,
        bytes: &Bytes,
    ) -> Result<(), String> {
        let len = bytes.len() as u64;
        let mut result = self.admit(segment.family(), len);
        let half = result.is_err() && planted!("disk/half-record-accepted");
        if half {
            (self.poisoned, self.full, result) = (false, false, Ok(()));
        }
        if result.is_ok() {
            let end = self.len(segment).unwrap_or(0);
            if end != offset {
                return Err(format!("a write of {len} bytes at {offset} of segment {segment}, whose end is {end}"));
            }
            if offset == 0 {
                self.names.made(segment);
            }
            let file = self.files.entry(segment).or_default();
            file.extend_from_slice(bytes);
            if half {
                let fits = file.len() - bytes.len() / 2;
                file[fits..].fill(0);
            }
            self.took(segment, offset, len);
        }
        self.waiting.push_back(Write { id, segment, offset, len, result });
        Ok(())
    }

    fn admit(&mut self, family: Family, len: u64) -> Result<(), DiskFault> {
        if self.poisoned {
            return Err(fault(DiskFaultKind::Poisoned, "write", "an earlier write failed"));
        }
        if self.capacity.is_some_and(|capacity| self.used() + len > capacity) {
            // The log can do without a snapshot, and goes on.
            if family != Family::Snapshot {
                (self.poisoned, self.full) = (true, true);
            }
            return Err(fault(DiskFaultKind::Full, "write", "No space left on device (os error 28)"));
        }
        Ok(())
    }

    /// Takes writes again behind these ends, if it was for want of room that it did not, and so much is free.
    pub(super) fn reopen(&mut self, ends: [(SegmentId, u64); 2], room: u64) -> Result<(), DiskFault> {
        if !self.full {
            return Err(fault(DiskFaultKind::Poisoned, "reopen", "it was not for want of room that a write failed"));
        }
        if self.capacity.is_some_and(|capacity| self.used() + room > capacity) {
            return Err(fault(DiskFaultKind::Full, "write", "No space left on device (os error 28)"));
        }
        for (segment, len) in ends {
            let behind = |there: &SegmentId| there.family() == segment.family() && *there > segment;
            self.files.retain(|there, _| !behind(there));
            if let Some(bytes) = self.files.get_mut(&segment) {
                bytes.truncate(usize::try_from(len).unwrap_or(usize::MAX));
            }
        }
        self.files.retain(|_, bytes| !bytes.is_empty());
        (self.poisoned, self.full) = (false, false);
        Ok(())
    }

    /// Begins a sync of all that waits, unless one runs or nothing waits. Says whether one began.
    pub(super) fn start_sync(&mut self) -> bool {
        let idle = self.syncing == 0;
        if idle {
            self.syncing = self.waiting.len();
        }
        idle && self.syncing > 0
    }

    /// Where the writes stand that the running sync covers, and how long each is.
    pub(super) fn covered(&self) -> Vec<(SegmentId, u64, u64)> {
        self.waiting.iter().take(self.syncing).map(|write| (write.segment, write.offset, write.len)).collect()
    }

    /// The running sync has ended: the writes that it covered and what came of them, in order. If it failed, no later write is
    /// done either.
    pub(super) fn finish_sync(&mut self) -> Vec<(PersistId, Result<(), DiskFault>)> {
        let failed = std::mem::take(&mut self.fail_next_sync);
        let covered: Vec<_> = self.waiting.drain(..std::mem::take(&mut self.syncing)).collect();
        let done = covered.iter().filter(|write| write.result.is_ok());
        if failed {
            self.doubtful.extend(done.cloned());
        } else {
            done.clone().for_each(|write| _ = self.durable.insert(write.segment, write.offset + write.len));
            self.names.synced(done.map(|write| write.segment));
        }
        // A second one would find nothing to do: the kernel has marked the pages clean.
        let refuses = failed && !planted!("disk/failed-sync-tried-again");
        if refuses {
            (self.poisoned, self.full) = (true, false);
            self.refuse_waiting();
        }
        let answer = |write: Write| match write.result {
            Ok(()) if refuses => Err(fault(DiskFaultKind::Failed, "sync", "Input/output error (os error 5)")),
            result => result,
        };
        covered.into_iter().map(|write| (write.id, answer(write))).collect()
    }

    /// What the driver had not written when a sync failed is not written any more.
    fn refuse_waiting(&mut self) {
        let waits = |write: &&mut Write| write.result.is_ok() && write.segment.family() != Family::Snapshot;
        for write in self.waiting.iter_mut().filter(waits) {
            write.result = Err(fault(DiskFaultKind::Poisoned, "write", "an earlier sync failed"));
            if let Some(bytes) = self.files.get_mut(&write.segment) {
                bytes.truncate(usize::try_from(write.offset).unwrap_or(usize::MAX).min(bytes.len()));
            }
        }
        self.files.retain(|_, bytes| !bytes.is_empty());
    }

    /// What a start would find of these files.
    pub(super) fn copy(&self, wanted: impl Fn(SegmentId) -> bool) -> BTreeMap<SegmentId, Vec<u8>> {
        self.files.iter().filter(|(file, _)| wanted(**file)).map(|(file, bytes)| (*file, bytes.clone())).collect()
    }

    /// The operator removes all snapshots, so that the next start reads the whole log.
    pub(super) fn remove_snapshots(&mut self) {
        self.files.retain(|file, _| file.family() != Family::Snapshot);
    }

    /// The files in order, with their lengths.
    pub(super) fn list(&self) -> Vec<(SegmentId, u64)> {
        self.files.iter().map(|(segment, bytes)| (*segment, bytes.len() as u64)).collect()
    }

    /// Part of a file; fewer bytes if it ends before.
    ///
    /// # Errors
    /// [`DiskFaultKind::Missing`] when there is no such file.
    pub(super) fn read(&self, segment: SegmentId, offset: u64, len: u64) -> Result<Bytes, DiskFault> {
        let bytes = self.files.get(&segment).ok_or_else(|| missing("read", segment))?;
        let at = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(bytes.len());
        Ok(Bytes::copy_from_slice(&bytes[at(offset)..at(offset.saturating_add(len))]))
    }

    /// Shortens a file, durably; to nothing removes it.
    ///
    /// # Errors
    /// [`DiskFaultKind::Missing`] when there is no such file.
    pub(super) fn truncate(&mut self, segment: SegmentId, len: u64) -> Result<(), DiskFault> {
        let bytes = self.files.get_mut(&segment).ok_or_else(|| missing("truncate", segment))?;
        if len > 0 {
            bytes.truncate(usize::try_from(len).unwrap_or(usize::MAX));
            self.durable.entry(segment).and_modify(|durable| *durable = len.min(*durable));
        }
        let removed = if len == 0 { self.files.remove_entry(&segment) } else { None };
        if removed.is_some() {
            self.durable.remove(&segment);
        }
        self.names.goes(removed);
        Ok(())
    }

    /// The process ends. What is left of writes that were not durable is drawn from `luck`; `torn_ppm` is how often the
    /// last of them is torn. Afterwards all that is left is durable, as if the next start had synced it. Says whether what was
    /// durable is not what it was.
    pub(super) fn stop(
        &mut self,
        how: Stop,
        model: Model,
        torn_ppm: u64,
        luck: Stream,
        entity: u64,
        counter: u64,
    ) -> bool {
        let syncing = std::mem::take(&mut self.syncing);
        let mut open = std::mem::take(&mut self.doubtful);
        let mut given = open.len();
        for (n, write) in self.waiting.drain(..).enumerate().filter(|(_, write)| write.result.is_ok()) {
            given += usize::from(n < syncing);
            open.push(write);
        }
        let base = counter << 20;
        let torn = luck.chance(entity, base, torn_ppm);
        match (how, model) {
            (Stop::Crash, _) => {
                let left = if torn { given.saturating_sub(1) } else { given };
                self.cut_after(&open, left, torn, 1, luck.bits(entity, base + 1));
            }
            (Stop::PowerLoss, model) => {
                // The families are different files: what is left of one says nothing of the others.
                for (family, part) in Family::ALL.into_iter().zip([0, 1 << 19, 1 << 18]) {
                    let of: Vec<Write> =
                        open.iter().filter(|write| write.segment.family() == family).cloned().collect();
                    self.lose_power(&of, model, torn_ppm, luck, entity, base | part);
                }
                self.lose_names(luck, entity, base | 1 << 17);
            }
        }
        let changed = self.uncover();
        self.forgive();
        changed
    }

    /// The power goes while these writes of one chain are not durable.
    fn lose_power(&mut self, open: &[Write], model: Model, torn_ppm: u64, luck: Stream, entity: u64, base: u64) {
        let torn = model == Model::Page || luck.chance(entity, base, torn_ppm);
        if model != Model::Subset {
            let left = usize::try_from(luck.below(entity, base + 2, open.len() as u64 + 1)).expect("a usize");
            let grain = if model == Model::Page { PAGE } else { SECTOR };
            return self.cut_after(open, left, torn, grain, luck.bits(entity, base + 1));
        }
        // A segment is durable before the next one's file is made: only one of them can be in pieces.
        let mut segments: Vec<_> = open.iter().map(|write| write.segment).collect();
        segments.dedup();
        let broken = usize::try_from(luck.below(entity, base + 2, segments.len() as u64)).expect("a usize");
        let Some(broken) = segments.get(broken).copied() else { return };
        let whole = open.iter().take_while(|write| write.segment < broken).count();
        let within = open[whole..].iter().take_while(|write| write.segment == broken).count();
        self.cut_after(open, whole + within, false, 1, 0);
        self.scatter(&open[whole..whole + within], torn_ppm, luck, entity, base + 3);
    }

    /// What the next start finds: files that have bytes, and no memory of failures.
    fn forgive(&mut self) {
        self.files.retain(|_, bytes| !bytes.is_empty());
        (self.poisoned, self.full, self.fail_next_sync) = (false, false, false);
    }

    /// Keeps the first `left` of the open writes, and a part of the next one if it is torn.
    fn cut_after(&mut self, open: &[Write], left: usize, torn: bool, grain: u64, bits: u64) {
        for (n, write) in open.iter().enumerate().skip(left) {
            let kept = if n == left && torn { torn_len(write, grain, bits) } else { 0 };
            let Some(bytes) = self.files.get_mut(&write.segment) else { continue };
            let end = usize::try_from(write.offset + kept).unwrap_or(usize::MAX);
            bytes.truncate(end.min(bytes.len()));
        }
    }

    /// Each sector of each open write survives or not; the file ends with the last that did. A sector is written whole: with
    /// what a later write put into it comes what earlier ones did.
    fn scatter(&mut self, open: &[Write], torn_ppm: u64, luck: Stream, entity: u64, mut counter: u64) {
        let Some(Write { segment, offset, .. }) = open.first() else { return };
        let mut parts: Vec<(u64, u64, bool)> = Vec::new();
        for write in open {
            let (whole, by_sector) =
                (luck.chance(entity, counter, 500_000), luck.chance(entity, counter + 1, torn_ppm));
            counter += 2;
            let mut at = write.offset;
            while at < write.offset + write.len {
                let next = ((at / SECTOR + 1) * SECTOR).min(write.offset + write.len);
                let kept = if by_sector { luck.chance(entity, counter, 500_000) } else { whole };
                counter += 1;
                parts.push((at, next, kept));
                at = next;
            }
        }
        let mut written = None;
        for (at, _, kept) in parts.iter_mut().rev() {
            *kept |= written == Some(*at / SECTOR);
            written = kept.then_some(*at / SECTOR).or(written);
        }
        let bytes = self.files.entry(*segment).or_default();
        let place = |n: u64, bytes: &[u8]| usize::try_from(n).unwrap_or(usize::MAX).min(bytes.len());
        for (at, next, _) in parts.iter().filter(|(.., kept)| !kept) {
            let (from, to) = (place(*at, bytes), place(*next, bytes));
            bytes[from..to].fill(0);
        }
        let end = parts.iter().filter(|(.., kept)| *kept).map(|(_, next, _)| *next).max().unwrap_or(*offset);
        bytes.truncate(place(end, bytes));
    }

    /// The disk is put back to an image of it that was taken while it was in use: what no sync had covered by then is kept,
    /// dropped or torn, as if the power had gone at that moment.
    pub(super) fn put_back(
        &mut self,
        mut image: Self,
        model: Model,
        torn_ppm: u64,
        luck: Stream,
        entity: u64,
        counter: u64,
    ) {
        image.forgive_astray();
        image.stop(Stop::PowerLoss, model, torn_ppm, luck, entity, counter);
        *self = Self { capacity: self.capacity, ..image };
    }

    /// The machine is replaced by an empty one.
    pub(super) fn wipe(&mut self) {
        *self = Self::new(self.capacity);
    }

    /// Bytes in all files.
    pub(super) fn used(&self) -> u64 {
        self.files.values().map(|bytes| bytes.len() as u64).sum()
    }

    /// Whether a write failed since the log was opened.
    pub(super) fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// Writes that are not durable yet.
    pub(super) fn open_writes(&self) -> usize {
        self.waiting.len()
    }

    fn len(&self, segment: SegmentId) -> Option<u64> {
        self.files.get(&segment).map(|bytes| bytes.len() as u64)
    }
}

/// How many bytes of a torn write are left: fewer than all, ending at a multiple of `grain` in the file.
fn torn_len(write: &Write, grain: u64, bits: u64) -> u64 {
    let wanted = bits % write.len.max(1);
    ((write.offset + wanted) / grain * grain).saturating_sub(write.offset)
}

fn fault(kind: DiskFaultKind, what: &str, why: &str) -> DiskFault {
    DiskFault { kind, what: what.into(), why: why.into() }
}

fn missing(what: &str, segment: SegmentId) -> DiskFault {
    DiskFault { kind: DiskFaultKind::Missing, what: format!("{what} segment {segment}").into(), why: "no file".into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::luck::Luck;

    const SEGMENT: SegmentId = SegmentId::new(1);

    /// Writes of these lengths, each filled with its number; the first `synced` of them durable, the next in a sync.
    fn disk(lens: &[u16], synced: usize, syncing: usize) -> (Disk, Vec<u8>, u64) {
        let (mut disk, mut all, mut durable) = (Disk::default(), Vec::new(), 0);
        for (n, len) in lens.iter().enumerate() {
            let bytes = vec![u8::try_from(n % 255).unwrap() + 1; usize::from(*len)];
            disk.write(PersistId::new(n as u64), SEGMENT, all.len() as u64, &Bytes::copy_from_slice(&bytes)).unwrap();
            all.extend_from_slice(&bytes);
            if n + 1 == synced {
                disk.start_sync();
                disk.finish_sync();
                durable = all.len() as u64;
            }
            if n + 1 == synced + syncing {
                disk.start_sync();
            }
        }
        (disk, all, durable)
    }

    fn image(disk: &Disk) -> Vec<u8> {
        disk.read(SEGMENT, 0, u64::MAX).map(|bytes| bytes.to_vec()).unwrap_or_default()
    }

    quickcheck::quickcheck! {
        fn what_a_sync_covered_survives_everything(lens: Vec<u16>, synced: usize, seed: u64, crash: bool, subset: bool) -> bool {
            let synced = synced % (lens.len() + 1);
            let (mut disk, all, durable) = disk(&lens, synced, 2);
            let how = if crash { Stop::Crash } else { Stop::PowerLoss };
            let model = if subset { Model::Subset } else { Model::Prefix };
            disk.stop(how, model, 500_000, Luck::new(seed, "disk").stream("stop"), 0, 0);
            let (left, durable) = (image(&disk), usize::try_from(durable).unwrap());
            left.len() >= durable && left[..durable] == all[..durable]
        }

        fn in_order_a_prefix_survives_and_nothing_else(lens: Vec<u16>, synced: usize, seed: u64, crash: bool) -> bool {
            let (mut disk, all, _) = disk(&lens, synced % (lens.len() + 1), 2);
            let how = if crash { Stop::Crash } else { Stop::PowerLoss };
            disk.stop(how, Model::Prefix, 500_000, Luck::new(seed, "disk").stream("stop"), 0, 0);
            all.starts_with(&image(&disk))
        }
    }

    #[test]
    fn power_loss_tears_and_drops_over_seeds() {
        let mut lens = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let (mut disk, ..) = disk(&[600, 600, 600], 1, 1);
            disk.stop(Stop::PowerLoss, Model::Prefix, 500_000, Luck::new(seed, "disk").stream("stop"), 0, 0);
            lens.insert(image(&disk).len());
        }
        assert!([600, 1024, 1200, 1536, 1800].iter().all(|len| lens.contains(len)), "{lens:?}");
    }

    #[test]
    fn an_image_holds_what_was_durable_when_it_was_taken_and_nothing_that_came_later() {
        for seed in 0..50 {
            let luck = Luck::new(seed, "disk").stream("image");
            let (mut used, all, durable) = disk(&[600, 600], 1, 0);
            let earlier = used.clone();
            used.start_sync();
            used.finish_sync();
            used.write(PersistId::new(9), SEGMENT, 1_200, &Bytes::from_static(b"later")).unwrap();
            used.put_back(earlier, Model::Prefix, 500_000, luck, 0, 0);
            let left = image(&used);
            assert!(all.starts_with(&left) && left.len() as u64 >= durable, "{}", left.len());
            assert_eq!(used.open_writes(), 0);
        }
    }

    #[test]
    fn a_full_disk_keeps_nothing_of_the_write_and_is_poisoned_until_the_restart() {
        let mut disk = Disk { capacity: Some(10), ..Disk::default() };
        let write = |disk: &mut Disk, id, offset| {
            disk.write(PersistId::new(id), SEGMENT, offset, &Bytes::from_static(b"123456")).unwrap();
            disk.start_sync();
            disk.finish_sync().remove(0).1.map_err(|fault| fault.kind)
        };
        assert_eq!(write(&mut disk, 1, 0), Ok(()));
        assert_eq!(write(&mut disk, 2, 6), Err(DiskFaultKind::Full));
        let ends = [(SEGMENT, 6), (SegmentId::new(1 << 63 | 1), 0)];
        assert_eq!(disk.clone().reopen(ends, 5).map_err(|fault| fault.kind), Err(DiskFaultKind::Full));
        let mut roomy = disk.clone();
        assert_eq!(roomy.reopen(ends, 4), Ok(()));
        roomy.capacity = None;
        assert_eq!(write(&mut roomy, 3, 6), Ok(()));
        assert_eq!(disk.used(), 6);
        disk.capacity = None;
        assert_eq!(write(&mut disk, 3, 6), Err(DiskFaultKind::Poisoned));
        disk.stop(Stop::Crash, Model::Prefix, 0, Luck::new(1, "").stream(""), 0, 0);
        assert_eq!(write(&mut disk, 4, 6), Ok(()));
    }

    #[test]
    fn a_failed_sync_fails_its_writes_and_leaves_them_in_doubt() {
        let (mut disk, ..) = disk(&[600], 0, 1);
        disk.fail_next_sync = true;
        assert_eq!(disk.finish_sync()[0].1.as_ref().map_err(|fault| fault.kind), Err(DiskFaultKind::Failed));
        disk.stop(Stop::PowerLoss, Model::Prefix, 0, Luck::new(3, "").stream(""), 0, 1);
        assert!(image(&disk).is_empty() || image(&disk).len() == 600);
    }

    #[test]
    fn a_write_elsewhere_than_at_the_end_is_the_nodes_mistake() {
        let (mut disk, ..) = disk(&[6], 0, 0);
        assert!(disk.write(PersistId::new(9), SEGMENT, 7, &Bytes::from_static(b"x")).is_err());
    }
}

//! U5: nothing is acknowledged that hangs on a sync that failed. A write that is answered as done is on the medium; behind one that
//! failed none is done until the log is opened again; and no edit is acknowledged whose record is not on the medium.

use super::{AtDisk, Check, Sight, Verdict};
use crate::documents::Stamp;
use crate::types::{DiskFault, Family, SegmentId};
use crate::wal;

/// Holds answers against what the medium has.
pub(super) struct FailedSyncsCount {
    /// What failed in the log of each peer since it was opened.
    failed: Vec<Option<DiskFault>>,
}

impl FailedSyncsCount {
    pub(super) fn new(peers: usize) -> Self {
        Self { failed: vec![None; peers] }
    }

    fn answered(&self, sight: &Sight<'_>, who: u32, segment: SegmentId, end: u64) -> Verdict {
        let (name, file) = (sight.name(who), wal::file_name(segment));
        let durable = sight.hosts[who as usize].disk.written_len(segment);
        if durable < end {
            return Err(format!("{name} is told that {file} is durable up to byte {end}, and it is up to {durable}"));
        }
        match &self.failed[who as usize] {
            Some(fault) if segment.family() != Family::Snapshot => {
                Err(format!("{name} is told that {file} is durable up to byte {end}, behind what failed: {fault}"))
            }
            _ => Ok(()),
        }
    }
}

impl Check for FailedSyncsCount {
    fn id(&self) -> &'static str {
        "U5"
    }

    fn on_disk(&mut self, sight: &Sight<'_>, who: u32, what: AtDisk<'_>) -> Verdict {
        match what {
            AtDisk::Starts | AtDisk::Reopens => self.failed[who as usize] = None,
            AtDisk::Answers { segment, offset, len, result: Ok(()) } => {
                return self.answered(sight, who, segment, offset + len);
            }
            AtDisk::Answers { segment, result: Err(fault), .. } if segment.family() != Family::Snapshot => {
                self.failed[who as usize].get_or_insert_with(|| fault.clone());
            }
            _ => {}
        }
        Ok(())
    }

    fn on_acknowledged(&mut self, sight: &Sight<'_>, who: u32, _: usize, stamp: Option<Stamp>) -> Verdict {
        let place = |stamp: Stamp| sight.node(who)?.replication().position(stamp.log, stamp.seq);
        let (Some(stamp), Some(fault)) = (stamp, &self.failed[who as usize]) else { return Ok(()) };
        let Some(position) = place(stamp) else { return Ok(()) };
        let durable = sight.hosts[who as usize].disk.written_len(position.segment);
        if durable >= position.offset + u64::from(position.len) {
            return Ok(());
        }
        let (name, entry) = (sight.name(who), stamp.log.at(stamp.seq));
        Err(format!("{name} acknowledges {entry}, which is not on its disk since a write failed: {fault}"))
    }
}

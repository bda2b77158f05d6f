//! U6: what finds no room is refused by name and leaves nothing behind: a record that was taken stands there whole, and who was refused
//! one says that it is read-only. A disk that was full and has room again is written again, and nobody has to restart the peer.

use super::super::plan::{Fault, Item};
use super::{AtDisk, Check, Sight, Verdict};
use crate::types::{Checksum, DiskFaultKind, Family, SegmentId};
use crate::wal;

/// The node looks for room every five seconds at first, and less often where it was full again and again.
const BOUND: u64 = 30_000_000_000;

/// From a write that was refused to the node's word of it: it may be paused or slow.
const TOLD: u64 = 5_000_000_000;

/// Looks at what becomes of writes on disks that have an end, and who takes no edits still when it has been calm for a while.
pub(super) struct RoomIsUsed {
    /// Of each peer the writes on such a disk that were not answered, with their sums.
    open: Vec<Vec<(SegmentId, u64, Checksum)>>,
    /// Since when the log of each peer refuses for want of room.
    full: Vec<Option<u64>>,
}

impl RoomIsUsed {
    pub(super) fn new(peers: usize) -> Self {
        Self { open: vec![Vec::new(); peers], full: vec![None; peers] }
    }

    fn answered(&mut self, sight: &Sight<'_>, who: u32, segment: SegmentId, offset: u64, len: u64) -> Verdict {
        let open = &mut self.open[who as usize];
        let Some(at) = open.iter().position(|(file, from, _)| (*file, *from) == (segment, offset)) else {
            return Ok(());
        };
        let (.., sum) = open.swap_remove(at);
        let disk = &sight.hosts[who as usize].disk;
        if disk.read(segment, offset, len).is_ok_and(|bytes| Checksum::of(&bytes) == sum) {
            return Ok(());
        }
        let (name, file) = (sight.name(who), wal::file_name(segment));
        Err(format!(
            "{name} is told that the {len} bytes at byte {offset} of {file} are written, and they are not there"
        ))
    }

    /// Who was refused a record must say so.
    fn says_so(&mut self, sight: &Sight<'_>) -> Verdict {
        for (place, host, node) in sight.live() {
            let Some(since) = self.full[place as usize] else { continue };
            if node.read_only().is_none() && host.well_for(sight.now, TOLD) && sight.now > since + TOLD {
                return Err(format!("{} was refused a record for want of room, and takes edits", sight.name(place)));
            }
        }
        Ok(())
    }
}

impl Check for RoomIsUsed {
    fn id(&self) -> &'static str {
        "U6"
    }

    fn on_disk(&mut self, sight: &Sight<'_>, who: u32, what: AtDisk<'_>) -> Verdict {
        match what {
            AtDisk::Starts | AtDisk::Reopens => {
                self.open[who as usize].clear();
                self.full[who as usize] = None;
            }
            AtDisk::Writes { segment, offset, bytes } if sight.hosts[who as usize].disk.capacity.is_some() => {
                self.open[who as usize].push((segment, offset, Checksum::of(bytes)));
            }
            AtDisk::Answers { segment, offset, len, result: Ok(()) } => {
                return self.answered(sight, who, segment, offset, len);
            }
            AtDisk::Answers { segment, result: Err(fault), .. }
                if fault.kind == DiskFaultKind::Full && segment.family() != Family::Snapshot =>
            {
                self.full[who as usize] = Some(sight.now);
            }
            _ => {}
        }
        Ok(())
    }

    fn on_tick(&mut self, sight: &Sight<'_>) -> Verdict {
        self.says_so(sight)?;
        // By then every fault that ends has ended. While it lasts nothing reaches such a peer, so nobody waits for the end.
        if sight.scenario.says.disk.capacity.is_some() || sight.now < sight.scenario.calm_at() + BOUND {
            return Ok(());
        }
        for (place, _, node) in sight.live() {
            let full = |item: &&Item| matches!(item.fault, Fault::FullDisk { .. }) && item.fault.peer() == Some(place);
            let fulls: Vec<_> = sight.plan.items.iter().filter(full).collect();
            if fulls.len() > 2 || fulls.iter().any(|item| item.permanent) {
                continue;
            }
            if let Some(fault) = node.read_only().filter(|fault| fault.kind == DiskFaultKind::Full) {
                let name = sight.name(place);
                return Err(format!("{name} takes no edits, and there is room on its disk: {fault}"));
            }
        }
        Ok(())
    }
}

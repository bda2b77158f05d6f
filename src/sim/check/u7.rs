//! U7: a file is removed only when what stands for it is durable, its bytes and its name: a segment of the events' chain when the main
//! chain says that it does not count, a snapshot that counts when a newer one does, a segment of the main chain never. And a
//! snapshot counts when all of it is durable.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{AtDisk, Check, Sight, Verdict};
use crate::node::{Event, Own};
use crate::sim::host::Host;
use crate::types::{Chain, Family, SegmentId};
use crate::wal;

/// Looks at what is removed.
pub(super) struct RemovedBehindDurable {
    /// The snapshots that each peer said were whole.
    taken: Vec<BTreeSet<SegmentId>>,
    /// Who removed one for the sake of a newer one that is durable, and has not said by now that it is whole.
    awaited: BTreeMap<u32, SegmentId>,
}

impl RemovedBehindDurable {
    pub(super) fn new(peers: usize) -> Self {
        Self { taken: vec![BTreeSet::new(); peers], awaited: BTreeMap::new() }
    }
}

impl Check for RemovedBehindDurable {
    fn id(&self) -> &'static str {
        "U7"
    }

    fn on_disk(&mut self, sight: &Sight<'_>, who: u32, what: AtDisk<'_>) -> Verdict {
        let AtDisk::Removes { segment } = what else { return Ok(()) };
        let host = &sight.hosts[who as usize];
        let stands = match segment.family() {
            Family::Snapshot => {
                let taken = &mut self.taken[who as usize];
                let counts = taken.remove(&segment);
                let newer: Vec<_> = host.disk.whole(Family::Snapshot).filter(|newer| *newer > segment).collect();
                if counts && !newer.iter().any(|newer| taken.contains(newer)) {
                    // It is told in the same step that the newest one is whole.
                    self.awaited.insert(who, segment);
                }
                !counts || !newer.is_empty()
            }
            Family::Log(Chain::Main) => host.disk.durable_len(segment) == 0,
            Family::Log(Chain::Events) => first_of_events(host).is_none_or(|first| first > segment),
        };
        if stands {
            return Ok(());
        }
        let (name, file) = (sight.name(who), wal::file_name(segment));
        Err(format!("{name} removes {file}, and nothing durable stands for it"))
    }

    fn on_event(&mut self, sight: &Sight<'_>, who: u32, event: &Event) -> Verdict {
        let Event::SnapshotTaken { id, .. } = event else { return Ok(()) };
        let disk = &sight.hosts[who as usize].disk;
        let number = SegmentId::new(Family::SNAPSHOTS.value() + id);
        self.taken[who as usize].insert(number);
        self.awaited.remove(&who);
        if disk.whole(Family::Snapshot).any(|whole| whole == number) {
            return Ok(());
        }
        let (name, durable) = (sight.name(who), disk.durable_len(number));
        Err(format!("{name} counts on snapshot {id}, of which {durable} bytes are durable"))
    }

    fn on_tick(&mut self, sight: &Sight<'_>) -> Verdict {
        let Some((who, segment)) = self.awaited.pop_first() else { return Ok(()) };
        let (name, file) = (sight.name(who), wal::file_name(segment));
        Err(format!("{name} has removed {file}, and the newer ones are not whole"))
    }

    fn on_wiped(&mut self, who: u32) {
        self.taken[who as usize].clear();
        self.awaited.remove(&who);
    }

    fn on_snapshots_removed(&mut self, who: u32) {
        self.taken[who as usize].clear();
    }

    fn on_put_back(&mut self, who: u32, _: usize) {
        self.taken[who as usize].clear();
    }
}

/// With which segment the events' chain begins, as what is durable of the main chain says; none if that is damaged.
fn first_of_events(host: &Host) -> Option<SegmentId> {
    let mut scanner = wal::Scanner::new(host.id);
    let mut first = SegmentId::ZERO;
    for (segment, mut bytes) in host.disk.copy(|file| file.family() == Family::Log(Chain::Main)) {
        bytes.truncate(usize::try_from(host.disk.durable_len(segment)).unwrap_or(usize::MAX));
        for frame in scanner.segment(segment, &Bytes::from(bytes)).ok()? {
            if let Own::Trim(trim) = Own::decode(frame.kind, &frame.payload).ok()? {
                first = trim.first;
            }
        }
    }
    Some(first)
}

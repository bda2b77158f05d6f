//! U8: names are old or new, never none: a file of which a write was answered is there at the next start, as long as that, unless it
//! was removed since. What was not answered may be there or not.

use std::collections::BTreeMap;

use super::{AtDisk, Check, Sight, Verdict};
use crate::types::{Family, SegmentId};
use crate::wal;

/// Up to which byte each file was answered.
type Answered = BTreeMap<SegmentId, u64>;

/// Looks for files at each start.
pub(super) struct NamesStay {
    answered: Vec<Answered>,
    /// The same, as it was when an image was taken.
    images: BTreeMap<usize, Answered>,
}

impl NamesStay {
    pub(super) fn new(peers: usize) -> Self {
        Self { answered: vec![Answered::new(); peers], images: BTreeMap::new() }
    }
}

impl Check for NamesStay {
    fn id(&self) -> &'static str {
        "U8"
    }

    fn on_disk(&mut self, sight: &Sight<'_>, who: u32, what: AtDisk<'_>) -> Verdict {
        let answered = &mut self.answered[who as usize];
        match what {
            // It may be removed while the last writes to it are on their way.
            AtDisk::Answers { segment, offset, len, result: Ok(()) }
                if sight.hosts[who as usize].disk.read(segment, 0, 0).is_ok() =>
            {
                answered.insert(segment, offset + len);
            }
            AtDisk::Removes { segment } => _ = answered.remove(&segment),
            AtDisk::Starts => {
                let found: Answered = sight.hosts[who as usize].disk.list().into_iter().collect();
                for (segment, len) in &*answered {
                    let there = found.get(segment).copied();
                    if there.is_none_or(|there| there < *len) {
                        let (name, file) = (sight.name(who), wal::file_name(*segment));
                        return Err(format!("{name} finds {there:?} bytes of {file}, of which {len} were durable"));
                    }
                }
                // A start syncs the directory: what it finds has its name from now on, though the end of it may be cut.
                found.into_keys().for_each(|segment| _ = answered.entry(segment).or_insert(0));
            }
            _ => {}
        }
        Ok(())
    }

    fn on_wiped(&mut self, who: u32) {
        self.answered[who as usize].clear();
    }

    fn on_snapshots_removed(&mut self, who: u32) {
        self.answered[who as usize].retain(|file, _| file.family() != Family::Snapshot);
    }

    fn on_imaged(&mut self, who: u32, image: usize) {
        self.images.insert(image, self.answered[who as usize].clone());
    }

    fn on_put_back(&mut self, who: u32, image: usize) {
        self.answered[who as usize] = self.images.remove(&image).unwrap_or_default();
    }
}

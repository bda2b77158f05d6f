//! C3: after the calm every acknowledged edit is in every live peer, if any disk held it when others were put back or
//! replaced. Each edit sets a place of its own.

use std::collections::BTreeMap;

use super::disks::{Disks, Entry};
use super::{Check, Sight, Verdict};
use crate::documents::{Listed, Stamp};
use crate::node::Event;
use crate::sim::world::{doc_of, place_of};
use crate::types::{DocId, LogId, Seq, Topic};

/// The acknowledged edits of each document, and whose disks hold the entries.
pub(super) struct NothingLost {
    acknowledged: BTreeMap<DocId, Vec<(usize, Option<Entry>)>>,
    disks: Disks,
    /// What was last written at each place.
    written: BTreeMap<(LogId, Seq), Entry>,
}

impl NothingLost {
    pub(super) fn new() -> Self {
        Self { acknowledged: BTreeMap::new(), disks: Disks::of(Topic::DOCUMENTS), written: BTreeMap::new() }
    }
}

impl Check for NothingLost {
    fn id(&self) -> &'static str {
        "C3"
    }

    fn on_event(&mut self, _: &Sight<'_>, who: u32, event: &Event) -> Verdict {
        self.written.extend(self.disks.on_event(who, event));
        Ok(())
    }

    fn on_acknowledged(&mut self, sight: &Sight<'_>, _: u32, edit: usize, stamp: Option<Stamp>) -> Verdict {
        let entry = stamp.and_then(|stamp| self.written.get(&(stamp.log, stamp.seq)).copied());
        self.acknowledged.entry(doc_of(sight.plan.edits[edit].doc)).or_default().push((edit, entry));
        Ok(())
    }

    fn on_wiped(&mut self, who: u32) {
        self.disks.wipe(who);
    }

    fn on_imaged(&mut self, who: u32, image: usize) {
        self.disks.image(who, image);
    }

    fn on_put_back(&mut self, who: u32, image: usize) {
        self.disks.put_back(who, image);
    }

    fn on_content(&mut self, sight: &Sight<'_>, who: u32, docs: &[Listed]) -> Verdict {
        let held: BTreeMap<_, _> = docs.iter().map(|listed| (&listed.doc, &listed.value)).collect();
        for (doc, edits) in &self.acknowledged {
            for (edit, entry) in edits {
                let found = held.get(doc).and_then(|value| value.as_ref()?.get(place_of(*edit))?.as_u64());
                let gone = entry.is_some_and(|entry| self.disks.is_gone(sight, &entry));
                if found != Some(*edit as u64) && !gone {
                    let (who, writer) = (sight.name(who), sight.name(sight.plan.edits[*edit].peer));
                    return Err(format!("edit {edit} of {doc}, acknowledged by {writer}, is not at {who}: {found:?}"));
                }
            }
        }
        Ok(())
    }
}

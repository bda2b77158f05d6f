//! C3: after the calm every acknowledged edit is in every live peer, if any disk held it when others were put back or
//! replaced. Each edit sets a place of its own.
//!
//! An entry is known by its origin, its stamp and its body, under whatever name it stands in which log. What is durable somewhere
//! counts, also on a machine that is down: it comes back before the end.

use std::collections::{BTreeMap, BTreeSet};

use xxhash_rust::xxh3::xxh3_64;

use super::{Check, Sight, Verdict};
use crate::documents::{Listed, Stamp};
use crate::node::Event;
use crate::replication;
use crate::sim::world::{doc_of, place_of};
use crate::types::{DocId, Hlc, LogId, NodeId, Seq};

/// An entry, whatever it is called: its origin, its stamp, and its body's hash. Two lives of a peer may stamp alike.
type Entry = (NodeId, Hlc, u64);

/// The acknowledged edits of each document, and whose disks hold the entries.
#[derive(Default)]
pub(super) struct NothingLost {
    acknowledged: BTreeMap<DocId, Vec<(usize, Option<Entry>)>>,
    holders: BTreeMap<Entry, BTreeSet<u32>>,
    /// What was last written at each place.
    written: BTreeMap<(LogId, Seq), Entry>,
    /// What a disk held when an image was taken of it.
    images: BTreeMap<usize, BTreeSet<Entry>>,
    /// What no disk holds any more.
    lost: BTreeSet<Entry>,
}

impl NothingLost {
    /// Whether nobody holds it who was healed.
    fn is_stranded(&self, sight: &Sight<'_>, entry: &Entry) -> bool {
        let holders = self.holders.get(entry);
        sight.core.is_some() && !holders.is_some_and(|holders| holders.iter().any(|place| sight.is_healed(*place)))
    }

    /// This disk holds this now, and nothing else.
    fn replace(&mut self, who: u32, kept: &BTreeSet<Entry>) {
        for (entry, holders) in self.holders.iter_mut().filter(|(entry, _)| !kept.contains(entry)) {
            if holders.remove(&who) && holders.is_empty() {
                self.lost.insert(*entry);
            }
        }
        // An image may hold what was lost when another one was put back.
        for entry in kept {
            self.holders.entry(*entry).or_default().insert(who);
            self.lost.remove(entry);
        }
    }
}

impl Check for NothingLost {
    fn id(&self) -> &'static str {
        "C3"
    }

    fn on_event(&mut self, _: &Sight<'_>, who: u32, event: &Event) -> Verdict {
        use replication::Event as E;
        let Event::Replication(event) = event else { return Ok(()) };
        if let E::Delivered { log, hlc, body, .. } | E::Originated { log, hlc, body, .. } = event {
            let entry = (log.actor.node, *hlc, xxh3_64(body));
            self.holders.entry(entry).or_default().insert(who);
            if let E::Originated { log, seq, .. } = event {
                self.written.insert((*log, *seq), entry);
            }
        }
        Ok(())
    }

    fn on_acknowledged(&mut self, sight: &Sight<'_>, _: u32, edit: usize, stamp: Option<Stamp>) -> Verdict {
        let entry = stamp.and_then(|stamp| self.written.get(&(stamp.log, stamp.seq)).copied());
        self.acknowledged.entry(doc_of(sight.plan.edits[edit].doc)).or_default().push((edit, entry));
        Ok(())
    }

    fn on_wiped(&mut self, who: u32) {
        self.replace(who, &BTreeSet::new());
    }

    fn on_imaged(&mut self, who: u32, image: usize) {
        let held = self.holders.iter().filter(|(_, holders)| holders.contains(&who)).map(|(entry, _)| *entry);
        self.images.insert(image, held.collect());
    }

    fn on_put_back(&mut self, who: u32, image: usize) {
        let held = self.images.remove(&image).unwrap_or_default();
        self.replace(who, &held);
    }

    fn on_content(&mut self, sight: &Sight<'_>, who: u32, docs: &[Listed]) -> Verdict {
        let held: BTreeMap<_, _> = docs.iter().map(|listed| (&listed.doc, &listed.value)).collect();
        for (doc, edits) in &self.acknowledged {
            for (edit, entry) in edits {
                let found = held.get(doc).and_then(|value| value.as_ref()?.get(place_of(*edit))?.as_u64());
                let lost = entry.is_some_and(|entry| self.lost.contains(&entry) || self.is_stranded(sight, &entry));
                if found != Some(*edit as u64) && !lost {
                    let (who, writer) = (sight.name(who), sight.name(sight.plan.edits[*edit].peer));
                    return Err(format!("edit {edit} of {doc}, acknowledged by {writer}, is not at {who}: {found:?}"));
                }
            }
        }
        Ok(())
    }
}

//! Whose disks hold which entry: the ground truth of what may be lost. C3 and S1 ask it.
//!
//! An entry is known by its origin, its stamp and its body, under whatever name it stands in which log. What is durable somewhere
//! counts, also on a machine that is down: it comes back before the end.

use std::collections::{BTreeMap, BTreeSet};

use xxhash_rust::xxh3::xxh3_64;

use super::Sight;
use crate::node::Event;
use crate::replication;
use crate::types::{Hlc, LogId, NodeId, Seq, Topic};

/// An entry, whatever it is called: its origin, its stamp, and its body's hash. Two lives of a peer may stamp alike.
pub(super) type Entry = (NodeId, Hlc, u64);

/// What all disks hold of one topic.
pub(super) struct Disks {
    topic: Topic,
    holders: BTreeMap<Entry, BTreeSet<u32>>,
    /// What a disk held when an image was taken of it.
    images: BTreeMap<usize, BTreeSet<Entry>>,
    /// What no disk holds any more.
    lost: BTreeSet<Entry>,
}

impl Disks {
    pub(super) fn of(topic: Topic) -> Self {
        let (holders, images, lost) = Default::default();
        Self { topic, holders, images, lost }
    }

    /// Notes what a node says that it wrote; what it wrote of its own is given back, with its place.
    pub(super) fn on_event(&mut self, who: u32, event: &Event) -> Option<((LogId, Seq), Entry)> {
        use replication::Event as E;
        let Event::Replication(E::Delivered { log, seq, hlc, body, .. } | E::Originated { log, seq, hlc, body, .. }) =
            event
        else {
            return None;
        };
        if log.topic != self.topic {
            return None;
        }
        let entry = (log.actor.node, *hlc, xxh3_64(body));
        self.holders.entry(entry).or_default().insert(who);
        matches!(event, Event::Replication(E::Originated { .. })).then_some(((*log, *seq), entry))
    }

    /// A machine was replaced by an empty one, or nobody knows what is left on it.
    pub(super) fn wipe(&mut self, who: u32) {
        self.replace(who, &BTreeSet::new());
    }

    /// An image of this number was taken of a disk.
    pub(super) fn image(&mut self, who: u32, image: usize) {
        let held = self.holders.iter().filter(|(_, holders)| holders.contains(&who)).map(|(entry, _)| *entry);
        self.images.insert(image, held.collect());
    }

    /// A disk was put back to an image.
    pub(super) fn put_back(&mut self, who: u32, image: usize) {
        let held = self.images.remove(&image).unwrap_or_default();
        self.replace(who, &held);
    }

    /// Whether an entry may be missing: no disk holds it any more, or none that was healed.
    pub(super) fn is_gone(&self, sight: &Sight<'_>, entry: &Entry) -> bool {
        let healed = |holders: &BTreeSet<u32>| holders.iter().any(|place| sight.is_healed(*place));
        self.lost.contains(entry) || (sight.core.is_some() && !self.holders.get(entry).is_some_and(healed))
    }

    /// The same of all entries that this peer stamped so.
    pub(super) fn are_gone(&self, sight: &Sight<'_>, origin: NodeId, hlc: Hlc) -> bool {
        let mut entries = self.holders.range((origin, hlc, 0)..=(origin, hlc, u64::MAX));
        entries.all(|(entry, _)| self.is_gone(sight, entry))
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

//! Entries that were refused: where they stand, whose log brought them, and why.
//!
//! A refused entry stays in the log, which is the evidence, and goes on to others like any entry: each refuses it alike, since
//! whether a change is admitted depends on its bytes and its past alone. It is in no document. Here it is listed, so that an
//! operator sees whose peer is ill or lies; releasing it has it read and judged again, which helps after an update of a peer
//! that was stricter than the others.
//!
//! An origin's first refused entries are listed, the rest is counted: what is listed is bounded, and an origin that
//! sends poison without end neither pushes others out nor costs more.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::types::{DocId, LogId, NodeId, Seq};

/// Entries listed at most, over all origins.
pub const QUARANTINE_MAX: usize = 1_000;
/// Entries of one origin listed at most.
const LISTED_MAX: usize = 100;
/// Longest reason that is kept, in bytes.
const WHY_MAX: usize = 200;

/// An entry that was refused and is in no document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Quarantined {
    /// Whose log brought it.
    pub log: LogId,
    /// Its place there.
    pub seq: Seq,
    /// Which document it is about; absent if it does not even say that.
    pub doc: Option<DocId>,
    /// Why it was refused.
    pub why: String,
}

/// What was refused since the start.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    entries: BTreeMap<(LogId, Seq), Quarantined>,
    /// How many each origin's logs brought, and how many of them are listed.
    origins: BTreeMap<NodeId, (u64, usize)>,
}

impl Quarantine {
    /// Notes a refused entry.
    pub(super) fn add(&mut self, doc: Option<DocId>, log: LogId, seq: Seq, mut why: String) {
        let listed = self.entries.len();
        let (refused, own) = self.origins.entry(log.actor.node).or_default();
        if self.entries.contains_key(&(log, seq)) {
            return;
        }
        *refused += 1;
        if *own < LISTED_MAX && listed < QUARANTINE_MAX {
            *own += 1;
            why.truncate(why.floor_char_boundary(WHY_MAX));
            self.entries.insert((log, seq), Quarantined { log, seq, doc, why });
        }
    }

    /// What is listed, in order of log and place.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Quarantined> {
        self.entries.values()
    }

    /// How many entries of each origin were refused.
    pub(super) fn origins(&self) -> impl Iterator<Item = (NodeId, u64)> {
        self.origins.iter().map(|(node, (refused, _))| (*node, *refused))
    }

    /// Forgets what was noted of one origin, or of all; gives what was listed.
    pub(super) fn release(&mut self, origin: Option<NodeId>) -> Vec<Quarantined> {
        let chosen = |node: NodeId| origin.is_none_or(|origin| origin == node);
        self.origins.retain(|node, _| !chosen(*node));
        self.entries.extract_if(.., |(log, _), _| chosen(log.actor.node)).map(|(_, entry)| entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Actor, Mint, Topic};

    fn log(node: u128) -> LogId {
        LogId { actor: Actor { node: NodeId::from_u128(node), mint: Mint::new(1) }, topic: Topic::DOCUMENTS }
    }

    #[test]
    fn who_floods_is_counted_and_pushes_nobody_out() {
        let mut quarantine = Quarantine::default();
        for seq in 1..=10_000 {
            quarantine.add(None, log(1), Seq::new(seq), "x".repeat(1_000));
        }
        quarantine.add(None, log(2), Seq::new(7), "too late".to_owned());
        quarantine.add(None, log(2), Seq::new(7), "twice".to_owned());
        let origins: Vec<_> = quarantine.origins().collect();
        assert_eq!(origins, [(NodeId::from_u128(1), 10_000), (NodeId::from_u128(2), 1)]);
        assert_eq!(quarantine.entries().count(), LISTED_MAX + 1);
        assert!(quarantine.entries().all(|entry| entry.why.len() <= WHY_MAX));
        for node in 3..30 {
            (1..=50).for_each(|seq| quarantine.add(None, log(node), Seq::new(seq), String::new()));
        }
        assert_eq!(quarantine.entries().count(), QUARANTINE_MAX);
    }

    #[test]
    fn one_origin_is_released_or_all_are() {
        let mut quarantine = Quarantine::default();
        quarantine.add(None, log(1), Seq::new(1), "a".to_owned());
        quarantine.add(None, log(2), Seq::new(1), "b".to_owned());
        let released = quarantine.release(Some(NodeId::from_u128(1)));
        assert_eq!(released.iter().map(|entry| entry.why.as_str()).collect::<Vec<_>>(), ["a"]);
        assert_eq!(quarantine.origins().count(), 1);
        assert_eq!(quarantine.release(None).len(), 1);
        assert_eq!((quarantine.entries().count(), quarantine.origins().count()), (0, 0));
    }
}

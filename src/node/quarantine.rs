//! Origins whose entries cannot all be used, from what documents and replication know of them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Node;
use crate::documents::Quarantined;
use crate::types::{NodeId, Now};

/// So many logs of one node are no accident any more: each image that its disk was put back to costs one or two.
const LOGS_MANY: usize = 16;
/// So many waiting changes of one node are worth a look.
const WAITING_MANY: usize = 1_000;

/// An origin of which something is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Suspect {
    /// Who.
    pub node: NodeId,
    /// Entries of its logs that were refused since the start or the last release.
    pub refused: u64,
    /// Changes of its logs that wait for others.
    pub waiting: usize,
    /// How many logs it has: each time it wrote two entries at one place there is one more.
    pub logs: usize,
}

/// What is quarantined.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Quarantine {
    /// The origins concerned, in order of id.
    pub origins: Vec<Suspect>,
    /// Refused entries, in order of log and place; an origin's first hundred, a thousand in all.
    pub entries: Vec<Quarantined>,
}

impl Node {
    /// What is quarantined, and whose it is.
    #[must_use]
    pub fn quarantine(&self) -> Quarantine {
        let entries = self.documents.view().quarantine().cloned().collect();
        Quarantine { origins: self.suspects(), entries }
    }

    /// Origins of which something is wrong, in order of id.
    pub(super) fn suspects(&self) -> Vec<Suspect> {
        let mut logs: BTreeMap<NodeId, usize> = BTreeMap::new();
        for (log, _) in self.replication.view().vector().iter() {
            *logs.entry(log.actor.node).or_default() += 1;
        }
        let documents = self.documents.view();
        let refused: BTreeMap<NodeId, u64> = documents.refused_by_origin().collect();
        let waiting = documents.orphans_by_origin();
        let suspect = |(node, logs)| Suspect {
            node,
            refused: refused.get(&node).copied().unwrap_or_default(),
            waiting: waiting.get(&node).copied().unwrap_or_default(),
            logs,
        };
        let wrong = |one: &Suspect| one.refused > 0 || one.waiting >= WAITING_MANY || one.logs >= LOGS_MANY;
        logs.into_iter().map(suspect).filter(wrong).collect()
    }

    /// Has the refused entries of an origin judged again, or of all; how many.
    pub(super) fn release(&mut self, now: Now, origin: Option<NodeId>) -> usize {
        let mut released = 0;
        self.shared.step(now, |cx| released = self.documents.release(cx, origin));
        released
    }
}

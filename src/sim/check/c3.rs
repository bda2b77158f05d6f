//! C3: after the calm every acknowledged edit is in every live peer. Each edit sets a place of its own.

use std::collections::{BTreeMap, BTreeSet};

use super::{Check, Sight, Verdict};
use crate::documents::{Listed, Stamp};
use crate::sim::world::{doc_of, place_of};
use crate::types::DocId;

/// The acknowledged edits of each document.
#[derive(Default)]
pub(super) struct NothingLost {
    acknowledged: BTreeMap<DocId, Vec<usize>>,
    /// Edits of a wiped machine may be lost with it.
    wiped: BTreeSet<u32>,
}

impl Check for NothingLost {
    fn id(&self) -> &'static str {
        "C3"
    }

    fn on_acknowledged(&mut self, sight: &Sight<'_>, _: u32, edit: usize, _: Option<Stamp>) -> Verdict {
        self.acknowledged.entry(doc_of(sight.plan.edits[edit].doc)).or_default().push(edit);
        Ok(())
    }

    fn on_wiped(&mut self, who: u32) {
        self.wiped.insert(who);
    }

    fn on_content(&mut self, sight: &Sight<'_>, who: u32, docs: &[Listed]) -> Verdict {
        let held: BTreeMap<_, _> = docs.iter().map(|listed| (&listed.doc, &listed.value)).collect();
        for (doc, edits) in &self.acknowledged {
            for edit in edits {
                let found = held.get(doc).and_then(|value| value.as_ref()?.get(place_of(*edit))?.as_u64());
                let writer = sight.plan.edits[*edit].peer;
                if found != Some(*edit as u64) && !self.wiped.contains(&writer) {
                    let (who, writer) = (sight.name(who), sight.name(writer));
                    return Err(format!("edit {edit} of {doc}, acknowledged by {writer}, is not at {who}: {found:?}"));
                }
            }
        }
        Ok(())
    }
}

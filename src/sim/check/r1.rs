//! R1: an acknowledgement that speaks of copies was true: every member that it names had the entry on its disk by then. And so
//! the edit lives as long as one of these disks: after the calm it is in every live peer unless all of them were replaced or put
//! back.

use std::collections::{BTreeMap, BTreeSet};

use super::{Check, Sight, Verdict};
use crate::documents::Listed;
use crate::node::Event;
use crate::replication;
use crate::sim::outcome::Figures;
use crate::sim::world::{doc_of, place_of};
use crate::types::{LogId, NodeId, Seq};

/// Who holds which entry, and what was acknowledged with copies.
#[derive(Default)]
pub(super) struct CopiesAreThere {
    holders: BTreeMap<(LogId, Seq), BTreeSet<u32>>,
    /// For each edit the disks that held it when it was acknowledged.
    copied: BTreeMap<usize, BTreeSet<u32>>,
    /// Whose disk was replaced or put back: what it held is not held against it.
    destroyed: BTreeSet<u32>,
    lagging: u64,
}

impl Check for CopiesAreThere {
    fn id(&self) -> &'static str {
        "R1"
    }

    fn on_event(&mut self, _: &Sight<'_>, who: u32, event: &Event) -> Verdict {
        use replication::Event as E;
        match event {
            Event::Replication(E::Originated { log, seq, .. } | E::Delivered { log, seq, .. }) => {
                self.holders.entry((*log, *seq)).or_default().insert(who);
            }
            Event::Replication(E::Lagging { .. }) => self.lagging += 1,
            _ => {}
        }
        Ok(())
    }

    fn on_copied(
        &mut self,
        sight: &Sight<'_>,
        who: u32,
        edit: Option<usize>,
        place: (LogId, Seq),
        members: &[NodeId],
    ) -> Verdict {
        // Logs are dense: who holds a later entry has this one. And one that crashed before it could tell has it read back.
        let (log, seq) = place;
        let told =
            |at: u32| self.holders.range((log, seq)..=(log, Seq::new(u64::MAX))).any(|(_, who)| who.contains(&at));
        let held =
            |at: u32| told(at) || sight.node(at).is_some_and(|node| node.replication().position(log, seq).is_some());
        let mut disks = BTreeSet::from([who]);
        for member in members {
            let Some(at) = sight.place(*member) else {
                return Err(format!("{member} is said to hold a copy, and is nobody"));
            };
            let holds = held(at) || self.destroyed.contains(&at);
            if !holds || !disks.insert(at) {
                let (who, entry) = (sight.name(who), place.0.at(place.1));
                return Err(format!("{who} counts {} as a copy of {entry}, and it holds none", sight.name(at)));
            }
        }
        if let Some(edit) = edit {
            self.copied.insert(edit, disks);
        }
        Ok(())
    }

    fn on_wiped(&mut self, who: u32) {
        self.destroyed.insert(who);
    }

    fn on_put_back(&mut self, who: u32, _: usize) {
        self.destroyed.insert(who);
    }

    fn on_content(&mut self, sight: &Sight<'_>, who: u32, docs: &[Listed]) -> Verdict {
        let held: BTreeMap<_, _> = docs.iter().map(|listed| (&listed.doc, &listed.value)).collect();
        for (edit, disks) in &self.copied {
            let whole = |place: &u32| !self.destroyed.contains(place) && sight.is_healed(*place);
            if !disks.iter().any(whole) {
                continue;
            }
            let doc = doc_of(sight.plan.edits[*edit].doc);
            let found = held.get(&doc).and_then(|value| value.as_ref()?.get(place_of(*edit))?.as_u64());
            if found != Some(*edit as u64) {
                return Err(format!(
                    "edit {edit} was on several disks, one of which is whole, and is not at {}",
                    sight.name(who)
                ));
            }
        }
        Ok(())
    }

    fn figures(&self, figures: &mut Figures) {
        figures.lagging = self.lagging;
    }
}

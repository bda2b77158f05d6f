//! R4: a pause that the operator was told of, or its end, survives a restart. An end that was asked for and not answered may be
//! on the disk.

use std::collections::{BTreeMap, BTreeSet};

use super::super::plan::{Fault, Item};
use super::{Check, Sight, Verdict};
use crate::node::{BootReport, Event};
use crate::replication;
use crate::types::NodeId;

/// Whom each peer has paused, as far as it has told.
#[derive(Default)]
pub(super) struct PausesLast {
    paused: BTreeMap<u32, BTreeSet<NodeId>>,
    images: BTreeMap<usize, BTreeSet<NodeId>>,
}

impl Check for PausesLast {
    fn id(&self) -> &'static str {
        "R4"
    }

    fn on_event(&mut self, _: &Sight<'_>, who: u32, event: &Event) -> Verdict {
        let Event::Replication(replication::Event::Paused { peer, paused, .. }) = event else { return Ok(()) };
        let all = self.paused.entry(who).or_default();
        _ = if *paused { all.insert(*peer) } else { all.remove(peer) };
        Ok(())
    }

    fn on_wiped(&mut self, who: u32) {
        self.paused.remove(&who);
    }

    fn on_imaged(&mut self, who: u32, image: usize) {
        self.images.insert(image, self.paused.get(&who).cloned().unwrap_or_default());
    }

    fn on_put_back(&mut self, who: u32, image: usize) {
        self.paused.insert(who, self.images.remove(&image).unwrap_or_default());
    }

    fn on_ready(&mut self, sight: &Sight<'_>, who: u32, _: &BootReport) -> Verdict {
        let (Some(node), Some(told)) = (sight.node(who), self.paused.get(&who)) else { return Ok(()) };
        let view = node.replication();
        let holds = view.paused();
        // What it had no time to tell may be there besides.
        let asked_to_end = |whom: &NodeId| {
            // Whoever was replaced since is at no place any more.
            let was_at = |place: u32| sight.place(*whom).is_none_or(|is_at| is_at == place);
            let of =
                |item: &Item| matches!(item.fault, Fault::Hold { peer, whom: place } if peer == who && was_at(place));
            sight
                .plan
                .items
                .iter()
                .any(|item| of(item) && item.until.unwrap_or_else(|| sight.scenario.calm_at()) <= sight.now)
        };
        let lost = told.iter().find(|peer| !holds.contains(peer) && !asked_to_end(peer));
        lost.map_or(Ok(()), |peer| {
            Err(format!("{} has forgotten that it paused {}", sight.name(who), sight.name_of(*peer)))
        })
    }
}

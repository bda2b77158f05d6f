//! K1: at most one peer leads the voters in a term.

use std::collections::BTreeMap;

use super::{Check, Sight, Verdict};
use crate::consensus;
use crate::node::Event;
use crate::sim::outcome::Figures;
use crate::types::{Actor, Epoch, Term};

/// Who led when.
#[derive(Default)]
pub(super) struct OneLeader {
    leaders: BTreeMap<(Epoch, Term), Actor>,
    elections: u64,
}

impl Check for OneLeader {
    fn id(&self) -> &'static str {
        "K1"
    }

    fn on_event(&mut self, sight: &Sight<'_>, who: u32, event: &Event) -> Verdict {
        let Event::Consensus(consensus::Event::Elected { term }) = event else { return Ok(()) };
        let Some(view) = sight.node(who).map(crate::node::Node::consensus) else { return Ok(()) };
        self.elections += 1;
        let (me, at) = (view.id(), (view.epoch(), *term));
        let first = *self.leaders.entry(at).or_insert(me);
        if first == me || sight.trust.is_broken() {
            return Ok(());
        }
        Err(format!("{} and {} lead in term {term}", sight.name_of(first.node), sight.name(who)))
    }

    fn figures(&self, figures: &mut Figures) {
        figures.elections = self.elections;
    }
}

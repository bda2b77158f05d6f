//! K2: nobody takes something else for decided at a place: what peers learn of decisions is one chain, with the same outcomes.

use std::collections::BTreeMap;

use super::trust::Trust;
use super::{Check, Sight, Verdict};
use crate::consensus;
use crate::node::Event;
use crate::types::{Digest, Epoch, Index, Term, digest64};

/// What was decided where.
#[derive(Default)]
pub(super) struct OneHistory {
    decided: BTreeMap<(Epoch, Index), (Term, Digest, u32)>,
    trust: Trust,
}

impl Check for OneHistory {
    fn id(&self) -> &'static str {
        "K2"
    }

    fn on_event(&mut self, sight: &Sight<'_>, who: u32, event: &Event) -> Verdict {
        self.trust.on_event(sight, who, event);
        let (token, says) = match event {
            Event::Consensus(consensus::Event::Committed { token, intent, outcome, .. }) => {
                (token, format!("{intent:?} {outcome:?}"))
            }
            Event::Consensus(consensus::Event::Changed { token, group }) => (token, format!("{group:?}")),
            _ => return Ok(()),
        };
        let found = (token.term, digest64(says.as_bytes()));
        let (term, digest, first) = *self.decided.entry((token.epoch, token.index)).or_insert((found.0, found.1, who));
        if (term, digest) == found || self.trust.is_broken() {
            return Ok(());
        }
        let (other, name) = (sight.name(first), sight.name(who));
        Err(format!(
            "at place {} {other} learnt of a decision of term {term}, {name} of another: {token} {says}",
            token.index
        ))
    }

    fn on_put_back(&mut self, who: u32, _: usize) {
        self.trust.on_forgotten(who);
    }

    fn on_damaged(&mut self, who: u32) {
        self.trust.on_forgotten(who);
    }
}

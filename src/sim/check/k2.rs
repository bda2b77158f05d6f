//! K2: nobody takes something else for decided at a place: what peers learn of decisions is one chain, with the same outcomes. Of a member that
//! holds for the whole log up to where it is committed there, also where an entry tells nothing. And nobody knows less of it than before, unless it starts
//! anew or forgets everything.

use std::collections::BTreeMap;

use super::{Check, Sight, Verdict};
use crate::consensus::{self, Token};
use crate::node::{BootReport, Event};
use crate::types::{Actor, Digest, Epoch, Index, Term, digest64};

/// What was decided where.
#[derive(Default)]
pub(super) struct OneHistory {
    /// What it is and came to, of decisions that were told; and who told it first.
    decided: BTreeMap<(Epoch, Index), (Term, Digest, u32)>,
    /// Of which term the entry is, of all places; and who had it committed first.
    terms: BTreeMap<(Epoch, Index), (Term, u32)>,
    /// Up to where that was looked at in each member's log.
    seen: BTreeMap<u32, (Actor, Epoch, Index)>,
    /// Up to where each peer knew it.
    known: BTreeMap<u32, (Epoch, Index)>,
}

impl OneHistory {
    /// What is committed at a member by now and was not before.
    fn look(&mut self, sight: &Sight<'_>, who: u32) -> Verdict {
        let Some(view) = sight.node(who).map(crate::node::Node::consensus) else { return Ok(()) };
        let known = (view.known().epoch, view.known().index);
        let before = self.known.insert(who, known).unwrap_or_default();
        if known < before && known.1 != Index::ZERO && !sight.trust.is_broken() {
            let name = sight.name(who);
            let place = |(epoch, index): (Epoch, Index)| format!("place {index} of epoch {epoch}");
            return Err(format!(
                "{name} knew what was decided up to {}, and now up to {}",
                place(before),
                place(known)
            ));
        }
        if view.group().is_none() {
            self.seen.remove(&who);
            return Ok(());
        }
        let (me, epoch, commit) = (view.id(), view.epoch(), view.commit());
        let seen = self.seen.insert(who, (me, epoch, commit));
        let from = seen.filter(|(store, of, _)| (*store, *of) == (me, epoch)).map_or(Index::ZERO, |(.., upto)| upto);
        for index in (from.value() + 1..=commit.value()).map(Index::new) {
            let Some(term) = view.term_at(index) else { continue };
            let (known, first) = *self.terms.entry((epoch, index)).or_insert((term, who));
            if known != term && !sight.trust.is_broken() {
                let (other, name) = (sight.name(first), sight.name(who));
                return Err(format!(
                    "at place {index} {other} has what was appended in term {known} for decided, {name} what was in term {term}"
                ));
            }
        }
        Ok(())
    }

    fn told(&mut self, sight: &Sight<'_>, who: u32, token: &Token, says: &str) -> Verdict {
        let found = (token.term, digest64(says.as_bytes()));
        let (term, digest, first) = *self.decided.entry((token.epoch, token.index)).or_insert((found.0, found.1, who));
        if (term, digest) == found || sight.trust.is_broken() {
            return Ok(());
        }
        let (other, name) = (sight.name(first), sight.name(who));
        Err(format!(
            "at place {} {other} learnt of a decision of term {term}, {name} of another: {token} {says}",
            token.index
        ))
    }
}

impl Check for OneHistory {
    fn id(&self) -> &'static str {
        "K2"
    }

    fn on_event(&mut self, sight: &Sight<'_>, who: u32, event: &Event) -> Verdict {
        let Event::Consensus(event) = event else { return Ok(()) };
        self.look(sight, who)?;
        match event {
            consensus::Event::Committed { token, intent, outcome, .. } => {
                self.told(sight, who, token, &format!("{intent:?} {outcome:?}"))
            }
            consensus::Event::Changed { token, group } => self.told(sight, who, token, &format!("{group:?}")),
            _ => Ok(()),
        }
    }

    fn on_ready(&mut self, _: &Sight<'_>, who: u32, _: &BootReport) -> Verdict {
        self.seen.remove(&who);
        self.known.remove(&who);
        Ok(())
    }

    fn on_tick(&mut self, sight: &Sight<'_>) -> Verdict {
        (0..).take(sight.hosts.len()).try_for_each(|who| self.look(sight, who))
    }
}

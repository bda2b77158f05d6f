//! K3: what was answered as decided is held by whoever leads later.

use super::trust::Trust;
use super::{Check, Sight, Verdict};
use crate::consensus::{self, Answer, Token};
use crate::node::Event;
use crate::types::Term;

/// The last decision that somebody was told of, and the highest term by then.
#[derive(Default)]
pub(super) struct LeadersHoldAll {
    answered: Option<(Token, Term)>,
    highest: Term,
    trust: Trust,
}

impl Check for LeadersHoldAll {
    fn id(&self) -> &'static str {
        "K3"
    }

    fn on_event(&mut self, sight: &Sight<'_>, who: u32, event: &Event) -> Verdict {
        use consensus::Event as E;
        self.trust.on_event(sight, who, event);
        match event {
            Event::Consensus(E::Asked { result: Ok(Answer::Decided { token, .. }), .. }) => {
                if self.answered.is_none_or(|(last, _)| (last.epoch, last.index) < (token.epoch, token.index)) {
                    self.answered = Some((*token, self.highest));
                }
            }
            Event::Consensus(E::Elected { term }) => {
                let (Some((token, then)), Some(node)) = (self.answered, sight.node(who)) else {
                    self.highest = self.highest.max(*term);
                    return Ok(());
                };
                self.highest = self.highest.max(*term);
                let view = node.consensus();
                // A vote may be won late, when a later term has begun elsewhere.
                if *term <= then || view.epoch() != token.epoch || self.trust.is_broken() {
                    return Ok(());
                }
                let held = view.term_at(token.index);
                if view.last().index < token.index || held.is_some_and(|term| term != token.term) {
                    let name = sight.name(who);
                    return Err(format!(
                        "{token} was answered as decided, and {name}, which leads in term {term}, does not hold it"
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn on_put_back(&mut self, who: u32, _: usize) {
        self.trust.on_forgotten(who);
    }

    fn on_damaged(&mut self, who: u32) {
        self.trust.on_forgotten(who);
    }
}

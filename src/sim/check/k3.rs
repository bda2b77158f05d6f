//! K3: what is decided is held by whoever leads later: what was answered so, and what any peer learnt of.

use super::{Check, Sight, Verdict};
use crate::consensus::{self, Answer, Token};
use crate::node::Event;
use crate::types::Term;

/// The last decision that anybody knows of, and the highest term by then.
#[derive(Default)]
pub(super) struct LeadersHoldAll {
    decided: Option<(Token, Term)>,
    highest: Term,
}

impl Check for LeadersHoldAll {
    fn id(&self) -> &'static str {
        "K3"
    }

    fn on_event(&mut self, sight: &Sight<'_>, who: u32, event: &Event) -> Verdict {
        use consensus::Event as E;
        match event {
            Event::Consensus(
                E::Asked { result: Ok(Answer::Decided { token, .. }), .. }
                | E::Committed { token, .. }
                | E::Changed { token, .. },
            ) if self.decided.is_none_or(|(last, _)| (last.epoch, last.index) < (token.epoch, token.index)) => {
                self.decided = Some((*token, self.highest));
            }
            Event::Consensus(E::Elected { term }) => {
                let (Some((token, then)), Some(node)) = (self.decided, sight.node(who)) else {
                    self.highest = self.highest.max(*term);
                    return Ok(());
                };
                self.highest = self.highest.max(*term);
                let view = node.consensus();
                // A vote may be won late, when a later term has begun elsewhere.
                if *term <= then || view.epoch() != token.epoch || sight.trust.is_broken() {
                    return Ok(());
                }
                let held = view.term_at(token.index);
                if view.last().index < token.index || held.is_some_and(|term| term != token.term) {
                    let name = sight.name(who);
                    return Err(format!(
                        "{token} is decided, and {name}, which leads in term {term}, does not hold it"
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

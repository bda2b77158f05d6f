//! K4: a request is done once, however often it is asked, and whoever asks is told the same.

use std::collections::BTreeMap;

use super::{Check, Sight, Verdict};
use crate::consensus::{self, Answer, Outcome, RequestId, Token};
use crate::node::Event;

/// Where each request was done, and what was answered to it.
#[derive(Default)]
pub(super) struct DoneOnce {
    done: BTreeMap<RequestId, Token>,
    answered: BTreeMap<RequestId, (Token, Outcome)>,
}

impl Check for DoneOnce {
    fn id(&self) -> &'static str {
        "K4"
    }

    fn on_event(&mut self, sight: &Sight<'_>, who: u32, event: &Event) -> Verdict {
        use consensus::Event as E;
        if sight.trust.is_broken() {
            return Ok(());
        }
        match event {
            Event::Consensus(E::Committed { token, intent, outcome: Outcome::Done, .. }) => {
                let first = *self.done.entry(intent.request).or_insert(*token);
                if first != *token {
                    let (request, name) = (intent.request, sight.name(who));
                    return Err(format!("{request:?} was done at {first}, and {name} does it at {token} again"));
                }
            }
            Event::Consensus(E::Asked { request, result: Ok(Answer::Decided { token, outcome }) }) => {
                let first = *self.answered.entry(*request).or_insert((*token, *outcome));
                if first != (*token, *outcome) {
                    let name = sight.name(who);
                    return Err(format!(
                        "{request:?} was answered with {first:?}, and at {name} with {:?}",
                        (token, outcome)
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

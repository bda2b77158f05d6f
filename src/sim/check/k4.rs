//! K4: a request is done once, however often it is asked.

use std::collections::BTreeMap;

use super::trust::Trust;
use super::{Check, Sight, Verdict};
use crate::consensus::{self, Outcome, RequestId, Token};
use crate::node::Event;

/// Where each request was done.
#[derive(Default)]
pub(super) struct DoneOnce {
    done: BTreeMap<RequestId, Token>,
    trust: Trust,
}

impl Check for DoneOnce {
    fn id(&self) -> &'static str {
        "K4"
    }

    fn on_event(&mut self, sight: &Sight<'_>, who: u32, event: &Event) -> Verdict {
        self.trust.on_event(sight, who, event);
        let Event::Consensus(consensus::Event::Committed { token, intent, outcome: Outcome::Done, .. }) = event else {
            return Ok(());
        };
        let first = *self.done.entry(intent.request).or_insert(*token);
        if first == *token || self.trust.is_broken() {
            return Ok(());
        }
        Err(format!("{:?} was done at {first}, and {} does it at {token} again", intent.request, sight.name(who)))
    }

    fn on_put_back(&mut self, who: u32, _: usize) {
        self.trust.on_forgotten(who);
    }

    fn on_damaged(&mut self, who: u32) {
        self.trust.on_forgotten(who);
    }
}

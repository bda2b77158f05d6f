//! K6: a store votes for one candidate in a term, over all its lives: by what it says to others, its own candidacy included.

use std::collections::BTreeMap;

use super::{Check, Sight, Verdict};
use crate::consensus::{Ballot, Body, Message};
use crate::types::{Actor, Epoch, NodeId, Term};

/// For whom each store said that it votes.
#[derive(Default)]
pub(super) struct VotesOnce {
    votes: BTreeMap<(Actor, Epoch, Term), Actor>,
}

/// Whose vote a message says is given to whom, if it says that.
pub(super) fn vote(sight: &Sight<'_>, who: u32, to: NodeId, message: &Message) -> Option<(Actor, Actor)> {
    let me = Actor { node: sight.hosts[who as usize].id, mint: message.from };
    match message.body {
        Body::Voted { granted: true } => Some((me, Actor { node: to, mint: message.to })),
        Body::Ask { ballot: Ballot::Vote | Ballot::Succession, .. } => Some((me, me)),
        _ => None,
    }
}

impl Check for VotesOnce {
    fn id(&self) -> &'static str {
        "K6"
    }

    fn on_said(&mut self, sight: &Sight<'_>, who: u32, to: NodeId, message: &Message) -> Verdict {
        let Some((me, chosen)) = vote(sight, who, to, message) else { return Ok(()) };
        let first = *self.votes.entry((me, message.epoch, message.term)).or_insert(chosen);
        if first == chosen || sight.trust.is_broken() {
            return Ok(());
        }
        let (name, first, second) = (sight.name(who), sight.name_of(first.node), sight.name_of(chosen.node));
        Err(format!("{name} votes for {first} and for {second} in term {}", message.term))
    }
}

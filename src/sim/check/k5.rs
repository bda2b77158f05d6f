//! K5: after the calm, where a majority of the voters was healed, what is asked is decided, and every live peer knows it.
//!
//! Something is asked of some peer shortly before the end of the calm. What excuses a failure is true of the mesh, whatever anybody thinks: that no majority of
//! the stores that are to vote is among those that were healed and run; that nobody among them can have a majority of the group that its log ends with, since
//! that was appended just before others were lost; that a store forgot what it promised; that whoever leads is not among the healed, so
//! that others may never reach it; or that the calm was too short to be healed in. Whoever has become a learner just now has not heard everything as one yet: its
//! knowledge begins anew then, in its own log.

use std::collections::BTreeMap;

use super::{Check, Sight, Verdict};
use crate::consensus::{self, Group, Standing, Token};
use crate::node::Event;
use crate::types::Actor;

/// A calm that is shorter judges nothing: dials that hang, links that are silent and elections take that long together.
pub(in crate::sim) const CALM: u64 = 20_000_000_000;
/// What is asked, is asked so long before the end.
pub(in crate::sim) const BEFORE_THE_END: u64 = 4_000_000_000;
/// Within so long a learner holds what is decided.
const LEARNS: u64 = 2_000_000_000;

/// Who decides on ground truth, and what came of the last question.
#[derive(Default)]
pub(super) struct DecidesAtRest {
    group: Option<(Token, Group)>,
    /// Since when those are members that are.
    since: BTreeMap<Actor, u64>,
    /// What was asked came to this; nothing if it has no answer.
    asked: bool,
    decided: Option<Token>,
    refused: Option<String>,
}

impl DecidesAtRest {
    fn excuse(&self, sight: &Sight<'_>) -> bool {
        if sight.scenario.says.phases.calm.0 < CALM || sight.trust.is_broken() {
            return true;
        }
        let Some((_, group)) = &self.group else { return true };
        let votes = |id| {
            let mut live = sight.live().map(|(_, _, node)| node.consensus());
            live.any(|view| view.id() == id && view.standing() != Standing::Halted)
        };
        if !group.majority(votes) || !may_be_led(sight) {
            return true;
        }
        let leads = |view: consensus::View<'_>| view.leader().and_then(|leader| sight.place(leader.node));
        sight.live().filter_map(|(_, _, node)| leads(node.consensus())).any(|leader| !sight.is_healed(leader))
    }
}

/// Whether anybody there could be elected: a majority of the group that its own log names is there, and their logs are no further than its
/// own. A change that was appended, and is neither committed nor taken back, may name one of which too few are there.
fn may_be_led(sight: &Sight<'_>) -> bool {
    let views = || sight.live().map(|(_, _, node)| node.consensus()).filter(|view| view.is_disk_well());
    let is_electable = |view: consensus::View<'_>| {
        let grants = |id| views().any(|other| other.id() == id && other.last() <= view.last());
        let votes = |group: &Group| group.member(view.id()).is_some_and(|member| member.voter);
        view.group().is_some_and(|group| votes(group) && group.majority(grants))
    };
    views().any(is_electable)
}

impl Check for DecidesAtRest {
    fn id(&self) -> &'static str {
        "K5"
    }

    fn on_event(&mut self, sight: &Sight<'_>, who: u32, event: &Event) -> Verdict {
        match event {
            Event::Consensus(consensus::Event::Changed { token, group })
                if self
                    .group
                    .as_ref()
                    .is_none_or(|(last, _)| (last.epoch, last.index) < (token.epoch, token.index)) =>
            {
                self.group = Some((*token, group.clone()));
                self.since.retain(|id, _| group.member(*id).is_some());
                group.members().iter().for_each(|it| _ = self.since.entry(it.id).or_insert(sight.now));
            }
            Event::Consensus(consensus::Event::Elected { .. }) if self.group.is_none() => {
                let view = sight.node(who).map(crate::node::Node::consensus);
                if let Some((view, group)) = view.and_then(|view| Some((view, view.group()?))) {
                    self.group = Some((Token { epoch: view.epoch(), ..Token::default() }, group.as_ref().clone()));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn on_asked(&mut self, result: Option<Result<Token, String>>) {
        self.asked = true;
        match result {
            None => {}
            Some(Ok(token)) => self.decided = Some(token),
            Some(Err(why)) => self.refused = Some(why),
        }
    }

    fn settled(&mut self, sight: &Sight<'_>) -> Verdict {
        if !self.asked || self.excuse(sight) {
            return Ok(());
        }
        let Some(token) = self.decided else {
            let why = self.refused.as_deref().unwrap_or("there was no answer");
            return Err(format!("a majority of the voters is there, and nothing is decided: {why}"));
        };
        for (place, _, node) in sight.live() {
            let known = node.consensus().known();
            let is_new = self.since.get(&node.consensus().id()).is_some_and(|since| sight.now < since + LEARNS);
            if !is_new && (known.epoch, known.index) < (token.epoch, token.index) {
                let name = sight.name(place);
                return Err(format!("{name} knows what was decided up to {known} only, and {token} is decided"));
            }
        }
        Ok(())
    }
}

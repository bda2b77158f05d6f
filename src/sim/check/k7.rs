//! K7: nobody begins a term that a majority would not have: whoever asks for votes in it was told by a majority before that it would
//! get them, or was asked to by the leader; and a voter that hears its leader says no such thing (Ongaro's dissertation, sections 9.6
//! and 4.2.3). So who comes back from where nobody heard it deposes nobody.

use std::collections::{BTreeMap, BTreeSet};

use super::{Check, Sight, Verdict};
use crate::consensus::{Ballot, Body, Message};
use crate::node::{BootReport, Node};
use crate::types::{Actor, NodeId, Term, Time};

/// What a peer heard in this life.
#[derive(Default)]
struct Heard {
    /// Who would vote for it, in the last term of which anybody said so.
    leave: BTreeMap<Term, BTreeSet<Actor>>,
    /// In which terms a majority would.
    given: BTreeSet<Term>,
    /// The leader that it heard last, and when by its own clock.
    leader: Option<(Actor, Time)>,
}

/// What each peer heard.
#[derive(Default)]
pub(super) struct NobodyIsDisturbed {
    heard: BTreeMap<u32, Heard>,
}

impl Check for NobodyIsDisturbed {
    fn id(&self) -> &'static str {
        "K7"
    }

    fn on_ready(&mut self, _: &Sight<'_>, who: u32, _: &BootReport) -> Verdict {
        self.heard.remove(&who);
        Ok(())
    }

    fn on_heard(&mut self, sight: &Sight<'_>, who: u32, from: NodeId, message: &Message) {
        let Some(view) = sight.node(who).map(Node::consensus) else { return };
        let (me, from) = (view.id(), Actor { node: from, mint: message.from });
        if message.to != me.mint {
            return;
        }
        let heard = self.heard.entry(who).or_default();
        match message.body {
            Body::PreVoted { granted: true } => {
                let leave = heard.leave.entry(message.term).or_default();
                leave.insert(from);
                if view.group().is_some_and(|group| group.majority(|id| id == me || leave.contains(&id))) {
                    heard.given.insert(message.term);
                }
                while heard.leave.len() > 1 {
                    heard.leave.pop_first();
                }
            }
            Body::Heartbeat { .. } | Body::Rest { .. } | Body::Append { .. } | Body::Piece { .. }
                if message.term >= view.term() =>
            {
                heard.leader = Some((from, sight.hosts[who as usize].clock.read(sight.now).mono));
            }
            _ => {}
        }
    }

    fn on_said(&mut self, sight: &Sight<'_>, who: u32, to: NodeId, message: &Message) -> Verdict {
        let Some(heard) = self.heard.get(&who) else { return Ok(()) };
        let (name, term) = (sight.name(who), message.term);
        match message.body {
            Body::Ask { ballot: Ballot::Vote, .. } if !heard.given.contains(&term) => {
                Err(format!("{name} asks for votes in term {term}, and no majority would have it so"))
            }
            Body::PreVoted { granted: true } => {
                let Some(view) = sight.node(who).map(Node::consensus) else { return Ok(()) };
                let now = sight.hosts[who as usize].clock.read(sight.now).mono;
                let lease = sight.scenario.config.consensus.lease;
                let hears = |(leader, at): &(Actor, Time)| view.leader() == Some(*leader) && now.since(*at) < lease;
                match heard.leader.filter(hears) {
                    None => Ok(()),
                    Some((leader, _)) => {
                        let (to, leader) = (sight.name_of(to), sight.name_of(leader.node));
                        Err(format!("{name} would vote for {to} in term {term}, and hears {leader}, which leads"))
                    }
                }
            }
            _ => Ok(()),
        }
    }
}

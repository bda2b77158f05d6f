//! M1: what a peer thinks of a member only climbs the lattice (boot, incarnation, state) (SWIM, section 4.2).

use super::m2::subject_of;
use super::{Check, Sight, Verdict};
use crate::membership::{self, State};
use crate::node::{BootReport, Event};
use crate::types::{Boot, Incarnation};

type Rank = (Boot, Incarnation, State);

/// For each observer what it last thought of each subject.
pub(super) struct OnlyClimbs {
    thought: Vec<Vec<Option<Rank>>>,
}

impl OnlyClimbs {
    pub(super) fn new(peers: usize) -> Self {
        Self { thought: vec![Vec::new(); peers] }
    }
}

impl Check for OnlyClimbs {
    fn id(&self) -> &'static str {
        "M1"
    }

    fn on_ready(&mut self, _: &Sight<'_>, who: u32, _: &BootReport) -> Verdict {
        self.thought[who as usize].clear();
        Ok(())
    }

    fn on_replaced(&mut self, who: u32) {
        self.thought.iter_mut().filter_map(|thought| thought.get_mut(who as usize)).for_each(|rank| *rank = None);
    }

    fn on_event(&mut self, sight: &Sight<'_>, who: u32, event: &Event) -> Verdict {
        let Event::Membership(event) = event else { return Ok(()) };
        let Some((id, place)) = subject_of(event).and_then(|id| Some((id, sight.place(id)?))) else { return Ok(()) };
        let Some(node) = sight.node(who) else { return Ok(()) };
        let doubts = |by| by == sight.hosts[who as usize].id && node.membership().is_isolated();
        if matches!(event, membership::Event::Suspected { by, .. } if doubts(*by)) {
            // A peer without links doubts everybody: its own state, kept out of the evidence.
            return Ok(());
        }
        let rank = node.membership().member(id).map(|member| (member.boot, member.incarnation, member.state));
        let thought = &mut self.thought[who as usize];
        if thought.is_empty() {
            thought.resize(sight.hosts.len(), None);
        }
        // A member that was forgotten may be learned of anew.
        let before = std::mem::replace(&mut thought[place as usize], rank);
        match (before, rank) {
            (Some(before), Some(rank)) if rank < before => {
                Err(format!("{} fell from {before:?} to {rank:?} at {}", sight.name(place), sight.name(who)))
            }
            _ => Ok(()),
        }
    }
}

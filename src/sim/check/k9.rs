//! K9: after the calm those vote whom operators want, where there is a place for them, and of the others nobody whom they bar.
//!
//! What was wished is what the leader knows as decided. It is judged once the calm was long enough for each place to change hands, and by the same excuses
//! as whether anything is decided at all (K5): the leader's group must have been able to change.

use std::collections::BTreeSet;

use super::k5::CALM;
use super::{Check, Sight, Verdict};
use crate::consensus::Standing;
use crate::types::NodeId;

/// A place changes hands within so many times the stabilization: somebody is there for so long, learns for so long, and one vote more
/// than is wanted lasts so long.
const STEPS: u32 = 4;

#[derive(Default)]
pub(super) struct AsWished;

impl Check for AsWished {
    fn id(&self) -> &'static str {
        "K9"
    }

    fn settled(&mut self, sight: &Sight<'_>) -> Verdict {
        let wishes = sight.scenario.says.proposals.iter().any(|says| !says.wish.is_empty());
        if !wishes || sight.trust.is_broken() {
            return Ok(());
        }
        let leads = |node: &crate::node::Node| node.consensus().standing() == Standing::Leader;
        let Some((leader, _, node)) = sight.live().find(|(place, _, node)| leads(node) && sight.is_healed(*place))
        else {
            return Ok(()); // K5 says whether there has to be one.
        };
        let config = &sight.scenario.config_at(leader).voters;
        let places = u64::from(config.target);
        let stable = u64::try_from(config.stabilization.as_nanos()).unwrap_or(u64::MAX);
        if sight.scenario.says.phases.calm.0 < CALM + u64::from(STEPS) * places * stable {
            return Ok(());
        }
        let deciders = node.deciders();
        let voters: BTreeSet<NodeId> = deciders.members.iter().filter(|it| it.voter).map(|it| it.node).collect();
        let name =
            |node: &NodeId| sight.place(*node).map_or_else(|| node.to_string(), |place| sight.name(place).to_owned());
        if let Some(barred) = voters.iter().find(|node| deciders.wishes.barred.contains(node)) {
            return Err(format!("{} votes, and it was decided that it is not to", name(barred)));
        }
        let here: BTreeSet<NodeId> = sight
            .live()
            .filter(|(place, ..)| sight.is_healed(*place))
            .map(|(_, _, node)| node.identity().node)
            .collect();
        let wanted = &deciders.wishes.wanted;
        let taken = voters.iter().find(|node| !wanted.contains(node));
        let waits = wanted.iter().find(|node| here.contains(node) && !voters.contains(node));
        match (waits, taken) {
            (Some(waits), Some(taken)) => {
                Err(format!("{} is wanted and does not vote, {} does and nobody wants it", name(waits), name(taken)))
            }
            _ => Ok(()),
        }
    }
}

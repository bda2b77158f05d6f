//! O7: after the calm, neighbours are those of whom one is computed for the other or stands in for somebody who cannot be reached, and
//! all of those that are linked.
//!
//! A healed core has a [`Moment`] for what comes and goes outside of it.

use super::moment::Moment;
use super::{Check, Sight, Verdict};
use crate::node::Node;
use crate::types::NodeId;

/// Looks for a reason for each neighbour.
#[derive(Default)]
pub(super) struct NeighboursForAReason {
    wrong: Moment,
}

/// Whether this peer has a reason to hold that one.
fn holds(node: &Node, peer: NodeId) -> bool {
    node.overlay().computed().contains(&peer) || node.overlay().stand_ins().contains(&peer)
}

impl Check for NeighboursForAReason {
    fn id(&self) -> &'static str {
        "O7"
    }

    fn on_tick(&mut self, sight: &Sight<'_>) -> Verdict {
        self.wrong.tick(sight, || reasoned(sight).is_err());
        Ok(())
    }

    fn settled(&mut self, sight: &Sight<'_>) -> Verdict {
        let verdict = reasoned(sight);
        if self.wrong.excuses(sight) { Ok(()) } else { verdict }
    }
}

fn reasoned(sight: &Sight<'_>) -> Verdict {
    for (place, host, node) in sight.live() {
        let (view, name) = (node.overlay(), sight.name(place));
        for peer in view.neighbors() {
            if !view.links().contains(peer) {
                return Err(format!("{name} has no link with {}, its neighbour", sight.name_of(*peer)));
            }
            // What a peer outside a healed core wishes, or ceases to wish, may never get through.
            let there = sight.place(*peer);
            if there.is_some_and(|there| !sight.is_healed(there)) {
                continue;
            }
            let theirs = there.and_then(|there| sight.node(there));
            if !holds(node, *peer) && !theirs.is_some_and(|theirs| holds(theirs, host.id)) {
                return Err(format!("{name} and {} are neighbours for no reason", sight.name_of(*peer)));
            }
        }
        if view.computed().is_subset(view.links())
            && let Some(peer) = view.stand_ins().first()
        {
            return Err(format!("{} stands in at {name}, which misses nobody", sight.name_of(*peer)));
        }
        let lacking = |peer: &&NodeId| view.links().contains(peer) && !view.neighbors().contains(peer);
        if let Some(peer) = view.computed().iter().find(lacking) {
            return Err(format!("{name} is linked with {} and should exchange entries with it", sight.name_of(*peer)));
        }
    }
    Ok(())
}

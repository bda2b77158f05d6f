//! The members as the graph of the overlay sees them.

use std::collections::BTreeSet;

use crate::membership::Member;
use crate::topology::Policy;
use crate::topology::graph::{self, Seat};
use crate::types::NodeId;

/// The neighbours of `me` among these members. Empty for a member that is alone or not present itself.
pub fn neighbors<'a>(members: impl IntoIterator<Item = &'a Member>, policy: Policy, me: NodeId) -> BTreeSet<NodeId> {
    graph::neighbors(&seats(members), policy, me)
}

/// Those who are present.
pub(super) fn seats<'a>(members: impl IntoIterator<Item = &'a Member>) -> Vec<Seat<'a>> {
    let seat = |member: &'a Member| Seat {
        id: member.id,
        region: &member.meta.region,
        priority: member.meta.priority,
        // Who cannot write passes nothing on: it is neither hub nor parent.
        observer: member.meta.observer || member.meta.read_only,
    };
    members.into_iter().filter(|member| member.is_present()).map(seat).collect()
}

//! The pure function behind the overlay: who exchanges deltas with whom.
//!
//! **Invariants**, for members who hold equal views: it is symmetric (b is a neighbour of a if and only if a is one of b), it
//! connects all present members, and in a star or a tree it has no cycle.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::membership::Member;
use crate::topology::Policy;
use crate::types::NodeId;

/// Who comes first: whoever may lead, then the higher priority, then the higher id. Smaller is better. Observers come last,
/// so they lead only where there is nobody else.
type Rank = (bool, Reverse<u16>, Reverse<NodeId>);

fn rank(member: &Member) -> Rank {
    (member.meta.observer, Reverse(member.meta.priority), Reverse(member.id))
}

/// The neighbours of `me` among these members. Empty for a member that is alone or not present itself.
pub fn neighbors<'a>(members: impl IntoIterator<Item = &'a Member>, policy: Policy, me: NodeId) -> BTreeSet<NodeId> {
    let present: Vec<&Member> = members.into_iter().filter(|member| member.is_present()).collect();
    if !present.iter().any(|member| member.id == me) {
        return BTreeSet::new();
    }
    let mut found = match policy {
        Policy::Mesh => present.iter().map(|member| member.id).collect(),
        Policy::Star => match hub(&present) {
            Some(hub) if hub != me => BTreeSet::from([hub]),
            _ => present.iter().map(|member| member.id).collect(),
        },
        Policy::Tree { arity } => tree(&present, usize::from(arity).max(1), me),
    };
    found.remove(&me);
    found
}

/// The members in the order in which they would be hub: the hub, and who follows when it is gone.
pub(super) fn succession<'a>(members: impl IntoIterator<Item = &'a Member>) -> [Option<NodeId>; 2] {
    let mut best: [Option<Rank>; 2] = [None, None];
    for rank in members.into_iter().filter(|member| member.is_present()).map(rank) {
        if best[0].is_none_or(|first| rank < first) {
            best = [Some(rank), best[0]];
        } else if best[1].is_none_or(|second| rank < second) {
            best[1] = Some(rank);
        }
    }
    best.map(|rank| rank.map(|(_, _, Reverse(id))| id))
}

fn hub(present: &[&Member]) -> Option<NodeId> {
    present.iter().map(|member| rank(member)).min().map(|(_, _, Reverse(id))| id)
}

/// Each region is a tree below its best member, its gateway; the gateways are a tree of their own, above them all. So a delta
/// crosses into each region once.
fn tree(present: &[&Member], arity: usize, me: NodeId) -> BTreeSet<NodeId> {
    let mut regions: BTreeMap<&str, Vec<Rank>> = BTreeMap::new();
    for member in present {
        regions.entry(&member.meta.region).or_default().push(rank(member));
    }
    let mut gateways = Vec::with_capacity(regions.len());
    let mut found = BTreeSet::new();
    for region in regions.values_mut() {
        region.sort_unstable();
        gateways.extend(region.first().copied());
        beside(region, arity, me, &mut found);
    }
    gateways.sort_unstable();
    beside(&gateways, arity, me, &mut found);
    found
}

/// Parent and children of `me` in the complete tree that has `order` as its breadth-first order (as a heap has).
fn beside(order: &[Rank], arity: usize, me: NodeId, found: &mut BTreeSet<NodeId>) {
    let Some(at) = order.iter().position(|(_, _, Reverse(id))| *id == me) else { return };
    let parent = at.checked_sub(1).map(|before| before / arity);
    let children = at * arity + 1..at * arity + 1 + arity;
    found.extend(parent.into_iter().chain(children).filter_map(|at| order.get(at)).map(|(_, _, Reverse(id))| *id));
}

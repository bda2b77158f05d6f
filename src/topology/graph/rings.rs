//! The partial mesh: some rings, each with everybody in another order.

use std::collections::BTreeSet;

use super::{Rank, hash, id, is_full, mix};
use crate::types::NodeId;

/// Who is beside `me` on the rings; everybody where there are few.
pub(super) fn beside(circle: &[Rank], degree: u8, me: NodeId) -> BTreeSet<NodeId> {
    if is_full(circle.len(), degree) {
        return circle.iter().copied().map(id).collect();
    }
    let Some(own) = circle.iter().find(|rank| id(**rank) == me) else { return BTreeSet::new() };
    let others = circle.iter().filter(|rank| *rank != own);
    let hashed: Vec<(u64, Rank)> = others.map(|rank| (hash(*rank), *rank)).collect();
    (0..u64::from(degree / 2)).flat_map(|ring| on_ring(&hashed, ring, (hash(*own), *own))).map(id).collect()
}

/// The one after and the one before `me` on a ring. Two with one hash would stand at one place, and one of them would be
/// computed by one side alone: it is held for a neighbour all the same, which the overlay tells.
fn on_ring(others: &[(u64, Rank)], ring: u64, (hash, own): (u64, Rank)) -> [Rank; 2] {
    let salt = mix(ring);
    let mine = mix(hash ^ salt);
    let (mut after, mut before) = ((u64::MAX, own), (0, own));
    for (hash, other) in others {
        let ahead = mix(hash ^ salt).wrapping_sub(mine);
        if ahead < after.0 {
            after = (ahead, *other);
        }
        if ahead > before.0 {
            before = (ahead, *other);
        }
    }
    [after.1, before.1]
}

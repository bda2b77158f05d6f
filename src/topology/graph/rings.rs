//! The partial mesh: some rings, each with everybody in another order.

use std::collections::BTreeSet;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Rank, id, is_full};
use crate::types::NodeId;

/// Who is beside `me` on the rings; everybody where there are few.
pub(super) fn beside(circle: &[Rank], degree: u8, me: NodeId) -> BTreeSet<NodeId> {
    if is_full(circle.len(), degree) {
        return circle.iter().copied().map(id).collect();
    }
    (0..u64::from(degree / 2)).flat_map(|ring| on_ring(circle, ring, me)).collect()
}

/// The one before and the one after `me` on a ring.
fn on_ring(circle: &[Rank], ring: u64, me: NodeId) -> impl Iterator<Item = NodeId> {
    // XXH3 is stable since 0.8: the same places in every version and on every platform.
    let place = |id: NodeId| (xxh3_64_with_seed(id.as_bytes(), ring), id);
    let mine = place(me);
    let mut ends = None;
    for other in circle.iter().copied().map(id).filter(|other| *other != me) {
        let at = place(other);
        // Seen from here: who follows first, who precedes last.
        let turn = (at < mine, at);
        let (first, last) = ends.unwrap_or((turn, turn));
        ends = Some((turn.min(first), turn.max(last)));
    }
    ends.into_iter().flat_map(|((_, (_, next)), (_, (_, before)))| [next, before])
}

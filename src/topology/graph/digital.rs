//! The tree: a digital search tree in the order of preference.

use std::collections::BTreeSet;

use super::{Rank, hash, id};
use crate::types::NodeId;

/// Parent and children of `me` in the tree of this group.
pub(super) fn beside(group: Vec<Rank>, arity: usize, me: NodeId) -> BTreeSet<NodeId> {
    // The digits of a hash to any base: the hash is a fraction, and each multiplication gives one in the upper half.
    let mut heap: Vec<(Rank, u64)> = group.into_iter().map(|rank| (rank, hash(rank))).collect();
    let mut parent = None;
    while let Some(head) = heap.iter().map(|(rank, _)| *rank).min() {
        heap.retain(|(rank, _)| *rank != head);
        if id(head) == me {
            return parent.into_iter().chain(children(&heap, arity)).collect();
        }
        if heap.len() <= arity {
            return BTreeSet::from([id(head)]);
        }
        let Some(slot) = heap.iter().find(|(rank, _)| id(*rank) == me).map(|(_, hash)| digit(*hash, arity)) else {
            break;
        };
        heap.retain(|(_, hash)| digit(*hash, arity) == slot);
        heap.iter_mut().for_each(|(_, hash)| *hash = hash.wrapping_mul(arity as u64));
        parent = Some(id(head));
    }
    BTreeSet::new()
}

/// The best of each heap; where few are left, all of them.
fn children(below: &[(Rank, u64)], arity: usize) -> Vec<NodeId> {
    if below.len() <= arity {
        return below.iter().map(|(rank, _)| id(*rank)).collect();
    }
    let mut best: Vec<Option<Rank>> = vec![None; arity];
    for (rank, hash) in below {
        let best = &mut best[digit(*hash, arity)];
        *best = Some(best.map_or(*rank, |other| other.min(*rank)));
    }
    best.into_iter().flatten().map(id).collect()
}

fn digit(hash: u64, base: usize) -> usize {
    usize::try_from((u128::from(hash) * base as u128) >> 64).expect("below the base")
}

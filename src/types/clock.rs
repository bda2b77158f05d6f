//! The vector clock over peers: what a value's writer had seen when it wrote.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::NodeId;

/// For each peer how many of its writes are in the past of a value, the value itself included (Fidge 1988, Mattern 1989).
///
/// Clocks are ordered in part: one may be before another, equal to it, or neither, and then the two are
/// [concurrent](Self::is_concurrent). Equal clocks are equal, and not concurrent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VectorClock(BTreeMap<NodeId, u64>);

impl VectorClock {
    /// Of nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// How many writes of this peer are in the past; 0 if none.
    #[must_use]
    pub fn of(&self, node: NodeId) -> u64 {
        self.0.get(&node).copied().unwrap_or_default()
    }

    /// Counts one write more of this peer: of the one that writes, whoever's value it replaces. Gives its number. A counter that is
    /// exhausted, which takes centuries, stays where it is.
    pub fn increment(&mut self, node: NodeId) -> u64 {
        let count = self.0.entry(node).or_default();
        *count = count.saturating_add(1);
        *count
    }

    /// Records that so many writes of this peer are in the past. Never lowers.
    pub fn raise(&mut self, node: NodeId, count: u64) {
        if count > 0 {
            let held = self.0.entry(node).or_default();
            *held = count.max(*held);
        }
    }

    /// The least upper bound: the past of both. For a value that was made from both; the clocks of values that only stand side by
    /// side are left as they are.
    pub fn merge(&mut self, other: &Self) {
        for (node, count) in &other.0 {
            self.raise(*node, *count);
        }
    }

    /// Whether all of the other's past is in this one's.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|(node, count)| self.of(*node) >= *count)
    }

    /// Whether this is in the past of the other, and not equal to it.
    #[must_use]
    pub fn happens_before(&self, other: &Self) -> bool {
        other.covers(self) && !self.covers(other)
    }

    /// Whether neither had seen the other.
    #[must_use]
    pub fn is_concurrent(&self, other: &Self) -> bool {
        !self.covers(other) && !other.covers(self)
    }

    /// The peers and their counts, in order of id.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, u64)> + '_ {
        self.0.iter().map(|(node, count)| (*node, *count))
    }

    /// How many writes are in the past, of all peers together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().fold(0, |total, count| total.saturating_add(*count))
    }
}

impl FromIterator<(NodeId, u64)> for VectorClock {
    fn from_iter<I: IntoIterator<Item = (NodeId, u64)>>(iter: I) -> Self {
        let mut clock = Self::new();
        iter.into_iter().for_each(|(node, count)| clock.raise(node, count));
        clock
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(counts: &[(u8, u8)]) -> VectorClock {
        counts.iter().map(|(node, count)| (NodeId::from_u128(u128::from(*node)), u64::from(*count))).collect()
    }

    quickcheck::quickcheck! {
        fn two_clocks_stand_in_exactly_one_way(a: Vec<(u8, u8)>, b: Vec<(u8, u8)>) -> bool {
            let (a, b) = (clock(&a), clock(&b));
            let ways = [a == b, a.happens_before(&b), b.happens_before(&a), a.is_concurrent(&b)];
            ways.into_iter().filter(|way| *way).count() == 1
        }

        fn a_write_is_after_all_that_its_writer_had_seen(a: Vec<(u8, u8)>, b: Vec<(u8, u8)>, writer: u8) -> bool {
            let (a, b) = (clock(&a), clock(&b));
            let mut after = a.clone();
            after.merge(&b);
            after.increment(NodeId::from_u128(u128::from(writer)));
            a.happens_before(&after) && b.happens_before(&after)
        }
    }
}

//! Who exchanges deltas with whom: a pure function of who is there and of the [`Policy`].
//!
//! Every peer computes its own neighbours from what it knows of the members, so nobody coordinates anything. For peers that
//! know the same,
//!
//! * the relation is symmetric, whatever the order in which members are known;
//! * it connects everybody, in a star or tree without a cycle;
//! * degrees are bounded (but for a star's hub): in a mesh by its degree or 15, in a tree by the arity and one, and a
//!   gateway between regions has as many again;
//! * one who comes or goes changes the edges around it, and few others.
//!
//! **Star**: the hub is the best member: whoever may lead, then the higher priority, then the higher id.
//!
//! **Mesh**: everybody with everybody up to [`Policy::FULL_MAX`]. Beyond, half a `degree` of rings, each with the members in
//! another pseudo-random order, and the neighbours on each are neighbours: the H-graphs of Law and Siu ("Distributed
//! construction of random expander networks", INFOCOM 2003), whose rings anybody can draw alone since an order is a hash.
//! HyParView (Leitao et al., DSN 2007) reaches the same degrees by gossip; it pays messages for each change and for a
//! shuffle for ever, is connected with high probability, and its active views are what their history made them. One ring
//! alone connects everybody here. Measured with 1,000 members and degree 8 (`cargo test --lib graph -- --nocapture`): diameter 5,
//! 3.6 steps on average, 4 new edges among the others when one goes, and when 300 go at one blow the others are in one piece
//! in 38 of 40 trials before anybody reacts (degree 6: 18, degree 10: 40).
//!
//! **Tree**: a digital search tree (Coffman and Eve, 1970) in the order of preference. The best member is the root; the others
//! are dealt by the digits of a hash to as many heaps as a parent may have children, the best of each heap is a child, and so
//! on below it. So nobody is below one who is less preferred; where few are left, they are all children. A breadth-first
//! order by rank, as a heap has, is the obvious alternative and a little flatter, but everybody behind one who goes moves up:
//! with 1,000 members and arity 4 the mean death changed 364 edges among the others, and at most 1,495; now 1.6 and 25, at a
//! mean depth of 4.7 instead of 4.6.
//!
//! **Regions**: mesh and tree are made of the members of each region, and once more of the gateways, the best of each region.
//! So a delta crosses into each region once. A full mesh has no regions: it is small.
//!
//! **Stand-ins** ([`stand_ins`]): whoever cannot reach a neighbour asks those who would be its neighbours if that one were
//! gone. This needs no second rule, and what a death will bring anyway is there before the death is certain.

mod digital;
mod rings;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::Policy;
use crate::types::NodeId;

/// A member as far as the graph depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat<'a> {
    /// Who.
    pub id: NodeId,
    /// Its region; empty if it has none.
    pub region: &'a str,
    /// Higher is preferred as hub, root and gateway.
    pub priority: u16,
    /// It leads only where there is nobody else.
    pub observer: bool,
}

/// Who comes first: whoever may lead, then the higher priority, then the higher id. Smaller is better. Ids are numbers here,
/// since comparing them is most of the work.
type Rank = (bool, Reverse<u16>, Reverse<u128>);

impl Seat<'_> {
    /// The order of preference: smaller is better.
    pub(super) const fn rank(&self) -> Rank {
        (self.observer, Reverse(self.priority), Reverse(u128::from_be_bytes(*self.id.as_bytes())))
    }

    /// Whether both are of one region. Most meshes have none, and then nothing is compared.
    fn is_beside(&self, other: &Self) -> bool {
        self.region.len() == other.region.len() && (self.region.is_empty() || self.region == other.region)
    }
}

const fn id((_, _, Reverse(id)): Rank) -> NodeId {
    NodeId::from_u128(id)
}

/// A pseudo-random number for each id: the same in every version and on every platform.
#[expect(clippy::cast_possible_truncation, reason = "the lower half is wanted, beside the upper one")]
const fn hash((_, _, Reverse(id)): Rank) -> u64 {
    let [high, low] = [(id >> 64) as u64, id as u64];
    mix(mix(high) ^ low)
}

/// The output function of SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// The neighbours of `me` among these members, each of whom is there once. Empty for one that is alone or not among them.
#[must_use]
pub fn neighbors(seats: &[Seat<'_>], policy: Policy, me: NodeId) -> BTreeSet<NodeId> {
    let Some(own) = seats.iter().find(|seat| seat.id == me) else { return BTreeSet::new() };
    let mut found = match policy {
        Policy::Star => digital::beside(seats.iter().map(Seat::rank).collect(), usize::MAX, me),
        Policy::Mesh { degree } if is_full(seats.len(), degree) => seats.iter().map(|seat| seat.id).collect(),
        Policy::Mesh { degree } => in_regions(seats, own, |circle| rings::beside(&circle, degree, me)),
        Policy::Tree { arity } => in_regions(seats, own, |group| digital::beside(group, arity.max(1).into(), me)),
    };
    found.remove(&me);
    found
}

/// Those whom `me` asks to be its neighbours while it cannot reach the `missing` ones: who would be, if these were gone. In a
/// star or tree only those who are preferred to it, as the others ask for themselves; unless nobody is left above it, or nobody at
/// all beside it: the others may reach whom it cannot, and then know of no reason to ask.
#[must_use]
pub fn stand_ins(seats: &[Seat<'_>], policy: Policy, me: NodeId, missing: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    let rest = if missing.is_empty() {
        Cow::Borrowed(seats)
    } else {
        seats.iter().copied().filter(|seat| !missing.contains(&seat.id)).collect()
    };
    let found = neighbors(&rest, policy, me);
    let Some(own) = seats.iter().find(|seat| seat.id == me).filter(|_| !matches!(policy, Policy::Mesh { .. })) else {
        return found;
    };
    // Those of another region do not know of each other's links: there both ends ask.
    let above = |seat: &&Seat<'_>| seat.rank() < own.rank() || (!missing.is_empty() && !seat.is_beside(own));
    let asked: BTreeSet<NodeId> =
        seats.iter().filter(|seat| found.contains(&seat.id) && above(seat)).map(|seat| seat.id).collect();
    let is_alone = || neighbors(seats, policy, me).is_subset(missing);
    let others_ask = !seats.iter().any(|seat| above(&seat)) && !is_alone();
    if missing.is_empty() || !asked.is_empty() || others_ask { asked } else { found }
}

/// The hub or parent of `me` in a star or tree, if it has one.
#[must_use]
pub fn above(seats: &[Seat<'_>], policy: Policy, me: NodeId) -> Option<NodeId> {
    if matches!(policy, Policy::Mesh { .. }) {
        return None;
    }
    stand_ins(seats, policy, me, &BTreeSet::new()).into_iter().next()
}

/// Whether a mesh of so many is full.
#[must_use]
pub fn is_full(members: usize, degree: u8) -> bool {
    members <= Policy::FULL_MAX.max(usize::from(degree) + 1)
}

/// The most neighbours that anybody may have; none for a star, whose hub has all.
#[must_use]
pub fn degree_max(policy: Policy) -> Option<usize> {
    match policy {
        Policy::Star => None,
        Policy::Mesh { degree } => Some(2 * usize::from(degree).max(Policy::FULL_MAX - 1)),
        Policy::Tree { arity } => Some(2 * usize::from(arity) + 1),
    }
}

/// The neighbours within one's own region, and among the gateways if one is a gateway.
fn in_regions(seats: &[Seat<'_>], own: &Seat<'_>, beside: impl Fn(Vec<Rank>) -> BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    let (home, abroad): (Vec<&Seat<'_>>, Vec<&Seat<'_>>) = seats.iter().partition(|seat| seat.is_beside(own));
    let home: Vec<Rank> = home.into_iter().map(Seat::rank).collect();
    let leads = home.iter().min() == Some(&own.rank());
    let mut found = beside(home);
    if leads {
        let mut gateways = BTreeMap::from([(own.region, own.rank())]);
        for seat in abroad {
            let best = gateways.entry(seat.region).or_insert_with(|| seat.rank());
            *best = seat.rank().min(*best);
        }
        found.append(&mut beside(gateways.into_values().collect()));
    }
    found
}

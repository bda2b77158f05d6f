//! News that wait to be told, in two orders: what was told least often goes first (SWIM, section 4.1), and, where each link is
//! told everything once, as they came.

use std::collections::{BTreeMap, BTreeSet};

use super::table::Slot;
use crate::probe::planted;
use crate::types::NodeId;

/// Where an item stands among those told to some at random: times told, rank, order of arrival.
type Turn = (u32, u8, u64);

/// News of one member.
#[derive(Clone, Debug)]
struct Item {
    slot: Slot,
    /// Who told us: they need not be told. At most one for each link.
    knowers: Vec<NodeId>,
    times: u32,
}

impl Item {
    /// Our own go first: refutations must outrun accusations.
    fn turn(&self, arrival: u64) -> Turn {
        (self.times, u8::from(self.slot != Slot::ME), arrival)
    }
}

/// Members whose news are to be told, each at most once: what is told is read from the table at that moment, so that a
/// queue never holds two claims about one member.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    items: BTreeMap<u64, Item>,
    turns: BTreeSet<Turn>,
    /// The arrival of each slot's item; 0 if there is none.
    arrivals: Vec<u64>,
    last: u64,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The number of the newest item that ever was.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// There is news of this member; it was told to nobody.
    pub(super) fn push(&mut self, slot: Slot, from: NodeId) {
        self.remove(slot);
        self.last += 1;
        let item = Item { slot, knowers: vec![from], times: 0 };
        self.turns.insert(item.turn(self.last));
        self.items.insert(self.last, item);
        if slot.index() >= self.arrivals.len() {
            self.arrivals.resize(slot.index() + 1, 0);
        }
        self.arrivals[slot.index()] = self.last;
    }

    pub(super) fn remove(&mut self, slot: Slot) {
        if let Some(arrival) = self.arrival(slot)
            && let Some(item) = self.items.remove(&arrival)
        {
            self.turns.remove(&item.turn(arrival));
            self.arrivals[slot.index()] = 0;
        }
    }

    /// Whose news to tell next, in order of turn.
    pub(super) fn iter(&self) -> impl Iterator<Item = Slot> {
        self.turns.iter().map(|(_, _, arrival)| self.items[arrival].slot)
    }

    /// The news after this one, with their numbers and who told them, in order of arrival.
    pub(super) fn after(&self, arrival: u64) -> impl Iterator<Item = (u64, Slot, &[NodeId])> {
        self.items.range(arrival + 1..).map(|(arrival, item)| (*arrival, item.slot, item.knowers.as_slice()))
    }

    /// This peer has told us the same.
    pub(super) fn known_by(&mut self, slot: Slot, peer: NodeId) {
        if let Some(arrival) = self.arrival(slot)
            && let Some(item) = self.items.get_mut(&arrival)
            && !item.knowers.contains(&peer)
        {
            item.knowers.push(peer);
        }
    }

    /// Everybody was told the news up to this one.
    pub(super) fn told_all(&mut self, arrival: u64) {
        while let Some((first, item)) = self.items.first_key_value()
            && *first <= arrival
        {
            let slot = item.slot;
            self.remove(slot);
        }
    }

    /// This member's news were told once more, and are told no more after `limit` times.
    pub(super) fn told(&mut self, slot: Slot, limit: u32) {
        let Some(arrival) = self.arrival(slot) else { return };
        let Some(item) = self.items.get_mut(&arrival) else { return };
        self.turns.remove(&item.turn(arrival));
        item.times += 1;
        if item.times < limit || planted!("membership/news-never-retired") {
            self.turns.insert(item.turn(arrival));
        } else {
            self.items.remove(&arrival);
            self.arrivals[slot.index()] = 0;
        }
    }

    fn arrival(&self, slot: Slot) -> Option<u64> {
        self.arrivals.get(slot.index()).copied().filter(|arrival| *arrival > 0)
    }
}

//! News that wait to be told: what was told least often goes first (SWIM, section 4.1).

use std::collections::BTreeSet;

use super::table::Slot;

/// Where an item stands: times told, rank, order of arrival.
type Key = (u32, u8, u64, Slot);

/// Members whose news are to be told, each at most once: what is told is read from the table at that moment, so that a
/// queue never holds two claims about one member.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    items: BTreeSet<Key>,
    /// The key of each slot that is in the queue.
    keys: Vec<Option<Key>>,
    arrivals: u64,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// There is news of this member; it was told to nobody. Our own go first: refutations must outrun accusations.
    pub(super) fn push(&mut self, slot: Slot) {
        self.remove(slot);
        self.arrivals += 1;
        let rank = u8::from(slot != Slot::ME);
        self.place((0, rank, self.arrivals, slot));
    }

    pub(super) fn remove(&mut self, slot: Slot) {
        if let Some(key) = self.keys.get_mut(slot.index()).and_then(Option::take) {
            self.items.remove(&key);
        }
    }

    /// Whose news to tell next, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Slot> {
        self.items.iter().map(|(_, _, _, slot)| *slot)
    }

    /// Whether there is news of this member.
    pub(super) fn contains(&self, slot: Slot) -> bool {
        self.key(slot).is_some()
    }

    /// This member's news were told once more, and are told no more after `limit` times.
    pub(super) fn told(&mut self, slot: Slot, limit: u32) {
        let Some((times, rank, arrival, slot)) = self.key(slot) else { return };
        self.remove(slot);
        if times + 1 < limit {
            self.place((times + 1, rank, arrival, slot));
        }
    }

    fn key(&self, slot: Slot) -> Option<Key> {
        self.keys.get(slot.index()).copied().flatten()
    }

    fn place(&mut self, key: Key) {
        let index = key.3.index();
        if index >= self.keys.len() {
            self.keys.resize(index + 1, None);
        }
        self.items.insert(key);
        self.keys[index] = Some(key);
    }
}

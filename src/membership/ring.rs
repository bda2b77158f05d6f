//! Members in a random order with a cursor: round-robin probing with random insertion (SWIM, section 4.3), so that every
//! member is probed within 2N - 1 periods, and uniform choice in constant time.

use super::table::Slot;
use crate::machine::Rng;

/// A set of slots in random order. Adding, removing and drawing cost O(1), a new round O(N) once in N draws.
#[derive(Clone, Debug, Default)]
pub(super) struct Ring {
    order: Vec<Slot>,
    /// Where each slot stands in `order`, by slot number.
    at: Vec<u32>,
    next: usize,
}

impl Ring {
    const ABSENT: u32 = u32::MAX;

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Puts a slot at a random place of what is left of this round.
    pub(super) fn add(&mut self, slot: Slot, rng: &mut Rng) {
        if self.at.len() <= slot.index() {
            self.at.resize(slot.index() + 1, Self::ABSENT);
        }
        debug_assert_eq!(self.at[slot.index()], Self::ABSENT, "a slot is in a ring once");
        self.order.push(slot);
        let last = self.order.len() - 1;
        let place = self.next + rng.index(self.order.len() - self.next);
        self.order.swap(place, last);
        self.note(last);
        self.note(place);
    }

    /// Takes a slot out; the cursor neither skips nor repeats another.
    pub(super) fn remove(&mut self, slot: Slot) {
        let mut place = self.at[slot.index()] as usize;
        if place < self.next {
            self.next -= 1;
            self.order.swap(place, self.next);
            self.note(place);
            place = self.next;
        }
        self.order.swap_remove(place);
        self.at[slot.index()] = Self::ABSENT;
        if place < self.order.len() {
            self.note(place);
        }
    }

    /// The next of this round; a new round begins in a new order.
    pub(super) fn draw(&mut self, rng: &mut Rng) -> Option<Slot> {
        self.begin_round(rng);
        let slot = *self.order.get(self.next)?;
        self.next += 1;
        Some(slot)
    }

    fn begin_round(&mut self, rng: &mut Rng) {
        if self.next >= self.order.len() {
            self.next = 0;
            rng.shuffle(&mut self.order);
            for place in 0..self.order.len() {
                self.note(place);
            }
        }
    }

    /// Draws this one, if it was not drawn in this round yet.
    pub(super) fn take(&mut self, slot: Slot, rng: &mut Rng) -> bool {
        self.begin_round(rng);
        let place = self.at.get(slot.index()).map_or(usize::MAX, |at| *at as usize);
        let fresh = self.next <= place && place < self.order.len();
        if fresh {
            self.order.swap(place, self.next);
            self.note(place);
            self.note(self.next);
            self.next += 1;
        }
        fresh
    }

    /// Up to `count` different ones that are `fit`, uniformly.
    pub(super) fn sample(&self, rng: &mut Rng, count: usize, fit: impl Fn(Slot) -> bool) -> Vec<Slot> {
        let mut chosen = Vec::with_capacity(count);
        if self.order.len() <= 4 * count {
            let mut all = self.order.clone();
            rng.shuffle(&mut all);
            chosen.extend(all.into_iter().filter(|slot| fit(*slot)).take(count));
            return chosen;
        }
        // Among more than 4 x count, this many draws find enough unless hardly any is fit.
        for _ in 0..8 * count {
            match rng.pick(&self.order) {
                Some(slot) if chosen.len() < count && !chosen.contains(slot) && fit(*slot) => chosen.push(*slot),
                _ => {}
            }
            if chosen.len() == count {
                break;
            }
        }
        chosen
    }

    fn note(&mut self, place: usize) {
        let slot = self.order[place];
        self.at[slot.index()] = u32::try_from(place).expect("slots are numbered by u32");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    quickcheck::quickcheck! {
        fn every_member_is_drawn_once_a_round_whatever_comes_and_goes(seed: u8, steps: Vec<(u8, u8)>) -> bool {
            let (mut rng, mut ring, mut model) = (Rng::fork(&[seed; 32], "ring"), Ring::default(), BTreeSet::new());
            let mut round = BTreeSet::new();
            for (what, which) in steps {
                let slot = Slot::new(u32::from(which % 16));
                match what % 3 {
                    0 if model.insert(slot) => ring.add(slot, &mut rng),
                    // Who was taken out of turn has had its turn.
                    2 if which > 127 && model.contains(&slot) => {
                        if round.is_superset(&model) {
                            round.clear();
                        }
                        if ring.take(slot, &mut rng) != round.insert(slot) {
                            return false;
                        }
                    }
                    1 if model.remove(&slot) => {
                        ring.remove(slot);
                        round.remove(&slot);
                    }
                    _ => {
                        let before = round.clone();
                        if round.is_superset(&model) {
                            round.clear();
                        }
                        match ring.draw(&mut rng) {
                            Some(drawn) => {
                                if !model.contains(&drawn) || !round.insert(drawn) {
                                    eprintln!("drew {drawn:?} again or from nowhere: {before:?} of {model:?}");
                                    return false;
                                }
                            }
                            None => assert!(model.is_empty()),
                        }
                    }
                }
                let sampled = ring.sample(&mut rng, 3, |_| true);
                let distinct: BTreeSet<_> = sampled.iter().copied().collect();
                if ring.len() != model.len() || distinct.len() != sampled.len() || !distinct.is_subset(&model) {
                    return false;
                }
            }
            true
        }
    }
}

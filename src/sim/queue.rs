//! The event queue: what happens next, in an order that is a function of the seed alone.
//!
//! Keyed by (time, tie, sequence). The tie is a hash of the sequence number, so that simultaneous events come in an order
//! that differs from seed to seed: the cheap half of what a model checker does.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::luck::Stream;

/// Names an event of a run: its place in the order in which events were made. Zero is "the run itself".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EventId(pub(super) u64);

/// Events that have not happened yet. Their bodies stand apart, so that sorting moves 32 bytes.
#[derive(Debug)]
pub(super) struct Queue<T> {
    heap: BinaryHeap<Reverse<Key>>,
    bodies: Vec<Option<(EventId, T)>>,
    free: Vec<u32>,
    ties: Stream,
    made: u64,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    at: u64,
    tie: u32,
    id: EventId,
    slot: u32,
}

/// One event that happens now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Popped<T> {
    /// When, in nanoseconds of true time.
    pub(super) at: u64,
    /// Which.
    pub(super) id: EventId,
    /// The event during which it was asked for.
    pub(super) cause: EventId,
    /// What.
    pub(super) body: T,
}

impl<T> Queue<T> {
    /// An empty queue whose ties are broken by this stream.
    pub(super) fn new(ties: Stream) -> Self {
        Self { heap: BinaryHeap::new(), bodies: Vec::new(), free: Vec::new(), ties, made: 0 }
    }

    /// Keeps the first so many ids for [`plan`](Self::plan).
    pub(super) fn reserve(&mut self, ids: u64) {
        self.made = self.made.max(ids);
    }

    /// Lets an event of the plan happen under an id that is kept for it, so that the ids, and with them the ties, of all others
    /// are the same without it.
    pub(super) fn plan(&mut self, id: u64, at: u64, body: T) {
        self.put(EventId(id), at, EventId::default(), body);
    }

    /// Lets `body` happen at `at`.
    pub(super) fn push(&mut self, at: u64, cause: EventId, body: T) -> EventId {
        self.made += 1;
        let id = EventId(self.made);
        self.put(id, at, cause, body);
        id
    }

    fn put(&mut self, id: EventId, at: u64, cause: EventId, body: T) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.bodies.push(None);
            u32::try_from(self.bodies.len() - 1).expect("fewer than 2^32 events are pending: memory ends first")
        });
        self.bodies[slot as usize] = Some((cause, body));
        let tie = (self.ties.bits(0, id.0) >> 32) as u32;
        self.heap.push(Reverse(Key { at, tie, id, slot }));
    }

    /// Takes what happens next.
    pub(super) fn pop(&mut self) -> Option<Popped<T>> {
        let Reverse(Key { at, id, slot, .. }) = self.heap.pop()?;
        let (cause, body) = self.bodies[slot as usize].take().expect("a key in the heap has a body");
        self.free.push(slot);
        Some(Popped { at, id, cause, body })
    }

    /// How many events are pending.
    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::luck::Luck;

    fn queue<T>(seed: u64) -> Queue<T> {
        Queue::new(Luck::new(seed, "test").stream("ties"))
    }

    quickcheck::quickcheck! {
        fn events_come_in_order_of_time_and_none_is_lost(times: Vec<(u8, bool)>) -> bool {
            let (mut queue, mut model, mut now) = (queue(1), Vec::new(), 0);
            times.iter().all(|(after, pop)| {
                let at = now + u64::from(*after);
                queue.push(at, EventId::default(), at);
                model.push(at);
                if !pop {
                    return queue.len() == model.len();
                }
                model.sort_unstable();
                let popped = queue.pop().expect("one was pushed");
                now = popped.at;
                popped.at == popped.body && popped.at == model.remove(0)
            })
        }
    }

    #[test]
    fn simultaneous_events_come_in_an_order_of_the_seed() {
        let order = |seed| {
            let mut queue = queue(seed);
            (0..20).for_each(|n| _ = queue.push(5, EventId::default(), n));
            std::iter::from_fn(|| queue.pop().map(|popped| popped.body)).collect::<Vec<u32>>()
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
    }

    #[test]
    fn an_event_names_its_cause() {
        let mut queue = queue(1);
        let first = queue.push(1, EventId::default(), 'a');
        queue.push(2, first, 'b');
        assert_eq!(queue.pop().map(|popped| popped.cause), Some(EventId::default()));
        assert_eq!(queue.pop(), Some(Popped { at: 2, id: EventId(2), cause: first, body: 'b' }));
    }
}

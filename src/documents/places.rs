//! Where the changes of a document stand in the origin logs, in a few bytes for each: what was given up of a document can be
//! read back from there.
//!
//! For each log there is a list of places in ascending order, each kept as its distance from the one before (LEB128): a
//! document that is written often has a byte for each of its changes.

use crate::types::Seq;

/// The places of one document's changes. Logs are named by their number in the index.
#[derive(Debug, Default)]
pub(super) struct Places {
    lists: Vec<List>,
    count: usize,
}

#[derive(Debug)]
struct List {
    log: u32,
    last: u64,
    distances: Vec<u8>,
}

impl Places {
    /// How many places there are. A change may stand at two.
    pub(super) const fn len(&self) -> usize {
        self.count
    }

    /// Notes a place; nothing happens if it is known.
    pub(super) fn note(&mut self, log: u32, seq: Seq) {
        let at = match self.lists.binary_search_by_key(&log, |list| list.log) {
            Ok(at) => at,
            Err(at) => {
                self.lists.insert(at, List { log, last: 0, distances: Vec::new() });
                at
            }
        };
        let (list, seq) = (&mut self.lists[at], seq.value());
        if seq > list.last {
            list.push(seq);
        } else if list.iter().any(|known| known == seq) {
            return;
        } else {
            let mut all: Vec<u64> = list.iter().chain([seq]).collect();
            all.sort_unstable();
            list.set(&all);
        }
        self.count += 1;
    }

    /// Whether a place is known.
    pub(super) fn contains(&self, log: u32, seq: Seq) -> bool {
        let list = self.lists.iter().find(|list| list.log == log);
        list.is_some_and(|list| seq.value() <= list.last && list.iter().any(|known| known == seq.value()))
    }

    /// Forgets one place.
    pub(super) fn remove(&mut self, log: u32, seq: Seq) {
        if let Some(list) = self.lists.iter_mut().find(|list| list.log == log) {
            let kept: Vec<u64> = list.iter().filter(|known| *known != seq.value()).collect();
            self.count -= list.iter().count() - kept.len();
            list.set(&kept);
        }
    }

    /// Forgets the places of a log from this one on; whether there were any.
    pub(super) fn cut(&mut self, log: u32, from: Seq) -> bool {
        let Some(at) = self.lists.iter().position(|list| list.log == log) else { return false };
        let list = &mut self.lists[at];
        if list.last < from.value() {
            return false;
        }
        let before = list.iter().count();
        let kept: Vec<u64> = list.iter().filter(|seq| *seq < from.value()).collect();
        list.set(&kept);
        self.count -= before - kept.len();
        if kept.is_empty() {
            self.lists.remove(at);
        }
        true
    }

    /// Of each log the last place.
    pub(super) fn last(&self) -> impl Iterator<Item = (u32, Seq)> {
        self.lists.iter().filter(|list| list.last > 0).map(|list| (list.log, Seq::new(list.last)))
    }

    /// As it is kept: of each log the distances of its places.
    pub(super) fn packed(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.lists.iter().filter(|list| list.last > 0).map(|list| (list.log, list.distances.as_slice()))
    }

    /// Takes back the places in a log as they were kept.
    ///
    /// # Errors
    /// Why these bytes are none, in words.
    pub(super) fn unpack(&mut self, log: u32, distances: Vec<u8>) -> Result<(), &'static str> {
        let Err(at) = self.lists.binary_search_by_key(&log, |list| list.log) else {
            return Err("they are there twice");
        };
        let (mut last, mut distance, mut shift, mut count) = (0_u64, 0_u64, 0_u32, 0);
        for byte in &distances {
            let part = u64::from(byte & 0x7f);
            if shift > 63 || part << shift >> shift != part {
                return Err("a distance is too long");
            }
            distance |= part << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                last = last.checked_add(distance).filter(|_| distance > 0).ok_or("a distance is 0, or too long")?;
                (distance, shift, count) = (0, 0, count + 1);
            }
        }
        if shift > 0 || count == 0 {
            return Err("they end in the middle of a distance");
        }
        self.lists.insert(at, List { log, last, distances });
        self.count += count;
        Ok(())
    }

    /// All places, log by log, in each log's order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, Seq)> {
        self.lists.iter().flat_map(|list| list.iter().map(|seq| (list.log, Seq::new(seq))))
    }
}

impl List {
    fn push(&mut self, seq: u64) {
        let mut rest = seq - self.last;
        loop {
            let [low, ..] = rest.to_le_bytes();
            rest >>= 7;
            if rest == 0 {
                self.distances.push(low & 0x7f);
                break;
            }
            self.distances.push(low | 0x80);
        }
        self.last = seq;
    }

    fn set(&mut self, seqs: &[u64]) {
        (self.last, self.distances) = (0, Vec::new());
        seqs.iter().for_each(|seq| self.push(*seq));
    }

    fn iter(&self) -> impl Iterator<Item = u64> {
        let (mut seq, mut distance, mut shift) = (0, 0, 0);
        self.distances.iter().filter_map(move |byte| {
            distance |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            (byte & 0x80 == 0).then(|| {
                seq += distance;
                (distance, shift) = (0, 0);
                seq
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    quickcheck::quickcheck! {
        fn they_are_a_set_of_places(noted: Vec<(u8, u32)>, from: u32) -> bool {
            is_a_set(&noted, from)
        }
    }

    fn is_a_set(noted: &[(u8, u32)], from: u32) -> bool {
        let (mut places, mut model) = (Places::default(), BTreeSet::new());
        for (log, seq) in noted {
            let (log, seq) = (u32::from(log % 4), u64::from(*seq) + 1);
            places.note(log, Seq::new(seq));
            model.insert((log, Seq::new(seq)));
        }
        let whole = places.iter().collect::<BTreeSet<_>>() == model && places.len() == model.len();
        let from = Seq::new(u64::from(from));
        let any = model.iter().any(|(log, seq)| *log == 1 && *seq >= from);
        let cut = places.cut(1, from);
        model.retain(|(log, seq)| *log != 1 || *seq < from);
        let known = model.iter().all(|(log, seq)| places.contains(*log, *seq)) && !places.contains(1, from);
        whole && any == cut && known && places.iter().collect::<BTreeSet<_>>() == model && places.len() == model.len()
    }

    quickcheck::quickcheck! {
        fn places_taken_back_are_the_places_that_were(noted: Vec<(u8, u32)>) -> bool {
            let (mut places, mut again) = (Places::default(), Places::default());
            noted.iter().for_each(|(log, seq)| places.note(u32::from(log % 4), Seq::new(u64::from(*seq) + 1)));
            for (log, distances) in places.packed() {
                again.unpack(log, distances.to_vec()).unwrap();
            }
            again.len() == places.len() && again.iter().eq(places.iter())
        }

        fn what_is_no_list_of_places_is_refused_or_read_as_one(bytes: Vec<u8>) -> bool {
            let mut places = Places::default();
            match places.unpack(0, bytes.clone()) {
                Ok(()) => places.iter().count() == places.len() && places.unpack(0, bytes).is_err(),
                Err(_) => places.len() == 0,
            }
        }
    }

    #[test]
    fn a_place_near_the_one_before_costs_a_byte() {
        let mut places = Places::default();
        (1..=1_000).for_each(|n| places.note(0, Seq::new(100 * n)));
        assert_eq!(places.lists[0].distances.len(), 1_000);
    }
}

//! Counters: what is incremented at the same time all counts, also where two peers made the counter before they heard of each other.
//!
//! Automerge adds to a counter all that names it. But of two counters at one place it shows one, and what was added to the other would
//! vanish. So **all counters that stand at one place are read as one**, as maps are (see `twins`): it begins with what the newest of them
//! begins with, and the increments of all of them are added, each once. Two who count what was not there begin with 0 both; two who make
//! a counter of the same number begin with it both: so it is right for either. Whoever sets a number where a counter stands begins it
//! anew, and what was added without having seen that goes with the old one; so does what was added to a counter that somebody removed.
//!
//! **Bounds.** Where a counter begins and how far it moves at a time are bounded where changes are read, so that as many increments as a
//! document can have overflow none.

use std::collections::BTreeMap;

use automerge::{ObjId, ScalarValue, Value};

use super::branches::count;
use super::choose::Chooser;
use super::table::{Kind, OpId};
use super::twins::Rival;
use crate::probe::planted;

/// What a table remembers of counters, or a change that is checked brings to it.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Whether there is any.
    any: bool,
    /// With what each begins, but for the folded ones: beside those none stands.
    starts: BTreeMap<OpId, i64>,
    /// Increments that went to more than one counter.
    shared: Vec<Shared>,
    /// Of each counter those that it shares with others, by their place in that list.
    shares: BTreeMap<OpId, Vec<usize>>,
}

/// An increment of all counters that its writer saw at one place.
#[derive(Debug)]
struct Shared {
    by: i64,
    /// Which change made it: its branch, and its place there.
    change: (u32, u32),
}

impl Shared {
    /// What it is counted for too much where so many of its counters are added up: each was given all of it.
    fn again(by: i64, times: usize) -> i128 {
        i128::from(by) * times.saturating_sub(1) as i128
    }
}

impl Counters {
    /// Notes a counter.
    pub(super) fn begins(&mut self, counter: OpId, start: i64) {
        self.any = true;
        self.starts.insert(counter, start);
    }

    /// Notes an increment of these counters, made by this change of a branch.
    pub(super) fn adds(&mut self, by: i64, change: (u32, u32), counters: Vec<OpId>) {
        if counters.len() > 1 {
            for counter in counters {
                self.shares.entry(counter).or_default().push(self.shared.len());
            }
            self.shared.push(Shared { by, change });
        }
    }

    /// Notes an operation of a folded past.
    pub(super) fn fold(&mut self, kind: Kind) {
        self.any |= kind == Kind::Counter;
    }

    /// Takes in those of a change.
    pub(super) fn extend(&mut self, mut change: Self) {
        self.any |= change.any;
        self.starts.append(&mut change.starts);
        for (counter, places) in change.shares {
            let places = places.into_iter().map(|at| at + self.shared.len());
            self.shares.entry(counter).or_default().extend(places);
        }
        self.shared.append(&mut change.shared);
    }

    /// The increments that went to more than one of these counters, each with to how many.
    fn shared_by(&self, counters: impl Iterator<Item = OpId>) -> Vec<(&Shared, usize)> {
        let mut times: BTreeMap<usize, usize> = BTreeMap::new();
        for at in counters.filter_map(|counter| self.shares.get(&counter)).flatten() {
            *times.entry(*at).or_default() += 1;
        }
        times.into_iter().map(|(at, times)| (&self.shared[at], times)).filter(|(_, times)| *times > 1).collect()
    }

    /// Whether there is any.
    pub(super) const fn any(&self) -> bool {
        self.any
    }
}

/// The number of a counter, as Automerge adds it up.
fn number(value: &Value<'_>) -> Option<i64> {
    let Value::Scalar(value) = value else { return None };
    if let ScalarValue::Counter(counter) = value.as_ref() { Some(counter.into()) } else { None }
}

impl Chooser<'_> {
    /// Which of rivals shows if only counters stand, whatever the policy is: the newest.
    pub(super) fn counted(&self, rivals: &[Rival<'_>]) -> Option<usize> {
        if rivals.iter().all(|rival| number(&rival.value).is_none()) {
            return None;
        }
        let standing = self.standing(rivals);
        let counters = standing.iter().all(|(at, _)| number(&rivals[*at].value).is_some());
        standing.first().filter(|_| counters).map(|(at, _)| *at)
    }

    /// What the counters among rivals come to, of which this one shows; nothing if it is no counter.
    pub(super) fn total(&self, rivals: &[Rival<'_>], shown: usize) -> Option<i64> {
        let mut total = i128::from(number(&rivals[shown].value)?);
        let numbers = self.standing(rivals).into_iter().filter_map(|(at, _)| Some((at, number(&rivals[at].value)?)));
        let numbers: Vec<(usize, i64)> = numbers.collect();
        if numbers.len() < 2 || planted!("documents/one-counter-counts") {
            return i64::try_from(total).ok();
        }
        let counters = self.table.counters();
        let ids: Vec<Option<OpId>> = numbers.iter().map(|(at, _)| self.table.op_id(&rivals[*at].id)).collect();
        for ((at, number), id) in numbers.iter().zip(&ids) {
            let start = id.and_then(|id| counters.starts.get(&id)).copied().unwrap_or_default();
            total += if *at == shown { 0 } else { i128::from(*number) - i128::from(start) };
        }
        for (Shared { by, change: (branch, seq) }, times) in counters.shared_by(ids.iter().flatten().copied()) {
            if self.version.as_ref().is_none_or(|clock| count(clock, *branch) >= *seq) {
                total -= Shared::again(*by, times);
            }
        }
        for (counters, by) in self.shared.borrow().iter() {
            let times = numbers.iter().filter(|(at, _)| counters.contains(&rivals[*at].id)).count();
            total -= Shared::again(*by, times);
        }
        Some(i64::try_from(total).unwrap_or(if total < 0 { i64::MIN } else { i64::MAX }))
    }

    /// Notes an increment of several counters that is in no change yet.
    pub(super) fn note_shared(&self, counters: Vec<ObjId>, by: i64) {
        self.shared.borrow_mut().push((counters, by));
    }

    /// A transaction begins: nothing is made yet.
    pub(super) fn begin(&self) {
        self.shared.borrow_mut().clear();
        self.settled.borrow_mut().clear();
    }
}

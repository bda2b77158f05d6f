//! The version vector: how far each origin log is held, gap-free. One vector describes any number of documents.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};
use serde::Serialize;

use super::{LogId, Seq};

/// A run of entries of one origin log, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize)]
pub struct Range {
    /// Whose entries.
    pub log: LogId,
    /// The first.
    pub first: Seq,
    /// The last.
    pub last: Seq,
}

/// For each origin log the last entry up to which all are held (Parker et al., 1983, over logs instead of files).
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct VersionVector(BTreeMap<LogId, Seq>);

impl VersionVector {
    /// Nothing held.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// How far this log is held; zero if not at all.
    #[must_use]
    pub fn of(&self, log: LogId) -> Seq {
        self.0.get(&log).copied().unwrap_or_default()
    }

    /// Records that this log is held up to `seq`. Never lowers.
    pub fn raise(&mut self, log: LogId, seq: Seq) {
        if seq > Seq::ZERO {
            let held = self.0.entry(log).or_default();
            *held = seq.max(*held);
        }
    }

    /// The least upper bound: what both hold together.
    pub fn join(&mut self, other: &Self) {
        for (log, seq) in &other.0 {
            self.raise(*log, *seq);
        }
    }

    /// Whether everything that `other` holds is held here.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|(log, seq)| self.of(*log) >= *seq)
    }

    /// What `other` holds and we do not, as ranges in order of log.
    pub fn missing<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = Range> + 'a {
        other.0.iter().filter_map(|(log, last)| {
            let held = self.of(*log);
            (held < *last).then(|| Range { log: *log, first: held.next(), last: *last })
        })
    }

    /// The logs and how far each is held, in order.
    pub fn iter(&self) -> impl Iterator<Item = (LogId, Seq)> + '_ {
        self.0.iter().map(|(log, seq)| (*log, *seq))
    }

    /// How many logs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(LogId, Seq)> for VersionVector {
    fn from_iter<I: IntoIterator<Item = (LogId, Seq)>>(iter: I) -> Self {
        let mut vector = Self::new();
        iter.into_iter().for_each(|(log, seq)| vector.raise(log, seq));
        vector
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Actor, Mint, NodeId, Topic};
    use super::*;

    fn vector(pairs: &[(u8, u16)]) -> VersionVector {
        let log = |n| LogId {
            actor: Actor { node: NodeId::from_u128(u128::from(n)), mint: Mint::new(1) },
            topic: Topic::DOCUMENTS,
        };
        pairs.iter().map(|(n, seq)| (log(*n), Seq::new(u64::from(*seq)))).collect()
    }

    fn joined(a: &VersionVector, b: &VersionVector) -> VersionVector {
        let mut both = a.clone();
        both.join(b);
        both
    }

    quickcheck::quickcheck! {
        fn join_is_a_least_upper_bound(a: Vec<(u8, u16)>, b: Vec<(u8, u16)>, c: Vec<(u8, u16)>) -> bool {
            let (a, b, c) = (vector(&a), vector(&b), vector(&c));
            joined(&a, &b) == joined(&b, &a)
                && joined(&joined(&a, &b), &c) == joined(&a, &joined(&b, &c))
                && joined(&a, &a) == a
                && joined(&a, &b).covers(&a)
                && (a.covers(&b) == (joined(&a, &b) == a))
        }

        fn what_is_missing_makes_up_the_difference(a: Vec<(u8, u16)>, b: Vec<(u8, u16)>) -> bool {
            let (mut a, b) = (vector(&a), vector(&b));
            let missing: Vec<_> = a.missing(&b).collect();
            missing.iter().for_each(|range| a.raise(range.log, range.last));
            a.covers(&b)
        }
    }
}

//! The log of actions, as far as it is kept: what comes after the last snapshot, and a little before it.

use std::collections::VecDeque;
use std::sync::Arc;

use bincode::{Decode, Encode};

use super::bounded::List;
use super::group::Group;
use super::vocabulary::{Intent, Mark};
use crate::types::{Index, Term};

/// Most entries in one frame or record.
pub const ENTRIES_MAX: usize = 1_024;

/// Some entries, one after another. Their places follow from where the first stands.
pub type Entries = List<Entry, ENTRIES_MAX>;

/// One entry. A clone shares what it says.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Entry {
    /// The term in which a leader appended it.
    pub term: Term,
    /// What it says.
    pub says: Says,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Says {
    /// A leader took office: only with this entry it knows what is committed (Raft, section 5.4.2).
    Office,
    /// An action is to be done.
    Act(Arc<Intent>),
    /// These decide from here on.
    Group(Arc<Group>),
}

impl Entry {
    /// About how many bytes it takes in a frame, never less than it does.
    pub(super) fn weight(&self) -> usize {
        const OVERHEAD: usize = 96;
        match &self.says {
            Says::Office => OVERHEAD,
            Says::Act(intent) => {
                let value = intent.action.value.as_ref().map_or(0, |value| value.bytes().len());
                OVERHEAD + intent.action.name.as_str().len() + value
            }
            Says::Group(_) => 4 << 10,
        }
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    /// The place before the first entry that is kept.
    base: Mark,
    entries: VecDeque<Entry>,
}

impl Log {
    /// The log after a snapshot of which no further entries are known.
    pub(super) fn reset(&mut self, base: Mark) {
        self.base = base;
        self.entries.clear();
    }

    pub(super) fn base(&self) -> Mark {
        self.base
    }

    pub(super) fn last(&self) -> Mark {
        let index = Index::new(self.base.index.value() + self.entries.len() as u64);
        Mark { term: self.entries.back().map_or(self.base.term, |entry| entry.term), index }
    }

    /// The term at a place; nothing where none is known.
    pub(super) fn term(&self, index: Index) -> Option<Term> {
        if index == self.base.index { Some(self.base.term) } else { self.get(index).map(|entry| entry.term) }
    }

    pub(super) fn get(&self, index: Index) -> Option<&Entry> {
        let at = index.value().checked_sub(self.base.index.value() + 1)?;
        self.entries.get(usize::try_from(at).ok()?)
    }

    /// Whether it has an entry of this term at this place.
    pub(super) fn has(&self, mark: Mark) -> bool {
        self.term(mark.index) == Some(mark.term)
    }

    pub(super) fn push(&mut self, entry: Entry) -> Index {
        self.entries.push_back(entry);
        self.last().index
    }

    /// Takes back the entries from this place on.
    pub(super) fn truncate(&mut self, from: Index) {
        let kept = from.value().saturating_sub(self.base.index.value() + 1);
        self.entries.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
    }

    /// Lets go of the entries up to this place.
    pub(super) fn compact(&mut self, upto: Index) {
        let Some(term) = self.term(upto) else { return };
        let gone = upto.value() - self.base.index.value();
        self.entries.drain(..usize::try_from(gone).expect("they are in memory"));
        self.base = Mark { term, index: upto };
    }

    /// The entries from a place on, one at least if there is any, and about so many bytes.
    pub(super) fn slice(&self, from: Index, bytes: usize) -> Entries {
        let (mut some, mut weight) = (Vec::new(), 0);
        let at = from.value().saturating_sub(self.base.index.value() + 1);
        for entry in self.entries.iter().skip(usize::try_from(at).unwrap_or(usize::MAX)).take(ENTRIES_MAX) {
            weight += entry.weight();
            if !some.is_empty() && weight > bytes {
                break;
            }
            some.push(entry.clone());
        }
        List::new(some).expect("so many were taken")
    }

    /// The entries from a place on.
    pub(super) fn iter_from(&self, from: Index) -> impl Iterator<Item = (Index, &Entry)> {
        let first = self.base.index.value() + 1;
        let at = from.value().saturating_sub(first);
        let skipped = self.entries.iter().skip(usize::try_from(at).unwrap_or(usize::MAX));
        (first + at..).map(Index::new).zip(skipped)
    }

    /// The last place at or before this one whose term is at most this.
    pub(super) fn last_upto_term(&self, index: Index, term: Term) -> Option<Index> {
        let mut at = index.min(self.last().index);
        while at >= self.base.index {
            match self.term(at) {
                Some(found) if found <= term => return Some(at),
                _ if at == Index::ZERO => return None,
                _ => at = Index::new(at.value() - 1),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(base: u64, terms: &[u64]) -> Log {
        let mut log = Log::default();
        log.reset(Mark { term: Term::new(1), index: Index::new(base) });
        terms.iter().for_each(|term| {
            log.push(Entry { term: Term::new(*term), says: Says::Office });
        });
        log
    }

    #[test]
    fn places_count_from_the_base() {
        let log = log(10, &[1, 2, 2]);
        assert_eq!(log.last(), Mark { term: Term::new(2), index: Index::new(13) });
        let terms = [9, 10, 11, 13, 14].map(|at| log.term(Index::new(at)).map(Term::value));
        assert_eq!(terms, [None, Some(1), Some(1), Some(2), None]);
        assert_eq!(log.last_upto_term(Index::new(99), Term::new(1)), Some(Index::new(11)));
        assert_eq!(log.last_upto_term(Index::new(99), Term::ZERO), None);
    }

    #[test]
    fn a_slice_has_one_entry_at_least_and_ends_in_time() {
        let log = log(10, &[1; 8]);
        assert_eq!(log.slice(Index::new(11), 0).len(), 1);
        assert_eq!(log.slice(Index::new(12), 96 * 3).len(), 3);
        assert_eq!(log.slice(Index::new(17), 1 << 20).len(), 2);
        assert_eq!(log.slice(Index::new(19), 1 << 20).len(), 0);
    }

    quickcheck::quickcheck! {
        /// Against a plain list of all entries ever (P7).
        fn a_log_is_a_list_without_its_beginning(ops: Vec<(u8, u8)>) -> bool {
            let (mut log, mut all) = (Log::default(), vec![Term::ZERO]);
            for (op, at) in ops {
                let at = u64::from(at) % (all.len() as u64 + 1);
                match op % 4 {
                    0 | 1 => {
                        let term = Term::new(u64::from(op) / 4);
                        all.push(term);
                        log.push(Entry { term, says: Says::Office });
                    }
                    2 if at > log.base().index.value() => {
                        all.truncate(usize::try_from(at).unwrap());
                        log.truncate(Index::new(at));
                    }
                    3 if at >= log.base().index.value() => log.compact(Index::new(at)),
                    _ => {}
                }
            }
            let base = log.base().index.value();
            log.last().index.value() == all.len() as u64 - 1
                && (0..all.len() as u64 + 2).all(|at| {
                    let listed = all.get(usize::try_from(at).unwrap()).copied();
                    log.term(Index::new(at)) == listed.filter(|_| at >= base)
                })
        }
    }
}

//! What the records in a log come to, in as few of them: a log's snapshot has these in place of all that stand before it.

use std::collections::VecDeque;
use std::sync::Arc;

use super::log::{Entries, Entry};
use super::record::{Record, Snapshot};
use super::vocabulary::Mark;
use crate::probe::planted;
use crate::types::{Actor, Epoch, Index, Mint, Term};

/// Entries in one record at most, when they are told anew: with the longest values that is a megabyte.
const TOLD_MAX: usize = 64;

/// The vote of the last ballot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Vote {
    founding: Mint,
    epoch: Epoch,
    term: Term,
    vote: Option<Actor>,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    named: Option<Mint>,
    vote: Option<Vote>,
    snapshot: Option<Arc<Snapshot>>,
    /// Behind this place the entries begin: where the snapshot ends.
    base: Mark,
    entries: VecDeque<Entry>,
}

impl Kept {
    /// Takes the next record of the log.
    ///
    /// # Errors
    /// Why it is none that can come here, in words. Nothing was changed.
    pub fn take(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::Named { mint } => *self = Self { named: Some(*mint), ..Self::default() },
            Record::Vote { founding, epoch, term, vote } => {
                let known = self.vote.map_or_else(|| (self.epoch(), self.base.term), |vote| (vote.epoch, vote.term));
                if (*epoch, *term) < known {
                    return Err(format!("term {term} comes behind term {}", known.1));
                }
                let vote = vote.filter(|_| !planted!("consensus/vote-forgotten-by-a-restart"));
                self.vote = Some(Vote { founding: *founding, epoch: *epoch, term: *term, vote });
            }
            Record::Append { first, entries } => {
                let (base, last) = (self.base.index.value(), self.last());
                if first.value() > last + 1 {
                    return Err(format!("the entries from {first} on come behind {last}"));
                }
                if first.value() <= base {
                    return Err(format!("the entries from {first} on stand before {base}, where a snapshot ends"));
                }
                self.entries.truncate(usize::try_from(first.value() - base - 1).unwrap_or(usize::MAX));
                self.entries.extend(entries.iter().cloned());
            }
            Record::Snapshot(snapshot) => self.take_snapshot(snapshot),
        }
        Ok(())
    }

    /// As [`Consensus::take_snapshot`](super::Consensus): what is behind it stays only if the log has what it ends with.
    fn take_snapshot(&mut self, snapshot: &Arc<Snapshot>) {
        let last = snapshot.last;
        let goes_on =
            self.snapshot.is_some() && self.epoch() == snapshot.epoch && self.term(last.index) == Some(last.term);
        if goes_on {
            let gone = usize::try_from(last.index.value() - self.base.index.value()).unwrap_or(usize::MAX);
            self.entries.drain(..gone);
        } else {
            self.entries.clear();
        }
        // A ballot of an earlier term, or of another generation, says nothing any more.
        self.vote = self.vote.filter(|vote| vote.epoch == snapshot.epoch && vote.term >= last.term);
        (self.base, self.snapshot) = (last, Some(snapshot.clone()));
    }

    fn epoch(&self) -> Epoch {
        self.snapshot.as_ref().map_or(Epoch::ZERO, |snapshot| snapshot.epoch)
    }

    fn last(&self) -> u64 {
        self.base.index.value() + self.entries.len() as u64
    }

    fn term(&self, index: Index) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        let at = index.value().checked_sub(self.base.index.value() + 1)?;
        self.entries.get(usize::try_from(at).ok()?).map(|entry| entry.term)
    }

    /// Records that say the same.
    #[must_use]
    pub fn records(&self) -> VecDeque<Record> {
        let named = self.named.map(|mint| Record::Named { mint });
        let snapshot = self.snapshot.clone().map(Record::Snapshot);
        let vote = self.vote.map(|Vote { founding, epoch, term, vote }| Record::Vote { founding, epoch, term, vote });
        let mut records: VecDeque<Record> = named.into_iter().chain(snapshot).chain(vote).collect();
        let mut first = self.base.index.next();
        let mut left = self.entries.iter().cloned().peekable();
        while left.peek().is_some() {
            let some: Vec<Entry> = left.by_ref().take(TOLD_MAX).collect();
            let next = Index::new(first.value() + some.len() as u64);
            let entries = Entries::new(some).expect("a few");
            records.push_back(Record::Append { first, entries });
            first = next;
        }
        records
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::tests::world::World;
    use crate::consensus::{Config, Consensus};
    use crate::types::NodeId;

    fn restored(node: NodeId, records: impl IntoIterator<Item = Record>) -> Consensus {
        let mut machine = Consensus::new(node, Config::default());
        records.into_iter().for_each(|record| machine.restore(&record).unwrap());
        machine
    }

    /// A group lives through a good deal; of each disk all that it says and the little that is kept come to the same, at every place.
    #[test]
    fn the_few_say_what_all_say() {
        let config = Config { snapshot_every: 8, entries_kept: 3, ..Config::default() };
        for seed in 0..6 {
            let mut world = World::founded(seed, 4, 3, config.clone());
            for round in 0..24_usize {
                world.decide("primary");
                if round % 7 == 3 {
                    let leader = world.settle();
                    world.crash(leader, true);
                    world.run(1_500);
                    world.restart(leader);
                }
                if round == 20 {
                    world.wipe(2);
                }
            }
            for peer in &world.peers {
                let config = bincode::config::standard();
                let disk: Vec<Record> =
                    peer.disk.iter().map(|bytes| bincode::decode_from_slice(bytes, config).unwrap().0).collect();
                let mut kept = Kept::default();
                for upto in 0..disk.len() {
                    kept.take(&disk[upto]).unwrap();
                    let (all, few) = (restored(peer.node, disk[..=upto].to_vec()), restored(peer.node, kept.records()));
                    assert_eq!(
                        (all.me, all.founding, all.epoch, all.term, all.vote, all.commit, all.log.last()),
                        (few.me, few.founding, few.epoch, few.term, few.vote, few.commit, few.log.last())
                    );
                    assert!(all.state == few.state && all.snapshot == few.snapshot && all.group() == few.group());
                    let behind = |machine: &Consensus| machine.log.slice(machine.commit.next(), usize::MAX);
                    assert_eq!(behind(&all), behind(&few));
                    // And what is told anew comes to the same once more.
                    let mut again = Kept::default();
                    kept.records().iter().for_each(|record| again.take(record).unwrap());
                    assert_eq!(again, kept);
                }
            }
        }
    }

    #[test]
    fn what_cannot_follow_is_refused_and_changes_nothing() {
        let office = Entry { term: Term::new(1), says: super::super::log::Says::Office };
        let append =
            |first| Record::Append { first: Index::new(first), entries: Entries::new(vec![office.clone()]).unwrap() };
        let mut kept = Kept::default();
        kept.take(&append(1)).unwrap();
        let before = kept.clone();
        for record in [append(3), append(0)] {
            assert!(kept.take(&record).is_err());
        }
        let vote =
            |term| Record::Vote { founding: Mint::new(1), epoch: Epoch::new(1), term: Term::new(term), vote: None };
        assert_eq!(kept, before);
        kept.take(&vote(5)).unwrap();
        assert!(kept.take(&vote(4)).is_err());
    }
}

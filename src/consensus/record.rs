//! What this room keeps in the log of the node, and how it is taken back at a start.
//!
//! Records are in the order in which they were asked for, and what was promised to others left only when the record behind it was
//! durable. So whatever is lost at the end of the log, by a crash, nobody was told of.

use std::sync::Arc;

use bincode::{Decode, Encode};
use bytes::Bytes;

use super::Consensus;
use super::bounded::Blob;
use super::group::Group;
use super::log::{Entries, Says};
use super::message::SNAPSHOT_MAX;
use super::state::State;
use super::vocabulary::Mark;
use crate::types::{Actor, Epoch, Index, Mint, Term, Time};

/// One record. The order of the variants is the format: new ones come last.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Record {
    /// This store takes part under this name from here on, and what stands before does not count any more.
    Named {
        /// Drawn at random.
        mint: Mint,
    },
    /// The term, and who has this store's vote in it.
    Vote {
        /// In which group.
        founding: Mint,
        /// The generation.
        epoch: Epoch,
        /// The term.
        term: Term,
        /// For whom, if for anybody.
        vote: Option<Actor>,
    },
    /// Entries from a place on. Those that stood there before, or behind, are gone.
    Append {
        /// The place of the first.
        first: Index,
        /// They, one at least.
        entries: Entries,
    },
    /// The state, its own or another member's.
    Snapshot(Arc<Snapshot>),
}

/// All that the log says up to a place.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Snapshot {
    /// Of which group.
    pub founding: Mint,
    /// In which generation.
    pub epoch: Epoch,
    /// Up to where.
    pub last: Mark,
    /// Who decides after it.
    pub group: Arc<Group>,
    /// What the decisions came to.
    pub state: Blob<SNAPSHOT_MAX>,
}

impl Default for Snapshot {
    /// Of nothing: before a group is joined.
    fn default() -> Self {
        let (founding, epoch, last) = (Mint::new(0), Epoch::ZERO, Mark::default());
        Self { founding, epoch, last, group: Arc::default(), state: Blob::default() }
    }
}

impl Snapshot {
    /// As it is sent.
    pub(super) fn encode(&self) -> Bytes {
        bincode::encode_to_vec(self, bincode::config::standard()).expect("a Vec takes everything").into()
    }

    /// As it was sent.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let config = bincode::config::standard();
        let (snapshot, read): (Self, usize) =
            bincode::decode_from_slice(bytes, config).map_err(|error| error.to_string())?;
        match bytes.len() - read {
            0 if snapshot.group.is_sound() => Ok(snapshot),
            0 => Err("it names a group that cannot be".into()),
            extra => Err(format!("{extra} bytes are left over")),
        }
    }
}

/// The records are not what this room wrote. Nothing of the one at fault was kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// An entry is missing before it.
    #[error("the entries from {first} on come behind {last}, and some are missing between")]
    Gap {
        /// The first of the record.
        first: Index,
        /// Where the log ended before.
        last: Index,
    },
    /// It would replace what a snapshot covers.
    #[error("the entries from {first} on stand before the end of a snapshot, {base}")]
    Covered {
        /// The first of the record.
        first: Index,
        /// Up to where the log is compacted.
        base: Index,
    },
    /// A snapshot cannot be read.
    #[error("the snapshot up to {index}: {why}")]
    Snapshot {
        /// Up to where it goes.
        index: Index,
        /// Why not.
        why: String,
    },
    /// A term before the one that was durable already.
    #[error("term {found} comes behind term {known}")]
    Term {
        /// Of the record.
        found: Term,
        /// Before it.
        known: Term,
    },
}

impl Consensus {
    /// Takes back a record, in the order of the log, before [`start`](Self::start).
    ///
    /// # Errors
    /// [`RestoreError`]: the log on disk is not what this room wrote.
    pub fn restore(&mut self, record: &Record) -> Result<(), RestoreError> {
        match record {
            Record::Named { mint } => self.forget(*mint),
            Record::Vote { founding, epoch, term, vote } => {
                if (*epoch, *term) < (self.epoch, self.term) {
                    return Err(RestoreError::Term { found: *term, known: self.term });
                }
                (self.founding, self.epoch, self.term, self.vote) = (*founding, *epoch, *term, *vote);
            }
            Record::Append { first, entries } => {
                let (base, last) = (self.log.base().index, self.log.last().index);
                if *first > last.next() {
                    return Err(RestoreError::Gap { first: *first, last });
                }
                if *first <= base {
                    return Err(RestoreError::Covered { first: *first, base });
                }
                self.replace_tail(*first, entries);
            }
            Record::Snapshot(snapshot) => {
                let state = State::decode(snapshot.state.bytes())
                    .map_err(|why| RestoreError::Snapshot { index: snapshot.last.index, why })?;
                self.take_snapshot(snapshot.clone(), state);
                self.compact(Time::ZERO);
            }
        }
        Ok(())
    }

    /// Puts entries into the log from a place on, and nothing stays behind them.
    pub(super) fn replace_tail(&mut self, first: Index, entries: &Entries) {
        self.log.truncate(first);
        self.groups.truncate(first.value());
        for entry in entries.iter() {
            let at = self.log.push(entry.clone());
            if let Says::Group(group) = &entry.says {
                self.groups.push(at.value(), group.clone());
            }
        }
    }

    /// The state is that of a snapshot from now on. The log goes on behind it if it has what the snapshot ends with.
    pub(super) fn take_snapshot(&mut self, snapshot: Arc<Snapshot>, state: State) {
        let last = snapshot.last;
        if !self.log.has(last) || self.group().is_none() || self.epoch != snapshot.epoch {
            self.log.reset(last);
            self.groups.reset(last.index.value(), snapshot.group.clone());
        }
        // Another generation counts its terms anew: what one came to is no limit for the next.
        let is_other = self.epoch != snapshot.epoch;
        (self.founding, self.epoch) = (snapshot.founding, snapshot.epoch);
        if is_other || self.term < last.term {
            (self.term, self.vote) = (last.term, None);
        }
        (self.commit, self.state, self.snapshot) = (last.index, state, snapshot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::log::Entry;
    use crate::consensus::{Action, Config, Expect, Intent, Name, RequestId};
    use crate::types::{NodeId, WallTime};

    /// Records are read back by later versions: their bytes are kept.
    #[test]
    fn records_have_golden_bytes() {
        let id = Actor { node: NodeId::from_u128(1), mint: Mint::new(300) };
        let node = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let request = RequestId { born: Index::new(4), number: 5 };
        let action = Action { name: Name::new("primary").unwrap(), expect: Expect::Absent, value: None };
        let intent = Intent { request, expires: WallTime::from_micros(6), action };
        let group = Arc::new(Group::of(&[(id, 7)]).unwrap());
        let entry = |says| Entry { term: Term::new(2), says };
        let entries = vec![entry(Says::Office), entry(Says::Act(Arc::new(intent))), entry(Says::Group(group.clone()))];
        let vote = Record::Vote { founding: Mint::new(9), epoch: Epoch::new(1), term: Term::new(2), vote: Some(id) };
        let append = Record::Append { first: Index::new(3), entries: Entries::new(entries).unwrap() };
        let last = Mark { term: Term::new(1), index: Index::new(2) };
        let state = Blob::new(Bytes::from_static(&[0, 0, 0])).unwrap();
        let snapshot = Snapshot { founding: Mint::new(9), epoch: Epoch::new(1), last, group, state };
        let member = [&[1], &node[..], &[251, 44, 1, 1, 7, 0]].concat();
        let golden = [
            (Record::Named { mint: id.mint }, vec![0, 251, 44, 1]),
            (vote, [&[1, 9, 1, 2, 1], &node[..], &[251, 44, 1]].concat()),
            (append, [&b"\x02\x03\x03\x02\x00\x02\x01\x04\x05\x06\x07primary\x01\x00\x02\x02"[..], &member].concat()),
            (Record::Snapshot(Arc::new(snapshot)), [&[3, 9, 1, 1, 2], &member[..], &[3, 0, 0, 0]].concat()),
        ];
        for (record, bytes) in golden {
            let config = bincode::config::standard();
            assert_eq!(bincode::encode_to_vec(&record, config).unwrap(), bytes, "{record:?}");
            assert_eq!(bincode::decode_from_slice(&bytes, config).unwrap(), (record, bytes.len()));
        }
    }

    #[test]
    fn records_that_do_not_follow_are_refused() {
        let mut machine = Consensus::new(NodeId::from_u128(1), Config::default());
        let entries = Entries::new(vec![Entry { term: Term::new(1), says: Says::Office }]).unwrap();
        let append = |first| Record::Append { first: Index::new(first), entries: entries.clone() };
        assert_eq!(machine.restore(&append(1)), Ok(()));
        let gap = RestoreError::Gap { first: Index::new(3), last: Index::new(1) };
        assert_eq!(machine.restore(&append(3)), Err(gap));
        let covered = RestoreError::Covered { first: Index::ZERO, base: Index::ZERO };
        assert_eq!(machine.restore(&append(0)), Err(covered));
        let vote =
            |term| Record::Vote { founding: Mint::new(1), epoch: Epoch::new(1), term: Term::new(term), vote: None };
        assert_eq!(machine.restore(&vote(5)), Ok(()));
        assert!(matches!(machine.restore(&vote(4)), Err(RestoreError::Term { .. })));
        let broken = Snapshot { state: Blob::new(Bytes::from_static(&[9])).unwrap(), ..Snapshot::default() };
        assert!(matches!(machine.restore(&Record::Snapshot(Arc::new(broken))), Err(RestoreError::Snapshot { .. })));
    }
}

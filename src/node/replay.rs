//! The state that the log gives back: first the main chain, then the events' chain, entry by entry.
//!
//! Entries of streams may be many times the memory, so none is held longer than it takes to chain it on; but where a branch
//! gave way, and an entry's new place comes later in the chain than the entry.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::life::Life;
use super::record::Own;
use super::snapshot::{Base, Missing};
use super::{Config, wal};
use crate::consensus::Consensus;
use crate::documents::Documents;
use crate::events::{Events, Stamp};
use crate::replication::{self, Branch, Line, Record, Replication};
use crate::types::{Actor, Chain, LogId, Lsn, Position, SegmentId, Seq};

/// What the main chain says, apart from the machines' states.
#[derive(Debug, Default)]
pub(super) struct Main {
    pub(super) life: Life,
    entries: VecDeque<(Record, Position)>,
    /// What was read of it before, and is not read again.
    base: Option<Base>,
}

impl Main {
    /// What a snapshot says comes first.
    pub(super) fn behind(base: Base) -> Self {
        Self { life: base.life.clone(), entries: VecDeque::new(), base: Some(base) }
    }

    pub(super) fn base_mut(&mut self) -> Option<&mut Base> {
        self.base.as_mut()
    }

    /// Takes the next record.
    ///
    /// # Errors
    /// What does not belong here, in words.
    pub(super) fn record(&mut self, frame: &wal::Frame, own: Own) -> Result<(), String> {
        match &own {
            Own::Entry(_) => {}
            Own::Branch(_) if self.base.is_some() => {
                return Err("entries got other names after it was taken".to_owned());
            }
            Own::Branch(branch) => branch.replay(&mut self.entries),
            _ => {}
        }
        match own {
            Own::Entry(record) => self.entries.push_back((record, frame.position)),
            own => self.life.record(own, frame.lsn, frame.hlc)?,
        }
        Ok(())
    }

    /// The state as far as it is now, and what reads the other chain. `store` is the main chain's.
    pub(super) fn replay(&mut self, actor: Actor, config: &Config, store: Option<u64>) -> Result<Replay, Refused> {
        let mut replication = Replication::new(actor, config.replication.clone());
        for peer in &self.life.paused {
            replication.restore_pause(replication::Pause { peer: *peer, paused: true });
        }
        let mut documents = Documents::new(actor, config.documents.clone());
        let missing = match self.base.take() {
            None => Vec::new(),
            Some(base) => base.restore(&mut replication, &mut documents)?,
        };
        let mut late = VecDeque::new();
        // Popped one by one, so that bodies are held once.
        while let Some((record, position)) = self.entries.pop_front() {
            replication.restore(&record, position).map_err(|why| Refused { position, why: why.to_string() })?;
            let Record { log, seq, body, .. } = record;
            if missing.is_empty() {
                documents.restore(log, seq, body);
            } else {
                late.push_back((log, seq, body));
            }
        }
        let mut consensus = Consensus::new(actor.node, config.consensus.clone());
        for record in self.life.decided.records() {
            let position = Position { segment: Chain::Main.origin().next(), offset: 0, len: 0 };
            consensus.restore(&record).map_err(|why| Refused { position, why: why.to_string() })?;
        }
        let mut events = Events::new(config.events.clone());
        for (log, (last, chain)) in &self.life.trimmed {
            replication.restore_base(&Line { log: *log, last: *last, chain: *chain }, true);
            events.skip(*log, Seq::ZERO, *last);
        }
        let (first, next) = self.life.start.unwrap_or((Chain::Events.origin().next(), Lsn::ZERO.next()));
        Ok(Replay {
            replication,
            documents,
            events,
            consensus,
            first,
            scanner: wal::Scanner::at(actor.node, first, next, store),
            branches: self.life.branches.clone(),
            held: BTreeMap::new(),
            starts: BTreeMap::new(),
            missing: Missing::of(missing),
            late,
        })
    }
}

/// An intact record says what cannot be.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) position: Position,
    pub(super) why: String,
}

/// The machines' states, while the events' chain is read.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) replication: Replication,
    pub(super) documents: Documents,
    pub(super) events: Events,
    pub(super) consensus: Consensus,
    /// Segments of the chain before this one do not count.
    pub(super) first: SegmentId,
    pub(super) scanner: wal::Scanner,
    /// With which record each segment begins.
    pub(super) starts: BTreeMap<SegmentId, Lsn>,
    branches: Vec<(Branch, Lsn)>,
    /// Entries under their new names that others come before.
    held: BTreeMap<(LogId, Seq), (Record, Position)>,
    /// Entries that stand before the snapshot and that no document of it has.
    missing: Missing,
    /// Of those that follow: documents get them behind those.
    late: VecDeque<(LogId, Seq, Bytes)>,
}

impl Replay {
    /// Takes the next record of the events' chain.
    pub(super) fn frame(&mut self, frame: &wal::Frame) -> Result<(), Refused> {
        let position = frame.position;
        let refuse = |why: String| Refused { position, why };
        self.starts.entry(position.segment).or_insert(frame.lsn);
        match Own::decode(frame.kind, &frame.payload).map_err(refuse)? {
            Own::Entry(record) => self.entry(record, frame.lsn, position),
            Own::Skip(line) => {
                let after = Seq::new(self.replication.next_of(line.log).value() - 1);
                self.replication.restore_base(&line, false);
                self.events.skip(line.log, after, line.last);
                Ok(())
            }
            // It made a cut durable; the main chain says who writes.
            Own::Minted { .. } => Ok(()),
            other => Err(refuse(format!("{other:?} does not stand in this chain"))),
        }
    }

    fn entry(&mut self, record: Record, lsn: Lsn, position: Position) -> Result<(), Refused> {
        let later = self.branches.iter().filter(|(_, before)| *before > lsn);
        let named = later.map(|(branch, _)| branch).try_fold(record, |record, branch| branch.renamed(record));
        // Held under its new name already: that entry stands here too.
        let Some(record) = named else { return Ok(()) };
        let log = record.log;
        if record.seq < self.replication.next_of(log) {
            // It moved to a log that was trimmed further meanwhile.
            return Ok(());
        }
        self.held.insert((log, record.seq), (record, position));
        while let Some((record, position)) = self.held.remove(&(log, self.replication.next_of(log))) {
            self.restore(&record, position)?;
        }
        Ok(())
    }

    fn restore(&mut self, record: &Record, position: Position) -> Result<(), Refused> {
        let refuse = |why: replication::RestoreError| Refused { position, why: why.to_string() };
        self.replication.restore(record, position).map_err(refuse)?;
        let Record { log, seq, hlc, .. } = *record;
        self.events.restore(Stamp { log, seq, hlc, position }, &record.body);
        Ok(())
    }

    /// Where to read what is missing next: a segment, from which byte, and how many.
    pub(super) fn wants(&self) -> Option<(SegmentId, u64, u64)> {
        self.missing.next()
    }

    /// What was wanted. When nothing is missing any more, documents get all of it in order.
    ///
    /// # Errors
    /// What stands there is not what the snapshot says.
    pub(super) fn got(&mut self, store: u64, bytes: &Bytes) -> Result<(), Refused> {
        self.missing.take(store, bytes, &self.replication)?;
        if self.missing.next().is_none() {
            let found = self.missing.found();
            found.chain(self.late.drain(..)).for_each(|(log, seq, body)| self.documents.restore(log, seq, body));
        }
        Ok(())
    }

    /// The chain is read: nothing may wait any more.
    pub(super) fn check(&mut self) -> Result<(), Refused> {
        match self.held.pop_first() {
            None => Ok(()),
            Some((_, (record, position))) => self.restore(&record, position),
        }
    }
}

//! The state that the log gives back: first the main chain, then the events' chain, entry by entry.
//!
//! Entries of streams may be many times the memory, so none is held longer than it takes to chain it on; but where a branch
//! gave way, and an entry's new place comes later in the chain than the entry.

use std::collections::{BTreeMap, VecDeque};

use super::points::Point;
use super::record::{Own, Restored};
use super::{Config, wal};
use crate::documents::Documents;
use crate::events::{Events, Stamp};
use crate::replication::{self, Branch, Line, Record, Replication, Trim};
use crate::types::{Actor, Boot, Chain, Digest, LogId, Lsn, Position, SegmentId, Seq};

/// What the main chain says, apart from the machines' states.
#[derive(Debug, Default)]
pub(super) struct Main {
    pub(super) boot: Option<Boot>,
    /// As whom the node writes, if anything behind the last recovery says so.
    pub(super) actor: Option<Actor>,
    /// From what the log was put back last.
    pub(super) restored: Option<Restored>,
    /// Whether nobody has lived on the log since.
    pub(super) unlived: bool,
    entries: VecDeque<(Record, Position)>,
    /// Branches of logs of the events' chain, each with the first record there that was written after it.
    branches: Vec<(Branch, Lsn)>,
    /// Where the events' chain begins, and up to where its logs are not held.
    start: Option<(SegmentId, Lsn)>,
    trimmed: BTreeMap<LogId, (Seq, Digest)>,
    pauses: Vec<replication::Pause>,
    /// To where somebody may want to come back, in order.
    pub(super) points: Vec<Point>,
}

impl Main {
    /// Takes the next record.
    ///
    /// # Errors
    /// What does not belong here, in words.
    pub(super) fn record(&mut self, frame: &wal::Frame, own: Own) -> Result<(), String> {
        match own {
            Own::Booted { boot } => (self.boot, self.unlived) = (Some(boot), false),
            Own::Minted { actor } => self.actor = Some(actor),
            // What its actor wrote behind this point lives on elsewhere.
            Own::Restored(restored) => (self.actor, self.restored, self.unlived) = (None, Some(restored), true),
            Own::Entry(record) => self.entries.push_back((record, frame.position)),
            Own::Branch(branch) => branch.replay(&mut self.entries),
            Own::Pause(pause) => self.pauses.push(pause),
            Own::Point { name } => self.points.push(Point { name, lsn: frame.lsn, at: frame.hlc }),
            Own::EventsBranch { branch, before } => self.branches.push((branch, before)),
            Own::Trim(Trim { first, next, lines }) if first.chain() == Chain::Events => {
                self.start = Some((first, next));
                self.trimmed.extend(lines.into_iter().map(|line| (line.log, (line.last, line.chain))));
            }
            other @ (Own::Trim(_) | Own::Skip(_)) => return Err(format!("{other:?} does not stand in this chain")),
        }
        Ok(())
    }

    /// The state as far as it is now, and what reads the other chain. `store` is the main chain's.
    pub(super) fn replay(&mut self, actor: Actor, config: &Config, store: Option<u64>) -> Result<Replay, Refused> {
        let mut replication = Replication::new(actor, config.replication.clone());
        self.pauses.drain(..).for_each(|pause| replication.restore_pause(pause));
        let mut documents = Documents::new(actor, config.documents.clone());
        // Popped one by one, so that bodies are held once.
        while let Some((record, position)) = self.entries.pop_front() {
            replication.restore(&record, position).map_err(|why| Refused { position, why: why.to_string() })?;
            documents.restore(record.log, record.seq, record.body);
        }
        let mut events = Events::new(config.events.clone());
        for (log, (last, chain)) in std::mem::take(&mut self.trimmed) {
            replication.restore_base(&Line { log, last, chain }, true);
            events.skip(log, Seq::ZERO, last);
        }
        let (first, next) = self.start.unwrap_or((Chain::Events.origin().next(), Lsn::ZERO.next()));
        Ok(Replay {
            replication,
            documents,
            events,
            first,
            scanner: wal::Scanner::at(actor.node, first, next, store),
            branches: std::mem::take(&mut self.branches),
            held: BTreeMap::new(),
            starts: BTreeMap::new(),
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
    /// Segments of the chain before this one do not count.
    pub(super) first: SegmentId,
    pub(super) scanner: wal::Scanner,
    /// With which record each segment begins.
    pub(super) starts: BTreeMap<SegmentId, Lsn>,
    branches: Vec<(Branch, Lsn)>,
    /// Entries under their new names that others come before.
    held: BTreeMap<(LogId, Seq), (Record, Position)>,
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

    /// The chain is read: nothing may wait any more.
    pub(super) fn check(&mut self) -> Result<(), Refused> {
        match self.held.pop_first() {
            None => Ok(()),
            Some((_, (record, position))) => self.restore(&record, position),
        }
    }
}

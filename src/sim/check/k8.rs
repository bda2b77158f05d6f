//! K8: what a voter promises is durable by then: its vote, also for itself, and what it acknowledges of the log. Judged on the bytes that its
//! disk has answered, and at a start on those that it found.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::{AtDisk, Check, Sight, Verdict, k6};
use crate::consensus::{Body, Message, Record};
use crate::node::{BootReport, Own};
use crate::sim::host::Host;
use crate::types::{Actor, Chain, Epoch, Family, Index, Mint, NodeId, Position, SegmentId, Term};
use crate::wal;

/// What a store's durable records come to.
#[derive(Default)]
struct Store {
    mint: Option<Mint>,
    vote: (Epoch, Term, Option<Actor>),
    terms: BTreeMap<Index, Term>,
    covered: Index,
}

impl Store {
    fn take(&mut self, record: &Record) {
        match record {
            Record::Named { mint } => *self = Self { mint: Some(*mint), ..Self::default() },
            Record::Vote { epoch, term, vote, .. } => self.vote = (*epoch, *term, *vote),
            Record::Append { first, entries } => {
                self.terms.split_off(first);
                let places = (first.value()..).map(Index::new);
                self.terms.extend(places.zip(entries.iter().map(|entry| entry.term)));
            }
            Record::Snapshot(snapshot) => {
                let last = snapshot.last;
                if self.terms.get(&last.index) != Some(&last.term) {
                    self.terms.clear();
                }
                self.covered = last.index;
            }
        }
    }
}

/// A peer's log, as far as it is of consensus.
#[derive(Default)]
struct Log {
    /// Nothing: it is not known.
    store: Option<Store>,
    /// The number that its sums are masked with.
    mask: Option<u64>,
    /// Not answered yet, in order.
    open: VecDeque<(SegmentId, u64, Option<Record>)>,
}

/// Holds promises against disks.
pub(super) struct PromisesAreDurable {
    logs: Vec<Log>,
}

impl PromisesAreDurable {
    pub(super) fn new(peers: usize) -> Self {
        Self { logs: (0..peers).map(|_| Log::default()).collect() }
    }
}

impl Log {
    /// What was written there, if it is of consensus.
    fn record(&mut self, segment: SegmentId, offset: u64, bytes: &Bytes) -> Option<Record> {
        let header = if offset == 0 { wal::HEADER } else { 0 };
        if offset == 0 {
            self.mask = wal::owner(segment, bytes).ok()?.map(|(_, store)| store);
        }
        let frame = bytes.slice(header..);
        let (offset, len) = (offset + header as u64, u32::try_from(frame.len()).ok()?);
        let frame = wal::read_back(self.mask?, Position { segment, offset, len }, &frame).ok()?;
        of(frame.kind, &frame.payload)
    }
}

fn of(kind: u8, payload: &[u8]) -> Option<Record> {
    match Own::decode(kind, payload) {
        Ok(Own::Consensus(record)) => Some(record),
        _ => None,
    }
}

impl Check for PromisesAreDurable {
    fn id(&self) -> &'static str {
        "K8"
    }

    fn on_disk(&mut self, _: &Sight<'_>, who: u32, what: AtDisk<'_>) -> Verdict {
        let log = &mut self.logs[who as usize];
        match what {
            AtDisk::Starts => *log = Log::default(),
            AtDisk::Writes { segment, offset, bytes } if segment.family() == Family::Log(Chain::Main) => {
                let record = log.record(segment, offset, &Bytes::copy_from_slice(bytes));
                log.open.push_back((segment, offset, record));
            }
            AtDisk::Answers { segment, offset, result, .. } if segment.family() == Family::Log(Chain::Main) => {
                let Some(at) = log.open.iter().position(|write| (write.0, write.1) == (segment, offset)) else {
                    return Ok(());
                };
                let Some((.., Some(record))) = log.open.remove(at).filter(|_| result.is_ok()) else { return Ok(()) };
                if let Some(store) = &mut log.store {
                    store.take(&record);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn on_ready(&mut self, sight: &Sight<'_>, who: u32, _: &BootReport) -> Verdict {
        let log = &mut self.logs[who as usize];
        (log.store, log.mask) = match found(&sight.hosts[who as usize]) {
            Some((store, mask)) => (Some(store), mask),
            None => (None, None),
        };
        Ok(())
    }

    fn on_said(&mut self, sight: &Sight<'_>, who: u32, to: NodeId, message: &Message) -> Verdict {
        let Some(store) = &self.logs[who as usize].store else { return Ok(()) };
        let (name, term) = (sight.name(who), message.term);
        let (epoch, voted_in, voted) = store.vote;
        // What was promised may be overtaken by what the same sync has made durable.
        let is_later = (epoch, voted_in) > (message.epoch, term);
        if let Some((_, chosen)) = k6::vote(sight, who, to, message) {
            let is_there = (epoch, voted_in, voted) == (message.epoch, term, Some(chosen));
            if !is_later && (!is_there || store.mint != Some(message.from)) {
                let chosen = sight.name_of(chosen.node);
                return Err(format!("{name} gives {chosen} its vote in term {term}, and its disk does not say so"));
            }
        }
        if let Body::Appended { matched } = message.body {
            let is_there = matched <= store.covered || store.terms.contains_key(&matched);
            if !is_later && !is_there {
                return Err(format!("{name} acknowledges the log up to {matched}, which is not on its disk"));
            }
        }
        Ok(())
    }
}

/// What a start finds on this disk.
fn found(host: &Host) -> Option<(Store, Option<u64>)> {
    let files = host.disk.copy(|file| file.family() == Family::Log(Chain::Main));
    let (mut store, mut scanner) = (Store::default(), wal::Scanner::new(host.id));
    for (segment, bytes) in files {
        let frames = scanner.segment(segment, &Bytes::from(bytes)).ok()?;
        frames.iter().filter_map(|frame| of(frame.kind, &frame.payload)).for_each(|record| store.take(&record));
    }
    Some((store, scanner.finish().end.store))
}

//! Building documents again from the log: what an audit found to differ.
//!
//! Nothing says which entries are a document's, so all entries of documents are read once, some at a time; those of the
//! documents in question are kept, and a worker makes each of them anew from these. Meanwhile edits and changes of others
//! go on: the worker takes what the document had and the log did not say yet as well.
//!
//! What is kept is bounded ([`Config::rebuild_bytes`](super::Config::rebuild_bytes)): documents that do not fit are given up
//! and gathered by another way through the log, when the workers are done with those before; [`PASSES_MAX`] in all. What
//! is left then is found by the next audit.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::trie::hash;
use super::{Arrived, Documents, Event};
use crate::machine::Cx;
use crate::probe::reachable;
use crate::types::{DocId, LogId, Seq};

/// Documents that are built again at the same time at most; what else differs is found by the next audit.
pub const REBUILDS_MAX: usize = 64;
/// Entries that are read at the same time at most.
const READS_MAX: usize = 16;
/// Ways through the log for one audit at most.
const PASSES_MAX: u32 = 8;

/// A way through the log.
#[derive(Debug, Default)]
pub(super) struct Rebuild {
    found: BTreeMap<DocId, Vec<Arrived>>,
    /// Of documents that are not here at all, by the hashes of their ids.
    unknown: BTreeSet<u64>,
    /// Logs that are not read yet, from and up to where.
    rest: Vec<(LogId, Seq, Seq)>,
    asked: BTreeSet<(LogId, Seq)>,
    /// Of what was found.
    bytes: usize,
    /// What did not fit.
    later: BTreeSet<DocId>,
    /// All logs.
    logs: Vec<(LogId, Seq)>,
    /// The how manieth way.
    pass: u32,
}

impl Rebuild {
    fn new(logs: Vec<(LogId, Seq)>, found: impl Iterator<Item = DocId>, unknown: BTreeSet<u64>, pass: u32) -> Self {
        let rest = logs.iter().map(|(log, last)| (*log, Seq::ZERO.next(), *last)).collect();
        let found = found.map(|doc| (doc, Vec::new())).collect();
        Self { found, unknown, rest, logs, pass, ..Self::default() }
    }

    /// Keeps a change if its document is wanted and there is room; else some document has to wait for the next way.
    fn keep(&mut self, doc: DocId, arrived: Arrived, room: usize) {
        if self.later.contains(&doc) || !(self.found.contains_key(&doc) || self.unknown.contains(&hash(&doc))) {
            return;
        }
        self.bytes += arrived.change.len();
        self.found.entry(doc).or_default().push(arrived);
        while self.bytes > room
            && self.found.len() > 1
            && let Some((doc, changes)) = self.found.pop_last()
        {
            self.bytes -= changes.iter().map(|arrived| arrived.change.len()).sum::<usize>();
            self.later.insert(doc);
        }
    }
}

impl Documents {
    /// Builds documents again from the log, of which this is all, up to where each log is held; also those that are not here
    /// at all, of which only the hashes of the ids are known. One way through the log at a time: nothing happens while there
    /// is one.
    pub fn rebuild(&mut self, cx: &mut Cx<'_, Self>, docs: &[DocId], unknown: &[u64], logs: Vec<(LogId, Seq)>) {
        if self.rebuild.is_some() || self.rebuild_next.is_some() || (docs.is_empty() && unknown.is_empty()) {
            return;
        }
        let unknown = unknown.iter().take(REBUILDS_MAX).copied().collect();
        self.rebuild = Some(Rebuild::new(logs, docs.iter().take(REBUILDS_MAX).cloned(), unknown, 1));
        reachable!("documents/built-again-from-the-log");
        self.read_log(cx);
    }

    /// An entry that was asked for cannot be read, or does not stand there any more.
    pub fn on_unread(&mut self, cx: &mut Cx<'_, Self>, log: LogId, seq: Seq) {
        if self.rebuild.as_mut().is_some_and(|rebuild| rebuild.asked.remove(&(log, seq))) {
            self.read_log(cx);
        }
    }

    /// An entry came again: whether it was asked for here.
    pub(super) fn on_reread(&mut self, cx: &mut Cx<'_, Self>, log: LogId, seq: Seq, body: &Bytes) -> bool {
        let Some(rebuild) = &mut self.rebuild else { return false };
        if !rebuild.asked.remove(&(log, seq)) {
            return false;
        }
        // What is no change of a document was refused when it came first.
        if let Some((doc, change)) = super::delivery::read(body) {
            rebuild.keep(doc, Arrived { log, seq, change }, self.config.rebuild_bytes);
        }
        self.read_log(cx);
        true
    }

    /// Entries of a log from this place on stand elsewhere from now on, and are delivered from there.
    pub(super) fn lose_read(&mut self, log: LogId, from: Seq) {
        let found = self.rebuild.iter_mut().flat_map(|rebuild| rebuild.found.values_mut());
        found.for_each(|changes| changes.retain(|arrived| arrived.log != log || arrived.seq < from));
    }

    fn read_log(&mut self, cx: &mut Cx<'_, Self>) {
        let Some(rebuild) = &mut self.rebuild else { return };
        while rebuild.asked.len() < READS_MAX {
            let Some((log, next, last)) = rebuild.rest.last_mut() else { break };
            let (log, seq) = (*log, *next);
            if seq > *last {
                rebuild.rest.pop();
                continue;
            }
            *next = seq.next();
            rebuild.asked.insert((log, seq));
            cx.emit(Event::Reread { log, seq });
        }
        if !rebuild.asked.is_empty() {
            return;
        }
        let Some(Rebuild { found, later, logs, pass, .. }) = self.rebuild.take() else { return };
        if !later.is_empty() && pass < PASSES_MAX {
            self.rebuild_next = Some(Rebuild::new(logs, later.into_iter(), BTreeSet::new(), pass + 1));
        }
        for (doc, changes) in found {
            self.work.entry(doc.clone()).or_default().rebuild = Some(changes);
            self.pump(cx, &doc);
        }
    }

    /// Reads the log once more for what did not fit, when the workers are done with what did.
    pub(super) fn rebuild_on(&mut self, cx: &mut Cx<'_, Self>) {
        if self.rebuild_next.is_some() && !self.work.values().any(|work| work.rebuild.is_some() || work.rebuilding) {
            self.rebuild = self.rebuild_next.take();
            self.read_log(cx);
        }
    }
}

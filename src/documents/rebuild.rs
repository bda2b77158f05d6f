//! Building documents again from the log: what an audit found to differ.
//!
//! Nothing says which entries are a document's, so all entries of documents are read once, some at a time; those of the
//! documents in question are kept, and a worker makes each of them anew from these. Meanwhile edits and changes of others
//! go on: the worker takes what the document had and the log did not say yet as well.

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

/// A way through the log.
#[derive(Debug, Default)]
pub(super) struct Rebuild {
    found: BTreeMap<DocId, Vec<Arrived>>,
    /// Of documents that are not here at all, by the hashes of their ids.
    unknown: BTreeSet<u64>,
    /// Logs that are not read yet, from and up to where.
    rest: Vec<(LogId, Seq, Seq)>,
    asked: BTreeSet<(LogId, Seq)>,
}

impl Documents {
    /// Builds documents again from the log, of which this is all, up to where each log is held; also those that are not here
    /// at all, of which only the hashes of the ids are known. One way through the log at a time: nothing happens while there
    /// is one.
    pub fn rebuild(&mut self, cx: &mut Cx<'_, Self>, docs: &[DocId], unknown: &[u64], logs: Vec<(LogId, Seq)>) {
        if self.rebuild.is_some() || (docs.is_empty() && unknown.is_empty()) {
            return;
        }
        let found = docs.iter().take(REBUILDS_MAX).map(|doc| (doc.clone(), Vec::new())).collect();
        let rest = logs.into_iter().map(|(log, last)| (log, Seq::ZERO.next(), last)).collect();
        let unknown = unknown.iter().take(REBUILDS_MAX).copied().collect();
        self.rebuild = Some(Rebuild { found, unknown, rest, asked: BTreeSet::new() });
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
        if let Some((doc, change)) = super::delivery::read(body)
            && (rebuild.found.contains_key(&doc) || rebuild.unknown.contains(&hash(&doc)))
        {
            rebuild.found.entry(doc).or_default().push(Arrived { log, seq, change });
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
        for (doc, changes) in self.rebuild.take().map(|rebuild| rebuild.found).unwrap_or_default() {
            self.work.entry(doc.clone()).or_default().rebuild = Some(changes);
            self.pump(cx, &doc);
        }
    }
}

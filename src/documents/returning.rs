//! Documents that are not in memory come back: their changes are read from their places in the log, and a worker builds
//! the document from them before anything else is done with it.
//!
//! Reads are bounded: so many documents at a time ([`Config::returns_max`](super::Config::returns_max)), so many entries of
//! each at a time. If the disk fails, those who wait for the document are told; deliveries wait, and it is tried again.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

use super::delivery::decode;
use super::index::Busy;
use super::reads::Read;
use super::{Arrived, DocState, Documents, Error, Event, Orphan, Task};
use crate::machine::Cx;
use crate::probe::reachable;
use crate::types::{DiskFault, DiskFaultKind, DocId, LogId, Seq};

/// Entries of one document that are read at the same time at most.
const RECALLS_MAX: usize = 64;

/// A document on its way back.
#[derive(Debug, Default)]
pub(super) struct Return {
    left: VecDeque<(LogId, Seq)>,
    asked: BTreeSet<(LogId, Seq)>,
    got: Vec<Arrived>,
}

impl Documents {
    /// The number of a log in places.
    pub(super) fn number(&mut self, log: LogId) -> u32 {
        let next = u32::try_from(self.logs.len()).expect("logs are bounded");
        *self.numbers.entry(log).or_insert_with(|| {
            self.logs.push(log);
            next
        })
    }

    /// Notes where an applied change of a document stands.
    pub(super) fn place(&mut self, doc: &DocId, log: LogId, seq: Seq, spare: bool) {
        let number = self.number(log);
        if let Some(indexed) = self.docs.get_mut(doc) {
            indexed.note(number, seq, spare);
        }
    }

    /// Whether the entry at a place was applied to this document.
    pub(super) fn is_placed(&self, doc: &DocId, log: LogId, seq: Seq) -> bool {
        let number = self.numbers.get(&log);
        number.is_some_and(|number| self.docs.get(doc).is_some_and(|indexed| indexed.places.contains(*number, seq)))
    }

    /// All changes of a document are needed, and some are folded in memory: it is built anew.
    pub(super) fn send_away(&mut self, cx: &mut Cx<'_, Self>, doc: &DocId) {
        if let Some(indexed) = self.docs.get_mut(doc) {
            self.memory.drop(indexed);
            indexed.needs_all = true;
            reachable!("documents/document-leaves-memory");
            cx.task(Task::Evict { doc: doc.clone() });
        }
    }

    /// Begins to read a document back, if it is wanted and there is room; else it has its turn later.
    pub(super) fn bring_back(&mut self, cx: &mut Cx<'_, Self>, doc: &DocId) {
        let Some(work) = self.work.get_mut(doc) else { return };
        if work.back.is_some() || matches!(work.busy, Busy::Restoring) {
            return;
        }
        if work.edits.is_empty() && work.reads.is_empty() && work.inbox.is_empty() && work.rebuild.is_none() {
            return self.rest(cx, doc);
        }
        if self.returning >= self.config.returns_max {
            self.queue.insert(doc.clone());
            return;
        }
        let places = self.docs.get(doc).map(|indexed| &indexed.places);
        let left = places.into_iter().flat_map(|places| places.iter());
        let left = left.map(|(number, seq)| (self.logs[number as usize], seq)).collect();
        work.back = Some(Return { left, ..Return::default() });
        self.returning += 1;
        self.recall(cx, doc);
    }

    /// Asks for the next entries; when all are here, a worker gets them.
    fn recall(&mut self, cx: &mut Cx<'_, Self>, doc: &DocId) {
        let Some(work) = self.work.get_mut(doc) else { return };
        let Some(back) = &mut work.back else { return };
        while back.asked.len() < RECALLS_MAX
            && let Some((log, seq)) = back.left.pop_front()
        {
            back.asked.insert((log, seq));
            self.recalls.insert((log, seq), doc.clone());
            cx.emit(Event::Recall { log, seq });
        }
        if back.asked.is_empty() {
            let changes = std::mem::take(&mut back.got);
            (work.back, work.busy) = (None, Busy::Restoring);
            let needs_all = self.docs.get_mut(doc).is_some_and(|indexed| std::mem::take(&mut indexed.needs_all));
            let whole = needs_all || work.reads.iter().any(Read::needs_whole);
            cx.task(Task::Restore { doc: doc.clone(), changes, whole });
        }
    }

    /// An entry of [`Event::Recall`] is here, or cannot be read.
    pub fn on_recalled(&mut self, cx: &mut Cx<'_, Self>, log: LogId, seq: Seq, result: Result<Bytes, DiskFault>) {
        // It may be held under another name by now.
        let Some(doc) = self.recalls.remove(&(log, seq)) else { return };
        let result = result.and_then(|body| {
            let body = decode(&body).filter(|body| body.doc == doc);
            body.ok_or_else(|| DiskFault {
                kind: DiskFaultKind::Failed,
                what: log.at(seq).into(),
                why: format!("it is no change of {doc}").into(),
            })
        });
        let Some(back) = self.work.get_mut(&doc).and_then(|work| work.back.as_mut()) else { return };
        back.asked.remove(&(log, seq));
        match result {
            Ok(body) => {
                back.got.push(Arrived { log, seq, change: body.change.into() });
                self.recall(cx, &doc);
            }
            Err(fault) => self.stays_away(cx, &doc, &fault.to_string()),
        }
    }

    /// A worker has built the document again.
    pub(super) fn on_restored(
        &mut self,
        cx: &mut Cx<'_, Self>,
        doc: &DocId,
        mut orphans: Vec<Orphan>,
        state: DocState,
    ) {
        let gave_way = self.work.get_mut(doc).map(|work| std::mem::take(&mut work.gave_way)).unwrap_or_default();
        // They come again under their new names. Under the old ones nobody holds them.
        orphans.retain(|Orphan { arrived, .. }| {
            !gave_way.iter().any(|(log, from)| arrived.log == *log && arrived.seq >= *from)
        });
        let Some(indexed) = self.docs.get_mut(doc) else { return };
        // What got another name meanwhile may be among what was delivered since.
        let more = self.work.get(doc).is_some_and(|work| !work.inbox.is_empty());
        indexed.cut |= state.heads != indexed.state.heads && more;
        let failed = !indexed.cut || (state.heads.is_empty() && indexed.places.len() > 0);
        if state.heads != indexed.state.heads && failed {
            let why = "what was read back from the log is not what was there before".to_owned();
            cx.task(Task::Evict { doc: doc.clone() });
            return self.stays_away(cx, doc, &why);
        }
        self.memory.restored += 1;
        self.returning -= 1;
        // They follow what got another name, and are applied behind it.
        for Orphan { arrived, .. } in &orphans {
            if let Some(number) = self.numbers.get(&arrived.log) {
                indexed.places.remove(*number, arrived.seq);
            }
        }
        self.wait(cx, doc, orphans, &mut Vec::new());
        self.set_state(doc, state);
        self.shrink(cx);
        self.pump(cx, doc);
        self.next_back(cx);
    }

    /// Those who wait for the document are told that it cannot be read back. What was delivered waits for the next try.
    fn stays_away(&mut self, cx: &mut Cx<'_, Self>, doc: &DocId, why: &str) {
        let error = Error::Unreadable { doc: doc.clone(), why: why.to_owned() };
        let Some(work) = self.work.get_mut(doc) else { return };
        for place in work.back.take().into_iter().flat_map(|back| back.asked) {
            self.recalls.remove(&place);
        }
        work.busy = Busy::Idle;
        self.returning -= 1;
        let (edits, reads) = (std::mem::take(&mut work.edits), std::mem::take(&mut work.reads));
        if work.inbox.is_empty() {
            self.rest(cx, doc);
        } else {
            self.stuck.insert(doc.clone());
            self.tick(cx);
        }
        for wanted in edits {
            self.reply(cx, wanted.command, Err(error.clone()));
        }
        for read in reads {
            match read {
                Read::Get { command, .. } | Read::Standing { command, .. } => {
                    self.on_got(cx, doc.clone(), command, Err(error.clone()), &DocState::default());
                }
                Read::Met { command, .. } => {
                    self.on_met(cx, doc.clone(), command, Err(error.clone()), DocState::default());
                }
                Read::History { command } => {
                    self.asks.remove(&command);
                    self.reply(cx, command, Err(error.clone()));
                }
            }
        }
        self.next_back(cx);
    }

    /// The next documents get the places that became free.
    fn next_back(&mut self, cx: &mut Cx<'_, Self>) {
        while self.returning < self.config.returns_max
            && let Some(doc) = self.queue.pop_first()
        {
            self.pump(cx, &doc);
        }
    }

    /// Tries again what could not be read back.
    pub(super) fn try_stuck(&mut self, cx: &mut Cx<'_, Self>) {
        for doc in std::mem::take(&mut self.stuck) {
            self.pump(cx, &doc);
        }
    }

    /// Entries of a log from this place on stand elsewhere from now on, and are delivered from there.
    pub(super) fn lose_places(&mut self, cx: &mut Cx<'_, Self>, log: LogId, from: Seq) {
        let Some(number) = self.numbers.get(&log).copied() else { return };
        for indexed in self.docs.values_mut() {
            indexed.cut |= indexed.places.cut(number, from);
        }
        let gone = |place: &(LogId, Seq)| place.0 == log && place.1 >= from;
        let (mut lost, gone) = (BTreeSet::new(), gone);
        self.recalls.retain(|place, doc| {
            let lose = gone(place);
            if lose {
                lost.insert(doc.clone());
            }
            !lose
        });
        for (doc, work) in &mut self.work {
            if let Some(back) = &mut work.back {
                back.left.retain(|place| !gone(place));
                back.asked.retain(|place| !gone(place));
                lost.insert(doc.clone());
            }
        }
        for doc in lost {
            self.recall(cx, &doc);
        }
    }
}

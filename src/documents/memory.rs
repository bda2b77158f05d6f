//! Which documents are in memory, and which of them is given up next: the one that was not used for longest.

use std::collections::BTreeMap;

use serde::Serialize;

use super::places::Places;
use super::{DocState, Documents, Task};
use crate::machine::Cx;
use crate::types::{DocId, Seq};

/// A document of the index.
#[derive(Debug, Default)]
pub(super) struct Indexed {
    pub(super) state: DocState,
    pub(super) places: Places,
    /// When it was used last, and its bytes; absent while it is not in memory.
    held: Option<(u64, usize)>,
    /// Why it is not in memory: all of its changes are needed, and some were folded.
    pub(super) needs_all: bool,
    /// How many places are of changes that stand at another one too.
    pub(super) spares: usize,
    /// Entries that it needs got other names, and come again under them. It is not given up until it is sure that all have
    /// come; while some are held under their new names since before, that is not known until the next start.
    pub(super) cut: bool,
}

impl Indexed {
    pub(super) const fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Notes where a change stands; a spare one stands elsewhere too.
    pub(super) fn note(&mut self, log: u32, seq: Seq, spare: bool) {
        let before = self.places.len();
        self.places.note(log, seq);
        if spare && !self.cut {
            self.spares += self.places.len() - before;
        }
        self.cut &= self.places.len().saturating_sub(self.spares) < self.state.changes;
    }
}

/// How much memory the documents take, and what was done to bound it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Documents in memory.
    pub documents: usize,
    /// Their bytes, without what opened ones take besides.
    pub bytes: usize,
    /// Times that a document was given up, since the start.
    pub evicted: u64,
    /// Times that a document was read back from the log, since the start.
    pub restored: u64,
}

/// Documents in memory, by when they were used last.
#[derive(Debug, Default)]
pub(super) struct Memory {
    order: BTreeMap<u64, DocId>,
    uses: u64,
    bytes: usize,
    evicted: u64,
    pub(super) restored: u64,
}

impl Memory {
    /// A document is in memory, and was just used.
    pub(super) fn hold(&mut self, doc: &DocId, indexed: &mut Indexed) {
        self.drop(indexed);
        self.uses += 1;
        indexed.held = Some((self.uses, indexed.state.bytes));
        self.order.insert(self.uses, doc.clone());
        self.bytes += indexed.state.bytes;
    }

    /// A document is in memory no more.
    pub(super) fn drop(&mut self, indexed: &mut Indexed) {
        if let Some((used, bytes)) = indexed.held.take() {
            self.order.remove(&used);
            self.bytes -= bytes;
        }
    }

    pub(super) fn usage(&self) -> Usage {
        Usage { documents: self.order.len(), bytes: self.bytes, evicted: self.evicted, restored: self.restored }
    }
}

impl Documents {
    /// A document is used.
    pub(super) fn touch(&mut self, doc: &DocId) {
        if let Some(indexed) = self.docs.get_mut(doc).filter(|indexed| indexed.is_held()) {
            self.memory.hold(doc, indexed);
        }
    }

    /// Whether a document must be read back before anything can be done with it.
    pub(super) fn is_away(&self, doc: &DocId) -> bool {
        self.docs.get(doc).is_some_and(|indexed| !indexed.is_held())
    }

    /// Gives documents up while there are too many bytes.
    pub(super) fn evict(&mut self, cx: &mut Cx<'_, Self>) {
        if self.memory.bytes <= self.config.memory_bytes {
            return;
        }
        let (mut left, mut leave) = (self.memory.bytes, Vec::new());
        for doc in self.memory.order.values() {
            if left <= self.config.memory_bytes {
                break;
            }
            let indexed = self.docs.get(doc).filter(|indexed| !indexed.cut && !self.work.contains_key(doc));
            if let Some((_, bytes)) = indexed.and_then(|indexed| indexed.held) {
                left -= bytes;
                leave.push(doc.clone());
            }
        }
        for doc in leave {
            self.memory.drop(self.docs.get_mut(&doc).expect("it was just looked at"));
            self.memory.evicted += 1;
            cx.task(Task::Evict { doc });
        }
    }
}

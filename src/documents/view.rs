//! What siblings, status and checkers may see of the documents.

use std::collections::BTreeMap;

use super::places::Places;
use super::{Config, DocState, Documents, PolicyHistory, Quarantined, Trie, Usage};
use crate::types::{Digest, DocId, LogId, NodeId, Seq};

/// A read-only face of [`Documents`].
#[derive(Clone, Copy)]
pub struct View<'a> {
    documents: &'a Documents,
}

impl<'a> View<'a> {
    pub(super) const fn new(documents: &'a Documents) -> Self {
        Self { documents }
    }

    /// Equal on two nodes if and only if they hold the same heads of the same documents, removed ones included.
    #[must_use]
    pub fn content(self) -> Digest {
        self.documents.content()
    }

    /// How the room was set up.
    #[must_use]
    pub fn config(self) -> &'a Config {
        &self.documents.config
    }

    /// By what it is decided what shows where several values stand.
    #[must_use]
    pub fn policies(self) -> &'a PolicyHistory {
        &self.documents.policies
    }

    /// What is held, to be compared.
    #[must_use]
    pub fn trie(self) -> &'a Trie {
        &self.documents.trie
    }

    /// How a document stands; absent if it was never written.
    #[must_use]
    pub fn state(self, doc: &DocId) -> Option<&'a DocState> {
        self.documents.docs.get(doc).map(|indexed| &indexed.state)
    }

    /// The document's newest changes, sorted; empty if it was never written.
    #[must_use]
    pub fn heads(self, doc: &DocId) -> &'a [[u8; 32]] {
        self.state(doc).map_or(&[], |state| &state.heads)
    }

    /// Where what the document is made of stands: the last place of it in each log.
    #[must_use]
    pub fn places(self, doc: &DocId) -> Vec<(LogId, Seq)> {
        let places = self.documents.docs.get(doc).map(|indexed| &indexed.places);
        let last = places.into_iter().flat_map(Places::last);
        last.map(|(number, seq)| (self.documents.logs[number as usize], seq)).collect()
    }

    /// Every document that was ever written, in order of id, removed ones included.
    pub fn docs(self) -> impl Iterator<Item = (&'a DocId, &'a DocState)> {
        self.documents.docs.iter().map(|(doc, indexed)| (doc, &indexed.state))
    }

    /// How many documents have content.
    #[must_use]
    pub fn count(self) -> usize {
        self.documents.count()
    }

    /// How much memory they take.
    #[must_use]
    pub fn memory(self) -> Usage {
        self.documents.memory.usage()
    }

    /// Changes that wait for others before they can be applied.
    #[must_use]
    pub fn orphans(self) -> usize {
        self.documents.orphans()
    }

    /// Changes refused since the start.
    #[must_use]
    pub fn refused(self) -> u64 {
        self.documents.refused()
    }

    /// Documents that were read from the log and not put together yet: reads and edits of them wait.
    #[must_use]
    pub fn restoring(self) -> usize {
        self.documents.restoring
    }

    /// Refused entries that are listed, in order of log and place.
    pub fn quarantine(self) -> impl Iterator<Item = &'a Quarantined> {
        self.documents.quarantine.entries()
    }

    /// How many entries of each origin's logs were refused since the start or the last release.
    pub fn refused_by_origin(self) -> impl Iterator<Item = (NodeId, u64)> {
        self.documents.quarantine.origins()
    }

    /// How many changes of each origin's logs wait for others.
    #[must_use]
    pub fn orphans_by_origin(self) -> BTreeMap<NodeId, usize> {
        self.documents.pool.by_origin()
    }

    /// Whether anything is still to be done: tasks, writes, or delivered changes that were not applied yet. Orphans do
    /// not count.
    #[must_use]
    pub fn busy(self) -> bool {
        self.documents.busy()
    }
}

//! The worker's side of documents: merging, and the check of what may be merged.
//!
//! An [`Engine`] holds the documents of one shard. It is synchronous and deterministic: what it answers depends on the
//! tasks it was given, and on nothing else. Every call into Automerge is contained: after a panic the document is thrown
//! away and built again from the changes that were admitted.
//!
//! **Changes wait.** What may be merged is decided when it comes. The merging is done when somebody reads or edits, for all that
//! came by then: see `open`. If Automerge does not take what the check let in, which is a mistake of one of the two, that change
//! leaves the document again and is refused by name with the next changes that come.
//!
//! **Branches.** A writer whose store was rolled back may have used its numbers twice. Both changes are taken, each branch
//! as a writer of its own: see `branches`.
//!
//! **Counters.** Automerge's, and all that stand at one place are read as one: see `counters`.
//!
//! **Folding.** What is older than some hundred changes is held as the state that it led to, where that can make no
//! difference: see `base`. Who needs all of it is told so, and gives all changes again.
//!
//! **Deletion.** A deletion is a change without operations. A document is gone if and only if every newest change is a
//! deletion, that is, if every edit was seen by somebody who deleted. So an edit that had not seen the deletion brings the
//! document back, with all that it had: neither the edit nor what it stood in is lost. Whoever deletes after that edit
//! arrived deletes it too. A later `Put` begins from what the document had, and writes only what differs.

mod above;
mod atomic;
mod base;
mod branches;
mod choose;
mod commands;
mod counters;
mod document;
mod met;
mod open;
mod path;
mod reach;
mod read;
mod removals;
mod standing;
mod table;
mod twins;
mod write;

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Done, Error, Limits, Task};
use crate::conflict::Customs;
use crate::types::DocId;

pub(super) use atomic::canonical;
use document::{Document, Outcome};

/// The documents of one shard, as Automerge holds them. Synchronous and deterministic.
#[derive(Debug)]
pub struct Engine {
    limits: Limits,
    customs: Customs,
    docs: BTreeMap<DocId, Held>,
    /// Opened documents, by when they were used last.
    opened: BTreeMap<u64, DocId>,
    open_ops: usize,
    uses: u64,
    worth: usize,
}

/// A document is folded if that takes so many times less memory.
const WORTH: usize = 2;

#[derive(Debug)]
struct Held {
    document: Document,
    /// When it was used last, and with how many operations; absent while it is closed.
    used: Option<(u64, usize)>,
}

impl Engine {
    /// No documents yet.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            customs: Customs::new(),
            docs: BTreeMap::new(),
            opened: BTreeMap::new(),
            open_ops: 0,
            uses: 0,
            worth: WORTH,
        }
    }

    /// With these functions, by which policies may have a value made of those that stand.
    #[must_use]
    pub fn with_customs(self, customs: Customs) -> Self {
        Self { customs, ..self }
    }

    /// Does one task.
    pub fn run(&mut self, task: Task) -> Done {
        let doc = task.doc().clone();
        if let Task::Evict { doc } = task {
            if let Some(mut held) = self.docs.remove(&doc) {
                self.unlist(&mut held);
            }
            return Done::Evicted { doc };
        }
        let mut held =
            self.docs.remove(&doc).unwrap_or_else(|| Held { document: Document::new(doc.clone()), used: None });
        let done = run(&mut held.document, task, (self.limits.history, self.worth), &self.customs);
        self.note_use(&doc, &mut held);
        // A document that was only asked about, or whose changes all wait elsewhere, leaves no trace.
        if held.document.is_new() {
            self.unlist(&mut held);
        } else {
            self.docs.insert(doc, held);
        }
        self.evict();
        done
    }

    /// About how long [`run`](Self::run) would take on one core of a release build: for the simulator. Taken from
    /// measurements of Automerge 0.12 alone on a quiet server core (an edit of a field 25 microseconds, a merge 20 and another
    /// 15 for each change, both growing with what the document holds); the share of the admission check is an estimate.
    #[must_use]
    pub fn cost_hint(&self, task: &Task) -> Duration {
        let held = self.docs.get(task.doc());
        let ops = held.map_or(0, |held| held.document.ops() as u64);
        let opening = if held.is_some_and(|held| held.used.is_none()) { 5 * ops } else { 0 };
        let micros = match task {
            Task::Edit { batch, .. } => 25 + 10 * batch.len() as u64 + ops / 500,
            Task::Apply { changes, .. } | Task::Restore { changes, .. } | Task::Rebuild { changes, .. } => {
                20 + 15 * changes.len() as u64 + ops / 18
            }
            Task::Evict { .. } => 1,
            Task::Get { .. } | Task::Standing { .. } => 2 + ops / 4,
            Task::History { .. } => {
                return Duration::from_micros(2 + held.map_or(0, |held| held.document.state().changes as u64));
            }
            Task::Met { .. } => 10 + 2 * ops,
            Task::Forget { .. } => 10 + 5 * ops,
        };
        Duration::from_micros(micros + opening)
    }

    fn note_use(&mut self, doc: &DocId, held: &mut Held) {
        self.unlist(held);
        if held.document.is_open() {
            self.uses += 1;
            let ops = held.document.ops();
            held.used = Some((self.uses, ops));
            self.opened.insert(self.uses, doc.clone());
            self.open_ops += ops;
        }
    }

    fn unlist(&mut self, held: &mut Held) {
        if let Some((used, ops)) = held.used.take() {
            self.opened.remove(&used);
            self.open_ops -= ops;
        }
    }

    /// Closes the documents that were not used for longest.
    fn evict(&mut self) {
        while self.opened.len() > 1
            && (self.opened.len() > self.limits.open_docs || self.open_ops > self.limits.open_ops)
        {
            let (_, doc) = self.opened.pop_first().expect("there is more than one");
            let held = self.docs.get_mut(&doc).expect("what is open is held");
            let (_, ops) = held.used.take().expect("what is listed is open");
            self.open_ops -= ops;
            held.document.close();
        }
    }

    #[cfg(test)]
    pub(super) fn saved(&mut self, doc: &DocId) -> Vec<u8> {
        self.docs.get_mut(doc).map(|held| held.document.saved()).unwrap_or_default()
    }

    /// Closes a document, as eviction does.
    #[cfg(test)]
    fn close(&mut self, doc: &DocId) {
        if let Some(mut held) = self.docs.remove(doc) {
            held.document.close();
            self.unlist(&mut held);
            self.docs.insert(doc.clone(), held);
        }
    }
}

fn run(document: &mut Document, task: Task, (history, worth): (usize, usize), customs: &Customs) -> Done {
    match task {
        Task::Edit { doc, actor, .. } if document.is_parted(actor) => Done::Parted { doc, actor },
        Task::Edit { doc, actor, at, batch, policies } => {
            let (change, results) = document.edit(actor, at, &batch, (&policies, customs));
            document.fold(history, worth);
            Done::Edited { doc, change, results, state: document.state().clone() }
        }
        Task::Apply { doc, changes } => {
            let kept = changes.clone();
            let outcome = document.apply(changes).unwrap_or_else(|error| broken(&error, kept));
            document.fold(history, worth);
            let Outcome { applied, orphans, mut refused, known, older } = outcome;
            refused.extend(document.take_fallen());
            Done::Applied { doc, applied, orphans, refused, known, older, state: document.state().clone() }
        }
        // What cannot be built shows by its state, and stays away.
        Task::Restore { doc, changes, whole } => {
            let orphans = document.apply(changes).map(|outcome| outcome.orphans).unwrap_or_default();
            if whole {
                document.stay_whole();
            } else {
                document.fold(history, worth);
            }
            Done::Restored { doc, orphans, state: document.state().clone() }
        }
        Task::Evict { doc } => Done::Evicted { doc },
        Task::Rebuild { doc, changes } => {
            let kept = changes.clone();
            let outcome = document.rebuild(changes).unwrap_or_else(|error| broken(&error, kept));
            document.fold(history, worth);
            let Outcome { applied, orphans, mut refused, known, older } = outcome;
            refused.extend(document.take_fallen());
            Done::Applied { doc, applied, orphans, refused, known, older, state: document.state().clone() }
        }
        Task::Met { doc, command, look, policies } => {
            let found = document.met(look, (&policies, customs));
            Done::Met { doc, command, found, state: document.state().clone() }
        }
        Task::Get { doc, command, path, policies } => {
            let value = document.get(&path, (&policies, customs));
            Done::Got { doc, command, value, state: document.state().clone() }
        }
        Task::Standing { doc, command, path, change, policies } => {
            let value = document.standing((&path, &change), (&policies, customs));
            Done::Got { doc, command, value, state: document.state().clone() }
        }
        Task::History { doc, command } => Done::Told { doc, command, changes: document.history() },
        Task::Forget { doc, change } => {
            document.forget(&change);
            Done::Forgotten { doc, state: document.state().clone() }
        }
    }
}

/// Whether it is a JSON Pointer that documents can be asked for.
pub(super) fn check_path(pointer: &str) -> Result<(), String> {
    path::steps(pointer).map(drop)
}

/// Changes of a document that cannot be opened any more: each is refused by name.
fn broken(error: &Error, changes: Vec<super::Arrived>) -> Outcome {
    let refused = changes.into_iter().map(|arrived| (arrived, error.to_string())).collect();
    Outcome { refused, ..Outcome::default() }
}

#[cfg(test)]
mod tests;

//! Edits of clients: gathered into one change, made by a worker, answered when durable.

use bytes::Bytes;

use super::change::{CHANGE_MAX, Hash, Header};
use super::index::Busy;
use super::{Body, DocState, Documents, Edit, Error, Event, Outcome, Task, Token, Wanted, size};
use crate::machine::Cx;
use crate::types::{Actor, CommandId, DocId, LogId, Topic, hex};

/// Edits in one command at most: what one change can hold, each of at least one operation.
const EDITS_MAX: usize = super::change::OPS_MAX;

impl Documents {
    pub(super) fn on_edit(
        &mut self,
        cx: &mut Cx<'_, Self>,
        command: CommandId,
        doc: DocId,
        edits: Vec<Edit>,
        create: bool,
        at: Option<Vec<Hash>>,
    ) {
        if let Err(error) = sound(&doc, &edits) {
            return self.reply(cx, command, Err(error));
        }
        self.work.entry(doc.clone()).or_default().edits.push_back(Wanted { command, edits, create, at });
        self.pump(cx, &doc);
    }

    /// Our own log of documents.
    pub(super) const fn own_log(&self) -> LogId {
        LogId { actor: self.actor, topic: Topic::DOCUMENTS }
    }

    /// While changes of our own wait, a new one would reuse their numbers.
    pub(super) fn fail_edits(&mut self, cx: &mut Cx<'_, Self>, doc: &DocId) {
        let why = "earlier changes of this node wait for changes that are not here yet";
        let edits = self.work.get_mut(doc).map(|work| std::mem::take(&mut work.edits)).unwrap_or_default();
        for wanted in edits {
            self.reply(cx, wanted.command, Err(Error::Engine { doc: doc.clone(), why: why.to_owned() }));
        }
    }

    /// Gives what has gathered to a worker.
    pub(super) fn edit(&mut self, cx: &mut Cx<'_, Self>, doc: &DocId) {
        let Some(work) = self.work.get_mut(doc) else { return };
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(wanted) = work.edits.front() {
            bytes += wanted.edits.iter().map(size::of_edit).sum::<usize>();
            let full = batch.len() >= self.config.batch_max || bytes > self.config.batch_bytes;
            // An edit of an older version is a change of its own.
            if !batch.is_empty() && (full || wanted.at.is_some()) {
                break;
            }
            let alone = wanted.at.is_some();
            batch.extend(work.edits.pop_front());
            if alone {
                break;
            }
        }
        work.edited = true;
        work.busy = Busy::Editing { actor: self.actor, batch: batch.clone() };
        let policies = self.policies_held().in_force().clone();
        cx.task(Task::Edit { doc: doc.clone(), actor: self.actor, at: cx.now().wall, batch, policies });
    }

    pub(super) fn on_edited(
        &mut self,
        cx: &mut Cx<'_, Self>,
        doc: DocId,
        change: Option<Bytes>,
        results: Vec<(CommandId, Result<(), Error>)>,
        state: DocState,
    ) {
        let Some(work) = self.work.get_mut(&doc) else { return };
        let Busy::Editing { actor, batch } = std::mem::take(&mut work.busy) else { return };
        // An edit in a name that is no longer ours is made again in the new one.
        let outdated = actor != self.actor && change.is_some();
        let done = |wanted: &Wanted| results.iter().find(|(command, _)| *command == wanted.command);
        let again = batch.into_iter().filter(|wanted| match done(wanted) {
            Some((_, result)) => outdated && result.is_ok(),
            None => true,
        });
        for wanted in again.collect::<Vec<_>>().into_iter().rev() {
            work.edits.push_front(wanted);
        }
        let heads: Vec<String> = state.heads.iter().map(|head| hex(head)).collect();
        let mut commands = Vec::new();
        for (command, result) in results {
            match result {
                Err(error) => self.reply(cx, command, Err(error)),
                Ok(()) if change.is_some() => commands.push(command),
                Ok(()) => {
                    let outcome = Outcome::Edited { doc: doc.clone(), heads: heads.clone(), change: None, stamp: None };
                    self.reply(cx, command, Ok(outcome));
                }
            }
        }
        match change {
            Some(change) if outdated => self.take_back(cx, doc, &change),
            Some(change) => self.originate(cx, &doc, &change, commands, state),
            None => self.pump(cx, &doc),
        }
    }

    /// Nothing was written, since our name has two branches there. It is tried again; by then we have another.
    pub(super) fn on_parted(&mut self, cx: &mut Cx<'_, Self>, doc: &DocId, actor: Actor) {
        let Some(work) = self.work.get_mut(doc) else { return };
        if let Busy::Editing { batch, .. } = std::mem::take(&mut work.busy) {
            for wanted in batch.into_iter().rev() {
                work.edits.push_front(wanted);
            }
        }
        if actor == self.actor {
            cx.emit(Event::Parted { actor });
        }
        self.pump(cx, doc);
    }

    fn take_back(&mut self, cx: &mut Cx<'_, Self>, doc: DocId, change: &Bytes) {
        self.work.entry(doc.clone()).or_default().busy = Busy::Forgetting;
        cx.task(Task::Forget { doc, change: hash(change) });
    }

    fn originate(
        &mut self,
        cx: &mut Cx<'_, Self>,
        doc: &DocId,
        change: &Bytes,
        commands: Vec<CommandId>,
        state: DocState,
    ) {
        let token = Token(self.next_token);
        self.next_token += 1;
        self.originating.insert(token, doc.clone());
        self.work.entry(doc.clone()).or_default().busy = Busy::Persisting { hash: hash(change), commands, state };
        let body = Body { doc: doc.clone(), change: change.to_vec() };
        let body = bincode::encode_to_vec(&body, bincode::config::standard()).expect("a body is always encoded");
        cx.emit(Event::Originate { token, body: body.into() });
    }

    /// The log has answered for this change.
    pub(super) fn persisted(&mut self, token: Token) -> Option<(DocId, Hash, Vec<CommandId>, DocState)> {
        let doc = self.originating.remove(&token)?;
        let work = self.work.get_mut(&doc)?;
        match std::mem::take(&mut work.busy) {
            Busy::Persisting { hash, commands, state } => Some((doc, hash, commands, state)),
            busy => {
                work.busy = busy;
                None
            }
        }
    }
}

fn sound(doc: &DocId, edits: &[Edit]) -> Result<(), Error> {
    let doc = || doc.clone();
    if edits.is_empty() {
        return Err(Error::Invalid { doc: doc(), path: String::new(), why: "there are no edits".to_owned() });
    }
    if edits.len() > EDITS_MAX {
        return Err(Error::TooLarge { doc: doc(), what: "edits of a command", found: edits.len(), max: EDITS_MAX });
    }
    if edits.len() > 1 && edits.contains(&Edit::Delete) {
        let why = "a deletion stands alone in its command".to_owned();
        return Err(Error::Invalid { doc: doc(), path: String::new(), why });
    }
    let found = edits.iter().map(size::of_edit).sum();
    if found > CHANGE_MAX {
        return Err(Error::TooLarge { doc: doc(), what: "bytes of a command", found, max: CHANGE_MAX });
    }
    Ok(())
}

fn hash(change: &Bytes) -> Hash {
    Header::read(change).map(|header| header.hash).expect("a worker's own change passed its check")
}

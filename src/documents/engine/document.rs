//! One document of a shard: the changes that were admitted, and while it is open, Automerge and the table over them.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::transaction::{CommitOptions, Transactable};
use automerge::{ActorId, Automerge, TextEncoding};
use bytes::Bytes;
use serde_json::Value;

use super::super::change::{CREATE, Change, DELETE, Hash, OPS_MAX, PLAIN_MAX, Refusal};
use super::super::{Arrived, ChangeInfo, DocState, Edit, Error, Orphan, Wanted, size};
use super::table::{Table, Verdict};
use super::{path, read, write};
use crate::types::{Actor, CommandId, DocId, LogId, WallTime};

/// Changes given to Automerge in one call at most: it takes about a kilobyte of memory for each while it works.
const APPLY_MAX: usize = 1_000;
/// Bytes of edits that are gathered into one change at most.
const GATHER_MAX: usize = PLAIN_MAX / 2;

#[derive(Debug)]
struct Accepted {
    hash: Hash,
    bytes: Bytes,
}

/// A document. Its changes are the truth, what is open can be made from them again.
#[derive(Debug)]
pub(super) struct Document {
    id: DocId,
    accepted: Vec<Accepted>,
    open: Option<Box<Open>>,
    state: DocState,
    ops: usize,
}

#[derive(Debug)]
struct Open {
    merged: Automerge,
    table: Table,
}

/// What came of each command.
type Results = Vec<(CommandId, Result<(), Error>)>;

/// What came of changes.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) applied: Vec<Arrived>,
    pub(super) orphans: Vec<Orphan>,
    pub(super) refused: Vec<(Arrived, String)>,
}

impl Document {
    pub(super) fn new(id: DocId) -> Self {
        Self { id, accepted: Vec::new(), open: None, state: DocState::default(), ops: 0 }
    }

    pub(super) const fn state(&self) -> &DocState {
        &self.state
    }

    pub(super) const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Operations in all changes.
    pub(super) const fn ops(&self) -> usize {
        self.ops
    }

    pub(super) fn is_new(&self) -> bool {
        self.accepted.is_empty()
    }

    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// Checks and applies changes, in whatever order they come; those of one log in the log's order.
    pub(super) fn apply(&mut self, changes: Vec<Arrived>) -> Result<Outcome, Error> {
        let mut queues: BTreeMap<LogId, Vec<Arrived>> = BTreeMap::new();
        for arrived in changes {
            queues.entry(arrived.log).or_default().push(arrived);
        }
        let mut queues: Vec<VecDeque<Arrived>> = queues
            .into_values()
            .map(|mut queue| {
                queue.sort_by_key(|arrived| arrived.seq);
                queue.into()
            })
            .collect();
        let open = self.opened()?;
        let (mut outcome, mut fresh) = (Outcome::default(), Vec::new());
        while admit(&mut open.table, &mut queues, &mut fresh, &mut outcome.refused) {}
        outcome.orphans = orphans(&open.table, queues);
        self.merge(fresh, &mut outcome);
        self.settle();
        Ok(outcome)
    }

    /// Gives admitted changes to Automerge. If it fails on them, they are tried one at a time to find the one.
    fn merge(&mut self, fresh: Vec<(Arrived, Hash)>, outcome: &mut Outcome) {
        let Some(open) = self.open.as_mut() else { return };
        let merged = fresh.chunks(APPLY_MAX).try_for_each(|chunk| {
            let bytes: Vec<&Bytes> = chunk.iter().map(|(arrived, _)| &arrived.change).collect();
            contain(|| apply_to(&mut open.merged, &bytes))
        });
        if merged.and_then(|()| open.agrees()).is_ok() {
            for (arrived, hash) in fresh {
                self.accepted.push(Accepted { hash, bytes: arrived.change.clone() });
                outcome.applied.push(arrived);
            }
            return;
        }
        self.close();
        for (arrived, _) in fresh {
            match self.merge_one(&arrived) {
                Ok(()) => outcome.applied.push(arrived),
                Err(refusal) => outcome.refused.push((arrived, refusal.to_string())),
            }
        }
    }

    fn merge_one(&mut self, arrived: &Arrived) -> Result<(), Refusal> {
        let open = self.opened().map_err(|error| Refusal::Engine(error.to_string()))?;
        let change = Change::read(&arrived.change)?;
        let hash = change.hash;
        match open.table.check(&change) {
            Verdict::Admit(admitted) => open.table.insert(admitted),
            Verdict::Known => return Ok(()),
            Verdict::Missing => return Err(Refusal::Descends),
            Verdict::Refuse(refusal) => return Err(refusal),
        }
        let merged = contain(|| apply_to(&mut open.merged, &[&arrived.change])).and_then(|()| open.agrees());
        if let Err(why) = merged {
            self.close();
            return Err(Refusal::Engine(why));
        }
        self.accepted.push(Accepted { hash, bytes: arrived.change.clone() });
        Ok(())
    }

    /// Makes one change of these commands, as many as fit into it.
    pub(super) fn edit(&mut self, actor: Actor, at: WallTime, batch: &[Wanted]) -> (Option<Bytes>, Results) {
        let open = match self.opened() {
            Ok(_) => self.open.as_mut().expect("it was just opened"),
            Err(error) => return (None, fail(batch, &error)),
        };
        let exists = open.table.exists();
        let id = &self.id;
        let made = contain(|| {
            open.merged.set_actor(ActorId::from(actor.to_bytes().as_slice()));
            Ok(commands(id, &mut open.merged, exists, at, batch))
        });
        let (bytes, results) = match made {
            Ok((false, results)) => return (None, results),
            Ok((true, results)) => (contain(|| last_change(&open.merged)), results),
            Err(why) => {
                self.close();
                return (None, fail(batch, &Error::Engine { doc: self.id.clone(), why }));
            }
        };
        match bytes.map_err(Refusal::Engine).and_then(|bytes| self.own(bytes)) {
            Ok(bytes) => (Some(bytes), results),
            Err(refusal) => {
                self.close();
                self.settle();
                let error = self.refusal(refusal);
                let failed = |(id, result): (_, Result<(), Error>)| (id, result.and_then(|()| Err(error.clone())));
                (None, results.into_iter().map(failed).collect())
            }
        }
    }

    /// Takes in a change that was just made here, by the same check that others will make.
    fn own(&mut self, bytes: Bytes) -> Result<Bytes, Refusal> {
        let open = self.open.as_mut().ok_or(Refusal::Descends)?;
        let change = Change::read(&bytes)?;
        let hash = change.hash;
        match open.table.check(&change) {
            Verdict::Admit(admitted) => open.table.insert(admitted),
            Verdict::Refuse(refusal) => return Err(refusal),
            Verdict::Known | Verdict::Missing => return Err(Refusal::Descends),
        }
        self.accepted.push(Accepted { hash, bytes: bytes.clone() });
        self.settle();
        Ok(bytes)
    }

    fn refusal(&self, refusal: Refusal) -> Error {
        let doc = self.id.clone();
        match refusal {
            Refusal::TooLarge { what, found, max } => Error::TooLarge { doc, what, found, max },
            refusal => Error::Engine { doc, why: refusal.to_string() },
        }
    }

    /// Forgets a change that was made here and that nothing follows.
    pub(super) fn forget(&mut self, hash: &Hash) {
        self.accepted.retain(|accepted| accepted.hash != *hash);
        self.close();
        // A document that cannot be opened keeps its last state; the next task on it says so.
        if self.opened().is_ok() {
            self.settle();
        }
    }

    pub(super) fn get(&mut self, pointer: &str) -> Result<Value, Error> {
        let doc = self.id.clone();
        let steps =
            path::steps(pointer).map_err(|why| Error::Invalid { doc: doc.clone(), path: pointer.to_owned(), why })?;
        if !self.state.exists {
            return Err(Error::NotFound { doc });
        }
        let open = self.opened()?;
        match contain(|| Ok(read::at(&open.merged, &steps))) {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(Error::NoSuchPath { doc, path: pointer.to_owned() }),
            Err(why) => {
                self.close();
                Err(Error::Engine { doc, why })
            }
        }
    }

    pub(super) fn history(&self) -> Result<Vec<ChangeInfo>, Error> {
        if self.accepted.is_empty() {
            return Err(Error::NotFound { doc: self.id.clone() });
        }
        let info = |accepted: &Accepted| {
            let change = Change::read(&accepted.bytes).map_err(|refusal| self.refusal(refusal))?;
            let millis = u64::try_from(change.millis).unwrap_or_default();
            Ok(ChangeInfo {
                hash: hex(&change.hash),
                actor: Actor::from_bytes(&change.actors[0]),
                at: WallTime::from_micros(millis.saturating_mul(1_000)),
                ops: change.ops.len(),
                deletes: change.deletes,
                deps: change.deps.iter().map(hex).collect(),
            })
        };
        self.accepted.iter().map(info).collect()
    }

    /// The document as it was saved by Automerge: for tests of what a hostile change can do.
    #[cfg(test)]
    pub(super) fn saved(&mut self) -> Vec<u8> {
        self.opened().expect("it opens").merged.save()
    }

    /// Opens the document: applies its changes again.
    fn opened(&mut self) -> Result<&mut Open, Error> {
        if self.open.is_none() {
            let opened = contain(|| Open::build(&self.accepted));
            let open = opened.map_err(|why| Error::Engine { doc: self.id.clone(), why })?;
            self.open = Some(Box::new(open));
        }
        Ok(self.open.as_mut().expect("it was just opened"))
    }

    /// Takes the state over from the table.
    fn settle(&mut self) {
        if let Some(open) = &self.open {
            self.state = DocState {
                heads: open.table.heads().iter().copied().collect(),
                exists: open.table.exists(),
                changes: open.table.changes(),
            };
            self.ops = open.table.ops();
        }
    }
}

impl Open {
    fn build(accepted: &[Accepted]) -> Result<Self, String> {
        // The actor is set before the first edit; until then nothing is written in its name.
        let mut open = Self { merged: empty(), table: Table::default() };
        for accepted in accepted {
            let change = Change::read(&accepted.bytes).map_err(|refusal| refusal.to_string())?;
            match open.table.check(&change) {
                Verdict::Admit(admitted) => open.table.insert(admitted),
                verdict => return Err(format!("a change that was admitted before is not now: {verdict:?}")),
            }
        }
        for chunk in accepted.chunks(APPLY_MAX) {
            apply_to(&mut open.merged, &chunk.iter().map(|accepted| &accepted.bytes).collect::<Vec<_>>())?;
        }
        open.agrees()?;
        Ok(open)
    }

    /// Whether Automerge has the heads that the table has.
    fn agrees(&self) -> Result<(), String> {
        let ours = self.table.heads();
        let theirs = self.merged.get_heads();
        let same = theirs.len() == ours.len() && theirs.iter().all(|head| ours.contains(&head.0));
        if same { Ok(()) } else { Err("it did not take every change".to_owned()) }
    }
}

fn empty() -> Automerge {
    Automerge::new_with_encoding(TextEncoding::UnicodeCodePoint).with_actor(ActorId::from([0_u8; 24].as_slice()))
}

fn apply_to(merged: &mut Automerge, changes: &[&Bytes]) -> Result<(), String> {
    let changes: Vec<automerge::Change> = changes
        .iter()
        .map(|bytes| automerge::Change::try_from(&bytes[..]).map_err(|error| error.to_string()))
        .collect::<Result<_, _>>()?;
    merged.apply_changes(changes).map_err(|error| error.to_string())
}

fn last_change(merged: &Automerge) -> Result<Bytes, String> {
    let change = merged.get_last_local_change().ok_or("the change that was made is not there")?;
    Ok(Bytes::copy_from_slice(change.raw_bytes()))
}

/// Admits what can be admitted now; whether anything moved.
fn admit(
    table: &mut Table,
    queues: &mut [VecDeque<Arrived>],
    fresh: &mut Vec<(Arrived, Hash)>,
    refused: &mut Vec<(Arrived, String)>,
) -> bool {
    let mut moved = false;
    for queue in queues {
        while let Some(arrived) = queue.front() {
            let verdict = judge(table, arrived);
            match verdict {
                Ok((Verdict::Missing, _)) => break,
                Ok((Verdict::Admit(admitted), hash)) => {
                    let arrived = queue.pop_front().expect("it was just looked at");
                    table.insert(admitted);
                    fresh.push((arrived, hash));
                }
                Ok((Verdict::Known, _)) => drop(queue.pop_front()),
                Ok((Verdict::Refuse(refusal), _)) | Err(refusal) => {
                    let arrived = queue.pop_front().expect("it was just looked at");
                    refused.push((arrived, refusal.to_string()));
                }
            }
            moved = true;
        }
    }
    moved
}

fn judge(table: &mut Table, arrived: &Arrived) -> Result<(Verdict, Hash), Refusal> {
    let change = Change::read(&arrived.change)?;
    if change.actors[0] != arrived.log.actor.to_bytes() {
        return Err(Refusal::Impostor);
    }
    Ok((table.check(&change), change.hash))
}

/// What could not be admitted. Behind the first of a log the others wait, whatever they follow.
fn orphans(table: &Table, queues: Vec<VecDeque<Arrived>>) -> Vec<Orphan> {
    let waits = |arrived: Arrived| {
        let deps = Change::read(&arrived.change).map(|change| change.deps).unwrap_or_default();
        Orphan { missing: deps.into_iter().filter(|dep| !table.contains(dep)).collect(), arrived }
    };
    queues.into_iter().flatten().map(waits).collect()
}

/// Runs the commands in one transaction and commits it; whether a change was made, and what came of each command.
fn commands(doc: &DocId, merged: &mut Automerge, exists: bool, at: WallTime, batch: &[Wanted]) -> (bool, Results) {
    let (mut results, mut accepted, mut bytes) = (Vec::new(), Vec::new(), 0);
    let time = i64::try_from(at.as_millis()).unwrap_or(i64::MAX);
    let options = || CommitOptions::default().with_time(time);
    let mut tx = merged.transaction();
    for wanted in batch {
        let there = exists || !accepted.is_empty();
        let own: usize = wanted.edits.iter().map(size::of_edit).sum();
        if !accepted.is_empty() && (wanted.edits == [Edit::Delete] || bytes + own > GATHER_MAX) {
            break;
        }
        if wanted.edits == [Edit::Delete] && there {
            tx.rollback();
            merged.empty_commit(options().with_message(DELETE));
            results.push((wanted.command, Ok(())));
            return (true, results);
        }
        let before = tx.pending_ops();
        let done = command(doc, &mut tx, wanted, there);
        let ops = tx.pending_ops();
        if done.is_ok() && ops <= OPS_MAX {
            accepted.push(wanted);
            bytes += own;
            results.push((wanted.command, Ok(())));
            continue;
        }
        if ops > before {
            tx.rollback();
            tx = merged.transaction();
            for wanted in &accepted {
                command(doc, &mut tx, wanted, true).expect("it went well a moment ago");
            }
        }
        if done.is_ok() && !accepted.is_empty() {
            break;
        }
        let large = Error::TooLarge { doc: doc.clone(), what: "operations", found: ops, max: OPS_MAX };
        results.push((wanted.command, done.and(Err(large))));
    }
    let (wrote, created) = (tx.pending_ops() > 0, !exists && !accepted.is_empty());
    tx.commit_with(options());
    if !wrote && created {
        merged.empty_commit(options().with_message(CREATE));
    }
    (wrote || created, results)
}

fn command(doc: &DocId, tx: &mut impl Transactable, wanted: &Wanted, exists: bool) -> Result<(), Error> {
    if wanted.create && exists {
        return Err(Error::Exists { doc: doc.clone() });
    }
    if !exists && !matches!(wanted.edits.first(), Some(Edit::Put { .. })) {
        return Err(Error::NotFound { doc: doc.clone() });
    }
    wanted.edits.iter().try_for_each(|edit| {
        write::edit(tx, edit).map_err(|fault| {
            let (doc, path) = (doc.clone(), edit.path().to_owned());
            match fault {
                write::Fault::NoSuchPath => Error::NoSuchPath { doc, path },
                write::Fault::Invalid(why) => Error::Invalid { doc, path, why },
            }
        })
    })
}

fn fail(batch: &[Wanted], error: &Error) -> Results {
    batch.iter().map(|wanted| (wanted.command, Err(error.clone()))).collect()
}

/// Runs what may panic on foreign bytes. After an error what it worked on must be thrown away.
fn contain<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        Err(text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned()))
    })
}

/// A hash for people.
pub(in crate::documents) fn hex(hash: &Hash) -> String {
    use std::fmt::Write as _;
    hash.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

//! One document of a shard: the changes that were admitted, and while it is open, Automerge and the table over them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::transaction::{CommitOptions, Transactable};
use automerge::{ActorId, Automerge};
use bytes::Bytes;
use serde_json::Value;

use super::super::change::{CREATE, Change, DELETE, Hash, OPS_MAX, PLAIN_MAX, Refusal};
use super::super::{Arrived, ChangeInfo, DocState, Edit, Error, Orphan, Wanted, size};
use super::branches::{Fork, Parting};
use super::open::{Accepted, Open};
use super::table::{Table, Verdict};
use super::{path, read, write};
use crate::types::{Actor, CommandId, DocId, LogId, Seq, Topic, WallTime};

/// Bytes of edits that are gathered into one change at most.
const GATHER_MAX: usize = PLAIN_MAX / 2;

/// A document. Its changes are the truth, what is open can be made from them again.
#[derive(Debug)]
pub(super) struct Document {
    id: DocId,
    accepted: Vec<Accepted>,
    /// Where writers' changes part, and with which of the changes each branch begins.
    forks: BTreeMap<Fork, BTreeSet<Hash>>,
    open: Option<Box<Open>>,
    state: DocState,
    ops: usize,
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
        let (accepted, forks, state) = (Vec::new(), BTreeMap::new(), DocState::default());
        Self { id, accepted, forks, open: None, state, ops: 0 }
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
        let mut outcome = Outcome::default();
        loop {
            let (open, mut fresh) = (self.opened()?, Vec::new());
            let parted = admit(&mut open.table, &mut queues, &mut fresh, &mut outcome.refused);
            self.merge(fresh, &mut outcome);
            let Some((queue, parting)) = parted else { break };
            if let Err(error) = self.part(parting)
                && let Some(arrived) = queues[queue].pop_front()
            {
                outcome.refused.push((arrived, error.to_string()));
            }
        }
        outcome.orphans = orphans(&self.opened()?.table, queues);
        self.settle();
        Ok(outcome)
    }

    /// Makes the document anew from these changes, and from those that it has besides.
    pub(super) fn rebuild(&mut self, changes: Vec<Arrived>) -> Result<Outcome, Error> {
        let mut fresh = Self::new(self.id.clone());
        let outcome = fresh.apply(changes)?;
        let known: BTreeSet<Hash> = fresh.accepted.iter().map(|accepted| accepted.hash).collect();
        let besides = self.accepted.iter().filter(|accepted| !known.contains(&accepted.hash));
        let named = |(n, accepted): (usize, &Accepted)| {
            let actor =
                Change::read(&accepted.bytes).ok().and_then(|change| Actor::from_bytes(&change.names[0].actor))?;
            let log = LogId { actor, topic: Topic::DOCUMENTS };
            Some(Arrived { log, seq: Seq::new(n as u64 + 1), change: accepted.bytes.clone() })
        };
        fresh.apply(besides.enumerate().filter_map(named).collect())?;
        *self = fresh;
        Ok(outcome)
    }

    /// Gives admitted changes to Automerge. If it fails on them, they are tried one at a time to find the one.
    fn merge(&mut self, fresh: Vec<(Arrived, Hash)>, outcome: &mut Outcome) {
        let Some(open) = self.open.as_mut() else { return };
        let accepted = |(arrived, hash): &(Arrived, Hash)| Accepted { hash: *hash, bytes: arrived.change.clone() };
        let changes: Vec<Accepted> = fresh.iter().map(accepted).collect();
        if contain(|| open.apply(&changes)).and_then(|()| open.agrees()).is_ok() {
            self.accepted.extend(changes);
            outcome.applied.extend(fresh.into_iter().map(|(arrived, _)| arrived));
            return;
        }
        self.close();
        for (arrived, _) in fresh {
            match self.merge_one(&arrived) {
                Ok(()) => outcome.applied.push(arrived),
                Err(refusal) => outcome.refused.push((arrived, refusal.to_string())),
            }
        }
        self.unpart();
    }

    fn merge_one(&mut self, arrived: &Arrived) -> Result<(), Refusal> {
        let engine = |error: Error| Refusal::Engine(error.to_string());
        let change = Change::read(&arrived.change)?;
        let accepted = Accepted { hash: change.hash, bytes: arrived.change.clone() };
        let mut verdict = self.opened().map_err(engine)?.table.check(&change);
        if let Verdict::Parts(parting) = verdict {
            self.part(parting).map_err(engine)?;
            verdict = self.opened().map_err(engine)?.table.check(&change);
        }
        let open = self.opened().map_err(engine)?;
        match verdict {
            Verdict::Admit(admitted) => open.table.insert(admitted),
            Verdict::Known => return Ok(()),
            Verdict::Missing | Verdict::Parts(_) => return Err(Refusal::Descends),
            Verdict::Refuse(refusal) => return Err(refusal),
        }
        let merged = contain(|| open.apply(std::slice::from_ref(&accepted))).and_then(|()| open.agrees());
        if let Err(why) = merged {
            self.close();
            return Err(Refusal::Engine(why));
        }
        self.accepted.push(accepted);
        Ok(())
    }

    /// A writer's changes part: from here on each branch has a name of its own.
    fn part(&mut self, parting: Parting) -> Result<(), Error> {
        let before = self.forks.clone();
        self.forks.entry(parting.fork).or_default().extend(parting.branches);
        self.close();
        let opened = self.opened().map(drop);
        if opened.is_err() {
            self.forks = before;
        }
        opened
    }

    /// Some change is not here after all: nobody begins a branch who is alone.
    fn unpart(&mut self) {
        let here: BTreeSet<Hash> = self.accepted.iter().map(|accepted| accepted.hash).collect();
        for branches in self.forks.values_mut() {
            branches.retain(|hash| here.contains(hash));
        }
        self.forks.retain(|_, branches| branches.len() > 1);
        self.close();
    }

    /// Whether this writer's changes part here: then it cannot write on under its name.
    pub(super) fn is_parted(&mut self, actor: Actor) -> bool {
        !self.forks.is_empty() && self.opened().is_ok_and(|open| open.table.is_parted(&actor.to_bytes()))
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
            Ok((true, results)) => (contain(|| open.last_change()), results),
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
            Verdict::Known | Verdict::Missing | Verdict::Parts(_) => return Err(Refusal::Descends),
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
        self.unpart();
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
                actor: Actor::from_bytes(&change.names[0].actor),
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
            let begins = self.forks.values().flatten().copied().collect();
            let opened = contain(|| Open::build(&self.accepted, begins));
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

/// Admits what can be admitted, until a writer's changes part: then gives the queue whose first change does that.
fn admit(
    table: &mut Table,
    queues: &mut [VecDeque<Arrived>],
    fresh: &mut Vec<(Arrived, Hash)>,
    refused: &mut Vec<(Arrived, String)>,
) -> Option<(usize, Parting)> {
    let mut moved = true;
    while std::mem::take(&mut moved) {
        for (at, queue) in queues.iter_mut().enumerate() {
            while let Some(arrived) = queue.front() {
                let verdict = judge(table, arrived);
                if let Ok((Verdict::Missing, _)) = verdict {
                    break;
                }
                if let Ok((Verdict::Parts(parting), _)) = verdict {
                    return Some((at, parting));
                }
                let arrived = queue.pop_front().expect("it was just looked at");
                match verdict {
                    Ok((Verdict::Admit(admitted), hash)) => {
                        table.insert(admitted);
                        fresh.push((arrived, hash));
                    }
                    Ok((Verdict::Refuse(refusal), _)) | Err(refusal) => refused.push((arrived, refusal.to_string())),
                    Ok((Verdict::Known | Verdict::Missing | Verdict::Parts(_), _)) => {}
                }
                moved = true;
            }
        }
    }
    None
}

fn judge(table: &mut Table, arrived: &Arrived) -> Result<(Verdict, Hash), Refusal> {
    let change = Change::read(&arrived.change)?;
    if !change.names[0].actor.starts_with(arrived.log.actor.node.as_bytes()) {
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

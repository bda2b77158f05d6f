//! One document of a shard: the changes that were admitted, and while it is open, Automerge and the table over them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::{ActorId, Automerge};
use bytes::Bytes;
use serde_json::Value;

use super::super::change::{Change, Hash, Refusal};
use super::super::policy::{Policies, PolicyHistory};
use super::super::{Arrived, ChangeInfo, DocState, Edit, Error, Orphan, Wanted};
use super::super::{Found, Look};
use super::base::{Base, Writer};
use super::branches::{Fork, Parting};
use super::choose::Chooser;
use super::commands::{Results, Version, commands, fail, lens, version};
use super::open::{Accepted, Open, renumbered};
use super::removals::Removals;
use super::standing::Unchosen;
use super::table::{Table, Verdict};
use super::{met, path, read, standing};
use crate::conflict::Customs;
use crate::types::{Actor, DocId, LogId, Seq, Topic, WallTime, hex};

/// So many changes wait for somebody who reads or edits at most: then these need not wait longer than a millisecond.
const UNTRIED_MAX: usize = 64;

/// What a change takes in memory besides its bytes.
const OVERHEAD: usize = size_of::<Accepted>() + 16;

/// A document. Its changes are the truth, what is open can be made from them again.
#[derive(Debug)]
pub(super) struct Document {
    id: DocId,
    /// What the oldest changes were folded to.
    base: Option<Box<Base>>,
    /// Those after it.
    accepted: Vec<Accepted>,
    /// With how many it is worth to fold them.
    fold_at: usize,
    /// Where writers' changes part, and with which of the changes each branch begins.
    forks: BTreeMap<Fork, BTreeSet<Hash>>,
    open: Option<Box<Open>>,
    /// The newest changes, those that Automerge was never given.
    untried: Vec<Arrived>,
    /// Of these, those that it did not take, whatever the check said; not told yet.
    fallen: Vec<(Arrived, String)>,
    state: DocState,
    ops: usize,
}

/// By what it is decided what shows.
type Views<'a> = (&'a Policies, &'a Customs);

/// What came of changes.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) applied: Vec<Arrived>,
    pub(super) orphans: Vec<Orphan>,
    pub(super) refused: Vec<(Arrived, String)>,
    /// Where changes stand that were here already.
    pub(super) known: Vec<(LogId, Seq)>,
    /// Changes for which the whole document is needed.
    pub(super) older: Vec<Arrived>,
}

impl Document {
    pub(super) fn new(id: DocId) -> Self {
        let (accepted, forks, state) = (Vec::new(), BTreeMap::new(), DocState::default());
        let (untried, fallen) = (Vec::new(), Vec::new());
        Self { id, base: None, accepted, fold_at: 0, forks, open: None, untried, fallen, state, ops: 0 }
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
        self.accepted.is_empty() && self.base.is_none() && self.fallen.is_empty()
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
            self.opened()?;
            let (base, mut fresh) = (self.base.as_deref(), Vec::new());
            let open = self.open.as_mut().expect("it was just opened");
            let stop = admit(&mut open.table, base, &mut queues, &mut fresh, &mut outcome);
            self.merge(fresh, &mut outcome);
            let (queue, parting) = match stop {
                Stop::No => break,
                Stop::Parts(queue, parting) => (queue, parting),
                Stop::Older => {
                    outcome.older = queues.into_iter().flatten().collect();
                    self.settle();
                    return Ok(outcome);
                }
            };
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
        // What came while the log was read may be folded by now. Then it is left to the next audit.
        let here = || fresh.accepted.iter().map(|accepted| &accepted.hash);
        if self.base.as_ref().is_some_and(|base| base.has_more_than(here())) {
            return Ok(Outcome::default());
        }
        *self = fresh;
        Ok(outcome)
    }

    /// Takes in changes that were just admitted. Automerge is given them when somebody reads or edits, or when there are many.
    fn merge(&mut self, fresh: Vec<(Arrived, Hash)>, outcome: &mut Outcome) {
        let before = (self.accepted.len(), self.untried.len());
        let accepted = |(arrived, hash): &(Arrived, Hash)| Accepted { hash: *hash, bytes: arrived.change.clone() };
        self.accepted.extend(fresh.iter().map(accepted));
        self.untried.extend(fresh.iter().map(|(arrived, _)| arrived.clone()));
        // Where writers' changes part, what of them can be merged is seen at once.
        let wait = self.forks.is_empty() && self.untried.len() < UNTRIED_MAX;
        if wait || self.catch_up().is_ok() {
            outcome.applied.extend(fresh.into_iter().map(|(arrived, _)| arrived));
            return;
        }
        self.accepted.truncate(before.0);
        self.untried.truncate(before.1);
        self.sift();
        for (arrived, _) in fresh {
            match self.merge_one(&arrived) {
                Ok(()) => outcome.applied.push(arrived),
                Err(refusal) => outcome.refused.push((arrived, refusal.to_string())),
            }
        }
        self.unpart();
    }

    /// Gives Automerge the changes that it does not have.
    fn catch_up(&mut self) -> Result<(), String> {
        let Some(open) = self.open.as_mut() else { return Ok(()) };
        contain(|| open.catch_up(&self.accepted, self.base.as_deref()))?;
        self.untried.clear();
        Ok(())
    }

    /// Automerge fails on some of the changes that it was never given: they are tried one at a time to find which, and these are
    /// not in the document.
    fn sift(&mut self) {
        self.close();
        let untried = std::mem::take(&mut self.untried);
        self.accepted.truncate(self.accepted.len() - untried.len());
        for arrived in untried {
            if let Err(refusal) = self.merge_one(&arrived) {
                self.fallen.push((arrived, refusal.to_string()));
            }
        }
        self.unpart();
    }

    /// The changes that were taken in and turned out to be none that Automerge takes, each told once.
    pub(super) fn take_fallen(&mut self) -> Vec<(Arrived, String)> {
        std::mem::take(&mut self.fallen)
    }

    fn merge_one(&mut self, arrived: &Arrived) -> Result<(), Refusal> {
        let engine = |error: Error| Refusal::Engine(error.to_string());
        let change = Change::read(&arrived.change)?;
        let accepted = Accepted { hash: change.hash, bytes: arrived.change.clone() };
        let mut verdict = self.check(&change).map_err(engine)?;
        if let Verdict::Parts(parting) = verdict {
            self.part(parting).map_err(engine)?;
            verdict = self.check(&change).map_err(engine)?;
        }
        let Some(open) = self.open.as_mut() else { return Err(Refusal::Descends) };
        match verdict {
            Verdict::Admit(admitted) => open.table.insert(admitted),
            Verdict::Known => return Ok(()),
            Verdict::Missing | Verdict::Parts(_) | Verdict::Older => return Err(Refusal::Descends),
            Verdict::Refuse(refusal) => return Err(refusal),
        }
        self.accepted.push(accepted);
        if let Err(why) = self.catch_up() {
            self.accepted.pop();
            self.close();
            return Err(Refusal::Engine(why));
        }
        Ok(())
    }

    fn check(&mut self, change: &Change<'_>) -> Result<Verdict, Error> {
        self.opened()?;
        let open = self.open.as_mut().expect("it was just opened");
        Ok(open.table.check(change, self.base.as_deref()))
    }

    /// A writer's changes part: from here on each branch has a name of its own.
    fn part(&mut self, parting: Parting) -> Result<(), Error> {
        self.merged().map(drop)?;
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
    pub(super) fn edit(
        &mut self,
        actor: Actor,
        at: WallTime,
        batch: &[Wanted],
        views: Views<'_>,
    ) -> (Option<Bytes>, Results) {
        let open = match self.merged() {
            Ok(_) => self.open.as_mut().expect("it was just opened"),
            Err(error) => return (None, fail(batch, &error)),
        };
        let version = match version(&self.id, open, self.base.is_some(), actor, batch) {
            Ok(version) => version,
            Err(error) => return (None, fail(batch, &error)),
        };
        if version.heads.is_some() {
            return self.edit_before(actor, at, batch, (&version, views));
        }
        let (id, base) = (&self.id, self.base.as_deref());
        let made = contain(|| {
            let Open { merged, table, .. } = &mut **open;
            let chooser = settling(Chooser::new(id, table, views, None), &version, merged, batch);
            merged.set_actor(ActorId::from(actor.to_bytes().as_slice()));
            Ok(commands(merged, &version, at, batch, (id, lens(&chooser))))
        });
        let (bytes, results) = match made {
            Ok((false, results)) => return (None, results),
            Ok((true, results)) => (contain(|| open.last_change(base)), results),
            Err(why) => {
                self.close();
                return (None, fail(batch, &Error::Engine { doc: self.id.clone(), why }));
            }
        };
        match bytes.map_err(Refusal::Engine).and_then(|bytes| self.own(bytes)) {
            Ok(bytes) => {
                self.open.as_mut().into_iter().for_each(|open| open.made());
                (Some(bytes), results)
            }
            Err(refusal) => {
                self.close();
                self.settle();
                let error = self.refusal(refusal);
                let failed = |(id, result): (_, Result<(), Error>)| (id, result.and_then(|()| Err(error.clone())));
                (None, results.into_iter().map(failed).collect())
            }
        }
    }

    /// Makes a change of an older version, as somebody who knows no newer one would, and merges it. Costs a copy of the
    /// document.
    fn edit_before(
        &mut self,
        actor: Actor,
        at: WallTime,
        batch: &[Wanted],
        (version, views): (&Version, Views<'_>),
    ) -> (Option<Bytes>, Results) {
        let (id, open) = (&self.id, self.open.as_mut().expect("the caller opened it"));
        let made = contain(|| {
            let mut draft = open.merged.clone();
            draft.set_actor(ActorId::from(actor.to_bytes().as_slice()));
            let clock = version.heads.as_ref().map(|heads| open.table.clock_of(heads));
            let chooser = settling(Chooser::new(id, &open.table, views, clock), version, &mut draft, batch);
            let (wrote, results) = commands(&mut draft, version, at, batch, (id, lens(&chooser)));
            let change = wrote.then(|| draft.get_last_local_change()).flatten();
            let next_op = version.heads.iter().flatten().map(|head| open.table.next_op(&head.0)).max().unwrap_or(1);
            Ok((change.map(|change| renumbered(change.decode(), next_op)), results))
        });
        let (bytes, results) = match made {
            Ok((Some(bytes), results)) => (bytes, results),
            Ok((None, results)) => return (None, results),
            Err(why) => return (None, fail(batch, &Error::Engine { doc: self.id.clone(), why })),
        };
        let owned = self.own(bytes).and_then(|bytes| match self.catch_up() {
            Ok(()) => Ok(bytes),
            Err(why) => {
                self.accepted.pop();
                self.close();
                Err(Refusal::Engine(why))
            }
        });
        match owned {
            Ok(bytes) => (Some(bytes), results),
            Err(refusal) => {
                let error = self.refusal(refusal);
                (None, fail(batch, &error))
            }
        }
    }

    /// Takes in a change that was just made here, by the same check that others will make.
    fn own(&mut self, bytes: Bytes) -> Result<Bytes, Refusal> {
        let open = self.open.as_mut().ok_or(Refusal::Descends)?;
        let change = Change::read(&bytes)?;
        let hash = change.hash;
        match open.table.check(&change, self.base.as_deref()) {
            Verdict::Admit(admitted) => open.table.insert(admitted),
            Verdict::Refuse(refusal) => return Err(refusal),
            Verdict::Known | Verdict::Missing | Verdict::Parts(_) | Verdict::Older => return Err(Refusal::Descends),
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

    pub(super) fn get(&mut self, pointer: &str, views: Views<'_>) -> Result<Value, Error> {
        let doc = self.id.clone();
        let steps =
            path::steps(pointer).map_err(|why| Error::Invalid { doc: doc.clone(), path: pointer.to_owned(), why })?;
        if !self.state.exists {
            return Err(Error::NotFound { doc });
        }
        let open = self.merged()?;
        let chooser = Chooser::new(&doc, &open.table, views, None);
        match contain(|| Ok(read::at(&open.merged, &steps, lens(&chooser)))) {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(Error::NoSuchPath { doc, path: pointer.to_owned() }),
            Err(why) => {
                self.close();
                Err(Error::Engine { doc, why })
            }
        }
    }

    /// What a change stands for at a place that is open, however long it is.
    pub(super) fn standing(&mut self, (pointer, change): (&str, &str), views: Views<'_>) -> Result<Value, Error> {
        let (doc, path) = (self.id.clone(), pointer.to_owned());
        let steps = path::steps(pointer).map_err(|why| Error::Invalid { doc: doc.clone(), path: path.clone(), why })?;
        if !self.state.exists {
            return Err(Error::NotFound { doc });
        }
        let open = self.merged()?;
        let chooser = Chooser::new(&doc, &open.table, views, None);
        let merged = &open.merged;
        let found = contain(|| {
            let removals = Removals::of(chooser.table).map(|removals| removals.found(merged, Some(&chooser)));
            let place = standing::at(&chooser, merged, removals.as_ref(), &steps);
            Ok(place.map(|place| place.choose(&doc, change, None).cloned()))
        });
        match found {
            Ok(None) => Err(Error::NotOpen { doc, path }),
            Ok(Some(Ok(standing))) if standing.removed || standing.lost => Err(Error::Invalid {
                doc,
                path,
                why: "that is no value, but was removed, or went with what was".to_owned(),
            }),
            Ok(Some(Ok(standing))) => Ok(standing.value),
            Ok(Some(Err(Unchosen::Other(why)))) => Err(Error::NotSeen { doc, path, why }),
            Ok(Some(Err(Unchosen::Invalid(why)))) => Err(Error::Invalid { doc, path, why }),
            Err(why) => {
                self.close();
                Err(Error::Engine { doc, why })
            }
        }
    }

    /// What met in it.
    pub(super) fn met(&mut self, look: Look, (history, customs): (&PolicyHistory, &Customs)) -> Result<Found, Error> {
        let (doc, exists) = (self.id.clone(), self.state.exists);
        if self.accepted.is_empty() && self.base.is_none() {
            return Err(Error::NotFound { doc });
        }
        self.merged()?;
        let open = self.open.as_mut().expect("it was just opened");
        let chooser = Chooser::new(&doc, &open.table, (history.in_force(), customs), None);
        let (merged, accepted) = (&open.merged, &self.accepted);
        let found = contain(|| {
            Ok(match look {
                Look::Open if !exists => Found::Open(Vec::new(), false),
                Look::Open => {
                    let (open, more) = standing::open(&chooser, merged);
                    Found::Open(open, more)
                }
                Look::Trail => {
                    let (trail, more) = met::trail(&chooser, merged, history, accepted);
                    Found::Trail(trail, more)
                }
            })
        });
        found.map_err(|why| {
            self.close();
            Error::Engine { doc, why }
        })
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
                deps: change.deps.iter().map(|dep| hex(dep)).collect(),
            })
        };
        self.accepted.iter().map(info).collect()
    }

    #[cfg(test)]
    pub(super) fn base(&self) -> Option<&Base> {
        self.base.as_deref()
    }

    #[cfg(test)]
    pub(super) fn hashes(&self) -> Vec<Hash> {
        self.accepted.iter().map(|accepted| accepted.hash).collect()
    }

    /// Whether a removal in it is not settled.
    #[cfg(test)]
    pub(super) fn is_unsettled(&mut self) -> bool {
        self.opened().is_ok_and(|open| Removals::of(&open.table).is_some())
    }

    /// What all of it would be folded to.
    #[cfg(test)]
    pub(super) fn fold_here(&mut self) -> Option<Bytes> {
        let (hashes, writers) = (self.hashes(), writers(None, &self.accepted).ok()?);
        let open = self.merged().ok()?;
        Base::fold(&open.merged, &open.table, None, &hashes, writers).map(|base| base.change)
    }

    /// Automerge will not take the newest change, although it was admitted.
    #[cfg(test)]
    pub(super) fn spoil(&mut self) {
        for (last, arrived) in self.accepted.last_mut().into_iter().zip(self.untried.last_mut()) {
            last.bytes = Bytes::from_static(b"no change");
            arrived.change = last.bytes.clone();
        }
    }

    /// The document as it was saved by Automerge: for tests of what a hostile change can do.
    #[cfg(test)]
    pub(super) fn saved(&mut self) -> Vec<u8> {
        self.merged().expect("it opens").merged.save()
    }

    /// Opens the document, and gives Automerge all of it.
    fn merged(&mut self) -> Result<&mut Open, Error> {
        self.opened()?;
        if self.catch_up().is_err() && !self.untried.is_empty() {
            self.sift();
            self.opened()?;
            self.settle();
        }
        if let Err(why) = self.catch_up() {
            self.close();
            return Err(Error::Engine { doc: self.id.clone(), why });
        }
        self.opened()
    }

    /// Opens the document: its changes are checked again. Where a writer's part, Automerge is to agree with it at once.
    fn opened(&mut self) -> Result<&mut Open, Error> {
        if self.open.is_none() {
            let begins = self.forks.values().flatten().copied().collect();
            let make = if self.forks.is_empty() { Open::begin } else { Open::build };
            let opened = contain(|| make(self.base.as_deref(), &self.accepted, begins));
            let open = opened.map_err(|why| Error::Engine { doc: self.id.clone(), why })?;
            self.open = Some(Box::new(open));
        }
        Ok(self.open.as_mut().expect("it was just opened"))
    }

    /// Bytes of these changes in memory, about.
    fn weight(&self, which: impl std::slice::SliceIndex<[Accepted], Output = [Accepted]>) -> usize {
        self.accepted[which].iter().map(|accepted| accepted.bytes.len() + OVERHEAD).sum()
    }

    /// The document was just built from all of its changes, since that was needed: it is not folded again soon.
    pub(super) fn stay_whole(&mut self) {
        self.fold_at = 2 * self.accepted.len();
    }

    /// Folds the oldest changes into a base, if there are so many and it is worth it. About half of them stay as they are,
    /// so that what comes late finds what it follows. The base must take `worth` times less memory than what it stands for.
    pub(super) fn fold(&mut self, changes: usize, worth: usize) {
        if changes == 0 || self.accepted.len() < self.fold_at.max(changes) || !self.forks.is_empty() {
            return;
        }
        self.fold_at = 2 * self.accepted.len();
        let Some(open) = &self.open else { return };
        let hashes: Vec<Hash> = self.accepted.iter().map(|accepted| accepted.hash).collect();
        let Some(pivot) = open.table.pivot(&hashes, changes / 2) else { return };
        let (head, tail) = self.accepted.split_at(pivot + 1);
        let known = self.base.as_deref();
        let freed = self.weight(..=pivot) + known.map_or(0, Base::weight);
        let folded = contain(|| {
            let then = Open::build(known, head, BTreeSet::new())?;
            if Removals::of(&then.table).is_some() {
                return Err("a removal in it is not settled".to_owned());
            }
            let writers = writers(known, head)?;
            let base = Base::fold(&then.merged, &then.table, known, &hashes[..=pivot], writers);
            let base = base.ok_or("it cannot be folded here")?;
            if base.weight() * worth > freed {
                return Err("it is not worth it".to_owned());
            }
            let open = Open::build(Some(&base), tail, BTreeSet::new())?;
            Ok((base, open))
        });
        let Ok((base, open)) = folded else { return };
        self.accepted.drain(..=pivot);
        (self.base, self.open, self.fold_at) = (Some(Box::new(base)), Some(Box::new(open)), 0);
        self.untried.clear();
        self.settle();
    }

    /// Takes the state over from the table.
    fn settle(&mut self) {
        if let Some(open) = &self.open {
            self.state = DocState {
                heads: open.table.heads().iter().copied().collect(),
                exists: open.table.exists(),
                changes: open.table.changes(),
                bytes: self.weight(..) + self.base.as_ref().map_or(0, |base| base.weight()),
                folded: self.base.is_some(),
                met: (open.table.changes() > 0).then(|| open.table.is_concurrent()),
            };
            self.ops = open.table.ops();
        }
    }
}

/// Knows where removals are not settled at the version that is edited, if one of these commands settles something.
fn settling<'a>(mut chooser: Chooser<'a>, version: &Version, merged: &mut Automerge, batch: &[Wanted]) -> Chooser<'a> {
    let settles = |edit: &Edit| matches!(edit, Edit::Resolve { .. } | Edit::Choose { .. });
    if batch.iter().any(|wanted| wanted.edits.iter().any(settles)) {
        chooser.settles = true;
        chooser.unsettled = version.unsettled(&chooser, merged);
    }
    chooser
}

/// Why admission stops before all is done that can be.
enum Stop {
    No,
    /// A writer's changes part with the first change of this queue.
    Parts(usize, Parting),
    /// The whole document is needed.
    Older,
}

/// Who wrote these changes and those of the base: how many, and the last one, in order.
fn writers(base: Option<&Base>, changes: &[Accepted]) -> Result<Vec<(Writer, u32, Hash)>, String> {
    let known = base.into_iter().flat_map(|base| &base.writers);
    let mut writers: BTreeMap<Writer, (u32, Hash)> =
        known.map(|(writer, count, last)| (*writer, (*count, *last))).collect();
    for accepted in changes {
        let change = Change::read(&accepted.bytes).map_err(|refusal| refusal.to_string())?;
        let count = u32::try_from(change.seq).map_err(|error| error.to_string())?;
        writers.insert(change.names[0].actor, (count, accepted.hash));
    }
    Ok(writers.into_iter().map(|(writer, (count, last))| (writer, count, last)).collect())
}

/// Admits what can be admitted, until a writer's changes part: then gives the queue whose first change does that.
fn admit(
    table: &mut Table,
    base: Option<&Base>,
    queues: &mut [VecDeque<Arrived>],
    fresh: &mut Vec<(Arrived, Hash)>,
    outcome: &mut Outcome,
) -> Stop {
    let mut moved = true;
    while std::mem::take(&mut moved) {
        for (at, queue) in queues.iter_mut().enumerate() {
            while let Some(arrived) = queue.front() {
                let verdict = judge(table, base, arrived);
                if let Ok((Verdict::Missing, _)) = verdict {
                    break;
                }
                if let Ok((Verdict::Parts(parting), _)) = verdict {
                    return Stop::Parts(at, parting);
                }
                if let Ok((Verdict::Older, _)) = verdict {
                    return Stop::Older;
                }
                let arrived = queue.pop_front().expect("it was just looked at");
                match verdict {
                    Ok((Verdict::Admit(admitted), hash)) => {
                        table.insert(admitted);
                        fresh.push((arrived, hash));
                    }
                    Ok((Verdict::Refuse(refusal), _)) | Err(refusal) => {
                        outcome.refused.push((arrived, refusal.to_string()));
                    }
                    Ok((Verdict::Known | Verdict::Missing | Verdict::Parts(_) | Verdict::Older, _)) => {
                        outcome.known.push((arrived.log, arrived.seq));
                    }
                }
                moved = true;
            }
        }
    }
    Stop::No
}

fn judge(table: &mut Table, base: Option<&Base>, arrived: &Arrived) -> Result<(Verdict, Hash), Refusal> {
    let change = Change::read(&arrived.change)?;
    if !change.names[0].actor.starts_with(arrived.log.actor.node.as_bytes()) {
        return Err(Refusal::Impostor);
    }
    Ok((table.check(&change, base), change.hash))
}

/// What could not be admitted. Behind the first of a log the others wait, whatever they follow.
fn orphans(table: &Table, queues: Vec<VecDeque<Arrived>>) -> Vec<Orphan> {
    let waits = |arrived: Arrived| {
        let deps = Change::read(&arrived.change).map(|change| change.deps).unwrap_or_default();
        Orphan { missing: deps.into_iter().filter(|dep| !table.contains(dep)).collect(), arrived }
    };
    queues.into_iter().flatten().map(waits).collect()
}

/// Runs what may panic on foreign bytes. After an error what it worked on must be thrown away.
fn contain<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        Err(text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned()))
    })
}

//! The admission check: whether a sound change fits its document.
//!
//! Automerge trusts the changes that it is given. One that names an object nobody made panics it; one that replaces a value
//! that is not there is taken, and then every saved copy of the document fails to load. So this table knows, for every
//! operation in the document, where it stands and what it made, and a change is admitted only if all that it refers to
//! exists **in its own causal past**. Asking the past, and not what happens to be here, makes the verdict the same on every
//! node in whatever order changes came: it depends on the change and on its ancestors.

mod check;

use std::collections::{BTreeMap, BTreeSet};

use automerge::ObjId;

use self::check::{Checker, Own};
use super::super::change::{Action, Change, Hash, Id, Key, Name, Refusal};
use super::base::{Base, Old, Writer};
use super::branches::{Branches, Parting, Place, count};
use super::counters::Counters;
use crate::types::{Actor, Hlc, NodeId, VectorClock, WallTime};

/// An operation's name within this document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OpId {
    counter: u32,
    /// Index of the branch of a writer in which it stands.
    branch: u32,
}

/// So many changes are looked at for a pivot.
const PIVOTS_MAX: usize = 64;

impl OpId {
    pub(super) const fn counter(self) -> u32 {
        self.counter
    }

    pub(super) const fn branch(self) -> u32 {
        self.branch
    }
}

/// No operation: the root object, or the place before a list's first element.
pub(super) const NONE: OpId = OpId { counter: 0, branch: 0 };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// A map's key, by its number.
    Key(u32),
    /// A list's element, by the operation that inserted it.
    Element(OpId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Makes a map, this deep.
    Map(u8),
    /// Makes a list, this deep.
    List(u8),
    /// Makes a text.
    Text,
    Value,
    Counter,
    /// Adds to counters: no value of its own.
    Increment,
    Nothing,
}

/// What is remembered of an operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) object: OpId,
    pub(super) slot: Slot,
    pub(super) kind: Kind,
}

/// One change of a writer: its operations, from `start` on.
#[derive(Debug)]
pub(super) struct Run {
    start: u32,
    rows: Box<[Row]>,
}

impl Run {
    /// Its operations with their counters.
    pub(super) fn rows(&self, branch: u32) -> impl Iterator<Item = (OpId, &Row)> {
        (self.start..).zip(&self.rows).map(move |(counter, row)| (OpId { counter, branch }, row))
    }

    /// The one with this counter.
    pub(super) fn row(&self, counter: u32) -> Option<&Row> {
        self.rows.get(counter.checked_sub(self.start)? as usize)
    }

    /// One beyond its last operation.
    pub(super) fn end(&self) -> u32 {
        self.start + u32::try_from(self.rows.len()).expect("bounded where the change was read")
    }
}

#[derive(Debug)]
struct Node {
    branch: u32,
    /// Its place in the branch.
    seq: u32,
    max_op: u64,
    /// When: see [`stamp`].
    hlc: Hlc,
    /// For each branch how many of its changes are in the past of this one, itself included.
    clock: Box<[u32]>,
    deletes: bool,
}

/// What the document holds, as far as the check needs it.
#[derive(Debug, Default)]
pub(super) struct Table {
    branches: Branches,
    keys: BTreeMap<Box<str>, u32>,
    nodes: BTreeMap<Hash, Node>,
    heads: BTreeSet<Hash>,
    /// Whether two changes stand side by side somewhere.
    concurrent: bool,
    ops: usize,
    counters: Counters,
    /// What the past was folded to.
    folded: Folded,
}

/// What is known of a folded past.
#[derive(Debug, Default)]
struct Folded {
    /// Its last counter; 0 if nothing is folded.
    max_op: u32,
    changes: usize,
    rows: BTreeMap<OpId, Row>,
    /// The first counter of the base, and which operation each of the base was.
    start: u32,
    ids: Vec<OpId>,
    /// The last change of each writer.
    lasts: BTreeSet<Hash>,
}

/// A change as far as it matters whom it met.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wrote<'a> {
    pub(super) hash: Hash,
    branch: u32,
    seq: u32,
    /// As whom it was written.
    pub(super) name: Name,
    pub(super) hlc: Hlc,
    clock: &'a [u32],
    /// Whether it deletes the document.
    pub(super) deletes: bool,
    run: Option<&'a Run>,
}

impl<'a> Wrote<'a> {
    /// Whether the other one's writer had seen this one, or it is the same.
    pub(super) fn is_seen_by(&self, other: &Self) -> bool {
        count(other.clock, self.branch) >= self.seq
    }

    /// Whether it is in a version of which so many changes of each branch are.
    pub(super) fn is_in(&self, clock: &[u32]) -> bool {
        count(clock, self.branch) >= self.seq
    }

    /// Whether neither writer had seen the other's change.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        !self.is_seen_by(other) && !other.is_seen_by(self)
    }

    /// Its operation of this index.
    pub(super) fn row(&self, op: usize) -> Option<(OpId, &'a Row)> {
        let run = self.run?;
        let counter = run.start.checked_add(u32::try_from(op).ok()?)?;
        Some((OpId { counter, branch: self.branch }, run.rows.get(op)?))
    }

    /// Its operations with their names.
    pub(super) fn rows(&self) -> impl Iterator<Item = (OpId, &'a Row)> + use<'a> {
        let branch = self.branch;
        self.run.into_iter().flat_map(move |run| run.rows(branch))
    }
}

/// Where an operation comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Made<'a> {
    /// From this change; it has this counter.
    By(u32, Wrote<'a>),
    /// From the folded past: all that is here follows it.
    Folded,
    /// It is being made, by somebody who sees all that is here.
    Now,
}

/// When a change was made: the hybrid logical clock (see [`Hlc`]) over the document's own history. It follows from the change's time and
/// from those of its past, so it is the same for everybody and above that of all that the writer had seen, however wrong the
/// writer's clock is.
fn stamp(millis: i64, before: Option<Hlc>) -> Hlc {
    let wall = WallTime::from_micros(u64::try_from(millis).unwrap_or_default().saturating_mul(1_000));
    match before {
        Some(before) if before.wall >= wall => Hlc { wall: before.wall, logical: before.logical.saturating_add(1) },
        Some(_) | None => Hlc { wall, logical: 0 },
    }
}

/// What may be done with a change.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It fits; give it to [`Table::insert`].
    Admit(Admitted),
    /// It is here already.
    Known,
    /// It follows changes that are not here.
    Missing,
    /// It would fit, but another change of its writer stands beside it: to be checked by a table that knows of both.
    Parts(Parting),
    /// It cannot be judged without the past that was folded.
    Older,
    Refuse(Refusal),
}

/// Where a writer stands that writes at a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// It is the newest.
    Newest,
    /// Others have written since, the writer has not. Whether the document had content then.
    Before { exists: bool },
    /// The writer itself has written since.
    Outdated,
    /// This change is not here.
    Unseen(Hash),
}

/// The proof that a change was checked against this table as it stands.
#[derive(Debug)]
pub(super) struct Admitted {
    hash: Hash,
    deps: Vec<Hash>,
    place: Place,
    start: u32,
    rows: Vec<Row>,
    counted: Counters,
    node: Node,
}

impl Table {
    /// Of no changes yet, among which those will be that begin a branch.
    pub(super) fn new(begins: BTreeSet<Hash>) -> Self {
        Self { branches: Branches::new(begins), ..Self::default() }
    }

    /// Of what a base stands for.
    pub(super) fn behind(base: &Base) -> Self {
        let mut table = Self::default();
        let branches =
            base.writers.iter().map(|(writer, count, _)| table.branches.stem_behind(*writer, *count)).collect();
        table.folded = Folded {
            max_op: base.max_op,
            changes: base.changes,
            rows: BTreeMap::new(),
            start: 0,
            ids: Vec::new(),
            lasts: base.writers.iter().map(|(.., last)| *last).collect(),
        };
        table.fill(base, branches);
        let writers = base.writers.len();
        let node = Node {
            branch: 0,
            seq: 0,
            max_op: base.max_op.into(),
            hlc: base.hlc,
            clock: vec![0; writers].into(),
            deletes: base.deletes,
        };
        table.nodes.insert(base.pivot, node);
        table.heads.insert(base.pivot);
        table.concurrent = base.concurrent;
        table.ops = base.olds.len();
        table
    }

    /// Judges a change by its own past. Nothing is kept but names of keys and writers.
    pub(super) fn check(&mut self, change: &Change<'_>, base: Option<&Base>) -> Verdict {
        if self.nodes.contains_key(&change.hash) {
            return Verdict::Known;
        }
        let Some(base) = base else {
            if change.deps.iter().any(|dep| !self.nodes.contains_key(dep)) {
                return Verdict::Missing;
            }
            return self.admit(change).unwrap_or_else(Verdict::Refuse);
        };
        let unknown = || change.deps.iter().filter(|dep| !self.contains(dep));
        if base.may_have(&change.hash) || unknown().any(|dep| base.may_have(dep)) {
            return Verdict::Older;
        }
        if unknown().next().is_some() {
            return Verdict::Missing;
        }
        // Whoever follows something that follows the pivot follows the pivot.
        if !change.deps.iter().any(|dep| self.nodes.contains_key(dep)) {
            return Verdict::Older;
        }
        match self.admit(change) {
            Ok(Verdict::Parts(_)) => Verdict::Older,
            Ok(verdict) => verdict,
            Err(refusal) if self.missed(change) => {
                drop(refusal);
                Verdict::Older
            }
            Err(refusal) => Verdict::Refuse(refusal),
        }
    }

    /// Whether a change refers to an operation of the folded past that the base does not have.
    fn missed(&self, change: &Change<'_>) -> bool {
        let old = |id: &Id| id.counter <= self.folded.max_op && !self.has_folded(change, *id);
        change.ops.iter().any(|op| {
            let element = if let Key::Element(id) = op.key { Some(id) } else { None };
            op.object.iter().chain(&element).any(old)
        }) || change.preds.iter().any(old)
    }

    fn has_folded(&self, change: &Change<'_>, id: Id) -> bool {
        let branch = self.branches.entry(change.names[id.actor as usize], &[]);
        self.folded.rows.contains_key(&OpId { counter: id.counter, branch })
    }

    /// Takes in a change that was just checked.
    pub(super) fn insert(&mut self, admitted: Admitted) {
        let Admitted { hash, deps, place, start, rows, counted, node } = admitted;
        self.counters.extend(counted);
        let branch = self.branches.settle(place, hash);
        debug_assert_eq!(node.branch, branch);
        // Whoever had seen every newest change had seen all.
        self.concurrent |= self.heads.iter().any(|head| !deps.contains(head));
        for dep in &deps {
            self.heads.remove(dep);
        }
        self.heads.insert(hash);
        self.ops += rows.len();
        self.branches.extend(branch, hash, Run { start, rows: rows.into_boxed_slice() });
        self.nodes.insert(hash, node);
    }

    pub(super) fn contains(&self, hash: &Hash) -> bool {
        self.nodes.contains_key(hash) || self.folded.lasts.contains(hash)
    }

    /// The newest changes, sorted.
    pub(super) const fn heads(&self) -> &BTreeSet<Hash> {
        &self.heads
    }

    /// Whether the document has content: some newest change is not a deletion.
    ///
    /// A change that is covered by a deletion was seen by whoever deleted. So a document is gone exactly if every change in
    /// it was seen by some deletion, and an edit that had not seen the deletion brings the document back whole.
    pub(super) fn exists(&self) -> bool {
        self.heads.iter().any(|head| !self.nodes[head].deletes)
    }

    pub(super) fn changes(&self) -> usize {
        // The pivot is a node, and one of the folded changes.
        self.nodes.len() + self.folded.changes.saturating_sub(1)
    }

    /// Operations in all changes.
    pub(super) const fn ops(&self) -> usize {
        self.ops
    }

    /// Whether two changes stand side by side somewhere: neither writer had seen the other's. A function of the set of changes.
    pub(super) const fn is_concurrent(&self) -> bool {
        self.concurrent
    }

    /// The changes that are here, but for the folded ones, in an order in which each comes after those that it follows. It is the same
    /// for everybody: that of their stamps, then of their hashes.
    pub(super) fn wrote(&self) -> Vec<Wrote<'_>> {
        let mut wrote: Vec<_> =
            self.nodes.iter().filter(|(_, node)| node.seq > 0).map(|(hash, node)| self.of(*hash, node)).collect();
        wrote.sort_unstable_by_key(|wrote| (wrote.hlc, wrote.hash));
        wrote
    }

    fn of<'a>(&'a self, hash: Hash, node: &'a Node) -> Wrote<'a> {
        let run = self.branches.runs(node.branch).get((node.seq as usize).wrapping_sub(1));
        Wrote {
            hash,
            branch: node.branch,
            seq: node.seq,
            name: self.branches.name(node.branch),
            hlc: node.hlc,
            clock: &node.clock,
            deletes: node.deletes,
            run,
        }
    }

    /// Which change made an operation, by the name that Automerge has for it.
    pub(super) fn made(&self, id: &ObjId) -> Made<'_> {
        let ObjId::Id(counter, actor, _) = id else { return Made::Folded };
        let last = self.heads.iter().filter_map(|head| Some(self.nodes.get(head)?.max_op)).max().unwrap_or_default();
        if *counter > last {
            return Made::Now;
        }
        let found = || {
            let counter = u32::try_from(*counter).ok()?;
            let branch = self.branches.known(Name::read(actor.to_bytes())?)?;
            let hash = self.branches.hash_at(branch, counter)?;
            Some(Made::By(counter, self.of(hash, self.nodes.get(&hash)?)))
        };
        found().unwrap_or(Made::Folded)
    }

    /// The operation that Automerge calls so, unless it was folded.
    pub(super) fn op_id(&self, id: &ObjId) -> Option<OpId> {
        let ObjId::Id(counter, actor, _) = id else { return None };
        let branch = self.branches.known(Name::read(actor.to_bytes())?)?;
        Some(OpId { counter: u32::try_from(*counter).ok()?, branch })
    }

    /// As [`op_id`](Self::op_id), also of what was folded: which one it was before.
    pub(super) fn old_id(&self, id: &ObjId) -> Option<OpId> {
        let ObjId::Id(counter, ..) = id else { return None };
        let folded = || {
            let at = u32::try_from(*counter).ok()?.checked_sub(self.folded.start)?;
            self.folded.ids.get(at as usize).copied()
        };
        self.op_id(id).or_else(folded)
    }

    /// What is remembered of an operation.
    pub(super) fn row(&self, id: OpId) -> Option<Row> {
        self.folded.rows.get(&id).copied().or_else(|| self.branches.row(id))
    }

    /// Whether a change's writer had seen an operation.
    pub(super) fn is_seen_by(&self, op: OpId, by: &Wrote<'_>) -> bool {
        let seen = self.branches.runs(op.branch).get(..count(by.clock, op.branch) as usize).and_then(<[Run]>::last);
        self.folded.rows.contains_key(&op) || seen.is_some_and(|run| op.counter < run.end())
    }

    /// The operations of the folded past, what holds others first.
    pub(super) fn folded(&self) -> impl Iterator<Item = (OpId, &Row)> {
        self.folded.rows.iter().map(|(id, row)| (*id, row))
    }

    pub(super) const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How many changes of each peer a change's writer had seen, its own included.
    pub(super) fn vector_clock(&self, change: &Wrote<'_>) -> VectorClock {
        let mut counts: BTreeMap<NodeId, u64> = BTreeMap::new();
        for at in 0..self.branches.next() {
            // Whoever is not folded had seen all that was.
            let seen = self.branches.folded(at) + count(change.clock, at);
            if let Some(actor) = self.branches.named(at).and_then(|name| Actor::from_bytes(&name.actor)) {
                *counts.entry(actor.node).or_default() += u64::from(seen);
            }
        }
        counts.into_iter().collect()
    }

    /// The stamp of a change.
    pub(super) fn stamp_of(&self, hash: &Hash) -> Option<Hlc> {
        Some(self.nodes.get(hash)?.hlc)
    }

    /// The keys of maps, each at its number.
    pub(super) fn keys(&self) -> Vec<&str> {
        let mut keys = vec![""; self.keys.len()];
        for (key, number) in &self.keys {
            keys[*number as usize] = key;
        }
        keys
    }

    /// The number of a key, if some map has it.
    pub(super) fn key_number(&self, key: &str) -> Option<u32> {
        self.keys.get(key).copied()
    }

    fn admit(&mut self, change: &Change<'_>) -> Result<Verdict, Refusal> {
        let stem = self.branches.stem(change.names[0].actor);
        let mut clock = self.clock(&change.deps);
        let (last, before) = self.branches.tip(stem, &clock).ok_or(Refusal::OwnPast)?;
        if change.seq != u64::from(before) + 1 {
            return Err(Refusal::Sequence { found: change.seq, expected: u64::from(before) + 1 });
        }
        let past = change.deps.iter().filter_map(|dep| Some(self.nodes.get(dep)?.max_op)).max().unwrap_or(0);
        if change.start_op != past + 1 {
            return Err(Refusal::StartOp { found: change.start_op, expected: past + 1 });
        }
        let entries: Vec<u32> = change.names.iter().map(|name| self.branches.entry(*name, &clock)).collect();
        let len = count(&clock, last);
        let place = self.branches.place(&change.hash, last, len);
        let (branch, seq) = match place {
            Ok(Place::On(at)) => (at, len + 1),
            Ok(Place::Behind(_)) | Err(_) => (self.branches.next(), 1),
        };
        clock.resize(clock.len().max(branch as usize + 1), 0);
        clock[branch as usize] = seq;
        let start = u32::try_from(change.start_op).expect("bounded where the change was read");
        let own = Own { branch, seq, start };
        let (rows, counted) = Checker::new(self, &change.names, entries, &clock, own).ops(change)?;
        let place = match place {
            Ok(place) => place,
            Err(parting) => return Ok(Verdict::Parts(parting)),
        };
        let (max_op, deletes) = (past + rows.len() as u64, change.deletes);
        let before = change.deps.iter().filter_map(|dep| Some(self.nodes.get(dep)?.hlc)).max();
        let hlc = stamp(change.millis, before);
        let node = Node { branch, seq, max_op, hlc, clock: clock.into_boxed_slice(), deletes };
        Ok(Verdict::Admit(Admitted { hash: change.hash, deps: change.deps.clone(), place, start, rows, counted, node }))
    }

    /// Whether this writer's changes part somewhere.
    pub(super) fn is_parted(&self, actor: &[u8; 24]) -> bool {
        self.branches.is_parted(actor)
    }

    /// For each branch how many of its changes these heads come to.
    pub(super) fn clock_of(&self, heads: &[automerge::ChangeHash]) -> Vec<u32> {
        self.clock(&heads.iter().map(|head| head.0).collect::<Vec<_>>())
    }

    /// Where this writer would stand if it wrote at a version.
    pub(super) fn stand(&mut self, actor: &[u8; 24], heads: &[Hash]) -> Stand {
        if let Some(head) = heads.iter().find(|head| !self.nodes.contains_key(*head)) {
            return Stand::Unseen(*head);
        }
        if heads.len() == self.heads.len() && heads.iter().all(|head| self.heads.contains(head)) {
            return Stand::Newest;
        }
        let stem = self.branches.stem(*actor);
        let here: Vec<Hash> = self.heads.iter().copied().collect();
        let (then, now) = (self.clock(heads), self.clock(&here));
        let before = |clock: &[u32]| self.branches.tip(stem, clock).map(|(_, before)| before);
        match before(&then) == before(&now) && before(&now).is_some() {
            // Where names differ from Automerge's, only the newest version is written on.
            true if !self.branches.is_renamed(&now) => {
                Stand::Before { exists: heads.iter().any(|head| !self.nodes[head].deletes) }
            }
            _ => Stand::Outdated,
        }
    }

    /// The number of the first operation that follows this change.
    pub(super) fn next_op(&self, hash: &Hash) -> u64 {
        self.nodes.get(hash).map_or(1, |node| node.max_op + 1)
    }

    /// How a change is named to Automerge. `None` if it is there as it is here, since no branch is in its past.
    pub(super) fn renaming(&self, hash: &Hash) -> Option<Renaming<'_>> {
        let node = self.nodes.get(hash).filter(|node| self.branches.is_renamed(&node.clock))?;
        Some(Renaming { branches: &self.branches, node })
    }

    /// The rows of a base, as those of the operations that it stands for.
    fn fill(&mut self, base: &Base, branches: Vec<u32>) {
        let Ok(change) = Change::read(&base.change) else { return };
        let start = u32::try_from(change.start_op).unwrap_or_default();
        self.folded.start = start;
        let id = |counter: u32| {
            let old = base.olds.get((counter.checked_sub(start)?) as usize)?;
            Some(OpId { counter: old.counter, branch: *branches.get(old.writer as usize)? })
        };
        for (op, counter) in change.ops.iter().zip(start..) {
            let Some(own) = id(counter) else { return };
            let object = op.object.map_or(Some(NONE), |object| id(object.counter)).unwrap_or(NONE);
            let holder = self.folded.rows.get(&object).map_or(Kind::Map(1), |row| row.kind);
            let (Kind::Map(depth) | Kind::List(depth)) = holder else { return };
            let slot = match op.key {
                Key::Map(key) => Slot::Key(self.key(key)),
                Key::Head | Key::Element(_) => Slot::Element(own),
            };
            let kind = match op.action {
                Action::MakeMap => Kind::Map(depth.saturating_add(1)),
                Action::MakeList => Kind::List(depth.saturating_add(1)),
                // None is folded.
                Action::MakeText => Kind::Text,
                Action::Put | Action::PutChar => Kind::Value,
                Action::PutCounter(_) => Kind::Counter,
                // Neither stands anywhere.
                Action::Increment(_) => Kind::Increment,
                Action::Delete => Kind::Nothing,
            };
            self.counters.fold(kind);
            self.folded.ids.push(own);
            self.folded.rows.insert(own, Row { object, slot, kind });
        }
    }

    /// The last counter of a change, and whether it deletes.
    pub(super) fn end_of(&self, hash: &Hash) -> Option<(u32, bool)> {
        let node = self.nodes.get(hash)?;
        Some((u32::try_from(node.max_op).ok()?, node.deletes))
    }

    /// The last of these changes that all others either come before or follow, and behind which at least `keep` stand. They
    /// are all that is here, in causal order.
    pub(super) fn pivot(&self, changes: &[Hash], keep: usize) -> Option<usize> {
        let nodes: Vec<&Node> = changes.iter().map(|hash| self.nodes.get(hash)).collect::<Option<_>>()?;
        let past = |node: &Node| node.clock.iter().map(|count| *count as usize).sum::<usize>();
        let follows = |node: &Node, at: &Node| count(&node.clock, at.branch) >= at.seq;
        let last = nodes.len().checked_sub(keep.max(1))?;
        let candidates = (0..=last.min(nodes.len() - 1)).rev().take(PIVOTS_MAX);
        candidates
            .filter(|at| past(nodes[*at]) == at + 1)
            .find(|at| nodes[at + 1..].iter().all(|node| follows(node, nodes[*at])))
    }

    /// How many elements were ever inserted into a list.
    pub(super) fn elements_of(&self, list: Old, writers: &[(Writer, u32, Hash)]) -> usize {
        let Some(list) = self.folded_id(list, writers) else { return usize::MAX };
        let folded = self.folded.rows.iter().map(|(id, row)| (*id, row));
        folded
            .chain(self.branches.rows())
            .filter(|(id, row)| row.object == list && row.slot == Slot::Element(*id))
            .count()
    }

    /// Whether an operation inserted an element, rather than give it another value.
    pub(super) fn is_element(&self, op: Old, writers: &[(Writer, u32, Hash)]) -> bool {
        let Some(id) = self.folded_id(op, writers) else { return false };
        self.row(id).is_some_and(|row| row.slot == Slot::Element(id))
    }

    fn folded_id(&self, old: Old, writers: &[(Writer, u32, Hash)]) -> Option<OpId> {
        let (writer, ..) = writers.get(old.writer as usize)?;
        Some(OpId { counter: old.counter, branch: self.branches.entry(Name::plain(*writer), &[]) })
    }

    fn clock(&self, deps: &[Hash]) -> Vec<u32> {
        let mut clock = Vec::new();
        for node in deps.iter().filter_map(|dep| self.nodes.get(dep)) {
            debug_assert_eq!(node.clock[node.branch as usize], node.seq);
            clock.resize(clock.len().max(node.clock.len()), 0);
            for (ours, theirs) in clock.iter_mut().zip(&node.clock) {
                *ours = theirs.max(ours).to_owned();
            }
        }
        clock
    }

    fn key(&mut self, key: &str) -> u32 {
        if let Some(number) = self.keys.get(key) {
            return *number;
        }
        let number = u32::try_from(self.keys.len()).expect("each key took a byte of a change");
        self.keys.insert(key.into(), number);
        number
    }
}

/// The names that a change and what it refers to have in Automerge.
pub(super) struct Renaming<'a> {
    branches: &'a Branches,
    node: &'a Node,
}

impl Renaming<'_> {
    /// Of its writer.
    pub(super) fn writer(&self) -> Name {
        self.branches.name(self.node.branch)
    }

    /// Its number among its writer's changes.
    pub(super) fn seq(&self) -> u64 {
        self.node.seq.into()
    }

    /// Of whoever made the operation that the change names so.
    pub(super) fn of(&self, counter: u64, name: Name) -> Option<Name> {
        let counter = u32::try_from(counter).ok()?;
        let Node { branch, seq, .. } = *self.node;
        let own = name == Name::plain(self.writer().actor)
            && self.branches.runs(branch).get(seq as usize - 1).is_some_and(|run| counter >= run.start);
        let at = if own {
            branch
        } else {
            self.branches.find(self.branches.entry(name, &self.node.clock), counter, &self.node.clock)
        };
        self.branches.named(at)
    }
}

//! Writers of a document, and where the changes of one part.
//!
//! A writer's changes in a document follow each other, so a number of its names one change, and a counter one operation.
//! A store that was put back to an earlier image of itself breaks that: its writer goes on from the image, and the same
//! numbers name other changes than those that the mesh holds. Automerge takes one of two such changes and refuses the other
//! for ever, with all that follows it. But both are edits that somebody was promised, so both are taken here: from where
//! they part, each *branch* is a writer of its own.
//!
//! **Names.** To Automerge a branch is an actor: its writer's 24 bytes, then the 32 bytes of the hash of its first change.
//! What comes before the first parting keeps the plain name. Changes themselves are never rewritten, neither on disk nor on
//! the wire: they name each other by the hashes of the bytes that were logged, and operations by the names that hold *in
//! their own past*. Whoever had heard of one branch only used the plain name for it; whoever knew that there are several
//! used the branch's. So a name in a change means the same to everybody, whatever else they hold, and [`Branches::find`]
//! follows it.
//!
//! **Invariants.** Where a change stands among the branches, and what its names mean, are functions of its bytes and its past.
//! How operations are named to Automerge is a function of the set of changes, so two nodes with the same changes show
//! the same content. Of the changes that follow the same one of their writer, either one is here or each begins a branch.

use std::collections::{BTreeMap, BTreeSet};

use super::super::change::{Hash, Name};
use super::table::{OpId, Row, Run};

/// No branch: nothing is found there.
const NOBODY: u32 = u32::MAX;

/// Changes of one writer that follow each other.
#[derive(Debug)]
struct Branch {
    name: Name,
    parent: Option<u32>,
    children: Vec<u32>,
    /// How many changes of the writer come before it.
    before: u32,
    runs: Vec<Run>,
    /// The changes of the runs.
    hashes: Vec<Hash>,
}

/// All branches of all writers, each with an index.
#[derive(Debug, Default)]
pub(super) struct Branches {
    list: Vec<Branch>,
    /// For each writer its branch before the first parting; it may be empty.
    stems: BTreeMap<[u8; 24], u32>,
    /// The others, by their first change.
    begun: BTreeMap<Hash, u32>,
    /// Changes that are known to begin a branch, here or not yet.
    begins: BTreeSet<Hash>,
}

/// Where a change stands among the changes of its writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It goes on with this branch.
    On(u32),
    /// It begins a branch behind this one.
    Behind(u32),
}

/// A change that stands beside another one of its writer: from here on each is a branch of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parting {
    pub(super) fork: Fork,
    /// The change, and the one that was alone until now, if there is just one.
    pub(super) branches: Vec<Hash>,
}

/// What the changes that stand beside each other have in common: their writer, and which change of it they follow.
pub(super) type Fork = ([u8; 24], Option<Hash>);

impl Branches {
    /// No changes yet; those that will be found to begin a branch.
    pub(super) fn new(begins: BTreeSet<Hash>) -> Self {
        Self { begins, ..Self::default() }
    }

    /// The index of this writer's stem, which is made if it is new.
    pub(super) fn stem(&mut self, actor: [u8; 24]) -> u32 {
        if let Some(at) = self.stems.get(&actor) {
            return *at;
        }
        let at = self.push(Name::plain(actor), None, 0);
        self.stems.insert(actor, at);
        at
    }

    /// The stem of a writer of whose changes so many are not here.
    pub(super) fn stem_behind(&mut self, actor: [u8; 24], before: u32) -> u32 {
        let at = self.push(Name::plain(actor), None, before);
        self.stems.insert(actor, at);
        at
    }

    /// All operations that are here.
    pub(super) fn rows(&self) -> impl Iterator<Item = (OpId, &Row)> {
        (0..).zip(&self.list).flat_map(|(at, branch)| branch.runs.iter().flat_map(move |run| run.rows(at)))
    }

    /// One of them.
    pub(super) fn row(&self, id: OpId) -> Option<Row> {
        let runs = self.runs(id.branch());
        let run = runs.get(runs.partition_point(|run| run.end() <= id.counter()))?;
        run.row(id.counter()).copied()
    }

    fn push(&mut self, name: Name, parent: Option<u32>, before: u32) -> u32 {
        let at = self.next();
        self.list.push(Branch { name, parent, children: Vec::new(), before, runs: Vec::new(), hashes: Vec::new() });
        at
    }

    fn get(&self, at: u32) -> &Branch {
        &self.list[at as usize]
    }

    /// How a branch is named to Automerge.
    pub(super) fn name(&self, at: u32) -> Name {
        self.get(at).name
    }

    /// As [`name`](Self::name), if there is such a branch.
    pub(super) fn named(&self, at: u32) -> Option<Name> {
        self.list.get(at as usize).map(|branch| branch.name)
    }

    /// How many changes of a writer were folded, if this is its stem.
    pub(super) fn folded(&self, at: u32) -> u32 {
        self.list.get(at as usize).filter(|branch| branch.parent.is_none()).map_or(0, |branch| branch.before)
    }

    /// The branch that Automerge calls so.
    pub(super) fn known(&self, name: Name) -> Option<u32> {
        match name.branch {
            None => self.stems.get(&name.actor).copied(),
            Some(first) => self.begun.get(&first).copied(),
        }
    }

    /// The change of a branch that made the operation with this counter.
    pub(super) fn hash_at(&self, at: u32, counter: u32) -> Option<Hash> {
        let runs = self.runs(at);
        let found = runs.partition_point(|run| run.end() <= counter);
        runs.get(found)?.rows(at).next().filter(|(first, _)| first.counter() <= counter)?;
        self.get(at).hashes.get(found).copied()
    }

    /// The index that the next branch gets.
    pub(super) fn next(&self) -> u32 {
        u32::try_from(self.list.len()).expect("each branch took more than one byte of a change")
    }

    /// The changes of a branch, in order.
    pub(super) fn runs(&self, at: u32) -> &[Run] {
        self.list.get(at as usize).map_or(&[], |branch| &branch.runs)
    }

    /// Whether this writer's changes part somewhere.
    pub(super) fn is_parted(&self, actor: &[u8; 24]) -> bool {
        self.stems.get(actor).is_some_and(|stem| !self.get(*stem).children.is_empty())
    }

    /// Whether a past with this clock has branches in it: then its changes are not to Automerge what they are on disk.
    pub(super) fn is_renamed(&self, clock: &[u32]) -> bool {
        self.begun.values().any(|at| count(clock, *at) > 0)
    }

    /// Where the writer's own changes in a past end, and how many they are. `None` if they part in that very past.
    pub(super) fn tip(&self, stem: u32, clock: &[u32]) -> Option<(u32, u32)> {
        let mut at = stem;
        loop {
            match self.seen(at, clock)[..] {
                [] => return Some((at, self.get(at).before + count(clock, at))),
                [next] => at = next,
                _ => return None,
            }
        }
    }

    /// The branches behind this one that begin in a past: whether there is none, one, or more.
    fn seen(&self, at: u32, clock: &[u32]) -> Vec<u32> {
        self.get(at).children.iter().copied().filter(|child| count(clock, *child) > 0).take(2).collect()
    }

    /// Where a change stands that follows the first `len` of this branch, or beside whom.
    pub(super) fn place(&self, hash: &Hash, at: u32, len: u32) -> Result<Place, Parting> {
        let branch = self.get(at);
        let other = branch.hashes.get(len as usize);
        if other.is_none() && self.begins.contains(hash) {
            return Ok(Place::Behind(at));
        }
        if other.is_none() && branch.children.is_empty() {
            return Ok(Place::On(at));
        }
        let after = match len.checked_sub(1) {
            Some(last) => Some(branch.hashes[last as usize]),
            None => branch.parent.and_then(|parent| self.get(parent).hashes.last().copied()),
        };
        let branches = other.into_iter().chain([hash]).copied().collect();
        Err(Parting { fork: (branch.name.actor, after), branches })
    }

    /// The index of the branch at a place, which is made if it begins there.
    pub(super) fn settle(&mut self, place: Place, hash: Hash) -> u32 {
        match place {
            Place::On(at) => at,
            Place::Behind(parent) => {
                let Branch { name, before, hashes, .. } = self.get(parent);
                let before = before + u32::try_from(hashes.len()).expect("each change took more than one byte");
                let at = self.push(Name { branch: Some(hash), ..*name }, Some(parent), before);
                self.list[parent as usize].children.push(at);
                self.begun.insert(hash, at);
                at
            }
        }
    }

    /// Takes the next change of a branch.
    pub(super) fn extend(&mut self, at: u32, hash: Hash, run: Run) {
        let branch = &mut self.list[at as usize];
        branch.runs.push(run);
        branch.hashes.push(hash);
    }

    /// Where the search for an operation of this name begins: a name of a branch holds only where others begin beside it.
    pub(super) fn entry(&self, name: Name, clock: &[u32]) -> u32 {
        let Some(first) = name.branch else { return self.stems.get(&name.actor).copied().unwrap_or(NOBODY) };
        let found = self.begun.get(&first).copied().filter(|at| self.get(*at).name == name && count(clock, *at) > 0);
        let beside = |at: &u32| self.get(*at).parent.is_some_and(|parent| self.seen(parent, clock).len() > 1);
        found.filter(beside).unwrap_or(NOBODY)
    }

    /// The branch in which the operation with this counter stands that is named from this entry on, in a past.
    pub(super) fn find(&self, entry: u32, counter: u32, clock: &[u32]) -> u32 {
        let mut at = entry;
        while let Some(branch) = self.list.get(at as usize) {
            // Most writers have one branch, and whoever looks it up there checks that it has the operation.
            if branch.children.is_empty() || branch.runs.last().is_some_and(|run| counter < run.end()) {
                return at;
            }
            let [next] = self.seen(at, clock)[..] else { return at };
            at = next;
        }
        NOBODY
    }
}

/// How many changes of this branch a past with this clock has.
pub(super) fn count(clock: &[u32], at: u32) -> u32 {
    clock.get(at as usize).copied().unwrap_or_default()
}

//! A document while it is open: Automerge, and the table over the same changes.
//!
//! Where no writer's changes part, Automerge holds the very bytes that were logged. In the past of a branch it holds them
//! under other names (see `branches`), and so with other hashes; here both are known of each such change.
//!
//! What may be merged is the table's to say, at once. Automerge is given what was admitted when somebody reads or edits: changes
//! that it takes together cost a third of what they cost one by one, and who only passes them on needs none of it.

use std::collections::{BTreeMap, BTreeSet};

use automerge::legacy::{ElementId, Key, ObjectId, OpId};
use automerge::{ActorId, Automerge, ChangeHash, ExpandedChange, TextEncoding};
use bytes::Bytes;

use super::super::change::{Change, Hash, Name};
use super::base::Base;
use super::table::{Renaming, Table, Verdict};

/// Changes given to Automerge in one call at most: it takes about a kilobyte of memory for each while it works.
const APPLY_MAX: usize = 1_000;

/// A change of the document.
#[derive(Clone, Debug)]
pub(super) struct Accepted {
    pub(super) hash: Hash,
    pub(super) bytes: Bytes,
}

#[derive(Debug)]
pub(super) struct Open {
    pub(super) merged: Automerge,
    pub(super) table: Table,
    /// How many of the document's changes Automerge has.
    given: usize,
    /// Of the changes that are renamed: their hash in Automerge.
    there: BTreeMap<Hash, Hash>,
    /// And back.
    here: BTreeMap<Hash, Hash>,
}

impl Open {
    /// From the document's changes, of which these begin a branch, behind what others were folded to; all of it.
    pub(super) fn build(base: Option<&Base>, accepted: &[Accepted], begins: BTreeSet<Hash>) -> Result<Self, String> {
        let mut open = Self::begin(base, accepted, begins)?;
        open.catch_up(accepted, base)?;
        Ok(open)
    }

    /// The same, but Automerge is not given the changes yet.
    pub(super) fn begin(base: Option<&Base>, accepted: &[Accepted], begins: BTreeSet<Hash>) -> Result<Self, String> {
        // The actor is set before the first edit; until then nothing is written in its name.
        let merged = Automerge::new_with_encoding(TextEncoding::UnicodeCodePoint)
            .with_actor(ActorId::from([0_u8; 24].as_slice()));
        let table = base.map_or_else(|| Table::new(begins), Table::behind);
        let mut open = Self { merged, table, given: 0, there: BTreeMap::new(), here: BTreeMap::new() };
        if let Some(base) = base {
            let change = automerge::Change::try_from(&base.change[..]).map_err(|error| error.to_string())?;
            open.merged.apply_changes([change]).map_err(|error| error.to_string())?;
            open.note(base.pivot, base.hash);
        }
        for accepted in accepted {
            let change = Change::read(&accepted.bytes).map_err(|refusal| refusal.to_string())?;
            match open.table.check(&change, base) {
                Verdict::Admit(admitted) => open.table.insert(admitted),
                verdict => return Err(format!("a change that was admitted before is not now: {verdict:?}")),
            }
        }
        Ok(open)
    }

    /// Gives Automerge those of the document's changes that it does not have. All are in the table, in causal order.
    pub(super) fn catch_up(&mut self, accepted: &[Accepted], base: Option<&Base>) -> Result<(), String> {
        for chunk in accepted[self.given..].chunks(APPLY_MAX) {
            let changes = chunk.iter().map(|accepted| self.renamed(accepted, base)).collect::<Result<Vec<_>, _>>()?;
            self.merged.apply_changes(changes).map_err(|error| error.to_string())?;
        }
        self.given = accepted.len();
        self.agrees()
    }

    /// The next of the document's changes was made in Automerge.
    pub(super) const fn made(&mut self) {
        self.given += 1;
    }

    /// A change as Automerge is to hold it.
    fn renamed(&mut self, accepted: &Accepted, base: Option<&Base>) -> Result<automerge::Change, String> {
        let change = automerge::Change::try_from(&accepted.bytes[..]).map_err(|error| error.to_string())?;
        let unknown = "an operation is named that is not there";
        if let Some(base) = base {
            let mut expanded = change.decode();
            base.rename(&mut expanded).ok_or(unknown)?;
            // What else it follows was folded too, and the pivot follows that.
            expanded.deps.retain(|dep| dep.0 == base.pivot || !base.writers.iter().any(|(.., last)| *last == dep.0));
            set_deps(&mut expanded, &self.there);
            let change = automerge::Change::from(expanded);
            self.note(accepted.hash, change.hash().0);
            return Ok(change);
        }
        let Some(renaming) = self.table.renaming(&accepted.hash) else { return Ok(change) };
        let mut expanded = change.decode();
        rename(&mut expanded, &renaming).ok_or(unknown)?;
        set_deps(&mut expanded, &self.there);
        let change = automerge::Change::from(expanded);
        self.note(accepted.hash, change.hash().0);
        Ok(change)
    }

    fn note(&mut self, here: Hash, there: Hash) {
        self.there.insert(here, there);
        self.here.insert(there, here);
    }

    /// Whether Automerge has the heads that the table has.
    fn agrees(&self) -> Result<(), String> {
        let theirs = self.merged.get_heads();
        let ours: BTreeSet<Hash> =
            self.table.heads().iter().map(|head| self.there.get(head).copied().unwrap_or(*head)).collect();
        let same = theirs.len() == ours.len() && theirs.iter().all(|head| ours.contains(&head.0));
        if same { Ok(()) } else { Err("it did not take every change".to_owned()) }
    }

    /// The change that was just made, as it is logged. It follows all that is here, so its operations are named as here.
    pub(super) fn last_change(&mut self, base: Option<&Base>) -> Result<Bytes, String> {
        let change = self.merged.get_last_local_change().ok_or("the change that was made is not there")?;
        if self.here.is_empty() {
            return Ok(Bytes::copy_from_slice(change.raw_bytes()));
        }
        let there = change.hash().0;
        let mut expanded = change.decode();
        if let Some(base) = base {
            base.rename_back(&mut expanded).ok_or("an operation is named that is not there")?;
        }
        set_deps(&mut expanded, &self.here);
        let logged = automerge::Change::from(expanded);
        if logged.hash().0 != there {
            self.note(logged.hash().0, there);
        }
        Ok(Bytes::copy_from_slice(logged.raw_bytes()))
    }
}

/// A change that was made with newer ones at hand than it follows: its operations are numbered on from those that it
/// follows, as they would be where the newer ones are not known.
pub(super) fn renumbered(mut change: ExpandedChange, next_op: u64) -> Bytes {
    let (actor, start) = (change.actor_id.clone(), change.start_op.get());
    let id = |OpId(counter, of): &OpId| match *of == actor && *counter >= start {
        true => OpId(*counter - start + next_op, of.clone()),
        false => OpId(*counter, of.clone()),
    };
    for op in &mut change.operations {
        if let ObjectId::Id(object) = &mut op.obj {
            *object = id(object);
        }
        if let Key::Seq(ElementId::Id(element)) = &mut op.key {
            *element = id(element);
        }
        op.pred = op.pred.iter().map(id).collect::<Vec<_>>().into();
    }
    change.start_op = next_op.try_into().unwrap_or(std::num::NonZeroU64::MIN);
    Bytes::copy_from_slice(automerge::Change::from(change).raw_bytes())
}

fn set_deps(change: &mut ExpandedChange, names: &BTreeMap<Hash, Hash>) {
    let name = |dep: &ChangeHash| names.get(&dep.0).copied().map_or(*dep, ChangeHash);
    change.deps = change.deps.iter().map(name).collect();
    change.deps.sort_unstable();
}

/// Names a change, and what its operations refer to, as Automerge does.
fn rename(change: &mut ExpandedChange, renaming: &Renaming<'_>) -> Option<()> {
    let id = |OpId(counter, actor): &OpId| {
        let name = renaming.of(*counter, Name::read(actor.to_bytes())?)?;
        Some(OpId(*counter, ActorId::from(name.to_bytes())))
    };
    for op in &mut change.operations {
        if let ObjectId::Id(object) = &mut op.obj {
            *object = id(object)?;
        }
        if let Key::Seq(ElementId::Id(element)) = &mut op.key {
            *element = id(element)?;
        }
        op.pred = op.pred.iter().map(id).collect::<Option<Vec<_>>>()?.into();
    }
    change.actor_id = ActorId::from(renaming.writer().to_bytes());
    change.seq = renaming.seq();
    Some(())
}

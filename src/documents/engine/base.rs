//! The past of a document folded into its state: one change that writes what shows, in place of all that led to it.
//!
//! A document with a base is held as **base and tail**. The *pivot* is a change that every other one either comes before or
//! follows. The base writes what showed right after it; the tail is what follows it, as it was logged, but for names: to
//! Automerge an operation of the tail refers to operations of the base where it referred to older ones. Outside nothing
//! changes: heads, dependencies and what is logged keep their names. So each peer folds when it likes, or never, and no
//! agreement is needed.
//!
//! **Why the same shows.** Whoever wrote after the pivot had seen all that the base stands for, so a tail operation is concurrent
//! with none of it: it names the one value that showed at its place, and that is in the base. Its counter is above the
//! pivot's, and the counters of the base are not (the base ends with the pivot's), so what is compared by counters, values at
//! one place and insertions behind one element, comes out alike. What the base does not have cannot be named: then the
//! whole document is needed again, which its log holds. That is so for
//! - a change that does not follow the pivot, and for one that refers to what did not show there (no correct writer does);
//! - two changes of a writer that stand beside each other, because its store was rolled back.
//!
//! **What is not folded**: a place with several values or twin maps, since who won and who lost would have to be kept; a list
//! that lost elements or had some replaced, since insertions may name them; a document in which a writer's changes part.
//!
//! **Invariant:** the base is a function of the pivot: whoever folds there makes the same bytes.

use std::collections::{BTreeMap, BTreeSet};

use automerge::legacy::{ElementId, Key, ObjectId, OpId};
use automerge::transaction::{CommitOptions, Transactable};
use automerge::{ActorId, Automerge, ExpandedChange, ObjId, ObjType, ROOT, ReadDoc, ScalarValue, TextEncoding, Value};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::super::change::{CREATE, Change, Hash, Name};
use super::table::Table;
use crate::types::Hlc;

/// Whose changes an operation is one of.
pub(super) type Writer = [u8; 24];

/// An operation as it was before it was folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Old {
    pub(super) counter: u32,
    /// Index into [`Base::writers`].
    pub(super) writer: u32,
}

/// See the file's essay.
#[derive(Clone, Debug)]
pub(super) struct Base {
    /// As Automerge holds it.
    pub(super) change: Bytes,
    pub(super) hash: Hash,
    pub(super) pivot: Hash,
    pub(super) max_op: u32,
    pub(super) deletes: bool,
    /// The pivot's stamp.
    pub(super) hlc: Hlc,
    /// Whether changes stood side by side among those that it stands for.
    pub(super) concurrent: bool,
    /// How many changes it stands for, the pivot included.
    pub(super) changes: usize,
    /// Who wrote them: how many, and the last one.
    pub(super) writers: Vec<(Writer, u32, Hash)>,
    /// The beginnings of their hashes, sorted: what is not among them was not folded.
    pub(super) past: Vec<u64>,
    /// For each operation of the base which one it was before.
    pub(super) olds: Vec<Old>,
    /// The same by their old names.
    by_old: BTreeMap<Old, u32>,
}

impl Base {
    /// Folds a document as it stands, if it can be: its newest change is the pivot. `known` is what it was folded to before.
    pub(super) fn fold(
        merged: &Automerge,
        table: &Table,
        known: Option<&Self>,
        changes: &[Hash],
        writers: Vec<(Writer, u32, Hash)>,
    ) -> Option<Self> {
        let pivot = *changes.last()?;
        let (max_op, deletes) = table.end_of(&pivot)?;
        let (hlc, concurrent) = (table.stamp_of(&pivot)?, table.is_concurrent());
        let actor = actor(&pivot);
        let mut target = Automerge::new_with_encoding(TextEncoding::UnicodeCodePoint).with_actor(actor);
        let mut tx = target.transaction();
        let mut fold = Fold { merged, table, known, writers: &writers, olds: Vec::new() };
        fold.map(&mut tx, &ROOT, &ROOT)?;
        let olds = fold.olds;
        let wrote = tx.commit_with(CommitOptions::default().with_time(0)).0.is_some();
        if !wrote {
            target.empty_commit(CommitOptions::default().with_time(0).with_message(CREATE));
        }
        let mut expanded = target.get_last_local_change()?.decode();
        // It ends with the counter that the pivot ends with.
        let shift = max_op.checked_sub(u32::try_from(olds.len()).ok()?)?;
        expanded.start_op = expanded.start_op.checked_add(shift.into())?;
        shift_ids(&mut expanded, shift.into());
        let change = automerge::Change::from(expanded);
        // Larger ones are not worth a second kind of reader.
        Change::read(change.raw_bytes()).ok()?;
        let mut past = known.map(|known| known.past.clone()).unwrap_or_default();
        past.extend(changes.iter().map(prefix));
        past.sort_unstable();
        let count = known.map_or(0, |known| known.changes) + changes.len();
        let by_old = (0..).zip(&olds).map(|(at, old)| (*old, at)).collect();
        Some(Self {
            change: Bytes::copy_from_slice(change.raw_bytes()),
            hash: change.hash().0,
            pivot,
            max_op,
            deletes,
            hlc,
            concurrent,
            changes: count,
            writers,
            past,
            olds,
            by_old,
        })
    }

    /// Bytes of memory that it takes, about.
    pub(super) fn weight(&self) -> usize {
        self.change.len() + 8 * self.past.len() + 40 * self.olds.len() + 64 * self.writers.len() + size_of::<Self>()
    }

    /// Whether a change may be among those that were folded.
    pub(super) fn may_have(&self, hash: &Hash) -> bool {
        self.past.binary_search(&prefix(hash)).is_ok()
    }

    /// Whether it stands for a change that is not among these.
    pub(super) fn has_more_than<'a>(&self, changes: impl Iterator<Item = &'a Hash>) -> bool {
        let known: BTreeSet<u64> = changes.map(prefix).collect();
        self.past.iter().any(|folded| !known.contains(folded))
    }

    /// The counter of the first operation.
    fn start(&self) -> u64 {
        u64::from(self.max_op) + 1 - self.olds.len() as u64
    }

    fn count(&self, actor: &ActorId) -> u64 {
        let writer = self.writers.iter().find(|(writer, ..)| writer.as_slice() == actor.to_bytes());
        writer.map_or(0, |(_, count, _)| (*count).into())
    }

    /// Names a change of the tail as Automerge does.
    pub(super) fn rename(&self, change: &mut ExpandedChange) -> Option<()> {
        change.seq = change.seq.checked_sub(self.count(&change.actor_id))?;
        let actor = actor(&self.pivot);
        each_id(change, |OpId(counter, writer)| {
            if *counter > u64::from(self.max_op) {
                return Some(OpId(*counter, writer.clone()));
            }
            let at = self.writers.iter().position(|(known, ..)| known.as_slice() == writer.to_bytes())?;
            let old = Old { counter: u32::try_from(*counter).ok()?, writer: u32::try_from(at).ok()? };
            Some(OpId(self.start() + u64::from(*self.by_old.get(&old)?), actor.clone()))
        })
    }

    /// Names a change that was made here as everybody does.
    pub(super) fn rename_back(&self, change: &mut ExpandedChange) -> Option<()> {
        change.seq += self.count(&change.actor_id);
        let actor = actor(&self.pivot);
        each_id(change, |id| {
            if id.1 != actor {
                return Some(id.clone());
            }
            let Old { counter, writer } = self.old(id.0)?;
            let (writer, ..) = self.writers.get(writer as usize)?;
            Some(OpId(counter.into(), ActorId::from(writer.as_slice())))
        })
    }

    /// Which operation this one of the base was before.
    fn old(&self, counter: u64) -> Option<Old> {
        self.olds.get(usize::try_from(counter.checked_sub(self.start())?).ok()?).copied()
    }
}

/// As whom the base of this pivot is written: nobody else is called so.
fn actor(pivot: &Hash) -> ActorId {
    let mut hash = Sha256::new();
    hash.update(b"oxigdal-ha base");
    hash.update(pivot);
    ActorId::from(&hash.finalize()[..24])
}

fn prefix(hash: &Hash) -> u64 {
    let (first, _) = hash.split_first_chunk().expect("a hash is longer");
    u64::from_be_bytes(*first)
}

/// Renames what the operations of a change refer to.
fn each_id(change: &mut ExpandedChange, name: impl Fn(&OpId) -> Option<OpId>) -> Option<()> {
    for op in &mut change.operations {
        if let ObjectId::Id(object) = &mut op.obj {
            *object = name(object)?;
        }
        if let Key::Seq(ElementId::Id(element)) = &mut op.key {
            *element = name(element)?;
        }
        op.pred = op.pred.iter().map(&name).collect::<Option<Vec<_>>>()?.into();
    }
    Some(())
}

fn shift_ids(change: &mut ExpandedChange, by: u64) {
    let shifted = each_id(change, |OpId(counter, actor)| Some(OpId(counter + by, actor.clone())));
    debug_assert!(shifted.is_some());
}

/// A value as it is folded: a counter begins with what it has come to.
fn scalar(value: &ScalarValue) -> ScalarValue {
    if let ScalarValue::Counter(counter) = value { ScalarValue::counter(counter.into()) } else { value.clone() }
}

/// Writes what shows into another document.
struct Fold<'a> {
    merged: &'a Automerge,
    table: &'a Table,
    known: Option<&'a Base>,
    writers: &'a [(Writer, u32, Hash)],
    olds: Vec<Old>,
}

impl Fold<'_> {
    fn map(&mut self, tx: &mut impl Transactable, from: &ObjId, to: &ObjId) -> Option<()> {
        let mut items: Vec<_> = self
            .merged
            .map_range(from, ..)
            .map(|item| (item.key.to_string(), item.value.clone().into_value(), item.id(), item.conflict))
            .collect();
        items.sort_by(|a, b| a.0.cmp(&b.0));
        for (key, value, id, conflict) in items {
            if conflict {
                return None;
            }
            self.note(&id)?;
            match value {
                Value::Scalar(value) => tx.put(to, key, scalar(&value)).ok()?,
                Value::Object(kind @ ObjType::Map) => {
                    let inner = tx.put_object(to, key, kind).ok()?;
                    self.map(tx, &id, &inner)?;
                }
                Value::Object(kind @ ObjType::List) => {
                    let inner = tx.put_object(to, key, kind).ok()?;
                    self.list(tx, &id, &inner)?;
                }
                Value::Object(ObjType::Table | ObjType::Text) => return None,
            }
        }
        Some(())
    }

    fn list(&mut self, tx: &mut impl Transactable, from: &ObjId, to: &ObjId) -> Option<()> {
        let items: Vec<_> = self
            .merged
            .list_range(from, ..)
            .map(|item| (item.value.clone().into_value(), item.id(), item.conflict))
            .collect();
        // Elements that are gone or have another value than at first could be named by what is inserted later.
        if self.table.elements_of(self.old(from)?, self.writers) != items.len() {
            return None;
        }
        for (at, (value, id, conflict)) in items.into_iter().enumerate() {
            if conflict {
                return None;
            }
            let old = self.note(&id)?;
            if !self.table.is_element(old, self.writers) {
                return None;
            }
            match value {
                Value::Scalar(value) => tx.insert(to, at, scalar(&value)).ok()?,
                Value::Object(kind @ ObjType::Map) => {
                    let inner = tx.insert_object(to, at, kind).ok()?;
                    self.map(tx, &id, &inner)?;
                }
                Value::Object(kind @ ObjType::List) => {
                    let inner = tx.insert_object(to, at, kind).ok()?;
                    self.list(tx, &id, &inner)?;
                }
                Value::Object(ObjType::Table | ObjType::Text) => return None,
            }
        }
        Some(())
    }

    fn note(&mut self, id: &ObjId) -> Option<Old> {
        let old = self.old(id)?;
        self.olds.push(old);
        Some(old)
    }

    /// The name of an operation as it was logged.
    fn old(&self, id: &ObjId) -> Option<Old> {
        let ObjId::Id(counter, writer, _) = id else { return None };
        let name = match self.known.filter(|known| *writer == actor(&known.pivot)) {
            Some(known) => {
                let old = known.old(*counter)?;
                (old.counter, known.writers.get(old.writer as usize)?.0)
            }
            None => (u32::try_from(*counter).ok()?, Name::read(writer.to_bytes())?.actor),
        };
        let at = self.writers.iter().position(|(writer, ..)| *writer == name.1)?;
        Some(Old { counter: name.0, writer: u32::try_from(at).ok()? })
    }
}

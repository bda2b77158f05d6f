//! A map that was made more than once is one map.
//!
//! Two peers that set `properties/edited_by/…` before they hear of each other each make the object on the way, and so do
//! two that put the same document. Automerge shows one of the two objects and hides the other with everything in it; people
//! would see acknowledged edits vanish. Here all map objects that stand at the same place are read as one: of each member
//! the newest value shows (the highest operation id, which is Automerge's own rule within one object). A write goes to the
//! object whose value shows, so that it follows what it replaces: in another one it might repeat a value that is hidden
//! there, and Automerge makes no operation of a repetition. A removal goes to all of them.
//!
//! **Invariant:** what shows is a function of the set of changes alone, so it is the same on every peer.

use std::collections::BTreeMap;

use automerge::transaction::Transactable;
use automerge::{AutomergeError, ObjId, ObjType, ROOT, ReadDoc, ScalarValue, Value};

use crate::probe::planted;

/// One map: the objects that make it up, newest first; never none.
#[derive(Clone, Debug)]
pub(super) struct Twins(Vec<ObjId>);

/// What stands at a place.
#[derive(Clone, Debug)]
pub(super) enum Member {
    Map(Twins),
    List(ObjId),
    Text(ObjId),
    Scalar(ScalarValue),
}

impl Member {
    /// A value that has no rivals: an element of a list.
    pub(super) fn alone(value: &Value<'_>, id: ObjId) -> Self {
        match value {
            Value::Object(ObjType::Map | ObjType::Table) => Self::Map(Twins(vec![id])),
            Value::Object(ObjType::List) => Self::List(id),
            Value::Object(ObjType::Text) => Self::Text(id),
            Value::Scalar(value) => Self::Scalar(value.as_ref().clone()),
        }
    }

    /// Of values that stand at one place at once: the newest, with its twins if it is a map.
    fn of(mut rivals: Vec<(Value<'_>, ObjId)>) -> Option<Self> {
        rivals.sort_unstable_by(|(_, a), (_, b)| b.cmp(a));
        if planted!("documents/oldest-value-shows") {
            rivals.reverse();
        }
        let (newest, id) = rivals.first()?;
        match Self::alone(newest, id.clone()) {
            Self::Map(_) => {
                let maps = rivals.into_iter().filter(|(value, _)| matches!(value, Value::Object(ObjType::Map)));
                Some(Self::Map(Twins(maps.map(|(_, id)| id).collect())))
            }
            newest => Some(newest),
        }
    }
}

impl Twins {
    pub(super) fn root() -> Self {
        Self(vec![ROOT])
    }

    pub(super) fn one(id: ObjId) -> Self {
        Self(vec![id])
    }

    /// The object that a write to this member goes to: the one whose value shows, or the newest.
    pub(super) fn place(&self, doc: &impl ReadDoc, key: &str) -> Result<&ObjId, AutomergeError> {
        let [newest, older @ ..] = self.0.as_slice() else { unreachable!("a map has an object") };
        let mut place = newest;
        // Most maps were made once.
        if !older.is_empty() {
            let mut shown = None;
            for id in &self.0 {
                let value = doc.get_all(id, key)?.into_iter().map(|(_, value)| value).max();
                if value > shown {
                    (place, shown) = (id, value);
                }
            }
        }
        Ok(place)
    }

    /// The member of this name.
    pub(super) fn member(&self, doc: &impl ReadDoc, key: &str) -> Result<Option<Member>, AutomergeError> {
        let mut rivals = Vec::new();
        for id in &self.0 {
            rivals.extend(doc.get_all(id, key)?);
        }
        Ok(Member::of(rivals))
    }

    /// All members, in order of name.
    pub(super) fn members(&self, doc: &impl ReadDoc) -> BTreeMap<String, Member> {
        let mut members = BTreeMap::new();
        for item in self.0.iter().flat_map(|id| doc.map_range(id, ..)) {
            // Most maps were made once and most members have one value.
            let member = if self.0.len() == 1 && !item.conflict {
                Some(Member::alone(&item.value.clone().into_value(), item.id()))
            } else if members.contains_key(item.key.as_ref()) {
                continue;
            } else {
                self.member(doc, &item.key).ok().flatten()
            };
            members.extend(member.map(|member| (item.key.to_string(), member)));
        }
        members
    }

    /// Removes a member from all of the objects.
    pub(super) fn remove(&self, tx: &mut impl Transactable, key: &str) -> Result<(), AutomergeError> {
        for id in &self.0 {
            if tx.get(id, key)?.is_some() {
                tx.delete(id, key)?;
            }
        }
        Ok(())
    }
}

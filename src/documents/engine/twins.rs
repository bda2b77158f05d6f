//! A map that was made more than once is one map.
//!
//! Two peers that set `properties/edited_by/…` before they hear of each other each make the object on the way, and so do
//! two that put the same document. Automerge shows one of the two objects and hides the other with everything in it; people
//! would see acknowledged edits vanish. Here all map objects that stand at the same place are read as one: of each member
//! the newest value shows (the highest operation id, which is Automerge's own rule within one object). A write goes to the
//! object whose value shows, so that it follows what it replaces: in another one it might repeat a value that is hidden
//! there, and Automerge makes no operation of a repetition. A removal goes to all of them.
//!
//! Where a policy asks for another rule, a [`Chooser`] says which value shows.
//!
//! **Invariant:** what shows is a function of the set of changes and of the policies alone, so it is the same on every peer.

use std::collections::BTreeMap;

use automerge::transaction::Transactable;
use automerge::{AutomergeError, ObjId, ObjType, ROOT, ReadDoc, ScalarValue, Value};

use super::choose::{Chooser, Chosen};
use crate::probe::planted;

/// Who chooses what shows; nobody where there is no policy.
pub(super) type Lens<'l> = Option<&'l Chooser<'l>>;

/// One map: the objects that make it up, newest first; never none.
#[derive(Clone, Debug)]
pub(super) struct Twins<'l> {
    objects: Vec<ObjId>,
    lens: Lens<'l>,
}

/// What stands at a place.
#[derive(Clone, Debug)]
pub(super) enum Member<'l> {
    Map(Twins<'l>),
    List(ObjId, Lens<'l>),
    Text(ObjId),
    /// A counter, and its number.
    Counter(i64),
    Scalar(ScalarValue),
    /// A value that a function made of those that stand.
    Made(serde_json::Value),
}

/// One of the values that stand at a place.
#[derive(Clone, Debug)]
pub(super) struct Rival<'d> {
    pub(super) value: Value<'d>,
    pub(super) id: ObjId,
    /// In which of the objects, by its index.
    object: usize,
}

impl<'l> Member<'l> {
    /// A value that has no rivals.
    pub(super) fn alone(value: &Value<'_>, id: ObjId, lens: Lens<'l>) -> Self {
        match value {
            Value::Object(ObjType::Map | ObjType::Table) => Self::Map(Twins { objects: vec![id], lens }),
            Value::Object(ObjType::List) => Self::List(id, lens),
            Value::Object(ObjType::Text) => Self::Text(id),
            Value::Scalar(value) => match value.as_ref() {
                ScalarValue::Counter(counter) => Self::Counter(counter.into()),
                value => Self::Scalar(value.clone()),
            },
        }
    }

    /// Of values that stand at one place at once the one of this index, with its twins if it is a map.
    fn of(rivals: Vec<Rival<'_>>, shown: usize, lens: Lens<'l>) -> Option<Self> {
        let Rival { value, id, .. } = rivals.get(shown)?;
        match Self::alone(value, id.clone(), lens) {
            Self::Map(_) => {
                let maps = rivals.into_iter().filter(|rival| matches!(rival.value, Value::Object(ObjType::Map)));
                Some(Self::Map(Twins { objects: maps.map(|rival| rival.id).collect(), lens }))
            }
            shown => Some(shown),
        }
    }

    /// The element of a list.
    pub(super) fn element(
        doc: &impl ReadDoc,
        list: &ObjId,
        index: usize,
        lens: Lens<'l>,
    ) -> Result<Option<Self>, AutomergeError> {
        if lens.is_none() {
            return Ok(doc.get(list, index)?.map(|(value, id)| Self::alone(&value, id, None)));
        }
        let mut rivals = Vec::new();
        gather(doc, list, index, 0, &mut rivals)?;
        chosen(doc, list, &index.to_string(), rivals, lens)
            .map(|(member, _)| member)
            .map_or(Ok(None), |one| Ok(Some(one)))
    }
}

fn gather<'d>(
    doc: &'d impl ReadDoc,
    id: &ObjId,
    prop: impl Into<automerge::Prop>,
    object: usize,
    rivals: &mut Vec<Rival<'d>>,
) -> Result<(), AutomergeError> {
    rivals.extend(doc.get_all(id, prop)?.into_iter().map(|(value, id)| Rival { value, id, object }));
    Ok(())
}

/// What shows of rivals, and in which of the objects it stands.
fn chosen<'l>(
    doc: &impl ReadDoc,
    holder: &ObjId,
    key: &str,
    mut rivals: Vec<Rival<'_>>,
    lens: Lens<'l>,
) -> Option<(Member<'l>, usize)> {
    sort(&mut rivals);
    let Some(chooser) = lens.filter(|_| rivals.len() > 1) else {
        let object = rivals.first()?.object;
        return Some((Member::of(rivals, 0, lens)?, object));
    };
    let chosen = chooser.counted(&rivals).map_or_else(|| chooser.choose(doc, holder, key, &rivals), Chosen::One);
    let shown = match chosen {
        Chosen::One(at) => at,
        Chosen::Made(value) => return Some((Member::Made(value), rivals.first()?.object)),
    };
    let object = rivals.get(shown)?.object;
    if let Some(total) = chooser.total(&rivals, shown) {
        return Some((Member::Counter(total), object));
    }
    Some((Member::of(rivals, shown, lens)?, object))
}

/// The highest operation id first.
fn sort(rivals: &mut [Rival<'_>]) {
    rivals.sort_unstable_by(|a, b| b.id.cmp(&a.id));
    if planted!("documents/oldest-value-shows") {
        rivals.reverse();
    }
}

/// The values that stand at an element of a list, the highest operation id first.
pub(super) fn element_rivals<'d>(
    doc: &'d impl ReadDoc,
    list: &ObjId,
    index: usize,
) -> Result<Vec<Rival<'d>>, AutomergeError> {
    let mut rivals = Vec::new();
    gather(doc, list, index, 0, &mut rivals)?;
    sort(&mut rivals);
    Ok(rivals)
}

impl<'l> Twins<'l> {
    pub(super) fn root(lens: Lens<'l>) -> Self {
        Self { objects: vec![ROOT], lens }
    }

    /// One that has just been made where another was not.
    pub(super) fn one(id: ObjId, lens: Lens<'l>) -> Self {
        Self { objects: vec![id], lens }
    }

    /// The newest of the objects.
    pub(super) fn newest(&self) -> &ObjId {
        let [newest, ..] = self.objects.as_slice() else { unreachable!("a map has an object") };
        newest
    }

    /// The values that stand at this member, the highest operation id first.
    pub(super) fn rivals<'d>(&self, doc: &'d impl ReadDoc, key: &str) -> Result<Vec<Rival<'d>>, AutomergeError> {
        let mut rivals = Vec::new();
        for (at, id) in self.objects.iter().enumerate() {
            gather(doc, id, key, at, &mut rivals)?;
        }
        sort(&mut rivals);
        Ok(rivals)
    }

    /// The object that a write to this member goes to: the one whose value shows, or the newest.
    pub(super) fn place(&self, doc: &impl ReadDoc, key: &str) -> Result<&ObjId, AutomergeError> {
        // Most maps were made once.
        if self.objects.len() == 1 {
            return Ok(self.newest());
        }
        let rivals = self.rivals(doc, key)?;
        let shown = chosen(doc, self.newest(), key, rivals, self.lens);
        Ok(shown.map_or_else(|| self.newest(), |(_, at)| &self.objects[at]))
    }

    /// The member of this name.
    pub(super) fn member(&self, doc: &impl ReadDoc, key: &str) -> Result<Option<Member<'l>>, AutomergeError> {
        let rivals = self.rivals(doc, key)?;
        Ok(chosen(doc, self.newest(), key, rivals, self.lens).map(|(member, _)| member))
    }

    /// All members, in order of name.
    pub(super) fn members(&self, doc: &impl ReadDoc) -> BTreeMap<String, Member<'l>> {
        let mut members = BTreeMap::new();
        for item in self.objects.iter().flat_map(|id| doc.map_range(id, ..)) {
            // Most maps were made once and most members have one value.
            let member = if self.objects.len() == 1 && !item.conflict {
                Some(Member::alone(&item.value.clone().into_value(), item.id(), self.lens))
            } else if members.contains_key(item.key.as_ref()) {
                continue;
            } else {
                self.member(doc, &item.key).ok().flatten()
            };
            members.extend(member.map(|member| (item.key.to_string(), member)));
        }
        members
    }

    /// The names of members at which several values may stand.
    pub(super) fn contested(&self, doc: &impl ReadDoc) -> std::collections::BTreeSet<String> {
        let twins = self.objects.len() > 1;
        let items = self.objects.iter().flat_map(|id| doc.map_range(id, ..));
        items.filter(|item| twins || item.conflict).map(|item| item.key.to_string()).collect()
    }

    /// Removes a member from all of the objects.
    pub(super) fn remove(&self, tx: &mut impl Transactable, key: &str) -> Result<(), AutomergeError> {
        for id in &self.objects {
            if tx.get(id, key)?.is_some() {
                tx.delete(id, key)?;
            }
        }
        Ok(())
    }
}

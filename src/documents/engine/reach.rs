//! Where people find what is open.
//!
//! At its own place, while that can be read. Where somebody removed what holds it, or another value shows there, it is found at the
//! nearest place above that can be read: there it is told that something went, and who writes that place settles it.

use std::collections::BTreeMap;

use automerge::{ObjId, ReadDoc};

use super::met::{PlaceId, ROOT, Step};
use super::removals::{Removals, Unsettled};
use super::table::{OpId, Slot};
use super::twins::{Lens, Member, Twins};

/// The elements of lists that were asked for, each with its index.
type Lists = BTreeMap<ObjId, BTreeMap<OpId, usize>>;

impl Removals<'_> {
    /// The same, as people find them.
    pub(super) fn found(mut self, merged: &impl ReadDoc, lens: Lens<'_>) -> Self {
        let mut lists = Lists::new();
        for ((_, place), unsettled) in std::mem::take(&mut self.open) {
            let nearest = self.nearest(merged, lens, place, &mut lists);
            let told = self.open.entry((self.places.steps[nearest].0, nearest)).or_default();
            told.take(unsettled, nearest == place);
        }
        self.open.values_mut().for_each(Unsettled::sort);
        self
    }

    /// The place itself, or the nearest above that can be read.
    fn nearest(&self, merged: &impl ReadDoc, lens: Lens<'_>, place: PlaceId, lists: &mut Lists) -> PlaceId {
        let mut way: Vec<PlaceId> = [place].into_iter().chain(self.places.above(place)).collect();
        way.retain(|at| *at != ROOT);
        way.reverse();
        let (mut nearest, mut shows) = (ROOT, Some(Member::Map(Twins::root(lens))));
        for at in way {
            shows = match (self.places.steps[at].1, shows) {
                (Step::Key(key), Some(Member::Map(twins))) => {
                    nearest = at;
                    self.keys.get(key as usize).and_then(|key| twins.member(merged, key).ok().flatten())
                }
                (Step::Within(id), Some(Member::List(list, lens))) => {
                    (self.table.old_id(&list) == Some(id)).then_some(Member::List(list, lens))
                }
                (Step::Element(element), Some(Member::List(list, lens))) => {
                    let elements = lists.entry(list.clone()).or_insert_with(|| self.elements(merged, &list));
                    let index = elements.get(&element).copied();
                    nearest = if index.is_some() { at } else { nearest };
                    index.and_then(|index| Member::element(merged, &list, index, lens).ok().flatten())
                }
                _ => return nearest,
            };
        }
        nearest
    }

    fn elements(&self, merged: &impl ReadDoc, list: &ObjId) -> BTreeMap<OpId, usize> {
        let element = |id: &ObjId| match self.table.row(self.table.old_id(id)?)?.slot {
            Slot::Element(element) => Some(element),
            Slot::Key(_) => None,
        };
        let items = merged.list_range(list, ..).enumerate();
        items.filter_map(|(at, item)| Some((element(&item.id())?, at))).collect()
    }
}

impl Unsettled<'_> {
    /// Takes in what is found here; of what is not at this very place nothing stands here.
    fn take(&mut self, mut other: Self, is_here: bool) {
        self.removed.append(&mut other.removed);
        self.lost.append(&mut other.lost);
        if is_here {
            self.stays.append(&mut other.stays);
        }
        self.more |= other.more;
    }

    fn sort(&mut self) {
        for changes in [&mut self.removed, &mut self.lost] {
            changes.sort_unstable_by_key(|change| (change.hlc, change.hash));
            changes.dedup_by_key(|change| change.hash);
        }
    }
}

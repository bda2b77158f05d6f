//! Removals that met writes, and that nobody settled yet.
//!
//! What was written stays where somebody who had not seen it removed what was there before. Nothing is lost by that, and people may
//! want to look at it all the same; and what was added to a counter that somebody removed meanwhile is lost. Such a place is **open**
//! until somebody writes it, or takes away what holds it, who had seen both. It is found in what the trail is told from (see `met`): of all
//! that was done at a place, what nobody had seen who wrote there later is looked at, and the place is open if a removal and something
//! else are among that. So it is a function of the set of changes.
//!
//! Where what holds an open place went with a removal of its own, whose writer had not seen all, people find it at the place of what went:
//! see `reach`.
//!
//! A document with such a place is not folded: the removal would be forgotten.

use std::collections::BTreeMap;

use automerge::ObjId;

use super::above::Fate;
use super::met::{ADDED, PlaceId, Places, ROOT, Step, Touch, What};
use super::table::{Slot, Table, Wrote};
use crate::probe::planted;

/// Removals that are told of one place at most.
pub(super) const REMOVALS_MAX: usize = 32;
/// So many changes that stand beside each other at one place are looked at, the latest.
const BESIDE_MAX: usize = 256;

/// All such places of a document.
#[derive(Debug)]
pub(super) struct Removals<'a> {
    pub(super) table: &'a Table,
    pub(super) places: Places<'a>,
    pub(super) keys: Vec<&'a str>,
    /// Each behind the place that holds it.
    pub(super) open: BTreeMap<(PlaceId, PlaceId), Unsettled<'a>>,
}

/// What was done at a place by changes of which no later one of that place had seen any; in the order of their stamps.
#[derive(Debug, Default)]
pub(super) struct Unsettled<'a> {
    pub(super) removed: Vec<Wrote<'a>>,
    /// What was added to a counter that was removed, or written inside of what was.
    pub(super) lost: Vec<Wrote<'a>>,
    /// What else was written: it stays.
    pub(super) stays: Vec<Wrote<'a>>,
    /// Whether there may be more than was looked at.
    pub(super) more: bool,
}

impl<'a> Removals<'a> {
    /// Of a document; none where no two changes stand side by side.
    pub(super) fn of(table: &'a Table) -> Option<Self> {
        Self::among(table, Table::wrote)
    }

    /// Of a version, of which so many changes of each branch are: what came since is not asked.
    pub(super) fn at(table: &'a Table, clock: &[u32]) -> Option<Self> {
        Self::among(table, |table| table.wrote().into_iter().filter(|change| change.is_in(clock)).collect())
    }

    fn among(table: &'a Table, changes: impl Fn(&'a Table) -> Vec<Wrote<'a>>) -> Option<Self> {
        if !table.is_concurrent() {
            return None;
        }
        let places = Places::of(table, changes(table));
        let removed = |touches: &[Touch]| touches.iter().any(|touch| touch.what == What::Removed);
        let some = places.touches.iter().filter(|(_, touches)| removed(touches));
        let found = some.filter_map(|(place, touches)| {
            Some(((places.steps[*place].0, *place), unsettled(table, &places, *place, touches)?))
        });
        let open: BTreeMap<_, _> = found.collect();
        let keys = table.keys();
        (!open.is_empty()).then_some(Self { table, places, keys, open })
    }

    /// What stands at the whole document beside its deletion.
    pub(super) fn of_all(&self) -> Option<&Unsettled<'a>> {
        self.open.get(&(ROOT, ROOT))
    }

    /// What stands at the members of a map beside removals.
    pub(super) fn members<'s>(&'s self, map: &ObjId) -> BTreeMap<&'a str, &'s Unsettled<'a>> {
        let Some(map) = self.object(map) else { return BTreeMap::new() };
        let member = |((_, place), unsettled): (&(PlaceId, PlaceId), &'s Unsettled<'a>)| {
            let Step::Key(key) = self.places.steps[*place].1 else { return None };
            Some((*self.keys.get(key as usize).filter(|_| *place != ROOT)?, unsettled))
        };
        self.open.range((map, 0)..=(map, PlaceId::MAX)).filter_map(member).collect()
    }

    /// What stands at a member of a map beside removals.
    pub(super) fn member(&self, map: &ObjId, key: &str) -> Option<(PlaceId, &Unsettled<'a>)> {
        let map = self.object(map)?;
        let place = *self.places.numbers.get(&(map, Step::Key(self.table.key_number(key)?)))?;
        Some((place, self.open.get(&(map, place))?))
    }

    /// What stands at an element of a list beside removals: at the one in which this value stands.
    pub(super) fn element(&self, list: &ObjId, value: &ObjId) -> Option<(PlaceId, &Unsettled<'a>)> {
        let Slot::Element(element) = self.table.row(self.table.old_id(value)?)?.slot else { return None };
        let list = self.object(list)?;
        let place = *self.places.numbers.get(&(list, Step::Element(element)))?;
        Some((place, self.open.get(&(list, place))?))
    }

    /// The place inside an object.
    fn object(&self, id: &ObjId) -> Option<PlaceId> {
        if *id == ObjId::Root {
            return Some(ROOT);
        }
        self.places.objects.get(&self.table.old_id(id)?).map(|(place, _)| *place)
    }
}

fn unsettled<'a>(table: &Table, places: &Places<'a>, place: PlaceId, touches: &[Touch]) -> Option<Unsettled<'a>> {
    let (mut newest, mut more): (Vec<Touch>, bool) = (Vec::new(), false);
    for touch in touches {
        let change = &places.changes[touch.change];
        let settles = !planted!("documents/removals-stay-open");
        newest.retain(|other| !(settles && places.changes[other.change].is_seen_by(change)));
        if newest.len() == BESIDE_MAX {
            newest.remove(earliest(&newest));
            more = true;
        }
        newest.push(*touch);
    }
    let (mut removed, others): (Vec<Touch>, Vec<Touch>) =
        newest.into_iter().partition(|touch| touch.what == What::Removed);
    if removed.is_empty() || others.is_empty() {
        return None;
    }
    let element = matches!(places.steps[place].1, Step::Element(_));
    let lost_by = |touch: &Touch| {
        let by = removed.iter().filter(|_| touch.what == ADDED).map(|by| places.is_lost(place, *touch, *by));
        let by: Vec<Option<bool>> = by.collect();
        if by.contains(&Some(true)) { Some(true) } else { (!by.contains(&None)).then_some(false) }
    };
    let (mut lost, mut stays, mut took) = (Vec::new(), Vec::new(), Vec::new());
    for touch in others {
        match (places.fate(table, place, touch), lost_by(&touch)) {
            (Fate::Decided, _) => {}
            (Fate::Gone(by), _) => {
                lost.push(touch);
                took.extend((by.what == What::Removed).then_some(by));
            }
            // An element that was removed with its counter is no place any more.
            (_, Some(true)) => lost.extend((!element).then_some(touch)),
            (fate, is_lost) => {
                stays.push(touch);
                more |= is_lost.is_none() || matches!(fate, Fate::Unlooked);
            }
        }
    }
    if lost.is_empty() && stays.is_empty() {
        return None;
    }
    removed.append(&mut took);
    removed.sort_unstable_by_key(|touch| touch.change);
    removed.dedup_by_key(|touch| touch.change);
    let changes = |touches: Vec<Touch>| touches.iter().map(|touch| places.changes[touch.change]).collect();
    Some(Unsettled { removed: changes(removed), lost: changes(lost), stays: changes(stays), more })
}

/// Which of touches that stand beside each other is left out where they are too many: the earliest, but never the only removal, nor all
/// that is none.
fn earliest(touches: &[Touch]) -> usize {
    let is_removal = |touch: &&Touch| touch.what == What::Removed;
    let removals = touches.iter().filter(is_removal).count();
    let alone = |touch: &Touch| if is_removal(&touch) { removals } else { touches.len() - removals } == 1;
    touches.iter().position(|touch| !alone(touch)).unwrap_or_default()
}

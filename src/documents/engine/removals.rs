//! Removals that met writes, and that nobody settled yet.
//!
//! What was written stays where somebody who had not seen it removed what was there before. Nothing is lost by that, and people may
//! want to look at it all the same; and what was added to a counter that somebody removed meanwhile is lost. Such a place is **open**
//! until somebody writes it who had seen both. It is found in what the trail is told from (see `met`): of all that was done at
//! a place, what nobody had seen who wrote there later is looked at, and the place is open if a removal and something else are among
//! that. So it is a function of the set of changes.
//!
//! A document with such a place is not folded: the removal would be forgotten.

use std::collections::BTreeMap;

use automerge::ObjId;

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
    table: &'a Table,
    places: Places<'a>,
    keys: Vec<&'a str>,
    open: BTreeMap<PlaceId, Unsettled<'a>>,
}

/// What was done at a place by changes of which no later one of that place had seen any; in the order of their stamps.
#[derive(Debug, Default)]
pub(super) struct Unsettled<'a> {
    pub(super) removed: Vec<Wrote<'a>>,
    /// What was added to a counter that was removed.
    pub(super) lost: Vec<Wrote<'a>>,
    /// What else was written: it stays.
    pub(super) stays: Vec<Wrote<'a>>,
}

impl<'a> Removals<'a> {
    /// Of a document; none where no two changes stand side by side.
    pub(super) fn of(table: &'a Table) -> Option<Self> {
        if !table.is_concurrent() {
            return None;
        }
        let places = Places::of(table, table.wrote());
        let removed = |touches: &[Touch]| touches.iter().any(|touch| touch.what == What::Removed);
        let some = places.touches.iter().filter(|(_, touches)| removed(touches));
        let open: BTreeMap<_, _> =
            some.filter_map(|(place, touches)| Some((*place, unsettled(&places, *place, touches)?))).collect();
        let keys = table.keys();
        (!open.is_empty()).then_some(Self { table, places, keys, open })
    }

    /// What stands at the whole document beside its deletion.
    pub(super) fn of_all(&self) -> Option<&Unsettled<'a>> {
        self.open.get(&ROOT)
    }

    /// What stands at the members of a map beside removals.
    pub(super) fn members<'s>(&'s self, map: &ObjId) -> BTreeMap<&'a str, &'s Unsettled<'a>> {
        let Some(map) = self.object(map) else { return BTreeMap::new() };
        let member = |(place, unsettled): (&PlaceId, &'s Unsettled<'a>)| match self.places.steps[*place] {
            (within, Step::Key(key)) if within == map && *place != ROOT => {
                Some((*self.keys.get(key as usize)?, unsettled))
            }
            _ => None,
        };
        self.open.iter().filter_map(member).collect()
    }

    /// What stands at an element of a list beside removals: at the one in which this value stands.
    pub(super) fn element(&self, list: &ObjId, value: &ObjId) -> Option<&Unsettled<'a>> {
        let Slot::Element(element) = self.table.row(self.table.old_id(value)?)?.slot else { return None };
        let place = self.places.numbers.get(&(self.object(list)?, Step::Element(element)))?;
        self.open.get(place)
    }

    /// The place inside an object.
    fn object(&self, id: &ObjId) -> Option<PlaceId> {
        if *id == ObjId::Root {
            return Some(ROOT);
        }
        self.places.objects.get(&self.table.old_id(id)?).map(|(place, _)| *place)
    }
}

fn unsettled<'a>(places: &Places<'a>, place: PlaceId, touches: &[Touch]) -> Option<Unsettled<'a>> {
    let mut newest: Vec<Touch> = Vec::new();
    for touch in touches {
        let change = &places.changes[touch.change];
        let settles = !planted!("documents/removals-stay-open");
        newest.retain(|other| !(settles && places.changes[other.change].is_seen_by(change)));
        if newest.len() == BESIDE_MAX {
            newest.remove(0);
        }
        newest.push(*touch);
    }
    let (removed, others): (Vec<Touch>, Vec<Touch>) = newest.into_iter().partition(|touch| touch.what == What::Removed);
    if removed.is_empty() || others.is_empty() {
        return None;
    }
    let is_lost = |touch: &Touch| touch.what == ADDED && removed.iter().any(|by| places.is_lost(place, *touch, *by));
    let (lost, stays): (Vec<Touch>, Vec<Touch>) = others.into_iter().partition(is_lost);
    let changes = |touches: Vec<Touch>| touches.iter().map(|touch| places.changes[touch.change]).collect();
    Some(Unsettled { removed: changes(removed), lost: changes(lost), stays: changes(stays) })
}

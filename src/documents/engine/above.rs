//! What comes to a place from above: somebody takes away what holds it.
//!
//! Whoever removes an object, or has another value stand in its place, has decided about all in it that he had seen. What he had not seen
//! goes with the object as well: so Automerge merges it. It is found at the place where the object stood, since that is one still; only an
//! element of a list that was removed is none any more, for people as for changes, and nothing can be settled there.
//!
//! All of it follows from the set of changes, as what it is about does (see `met`).

use super::met::{PlaceId, Places, ROOT, Step, Touch, What};
use super::table::{NONE, OpId, Table};

/// So many of those that took away what holds a place are looked at, the latest.
const TAKING_MAX: usize = 256;

/// What became of what was written at a place, as far as that comes from above.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    Stays,
    /// It went with an object; by a change that had not seen it.
    Gone(Touch),
    /// Who took the object away had seen it; or it was in an element of a list that is no more.
    Decided,
    /// There is more than was looked at.
    Unlooked,
}

impl Places<'_> {
    /// The places in which this one is, the nearest first, the document last.
    pub(super) fn above(&self, place: PlaceId) -> impl Iterator<Item = PlaceId> {
        std::iter::successors(Some(place), |at| (*at != ROOT).then(|| self.steps[*at].0)).skip(1)
    }

    /// The touches after which what a place held is no more, in their order.
    pub(super) fn takings(&self, place: PlaceId) -> impl DoubleEndedIterator<Item = &Touch> {
        let within = matches!(self.steps[place].1, Step::Within(_));
        let touches = match place {
            ROOT => &self.deletions[..],
            _ if within => &[],
            _ => self.touches.get(&place).map_or(&[][..], Vec::as_slice),
        };
        touches.iter().filter(|touch| matches!(touch.what, What::Removed | What::Set | What::Map | What::Counts))
    }

    /// The objects in which a touch wrote, each with the place where it stands.
    fn holders(&self, table: &Table, touch: Touch) -> Vec<(PlaceId, OpId)> {
        let mut holders = Vec::new();
        let mut row = self.changes[touch.change].row(touch.op).map(|(_, row)| *row);
        while let Some(object) = row.map(|row| row.object).filter(|object| *object != NONE) {
            let Some((inside, _)) = self.objects.get(&object) else { break };
            let (within, step) = self.steps[*inside];
            holders.push((if matches!(step, Step::Within(_)) { within } else { *inside }, object));
            row = table.row(object);
        }
        holders
    }

    /// What became of a touch of a place.
    pub(super) fn fate(&self, table: &Table, place: PlaceId, touch: Touch) -> Fate {
        let (change, holders) = (&self.changes[touch.change], self.holders(table, touch));
        let mut fate = Fate::Stays;
        for at in self.above(place) {
            // Those that the touch had seen took nothing of it, and do not count.
            let mut unseen = 0;
            for taking in self.takings(at).rev() {
                let by = &self.changes[taking.change];
                if by.is_seen_by(change) && taking.change != touch.change {
                    continue;
                }
                if unseen == TAKING_MAX {
                    fate = if let Fate::Stays = fate { Fate::Unlooked } else { fate };
                    break;
                }
                unseen += 1;
                if change.is_seen_by(by) {
                    if (taking.change, taking.op) > (touch.change, touch.op) {
                        return Fate::Decided;
                    }
                    continue;
                }
                let held = |(place, object): &(PlaceId, OpId)| *place == at && table.is_seen_by(*object, by);
                if by.is_seen_by(change) || !holders.iter().any(held) {
                    continue;
                }
                if taking.what == What::Removed && matches!(self.steps[at].1, Step::Element(_)) {
                    return Fate::Decided;
                }
                fate = Fate::Gone(*taking);
            }
        }
        fate
    }

    /// The first touch after these two by which what holds a place was taken away by somebody who had seen both; and whether it may be
    /// one that was not looked at.
    pub(super) fn taken(&self, place: PlaceId, seen: impl Fn(&Touch) -> bool, after: usize) -> (Option<Touch>, bool) {
        let (mut first, mut unlooked): (Option<Touch>, bool) = (None, false);
        for at in self.above(place) {
            let mut later = self.takings(at).skip_while(|touch| touch.change <= after);
            let found = later.by_ref().take(TAKING_MAX).find(|touch| seen(touch)).copied();
            unlooked |= found.is_none() && later.next().is_some();
            first = [first, found].into_iter().flatten().min_by_key(|touch| (touch.change, touch.op));
        }
        (first, unlooked)
    }
}

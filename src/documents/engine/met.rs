//! The trail of a document: which changes wrote one place without having seen each other.
//!
//! It is read off the history whenever somebody asks, and kept nowhere: so it is as durable as the changes are, and nothing is paid
//! for documents that nobody asks about. **Invariant:** it is a function of the set of changes. Changes are gone through in the order of
//! their stamps, not in that in which they came, and a pair is a pair whichever came first.
//!
//! *One place* is what people would call so: the maps that stand at one place are one map, as in `twins`, so what was written into two
//! of them under one key met. A list is a place, and each of its elements; a text is one place.

use std::collections::BTreeMap;

use automerge::legacy::OpType;
use automerge::{Automerge, ExpandedChange, ObjId, ObjType, ReadDoc as _, ScalarValue};
use bytes::Bytes;
use serde_json::Value;

use super::super::change::Hash;
use super::super::conflicts::{ChangeStamp, Meeting, Side, TOLD_MAX, Wrote};
use super::super::policy::{Policy, PolicyHistory};
use super::choose::{Chooser, Claim};
use super::open::Accepted;
use super::table::{Kind, NONE, OpId, Row, Slot, Table, Wrote as Change};
use super::twins::{Member, Twins};
use super::{atomic, path, read};
use crate::conflict::{ConflictType, Rule};
use crate::probe::planted;
use crate::types::{Actor, hex};

/// Entries of the trail that are kept for one document at most: the newest.
const MEETINGS_MAX: usize = 1_000;
/// Others that one change met at one place at most: the latest of them are told.
const PARTNERS_MAX: usize = 32;
/// So many earlier writes of a place are looked at for each write.
const LOOKED_MAX: usize = 256;
/// So many later writes of a place are looked at for the one that settled a meeting. Where there are more the trail is said to be cut.
const SETTLED_MAX: usize = 4_096;
/// Pairs that are sorted at a time at most. Of more the newest go on; some of them are none, since both wrote the same.
const PAIRS_MAX: usize = 4 * MEETINGS_MAX;

/// What is edited where something is added to a counter.
pub(super) const COUNTER: &str = "counter";
pub(super) const ADDED: What = What::Edited(COUNTER);

/// A place, by its number.
pub(super) type PlaceId = usize;
/// The whole document.
pub(super) const ROOT: PlaceId = 0;

/// A step from the place that holds another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Key(u32),
    Element(OpId),
    /// A list or a text: two that were made at one place are two.
    Within(OpId),
}

/// What a change did at a place: the last that it did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Touch {
    /// Which change, in their order.
    pub(super) change: usize,
    /// Which of its operations.
    pub(super) op: usize,
    pub(super) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Set,
    Map,
    Removed,
    /// Made a counter.
    Counts,
    /// Of a list or text inside, or of a counter.
    Edited(&'static str),
    /// Of the whole document.
    Wrote,
}

/// Two touches of a place, the earlier first.
struct Pair {
    place: PlaceId,
    earlier: Touch,
    later: Touch,
}

/// Where a counter comes from to which somebody added.
enum Origin {
    /// This touch made it.
    Here(Touch),
    /// All who are here had seen it made.
    Folded,
    /// More counters were made here than are looked at.
    Unlooked,
}

/// Where an operation wrote.
struct Written {
    /// None where it wrote into a text.
    place: Option<PlaceId>,
    /// The list or text that it edited thereby.
    edited: Option<(PlaceId, &'static str)>,
}

/// What all changes did, place by place.
#[derive(Debug)]
pub(super) struct Places<'a> {
    pub(super) changes: Vec<Change<'a>>,
    /// For each place which holds it, and where; the root holds itself.
    pub(super) steps: Vec<(PlaceId, Step)>,
    pub(super) numbers: BTreeMap<(PlaceId, Step), PlaceId>,
    /// Objects: where what is in them stands, and what they are called.
    pub(super) objects: BTreeMap<OpId, (PlaceId, Option<&'static str>)>,
    pub(super) touches: BTreeMap<PlaceId, Vec<Touch>>,
    /// Those of the whole document that deleted it.
    pub(super) deletions: Vec<Touch>,
    /// Those that made a counter.
    counters: BTreeMap<PlaceId, Vec<Touch>>,
}

/// What met in a document, the newest first, and whether there was more than is kept.
pub(super) fn trail(
    lens: &Chooser<'_>,
    merged: &Automerge,
    history: &PolicyHistory,
    accepted: &[Accepted],
) -> (Vec<Meeting>, bool) {
    if !lens.table.is_concurrent() {
        return (Vec::new(), false);
    }
    let mut changes = lens.table.wrote();
    if planted!("documents/trail-as-it-came") {
        let came: BTreeMap<Hash, usize> = accepted.iter().map(|accepted| accepted.hash).zip(0..).collect();
        changes.sort_by_key(|change| came.get(&change.hash).copied());
    }
    let places = Places::of(lens.table, changes);
    let (pairs, mut more) = places.pairs();
    let bytes = accepted.iter().map(|accepted| (accepted.hash, &accepted.bytes)).collect();
    let (keys, decoded) = (lens.table.keys(), BTreeMap::new());
    let mut told =
        Teller { lens, merged, history, places: &places, keys, bytes, elements: None, decoded, unlooked: false };
    let mut meetings = Vec::new();
    for pair in pairs {
        if meetings.len() == MEETINGS_MAX {
            more = true;
            break;
        }
        meetings.extend(told.meeting(&pair));
    }
    (meetings, more || told.unlooked)
}

impl<'a> Places<'a> {
    /// What these changes did, which come in the order of [`Table::wrote`].
    pub(super) fn of(table: &'a Table, changes: Vec<Change<'a>>) -> Self {
        let mut places = Self {
            changes,
            steps: vec![(ROOT, Step::Key(0))],
            numbers: BTreeMap::new(),
            objects: BTreeMap::from([(NONE, (ROOT, None))]),
            touches: BTreeMap::new(),
            deletions: Vec::new(),
            counters: BTreeMap::new(),
        };
        // Whoever wrote what is here had seen the folded past: nothing in it met anything, but what was made there is written into.
        for (id, row) in table.folded() {
            if let Some(Written { place: Some(place), .. }) = places.written(id, row) {
                places.made(id, row.kind, place);
            }
        }
        for at in 0..places.changes.len() {
            places.take(at);
        }
        places
    }

    /// Notes where a change wrote.
    fn take(&mut self, at: usize) {
        let change = self.changes[at];
        let what = if change.deletes { What::Removed } else { What::Wrote };
        let whole = Touch { change: at, op: 0, what };
        self.touch(ROOT, whole);
        self.deletions.extend(change.deletes.then_some(whole));
        for (op, (id, row)) in change.rows().enumerate() {
            let touch = |what| Touch { change: at, op, what };
            let Some(Written { place, edited }) = self.written(id, row) else { continue };
            if let Some((within, name)) = edited {
                self.touch(within, touch(What::Edited(name)));
            }
            let Some(place) = place else { continue };
            self.made(id, row.kind, place);
            let what = match row.kind {
                Kind::Nothing => What::Removed,
                Kind::Counter => What::Counts,
                Kind::Increment => What::Edited(COUNTER),
                Kind::Map(_) => What::Map,
                Kind::List(_) | Kind::Text | Kind::Value => What::Set,
            };
            self.touch(place, touch(what));
        }
    }

    /// Where an operation wrote. Nothing where it is not known what held it.
    fn written(&mut self, id: OpId, row: &Row) -> Option<Written> {
        let (within, name) = self.objects.get(&row.object).copied()?;
        Some(match (row.slot, name) {
            (Slot::Element(_), Some(name @ "text")) => Written { place: None, edited: Some((within, name)) },
            (Slot::Element(element), _) => {
                let edits = row.kind == Kind::Nothing || element == id;
                let place = self.number(within, Step::Element(element));
                Written { place: Some(place), edited: edits.then_some((within, "list")) }
            }
            (Slot::Key(key), _) => Written { place: Some(self.number(within, Step::Key(key))), edited: None },
        })
    }

    /// Notes the object that an operation made at a place, if it did.
    fn made(&mut self, id: OpId, kind: Kind, place: PlaceId) {
        match kind {
            Kind::Map(_) => _ = self.objects.insert(id, (place, None)),
            Kind::List(_) | Kind::Text => {
                let name = if kind == Kind::Text { "text" } else { "list" };
                let inside = self.number(place, Step::Within(id));
                self.objects.insert(id, (inside, Some(name)));
            }
            Kind::Value | Kind::Counter | Kind::Increment | Kind::Nothing => {}
        }
    }

    fn number(&mut self, within: PlaceId, step: Step) -> PlaceId {
        let next = self.steps.len();
        let number = *self.numbers.entry((within, step)).or_insert(next);
        if number == next {
            self.steps.push((within, step));
        }
        number
    }

    fn touch(&mut self, place: PlaceId, touch: Touch) {
        let touches = self.touches.entry(place).or_default();
        let before = touches.pop_if(|last| last.change == touch.change);
        // Whoever made a counter and added to it made it.
        let last = before.filter(|last| last.what == What::Counts && touch.what == ADDED).unwrap_or(touch);
        touches.push(last);
        if before.is_some_and(|before| before.what == What::Counts) {
            self.counters.get_mut(&place).map(Vec::pop);
        }
        if last.what == What::Counts {
            self.counters.entry(place).or_default().push(last);
        }
    }

    /// All pairs, the newest first; whether some were left out.
    fn pairs(&self) -> (Vec<Pair>, bool) {
        let (mut pairs, mut more) = (Vec::new(), false);
        for (place, touches) in &self.touches {
            // Most documents are never deleted.
            if *place == ROOT && touches.iter().all(|touch| touch.what != What::Removed) {
                continue;
            }
            for (at, later) in touches.iter().enumerate() {
                let mut partners = 0;
                for (looked, earlier) in touches[..at].iter().rev().enumerate() {
                    if looked == LOOKED_MAX || partners == PARTNERS_MAX {
                        more = true;
                        break;
                    }
                    if self.met(*place, earlier, later) {
                        partners += 1;
                        pairs.push(Pair { place: *place, earlier: *earlier, later: *later });
                    }
                }
                if pairs.len() >= 2 * PAIRS_MAX {
                    more |= newest(&mut pairs);
                }
            }
        }
        more |= newest(&mut pairs);
        (pairs, more)
    }

    fn met(&self, place: PlaceId, a: &Touch, b: &Touch) -> bool {
        let removals = [a, b].iter().filter(|touch| touch.what == What::Removed).count();
        let differ = match (a.what, b.what) {
            _ if place == ROOT => removals == 1,
            // Two maps at one place are one, and two removals do the same.
            (What::Map, What::Map) | (What::Removed, What::Removed) => false,
            _ => true,
        };
        differ && self.changes[a.change].is_beside(&self.changes[b.change])
    }

    /// The touch that made the counter to which this one added.
    fn counter(&self, place: PlaceId, added: &Touch) -> Origin {
        let made = self.counters.get(&place).map_or(&[][..], Vec::as_slice);
        let before = made.partition_point(|touch| touch.change < added.change);
        let adds = &self.changes[added.change];
        let seen = |touch: &&Touch| self.changes[touch.change].is_seen_by(adds);
        match made[..before].iter().rev().take(LOOKED_MAX).find(seen) {
            Some(touch) => Origin::Here(*touch),
            None if before > LOOKED_MAX => Origin::Unlooked,
            None => Origin::Folded,
        }
    }

    /// Which of two touches wrote over the counter to which the other one added, whose addition went with it. Nothing where that is not
    /// known, since there is more than is looked at.
    fn superseded(&self, pair: &Pair) -> Option<Option<usize>> {
        for (side, over, added) in [(0, &pair.earlier, &pair.later), (1, &pair.later, &pair.earlier)] {
            if added.what != ADDED || over.what == ADDED {
                continue;
            }
            let over = &self.changes[over.change];
            match self.counter(pair.place, added) {
                Origin::Here(made) if !self.changes[made.change].is_seen_by(over) => {}
                Origin::Here(_) | Origin::Folded => return Some(Some(side)),
                Origin::Unlooked => return None,
            }
        }
        Some(None)
    }

    /// Whether what one touch of a place added to a counter went with it, since the other one removed it; nothing where that is not known.
    pub(super) fn is_lost(&self, place: PlaceId, added: Touch, removed: Touch) -> Option<bool> {
        let (earlier, later) = if added.change < removed.change { (added, removed) } else { (removed, added) };
        Some(self.superseded(&Pair { place, earlier, later })?.is_some())
    }

    /// The first touch of a place, or of what holds it, by somebody who had seen both sides; and whether it may be one that was not
    /// looked at.
    fn settled(&self, pair: &Pair) -> (Option<Touch>, bool) {
        let (a, b) = (&self.changes[pair.earlier.change], &self.changes[pair.later.change]);
        let touches = &self.touches[&pair.place];
        let after = touches.partition_point(|touch| touch.change <= pair.later.change);
        let seen = |touch: &Touch| {
            let change = &self.changes[touch.change];
            a.is_seen_by(change) && b.is_seen_by(change)
        };
        let found = touches[after..].iter().take(SETTLED_MAX).find(|touch| seen(touch)).copied();
        let (taken, unlooked) = self.taken(pair.place, seen, pair.later.change);
        let first = [found, taken].into_iter().flatten().min_by_key(|touch| touch.change);
        (first, first.is_none() && (unlooked || touches.len() - after > SETTLED_MAX))
    }
}

/// Sorts pairs, the newest first, and leaves out what is too much; whether there was any.
fn newest(pairs: &mut Vec<Pair>) -> bool {
    pairs.sort_unstable_by_key(|pair| std::cmp::Reverse((pair.later.change, pair.earlier.change, pair.place)));
    let much = pairs.len() > PAIRS_MAX;
    pairs.truncate(PAIRS_MAX);
    much
}

/// How a meeting was decided.
struct Told {
    rule: Option<Rule>,
    winner: Option<usize>,
    shows: Option<usize>,
    forgotten: bool,
}

/// Puts pairs into words.
struct Teller<'a> {
    lens: &'a Chooser<'a>,
    merged: &'a Automerge,
    history: &'a PolicyHistory,
    places: &'a Places<'a>,
    keys: Vec<&'a str>,
    /// Which index the elements of lists have that can be read, once it was asked.
    elements: Option<BTreeMap<OpId, usize>>,
    bytes: BTreeMap<Hash, &'a Bytes>,
    decoded: BTreeMap<Hash, Option<ExpandedChange>>,
    /// Whether not all was looked at that may have settled something.
    unlooked: bool,
}

impl Teller<'_> {
    /// None if both wrote the same.
    fn meeting(&mut self, pair: &Pair) -> Option<Meeting> {
        let what = (pair.earlier.what, pair.later.what);
        if what == (What::Set, What::Set) {
            let values = [pair.earlier, pair.later].map(|touch| self.action(touch).cloned());
            if matches!(&values[0], Some(OpType::Put(_))) && values[0] == values[1] {
                return None;
            }
        }
        let path = self.path(pair.place, None);
        let stands_at = path.contains("/@").then(|| self.stands_at(pair.place)).flatten();
        let stays = |kind, winner| (kind, Told { rule: None, winner, shows: winner, forgotten: false });
        let over = self.places.superseded(pair);
        let unknown = over.is_none();
        self.unlooked |= unknown;
        let over = over.flatten();
        let (kind, Told { rule, winner, shows, forgotten }) = match what {
            (What::Removed, _) | (_, What::Removed) if unknown => stays(ConflictType::DeleteWrite, None),
            _ if unknown => stays(ConflictType::WriteWrite, None),
            (What::Removed, ADDED) | (ADDED, What::Removed) if over.is_some() => stays(ConflictType::DeleteWrite, over),
            (_, ADDED) | (ADDED, _) if over.is_some() => stays(ConflictType::WriteWrite, over),
            (What::Edited(_) | What::Counts, What::Edited(_) | What::Counts) => {
                stays(ConflictType::ConcurrentUpdate, None)
            }
            // What was written stays: a removal that had not seen it does not reach it.
            (What::Removed, _) => stays(ConflictType::DeleteWrite, Some(1)),
            (_, What::Removed) => stays(ConflictType::DeleteWrite, Some(0)),
            // Documents ask by the index.
            _ => (ConflictType::WriteWrite, self.decided(pair, stands_at.as_deref().unwrap_or(&path))),
        };
        let sides = [self.side(pair.earlier), self.side(pair.later)];
        let (settled, unlooked) = self.places.settled(pair);
        self.unlooked |= unlooked;
        let settled = settled.map(|touch| self.side(touch));
        let doc = self.lens.doc.clone();
        Some(Meeting { doc, path, stands_at, kind, rule, sides, winner, forgotten, shows, settled })
    }

    /// By which rule one of two written values was chosen when they met, and which; and which shows today.
    fn decided(&self, pair: &Pair, path: &str) -> Told {
        let met = self.places.changes[pair.later.change].hlc;
        let (policies, known) = self.history.at(met);
        let (rule, winner) = self.chosen(pair, policies.at(self.lens.doc, path));
        let (_, shows) = self.chosen(pair, self.lens.policies.at(self.lens.doc, path));
        Told { rule: Some(rule), winner, shows, forgotten: !known }
    }

    /// By which rule a policy chooses one of two written values, and which.
    fn chosen(&self, pair: &Pair, policy: Option<&Policy>) -> (Rule, Option<usize>) {
        let claim = |touch: Touch| {
            let made = (touch.what == ADDED).then(|| self.places.counter(pair.place, &touch));
            let touch = if let Some(Origin::Here(made)) = made { made } else { touch };
            let change = self.places.changes[touch.change];
            let counter = change.row(touch.op).map_or(0, |(id, _)| id.counter());
            Claim { counter, change }
        };
        let rule = policy.map(|policy| policy.rule.clone()).unwrap_or_default();
        // A function makes a value of its own. Whether this peer has it is no matter: the trail is the same on all.
        let chooses = !matches!(&rule, Rule::Custom(_));
        let later = self.lens.is_above(policy, &claim(pair.later), &claim(pair.earlier));
        (rule, chooses.then(|| usize::from(later)))
    }

    fn side(&mut self, touch: Touch) -> Side {
        let places = self.places;
        let change = &places.changes[touch.change];
        let wrote = match touch.what {
            What::Removed => Wrote::Removed,
            What::Edited(what) => Wrote::Edited { what },
            What::Counts => Wrote::Made { what: COUNTER },
            What::Wrote => Wrote::Wrote,
            What::Map => Wrote::Made { what: "object" },
            What::Set => match self.action(touch) {
                Some(OpType::Put(value)) => told(value),
                Some(OpType::Make(ObjType::List)) => Wrote::Made { what: "list" },
                Some(OpType::Make(ObjType::Text)) => Wrote::Made { what: "text" },
                _ => Wrote::Wrote,
            },
        };
        Side { wrote, by: stamp(change) }
    }

    /// What an operation does.
    fn action(&mut self, touch: Touch) -> Option<&OpType> {
        let hash = self.places.changes[touch.change].hash;
        let bytes = &self.bytes;
        let decoded = self.decoded.entry(hash).or_insert_with(|| {
            let change = automerge::Change::try_from(&bytes.get(&hash)?[..]).ok()?;
            Some(change.decode())
        });
        Some(&decoded.as_ref()?.operations.get(touch.op)?.action)
    }

    /// The path that a place has today, with indices; nothing where a list on the way, or the element, can be read no more.
    fn stands_at(&mut self, place: PlaceId) -> Option<String> {
        let (lens, merged) = (self.lens, self.merged);
        let elements = self.elements.get_or_insert_with(|| elements(lens, merged));
        let way = std::iter::successors(Some(place), |place| Some(self.places.steps[*place].0));
        for at in way.take_while(|at| *at != ROOT) {
            if let Step::Element(element) = self.places.steps[at].1
                && !elements.contains_key(&element)
            {
                return None;
            }
        }
        Some(self.path(place, self.elements.as_ref()))
    }

    /// With elements of lists by their index of these, or else by their insertion.
    fn path(&self, mut place: PlaceId, elements: Option<&BTreeMap<OpId, usize>>) -> String {
        let mut steps = Vec::new();
        while place != ROOT {
            let (within, step) = self.places.steps[place];
            match step {
                Step::Key(key) => steps.push(self.keys.get(key as usize).map(ToString::to_string).unwrap_or_default()),
                Step::Element(element) => steps.push(match elements.and_then(|elements| elements.get(&element)) {
                    Some(index) => index.to_string(),
                    None => format!("@{}", element.counter()),
                }),
                Step::Within(_) => {}
            }
            place = within;
        }
        path::pointer(steps.iter().rev().map(String::as_str))
    }
}

/// Which index the elements of all lists have that can be read.
fn elements(lens: &Chooser<'_>, doc: &Automerge) -> BTreeMap<OpId, usize> {
    let mut found = BTreeMap::new();
    let mut left = vec![Member::Map(Twins::root(Some(lens)))];
    while let Some(member) = left.pop() {
        match member {
            Member::Map(twins) => left.extend(twins.members(doc).into_values()),
            Member::List(list, inner) => {
                let element = |id: &ObjId| match lens.table.row(lens.table.old_id(id)?)?.slot {
                    Slot::Element(element) => Some(element),
                    Slot::Key(_) => None,
                };
                for (at, item) in doc.list_range(&list, ..).enumerate() {
                    found.extend(element(&item.id()).map(|element| (element, at)));
                }
                left.extend(read::elements(doc, &list, inner));
            }
            Member::Text(_) | Member::Counter(_) | Member::Scalar(_) | Member::Made(_) => {}
        }
    }
    found
}

pub(super) fn stamp(change: &Change<'_>) -> ChangeStamp {
    ChangeStamp { change: hex(&change.hash), actor: Actor::from_bytes(&change.name.actor), at: change.hlc }
}

fn told(value: &ScalarValue) -> Wrote {
    match bounded(read::scalar(value)) {
        (value, None) => Wrote::Set { value },
        (_, Some(bytes)) => Wrote::SetLong { bytes },
    }
}

/// A value as it is told: what is too long is told by its length.
pub(super) fn bounded(value: Value) -> (Value, Option<usize>) {
    match atomic::canonical(&value).len() {
        bytes if bytes > TOLD_MAX => (Value::Null, Some(bytes)),
        _ => (value, None),
    }
}

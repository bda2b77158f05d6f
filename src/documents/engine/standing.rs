//! Places of a document where several different values stand, or a removal beside what others wrote. What is told of one is bounded.

use std::borrow::Cow;

use automerge::{Automerge, ObjId, ObjType, ReadDoc, Value};

use super::super::conflicts::{OpenConflict, Standing};
use super::super::policy::Policy;
use super::choose::{Chooser, Chosen, Claim};
use super::met::{PlaceId, bounded, stamp};
use super::removals::{REMOVALS_MAX, Removals, Unsettled};
use super::table::Wrote;
use super::twins::{Member, Rival, Twins, element_rivals};
use super::{atomic, path, read};
use crate::conflict::{ConflictType, Rule};
use crate::types::{DocId, Hlc, digest64, hex};

/// Places that are told of one document at most.
const OPEN_MAX: usize = 1_000;
/// Bytes of the digest of what was seen: enough against chance, and short to type.
const SEEN: usize = 4;
/// Digits of a hash that name a change at least.
const CHANGE_MIN: usize = 8;

/// In order of path, and whether there are more.
pub(super) fn open(chooser: &Chooser<'_>, merged: &Automerge) -> (Vec<OpenConflict>, bool) {
    let removals = Removals::of(chooser.table).map(|removals| removals.found(merged, Some(chooser)));
    let mut walk =
        Walk { chooser, merged, removals: removals.as_ref(), steps: Vec::new(), open: Vec::new(), more: false };
    walk.note(document(chooser, merged, walk.removals));
    walk.map(&Twins::root(Some(chooser)));
    let Walk { open, more, .. } = walk;
    (open, more)
}

/// What is open at one place; none if nothing is. In a transaction that is what it has not settled yet.
pub(super) fn at<'a>(
    chooser: &'a Chooser<'a>,
    doc: &impl ReadDoc,
    removals: Option<&'a Removals<'a>>,
    steps: &[Cow<'_, str>],
) -> Option<Place> {
    let Some((last, parents)) = steps.split_last() else { return document(chooser, doc, removals) };
    let mut holder = Member::Map(Twins::root(Some(chooser)));
    for step in parents {
        holder = match holder {
            Member::Map(twins) => twins.member(doc, step).ok()??,
            Member::List(id, lens) => Member::element(doc, &id, path::index(step)?, lens).ok()??,
            Member::Text(_) | Member::Counter(_) | Member::Scalar(_) | Member::Made(_) => return None,
        };
    }
    let unsettled =
        |found: (PlaceId, &'a Unsettled<'a>)| (!chooser.settled.borrow().contains(&found.0)).then_some(found.1);
    let (holder, rivals, member, unsettled) = match &holder {
        Member::Map(twins) => {
            let unsettled = removals.and_then(|removals| removals.member(twins.newest(), last)).and_then(unsettled);
            (twins.newest(), twins.rivals(doc, last).ok()?, twins.member(doc, last).ok()?, unsettled)
        }
        Member::List(id, lens) => {
            let index = path::index(last)?;
            let (_, value) = doc.get(id, index).ok()??;
            let unsettled = removals.and_then(|removals| removals.element(id, &value)).and_then(unsettled);
            (id, element_rivals(doc, id, index).ok()?, Member::element(doc, id, index, *lens).ok()?, unsettled)
        }
        Member::Text(_) | Member::Counter(_) | Member::Scalar(_) | Member::Made(_) => return None,
    };
    let spot = Spot { holder, key: last, member: member.as_ref(), rivals: &rivals, unsettled };
    place(chooser, doc, &spot, path::pointer(steps.iter().map(AsRef::as_ref)))
}

/// A place that is open, with values of any length.
#[derive(Debug)]
pub(super) struct Place {
    path: String,
    kind: ConflictType,
    rule: Rule,
    /// The latest first.
    values: Vec<Standing>,
    /// Whether there are more removals than are told.
    more: bool,
}

/// Why nothing was chosen.
#[derive(Debug)]
pub(super) enum Unchosen {
    /// What stands there is not what was seen, or not what was named.
    Other(String),
    /// It names nothing that could stand there.
    Invalid(String),
}

impl Place {
    /// A short name for all that stands here: who gives it with a choice has seen no less.
    pub(super) fn seen(&self, doc: &DocId) -> String {
        let mut text = format!("{doc}\n{}\n", self.path);
        for one in &self.values {
            let Standing { by, removed, lost, value, .. } = one;
            text += &format!("{} {removed} {lost} {}\n", by.change, atomic::canonical(value));
        }
        hex(&digest64(text.as_bytes()).value().to_be_bytes()[..SEEN])
    }

    /// What the change stands for whose hash begins so; if this was seen, where that was asked for.
    pub(super) fn choose(&self, doc: &DocId, change: &str, seen: Option<&str>) -> Result<&Standing, Unchosen> {
        if seen.is_some_and(|seen| seen != self.seen(doc)) {
            return Err(Unchosen::Other("something else stands there than was told: look again".to_owned()));
        }
        if change.len() < CHANGE_MIN || !change.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            let why =
                format!("a change is named by the first {CHANGE_MIN} digits of its hash, or more, not by {change:?}");
            return Err(Unchosen::Invalid(why));
        }
        let mut found = self.values.iter().filter(|one| one.by.change.starts_with(change));
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one),
            (None, _) => Err(Unchosen::Other(format!("nothing of the change {change} stands there: look again"))),
            (Some(_), Some(_)) => {
                Err(Unchosen::Invalid(format!("{change} names more than one of those that stand there")))
            }
        }
    }

    fn told(self, doc: &DocId) -> OpenConflict {
        let seen = self.seen(doc);
        let Self { path, kind, rule, values, .. } = self;
        let told = |standing: Standing| {
            let (value, bytes) = bounded(standing.value);
            Standing { value, bytes, ..standing }
        };
        OpenConflict { doc: doc.clone(), path, kind, rule, seen, values: values.into_iter().map(told).collect() }
    }
}

struct Walk<'a> {
    chooser: &'a Chooser<'a>,
    merged: &'a Automerge,
    removals: Option<&'a Removals<'a>>,
    steps: Vec<String>,
    open: Vec<OpenConflict>,
    more: bool,
}

/// A place of which something may be told.
struct Spot<'s, 'a> {
    holder: &'s ObjId,
    key: &'s str,
    /// What shows there.
    member: Option<&'s Member<'a>>,
    rivals: &'s [Rival<'s>],
    unsettled: Option<&'a Unsettled<'a>>,
}

impl<'a> Walk<'a> {
    fn map(&mut self, twins: &Twins<'a>) {
        let mut contested = twins.contested(self.merged);
        let mut members = twins.members(self.merged);
        let unsettled = self.removals.map(|removals| removals.members(twins.newest())).unwrap_or_default();
        contested.extend(unsettled.keys().map(ToString::to_string));
        let keys: std::collections::BTreeSet<String> = members.keys().chain(&contested).cloned().collect();
        for key in keys {
            let member = members.remove(&key);
            self.steps.push(key.clone());
            if contested.contains(&key) {
                let rivals = twins.rivals(self.merged, &key).unwrap_or_default();
                let unsettled = unsettled.get(key.as_str()).copied();
                let member = member.as_ref();
                self.place(&Spot { holder: twins.newest(), key: &key, member, rivals: &rivals, unsettled });
            }
            if let Some(member) = member {
                self.below(&member);
            }
            self.steps.pop();
        }
    }

    fn below(&mut self, member: &Member<'a>) {
        match member {
            Member::Map(twins) => self.map(twins),
            Member::List(id, _) => self.list(id),
            Member::Text(_) | Member::Counter(_) | Member::Scalar(_) | Member::Made(_) => {}
        }
    }

    fn list(&mut self, id: &ObjId) {
        let items: Vec<(bool, ObjId)> = self.merged.list_range(id, ..).map(|item| (item.conflict, item.id())).collect();
        for (at, (conflict, value)) in items.into_iter().enumerate() {
            self.steps.push(at.to_string());
            let unsettled = self.removals.and_then(|removals| Some(removals.element(id, &value)?.1));
            let member = Member::element(self.merged, id, at, Some(self.chooser)).ok().flatten();
            if conflict || unsettled.is_some() {
                let (rivals, key) = (element_rivals(self.merged, id, at).unwrap_or_default(), at.to_string());
                self.place(&Spot { holder: id, key: &key, member: member.as_ref(), rivals: &rivals, unsettled });
            }
            if let Some(member) = member {
                self.below(&member);
            }
            self.steps.pop();
        }
    }

    /// Notes the place at which the walk is, if it is open.
    fn place(&mut self, spot: &Spot<'_, 'a>) {
        let path = path::pointer(self.steps.iter().map(String::as_str));
        self.note(place(self.chooser, self.merged, spot, path));
    }

    fn note(&mut self, place: Option<Place>) {
        let Some(place) = place else { return };
        if self.open.len() == OPEN_MAX {
            self.more = true;
            return;
        }
        self.more |= place.more;
        self.open.push(place.told(self.chooser.doc));
    }
}

/// The document itself, if somebody deleted it.
fn document(chooser: &Chooser<'_>, doc: &impl ReadDoc, removals: Option<&Removals<'_>>) -> Option<Place> {
    let unsettled = removals?.of_all()?;
    let all = read::member(doc, &Member::Map(Twins::root(Some(chooser))));
    let latest = unsettled.stays.iter().max_by_key(|change| (change.hlc, change.hash));
    let stands = latest.map(|change| standing(all, true, change)).into_iter().collect();
    Some(open_place(stands, Some(unsettled), chooser.policies.at(chooser.doc, ""), String::new()))
}

/// A place, if what stands there differs, or if a removal is not settled.
fn place<'a>(chooser: &'a Chooser<'a>, doc: &impl ReadDoc, spot: &Spot<'_, 'a>, path: String) -> Option<Place> {
    let Spot { holder, key, member, rivals, unsettled } = spot;
    let stands: Vec<(usize, Claim<'a>)> =
        chooser.standing(rivals).into_iter().filter_map(|(at, claim)| Some((at, claim?))).collect();
    let map = |at: usize| matches!(rivals[at].value, Value::Object(ObjType::Map));
    // Maps at one place are one, and so are counters.
    let one = stands.len() < 2 || chooser.counted(rivals).is_some() || stands.iter().all(|(at, _)| map(*at));
    let policy = chooser.policy_at(doc, holder, key);
    if one {
        let unsettled = (*unsettled)?;
        let latest = stands.iter().map(|(_, claim)| claim.change).max_by_key(|change| (change.hlc, change.hash));
        let value = |change| Some(standing(read::member(doc, member.as_ref()?), true, &change));
        return Some(open_place(latest.and_then(value).into_iter().collect(), Some(unsettled), policy, path));
    }
    let json = |at: usize| match chooser.total(rivals, at) {
        Some(total) => total.into(),
        None => chooser.json(doc, &rivals[at].value, &rivals[at].id),
    };
    let values: Vec<_> = stands.iter().map(|(at, claim)| (*at, *claim, json(*at))).collect();
    let texts: std::collections::BTreeSet<String> = values.iter().map(|(.., value)| atomic::canonical(value)).collect();
    if texts.len() < 2 && unsettled.is_none() {
        return None;
    }
    let shown = match policy.map(|policy| chooser.choose_by(doc, policy, rivals)) {
        Some(Chosen::One(at)) => Some(at),
        Some(Chosen::Made(_)) => None,
        None => stands.first().map(|(at, _)| *at),
    };
    let values = values.into_iter().map(|(at, claim, value)| standing(value, shown == Some(at), &claim.change));
    Some(open_place(values.collect(), *unsettled, policy, path))
}

/// These values stand at a place, and what is not settled beside them.
fn open_place(
    mut values: Vec<Told>,
    unsettled: Option<&Unsettled<'_>>,
    policy: Option<&Policy>,
    path: String,
) -> Place {
    let (mut kind, mut much) = (ConflictType::WriteWrite, false);
    if let Some(Unsettled { removed, lost, more, .. }) = unsettled {
        kind = ConflictType::DeleteWrite;
        much = *more || removed.len().max(lost.len()) > REMOVALS_MAX;
        let nothing = values.is_empty();
        let told = |change: &Wrote<'_>, shows| standing(serde_json::Value::Null, shows, change);
        let removal = |change: &Wrote<'_>| {
            let (standing, at) = told(change, nothing);
            (Standing { removed: true, ..standing }, at)
        };
        let addition = |change: &Wrote<'_>| {
            let (standing, at) = told(change, false);
            (Standing { lost: true, ..standing }, at)
        };
        values.extend(removed.iter().rev().take(REMOVALS_MAX).map(removal));
        values.extend(lost.iter().rev().take(REMOVALS_MAX).map(addition));
    }
    values.sort_by(|a, b| (b.1, &b.0.by.change).cmp(&(a.1, &a.0.by.change)));
    let rule = policy.map(|policy| policy.rule.clone()).unwrap_or_default();
    Place { path, kind, rule, values: values.into_iter().map(|(standing, _)| standing).collect(), more: much }
}

/// A value with its stamp, by which values are told in order.
type Told = (Standing, Hlc);

fn standing(value: serde_json::Value, shows: bool, change: &Wrote<'_>) -> Told {
    (Standing { value, bytes: None, removed: false, lost: false, shows, by: stamp(change) }, change.hlc)
}

//! Places of a document where several different values stand, or a removal beside what others wrote. What is told of one is bounded.

use automerge::{Automerge, ObjId, ObjType, ReadDoc, Value};

use super::super::conflicts::{OpenConflict, Standing};
use super::super::policy::Policy;
use super::choose::{Chooser, Chosen, Claim};
use super::met::{bounded, stamp};
use super::removals::{REMOVALS_MAX, Removals, Unsettled};
use super::table::Wrote;
use super::twins::{Member, Rival, Twins, element_rivals};
use super::{atomic, path, read};
use crate::conflict::ConflictType;
use crate::types::Hlc;

/// Places that are told of one document at most.
const OPEN_MAX: usize = 1_000;

/// In order of path, and whether there are more.
pub(super) fn open(chooser: &Chooser<'_>, merged: &Automerge) -> (Vec<OpenConflict>, bool) {
    let removals = Removals::of(chooser.table).map(|removals| removals.found(merged, Some(chooser)));
    let mut walk =
        Walk { chooser, merged, removals: removals.as_ref(), steps: Vec::new(), open: Vec::new(), more: false };
    walk.document();
    walk.map(&Twins::root(Some(chooser)));
    let Walk { open, more, .. } = walk;
    (open, more)
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
    /// The document itself, if somebody deleted it.
    fn document(&mut self) {
        let Some(unsettled) = self.removals.and_then(Removals::of_all) else { return };
        let all = read::member(self.merged, &Member::Map(Twins::root(Some(self.chooser))));
        let latest = unsettled.stays.iter().max_by_key(|change| (change.hlc, change.hash));
        let stands = latest.map(|change| standing(all, true, change)).into_iter().collect();
        self.tell(stands, Some(unsettled), self.chooser.policies.at(self.chooser.doc, ""));
    }

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

    /// Notes a place if what stands there differs, or if a removal is not settled.
    fn place(&mut self, spot: &Spot<'_, 'a>) {
        let Spot { holder, key, member, rivals, unsettled } = spot;
        let stands: Vec<(usize, Claim<'a>)> =
            self.chooser.standing(rivals).into_iter().filter_map(|(at, claim)| Some((at, claim?))).collect();
        let map = |at: usize| matches!(rivals[at].value, Value::Object(ObjType::Map));
        // Maps at one place are one, and so are counters.
        let one = stands.len() < 2 || self.chooser.counted(rivals).is_some() || stands.iter().all(|(at, _)| map(*at));
        let policy = self.chooser.policy_at(self.merged, holder, key);
        if one {
            if unsettled.is_none() {
                return;
            }
            let latest = stands.iter().map(|(_, claim)| claim.change).max_by_key(|change| (change.hlc, change.hash));
            let value = |change| Some(standing(read::member(self.merged, member.as_ref()?), true, &change));
            self.tell(latest.and_then(value).into_iter().collect(), *unsettled, policy);
            return;
        }
        let json = |at: usize| match self.chooser.total(rivals, at) {
            Some(total) => total.into(),
            None => self.chooser.json(self.merged, &rivals[at].value, &rivals[at].id),
        };
        let values: Vec<_> = stands.iter().map(|(at, claim)| (*at, *claim, json(*at))).collect();
        let texts: std::collections::BTreeSet<String> =
            values.iter().map(|(.., value)| atomic::canonical(value)).collect();
        if texts.len() < 2 && unsettled.is_none() {
            return;
        }
        let shown = match policy.map(|policy| self.chooser.choose_by(self.merged, policy, rivals)) {
            Some(Chosen::One(at)) => Some(at),
            Some(Chosen::Made(_)) => None,
            None => stands.first().map(|(at, _)| *at),
        };
        let values = values.into_iter().map(|(at, claim, value)| standing(value, shown == Some(at), &claim.change));
        self.tell(values.collect(), *unsettled, policy);
    }

    /// Notes the place at which the walk is: these values stand there, and what is not settled beside them.
    fn tell(&mut self, mut values: Vec<Told>, unsettled: Option<&Unsettled<'_>>, policy: Option<&Policy>) {
        if self.open.len() == OPEN_MAX {
            self.more = true;
            return;
        }
        let mut kind = ConflictType::WriteWrite;
        if let Some(Unsettled { removed, lost, more, .. }) = unsettled {
            kind = ConflictType::DeleteWrite;
            self.more |= *more || removed.len().max(lost.len()) > REMOVALS_MAX;
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
        self.open.push(OpenConflict {
            doc: self.chooser.doc.clone(),
            path: path::pointer(self.steps.iter().map(String::as_str)),
            kind,
            rule: policy.map(|policy| policy.rule.clone()).unwrap_or_default(),
            values: values.into_iter().map(|(standing, _)| standing).collect(),
        });
    }
}

/// A value with its stamp, by which values are told in order.
type Told = (Standing, Hlc);

fn standing(value: serde_json::Value, shows: bool, change: &Wrote<'_>) -> Told {
    let (value, bytes) = bounded(value);
    (Standing { value, bytes, removed: false, lost: false, shows, by: stamp(change) }, change.hlc)
}

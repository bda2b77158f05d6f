//! Places of a document where several different values stand.

use automerge::{Automerge, ObjId, ObjType, ReadDoc, Value};

use super::super::conflicts::{OpenConflict, Standing};
use super::choose::{Chooser, Chosen, Claim};
use super::met::{bounded, stamp};
use super::twins::{Member, Rival, Twins, element_rivals};
use super::{atomic, path};
use crate::conflict::ConflictType;

/// Places that are told of one document at most.
const OPEN_MAX: usize = 1_000;

/// In order of path, and whether there are more.
pub(super) fn open(chooser: &Chooser<'_>, merged: &Automerge) -> (Vec<OpenConflict>, bool) {
    let mut walk = Walk { chooser, merged, steps: Vec::new(), open: Vec::new(), more: false };
    walk.map(&Twins::root(Some(chooser)));
    let Walk { open, more, .. } = walk;
    (open, more)
}

struct Walk<'a> {
    chooser: &'a Chooser<'a>,
    merged: &'a Automerge,
    steps: Vec<String>,
    open: Vec<OpenConflict>,
    more: bool,
}

impl<'a> Walk<'a> {
    fn map(&mut self, twins: &Twins<'a>) {
        let contested = twins.contested(self.merged);
        for (key, member) in twins.members(self.merged) {
            self.steps.push(key);
            let key = self.steps.last().expect("it was just pushed").clone();
            if contested.contains(&key) {
                let rivals = twins.rivals(self.merged, &key).unwrap_or_default();
                self.place(twins.newest(), &key, &rivals);
            }
            self.below(&member);
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
        let conflicts: Vec<bool> = self.merged.list_range(id, ..).map(|item| item.conflict).collect();
        for (at, conflict) in conflicts.into_iter().enumerate() {
            self.steps.push(at.to_string());
            if conflict {
                let rivals = element_rivals(self.merged, id, at).unwrap_or_default();
                self.place(id, &at.to_string(), &rivals);
            }
            if let Ok(Some(member)) = Member::element(self.merged, id, at, Some(self.chooser)) {
                self.below(&member);
            }
            self.steps.pop();
        }
    }

    /// Notes a place if what stands there differs.
    fn place(&mut self, holder: &ObjId, key: &str, rivals: &[Rival<'_>]) {
        if self.open.len() == OPEN_MAX {
            self.more = true;
            return;
        }
        let stands: Vec<(usize, Claim<'a>)> =
            self.chooser.standing(rivals).into_iter().filter_map(|(at, claim)| Some((at, claim?))).collect();
        let map = |at: usize| matches!(rivals[at].value, Value::Object(ObjType::Map));
        // Maps at one place are one, and so are counters.
        if stands.len() < 2 || self.chooser.counted(rivals).is_some() || stands.iter().all(|(at, _)| map(*at)) {
            return;
        }
        let json = |at: usize| match self.chooser.total(rivals, at) {
            Some(total) => total.into(),
            None => self.chooser.json(self.merged, &rivals[at].value, &rivals[at].id),
        };
        let values: Vec<_> = stands.iter().map(|(at, claim)| (*at, *claim, json(*at))).collect();
        let texts: std::collections::BTreeSet<String> =
            values.iter().map(|(.., value)| atomic::canonical(value)).collect();
        if texts.len() < 2 {
            return;
        }
        let policy = self.chooser.policy_at(self.merged, holder, key);
        let shown = match policy.map(|policy| self.chooser.choose_by(self.merged, policy, rivals)) {
            Some(Chosen::One(at)) => Some(at),
            Some(Chosen::Made(_)) => None,
            None => stands.first().map(|(at, _)| *at),
        };
        let mut values: Vec<(Standing, _)> = values
            .into_iter()
            .map(|(at, claim, value)| {
                let (value, bytes) = bounded(value);
                let by = stamp(&claim.change);
                (Standing { value, bytes, shows: shown == Some(at), by }, claim.change.hlc)
            })
            .collect();
        values.sort_by(|a, b| (b.1, &b.0.by.change).cmp(&(a.1, &a.0.by.change)));
        self.open.push(OpenConflict {
            doc: self.chooser.doc.clone(),
            path: path::pointer(self.steps.iter().map(String::as_str)),
            kind: ConflictType::WriteWrite,
            rule: policy.map(|policy| policy.rule.clone()).unwrap_or_default(),
            values: values.into_iter().map(|(standing, _)| standing).collect(),
        });
    }
}

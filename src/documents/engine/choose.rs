//! Which of several values that stand at one place shows, by the policy of the place.
//!
//! Without a policy it is the one with the highest operation id, Automerge's own rule, and nothing here is asked. By another rule first
//! those go whose change another one's writer had seen: twin maps keep such values, and Automerge's rule never shows them. Then the
//! rule chooses among the rest. All of it is a function of the changes and of the policies: see the room's essay.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::{ObjId, ReadDoc, Value};

use super::super::change::Hash;
use super::super::policy::{Policies, Policy};
use super::met::PlaceId;
use super::removals::Removals;
use super::table::{Made, Table, Wrote};
use super::twins::{Member, Rival};
use super::{atomic, path, read};
use crate::conflict::{ConflictingValue, Customs, Priorities, Rule};
use crate::types::{Actor, DocId, Hlc, NodeId};

/// Chooses what shows in one document.
#[derive(Debug)]
pub(super) struct Chooser<'a> {
    pub(super) doc: &'a DocId,
    pub(super) table: &'a Table,
    pub(super) policies: &'a Policies,
    pub(super) customs: &'a Customs,
    /// The version that is edited, unless it is the newest: for each branch how many of its changes are in it.
    pub(super) version: Option<Vec<u32>>,
    /// The increments of several counters at once that the transaction has made.
    pub(super) shared: RefCell<Vec<(Vec<ObjId>, i64)>>,
    /// Where a removal stands beside what others wrote, if that is asked for: who settles such a place writes also what reads so already.
    pub(super) unsettled: Option<Removals<'a>>,
    /// Whether the transaction settles something: then what stands is asked for.
    pub(super) settles: bool,
    /// Those of these places that the transaction has settled.
    pub(super) settled: RefCell<BTreeSet<PlaceId>>,
}

/// An operation that wrote a value, as far as rules ask.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim<'a> {
    pub(super) counter: u32,
    pub(super) change: Wrote<'a>,
}

impl Claim<'_> {
    fn node(&self) -> Option<NodeId> {
        Actor::from_bytes(&self.change.name.actor).map(|actor| actor.node)
    }

    /// Automerge's order: the operation's counter, then its writer.
    fn id(&self) -> (u32, Vec<u8>) {
        (self.counter, self.change.name.to_bytes())
    }

    /// The latest, then who counts for more, then the higher id; then the order of operations, for one writer's own.
    fn latest(&self, priorities: &Priorities) -> (Hlc, i32, Option<NodeId>, Hash) {
        let node = self.node();
        (self.change.hlc, node.map_or(0, |node| priorities.of(node)), node, self.change.hash)
    }
}

/// What was chosen.
pub(super) enum Chosen {
    /// The rival of this index.
    One(usize),
    /// A value that a function made of them.
    Made(serde_json::Value),
}

impl<'a> Chooser<'a> {
    pub(super) fn new(
        doc: &'a DocId,
        table: &'a Table,
        (policies, customs): (&'a Policies, &'a Customs),
        version: Option<Vec<u32>>,
    ) -> Self {
        let (shared, settled) = (RefCell::default(), RefCell::default());
        Self { doc, table, policies, customs, version, shared, unsettled: None, settles: false, settled }
    }

    /// Whether one claim is above another one by a policy.
    pub(super) fn is_above(&self, policy: Option<&Policy>, a: &Claim<'_>, b: &Claim<'_>) -> bool {
        self.order(policy, a, b) == Ordering::Greater
    }

    fn order(&self, policy: Option<&Policy>, a: &Claim<'_>, b: &Claim<'_>) -> Ordering {
        let Some(Policy { rule, priorities, .. }) = policy else { return a.id().cmp(&b.id()) };
        let priority = |claim: &Claim<'_>| claim.node().map_or(0, |node| priorities.of(node));
        let latest = || a.latest(priorities).cmp(&b.latest(priorities));
        match rule {
            Rule::VectorClock => Ordering::Equal,
            Rule::Priority => priority(a).cmp(&priority(b)).then_with(latest),
            Rule::LastWriteWins | Rule::Custom(_) | Rule::Manual => latest(),
        }
        .then_with(|| a.id().cmp(&b.id()))
    }

    /// Of rivals, sorted with the highest operation id first, the indices of those that stand.
    pub(super) fn standing(&self, rivals: &[Rival<'_>]) -> Vec<(usize, Option<Claim<'a>>)> {
        let made: Vec<Made<'a>> = rivals.iter().map(|rival| self.table.made(&rival.id)).collect();
        // What is being written now is written by somebody who sees all of it.
        if let Some(at) = made.iter().position(|made| matches!(made, Made::Now)) {
            return vec![(at, None)];
        }
        let claims: Vec<(usize, Claim<'a>)> = made
            .iter()
            .enumerate()
            .filter_map(|(at, made)| match made {
                Made::By(counter, change) => Some((at, Claim { counter: *counter, change: *change })),
                Made::Now | Made::Folded => None,
            })
            .collect();
        let superseded = |(at, claim): &(usize, Claim<'_>)| {
            claims.iter().any(|(other, by)| {
                other != at && claim.change.is_seen_by(&by.change) && by.change.hash != claim.change.hash
            })
        };
        let standing: Vec<_> =
            claims.iter().filter(|one| !superseded(one)).map(|(at, claim)| (*at, Some(*claim))).collect();
        if standing.is_empty() { vec![(0, None)] } else { standing }
    }

    /// Which of several rivals shows at a place, if a policy says so.
    pub(super) fn choose(&self, doc: &impl ReadDoc, holder: &ObjId, key: &str, rivals: &[Rival<'_>]) -> Chosen {
        let Some(policy) = self.policy_at(doc, holder, key) else { return Chosen::One(0) };
        if policy.rule == Rule::VectorClock {
            return Chosen::One(0);
        }
        self.choose_by(doc, policy, rivals)
    }

    /// As [`choose`](Self::choose), by this policy.
    pub(super) fn choose_by(&self, doc: &impl ReadDoc, policy: &Policy, rivals: &[Rival<'_>]) -> Chosen {
        let standing = self.standing(rivals);
        let claimed: Vec<(usize, Claim<'_>)> =
            standing.iter().filter_map(|(at, claim)| Some((*at, (*claim)?))).collect();
        let best = claimed.iter().max_by(|a, b| self.order(Some(policy), &a.1, &b.1));
        let Some((best, _)) = best else { return Chosen::One(standing[0].0) };
        if let Rule::Custom(name) = &policy.rule
            && claimed.len() > 1
            && let Some(made) = self.made(doc, name, &claimed, rivals)
        {
            return Chosen::Made(made);
        }
        Chosen::One(*best)
    }

    /// What a function makes of the values that stand. `None` where there is no such function, where it fails, and where it makes no
    /// JSON: then the last write shows.
    fn made(
        &self,
        doc: &impl ReadDoc,
        name: &str,
        claimed: &[(usize, Claim<'_>)],
        rivals: &[Rival<'_>],
    ) -> Option<serde_json::Value> {
        let merge = self.customs.get(name)?;
        let value = |(at, claim): &(usize, Claim<'_>)| {
            let rival = &rivals[*at];
            let json = read::member(doc, &Member::alone(&rival.value, rival.id.clone(), None));
            Some(ConflictingValue {
                node_id: claim.node()?,
                data: Some(atomic::canonical(&json).into_bytes()),
                timestamp: claim.change.hlc,
                vector_clock: self.table.vector_clock(&claim.change),
            })
        };
        let mut values: Vec<ConflictingValue> = claimed.iter().filter_map(value).collect();
        values.sort_unstable();
        values.dedup();
        let made = catch_unwind(AssertUnwindSafe(|| merge(&values))).ok()??;
        serde_json::from_slice(&made).ok()
    }

    /// The policy that holds at a member of an object.
    pub(super) fn policy_at(&self, doc: &impl ReadDoc, holder: &ObjId, key: &str) -> Option<&'a Policy> {
        if !self.policies.concern(self.doc) {
            return None;
        }
        let mut steps: Vec<String> = doc.parents(holder).ok()?.map(|parent| parent.prop.to_string()).collect();
        steps.reverse();
        steps.push(key.to_owned());
        self.policies.at(self.doc, &path::pointer(steps.iter().map(String::as_str)))
    }

    /// A value in JSON, with what is below it shown by the same policies.
    pub(super) fn json(&'a self, doc: &impl ReadDoc, value: &Value<'_>, id: &ObjId) -> serde_json::Value {
        read::member(doc, &Member::alone(value, id.clone(), Some(self)))
    }
}

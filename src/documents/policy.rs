//! Policies: by which rule it is decided what shows where several values stand.
//!
//! A policy is for a prefix of document ids and a place in them. Where several fit, the one with the longest prefix holds, of those the
//! one with the longest path. It is a view: it changes what is shown, and writes nothing. What all peers show alike depends on
//! all having the same policies, so they are decided for the mesh; see `node::Policies`.
//!
//! Which rule chose when two values met is told by the policies of then: a [`PolicyHistory`] keeps the last few sets with the moment of
//! each. The moment is part of what was decided, so all peers judge by the same.

use std::sync::Arc;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::conflict::{Priorities, Rule};
use crate::types::{DocId, Hlc, WallTime};

/// Earlier sets of policies, and the one in force, that are remembered at most.
pub const POLICY_SETS_MAX: usize = 16;
/// Policies of a mesh at most.
pub const POLICIES_MAX: usize = 256;
/// Bytes of a prefix or path at most.
const LEN_MAX: usize = 1_024;

/// A rule for some documents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// For documents whose ids begin with this.
    pub prefix: String,
    /// For this place in them and all below: a JSON Pointer (RFC 6901); empty for the whole.
    #[serde(default)]
    pub path: String,
    /// The rule.
    pub rule: Rule,
    /// Which writers count for more, for the rules that ask for it.
    #[serde(default, skip_serializing_if = "Priorities::is_empty")]
    pub priorities: Priorities,
}

impl Policy {
    /// Whether it can do what its writer means: whoever sets one asks. What was decided before is read all the same.
    ///
    /// # Errors
    /// [`PolicyError`] says what is wrong.
    pub fn check(&self) -> Result<(), PolicyError> {
        let Self { prefix, path, rule, priorities } = self;
        if !path.is_empty() && !path.starts_with('/') {
            return Err(PolicyError::Path { path: path.clone() });
        }
        super::engine::check_path(path).map_err(|why| PolicyError::Pointer { path: path.clone(), why })?;
        // An id that is as long as ids may be goes no further.
        if !prefix.is_empty() && DocId::parse(prefix).is_err() {
            let longer = DocId::parse(&format!("{prefix}x"));
            longer.map_err(|error| PolicyError::Prefix { prefix: prefix.clone(), why: error.to_string() })?;
        }
        let why = match (rule, priorities.is_empty()) {
            (Rule::Priority, true) => "by priority nobody comes first where no member has one: give priorities",
            (Rule::VectorClock, false) => "the rule vector-clock asks for no priorities",
            _ => return Ok(()),
        };
        Err(PolicyError::Priorities { why })
    }
}

/// All policies of a mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Policy>", into = "Vec<Policy>")]
pub struct Policies(Arc<[Policy]>);

/// Why policies cannot be set. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// More than a mesh may have.
    #[error("{found} {what}, the limit is {max}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        found: usize,
        /// How many may be.
        max: usize,
    },
    /// A path that is no JSON Pointer.
    #[error("the path {path:?} does not begin with a slash")]
    Path {
        /// The path.
        path: String,
    },
    /// A path that is none.
    #[error("the path {path:?} is no JSON Pointer: {why}")]
    Pointer {
        /// The path.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// A prefix that no document's id begins with.
    #[error("no document can have an id that begins with {prefix:?}: {why}")]
    Prefix {
        /// The prefix.
        prefix: String,
        /// What is wrong.
        why: String,
    },
    /// Priorities for a rule that asks for none, or none for the one that decides by them.
    #[error("{why}")]
    Priorities {
        /// What is wrong.
        why: &'static str,
    },
    /// Earlier policies that do not follow each other, or none at all.
    #[error("the sets of policies are not in order of time")]
    Order,
    /// Two for one place.
    #[error("there are two policies for {prefix:?} {path:?}")]
    Twice {
        /// The prefix.
        prefix: String,
        /// The path.
        path: String,
    },
}

impl TryFrom<Vec<Policy>> for Policies {
    type Error = PolicyError;
    fn try_from(policies: Vec<Policy>) -> Result<Self, PolicyError> {
        Self::new(policies)
    }
}

impl From<Policies> for Vec<Policy> {
    fn from(policies: Policies) -> Self {
        policies.0.to_vec()
    }
}

impl Policies {
    /// These.
    ///
    /// # Errors
    /// [`PolicyError`] says which one cannot be.
    pub fn new(mut policies: Vec<Policy>) -> Result<Self, PolicyError> {
        let bounded =
            |what, found, max| if found > max { Err(PolicyError::TooMany { what, found, max }) } else { Ok(()) };
        bounded("policies", policies.len(), POLICIES_MAX)?;
        for Policy { prefix, path, priorities, .. } in &policies {
            bounded("bytes of a prefix", prefix.len(), LEN_MAX)?;
            bounded("bytes of a path", path.len(), LEN_MAX)?;
            bounded("priorities", priorities.len(), Priorities::MAX)?;
            if !path.is_empty() && !path.starts_with('/') {
                return Err(PolicyError::Path { path: path.clone() });
            }
        }
        policies.sort_by(|a, b| (&a.prefix, &a.path).cmp(&(&b.prefix, &b.path)));
        let twice =
            policies.windows(2).find(|pair| (&pair[0].prefix, &pair[0].path) == (&pair[1].prefix, &pair[1].path));
        if let Some([one, _]) = twice {
            return Err(PolicyError::Twice { prefix: one.prefix.clone(), path: one.path.clone() });
        }
        Ok(Self(policies.into()))
    }

    /// All of them, in order of prefix and path.
    #[must_use]
    pub fn all(&self) -> &[Policy] {
        &self.0
    }

    /// Whether there is one for some place of this document.
    #[must_use]
    pub fn concern(&self, doc: &DocId) -> bool {
        self.0.iter().any(|policy| doc.as_str().starts_with(&policy.prefix))
    }

    /// The one that holds at a place of a document.
    #[must_use]
    pub fn at(&self, doc: &DocId, path: &str) -> Option<&Policy> {
        let below = |policy: &&Policy| {
            path.strip_prefix(policy.path.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let fits = self.0.iter().filter(|policy| doc.as_str().starts_with(&policy.prefix)).filter(below);
        fits.max_by_key(|policy| (policy.prefix.len(), policy.path.len()))
    }
}

const fn whole(millis: u64) -> WallTime {
    WallTime::from_micros(millis.saturating_mul(1_000))
}

/// The policies that held from some moment on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicySet {
    /// From when on, in whole milliseconds, as the stamps of changes are: by the clock of the peer that asked for the decision, and above
    /// that of the set before. Absent where nobody told it: since ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<WallTime>,
    /// Which.
    pub policies: Policies,
}

/// The policies in force, and those that were before them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyHistory {
    /// The oldest first; never empty.
    sets: Arc<[PolicySet]>,
    forgot: bool,
}

impl Default for PolicyHistory {
    fn default() -> Self {
        Policies::default().into()
    }
}

/// These, since ever.
impl From<Policies> for PolicyHistory {
    fn from(policies: Policies) -> Self {
        Self { sets: Arc::new([PolicySet { since: None, policies }]), forgot: false }
    }
}

impl PolicyHistory {
    /// These sets, the oldest first; whether older ones were forgotten.
    ///
    /// # Errors
    /// [`PolicyError::TooMany`], and [`PolicyError::Order`] if one is not above the one before it, or there is none.
    pub fn new(sets: Vec<PolicySet>, forgot: bool) -> Result<Self, PolicyError> {
        if sets.len() > POLICY_SETS_MAX {
            return Err(PolicyError::TooMany { what: "sets of policies", found: sets.len(), max: POLICY_SETS_MAX });
        }
        if sets.is_empty() || sets.windows(2).any(|pair| pair[1].since.is_none() || pair[0].since >= pair[1].since) {
            return Err(PolicyError::Order);
        }
        Ok(Self { sets: sets.into(), forgot })
    }

    /// All of them, the oldest first.
    #[must_use]
    pub fn sets(&self) -> &[PolicySet] {
        &self.sets
    }

    /// Whether there were older ones.
    #[must_use]
    pub const fn has_forgotten(&self) -> bool {
        self.forgot
    }

    /// The policies of today.
    #[must_use]
    pub fn in_force(&self) -> &Policies {
        &self.sets.last().expect("there is one").policies
    }

    /// Those that held at a moment, and whether that is known: of a time before the oldest that is remembered it is not, and the oldest
    /// are given.
    #[must_use]
    pub fn at(&self, moment: Hlc) -> (&Policies, bool) {
        let held = self.sets.iter().rev().find(|set| set.since.is_none_or(|since| since <= moment.wall));
        (&held.unwrap_or(&self.sets[0]).policies, held.is_some())
    }

    /// These from now on: the first that were decided.
    #[must_use]
    pub fn since(policies: Policies, now: WallTime) -> Self {
        Self { sets: Arc::new([PolicySet { since: Some(whole(now.as_millis())), policies }]), forgot: false }
    }

    /// With other policies from now on. A clock that is behind the last set's moment does not put them before it.
    #[must_use]
    pub fn then(&self, policies: Policies, now: WallTime) -> Self {
        if policies == *self.in_force() {
            return self.clone();
        }
        let last = self.sets.last().and_then(|set| set.since);
        let since = last.map_or(0, |last| last.as_millis() + 1).max(now.as_millis());
        let set = PolicySet { since: Some(whole(since)), policies };
        let sets: Vec<PolicySet> = self.sets.iter().cloned().chain([set]).collect();
        let much = sets.len().saturating_sub(POLICY_SETS_MAX);
        Self { sets: sets[much..].into(), forgot: self.forgot || much > 0 }
    }

    /// Without the oldest; `None` if only those in force are left.
    #[must_use]
    pub fn shorter(&self) -> Option<Self> {
        let left = self.sets.get(1..).filter(|left| !left.is_empty())?;
        Some(Self { sets: left.into(), forgot: true })
    }

    /// With these before all, if nothing says that there were others.
    #[must_use]
    pub fn after(self, first: &Policies) -> Self {
        if self.forgot || self.sets[0].since.is_none() {
            return self;
        }
        let set = PolicySet { since: None, policies: first.clone() };
        Self { sets: [set].into_iter().chain(self.sets.iter().cloned()).collect(), forgot: false }
    }

    /// Whether any of them, of whatever time, is for some place of this document.
    #[must_use]
    pub fn concern(&self, doc: &DocId) -> bool {
        self.sets.iter().any(|set| set.policies.concern(doc))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(prefix: &str, path: &str, rule: Rule) -> Policy {
        Policy { prefix: prefix.to_owned(), path: path.to_owned(), rule, priorities: Priorities::default() }
    }

    #[test]
    fn the_longest_prefix_holds_then_the_longest_path() {
        let policies = Policies::new(vec![
            policy("", "", Rule::LastWriteWins),
            policy("layers/", "", Rule::Priority),
            policy("layers/", "/a", Rule::Manual),
            policy("l", "/a/b", Rule::VectorClock),
        ]);
        let policies = policies.unwrap();
        let rule = |doc: &str, path: &str| policies.at(&DocId::parse(doc).unwrap(), path).map(|policy| &policy.rule);
        assert_eq!(rule("jobs/1", "/a/b"), Some(&Rule::LastWriteWins));
        assert_eq!(rule("layers/1", "/b"), Some(&Rule::Priority));
        assert_eq!([rule("layers/1", "/a"), rule("layers/1", "/a/b")], [Some(&Rule::Manual); 2]);
        assert_eq!(rule("layers/1", "/ab"), Some(&Rule::Priority));
        assert_eq!(
            [rule("list", "/a/b/c"), rule("list", "/a")],
            [Some(&Rule::VectorClock), Some(&Rule::LastWriteWins)]
        );
        assert!(!Policies::default().concern(&DocId::parse("a").unwrap()));
    }

    #[test]
    fn what_cannot_be_a_policy_is_refused() {
        let refused = |policies| Policies::new(policies).unwrap_err();
        let one = || policy("a", "/b", Rule::Manual);
        assert_eq!(refused(vec![one(), one()]), PolicyError::Twice { prefix: "a".into(), path: "/b".into() });
        assert_eq!(refused(vec![policy("a", "b", Rule::Manual)]), PolicyError::Path { path: "b".into() });
        let many = (0..=POLICIES_MAX).map(|n| policy(&n.to_string(), "", Rule::Manual)).collect();
        assert!(matches!(refused(many), PolicyError::TooMany { what: "policies", .. }));
        assert!(matches!(
            refused(vec![policy(&"x".repeat(LEN_MAX + 1), "", Rule::Manual)]),
            PolicyError::TooMany { .. }
        ));
    }

    #[test]
    fn who_sets_a_policy_is_told_what_it_could_not_do() {
        let check = |prefix: &str, path: &str, rule, priorities: &[u128]| {
            let priorities = priorities.iter().map(|id| (crate::types::NodeId::from_u128(*id), 3)).collect();
            Policy { prefix: prefix.into(), path: path.into(), rule, priorities }.check()
        };
        for prefix in ["", "a", "a/", "a/.", "layers/x", &"x".repeat(DocId::LEN_MAX)] {
            assert_eq!(check(prefix, "/a~1b/0", Rule::Manual, &[]), Ok(()), "{prefix:?}");
        }
        for prefix in ["/a", "a//", "a/../", "a*", "a\n", &"x".repeat(DocId::LEN_MAX + 1)] {
            assert!(matches!(check(prefix, "", Rule::Manual, &[]), Err(PolicyError::Prefix { .. })), "{prefix:?}");
        }
        assert!(matches!(check("", "style", Rule::Manual, &[]), Err(PolicyError::Path { .. })));
        for path in ["/a~2", "/a~"] {
            assert!(matches!(check("", path, Rule::Manual, &[]), Err(PolicyError::Pointer { .. })), "{path:?}");
        }
        assert!(matches!(check("", "", Rule::Priority, &[]), Err(PolicyError::Priorities { .. })));
        assert!(matches!(check("", "", Rule::VectorClock, &[1]), Err(PolicyError::Priorities { .. })));
        for rule in [Rule::Priority, Rule::LastWriteWins, Rule::Manual] {
            assert_eq!(check("", "", rule, &[1]), Ok(()), "among equal ones who counts for more");
        }
    }

    fn set(rule: Rule) -> Policies {
        Policies::new(vec![policy("", "", rule)]).unwrap()
    }

    fn moment(micros: u64) -> Hlc {
        Hlc { wall: WallTime::from_micros(micros), logical: 7 }
    }

    #[test]
    fn a_moment_is_judged_by_the_policies_that_held_then() {
        let start = PolicyHistory::from(set(Rule::Manual));
        let history = start.then(set(Rule::Priority), WallTime::from_micros(5_000_900));
        let history = history.then(set(Rule::LastWriteWins), WallTime::from_micros(7_000_000));
        for (micros, rule) in [(0, Rule::Manual), (4_999_000, Rule::Manual), (5_000_000, Rule::Priority)] {
            assert_eq!(history.at(moment(micros)), (&set(rule), true), "{micros}");
        }
        assert_eq!(
            (history.at(moment(u64::MAX)).0, history.in_force()),
            (&set(Rule::LastWriteWins), history.in_force())
        );
        // The same again is no other set; a clock that is behind does not change what was.
        assert_eq!(history.then(set(Rule::LastWriteWins), WallTime::from_micros(9_000_000)), history);
        let behind = history.then(set(Rule::Manual), WallTime::EPOCH);
        assert_eq!(behind.sets()[3].since, Some(WallTime::from_micros(7_001_000)));
        assert_eq!(behind.at(moment(7_000_000)), history.at(moment(7_000_000)));
    }

    #[test]
    fn only_so_many_sets_are_remembered_and_older_moments_are_said_to_be_unknown() {
        let mut history = PolicyHistory::default();
        for n in 1..=POLICY_SETS_MAX as u64 + 3 {
            let rule = if n % 2 == 0 { Rule::Manual } else { Rule::Priority };
            history = history.then(set(rule), WallTime::from_micros(n * 1_000_000));
        }
        assert_eq!((history.sets().len(), history.has_forgotten()), (POLICY_SETS_MAX, true));
        assert_eq!(history.at(moment(1_000_000)), (&set(Rule::Manual), false));
        assert_eq!(history.at(moment(4_000_000)), (&set(Rule::Manual), true));
        assert_eq!(history.clone().after(&set(Rule::LastWriteWins)), history, "what was before is not known");
        let short = std::iter::successors(Some(history.clone()), PolicyHistory::shorter).last().unwrap();
        assert_eq!((short.sets().len(), short.in_force()), (1, history.in_force()));
        assert_eq!(short.at(moment(0)), (history.in_force(), false));
    }

    #[test]
    fn what_held_before_anything_was_decided_holds_for_what_is_older() {
        let decided = PolicySet { since: Some(WallTime::from_micros(2_000)), policies: set(Rule::Manual) };
        let history = PolicyHistory::new(vec![decided.clone()], false).unwrap();
        assert_eq!(history.at(moment(1_000)), (&set(Rule::Manual), false));
        let history = history.after(&set(Rule::Priority));
        assert_eq!(
            [history.at(moment(1_000)), history.at(moment(2_000))],
            [(&set(Rule::Priority), true), (&set(Rule::Manual), true)]
        );
        let wrong = [vec![], vec![decided.clone(), decided.clone()], vec![decided.clone(), PolicySet::default()]];
        for sets in wrong {
            assert_eq!(PolicyHistory::new(sets, false), Err(PolicyError::Order));
        }
        let many = vec![decided; POLICY_SETS_MAX + 1];
        assert!(matches!(PolicyHistory::new(many, false), Err(PolicyError::TooMany { .. })));
    }
}

//! Policies: by which rule it is decided what shows where several values stand.
//!
//! A policy is for a prefix of document ids and a place in them. Where several fit, the one with the longest prefix holds, of those the
//! one with the longest path. It is a view: it changes what is shown, and writes nothing. What all peers show alike depends on
//! all having the same policies, so they are decided for the mesh; see `node::Policies`.

use std::sync::Arc;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::conflict::{Priorities, Rule};
use crate::types::DocId;

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
}

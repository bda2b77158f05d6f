//! Rules by name, as they are written in policies, and what they need.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bincode::{Decode, Encode};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ConflictingValue;
use crate::types::NodeId;

/// By which rule it is decided what shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[non_exhaustive]
pub enum Rule {
    /// What was written with knowledge of the others wins, and of concurrent values the one whose writer knew of more; then the
    /// higher writer's. This is what shows where nobody asked for anything else.
    #[default]
    VectorClock,
    /// The latest write wins by its hybrid logical clock, then by its writer's priority, then by its id.
    LastWriteWins,
    /// The writer with the highest priority wins, then the latest write, then the higher id.
    Priority,
    /// A function of this name makes a value of those that met.
    Custom(String),
    /// A person decides; until then the last write shows.
    Manual,
}

/// Why a text is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no rule: one of last-write-wins, vector-clock, priority, manual, custom:NAME (letters, digits and dashes, {} at most)",
    Rule::NAME_MAX
)]
pub struct RuleError {
    /// The text.
    pub text: String,
}

impl Rule {
    /// Bytes of a custom function's name at most.
    pub const NAME_MAX: usize = 64;
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VectorClock => f.write_str("vector-clock"),
            Self::LastWriteWins => f.write_str("last-write-wins"),
            Self::Priority => f.write_str("priority"),
            Self::Custom(name) => write!(f, "custom:{name}"),
            Self::Manual => f.write_str("manual"),
        }
    }
}

impl FromStr for Rule {
    type Err = RuleError;
    fn from_str(text: &str) -> Result<Self, RuleError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        match text {
            "vector-clock" => Ok(Self::VectorClock),
            "last-write-wins" => Ok(Self::LastWriteWins),
            "priority" => Ok(Self::Priority),
            "manual" => Ok(Self::Manual),
            text => match text.strip_prefix("custom:") {
                Some(name) if (1..=Self::NAME_MAX).contains(&name.len()) && name.chars().all(fits) => {
                    Ok(Self::Custom(name.to_owned()))
                }
                _ => Err(RuleError { text: text.to_owned() }),
            },
        }
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Which writers count for more; whoever is not named has priority 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Priorities(BTreeMap<NodeId, i32>);

impl Priorities {
    /// Peers that can be named at most.
    pub const MAX: usize = 1_024;

    /// Of this peer.
    #[must_use]
    pub fn of(&self, node: NodeId) -> i32 {
        self.0.get(&node).copied().unwrap_or_default()
    }

    /// How many are named.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those named, in order of id.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, i32)> + '_ {
        self.0.iter().map(|(node, priority)| (*node, *priority))
    }
}

impl FromIterator<(NodeId, i32)> for Priorities {
    fn from_iter<I: IntoIterator<Item = (NodeId, i32)>>(iter: I) -> Self {
        Self(iter.into_iter().collect())
    }
}

/// Makes one value of those that met, which come in their order, each once. It must be **pure**: the same on each peer, with no look at
/// a clock, at chance, or at where it runs. Otherwise peers show different values, each for itself, and nothing tells them.
pub type Custom = Arc<dyn Fn(&[ConflictingValue]) -> Option<Vec<u8>> + Send + Sync>;

/// Functions by name.
#[derive(Clone, Default)]
pub struct Customs(BTreeMap<String, Custom>);

impl Customs {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// With this function too; one of the same name is replaced.
    #[must_use]
    pub fn with(
        mut self,
        name: impl Into<String>,
        merge: impl Fn(&[ConflictingValue]) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        self.0.insert(name.into(), Arc::new(merge));
        self
    }

    /// The function of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Custom> {
        self.0.get(name)
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// Equal if they have the same names.
impl PartialEq for Customs {
    fn eq(&self, other: &Self) -> bool {
        self.0.keys().eq(other.0.keys())
    }
}

impl Eq for Customs {}

impl fmt::Debug for Customs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

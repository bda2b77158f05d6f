//! The strategies of the user's documents, on opaque values.

use std::collections::BTreeMap;
use std::fmt;

use uuid::Uuid;

use super::rule::Custom;
use super::value::standing;
use super::{Conflict, ConflictError, ConflictResolver, ConflictingValue, Priorities, ResolutionResult};
use crate::types::{Hlc, NodeId};

/// The latest write wins: by its hybrid logical clock, then its writer's priority, then its writer's id, then its bytes.
#[derive(Clone, Debug, Default)]
pub struct LastWriteWins {
    priorities: Priorities,
}

impl LastWriteWins {
    /// With priorities that break ties between equal stamps.
    #[must_use]
    pub const fn new(priorities: Priorities) -> Self {
        Self { priorities }
    }
}

impl ConflictResolver for LastWriteWins {
    fn resolve(&self, conflict: &Conflict) -> Result<ResolutionResult, ConflictError> {
        let values = standing(&conflict.values);
        let latest = values.iter().max_by_key(|value| (value.timestamp, self.priorities.of(value.node_id), *value));
        one(conflict, &values, latest, self.strategy_name())
    }

    fn strategy_name(&self) -> &'static str {
        "last-write-wins"
    }
}

/// What was written with knowledge of the others wins. Of concurrent values the one whose writer knew of more writes wins, then
/// the higher writer's, then the later one, then the higher bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct VectorClockResolver;

impl ConflictResolver for VectorClockResolver {
    fn resolve(&self, conflict: &Conflict) -> Result<ResolutionResult, ConflictError> {
        let values = standing(&conflict.values);
        let most = values.iter().max_by_key(|value| (value.vector_clock.total(), value.node_id, *value));
        one(conflict, &values, most, self.strategy_name())
    }

    fn strategy_name(&self) -> &'static str {
        "vector-clock"
    }
}

/// The writer with the highest priority wins, then the latest write, then the higher id, then the higher bytes.
#[derive(Clone, Debug, Default)]
pub struct HighestPriorityWins {
    priorities: Priorities,
}

impl HighestPriorityWins {
    /// With these priorities; whoever is not named has 0.
    #[must_use]
    pub const fn new(priorities: Priorities) -> Self {
        Self { priorities }
    }
}

impl ConflictResolver for HighestPriorityWins {
    fn resolve(&self, conflict: &Conflict) -> Result<ResolutionResult, ConflictError> {
        let values = standing(&conflict.values);
        let highest = values.iter().max_by_key(|value| (self.priorities.of(value.node_id), *value));
        one(conflict, &values, highest, self.strategy_name())
    }

    fn strategy_name(&self) -> &'static str {
        "priority"
    }
}

/// A function makes one value of those that stand.
#[derive(Clone)]
pub struct CustomMergeResolver {
    name: String,
    merge: Custom,
}

impl fmt::Debug for CustomMergeResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CustomMergeResolver").field("name", &self.name).finish_non_exhaustive()
    }
}

impl CustomMergeResolver {
    /// A function under the name that the trail is to show. It must be pure, see [`Custom`]: it is given the values
    /// in their order, each once.
    #[must_use]
    pub fn new(name: &str, merge: impl Fn(&[ConflictingValue]) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self { name: format!("custom:{name}"), merge: std::sync::Arc::new(merge) }
    }
}

impl ConflictResolver for CustomMergeResolver {
    fn resolve(&self, conflict: &Conflict) -> Result<ResolutionResult, ConflictError> {
        let values = standing(&conflict.values);
        let timestamp = highest(&values)?;
        let resolved_value = (self.merge)(&values);
        let of = |value: &&ConflictingValue| value.data == resolved_value;
        let winner = values.iter().rev().find(of).map(|value| value.node_id);
        Ok(result(conflict, &values, resolved_value, timestamp, winner, &self.name))
    }

    fn strategy_name(&self) -> &str {
        &self.name
    }
}

/// A person decides. Holds the decisions; what is not decided is an error that says what shows meanwhile.
#[derive(Clone, Debug, Default)]
pub struct ManualResolver {
    decided: BTreeMap<Uuid, Decision>,
}

#[derive(Clone, Debug)]
struct Decision {
    data: Option<Vec<u8>>,
    by: NodeId,
    at: Hlc,
}

impl ManualResolver {
    /// Decisions that are held at most.
    pub const DECISIONS_MAX: usize = 10_000;

    /// Nothing decided yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { decided: BTreeMap::new() }
    }

    /// A person decides one conflict: for one of its values or for a new one; none removes what was there. A later decision on the
    /// same one replaces it.
    ///
    /// # Errors
    /// [`ConflictError::Full`] if [`Self::DECISIONS_MAX`] are held. Nothing was changed.
    pub fn decide(&mut self, id: Uuid, data: Option<Vec<u8>>, by: NodeId, at: Hlc) -> Result<(), ConflictError> {
        if self.decided.len() >= Self::DECISIONS_MAX && !self.decided.contains_key(&id) {
            return Err(ConflictError::Full { max: Self::DECISIONS_MAX });
        }
        self.decided.insert(id, Decision { data, by, at });
        Ok(())
    }

    /// Forgets a decision, when it was written down. Whether there was one.
    pub fn forget(&mut self, id: Uuid) -> bool {
        self.decided.remove(&id).is_some()
    }
}

impl ConflictResolver for ManualResolver {
    fn resolve(&self, conflict: &Conflict) -> Result<ResolutionResult, ConflictError> {
        let values = standing(&conflict.values);
        let Some(Decision { data, by, at }) = self.decided.get(&conflict.id) else {
            let mut meanwhile = LastWriteWins::default().resolve(conflict)?;
            self.strategy_name().clone_into(&mut meanwhile.strategy);
            return Err(ConflictError::Undecided { conflict: conflict.id, meanwhile: Box::new(meanwhile) });
        };
        highest(&values)?;
        Ok(result(conflict, &values, data.clone(), *at, Some(*by), self.strategy_name()))
    }

    fn strategy_name(&self) -> &'static str {
        "manual"
    }
}

fn highest(values: &[ConflictingValue]) -> Result<Hlc, ConflictError> {
    values.iter().map(|value| value.timestamp).max().ok_or(ConflictError::NoValues)
}

fn one(
    conflict: &Conflict,
    values: &[ConflictingValue],
    winner: Option<&ConflictingValue>,
    strategy: &str,
) -> Result<ResolutionResult, ConflictError> {
    let winner = winner.ok_or(ConflictError::NoValues)?;
    Ok(result(conflict, values, winner.data.clone(), winner.timestamp, Some(winner.node_id), strategy))
}

fn result(
    conflict: &Conflict,
    values: &[ConflictingValue],
    resolved_value: Option<Vec<u8>>,
    timestamp: Hlc,
    winner: Option<NodeId>,
    strategy: &str,
) -> ResolutionResult {
    ResolutionResult {
        conflict_id: conflict.id,
        resolved_value,
        strategy: strategy.to_owned(),
        timestamp,
        winner,
        vector_clock: super::value::merged_clock(values),
    }
}

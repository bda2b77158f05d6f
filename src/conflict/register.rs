//! A place for one opaque value, as each peer holds it: all values that stand side by side.

use super::value::{Conflict, ConflictingValue, merged_clock, standing};
use crate::types::{Hlc, NodeId, VectorClock};

/// One place with an opaque value. What was written without knowledge of each other stands side by side, as in Dynamo (`DeCandia` et
/// al., SOSP 2007, section 4.4), until somebody who has seen it writes again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    key: String,
    /// In order; none supersedes another.
    values: Vec<ConflictingValue>,
}

/// What came of a merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Merged {
    /// All of it was known.
    Known,
    /// There was something new.
    Taken,
    /// There was something new, and so many of the oldest values had to go: see [`Register::VALUES_MAX`].
    Crowded(usize),
}

impl Register {
    /// Values that stand side by side at most. As many writers would have to write at the same time; of more the lowest in order go.
    /// That too is a function of the values alone.
    pub const VALUES_MAX: usize = 256;

    /// Nothing written yet.
    #[must_use]
    pub fn new(key: impl Into<String>) -> Self {
        Self { key: key.into(), values: Vec::new() }
    }

    /// With these values, as they are.
    #[cfg(test)]
    pub(super) fn with(key: &str, values: Vec<ConflictingValue>) -> Self {
        Self { key: key.to_owned(), values }
    }

    /// A peer writes: the value supersedes all that stands here. It is attributed to that peer, whose values ever these were.
    pub fn write(&mut self, node_id: NodeId, data: Option<Vec<u8>>, timestamp: Hlc) -> &ConflictingValue {
        let mut vector_clock = self.clock();
        vector_clock.increment(node_id);
        self.values = vec![ConflictingValue { node_id, data, timestamp, vector_clock }];
        &self.values[0]
    }

    /// Takes what another peer holds of this place. Clocks stay with their values.
    pub fn merge(&mut self, other: &Self) -> Merged {
        let all: Vec<_> = self.values.iter().chain(&other.values).cloned().collect();
        let mut values = standing(&all);
        let crowd = values.len().saturating_sub(Self::VALUES_MAX);
        values.drain(..crowd);
        let new = values != self.values;
        self.values = values;
        match (crowd, new) {
            (0, false) => Merged::Known,
            (0, true) => Merged::Taken,
            (crowd, _) => Merged::Crowded(crowd),
        }
    }

    /// The values that stand, in order.
    #[must_use]
    pub fn values(&self) -> &[ConflictingValue] {
        &self.values
    }

    /// All that was seen here.
    #[must_use]
    pub fn clock(&self) -> VectorClock {
        merged_clock(&self.values)
    }

    /// The conflict, if different values stand.
    #[must_use]
    pub fn conflict(&self) -> Option<Conflict> {
        Conflict::detect(&self.key, &self.values)
    }
}

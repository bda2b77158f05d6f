//! The words: values that stand side by side, what that is called, and what came of it.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::types::{Hlc, NodeId, VectorClock};

/// One of the values that met.
///
/// Its order is the total order that breaks ties: the later stamp is higher, of equal stamps the one of the higher peer, then the
/// one with the higher bytes (none is lowest), then the one that knows of more writes, and then of equal counts whatever order their clocks have. Two values
/// that are equal in all of it are one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConflictingValue {
    /// Who wrote it, whoever passed it on.
    pub node_id: NodeId,
    /// The value; absent if its writer removed what was there.
    pub data: Option<Vec<u8>>,
    /// When, by the writer's hybrid logical clock.
    pub timestamp: Hlc,
    /// What the writer had seen, this write included.
    pub vector_clock: VectorClock,
}

impl Ord for ConflictingValue {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let key = |value: &Self| (value.timestamp, value.node_id, value.vector_clock.total());
        let (a, b) = (key(self), key(other));
        (a.0, a.1, &self.data, a.2)
            .cmp(&(b.0, b.1, &other.data, b.2))
            .then_with(|| self.vector_clock.iter().cmp(other.vector_clock.iter()))
    }
}

impl PartialOrd for ConflictingValue {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl ConflictingValue {
    /// Whether the other's writer had seen this one, so that it does not stand beside it.
    #[must_use]
    pub fn is_superseded_by(&self, other: &Self) -> bool {
        self.vector_clock.happens_before(&other.vector_clock)
    }
}

/// What kind of writes met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ConflictType {
    /// Two writers set one place to different values: one of them shows.
    WriteWrite,
    /// One removed what another wrote. In documents what was written stays; of opaque values the strategy decides.
    DeleteWrite,
    /// Two changed what is merged inside (a counter, a list, a text): both changes stay and nothing is lost, but what came
    /// of it nobody has seen.
    ConcurrentUpdate,
}

impl ConflictType {
    /// Its name, as it is written in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::WriteWrite => "write-write",
            Self::DeleteWrite => "delete-write",
            Self::ConcurrentUpdate => "concurrent-update",
        }
    }
}

impl fmt::Display for ConflictType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Different values that stand side by side: no writer of one had seen another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Conflict {
    /// Names it: the same on each peer that holds the same values.
    pub id: Uuid,
    /// What kind of writes met.
    pub conflict_type: ConflictType,
    /// Where.
    pub key: String,
    /// The values, at least two of which differ, in their order.
    pub values: Vec<ConflictingValue>,
}

impl Conflict {
    /// Of these values those that stand, if they differ. What another one's writer had seen is left out; equal values
    /// of several writers are no conflict.
    #[must_use]
    pub fn detect(key: &str, values: &[ConflictingValue]) -> Option<Self> {
        let values = standing(values);
        if values.windows(2).all(|pair| pair[0].data == pair[1].data) {
            return None;
        }
        let removed = values.iter().any(|value| value.data.is_none());
        let conflict_type = if removed { ConflictType::DeleteWrite } else { ConflictType::WriteWrite };
        Some(Self { id: name(key, &values), conflict_type, key: key.to_owned(), values })
    }

    /// The clock of a value that is made from all that stand.
    #[must_use]
    pub fn merged_clock(&self) -> VectorClock {
        merged_clock(&self.values)
    }
}

/// The values that no other one supersedes, sorted, each once.
pub(super) fn standing(values: &[ConflictingValue]) -> Vec<ConflictingValue> {
    let stands = |value: &&ConflictingValue| !values.iter().any(|other| value.is_superseded_by(other));
    let mut standing: Vec<_> = values.iter().filter(stands).cloned().collect();
    standing.sort_unstable();
    standing.dedup();
    standing
}

pub(super) fn merged_clock(values: &[ConflictingValue]) -> VectorClock {
    let mut clock = VectorClock::new();
    values.iter().for_each(|value| clock.merge(&value.vector_clock));
    clock
}

/// A UUID of version 8 (RFC 9562) from the key and the values.
fn name(key: &str, values: &[ConflictingValue]) -> Uuid {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(key.as_bytes());
    for value in values {
        part(value.node_id.as_bytes());
        part(&value.timestamp.wall.as_micros().to_be_bytes());
        part(&value.timestamp.logical.to_be_bytes());
        part(&[u8::from(value.data.is_some())]);
        part(value.data.as_deref().unwrap_or_default());
        for (node, count) in value.vector_clock.iter() {
            part(node.as_bytes());
            part(&count.to_be_bytes());
        }
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// What a resolver made of a conflict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ResolutionResult {
    /// Of which.
    pub conflict_id: Uuid,
    /// The value that shows; absent if that is a removal.
    pub resolved_value: Option<Vec<u8>>,
    /// By which strategy: [`ConflictResolver::strategy_name`].
    pub strategy: String,
    /// The stamp of the value that shows, or the highest of those from which it was made.
    pub timestamp: Hlc,
    /// Whose value it is; absent if it was made from several.
    pub winner: Option<NodeId>,
    /// For whoever writes it down: a value with this clock, and the writer's own count raised, supersedes all that stood.
    pub vector_clock: VectorClock,
}

/// Why nothing was chosen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConflictError {
    /// There are no values to choose from.
    #[error("a conflict without values cannot be resolved")]
    NoValues,
    /// A person is to decide, and has not.
    #[error("conflict {conflict} waits for a person to decide")]
    Undecided {
        /// Which.
        conflict: Uuid,
        /// What shows meanwhile: the last write.
        meanwhile: Box<ResolutionResult>,
    },
    /// So many decisions are held already.
    #[error("{max} decisions are held already; take some away first")]
    Full {
        /// How many may be.
        max: usize,
    },
}

/// Chooses what shows. A pure function of the conflict's values, whatever their order: each peer chooses alone, and all choose alike. So
/// it neither waits nor asks anybody, and is not `async`.
pub trait ConflictResolver: fmt::Debug + Send + Sync {
    /// What shows of these values. Values of which another one's writer knew are not considered.
    ///
    /// # Errors
    /// [`ConflictError::NoValues`] if there are none; [`ConflictError::Undecided`] where a person is to decide.
    fn resolve(&self, conflict: &Conflict) -> Result<ResolutionResult, ConflictError>;

    /// The strategy's name, for the trail.
    fn strategy_name(&self) -> &str;
}

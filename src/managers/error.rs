//! The one error of this room.

use uuid::Uuid;

use crate::error::{Error, ErrorKind};

/// Why something was not done. Nothing was changed, unless the variant says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HaError {
    /// No node runs in this process, and none is named.
    #[error(
        "no node of the mesh runs in this process, and OXIGDAL_HA_API names none: start one with `Mesh::builder`, or set the variable \
         to the address of a peer's interface"
    )]
    NoPeer,
    /// The node that there is has another id.
    #[error("no node with the id {wanted} runs in this process; what there is: {found}")]
    OtherPeer {
        /// The id that was given.
        wanted: Uuid,
        /// Those that are there.
        found: String,
    },
    /// It was not started, or was stopped.
    #[error("it was not started: call start() first")]
    NotStarted,
    /// No member of the mesh has this id.
    #[error("the mesh has no member {id}: a node joins with an invite, and cannot be added by its address alone")]
    UnknownReplica {
        /// The id.
        id: Uuid,
    },
    /// The member is at other addresses.
    #[error("the member {id} is not at {given}, but at {known}")]
    OtherAddress {
        /// Whose.
        id: Uuid,
        /// What was given.
        given: String,
        /// Where it says it is.
        known: String,
    },
    /// It is this node itself.
    #[error("{id} is this node itself")]
    Itself {
        /// Its id.
        id: Uuid,
    },
    /// The replica is paused, and an event for it would wait.
    #[error("the replica {id} is paused")]
    Paused {
        /// Which.
        id: Uuid,
    },
    /// An event says that it is of another node.
    #[error("the event is of {found}, this node is {node}")]
    OtherSource {
        /// Of whom it says it is.
        found: Uuid,
        /// This node.
        node: Uuid,
    },
    /// An event's data is not what its checksum is of.
    #[error("the event's data has the checksum {found:#010x}, it says {expected:#010x}")]
    Checksum {
        /// What it says.
        expected: u32,
        /// What its data has.
        found: u32,
    },
    /// A replica lags more than it may.
    #[error("the replica {id} lags by {lag_ms} ms, the limit is {threshold_ms} ms")]
    ReplicationLagExceeded {
        /// Which.
        id: Uuid,
        /// By how much.
        lag_ms: u64,
        /// How much it may.
        threshold_ms: u64,
    },
    /// Nobody was elected in time.
    #[error("nobody leads the voters after {waited_ms} ms: {why}")]
    NoLeader {
        /// How long it was waited.
        waited_ms: u64,
        /// What is known of it.
        why: String,
    },
    /// Whoever was to take a role over did not in time. It may still.
    #[error("{node} does not act as {role} after {waited_ms} ms; it may yet")]
    NotPromoted {
        /// Who.
        node: Uuid,
        /// Which role.
        role: String,
        /// How long it was waited.
        waited_ms: u64,
    },
    /// The node refused, or could not.
    #[error(transparent)]
    Peer(#[from] Error),
    /// The node at OXIGDAL_HA_API refused, or could not.
    #[error("{api}: {message}")]
    Api {
        /// Its address.
        api: String,
        /// Its code, as [`ErrorKind::code`]; empty if nothing answered there.
        code: String,
        /// Its words.
        message: String,
    },
}

/// What this room's calls give.
pub type HaResult<T> = Result<T, HaError>;

impl HaError {
    /// Whether it is worth trying again shortly: nothing was done, and the node is only busy.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        let passing = |code: &str| [ErrorKind::Busy.code(), ErrorKind::Booting.code()].contains(&code);
        match self {
            Self::Peer(error) => passing(error.kind().code()),
            Self::Api { code, .. } => passing(code),
            _ => false,
        }
    }

    /// The node's code, where it was a node that refused.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Peer(error) => Some(error.kind().code()),
            Self::Api { code, .. } => Some(code.as_str()),
            _ => None,
        }
    }
}

//! The one error of this room.

use uuid::Uuid;

use super::token::TokenUnread;
use crate::error::{Error, ErrorKind};
use crate::events::Gap;
use crate::replication::ReplicationState;

/// Why something was not done. Nothing was changed, unless the variant says otherwise: what a node or its interface says
/// ([`Peer`](Self::Peer), [`Api`](Self::Api)) may come after something was done, and [`may_be_done`](Self::may_be_done) tells which.
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
    /// The token that OXIGDAL_HA_TOKEN names cannot be had.
    #[error("OXIGDAL_HA_TOKEN: {0}")]
    Token(#[from] TokenUnread),
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
    /// Events for this node have expired before it read them: they were kept no longer than it was away. Some of what is missing may have been
    /// in other streams. Who asks again gets what there is behind them.
    #[error("events have expired before they were read: {} ({} gaps)", first(.gaps), .gaps.len())]
    Missed {
        /// Whose, and which.
        gaps: Vec<Gap>,
    },
    /// It is not known how far a replica is: it is no member any more, or nothing was heard of it yet.
    #[error("how far the replica {id} lags is not known: it is {state:?}")]
    ReplicationLagUnknown {
        /// Which.
        id: Uuid,
        /// How it stands.
        state: ReplicationState,
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
    /// The node refused, or could not. With [`ErrorKind::NotReplicated`] it is done and durable at the node, only not known to be at the
    /// others; with [`ErrorKind::Disk`], [`ErrorKind::OutcomeUnknown`] and [`ErrorKind::Leaving`] it may be done or not. Who sends such
    /// an event again may send it twice.
    #[error(transparent)]
    Peer(#[from] Error),
    /// The node at OXIGDAL_HA_API refused, or could not: as [`Peer`](Self::Peer), by its code. If nothing answered (an empty code), it may
    /// be done or not.
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

/// The first gap, in words.
fn first(gaps: &[Gap]) -> String {
    let words = |gap: &Gap| format!("those of {} behind {} up to {}", gap.origin.node, gap.after, gap.upto);
    gaps.first().map(words).unwrap_or_default()
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

    /// Whether it may be done all the same, or be done yet. Who does it again may do it twice.
    #[must_use]
    pub fn may_be_done(&self) -> bool {
        use ErrorKind::{Disk, Leaving, NotReplicated, OutcomeUnknown};
        let may = |code: &str| [NotReplicated, Disk, OutcomeUnknown, Leaving].iter().any(|kind| kind.code() == code);
        match self {
            Self::Peer(error) => may(error.kind().code()),
            Self::Api { code, .. } => code.is_empty() || may(code),
            Self::NotPromoted { .. } => true,
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

//! How a peer breaks the protocol of the lanes: each way has a name, closes the connection, and is counted.

use crate::types::Lane;

/// Why a connection was closed, when the other end is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A length that the lane does not allow.
    #[error("a frame of {len} bytes on the {lane} lane, the limit is {max}")]
    TooLong {
        /// On which lane.
        lane: Lane,
        /// The length announced.
        len: u64,
        /// The limit.
        max: usize,
    },
    /// A frame without content.
    #[error("an empty frame on the {lane} lane")]
    Empty {
        /// On which lane.
        lane: Lane,
    },
    /// A kind of frame that does not exist.
    #[error("frame kind {kind} on the {lane} lane")]
    Kind {
        /// On which lane.
        lane: Lane,
        /// The kind found.
        kind: u8,
    },
    /// The content does not fit its kind.
    #[error("a frame of kind {kind} on the {lane} lane cannot be read")]
    Malformed {
        /// On which lane.
        lane: Lane,
        /// Its kind.
        kind: u8,
    },
    /// The pieces of a sync frame are more or fewer than announced, or out of order.
    #[error("pieces of a sync frame that do not add up")]
    Pieces,
    /// It acknowledged what was never sent.
    #[error("{acknowledged} bytes acknowledged, {sent} were sent")]
    Acknowledged {
        /// Bytes acknowledged.
        acknowledged: u64,
        /// Bytes sent.
        sent: u64,
    },
    /// A lane ends in the middle of a frame, or though the connection goes on.
    #[error("the {lane} lane ended")]
    Ended {
        /// Which lane.
        lane: Lane,
    },
    /// More substreams than the protocol has.
    #[error("too many substreams")]
    TooManyStreams,
    /// Nothing was heard.
    #[error("nothing received for {ms} ms")]
    Silent {
        /// For how long.
        ms: u64,
    },
    /// It does not read what is sent to it.
    #[error("the {lane} lane took nothing for {ms} ms")]
    Stalled {
        /// Which lane.
        lane: Lane,
        /// For how long.
        ms: u64,
    },
    /// It began a sync frame and did not go on.
    #[error("a sync frame stayed incomplete for {ms} ms")]
    Incomplete {
        /// For how long.
        ms: u64,
    },
    /// It sends more than it may, and does not stop.
    #[error("more on the {lane} lane than a peer may send, for {ms} ms")]
    Flood {
        /// Which lane.
        lane: Lane,
        /// For how long.
        ms: u64,
    },
    /// It did not finish admission, or did not open its lanes.
    #[error("not admitted within {ms} ms")]
    Late {
        /// How long it had.
        ms: u64,
    },
    /// It does not speak this protocol.
    #[error("the peer does not speak {protocol}")]
    Unsupported {
        /// The protocol asked for.
        protocol: &'static str,
    },
}

impl Fault {
    /// Whether the other end merely does nothing, as when its machine or the line is slow, stopped or gone.
    #[must_use]
    pub const fn is_silence(&self) -> bool {
        matches!(self, Self::Silent { .. } | Self::Stalled { .. } | Self::Incomplete { .. } | Self::Late { .. })
    }
}

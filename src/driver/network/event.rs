//! What the network tells.

use std::sync::Arc;

use bytes::Bytes;

use super::fault::Fault;
use crate::driver::admission::Refusal;
use crate::types::{Address, Lane, NodeId};

/// Something happened in the network.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum NetworkEvent {
    /// This peer can be reached at an address.
    Listening {
        /// The address, ending in this peer's transport id.
        address: Address,
        /// Whether others should be told: false for an address behind announced ones, and for loopback unless nothing
        /// else is listened on.
        advertise: bool,
    },
    /// An address does not lead here any more.
    ListenerClosed {
        /// The address, as it was told.
        address: Address,
    },
    /// A link to an admitted peer is up, both ways. Told once, until `Unlinked`.
    Linked {
        /// With whom.
        peer: NodeId,
    },
    /// The link is gone; frames in flight are lost. Told once for each `Linked`.
    Unlinked {
        /// With whom.
        peer: NodeId,
        /// Why.
        why: Arc<str>,
    },
    /// A whole frame arrived. Only between `Linked` and `Unlinked`.
    Received {
        /// From whom.
        from: NodeId,
        /// On which lane.
        lane: Lane,
        /// The frame.
        frame: Bytes,
    },
    /// A dial that was asked for did not lead to a link. Told once for each peer asked for, unless it became linked.
    DialFailed {
        /// To whom.
        peer: NodeId,
        /// Why.
        why: Arc<str>,
    },
    /// Somebody was not let in, or this peer was not.
    Refused {
        /// Who, if it showed a good ticket.
        peer: Option<NodeId>,
        /// The other end's address.
        address: Arc<str>,
        /// Whether it was the other end that refused.
        by_peer: bool,
        /// Why.
        why: Refusal,
        /// Whether this was told before.
        again: bool,
    },
    /// An admitted peer broke the protocol; its connection was closed.
    Fault {
        /// Who.
        peer: NodeId,
        /// How.
        fault: Fault,
    },
}

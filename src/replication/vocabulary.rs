//! The words of this room: what goes to the log, what is told.

use bincode::{Decode, Encode};
use bytes::Bytes;

use crate::types::{DiskFault, Hlc, LogId, NodeId, Seq};

/// One entry of an origin log, as it goes to disk: `body` is opaque here.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Record {
    /// Which origin log.
    pub log: LogId,
    /// Its place there.
    pub seq: Seq,
    /// When it was made, by its origin.
    pub hlc: Hlc,
    /// What it says.
    pub body: Vec<u8>,
}

/// Why an origin log is no longer taken from a peer, or why our own cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// An entry of ours is durable. It spreads from here.
    Originated {
        /// As given to [`originate`](super::Replication::originate).
        token: u64,
        /// Our log.
        log: LogId,
        /// Its place there.
        seq: Seq,
        /// Its stamp.
        hlc: Hlc,
    },
    /// An entry of ours could not be made durable; it will not spread.
    OriginateFailed {
        /// As given to [`originate`](super::Replication::originate).
        token: u64,
        /// The disk's words.
        fault: DiskFault,
    },
    /// An entry of another origin is durable here. Each is told once, in order of its log.
    Delivered {
        /// Whose log.
        log: LogId,
        /// Its place there.
        seq: Seq,
        /// Its stamp.
        hlc: Hlc,
        /// What it says.
        body: Bytes,
    },
    /// A neighbour holds more of our own log than we do: our store was rolled back. A new actor must be minted before
    /// anything else is originated.
    RolledBack {
        /// Our log.
        log: LogId,
        /// How far we hold it.
        held: Seq,
        /// How far they do.
        theirs: Seq,
    },
    /// Two different entries claim the same place in a log. Nothing more of it is taken.
    Forked {
        /// Which log.
        log: LogId,
        /// Where the two part at the latest.
        seq: Seq,
        /// Who holds the other.
        peer: NodeId,
    },
    /// A peer sent what no correct peer sends; it was ignored.
    PeerFault {
        /// Who sent it.
        peer: NodeId,
        /// What was wrong.
        why: String,
    },
}

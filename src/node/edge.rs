//! The node's edge: everything that enters it and everything that it wants done.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use super::quarantine::Quarantine;
use super::status::Status;
use crate::topology::Policy;
use crate::types::{Address, ClusterId, CommandId, DiskFault, IoId, Lane, NodeId, PersistId, SegmentId, TaskId};
use crate::{audit, documents, events, membership, overlay, replication};

/// Something happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The deadline has come. Also harmless at any other time.
    Wake,
    /// A frame arrived from an admitted peer: length prefix and transport encryption already taken off.
    Received {
        /// From whom.
        from: NodeId,
        /// On which lane.
        lane: Lane,
        /// The encoded frame.
        frame: Bytes,
    },
    /// A link to an admitted peer is up. Told once per link; there is one link a peer.
    Linked {
        /// With whom.
        peer: NodeId,
    },
    /// The link is gone; frames in flight are lost.
    Unlinked {
        /// With whom.
        peer: NodeId,
    },
    /// A wanted link could not be made.
    DialFailed {
        /// With whom.
        peer: NodeId,
    },
    /// The host listens here, and says so whenever that changes.
    Listening {
        /// Where others can reach it, best first.
        addresses: Vec<Address>,
    },
    /// The write is durable, or was not done. Answers come in the order of the writes.
    Persisted {
        /// Which write.
        id: PersistId,
        /// Whether it is durable.
        result: Result<(), DiskFault>,
    },
    /// A file operation is done.
    IoDone {
        /// Which one.
        id: IoId,
        /// Its result.
        result: Result<IoOutcome, DiskFault>,
    },
    /// A worker is done.
    TaskDone {
        /// Which task.
        id: TaskId,
        /// Its result.
        done: documents::Done,
    },
    /// A client asks. Each command is answered once.
    Command {
        /// Names the command in the answer; unique within this life of the node.
        id: CommandId,
        /// What is asked.
        command: Command,
    },
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send a frame to a linked peer. May be lost; the protocols expect it. Dropped if there is no link.
    Send {
        /// To whom.
        to: NodeId,
        /// On which lane.
        lane: Lane,
        /// The encoded frame.
        frame: Bytes,
    },
    /// Write these bytes at this offset of this segment, which is its end, creating the file at offset 0; then sync.
    /// One sync may serve many writes. After a failure every later write fails as [`Poisoned`](crate::types::DiskFaultKind::Poisoned).
    Persist {
        /// Names the write in the answer.
        id: PersistId,
        /// Which segment file.
        segment: SegmentId,
        /// Where in it.
        offset: u64,
        /// What.
        bytes: Bytes,
    },
    /// Work on the log's files.
    Io {
        /// Names the operation in the answer.
        id: IoId,
        /// What to do.
        op: Io,
    },
    /// Have a worker do this. Tasks with equal [`key`](documents::Task::doc) keep their order.
    Task {
        /// Names the task in the answer.
        id: TaskId,
        /// What to do.
        task: documents::Task,
    },
    /// Make a link to this peer, unless there is one. Answered by `Linked` or `DialFailed`.
    Dial {
        /// To whom.
        peer: NodeId,
        /// Where it may listen.
        addresses: Vec<Address>,
    },
    /// Close the link to this peer. Answered by `Unlinked`.
    Close {
        /// With whom.
        peer: NodeId,
        /// Why, for logs.
        why: Arc<str>,
    },
    /// Answer a client.
    Reply {
        /// Which command.
        id: CommandId,
        /// With what.
        result: Result<Outcome, CommandError>,
    },
    /// For embedders, logs, metrics and the simulator's checkers.
    Notify(Event),
}

/// An operation on the log's segment files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Io {
    /// Which segments there are, in order, with their lengths in bytes.
    List,
    /// Read part of a segment.
    Read {
        /// Which.
        segment: SegmentId,
        /// From where.
        offset: u64,
        /// How many bytes.
        len: u64,
    },
    /// Shorten a segment, durably.
    Truncate {
        /// Which.
        segment: SegmentId,
        /// To how many bytes; 0 removes the file.
        len: u64,
    },
}

/// What a file operation gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IoOutcome {
    /// The segments, in order, with their lengths.
    Listed(Vec<(SegmentId, u64)>),
    /// The bytes asked for; fewer if the file ends before.
    Read(Bytes),
    /// It is shortened.
    Truncated,
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Command {
    /// Of documents.
    Documents(documents::Command),
    /// Of streams.
    Events(events::Command),
    /// How the node stands. Answered by [`Outcome::Status`].
    Status,
    /// Compute neighbours by another rule from now on. All peers of a mesh should be told the same, soon. Answered by
    /// [`Outcome::OverlaySet`].
    SetOverlay(Policy),
    /// Which entries were refused, and whose they are. Answered by [`Outcome::Quarantine`].
    Quarantine,
    /// Judge refused entries again. Answered by [`Outcome::Released`].
    Release {
        /// Those of this origin's logs; of all if absent.
        origin: Option<NodeId>,
    },
    /// Say goodbye to the mesh. Answered by [`Outcome::Left`] when the goodbye was sent.
    Leave,
}

/// What a command came to.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// Of a command on documents.
    Documents(documents::Outcome),
    /// Of a command on streams.
    Events(events::Outcome),
    /// How the node stands.
    Status(Box<Status>),
    /// What is quarantined.
    Quarantine(Box<Quarantine>),
    /// Refused entries are judged again.
    Released {
        /// How many.
        entries: usize,
    },
    /// Neighbours are computed by the rule that was asked for.
    OverlaySet,
    /// The mesh was told goodbye.
    Left,
}

/// Why a command was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// Documents refused.
    #[error(transparent)]
    Documents(#[from] documents::Error),
    /// Streams refused.
    #[error(transparent)]
    Events(#[from] events::Error),
    /// The node is leaving the mesh.
    #[error("this node is leaving the mesh")]
    Leaving,
}

/// What the node tells.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// Of membership.
    Membership(membership::Event),
    /// Of the overlay.
    Overlay(overlay::Event),
    /// Of replication.
    Replication(replication::Event),
    /// Of documents.
    Documents(documents::Event),
    /// Of streams.
    Events(events::Event),
    /// Of audits.
    Audit(audit::Event),
    /// A peer sent a frame that cannot be read; it was dropped.
    BadFrame {
        /// Who sent it.
        peer: NodeId,
        /// What was wrong, and where.
        why: Arc<str>,
    },
    /// The log does not take writes any more: edits are refused until it is reopened.
    ReadOnly {
        /// The disk's words.
        fault: DiskFault,
    },
    /// The node writes as a new actor from now on.
    Minted {
        /// The actor.
        actor: crate::types::Actor,
        /// Why.
        why: Arc<str>,
    },
}

/// Who this node is. Given by the host at every start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// The node.
    pub node: NodeId,
    /// Its mesh.
    #[serde(skip)]
    pub cluster: ClusterId,
}

//! The node's edge: everything that enters it and everything that it wants done.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::decide::{Deciders, Decisions, Proposal, VotersChange};
use super::points::{Point, PointError};
use super::policies::PoliciesStatus;
use super::quarantine::Quarantine;
use super::replicas::{Replicas, ReplicationStatistics};
use super::replicate::{Copies, Paused};
use super::serving::{RoleOrder, RoleStatus};
use super::snapshot::{Pack, SnapshotFile, Taken};
use super::status::Status;
use crate::overlay::SignedPolicy;
use crate::types::{
    Address, ClusterId, CommandId, DiskFault, Epoch, Index, IoId, Lane, LogId, NodeId, PersistId, SegmentId, Seq,
    TaskId, Term,
};
use crate::{audit, consensus, documents, events, membership, overlay, replication, roles};

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
    /// A worker has compressed a piece of a snapshot.
    Packed {
        /// Which task.
        id: TaskId,
        /// What [`Pack::run`](super::Pack::run) gave.
        bytes: Bytes,
    },
    /// The host says which policies were set for the mesh: those that it has checked and keeps. At the start, and whenever that
    /// changes.
    Policies {
        /// All that count.
        held: Vec<SignedPolicy>,
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
    /// One sync may serve many writes. After a failure every later write fails as [`Poisoned`](crate::types::DiskFaultKind::Poisoned);
    /// but a write of a [snapshot](crate::types::Family::Snapshot) that fails fails alone, since the log can do without it.
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
    /// Have a worker [run](super::Pack::run) this, in any order with tasks. Answered by `Packed`.
    Pack {
        /// Names it in the answer.
        id: TaskId,
        /// What to compress.
        pack: Pack,
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
    /// Check a policy that a peer told and keep it durably, if it holds. Answered by `Policies` then, and else not.
    KeepPolicy {
        /// Who told it.
        from: NodeId,
        /// What.
        policy: SignedPolicy,
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
    /// Every write since the first that found no room was refused: take writes again. Fails if there is not that much room, or if
    /// it was not for want of room that a write failed.
    Reopen {
        /// Where each chain ends: its last segment and that one's length; 0 if there is no such file. What is behind it is
        /// removed, durably.
        ends: [(SegmentId, u64); 2],
        /// How many bytes must be free.
        room: u64,
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
    /// Writes are taken again.
    Reopened,
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Command {
    /// Of documents.
    Documents(documents::Command),
    /// Of streams.
    Events(events::Command),
    /// How the node stands. Answered by [`Outcome::Status`].
    Status,
    /// An edit or an append that is answered when so many other members hold it durably, in place of so many as are
    /// configured. Answered by [`Outcome::Copied`], or by [`CommandError::NotReplicated`].
    Acknowledged {
        /// What is asked.
        command: Box<Self>,
        /// How many.
        ack: replication::Ack,
    },
    /// Wait until so many other members hold durably all that this node has written so far. Answered by [`Outcome::Copied`], or by
    /// [`CommandError::NotReplicated`].
    Spread {
        /// How many.
        ack: replication::Ack,
        /// For so long, a day at most; by default as long as is configured. What is written meanwhile is not waited for.
        #[serde(default)]
        within: Option<Duration>,
    },
    /// Exchange nothing with a member from now on, or do so again. Answered by [`Outcome::Paused`].
    Pause(replication::Pause),
    /// How far the other members hold what this node holds. Answered by [`Outcome::Replicas`].
    Replicas,
    /// What crossed. Answered by [`Outcome::Statistics`].
    Statistics,
    /// Which entries were refused, and whose they are. Answered by [`Outcome::Quarantine`].
    Quarantine,
    /// Judge refused entries again. Answered by [`Outcome::Released`].
    Release {
        /// Those of this origin's logs; of all if absent.
        origin: Option<NodeId>,
    },
    /// Forget a member that is dead or has left before its time. Answered by [`Outcome::Forgotten`].
    Forget {
        /// Who.
        node: NodeId,
    },
    /// Write a name into the log, to come back to this moment by it. Answered by [`Outcome::Point`] once durable here.
    Point {
        /// The name.
        name: String,
    },
    /// Which restore points there are. Answered by [`Outcome::Points`].
    Points,
    /// Take a snapshot now. Answered by [`Outcome::Snapshot`] once it is whole and durable.
    Snapshot,
    /// Which snapshots there are. Answered by [`Outcome::Snapshots`].
    Snapshots,
    /// Have the voters decide something. Answered by [`Outcome::Decided`], wherever the leader is.
    Propose(Proposal),
    /// Who decides. Answered by [`Outcome::Deciders`].
    Deciders,
    /// Wish who votes, at any peer: answered by [`Outcome::Deciders`] once that is decided; whoever leads does the rest. Or have somebody else
    /// lead, at the leader: answered once it is begun.
    ChangeVoters(VotersChange),
    /// What was decided behind a place. Answered by [`Outcome::Decisions`].
    Decisions {
        /// The place; zero for all that is kept.
        after: Index,
        /// How many at most.
        limit: usize,
    },
    /// What a register holds, as far as is known here. Answered by [`Outcome::Register`].
    Register {
        /// Which.
        name: String,
    },
    /// By what it is decided what shows where several values stand. Answered by [`Outcome::Policies`].
    Policies,
    /// Which roles there are, and who holds them. Answered by [`Outcome::Roles`].
    Roles,
    /// Move, release, pause or resume a role. Answered by [`Outcome::RoleOrdered`] once decided, at the leader.
    OrderRole(RoleOrder),
    /// Somebody acts upon this node in a role. Answered by [`Outcome::RoleAdmitted`], or by [`CommandError::RoleRefused`].
    AdmitRole {
        /// Which role.
        role: roles::RoleName,
        /// The token that is shown.
        token: consensus::Token,
    },
    /// The hooks that [`roles::Event::Promote`] or [`roles::Event::Demote`] asked for ended. Answered by [`Outcome::Told`].
    RoleHooksDone {
        /// Which role.
        role: roles::RoleName,
        /// Under which token.
        token: consensus::Token,
        /// Which hooks.
        which: roles::Hooks,
        /// Whether they did what they should.
        is_well: bool,
    },
    /// The host is so busy, in percent of its cores: roles may be granted by it. Answered by [`Outcome::Told`].
    Load {
        /// Work that wants to run, as a mean of a minute; 100 is what its cores do.
        percent: u16,
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
    /// It is durable here and as many other members hold it as were wanted.
    Copied {
        /// What it came to.
        outcome: Box<Self>,
        /// Who holds it.
        copies: Copies,
    },
    /// A replica is paused, or resumed.
    Paused(Paused),
    /// The replicas and their lag.
    Replicas(Replicas),
    /// What crossed.
    Statistics(Box<ReplicationStatistics>),
    /// What is quarantined.
    Quarantine(Box<Quarantine>),
    /// Refused entries are judged again.
    Released {
        /// How many.
        entries: usize,
    },
    /// The member is forgotten here.
    Forgotten,
    /// The restore point is durable here.
    Point(Point),
    /// The restore points, in order of the log.
    Points(Vec<Point>),
    /// The snapshot is whole and durable here.
    Snapshot(SnapshotFile),
    /// The snapshots, oldest first.
    Snapshots(Vec<SnapshotFile>),
    /// It is decided.
    Decided(Proposed),
    /// Who decides.
    Deciders(Box<Deciders>),
    /// What was decided.
    Decisions(Decisions),
    /// What it holds, if anything.
    Register(Option<Held>),
    /// The policies in force here.
    Policies(Box<PoliciesStatus>),
    /// The roles.
    Roles(Vec<RoleStatus>),
    /// What was ordered of a role is decided.
    RoleOrdered {
        /// By this decision.
        token: consensus::Token,
    },
    /// Whoever shows that token may act.
    RoleAdmitted,
    /// It is known now.
    Told,
    /// The mesh was told goodbye.
    Left,
}

/// What a register holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// By which decision it was set.
    pub token: consensus::Token,
    /// To what.
    pub value: Bytes,
}

/// A decision that a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Proposed {
    /// Under which name.
    #[serde(skip)]
    pub request: consensus::RequestId,
    /// Its place among all decisions, and its fencing token.
    pub token: consensus::Token,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: consensus::Outcome,
}

impl Outcome {
    /// Without who else holds it.
    #[must_use]
    pub fn without_copies(self) -> Self {
        if let Self::Copied { outcome, .. } = self { *outcome } else { self }
    }
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
    /// What was asked is done and durable here, and not known in time to be durable on as many others as were wanted. It is
    /// not undone, and goes on spreading.
    #[error(
        "it is done and durable here, but known on {} other members only, not on {}: it is kept and goes on spreading, \
         do not send it again",
        members.len(),
        wanted(*ack)
    )]
    NotReplicated {
        /// How many were wanted.
        ack: replication::Ack,
        /// Who is known to hold it durably.
        members: Vec<NodeId>,
        /// Which entry it is.
        place: Option<(LogId, Seq)>,
    },
    /// Nobody of this id is a member.
    #[error("there is no member {node}")]
    UnknownMember {
        /// The id.
        node: NodeId,
    },
    /// A member was not forgotten.
    #[error(transparent)]
    Forget(#[from] membership::ForgetError),
    /// A restore point was not made.
    #[error(transparent)]
    Point(#[from] PointError),
    /// A snapshot was not taken. The log holds all that it would have said.
    #[error("no snapshot was taken: {why}")]
    Snapshot {
        /// Why.
        why: String,
    },
    /// Nothing was decided, and nothing of it will be: somebody else leads, or nobody did in time.
    #[error("the voters' leader did not take it on (epoch {epoch}, term {term})")]
    NotLeader {
        /// Who leads, as far as is known.
        leader: Option<NodeId>,
        /// The generation of the group.
        epoch: Epoch,
        /// The term.
        term: Term,
    },
    /// A role's order was not carried out.
    #[error(transparent)]
    Role(roles::OrderError),
    /// Whoever shows that token is not heeded.
    #[error(transparent)]
    RoleRefused(roles::Refused),
    /// Nothing was decided, and nothing of it will be: no majority of the voters is in reach.
    #[error("no majority of the voters is in reach: nothing can be decided, everything else goes on")]
    NoQuorum,
    /// It may be decided or not. Asking again under the same name tells, and does nothing twice.
    #[error("it may be decided or not: ask again with the request {request}")]
    OutcomeUnknown {
        /// The name.
        request: consensus::RequestId,
    },
    /// It cannot be decided so. Nothing was asked of the voters, or they refused it for good.
    #[error("not decided: {why}")]
    Proposal {
        /// Why.
        why: String,
    },
    /// A node was asked to pause itself.
    #[error("a peer cannot pause itself")]
    PauseSelf,
    /// The log did not take it. Nothing was changed.
    #[error("not durable: {0}")]
    Disk(DiskFault),
}

fn wanted(ack: replication::Ack) -> String {
    match ack {
        replication::Ack::All => "all that are active".to_owned(),
        ack => ack.to_string(),
    }
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
    /// Of consensus.
    Consensus(consensus::Event),
    /// Of roles.
    Roles(roles::Event),
    /// A peer sent a frame that cannot be read; it was dropped.
    BadFrame {
        /// Who sent it.
        peer: NodeId,
        /// What was wrong, and where.
        why: Arc<str>,
    },
    /// The log does not take writes any more: edits are refused. If the disk is full until there is room again, else until a
    /// restart.
    ReadOnly {
        /// The disk's words.
        fault: DiskFault,
    },
    /// There is room on the disk again, and edits are taken.
    Writable,
    /// The disk has not answered a write for so long: others do not rely on this node until it does.
    DiskStalls {
        /// How long.
        after: Duration,
    },
    /// It has answered.
    DiskAnswers,
    /// A snapshot is whole and durable.
    SnapshotTaken {
        /// Its number.
        id: u64,
        /// What it knows.
        taken: Taken,
    },
    /// One was begun and came to nothing; it is tried again.
    SnapshotFailed {
        /// Its number.
        id: u64,
        /// Why.
        why: Arc<str>,
    },
    /// The start did not take one that is there, and went on with an older one, or the whole log.
    SnapshotRefused {
        /// The file.
        file: String,
        /// Why.
        why: String,
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

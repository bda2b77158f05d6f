//! Origin logs and their spreading: live push, ranged repair, version-vector anti-entropy.
//!
//! Everything that a node originates enters its own log of the topic, durably, before anybody hears of it (*durable before
//! send*). An entry is named by its log and its place there, so gaps, duplicates and acknowledgements are integers, and one
//! version vector (Parker et al., 1983) describes any number of documents. A log knows nothing of what its entries say.
//!
//! * **Live**: entries go along one tree for each origin: the first who delivers a log is its parent here, and whoever
//!   delivers a duplicate is asked to stop ([`Message::Prune`]); it goes on announcing ([`Message::Have`]), and is asked to
//!   push again ([`Message::Graft`]) if the parent falls silent. That is Plumtree (Leitao et al., SRDS 2007) with a tree for each
//!   origin, because one shared tree churns under many writers. Stars and trees are the case without duplicates. A new
//!   neighbour, and now and then one that was pruned, may show that it is faster than the parent: trees follow the mesh.
//!   The first entries of a log are a flood, and nearly all of its duplicates are pairs of batches that cross: each of the two
//!   sees in what it gets that what it sent is held there, so neither is acknowledged, and both know that the log is not
//!   to be pushed between them. What was lost on the way is sent again as ever.
//! * **Backlog**: whoever finds itself behind asks one holder for the log from where it stands. What comes so is offered on
//!   ([`Message::Offer`]), not pushed: when a cut heals, everybody on this side is catching up on the same entries.
//! * **Batches**: what is there is sent at once when nothing is under way to the peer; meanwhile it is gathered. A peer's
//!   credit is a window of bytes that it has not acknowledged as durable. A slow peer costs no memory: there is a cursor for each
//!   log, and entries are taken from the cache or the disk when there is credit.
//! * **Branches**: an origin whose store was put back to an earlier image uses places of its log again that others hold with
//!   other entries. It is found by the hash chain and settled by the same rule everywhere; see `branch`.
//! * **Replicas**: of every other member it is known how far it holds each log, and as of when; see `knowledge`. Lag is what is
//!   held here and not known to be held there (`replicas`); an acknowledgement may wait for copies (`copies`); the operator may
//!   have nothing exchanged with a replica (`pause`).
//! * **Places**: a log has one as soon as somebody names it, and keeps it for good once something of it is held; what was only
//!   named gives way. So nobody fills the table with names; see `hearsay`.
//! * **Repair**: a gap is asked for at once ([`Message::Want`]), then from another holder. What was lost without leaving a gap
//!   is sent again when its acknowledgement is overdue. Neighbours that meet compare whole vectors; later they compare 8 bytes
//!   at random moments, and vectors only if those differ.
//!
//! **Invariants.** Nothing is sent, delivered or acknowledged before it is durable here. Entries of a log are taken,
//! delivered and sent in order, each once. Two different entries at one place are found by the hash chain; the older
//! one keeps the place, and the other goes on, with all that follows it, in a log of its own: nothing is dropped. A node that
//! finds more of its own log elsewhere than at home, or another branch of it, never writes to that log again.
//!
//! Left to others: what bodies mean and whether they may be applied (`documents`), who the neighbours are (`overlay`),
//! bytes (`wire`, `wal`), links (the driver).

mod branch;
mod checkpoint;
mod config;
mod copies;
mod give;
mod hearsay;
mod knowledge;
pub mod lag_monitor;
mod log;
mod message;
mod origin;
mod pause;
mod peer;
mod rate;
mod reconcile;
mod replicas;
mod reread;
mod spread;
mod take;
#[cfg(test)]
mod tests;
mod together;
mod told;
mod trim;
mod view;
mod vocabulary;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

pub use checkpoint::Slots;
pub use config::{Config, LagWarn, Retry};
pub use knowledge::REPLICAS_MAX;
pub use message::{
    Batch, Chunk, ENTRY_MAX, Entry, Graft, Have, Held, Hold, Line, Mark, Marks, Message, Name, Run, Short,
};
pub use rate::Rate;
pub use replicas::Lag;
pub use view::{Known, View};
pub use vocabulary::{
    Ack, AckError, Branch, Event, Kept, Pause, Rank, Record, ReplicationState, RestoreError, Statistics, Timer, Trim,
    Wait,
};

pub use crate::types::VectorClock;

#[cfg(feature = "net")]
pub use crate::managers::replication::{
    ActiveActiveReplication, ReplicaNode, ReplicationConfig, ReplicationEvent, ReplicationManager, ReplicationMode,
    ReplicationStats, ReplicationTopology,
};

use crate::machine::{Cx, Machine, Never};
use crate::probe::planted;
use crate::types::{Actor, DiskFault, Hlc, HlcClock, Lane, NodeId, Position, Seq, Time, Topic};
use log::Logs;
use message::Kind;
use peer::Peer;

/// The origin logs of this node and of everybody else, as far as they are held here.
#[derive(Debug)]
pub struct Replication {
    actor: Actor,
    config: Config,
    logs: Logs,
    /// Which of them somebody named, and nothing of it is held.
    hearsay: hearsay::Hearsay,
    peers: BTreeMap<NodeId, Peer>,
    clock: HlcClock,
    /// The highest stamps of what is durable: ours, and of all.
    restored: (Hlc, Hlc),
    statistics: Statistics,
    /// How many batches were read for neighbours. A disk may answer after the link for which it was asked is a new one.
    readings: u64,
    /// More of our log was found elsewhere: nothing is originated until a new actor is minted.
    rolled_back: bool,
    /// What waits for that: topic, body, token.
    queue: VecDeque<(Topic, Bytes, u64)>,
    /// The disk failed: what it did not answer is lost, and nothing more is taken.
    failed: Option<DiskFault>,
    /// Writes asked for, and answered.
    writes: (u64, u64),
    /// Who is acknowledged what when how many writes were answered.
    acks: VecDeque<(u64, NodeId, Message)>,
    /// Logs with entries that lazy neighbours do not know of.
    unannounced: BTreeSet<usize>,
    /// Peers who are to be offered logs on which we catch up.
    offers: BTreeMap<NodeId, BTreeSet<usize>>,
    /// Logs of which a neighbour holds another branch.
    disputes: BTreeMap<(usize, NodeId), branch::Dispute>,
    /// Branches that give way, in turn.
    moves: VecDeque<branch::Move>,
    /// What has moved and is to be delivered under its new name.
    moved: VecDeque<branch::Moved>,
    /// What is on its way to the disk, and what is to follow.
    trims: trim::Trims,
    /// When something last became durable here.
    durable_at: Time,
    /// Vectors are not compared again before, while entries are flowing; and how often in a row that taught nothing.
    compare_at: (Time, u32),
    /// Logs of which somebody holds more than we do.
    behind: BTreeMap<usize, reconcile::Behind>,
    /// How far members are known to hold logs.
    replicas: replicas::Replicas,
    /// Whether it is told of others, too.
    relays: bool,
    /// The timers that tell what changed and that look at lag are armed.
    reporting: bool,
    looking: bool,
    /// Entries and their bytes, of the last minute: sent and taken.
    rates: Rates,
    /// With whom nothing is exchanged.
    pauses: pause::Pauses,
    /// Who waits for copies.
    copies: copies::Copies,
    /// Origins whose stamps are too far ahead to be followed.
    drifted: BTreeSet<NodeId>,
}

/// What crossed lately, a second.
#[derive(Clone, Debug, Default)]
struct Rates {
    entries_out: Rate,
    bytes_out: Rate,
    entries_in: Rate,
    bytes_in: Rate,
}

impl Machine for Replication {
    type Message = Message;
    type Record = Kept;
    type Wait = Wait;
    type Task = Never;
    type Timer = Timer;
    type Event = Event;

    fn lane(message: &Message) -> Lane {
        message.lane()
    }
}

impl Replication {
    /// Holds nothing yet; writes as `actor`.
    #[must_use]
    pub fn new(actor: Actor, config: Config) -> Self {
        Self {
            actor,
            config,
            logs: Logs::default(),
            hearsay: hearsay::Hearsay::default(),
            peers: BTreeMap::new(),
            clock: HlcClock::default(),
            restored: Default::default(),
            statistics: Statistics::default(),
            readings: 0,
            rolled_back: false,
            queue: VecDeque::new(),
            failed: None,
            writes: (0, 0),
            acks: VecDeque::new(),
            unannounced: BTreeSet::new(),
            offers: BTreeMap::new(),
            disputes: BTreeMap::new(),
            moves: VecDeque::new(),
            moved: VecDeque::new(),
            trims: trim::Trims::default(),
            durable_at: Time::ZERO,
            compare_at: (Time::ZERO, 0),
            behind: BTreeMap::new(),
            replicas: replicas::Replicas::default(),
            relays: false,
            reporting: false,
            looking: false,
            rates: Rates::default(),
            pauses: pause::Pauses::default(),
            copies: copies::Copies::default(),
            drifted: BTreeSet::new(),
        }
    }

    /// Takes back an entry from the log, in the order of the log, before [`start`](Self::start).
    ///
    /// # Errors
    /// [`RestoreError`]: the log on disk is not what this room wrote. Nothing of this record was kept.
    pub fn restore(&mut self, record: &Record, position: Position) -> Result<(), RestoreError> {
        let at = self.logs.intern(record.log);
        let expected = Seq::new(self.logs.get(at).durable()).next();
        if record.seq != expected {
            return Err(RestoreError::NotDense { log: record.log, expected, found: record.seq });
        }
        self.hearsay.skipped.remove(&at);
        self.logs.restore(at, &Entry { hlc: record.hlc, body: record.body.clone() }, position);
        self.restored.1 = self.restored.1.max(record.hlc);
        if record.log.actor.node == self.actor.node {
            self.restored.0 = self.restored.0.max(record.hlc);
        }
        Ok(())
    }

    /// Writes as `actor`, before [`start`](Self::start): the log turned out to be cut.
    pub fn write_as(&mut self, actor: Actor) {
        self.actor = actor;
    }

    /// Begins. Once, after the last [`restore`](Self::restore).
    pub fn start(&mut self, cx: &mut Cx<'_, Self>) {
        let (ours, all) = self.restored;
        self.clock =
            if planted!("replication/clock-starts-anew") { HlcClock::default() } else { HlcClock::resume(ours) };
        // Our own stamps bind our clock whatever the wall says. Others' do within bounds; which origin is off will be told
        // when it speaks again.
        let _ = self.clock.follow(all, cx.now().wall);
        for at in 0..self.logs.len() {
            self.logs.get_mut(at).mark(cx.now().mono);
        }
        self.arm_anti_entropy(cx);
    }

    /// A peer speaks. Whoever is no neighbour is not heard: a view that is late will catch up, and vectors are compared then.
    pub fn on_message(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, message: Message) {
        if !self.hears(cx, from, &message) {
            return;
        }
        if let Err(why) = message.check() {
            return self.fault(cx, from, why);
        }
        match message {
            Message::Push(batch) => self.on_batch(cx, from, batch, Kind::Live),
            Message::Fill(batch) => self.on_batch(cx, from, batch, Kind::Repair),
            Message::Backlog(batch) => self.on_batch(cx, from, batch, Kind::Backlog),
            Message::Ack { number } => self.on_ack(cx, from, number, true),
            Message::Part { number } => self.on_ack(cx, from, number, false),
            Message::Have(lines) => self.on_have(cx, from, &lines),
            Message::Offer(lines) => self.on_offer(cx, from, &lines),
            Message::Want(ranges) => self.on_want(cx, from, &ranges),
            Message::Graft(grafts) => self.on_graft(cx, from, &grafts),
            Message::Prune(logs) => self.on_prune(from, &logs),
            Message::Digest(digest) => self.on_digest(cx, from, digest),
            Message::Vector(chunk) => self.on_vector(cx, from, &chunk),
            Message::Marks(marks) => self.on_marks(cx, from, &marks),
            Message::Trimmed(line) => self.on_trimmed(cx, from, line),
            Message::Held(held) => self.on_held(cx, from, held),
            Message::Tell(members) => self.on_tell(cx, from, &members),
            Message::Equal { digest, members } => self.on_equal(cx, from, digest, &members),
            Message::Watch(logs) => self.on_watch(cx, from, &logs),
            Message::Paused => {} // Heard already.
        }
    }

    /// A timer fires.
    pub fn on_timer(&mut self, cx: &mut Cx<'_, Self>, timer: Timer) {
        match timer {
            Timer::AntiEntropy => {
                self.trim_next(cx);
                self.on_anti_entropy(cx);
            }
            Timer::Announce => self.on_announce(cx),
            Timer::Offer => self.on_offer_due(cx),
            Timer::Behind => self.on_behind(cx),
            Timer::Report => self.on_report(cx),
            Timer::Lag => self.on_lag(cx),
            Timer::Copies => self.on_copies(cx),
            Timer::Urgent => self.on_urgent(cx),
            Timer::Flush(peer) => self.on_flush(cx, peer),
            Timer::Retransmit(peer) => self.on_retransmit(cx, peer),
            Timer::Synchronize(peer) => self.on_synchronize(cx, peer),
        }
    }

    /// What others may read.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View { replication: self }
    }

    fn fault(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId, why: String) {
        self.statistics.faults += 1;
        cx.emit(Event::PeerFault { peer, why });
    }
}

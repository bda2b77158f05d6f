//! One order of decisions for the whole mesh: Raft, our own.
//!
//! Ongaro, Ousterhout, "In Search of an Understandable Consensus Algorithm", USENIX ATC 2014, with what Ongaro's dissertation (Stanford
//! 2014) adds: pre-vote, check-quorum, leadership transfer, changes of one member at a time, read index, snapshots.
//!
//! A *group* of a few voters, and learners that take the log without a voice, decides *actions*: an action sets a named register
//! if it holds what is expected, and its place in the log, with epoch and term, is its fencing token. What registers mean (roles, leases, backups)
//! is for others.
//!
//! * **Elections** are sought in turn: the first in rank when nothing was heard from the leader for a while, each further one a slot
//!   later, so that they do not collide. When the link to the leader closes, the turn begins at once. A pre-vote comes first,
//!   and whoever heard from a leader lately grants none: a wrong alarm changes nothing. A leader that does not hear
//!   from a majority gives up. See `election`.
//! * **The log** goes out as it grows, some frames ahead of their acknowledgements; where it parts from a follower's is
//!   found in one round for each term that differs. A follower that needs what is no longer there gets a snapshot in pieces.
//!   See `append`, `progress`, `snapshot`.
//! * **The group** changes by an entry of the log, by one member, one change at a time, and only under a leader that committed in its
//!   term. Whoever joins is a learner first. See `change`.
//! * **Requests** have names; asked twice, they are done once. Whoever asks gets a refusal, which is certain, or an answer; it is
//!   "unknown" if the office was lost in between, and asking again tells. See `session`, `lead`.
//! * **A member is a store**, not a node: [`Actor`]. A store that lost something it had acknowledged, or was wiped, takes part under a new
//!   name, as a learner: so nobody votes twice in a term.
//! * **A membership** ends on the word of a majority of the other voters, not of one member. See `disowned`.
//! * **A generation** of the group, its [`Epoch`], is in every frame. A group that lost its majority for good is formed anew by
//!   an operator at one survivor ([`reform`](Consensus::reform)); frames of the old one are refused from then on.
//!
//! **Disk.** Everything is decided at once in memory, and records are written in that order. Whatever somebody else relies on (a
//! vote, an acknowledgement, and asking for votes, since that is a vote for oneself) waits until all records before it are durable:
//! see `durable`. So what a crash takes away, nobody was told of.
//!
//! **Invariants** (R1 to R13 in the tests): at most one leader a term; logs with one mark in common are equal up to it; what is
//! committed is in the log of every later leader, and no peer applies something else at that place; commit and term never fall; one
//! vote a term and store, also over restarts; what is committed is durable at a majority; a request is done once. Nothing that
//! a peer sends makes a member panic.
//!
//! **Rest.** A group with nothing to do hears its leader once in a while, and a lone voter needs no timer: see `rest`.
//!
//! **Everybody else.** Peers that are no members learn of decisions from those that are (`outside`), and whoever is asked for one finds the
//! leader (`ask`).
//!
//! Left to others: who is to be a voter (the host chooses by membership), what actions do, leases of roles; links. Links between voters
//! should carry something now and then also when nothing is decided: one that died unseen swallows the first pre-vote.

mod append;
mod apply;
mod ask;
mod bounded;
mod change;
mod config;
mod disowned;
mod durable;
mod election;
mod form;
mod group;
mod kept;
mod lead;
mod log;
mod message;
mod outside;
mod progress;
mod read;
mod receive;
mod record;
mod rest;
mod session;
mod snapshot;
mod state;
#[cfg(test)]
mod tests;
mod transfer;
mod view;
mod vocabulary;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

pub use bounded::{Blob, List};
pub use change::ChangeError;
pub use config::{Config, ConfigError};
pub use form::FormError;
pub use group::{Change, Group, GroupError, MEMBERS_MAX, Member, VOTERS_MAX};
pub use kept::Kept;
pub use log::{ENTRIES_MAX, Entries, Entry, Says};
pub use message::{Ballot, Body, COUNT_MAX, Message, PIECE_MAX, SNAPSHOT_MAX, Said, Why};
pub use record::{Record, RestoreError, Snapshot};
pub use session::SESSIONS_MAX;
pub use state::{REGISTERS_BYTES_MAX, REGISTERS_MAX, Register};
pub use transfer::TransferError;
pub use view::{Standing, View};
pub use vocabulary::{
    Action, Answer, Event, Expect, Fault, Intent, Mark, Name, Outcome, Refusal, RequestId, Resigned, Timer, Token,
    VALUE_MAX, Value, Wait,
};

use crate::machine::{Cx, Machine, Never};
use crate::types::{Actor, DiskFault, Epoch, Index, Lane, Mint, NodeId, Term, Time};
use ask::Asking;
use durable::Durable;
use lead::Lead;
use log::Log;
use message::Head;
use outside::{Outside, Subscriber};
use snapshot::Incoming;
use state::State;

/// So many events are remembered that are told once.
const TOLD_MAX: usize = 64;

/// One member of a group, or one that is in none yet.
#[derive(Clone, Debug)]
pub struct Consensus {
    config: Config,
    /// This store's name. Its mint is zero until it has one.
    me: Actor,
    /// Whether its log says so.
    is_named: bool,

    // What is durable, or on its way to be.
    founding: Mint,
    epoch: Epoch,
    term: Term,
    vote: Option<Actor>,
    /// The write of the last term and vote.
    ballot: u64,
    log: Log,
    groups: group::Groups,
    snapshot: Arc<Snapshot>,
    durable: Durable,

    // What follows from it.
    commit: Index,
    state: State,

    // What a restart forgets.
    office: Office,
    leader: Option<Actor>,
    /// When the leader was last heard.
    heard_at: Time,
    /// Since when none is known.
    leaderless_since: Time,
    /// When whoever led last was heard last, as far as this peer knows; its own time as leader ends with the last answer of a majority.
    unled_since: Time,
    /// When the timer of elections fires.
    election_at: Time,
    incoming: Option<Incoming>,
    /// Whether the leader said that it will not be heard for a while.
    resting: bool,
    /// How often in a row office was sought in vain.
    failures: u32,
    /// How long an answer of a voter takes, at the most lately; and since when one is awaited to a ballot of this term, or to a beat.
    round_trip: Duration,
    asked: (Term, Time),
    /// With whom there is a link.
    links: BTreeSet<NodeId>,
    /// What is known of decisions without being a member, and who is told.
    outside: Outside,
    subscribers: BTreeMap<NodeId, Subscriber>,
    /// Requests of this peer, and who passed on those that were appended here.
    asking: BTreeMap<RequestId, Asking>,
    askers: BTreeMap<RequestId, NodeId>,
    /// Which nodes of voters say that a group goes on without us, or is of a later generation than ours: this one.
    disowned: BTreeMap<NodeId, Epoch>,
    /// Why this store takes part in nothing any more: a record was not taken.
    halted: Option<DiskFault>,
    /// What was told lately and need not be told with every frame that says it again.
    told: VecDeque<Event>,
}

/// What this member does.
#[derive(Clone, Debug)]
enum Office {
    /// It follows, or waits for somebody to follow.
    Follower,
    /// It asks whether it would be elected.
    PreCandidate(BTreeMap<Actor, bool>),
    /// It asks to be elected. Its own vote counts once it is durable.
    Candidate(BTreeMap<Actor, bool>),
    /// It leads.
    Leader(Box<Lead>),
}

impl Machine for Consensus {
    type Message = Message;
    type Record = Record;
    type Wait = Wait;
    type Task = Never;
    type Timer = Timer;
    type Event = Event;

    fn lane(message: &Message) -> Lane {
        message.lane()
    }
}

impl Consensus {
    /// In no group, and without a name yet.
    #[must_use]
    pub fn new(node: NodeId, config: Config) -> Self {
        Self {
            config,
            me: Actor { node, mint: Mint::new(0) },
            is_named: true,
            founding: Mint::new(0),
            epoch: Epoch::ZERO,
            term: Term::ZERO,
            vote: None,
            ballot: 0,
            log: Log::default(),
            groups: group::Groups::default(),
            snapshot: Arc::default(),
            durable: Durable::default(),
            commit: Index::ZERO,
            state: State::default(),
            office: Office::Follower,
            leader: None,
            heard_at: Time::ZERO,
            leaderless_since: Time::ZERO,
            unled_since: Time::ZERO,
            election_at: Time::ZERO,
            incoming: None,
            resting: false,
            failures: 0,
            round_trip: Duration::ZERO,
            asked: (Term::ZERO, Time::ZERO),
            links: BTreeSet::new(),
            outside: Outside::default(),
            subscribers: BTreeMap::new(),
            asking: BTreeMap::new(),
            askers: BTreeMap::new(),
            disowned: BTreeMap::new(),
            halted: None,
            told: VecDeque::new(),
        }
    }

    /// Begins. Once, after the last [`restore`](Self::restore). A store that has no name draws one; so does one of which the host knows
    /// that its log lost an end that was durable, since what it promised may be lost with it.
    pub fn start(&mut self, cx: &mut Cx<'_, Self>, lost_its_end: bool) {
        self.lose_leader(cx.now().mono);
        if self.me.mint == Mint::new(0) {
            // It is written down with the first thing that is promised under it.
            self.me.mint = Mint::new(cx.rng().bits().max(1));
            self.is_named = false;
            cx.emit(Event::Named { id: self.me });
            return self.wait_for_greeting(cx);
        }
        if lost_its_end {
            return self.rename(cx);
        }
        cx.emit(Event::Named { id: self.me });
        self.begin(cx);
        // Its links may be up already, if its log was only reopened: nobody greets it then, nor tells it that it was removed meanwhile.
        self.wait_for_greeting(cx);
        if self.group().is_some() {
            self.ask_the_silent(cx);
        }
    }

    /// A timer fires.
    pub fn on_timer(&mut self, cx: &mut Cx<'_, Self>, timer: Timer) {
        match timer {
            Timer::Ask => return self.on_ask_due(cx),
            _ if self.halted.is_some() => return,
            _ => {}
        }
        match timer {
            Timer::Election => self.on_election_due(cx),
            Timer::Heartbeat => self.on_heartbeat_due(cx),
            Timer::Quorum => self.on_quorum_due(cx),
            Timer::Refresh => self.on_refresh_due(cx),
            Timer::Retell => self.on_retell_due(cx),
            Timer::Ask => {}
        }
    }

    /// The disk answered a write.
    pub fn on_persisted(&mut self, cx: &mut Cx<'_, Self>, wait: Wait, result: Result<(), DiskFault>) {
        if self.halted.is_some() {
            return;
        }
        if let Err(fault) = result {
            return self.halt(cx, fault);
        }
        self.durable.answered(cx, wait.number);
        if wait.snapshot.is_some_and(|index| index == self.snapshot.last.index) {
            self.compact(cx.now().mono);
        }
        self.on_durable(cx, wait);
    }

    /// What others may read.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View { consensus: self }
    }

    /// The disk takes no writes, whoever's it was that failed.
    pub fn fail(&mut self, cx: &mut Cx<'_, Self>, fault: DiskFault) {
        if self.halted.is_none() {
            self.halt(cx, fault);
        }
    }

    /// The same store in a life that has not begun: its records are to be taken back, as after a start. What it knew to be decided it knows.
    #[must_use]
    pub fn again(&self) -> Self {
        let (links, asking, outside) = (self.links.clone(), self.asking.clone(), self.remembered());
        Self { links, asking, outside, ..Self::new(self.me.node, self.config.clone()) }
    }

    /// Takes part in nothing any more: it could not keep what it promises.
    fn halt(&mut self, cx: &mut Cx<'_, Self>, fault: DiskFault) {
        self.resign(cx, Resigned::Disk);
        self.durable.forget();
        cx.disarm(Timer::Election);
        cx.emit(Event::DiskFailed { fault: fault.clone() });
        self.follow(cx, None);
        self.halted = Some(fault);
    }

    /// What is the same in all that is sent now.
    fn head(&self) -> Head {
        Head { founding: self.founding, epoch: self.epoch, term: self.term, from: self.me.mint }
    }

    /// Who decides, as of the last entry of the log, whether that is committed or not. Nobody: this peer is in no group.
    fn group(&self) -> Option<&Arc<Group>> {
        self.groups.latest().map(|(_, group)| group)
    }

    /// Writes a record, behind all those before.
    fn write(&mut self, cx: &mut Cx<'_, Self>, record: Record) -> u64 {
        if !std::mem::replace(&mut self.is_named, true) && !matches!(record, Record::Named { .. }) {
            let mint = self.me.mint;
            self.write(cx, Record::Named { mint });
        }
        let snapshot = if let Record::Snapshot(snapshot) = &record { Some(snapshot.last.index) } else { None };
        let number = self.durable.ask(cx.now().mono);
        cx.persist(record, Wait { number, last: self.log.last(), snapshot });
        number
    }

    /// Sends what somebody will rely on: not before all that was written is durable.
    fn promise(&mut self, cx: &mut Cx<'_, Self>, to: Actor, body: Body) {
        let (node, message) = self.head().to(to, body);
        self.durable.promise(cx, node, message);
    }

    /// Sends what nobody relies on.
    fn say(&self, cx: &mut Cx<'_, Self>, to: Actor, body: Body) {
        let (node, message) = self.head().to(to, body);
        cx.send(node, message);
    }

    /// Tells what every frame of somebody would say again.
    fn tell_once(&mut self, cx: &mut Cx<'_, Self>, event: Event) {
        if self.told.contains(&event) {
            return;
        }
        if self.told.len() == TOLD_MAX {
            self.told.pop_front();
        }
        self.told.push_back(event.clone());
        cx.emit(event);
    }

    fn fault(&self, cx: &mut Cx<'_, Self>, peer: NodeId, fault: Fault) {
        cx.emit(Event::PeerFault { peer, fault });
    }
}

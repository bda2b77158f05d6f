//! SWIM with Lifeguard: who is in the mesh, and who is alive.
//!
//! Das, Gupta, Motivala, "SWIM: Scalable Weakly-consistent Infection-style Process Group Membership Protocol", DSN 2002;
//! Dadgar, Phillips, Currey, "Lifeguard: Local Health Awareness for More Accurate Failure Detection", arXiv 1707.00788.
//!
//! One probe a period and member, whatever the size of the mesh: a ping, a second one at half the timeout, then three
//! helpers. Who does not answer is *suspect*: it is told first, and may refute by raising its incarnation. A lone accuser
//! has to wait long before a suspect is *dead*, four that agree do not. Even the dead may refute; whoever meets them tells
//! them. Who says goodbye has *left*. News travel on probes and on a tick of their own; an 8-byte digest on every probe
//! finds what was missed, a comparison of 64 buckets repairs it.
//!
//! **This node in doubt of itself.** Late timers, missing nacks, silence and accusations raise its health score, which
//! stretches its periods and timeouts. Without a link, or without a word from anybody for three periods, it is
//! *isolated*: it declares nobody dead. Without a link it shows everybody as suspect, but that is its own doubt: it is
//! kept out of the evidence, is told to nobody, and ends with the first link. Suspicions that would have ended meanwhile
//! begin anew. In a mesh of two, therefore, the one that is left says *suspect*, never *dead*: it cannot tell which of
//! the two was cut off.
//!
//! **Links.** Probes go through links that the overlay makes. Up to [`Config::full_mesh_max`] present members a missing
//! link counts as a lost probe. Above that the mesh is *sparse*: a missing link alone says nothing, only one that was lost
//! or could not be made does, ours or a helper's, or one on which nothing comes back. Each member is then watched by those
//! linked with it; few can confirm a suspicion, so a lone accuser waits less. A lost link makes a probe come soon; it never
//! is a death.
//!
//! **Invariants** (named as in the tests):
//! - *I1* our own boot and incarnation never fall; nobody but us raises them.
//! - *I2* of every other member, (boot, incarnation, state) never falls until it is forgotten.
//! - *I3* dead or left becomes alive only with a higher (boot, incarnation). *I4* left never becomes suspect.
//! - *I5* somebody becomes dead here only when our suspicion of it ends, or when another member says so.
//! - *I6* we never hold ourselves for suspect or dead; every accusation is answered within a period.
//! - *I7* the table holds at most [`Config::members_max`] members, the queue of news at most one item for each.
//! - *I8* when nothing goes wrong any more, all views are equal within seconds. *I10* nobody writes more than now and then to
//!   a member that it holds for dead.
//! - *I9* equal inputs and seeds give equal ops.
//! - *I11* a refuted suspicion is no leave and no join.
//!
//! It leaves links to the overlay, admission and signatures to the driver: an admitted member is believed, within bounds.

mod blocks;
mod config;
mod doubt;
mod event;
mod evidence;
mod exchange;
mod forgotten;
mod gossip;
mod health;
mod hearsay;
mod link;
mod member;
mod message;
mod pace;
mod probe;
mod queue;
mod relay;
mod ring;
mod suspicion;
mod table;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

pub use config::{Config, ConfigError, Profile};
pub use event::{Event, Grounds, Unanswered};
pub use forgotten::ForgetError;
pub use member::{Member, Meta, MetaError, Service, State};
pub use message::{Accusers, Described, Message, Reach, Update, Updates};
pub use view::View;

use evidence::Source;
use forgotten::Forgotten;
use health::Health;
use hearsay::Sighting;
use link::Link;
use pace::Pace;
use probe::Probe;
use queue::Queue;
use relay::Relay;
use suspicion::Suspicion;
use table::{Slot, Table};

use crate::machine::{Cx, Machine, Never};
use crate::probe::planted;
use crate::types::{Boot, Incarnation, Lane, NodeId, Time};

/// A timer of membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// The probe goes to its next stage, or the next period begins.
    Probe,
    /// A probe that we make for another member.
    Relay(u16),
    /// What is fresh is told.
    Gossip,
    /// A suspicion may have lasted long enough.
    Suspicion(NodeId),
    /// A dead member is pinged.
    Reconnect,
    /// Members that somebody sees again are sought.
    Sighting,
    /// A link whose end was announced ends.
    Part(NodeId),
    /// The oldest tombstone may go.
    Reap,
}

/// The membership protocol of one node.
#[derive(Clone, Debug)]
pub struct Membership {
    me: NodeId,
    config: Config,
    table: Table,
    queue: Queue,
    health: Health,
    leaving: bool,

    // Links.
    links: BTreeMap<NodeId, Link>,
    /// Links that were asked for here and are not up, and those that are, the oldest first.
    sought: BTreeSet<NodeId>,
    pool: VecDeque<NodeId>,
    /// Members that others see again, of whom nothing was heard yet.
    sightings: BTreeMap<Slot, Sighting>,
    unlinked_at: Time,
    isolated: bool,
    doubting: bool,
    heard_at: Time,

    // Probes.
    probe: Option<Probe>,
    probe_due: Time,
    period_ends: Time,
    pace: Pace,
    number: u16,
    urgent: VecDeque<Slot>,
    turn: u32,
    silences: u8,
    relays: BTreeMap<u16, Relay>,
    /// Until then we blame nobody: we were late.
    steady_at: Time,

    // Suspicions.
    suspicions: BTreeMap<Slot, Suspicion>,
    confirmations: usize,

    // News and exchanges.
    /// Whom to answer that we are alive, once the message in hand is dealt with.
    answer_to: Option<NodeId>,
    /// When we last refuted an accusation to many at once.
    refuted_at: Option<Time>,
    met_at: Option<Time>,
    unlike: u8,
    compared_at: Option<Time>,
    diffs: u32,
    diffs_since: Time,
    gossip_armed: bool,
    gossiped_at: Time,
    reconnect_armed: bool,
    reap_at: Option<Time>,
    forgotten: Forgotten,
}

impl Machine for Membership {
    type Message = Message;
    type Record = Never;
    type Wait = Never;
    type Task = Never;
    type Timer = Timer;
    type Event = Event;

    fn lane(_: &Message) -> Lane {
        Lane::Control
    }
}

impl Membership {
    /// A node that knows only itself.
    ///
    /// # Errors
    /// [`MetaError`] when `meta` is larger than [`Meta::LEN_MAX`].
    pub fn new(me: NodeId, boot: Boot, meta: Meta, config: Config) -> Result<Self, MetaError> {
        meta.check()?;
        let described = Described { boot, incarnation: Incarnation::ZERO, meta: Arc::new(meta) };
        Ok(Self {
            me,
            config,
            table: Table::new(me, boot, &described),
            queue: Queue::default(),
            health: Health::default(),
            leaving: false,
            links: BTreeMap::new(),
            sought: BTreeSet::new(),
            pool: VecDeque::new(),
            sightings: BTreeMap::new(),
            unlinked_at: Time::ZERO,
            isolated: true,
            doubting: false,
            heard_at: Time::ZERO,
            probe: None,
            probe_due: Time::ZERO,
            period_ends: Time::ZERO,
            pace: Pace::default(),
            number: 0,
            urgent: VecDeque::new(),
            turn: 0,
            silences: 0,
            relays: BTreeMap::new(),
            steady_at: Time::ZERO,
            suspicions: BTreeMap::new(),
            confirmations: suspicion::CONFIRMATIONS,
            answer_to: None,
            refuted_at: None,
            met_at: None,
            unlike: 0,
            compared_at: None,
            diffs: 0,
            diffs_since: Time::ZERO,
            gossip_armed: false,
            gossiped_at: Time::ZERO,
            reconnect_armed: false,
            reap_at: None,
            forgotten: Forgotten::default(),
        })
    }

    /// Begins to probe. Once, before any other input.
    pub fn start(&mut self, cx: &mut Cx<'_, Self>) {
        self.start_probing(cx);
        self.enqueue(cx, Slot::ME, self.me);
    }

    /// A message arrived.
    pub fn on_message(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, message: Message) {
        if from == self.me {
            return cx.emit(Event::PeerFault { peer: from, why: "it uses our own id".into() });
        }
        self.heard_at = cx.now().mono;
        self.end_isolation(cx);
        let answered = matches!(message, Message::Ping { .. });
        match message {
            Message::Ping { probe, digest, gossip } => {
                self.learn_all(cx, from, &gossip, Source::News);
                self.on_ping(cx, from, probe, digest);
            }
            Message::Ack { probe, digest, gossip } => {
                self.learn_all(cx, from, &gossip, Source::News);
                self.on_ack(cx, from, probe, digest);
            }
            Message::PingReq { probe, target, gossip } => {
                self.learn_all(cx, from, &gossip, Source::News);
                self.on_ping_req(cx, from, probe, target);
            }
            Message::Vouch { probe } => self.on_vouch(cx, from, probe),
            Message::Nack { probe, reach } => self.on_nack(cx, from, probe, reach),
            Message::Gossip { gossip } => self.learn_all(cx, from, &gossip, Source::News),
            Message::State { rows, ask } => self.on_state(cx, from, &rows, ask),
            Message::Buckets { sums } => self.on_buckets(cx, from, &sums),
            Message::Diff { buckets, rows, ask } => self.on_diff(cx, from, buckets, &rows, ask),
            Message::Parting => self.on_parting(cx, from),
            Message::Who => self.introduce(cx, from),
        }
        self.answer(cx);
        if !answered {
            self.greet(cx, from);
        }
    }

    /// A timer fired.
    pub fn on_timer(&mut self, cx: &mut Cx<'_, Self>, timer: Timer) {
        if self.leaving && timer != Timer::Reap {
            return;
        }
        match timer {
            Timer::Probe => self.on_probe_due(cx),
            Timer::Relay(number) => self.on_relay_due(cx, number),
            Timer::Gossip => self.on_gossip_due(cx),
            Timer::Suspicion(id) => self.on_suspicion_due(cx, id),
            Timer::Reconnect => self.on_reconnect_due(cx),
            Timer::Sighting => self.on_sighting_due(cx),
            Timer::Part(peer) => self.on_part_due(cx, peer),
            Timer::Reap => self.on_reap_due(cx),
        }
    }

    /// Says goodbye to all linked members. Afterwards this machine only answers.
    pub fn leave(&mut self, cx: &mut Cx<'_, Self>) {
        if self.leaving {
            return;
        }
        self.leaving = true;
        let me = &self.table.me().member;
        let (boot, incarnation) = (me.boot, me.incarnation.next());
        self.rise(cx, boot, incarnation);
        let forget_at = cx.now().mono + self.config.left_kept;
        self.table.amend(Slot::ME, cx.now().mono, cx.rng(), |me| {
            (me.claim, me.forget_at) = (State::Left, forget_at);
        });
        if !planted!("membership/leaves-unsaid") {
            self.say_goodbye(cx);
        }
        cx.emit(Event::Left { member: self.me, from: self.me });
    }

    /// Changes what this node says of itself.
    ///
    /// # Errors
    /// [`MetaError`] when it is larger than [`Meta::LEN_MAX`]; nothing was changed.
    pub fn set_meta(&mut self, cx: &mut Cx<'_, Self>, meta: Meta) -> Result<(), MetaError> {
        meta.check()?;
        let me = &self.table.me().member;
        if *me.meta == meta || self.leaving {
            return Ok(());
        }
        let (boot, incarnation) = (me.boot, me.incarnation.next());
        let described = Described { boot, incarnation, meta: Arc::new(meta) };
        self.table.amend(Slot::ME, cx.now().mono, cx.rng(), |me| me.describe(&described));
        self.rise(cx, boot, incarnation);
        cx.emit(Event::Updated { member: self.me });
        Ok(())
    }

    /// What others may read.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View { membership: self }
    }

    /// After a message that has no answer: whoever we do not know is asked who it is; whoever is accused is told so.
    fn greet(&mut self, cx: &mut Cx<'_, Self>, from: NodeId) {
        let Some(entry) = self.table.find(from) else { return self.ask_who(cx, from) };
        if entry.claim != State::Alive && entry.linked && !self.leaving && self.may_prod(cx.now().mono, from) {
            self.tell_accused(cx, from);
        }
    }
}

//! SWIM with Lifeguard: who is in the mesh, and who is alive.

mod config;
mod event;
mod health;
mod member;
mod message;
mod table;
mod view;

use std::sync::Arc;

pub use config::{Config, ConfigError, Profile};
pub use event::Event;
pub use member::{Member, Meta, MetaError, State};
pub use message::{Accusers, Described, Message, Update, Updates};
pub use view::View;

use health::Health;
use table::Table;

use crate::machine::{Cx, Machine, Never};
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
    /// The oldest tombstone may go.
    Reap,
}

/// The membership protocol of one node.
#[derive(Clone, Debug)]
pub struct Membership {
    me: NodeId,
    config: Config,
    table: Table,
    health: Health,
    isolated: bool,
    queue: Vec<NodeId>,
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
        let member = Member {
            id: me,
            boot,
            incarnation: Incarnation::ZERO,
            state: State::Alive,
            meta: Arc::new(meta),
            since: Time::ZERO,
        };
        let table = Table::new(member);
        Ok(Self { me, config, table, health: Health::default(), isolated: true, queue: Vec::new() })
    }

    /// Begins to probe. Once, before any other input.
    pub fn start(&mut self, cx: &mut Cx<'_, Self>) {
        self.health.better();
        cx.arm(Timer::Probe, self.health.stretch(self.config.probe_period));
    }

    /// A link to an admitted peer is up.
    pub fn on_linked(&mut self, _cx: &mut Cx<'_, Self>, _peer: NodeId) {
        self.isolated = false;
    }

    /// The link is gone: a hint to probe that member soon, never a death.
    pub fn on_unlinked(&mut self, _cx: &mut Cx<'_, Self>, _peer: NodeId) {}

    /// A wanted link could not be made: the member counts as not answering even in a mesh too large for links to all.
    pub fn on_dial_failed(&mut self, _cx: &mut Cx<'_, Self>, _peer: NodeId) {}

    /// A message arrived.
    pub fn on_message(&mut self, _cx: &mut Cx<'_, Self>, _from: NodeId, _message: Message) {}

    /// A timer fired.
    pub fn on_timer(&mut self, cx: &mut Cx<'_, Self>, timer: Timer) {
        if timer == Timer::Probe {
            self.health.worse(0);
            cx.arm(Timer::Probe, self.config.probe_period);
        }
    }

    /// Says goodbye to all linked members. Afterwards this machine only answers.
    pub fn leave(&mut self, cx: &mut Cx<'_, Self>) {
        cx.emit(Event::Left { member: self.me });
    }

    /// Changes what this node says of itself.
    ///
    /// # Errors
    /// [`MetaError`] when it is larger than [`Meta::LEN_MAX`]; nothing was changed.
    pub fn set_meta(&mut self, cx: &mut Cx<'_, Self>, meta: Meta) -> Result<(), MetaError> {
        meta.check()?;
        if let Some(entry) = self.table.find_mut(self.me)
            && *entry.member.meta != meta
        {
            entry.member.meta = Arc::new(meta);
            cx.emit(Event::Updated { member: self.me });
        }
        Ok(())
    }

    /// What others may read.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View { membership: self }
    }

    fn me(&self) -> NodeId {
        self.me
    }
}

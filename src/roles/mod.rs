//! Who serves now: named roles, granted to one peer at a time, with leases and fencing tokens.
//!
//! Gray, Cheriton, "Leases: An Efficient Fault-Tolerant Mechanism for Distributed File Cache Consistency", SOSP 1989; Burrows, "The
//! Chubby lock service", OSDI 2006 (sequencers). Consensus decides who is granted a role; the decision's place is its fencing
//! [`Token`](crate::consensus::Token). A grant alone is no right to act: the *holder* acts while it has a lease, which it renews with the
//! leader every 50 ms. Room `failover` has the rules, this one the protocol.
//!
//! * **Grants** stand in the registers `role/NAME` ([`Grant`]), set only if the one before is still there. The host keeps everybody else from
//!   setting such registers.
//! * **Leases.** The leader answers a renewal with what is left of `lease`, counted from when it *sent* the last round of heartbeats
//!   that a majority has answered, not from now. Any later leader is elected after that, by voters of whom one answered; and it waits out
//!   a full lease from its election before it grants the role anew. So a leader that is cut off, and does not know yet that
//!   it leads nobody, gives no lease that its successor does not wait for. The holder counts from when it asked. See `office`, `hold`.
//! * **Clocks** need not agree, only run about equally fast: the holder stops at four fifths of its lease, the granter waits for a lease and a tenth, and
//!   for the hooks that end the work. A process that was stopped, or a virtual machine that was moved, may act too late nevertheless: who asks
//!   [`View::holds`] and acts on it a second later. For that there is the fence.
//! * **The fence.** Whoever is acted upon keeps the highest token that it saw, on its disk, and refuses lower ones ([`Roles::admit`]). See `fence`.
//! * **Failover.** A holder that is not heard, whose link is closed, or that membership suspects, is replaced by the best candidate, as soon as its
//!   lease is over by any clock; at once if it says that it stopped. Not more often than some times in ten minutes: what kills one primary
//!   may kill the next. See `tend`.
//! * **Orders** of operators: move, release, pause, resume, from any peer. See `order`, `pass`.
//!
//! **What the host must give**: a [`Sight`] with every input. [`Mandate::quorum_sent_at`] is what safety rests on; everything else in it may
//! be late. It calls [`Roles::on_changed`] when the leader, the office, a register or a candidate changed, [`Roles::on_decided`] for each
//! committed action, in order, and for an answer to a proposal that this room [awaits](View::awaits). Its monotonic clock goes on while the machine sleeps.
//!
//! **Invariants** (L1 to L7 in the tests): at no moment do two peers act in one role (L1). Tokens of a role rise, and nobody acts under one
//! twice in two lives (L2). What was refused by a fence is refused for ever (L3). Nobody takes over who is not eligible (L4). No more promotions than
//! configured (L5). When nothing goes wrong any more, each role has one holder (L6). A role that was given back is granted without a wait (L7). Nothing that a peer
//! sends makes this room panic.
//!
//! Left to others: what a role means, hooks, redirecting clients (the driver), who may hold one (the host says so).

mod config;
mod fence;
mod grant;
mod hold;
mod message;
mod office;
mod order;
mod pass;
mod record;
mod sight;
mod tend;
#[cfg(test)]
mod tests;
mod view;
mod vocabulary;

use std::collections::BTreeMap;
use std::time::Duration;

pub use config::{Config, ConfigError};
pub use grant::{Grant, HISTORY_MAX, Past, Turn};
pub use message::{Body, Message};
pub use record::{Kept, Record};
pub use sight::{Mandate, Sight};
pub use view::{Holding, Lease, View, Watched};
pub use vocabulary::{
    Admission, Alert, Event, Fault, Hooks, Order, OrderError, OrderWhat, REGISTER_PREFIX, ROLES_MAX, Reason, Refused,
    RoleName, RoleNameError, Timer, Wait, Why,
};

use crate::consensus::RequestId;
use crate::failover::HolderWatch;
use crate::machine::{Cx, Machine, Never};
use crate::types::{DiskFault, Epoch, Lane, NodeId, Term};
use fence::Fences;
use hold::Holdings;
use office::Office;
use pass::Passing;

/// The roles of the mesh, as this peer grants, holds and heeds them.
#[derive(Clone, Debug)]
pub struct Roles {
    me: NodeId,
    config: Config,
    fences: Fences,
    holdings: Holdings,
    office: Option<Office>,
    /// The office that was given up last.
    left: Option<(Epoch, Term)>,
    /// Who led when this peer last looked.
    leader: Option<NodeId>,
    /// Orders of this peer without an answer.
    passing: BTreeMap<RequestId, Passing>,
    /// Who passed on which order, about which role, that this leader carries out.
    askers: BTreeMap<RequestId, (NodeId, RoleName)>,
}

impl Machine for Roles {
    type Message = Message;
    type Record = Record;
    type Wait = Wait;
    type Task = Never;
    type Timer = Timer;
    type Event = Event;

    fn lane(_: &Message) -> Lane {
        Lane::Control
    }
}

impl Roles {
    /// Holds nothing, and heeds every token.
    #[must_use]
    pub fn new(me: NodeId, config: Config) -> Self {
        let (fences, holdings) = (Fences::default(), Holdings::default());
        let (passing, askers) = (BTreeMap::new(), BTreeMap::new());
        Self { me, config, fences, holdings, office: None, left: None, leader: None, passing, askers }
    }

    /// What the operator turned.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What the disk holds. Before anything else, in the order of the log.
    pub fn restore(&mut self, record: &Record) {
        self.fences.restore(record);
    }

    /// The leader, the office, a register or a candidate changed.
    pub fn on_changed(&mut self, cx: &mut Cx<'_, Self>, sight: &Sight<'_>) {
        self.lapse(cx, sight);
        if self.leader != sight.leader {
            self.leader = sight.leader;
            self.renew_all(cx, sight);
            self.pass_all(cx, sight);
        }
        self.look(cx, sight);
    }

    /// The link to a peer is gone.
    pub fn on_unlinked(&mut self, cx: &mut Cx<'_, Self>, sight: &Sight<'_>, peer: NodeId) {
        self.lapse(cx, sight);
        self.suspect(cx, sight, peer, HolderWatch::unlinked);
        self.forget_asker(peer);
        self.look(cx, sight);
    }

    /// Membership suspects a peer.
    pub fn on_suspected(&mut self, cx: &mut Cx<'_, Self>, sight: &Sight<'_>, peer: NodeId) {
        self.lapse(cx, sight);
        self.suspect(cx, sight, peer, HolderWatch::suspected);
        self.look(cx, sight);
    }

    /// A timer fires.
    pub fn on_timer(&mut self, cx: &mut Cx<'_, Self>, sight: &Sight<'_>, timer: &Timer) {
        self.lapse(cx, sight);
        match timer {
            Timer::Renew(role) => self.renew(cx, sight, role),
            Timer::Hooks(role) => self.stop_hooks(cx, sight, role),
            Timer::Pass => self.pass_all(cx, sight),
            // The first is what was done above, the other what is done below.
            Timer::Fence(_) | Timer::Look => {}
        }
        self.look(cx, sight);
    }

    /// The disk answered a write.
    pub fn on_persisted(
        &mut self,
        cx: &mut Cx<'_, Self>,
        sight: &Sight<'_>,
        wait: &Wait,
        result: &Result<(), DiskFault>,
    ) {
        self.lapse(cx, sight);
        self.on_fence(cx, wait, result);
        if wait.begins {
            self.on_begun(cx, sight, wait, result.is_ok());
        }
        self.look(cx, sight);
    }

    /// A peer speaks. The host has made sure that it is this one.
    pub fn on_message(&mut self, cx: &mut Cx<'_, Self>, sight: &Sight<'_>, from: NodeId, message: Message) {
        self.lapse(cx, sight);
        if from == self.me {
            return;
        }
        if let Err(fault) = message.check() {
            return cx.emit(Event::PeerFault { peer: from, fault });
        }
        self.on_body(cx, sight, from, message);
        self.look(cx, sight);
    }

    fn on_body(&mut self, cx: &mut Cx<'_, Self>, sight: &Sight<'_>, from: NodeId, message: Message) {
        let Message { role, token, body } = message;
        match body {
            Body::Renew { number, ready } => return self.on_renew(cx, sight, from, &role, token, (number, ready)),
            Body::Stopped { is_wish } => return self.on_stopped(cx, sight, from, &role, token, is_wish),
            Body::Order { id, expires, by, what } => {
                return self.on_order(cx, sight, from, &Order { id, expires, by, role, what });
            }
            Body::Ordered { id, result } => return self.on_ordered(cx, from, id, result),
            _ => {}
        }
        // Only whom this peer holds for the leader tells it what it holds: others would be heeded again when they are.
        if sight.leader != Some(from) {
            return;
        }
        match body {
            Body::Granted { lease_us, hooks_us } => {
                let terms = (Duration::from_micros(lease_us), Duration::from_micros(hooks_us));
                self.on_granted(cx, sight, &role, token, terms);
            }
            Body::Renewed { number, left_us } => {
                self.on_renewed(cx, &role, token, number, Duration::from_micros(left_us));
            }
            Body::Stop => {
                if self.holdings.find(&role, token).is_some() {
                    self.demote(cx, sight, &role, Why::Ordered);
                }
            }
            Body::Noted => self.on_noted(&role, token),
            Body::Superseded { by } => self.on_superseded(cx, sight, &role, by),
            Body::Renew { .. } | Body::Stopped { .. } | Body::Order { .. } | Body::Ordered { .. } => {}
        }
    }

    /// Hooks have had their time. Those that begin the work are stopped by the demotion, as if they had failed: else a holder whose work never begins
    /// would keep its role. Those that end it are stopped, and not before they are does the host say that they ended.
    fn stop_hooks(&mut self, cx: &mut Cx<'_, Self>, sight: &Sight<'_>, role: &RoleName) {
        let Some(held) = self.holdings.0.get(role) else { return };
        match held.phase {
            hold::Phase::Ending(_) => cx.emit(Event::StopHooks { role: role.clone(), token: held.token }),
            hold::Phase::Acting(_) if !held.is_ready => self.demote(cx, sight, role, Why::HookFailed),
            _ => {}
        }
    }

    /// Whether a message is one that only a leader sends.
    #[must_use]
    pub fn is_leaders(message: &Message) -> bool {
        use Body as B;
        matches!(message.body, B::Granted { .. } | B::Renewed { .. } | B::Stop | B::Noted | B::Superseded { .. })
    }

    /// What others may read.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View { roles: self }
    }
}

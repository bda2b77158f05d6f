//! The holder's side: to begin when the lease does, to renew it, to stop before it ends, and to say so.
//!
//! A peer acts in a role only between the first answer to a renewal and the end of the lease that the last one gave, counted from when it
//! asked. What is granted is no lease yet. Before it asks at all, the token is on its disk: so it never begins twice under one token, and
//! a process that was killed and comes back ends the work of its life before, and says that it has: also if somebody else holds the role by then, since
//! programs outlive the process that began them. What was ended well is written down too, and not ended again.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::message::Body;
use super::vocabulary::{Event, Hooks, RoleName, Timer, Wait, Why};
use super::{Roles, Sight};
use crate::consensus::Token;
use crate::failover::FailoverLimits;
use crate::machine::Cx;
use crate::probe::planted;
use crate::types::{NodeId, Time};

/// So many renewals may be under way.
const ASKED_MAX: usize = 16;
/// Whoever stopped and was heard says so again after so many heartbeats: the next leader has not heard it.
const NOTED_EVERY: u32 = 20;

/// A role that this peer was granted.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) token: Token,
    lease: Duration,
    hooks: Duration,
    pub(super) phase: Phase,
    /// The hooks that begin its work are done.
    pub(super) is_ready: bool,
    /// Renewals that are not answered: their number and when they were sent.
    asked: VecDeque<(u64, Time)>,
    last_number: u64,
}

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The token is on its way to the disk.
    Writing,
    /// It asks for its lease.
    Asking,
    /// It acts, until this or until a renewal is answered.
    Acting(Time),
    /// It does not act any more; the hooks that end its work run.
    Ending(Why),
    /// They are done.
    Ended {
        /// The role should go to somebody else.
        is_wish: bool,
        /// The leader knows.
        is_noted: bool,
    },
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Holdings(pub(super) BTreeMap<RoleName, Held>);

impl Holdings {
    pub(super) fn find(&mut self, role: &RoleName, token: Token) -> Option<&mut Held> {
        self.0.get_mut(role).filter(|held| held.token == token)
    }
}

impl Held {
    fn new(token: Token, lease: Duration, hooks: Duration, phase: Phase) -> Self {
        Self { token, lease, hooks, phase, is_ready: false, asked: VecDeque::new(), last_number: 0 }
    }

    /// Whether it acts at this time.
    pub(super) fn acts(&self, now: Time) -> bool {
        if planted!("roles/acts-beyond-its-lease") {
            return matches!(self.phase, Phase::Acting(_));
        }
        matches!(self.phase, Phase::Acting(until) if now < until)
    }
}

impl Roles {
    /// A life begins: what the last one was about to begin, or had begun, is ended. After everything was restored.
    pub fn start(&mut self, cx: &mut Cx<'_, Self>, sight: &Sight<'_>) {
        if planted!("roles/begins-twice") {
            return;
        }
        let begun: Vec<_> = self.fences.unended().collect();
        let FailoverLimits { lease, hook_limit: hooks, .. } = self.config.failover;
        for (role, token) in begun {
            self.holdings.0.insert(role.clone(), Held::new(token, lease, hooks, Phase::Asking));
            self.demote(cx, sight, &role, Why::Restarted);
        }
    }

    /// The leader says that this peer was granted a role.
    pub(super) fn on_granted(
        &mut self,
        cx: &mut Cx<'_, Self>,
        sight: &Sight<'_>,
        role: &RoleName,
        token: Token,
        (lease, hooks): (Duration, Duration),
    ) {
        match self.holdings.0.get(role) {
            Some(held) if held.token >= token => return,
            // It ends the one first; the grant is said again.
            Some(held) if matches!(held.phase, Phase::Ending(_)) => return,
            Some(held) if matches!(held.phase, Phase::Acting(_) | Phase::Asking | Phase::Writing) => {
                return self.demote(cx, sight, role, Why::Superseded);
            }
            _ => {}
        }
        let seen = self.fences.find(role).cloned().unwrap_or_default();
        if token < seen.seen {
            return;
        }
        let held = |phase| Held::new(token, lease, hooks, phase);
        if token <= seen.begun && !planted!("roles/begins-twice") {
            if token <= seen.ended {
                // And ended it: the leader did not hear of that.
                self.holdings.0.insert(role.clone(), held(Phase::Ended { is_wish: false, is_noted: false }));
                return self.renew(cx, sight, role);
            }
            // A life before has begun under it, or was about to.
            self.holdings.0.insert(role.clone(), held(Phase::Asking));
            return self.demote(cx, sight, role, Why::Restarted);
        }
        if self.write_begun(cx, role, token) {
            self.holdings.0.insert(role.clone(), held(Phase::Writing));
        }
    }

    /// The disk has the token under which this peer is about to begin, or failed.
    pub(super) fn on_begun(&mut self, cx: &mut Cx<'_, Self>, sight: &Sight<'_>, wait: &Wait, is_durable: bool) {
        let Some(held) = self.holdings.find(&wait.role, wait.token) else { return };
        if held.phase == Phase::Writing {
            // Where it cannot be written down it never began, and never will.
            held.phase = if is_durable { Phase::Asking } else { Phase::Ended { is_wish: true, is_noted: false } };
            self.renew(cx, sight, &wait.role);
        }
    }

    /// Lets the leader hear, and again after a heartbeat.
    pub(super) fn renew(&mut self, cx: &mut Cx<'_, Self>, sight: &Sight<'_>, role: &RoleName) {
        let (now, heartbeat) = (cx.now().mono, self.config.failover.heartbeat);
        let Some(held) = self.holdings.0.get_mut(role) else { return };
        let (body, after) = match held.phase {
            Phase::Writing | Phase::Ending(_) => return,
            Phase::Asking | Phase::Acting(_) => {
                held.last_number += 1;
                if held.asked.len() == ASKED_MAX {
                    held.asked.pop_front();
                }
                held.asked.push_back((held.last_number, now));
                (Body::Renew { number: held.last_number, ready: held.is_ready }, heartbeat)
            }
            Phase::Ended { is_wish, is_noted } => {
                (Body::Stopped { is_wish }, if is_noted { NOTED_EVERY * heartbeat } else { heartbeat })
            }
        };
        let token = held.token;
        cx.arm(Timer::Renew(role.clone()), after);
        if let Some(leader) = sight.leader {
            self.tell(cx, sight, leader, role, token, body);
        }
    }

    /// Somebody else leads: it does not know yet who holds what, or who stopped, and there is not much left of a lease.
    pub(super) fn renew_all(&mut self, cx: &mut Cx<'_, Self>, sight: &Sight<'_>) {
        let roles: Vec<_> = self.holdings.0.keys().cloned().collect();
        roles.iter().for_each(|role| self.renew(cx, sight, role));
    }

    /// The leader lets it go on, for so long after it asked.
    pub(super) fn on_renewed(
        &mut self,
        cx: &mut Cx<'_, Self>,
        role: &RoleName,
        token: Token,
        number: u64,
        left: Duration,
    ) {
        let now = cx.now().mono;
        let Some(held) = self.holdings.find(role, token) else { return };
        let Some((_, sent)) = held.asked.iter().find(|(asked, _)| *asked == number).copied() else { return };
        held.asked.retain(|(asked, _)| *asked > number);
        // Nobody can give more than a lease. The end of it is for clocks that differ.
        let left = left.min(held.lease).saturating_sub(FailoverLimits::margin(held.lease));
        let until = sent + left;
        if now >= until {
            return;
        }
        match held.phase {
            Phase::Asking => {
                held.phase = Phase::Acting(until);
                let limit = self.config.failover.promote_limit;
                if self.config.hooks {
                    cx.arm(Timer::Hooks(role.clone()), limit);
                }
                cx.emit(Event::Promote { role: role.clone(), token, limit });
            }
            Phase::Acting(before) if until > before => held.phase = Phase::Acting(until),
            _ => return,
        }
        cx.arm(Timer::Fence(role.clone()), until.since(now));
    }

    /// Whatever lease is over by now is: a process that was stopped finds out here, before it does anything else.
    pub(super) fn lapse(&mut self, cx: &mut Cx<'_, Self>, sight: &Sight<'_>) {
        if planted!("roles/acts-beyond-its-lease") {
            return;
        }
        let now = cx.now().mono;
        let is_over = |held: &Held| matches!(held.phase, Phase::Acting(until) if now >= until);
        while let Some(role) = self.holdings.0.iter().find(|(_, held)| is_over(held)).map(|(role, _)| role.clone()) {
            self.demote(cx, sight, &role, Why::Lapsed);
        }
    }

    /// Acts no more under this token, from now on and for good. The hooks that end the work run only where it began.
    pub(super) fn demote(&mut self, cx: &mut Cx<'_, Self>, sight: &Sight<'_>, role: &RoleName, why: Why) {
        let Some(held) = self.holdings.0.get_mut(role) else { return };
        let has_begun = matches!(held.phase, Phase::Acting(_)) || why == Why::Restarted;
        match held.phase {
            Phase::Ending(_) | Phase::Ended { .. } => return,
            Phase::Writing | Phase::Asking | Phase::Acting(_) => {}
        }
        held.asked.clear();
        cx.disarm(Timer::Renew(role.clone()));
        cx.disarm(Timer::Fence(role.clone()));
        if !has_begun {
            held.phase = Phase::Ended { is_wish: why.is_wish(), is_noted: false };
            return self.renew(cx, sight, role);
        }
        held.phase = Phase::Ending(why);
        cx.arm(Timer::Hooks(role.clone()), held.hooks);
        cx.emit(Event::Demote { role: role.clone(), token: held.token, why, limit: held.hooks });
    }

    /// The hooks of a promotion or a demotion are done, or were stopped. Told once for each [`Event::Promote`] and
    /// [`Event::Demote`]; a promotion whose hooks were stopped for a demotion is not told.
    pub fn on_hooks_done(
        &mut self,
        cx: &mut Cx<'_, Self>,
        sight: &Sight<'_>,
        role: &RoleName,
        token: Token,
        (which, is_well): (Hooks, bool),
    ) {
        self.lapse(cx, sight);
        if let Some(held) = self.holdings.find(role, token) {
            match (held.phase, which) {
                (Phase::Acting(_), Hooks::Begin) if is_well => {
                    held.is_ready = true;
                    cx.disarm(Timer::Hooks(role.clone()));
                    self.renew(cx, sight, role);
                }
                (Phase::Acting(_), Hooks::Begin) => self.demote(cx, sight, role, Why::HookFailed),
                (Phase::Ending(why), Hooks::End) => {
                    held.phase = Phase::Ended { is_wish: why.is_wish(), is_noted: false };
                    cx.disarm(Timer::Hooks(role.clone()));
                    // What failed to end is ended again by the next life.
                    if is_well {
                        self.write_ended(cx, role, token);
                    }
                    self.renew(cx, sight, role);
                }
                // The end of hooks that were stopped for others, and that ran to it at the same moment.
                _ => {}
            }
        }
        self.look(cx, sight);
    }

    /// This peer does not want a role any more: it is leaving, or its program gives it up.
    pub fn give_up(&mut self, cx: &mut Cx<'_, Self>, sight: &Sight<'_>, role: &RoleName) {
        self.lapse(cx, sight);
        self.demote(cx, sight, role, Why::GivenUp);
        self.look(cx, sight);
    }

    /// The leader knows that it stopped.
    pub(super) fn on_noted(&mut self, role: &RoleName, token: Token) {
        if let Some(held) = self.holdings.find(role, token)
            && let Phase::Ended { is_noted, .. } = &mut held.phase
        {
            *is_noted = true;
        }
    }

    /// Somebody else was granted the role, or nobody is to hold it.
    pub(super) fn on_superseded(&mut self, cx: &mut Cx<'_, Self>, sight: &Sight<'_>, role: &RoleName, by: Token) {
        let Some(held) = self.holdings.0.get(role).filter(|held| held.token < by) else { return };
        if matches!(held.phase, Phase::Ended { .. }) {
            self.holdings.0.remove(role);
            return cx.disarm(Timer::Renew(role.clone()));
        }
        self.demote(cx, sight, role, Why::Superseded);
    }

    /// A message to a peer, which may be this one.
    pub(super) fn tell(
        &mut self,
        cx: &mut Cx<'_, Self>,
        sight: &Sight<'_>,
        to: NodeId,
        role: &RoleName,
        token: Token,
        body: Body,
    ) {
        let message = super::Message { role: role.clone(), token, body };
        if to == self.me {
            // An answer is one step, and asks nothing.
            return self.on_body(cx, sight, to, message);
        }
        cx.send(to, message);
    }
}

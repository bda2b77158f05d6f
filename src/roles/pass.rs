//! Orders from anywhere: whoever is asked passes the order on to the leader, and answers once, in time.
//!
//! An order has a name, and the decision that it comes to has the same one. So it may be passed on again after a silence or an election: a leader that is
//! carrying it out goes on, and what was decided already is told, also by a leader that had passed it on itself until then. A refusal is certain for the attempt that it answers; what is told in
//! the end is a refusal only if no other attempt may have been taken on, else it is [`OrderError::Unknown`].
//!
//! **Bounds.** [`ORDERS_MAX`] orders of this peer, and as many of others here; where no leader is known for [`LEADERLESS`] an order is given
//! up, and in any case when it expires.

use std::time::Duration;

use super::message::Body;
use super::vocabulary::{Event, Order, OrderError, RoleName, Timer};
use super::{Message, Roles, Sight};
use crate::consensus::{RequestId, Token};
use crate::machine::Cx;
use crate::types::{NodeId, Time};

/// Orders that are under way at a time.
const ORDERS_MAX: usize = 64;
/// It is looked so often whether there is a leader by now.
const AGAIN: Duration = Duration::from_millis(50);
/// An order that was passed on is passed on again: it may have been lost, or its answer.
const RESEND: Duration = Duration::from_millis(500);
/// Without a leader for so long an order is given up: longer than an election takes, and soon for whoever waits.
const LEADERLESS: Duration = Duration::from_millis(250);

/// An order of this peer that has no answer yet.
#[derive(Clone, Debug)]
pub(super) struct Passing {
    order: Order,
    /// To whom it was passed on last, and when.
    sent: Option<(NodeId, Time)>,
    /// Somebody may have taken it on, and was not heard since.
    is_uncertain: bool,
    /// Somebody led then, as far as is known.
    led_at: Time,
}

impl Roles {
    /// Wants an order carried out, wherever the leader is. [`Event::Ordered`] comes, once.
    pub fn ask(&mut self, cx: &mut Cx<'_, Self>, sight: &Sight<'_>, order: Order) {
        self.lapse(cx, sight);
        let id = order.id;
        if self.passing.len() >= ORDERS_MAX {
            return cx.emit(Event::Ordered { id, result: Err(OrderError::Busy) });
        }
        let passing = Passing { order, sent: None, is_uncertain: false, led_at: cx.now().mono };
        self.passing.insert(id, passing);
        self.pass_on(cx, sight, id);
        self.arm_pass(cx);
        self.look(cx, sight);
    }

    fn pass_on(&mut self, cx: &mut Cx<'_, Self>, sight: &Sight<'_>, id: RequestId) {
        let now = cx.now().mono;
        let (Some(passing), Some(leader)) = (self.passing.get_mut(&id), sight.leader) else { return };
        passing.led_at = now;
        let is_there = passing.sent.is_some_and(|(to, at)| to == leader && now.since(at) < RESEND);
        if is_there {
            return;
        }
        passing.is_uncertain |= passing.sent.is_some_and(|(to, _)| to != leader);
        passing.sent = Some((leader, now));
        let order = passing.order.clone();
        if leader == self.me {
            let begun = self.order(cx, sight, &order);
            return begun.unwrap_or_else(|error| self.on_ordered(cx, leader, id, Err(error)));
        }
        let Order { id, expires, by, role, what } = order;
        cx.send(leader, Message { role, token: Token::default(), body: Body::Order { id, expires, by, what } });
    }

    /// A peer passes an order on. It is answered when it is carried out, or not.
    pub(super) fn on_order(&mut self, cx: &mut Cx<'_, Self>, sight: &Sight<'_>, from: NodeId, order: &Order) {
        if self.askers.len() >= ORDERS_MAX && !self.askers.contains_key(&order.id) {
            return tell(cx, from, &order.role, order.id, Err(OrderError::Busy));
        }
        self.askers.insert(order.id, (from, order.role.clone()));
        if let Err(error) = self.order(cx, sight, order) {
            self.answer(cx, order.id, Err(error));
        }
    }

    /// An order that this peer took on has its answer: whoever asked for it is told.
    pub(super) fn answer(&mut self, cx: &mut Cx<'_, Self>, id: RequestId, result: Result<Token, OrderError>) {
        match self.askers.remove(&id) {
            Some((asker, role)) => tell(cx, asker, &role, id, result),
            None if self.passing.contains_key(&id) => self.on_ordered(cx, self.me, id, result),
            None => cx.emit(Event::Ordered { id, result }),
        }
    }

    /// Who was asked has answered. Only who was: anybody else may say what it likes.
    pub(super) fn on_ordered(
        &mut self,
        cx: &mut Cx<'_, Self>,
        from: NodeId,
        id: RequestId,
        result: Result<Token, OrderError>,
    ) {
        let Some(passing) = self.passing.get_mut(&id) else { return };
        if passing.sent.is_none_or(|(to, _)| to != from) {
            return;
        }
        // It is passed on to whoever leads next: this one has not done it, or does not know.
        if matches!(result, Err(OrderError::NotLeader { .. } | OrderError::NotSettled | OrderError::Unknown)) {
            passing.is_uncertain |= matches!(result, Err(OrderError::Unknown));
            passing.sent = None;
            return self.arm_pass(cx);
        }
        self.finish(cx, id, result);
    }

    fn finish(&mut self, cx: &mut Cx<'_, Self>, id: RequestId, result: Result<Token, OrderError>) {
        let Some(passing) = self.passing.remove(&id) else { return };
        let result = match result {
            Err(_) if passing.is_uncertain => Err(OrderError::Unknown),
            result => result,
        };
        self.arm_pass(cx);
        cx.emit(Event::Ordered { id, result });
    }

    /// Passes on what waits, and gives up what waited too long.
    pub(super) fn pass_all(&mut self, cx: &mut Cx<'_, Self>, sight: &Sight<'_>) {
        let now = cx.now();
        for id in self.passing.keys().copied().collect::<Vec<_>>() {
            self.pass_on(cx, sight, id);
            let Some(passing) = self.passing.get(&id) else { continue };
            let expires = passing.order.expires;
            let is_lost = sight.leader.is_none() && now.mono.since(passing.led_at) >= LEADERLESS;
            // What this peer carries out itself it ends itself when it expires: it would be answered twice.
            let is_own = self.office.as_ref().is_some_and(|office| office.carries_out(id));
            if (now.wall <= expires || is_own) && !is_lost {
                continue;
            }
            let Some(passing) = self.passing.get_mut(&id) else { continue };
            // Whoever was asked, and was not heard since, may have taken it on.
            passing.is_uncertain |= passing.sent.is_some();
            let error = if is_lost { OrderError::NotLeader { leader: None } } else { OrderError::Expired { expires } };
            self.finish(cx, id, Err(error));
        }
        self.arm_pass(cx);
    }

    fn arm_pass(&self, cx: &mut Cx<'_, Self>) {
        if self.passing.is_empty() { cx.disarm(Timer::Pass) } else { cx.arm(Timer::Pass, AGAIN) }
    }

    /// Its orders cannot be answered any more.
    pub(super) fn forget_asker(&mut self, peer: NodeId) {
        self.askers.retain(|_, (asker, _)| *asker != peer);
    }
}

/// Tells a peer what came of the order that it passed on.
fn tell(cx: &mut Cx<'_, Roles>, to: NodeId, role: &RoleName, id: RequestId, result: Result<Token, OrderError>) {
    cx.send(to, Message { role: role.clone(), token: Token::default(), body: Body::Ordered { id, result } });
}

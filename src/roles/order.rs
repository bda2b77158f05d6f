//! What operators order, and what the leader carries out by itself in the same way: giving a role back to who is preferred, and noting
//! how long a failover took.
//!
//! A move stops the holder first: it gets no lease any more and is told to stop, and when it has, or when its lease is over, the role
//! is granted. So a move ends in any case; what it costs is the end of one lease at most. An order is not begun after its time, and neither
//! is the decision that it comes to.

use std::time::Duration;

use super::grant::{Grant, Turn};
use super::office::Decided;
use super::tend::Choice;
use super::vocabulary::{Order, OrderError, OrderWhat, Reason, RoleName};
use super::{Roles, Sight};
use crate::consensus::{Name, RequestId, Token};
use crate::failover::PromotionRules;
use crate::machine::Cx;
use crate::types::{NodeId, WallTime};

/// An order that is being carried out.
#[derive(Clone, Debug)]
pub(super) struct Running {
    /// Whom to tell, and under which name to decide; nobody if no operator asked.
    pub(super) asked: Option<(RequestId, WallTime)>,
    pub(super) by: Option<Name>,
    pub(super) task: Task,
    /// It was proposed under this name.
    pub(super) proposed: Option<RequestId>,
}

/// What is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// The holder stops, then this one gets the role, or the best of the others.
    Move(Option<NodeId>, Reason),
    /// The holder stops, then nobody has it.
    Withdraw,
    /// The role stays where it is, or is moved by the rules again.
    Pause(bool),
    /// A failover took so long.
    Note(Duration),
}

impl Running {
    /// To write down how long a failover took.
    pub(super) fn note(took: Duration) -> Self {
        Self { asked: None, by: None, task: Task::Note(took), proposed: None }
    }

    /// To give a role back.
    pub(super) fn failback(to: NodeId) -> Self {
        Self { asked: None, by: None, task: Task::Move(Some(to), Reason::Failback), proposed: None }
    }

    /// Whether the holder has to stop for it.
    pub(super) fn ends_the_turn(&self) -> bool {
        matches!(self.task, Task::Move(..) | Task::Withdraw)
    }

    /// Why it is not carried out when the office is lost.
    pub(super) fn lost(&self) -> OrderError {
        if self.proposed.is_some() { OrderError::Unknown } else { OrderError::NotLeader { leader: None } }
    }
}

impl Roles {
    /// Takes on an order. [`Event::Ordered`](super::Event::Ordered) comes, once. What was decided under its name is not done again, whoever
    /// passes it on: it is answered with that, also by who does not lead.
    ///
    /// # Errors
    /// [`OrderError`] says why not: nothing was changed.
    pub fn order(&mut self, cx: &mut Cx<'_, Self>, sight: &Sight<'_>, order: &Order) -> Result<(), OrderError> {
        self.lapse(cx, sight);
        if let Some(result) = sight.came_of(order.id) {
            self.answer(cx, order.id, result);
            return Ok(());
        }
        if !self.read(cx, sight) {
            return Err(match sight.mandate {
                Some(_) => OrderError::NotSettled,
                None => OrderError::NotLeader { leader: sight.leader },
            });
        }
        if cx.now().wall > order.expires {
            return Err(OrderError::Expired { expires: order.expires });
        }
        let task = self.task(sight, order)?;
        let watch = self.watch(&order.role).ok_or_else(|| OrderError::NoRole { role: order.role.clone() })?;
        match &watch.order {
            Some(running) if running.asked.is_some_and(|(id, _)| id == order.id) => return Ok(()),
            // A note can wait for the next failover; nothing else can.
            Some(running) if !matches!(running.task, Task::Note(_)) => return Err(OrderError::Busy),
            _ if watch.pending.is_some() => return Err(OrderError::Busy),
            _ => {}
        }
        let asked = Some((order.id, order.expires));
        watch.order = Some(Running { asked, by: Some(order.by.clone()), task, proposed: None });
        self.look(cx, sight);
        Ok(())
    }

    /// What an order means as things stand.
    fn task(&mut self, sight: &Sight<'_>, order: &Order) -> Result<Task, OrderError> {
        let rules = PromotionRules::new(&self.config.failover);
        let watch = self.watch(&order.role).ok_or_else(|| OrderError::NoRole { role: order.role.clone() })?;
        if matches!(watch.decided, Decided::Unreadable(_)) {
            return Err(OrderError::Unreadable);
        }
        let holder = watch.holder().map(|(node, _)| node);
        let is_paused = watch.decided.grant().is_some_and(|(_, grant)| grant.is_paused);
        match order.what {
            OrderWhat::Move { to: Some(to) } if holder == Some(to) && !watch.has_stopped => Err(OrderError::Already),
            OrderWhat::Move { to: Some(to) } => match rules.check_node(sight.candidates, to) {
                Ok(_) => Ok(Task::Move(Some(to), Reason::Switchover)),
                Err(why) => Err(OrderError::Ineligible { node: to, why }),
            },
            OrderWhat::Move { to: None } => {
                let others = rules.ranked(sight.candidates).iter().any(|it| Some(it.node) != holder);
                if others { Ok(Task::Move(None, Reason::Switchover)) } else { Err(OrderError::NoCandidate) }
            }
            OrderWhat::Release if holder.is_none() && is_paused => Err(OrderError::Already),
            OrderWhat::Release => Ok(Task::Withdraw),
            OrderWhat::Pause if is_paused => Err(OrderError::Already),
            OrderWhat::Pause => Ok(Task::Pause(true)),
            OrderWhat::Resume => Ok(Task::Pause(false)),
        }
    }

    /// Goes on with the order of a role. The holder has stopped, or its lease is over, if it had to.
    pub(super) fn carry_out(&mut self, cx: &mut Cx<'_, Self>, sight: &Sight<'_>, role: &RoleName) {
        let Some(watch) = self.watch(role) else { return };
        let Some(running) = watch.order.clone() else { return };
        if let Some((_, expires)) = running.asked
            && cx.now().wall > expires
        {
            watch.order = None;
            return self.end_order(cx, &running, Err(OrderError::Expired { expires }));
        }
        match self.ordered(cx, sight, role, &running) {
            Ok((next, is_turn)) => self.propose(cx, sight, role, &next, is_turn),
            Err(error) => {
                if let Some(watch) = self.watch(role) {
                    watch.order = None;
                }
                self.end_order(cx, &running, Err(error));
            }
        }
    }

    /// It has its answer.
    pub(super) fn end_order(&mut self, cx: &mut Cx<'_, Self>, running: &Running, result: Result<Token, OrderError>) {
        if let Some((id, _)) = running.asked {
            self.answer(cx, id, result);
        }
    }

    /// What is to be decided for an order, and whether it is another turn.
    fn ordered(
        &mut self,
        cx: &mut Cx<'_, Self>,
        sight: &Sight<'_>,
        role: &RoleName,
        running: &Running,
    ) -> Result<(Grant, bool), OrderError> {
        let (rules, wall) = (PromotionRules::new(&self.config.failover), cx.now().wall);
        let by = running.by.clone().unwrap_or_else(automation);
        let turn = |reason| Turn { reason, by: by.clone(), since: wall, took_us: None };
        let empty = self.empty(turn(Reason::First));
        let Some(watch) = self.watch(role) else { return Err(OrderError::NoRole { role: role.clone() }) };
        let holder = watch.holder().map(|(node, _)| node);
        let decided = watch.decided.grant().map(|(at, grant)| (at, grant.clone()));
        match running.task {
            Task::Move(to, reason) => {
                let best = match to {
                    Some(to) => rules
                        .check_node(sight.candidates, to)
                        .map_err(|why| OrderError::Ineligible { node: to, why })?,
                    None => {
                        let ranked = rules.ranked(sight.candidates);
                        let other = ranked.into_iter().find(|it| Some(it.node) != holder);
                        other.ok_or(OrderError::NoCandidate)?
                    }
                };
                Ok((self.next(decided, Some(Choice::Ordered(best)), turn(reason)), true))
            }
            Task::Withdraw => {
                let next = self.next(decided, None, turn(Reason::Withdrawn));
                Ok((Grant { is_paused: true, ..next }, true))
            }
            Task::Pause(is_paused) => {
                let this_turn = decided.as_ref().map(|(at, grant)| grant.token(*at)).unwrap_or_default();
                let (begun, grant) = same_turn(decided, empty);
                let counts_after = if is_paused { grant.counts_after } else { this_turn };
                Ok((Grant { begun, is_paused, counts_after, ..grant }, false))
            }
            Task::Note(took) => {
                let (begun, mut grant) = same_turn(decided, empty);
                // The first holder takes over from nobody.
                if grant.turn.reason != Reason::First {
                    grant.statistics.add(took);
                }
                grant.turn.took_us = Some(super::grant::micros(took));
                Ok((Grant { begun, ..grant }, false))
            }
        }
    }
}

/// The turn goes on: the holder keeps its token. Of a role that nobody ever held there is none.
fn same_turn(decided: Option<(Token, Grant)>, empty: Grant) -> (Option<Token>, Grant) {
    match decided {
        Some((at, grant)) if grant.holder.is_some() => (Some(grant.token(at)), grant),
        Some((_, grant)) => (None, grant),
        None => (None, empty),
    }
}

/// By whom things are done that nobody ordered.
pub(super) fn automation() -> Name {
    Name::new("automation").expect("it is short")
}

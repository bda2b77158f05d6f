//! What the leader does about each role, whenever something happened and when it is time.
//!
//! To take a holder for dead only makes a successor be looked for. The successor is proposed when the holder said that it stopped, or when
//! its last lease is over by any clock ([`Watch::over_at`]); from the proposal on the holder gets no lease any more. What is proposed
//! counts only if nothing else was decided meanwhile. So a wrong verdict costs a wait, and no law.

use std::time::Duration;

use super::grant::{Grant, Turn};
use super::message::Body;
use super::office::{Decided, Pending, Watch, reason};
use super::order::{Running, Task, automation};
use super::vocabulary::{Alert, Event, OrderError, Reason, RoleName, Timer};
use super::{Roles, Sight};
use crate::consensus::{Action, Expect, Intent, Outcome, Refusal, RequestId, Token};
use crate::failover::{Candidate, Failback, FailoverState, PromotionRules, PromotionStrategy, Verdict};
use crate::machine::Cx;
use crate::types::{Time, WallTime};

/// What the automation proposes may be begun so long.
const PROPOSAL_TIME: Duration = Duration::from_secs(5);
/// The clocks of those who led one after the other differ by so much at most. A promotion that was made later than that from now was made by a wrong
/// clock, and does not count: else failover would rest until then.
const SKEW_MAX: Duration = Duration::from_secs(60);
/// Where only an operator or other candidates could change something, is looked at after so many heartbeats.
const IDLE_EVERY: u32 = 20;

/// Who gets a role.
#[derive(Clone, Copy, Debug)]
pub(super) enum Choice {
    /// An operator said so.
    Ordered(Candidate),
    /// The rules did.
    Ruled(Candidate),
}

/// The leader sees a role elsewhere.
pub(super) fn stand(cx: &mut Cx<'_, Roles>, role: &RoleName, watch: &mut Watch, to: FailoverState) {
    let from = std::mem::replace(&mut watch.state, to);
    if from != to {
        cx.emit(Event::Moved { role: role.clone(), from, to, at: cx.now().mono });
    }
}

/// An operator should look; told once.
fn alert(cx: &mut Cx<'_, Roles>, role: &RoleName, watch: &mut Watch, alert: Alert) {
    if watch.alerted.replace(alert) != Some(alert) {
        cx.emit(Event::Alert { role: role.clone(), alert });
    }
}

impl Roles {
    /// Looks at all roles, if this peer leads, and says when it will look again.
    pub(super) fn look(&mut self, cx: &mut Cx<'_, Self>, sight: &Sight<'_>) {
        let heartbeat = self.config.failover.heartbeat;
        if !self.read(cx, sight) {
            if self.office.is_some() {
                cx.arm(Timer::Look, heartbeat);
            }
            return;
        }
        let roles: Vec<_> = self.office.iter().flat_map(|office| office.watches.keys().cloned()).collect();
        for role in &roles {
            self.tend(cx, sight, role);
        }
        let after = self.next_look(cx.now().mono);
        cx.arm(Timer::Look, after);
    }

    /// When something may be due.
    fn next_look(&self, now: Time) -> Duration {
        let config = &self.config.failover;
        let due = |watch: &Watch| {
            let is_idle = watch.alerted.is_some() || (watch.holder().is_none() && watch.decided.grant().is_some());
            let is_well = matches!(watch.state, FailoverState::Normal | FailoverState::Complete);
            match watch.over_at(config).since(now) {
                _ if watch.order.is_none() && is_idle && !watch.has_stopped => IDLE_EVERY * config.heartbeat,
                _ if watch.order.is_none() && is_well && watch.holder().is_some() => 2 * config.heartbeat,
                Duration::ZERO => config.heartbeat,
                left => left.min(config.heartbeat),
            }
        };
        let watches = self.office.iter().flat_map(|office| office.watches.values());
        let after = watches.map(due).min().unwrap_or(IDLE_EVERY * config.heartbeat);
        after + Duration::from_millis(1)
    }

    fn tend(&mut self, cx: &mut Cx<'_, Self>, sight: &Sight<'_>, role: &RoleName) {
        let now = cx.now().mono;
        let config = self.config.failover.clone();
        let Some(watch) = self.watch(role) else { return };
        watch.shunned.retain(|_, until| now < *until);
        if watch.pending.is_some() || now < watch.retry_at {
            return;
        }
        if matches!(watch.decided, Decided::Unreadable(_)) {
            return alert(cx, role, watch, Alert::Unreadable);
        }
        let (holder, is_over) = (watch.holder(), now >= watch.over_at(&config));
        match (&watch.order, holder) {
            (Some(running), Some((node, token))) if running.ends_the_turn() && !is_over => {
                let is_failback = matches!(running.task, Task::Move(_, Reason::Failback));
                watch.began.get_or_insert(now);
                stand(cx, role, watch, if is_failback { FailoverState::Failback } else { FailoverState::Electing });
                if watch.may_say(now, config.heartbeat) {
                    self.tell(cx, sight, node, role, token, Body::Stop);
                }
            }
            (Some(running), _) => {
                // How long it took is written down then, by which all peers learn that the new holder has begun.
                if matches!(running.task, Task::Move(..)) {
                    watch.began.get_or_insert(now);
                }
                self.carry_out(cx, sight, role);
            }
            (None, Some(_)) => self.mind(cx, sight, role, is_over),
            (None, None) => self.fill(cx, sight, role),
        }
    }

    /// Nobody holds it.
    fn fill(&mut self, cx: &mut Cx<'_, Self>, sight: &Sight<'_>, role: &RoleName) {
        let (now, gather) = (cx.now().mono, self.config.failover.gather);
        let Some(since) = self.office.as_ref().map(|office| office.since) else { return };
        let Some(watch) = self.watch(role) else { return };
        watch.began = None;
        stand(cx, role, watch, FailoverState::Normal);
        if now.since(since) >= gather {
            self.elect(cx, sight, role, Reason::First);
        }
    }

    /// Somebody does.
    fn mind(&mut self, cx: &mut Cx<'_, Self>, sight: &Sight<'_>, role: &RoleName, is_over: bool) {
        let now = cx.now().mono;
        let Some(watch) = self.watch(role) else { return };
        let verdict = if watch.has_stopped { Verdict::Dead } else { watch.detector.verdict(now) };
        let trouble_at = watch.unheard_since.unwrap_or(now);
        match (verdict, watch.state) {
            (Verdict::Alive, FailoverState::Promoting) => {}
            // It was silent for a while, and begins still.
            (Verdict::Alive, FailoverState::Detecting | FailoverState::Electing) if watch.begun() == Some(false) => {
                stand(cx, role, watch, FailoverState::Promoting);
            }
            // What it took is written down, or there was nothing to write.
            (Verdict::Alive, FailoverState::Redirecting) => {
                watch.alerted = None;
                stand(cx, role, watch, FailoverState::Complete);
            }
            (Verdict::Alive, _) => {
                (watch.alerted, watch.began) = (None, None);
                stand(cx, role, watch, FailoverState::Normal);
                return self.prefer(cx, sight, role);
            }
            (Verdict::Suspect, FailoverState::Normal | FailoverState::Complete) => {
                watch.began.get_or_insert(trouble_at);
                stand(cx, role, watch, FailoverState::Detecting);
            }
            (Verdict::Suspect, _) => {}
            (Verdict::Dead, _) => {
                watch.began.get_or_insert(trouble_at);
                stand(cx, role, watch, FailoverState::Electing);
                if is_over {
                    let why = reason(watch);
                    self.elect(cx, sight, role, why);
                }
            }
        }
        self.remind(cx, sight, role);
    }

    /// Says to a holder that is not heard what it was granted: it may not know, or have forgotten.
    fn remind(&mut self, cx: &mut Cx<'_, Self>, sight: &Sight<'_>, role: &RoleName) {
        let (now, heartbeat) = (cx.now().mono, self.config.failover.heartbeat);
        let Some(watch) = self.watch(role) else { return };
        if watch.is_being_moved() || !watch.may_say(now, heartbeat) {
            return;
        }
        let (Some((node, token)), Some((_, grant))) = (watch.holder(), watch.decided.grant()) else { return };
        let body = Body::Granted { lease_us: grant.lease_us, hooks_us: grant.hooks_us };
        self.tell(cx, sight, node, role, token, body);
    }

    /// Finds a successor by the rules, and proposes it.
    fn elect(&mut self, cx: &mut Cx<'_, Self>, sight: &Sight<'_>, role: &RoleName, why: Reason) {
        let (config, now, wall) = (self.config.failover.clone(), cx.now().mono, cx.now().wall);
        let Some(watch) = self.watch(role) else { return };
        let decided = watch.decided.grant().map(|(at, grant)| (at, grant.clone()));
        let is_paused = decided.as_ref().is_some_and(|(_, grant)| grant.is_paused);
        if is_paused || !config.automatic || config.strategy == PromotionStrategy::Manual {
            if watch.holder().is_some() {
                alert(cx, role, watch, Alert::Held);
            }
            return;
        }
        let until =
            decided.as_ref().and_then(|(at, grant)| limit(*at, grant, &config, wall)).filter(|_| why.is_limited());
        if let Some(until) = until {
            watch.is_limited |= why == Reason::Failed;
            return alert(cx, role, watch, Alert::TooMany { until });
        }
        // Who is dead is no candidate, whatever it says of itself; nor is who did not want it, or did not begin.
        let (holder, has_stopped) = (watch.holder(), watch.has_stopped);
        if let (Reason::NotBegun, Some((node, _)), false) = (why, holder, has_stopped) {
            watch.shun(node, now + config.shun);
        }
        let is_out = |it: &Candidate| {
            let is_dead = !has_stopped && holder.is_some_and(|(node, _)| node == it.node);
            is_dead || watch.shunned.contains_key(&it.node)
        };
        let candidates: Vec<_> = sight.candidates.iter().filter(|it| !is_out(it)).copied().collect();
        let Some(best) = PromotionRules::new(&config).choose(&candidates) else {
            return alert(cx, role, watch, Alert::NoCandidate);
        };
        let turn = Turn { reason: why, by: automation(), since: wall, took_us: None };
        let next = self.next(decided, Some(Choice::Ruled(best)), turn);
        self.propose(cx, sight, role, &next, true);
    }

    /// Whether the role should go back to who is preferred, if that is wished for.
    fn prefer(&mut self, cx: &mut Cx<'_, Self>, sight: &Sight<'_>, role: &RoleName) {
        let (config, now, wall) = (self.config.failover.clone(), cx.now().mono, cx.now().wall);
        let Failback::Automatic { hold } = config.failback else { return };
        let Some(watch) = self.watch(role) else { return };
        let (Some((holder, _)), Some((at, grant))) = (watch.holder(), watch.decided.grant()) else { return };
        if grant.is_paused || !config.automatic || config.strategy != PromotionStrategy::Priority {
            return;
        }
        let is_ready = |it: &Candidate| it.lag == 0 && !watch.shunned.contains_key(&it.node);
        let candidates: Vec<_> = sight.candidates.iter().filter(|it| is_ready(it)).copied().collect();
        let priority = sight.candidates.iter().find(|it| it.node == holder).map_or(0, |it| it.priority);
        let best = PromotionRules::new(&config).choose(&candidates);
        let Some(best) = best.filter(|it| it.node != holder && it.priority > priority) else {
            watch.preferred = None;
            return;
        };
        match watch.preferred {
            Some((node, since)) if node == best.node => {
                if now.since(since) >= hold && limit(at, grant, &config, wall).is_none() {
                    watch.preferred = None;
                    watch.order = Some(Running::failback(best.node));
                    self.tend(cx, sight, role);
                }
            }
            _ => watch.preferred = Some((best.node, now)),
        }
    }

    /// A value with nobody in it.
    pub(super) fn empty(&self, turn: Turn) -> Grant {
        Grant::vacant(turn, self.config.failover.lease, self.config.failover.hook_limit)
    }

    /// The next turn, under the lease that is configured here.
    pub(super) fn next(&self, decided: Option<(Token, Grant)>, to: Option<Choice>, turn: Turn) -> Grant {
        let strategy = self.config.failover.strategy;
        let to = to.map(|choice| match choice {
            Choice::Ordered(candidate) => (candidate, PromotionStrategy::Manual),
            Choice::Ruled(candidate) => (candidate, strategy),
        });
        let empty = self.empty(turn.clone());
        let (lease_us, hooks_us) = (empty.lease_us, empty.hooks_us);
        let next = match decided {
            Some((at, grant)) => grant.next(at, to, turn),
            None => {
                let mut first = empty;
                first.set_holder(to);
                first
            }
        };
        Grant { lease_us, hooks_us, ..next }
    }

    /// Wants a value decided, if the register still holds what is known here.
    pub(super) fn propose(
        &mut self,
        cx: &mut Cx<'_, Self>,
        sight: &Sight<'_>,
        role: &RoleName,
        next: &Grant,
        is_turn: bool,
    ) {
        let number = u128::from(cx.rng().bits()) << 64 | u128::from(cx.rng().bits());
        let now = cx.now();
        let Some(watch) = self.watch(role) else { return };
        let drawn = RequestId { born: sight.commit, number };
        let soon = now.wall.as_micros().saturating_add(super::grant::micros(PROPOSAL_TIME));
        let asked = watch.order.as_ref().and_then(|running| running.asked);
        let (request, expires) = asked.unwrap_or_else(|| (drawn, WallTime::from_micros(soon)));
        let expect = match &watch.decided {
            Decided::Nothing => Expect::Absent,
            Decided::Is(at, _) | Decided::Unreadable(at) => Expect::Set(*at),
        };
        watch.pending = Some(Pending { request, is_turn });
        if let Some(running) = &mut watch.order {
            running.proposed = Some(request);
        }
        let action = Action { name: role.register(), expect, value: Some(next.to_value()) };
        cx.emit(Event::Propose { intent: Intent { request, expires, action } });
    }

    /// Something was decided, about whatever. The host tells it of all that is, after the register is set; and of a proposal that this
    /// room [awaits](super::View::awaits) also if that was decided before under the same name, which is told only to whoever asks.
    pub fn on_decided(
        &mut self,
        cx: &mut Cx<'_, Self>,
        sight: &Sight<'_>,
        request: RequestId,
        token: Token,
        outcome: Outcome,
    ) {
        self.lapse(cx, sight);
        let now = cx.now().mono;
        let retry_at = now + self.config.failover.heartbeat;
        if let Some((role, watch)) = self.proposed(request) {
            let is_turn = watch.pending.take().is_some_and(|pending| pending.is_turn);
            let order = watch.order.take_if(|running| running.proposed == Some(request));
            let is_withdrawn = order.as_ref().is_some_and(|running| running.task == Task::Withdraw);
            let is_done = outcome == Outcome::Done;
            if is_done && is_turn && !is_withdrawn {
                watch.alerted = None;
                watch.began.get_or_insert(now);
                stand(cx, &role, watch, FailoverState::Promoting);
            } else if is_done && is_turn {
                watch.began = None;
                stand(cx, &role, watch, FailoverState::Normal);
            } else if !is_done {
                watch.retry_at = retry_at;
            }
            if let Some(order) = order {
                self.end_order(cx, &order, if is_done { Ok(token) } else { Err(OrderError::Overtaken) });
            }
        }
        self.look(cx, sight);
    }

    /// What was to be proposed was refused: nothing of it will happen now. It is tried again after a heartbeat; an order that would be refused
    /// under its name again and again is at its end.
    pub fn on_refused(&mut self, cx: &mut Cx<'_, Self>, request: RequestId, why: &Refusal) {
        let retry_at = cx.now().mono + self.config.failover.heartbeat;
        let for_good = matches!(why, Refusal::Forgotten { .. } | Refusal::Unborn { .. });
        let mut ended = None;
        if let Some((_, watch)) = self.proposed(request) {
            (watch.pending, watch.retry_at) = (None, retry_at);
            ended = watch.order.take_if(|running| for_good && running.asked.is_some_and(|(id, _)| id == request));
            if let Some(running) = &mut watch.order {
                running.proposed = None;
            }
        }
        if let Some(order) = ended {
            self.end_order(cx, &order, Err(OrderError::Unknown));
        }
        cx.arm(Timer::Look, self.config.failover.heartbeat);
    }

    /// The role about which this was proposed.
    fn proposed(&mut self, request: RequestId) -> Option<(RoleName, &mut Watch)> {
        let watches = &mut self.office.as_mut()?.watches;
        let found = watches.iter_mut().find(|(_, watch)| watch.pending.is_some_and(|it| it.request == request));
        found.map(|(role, watch)| (role.clone(), watch))
    }
}

/// Until when nobody is promoted without an operator, if too many were.
fn limit(at: Token, grant: &Grant, config: &crate::failover::FailoverLimits, wall: WallTime) -> Option<WallTime> {
    let (window, wall) = (super::grant::micros(config.promotions_window), wall.as_micros());
    let latest = wall.saturating_add(super::grant::micros(SKEW_MAX));
    let sinces = grant.promotions(at).map(WallTime::as_micros).filter(|since| *since <= latest);
    let mut recent: Vec<_> = sinces.map(|since| since.saturating_add(window)).filter(|end| *end > wall).collect();
    recent.sort_unstable();
    let most = usize::try_from(config.promotions_max).unwrap_or(usize::MAX);
    let first = recent.len().checked_sub(most)?;
    recent.get(first).copied().map(WallTime::from_micros)
}

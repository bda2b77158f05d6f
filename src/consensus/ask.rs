//! Requests from anywhere: whoever is asked finds the leader, passes the request on, and answers once, in time.
//!
//! A request has a name, and under that name it is done once, so it may be passed on again whenever that may have been in vain: after a
//! silence, an election, or an answer that nothing is certain. A refusal is certain for the attempt that it answers. So what is told in the end is
//! a refusal only if each attempt was refused or never left; otherwise it is "unknown", and asking again under the same name tells.
//!
//! **Bounds.** So many requests of this peer, and of others here; each is answered within [`Config::patience`](super::Config::patience), and where no
//! leader is known within [`Config::leaderless`](super::Config::leaderless).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::message::{Body, Said};
use super::vocabulary::{Answer, Event, Intent, Refusal, RequestId, Timer};
use super::{Consensus, Office};
use crate::machine::Cx;
use crate::probe::reachable;
use crate::types::{NodeId, Time};

/// Requests of this peer that are under way at a time.
const ASKING_MAX: usize = 256;
/// Requests of others that this leader has appended.
const ASKERS_MAX: usize = 1_024;
/// So many peers that were asked for one request may answer it still: the last ones.
const ASKED_MAX: usize = 16;
/// It is looked so often whether there is a leader by now.
const AGAIN: Duration = Duration::from_millis(50);

/// A request that is under way.
#[derive(Clone, Debug)]
pub(super) struct Asking {
    intent: Arc<Intent>,
    since: Time,
    /// To whom it was passed on last without an answer, and when.
    sent: Option<(NodeId, Time)>,
    /// To whom it was ever passed on: a late answer is one too.
    asked: VecDeque<NodeId>,
    /// How many attempts are not known to have been refused: it may have been appended there.
    attempts: u32,
    /// It was asked for before: somewhere it may have been taken on.
    is_again: bool,
    refused: Option<Refusal>,
    /// Who leads, as the last one said that was asked.
    hint: Option<NodeId>,
    next: Time,
}

impl Consensus {
    /// Wants an action done, wherever the leader is. [`Event::Asked`] comes, once. `is_again` if somebody may have asked for it under this name
    /// before, here or elsewhere: then that nobody takes it on now does not say that nothing of it will be.
    pub fn ask(&mut self, cx: &mut Cx<'_, Self>, intent: Intent, is_again: bool) {
        let request = intent.request;
        if self.asking.len() >= ASKING_MAX {
            let busy = Refusal::Busy { waiting: self.asking.len() };
            return cx.emit(Event::Asked { request, result: if is_again { Ok(Answer::Unknown) } else { Err(busy) } });
        }
        let now = cx.now().mono;
        let (intent, sent, refused) = (Arc::new(intent), None, None);
        let asked = VecDeque::new();
        let asking = Asking { intent, since: now, sent, asked, attempts: 0, is_again, refused, hint: None, next: now };
        self.asking.insert(request, asking);
        self.pass_on(cx, request);
        self.arm_ask(cx);
    }

    /// Passes a request on to who leads, if anybody is known.
    fn pass_on(&mut self, cx: &mut Cx<'_, Self>, request: RequestId) {
        let now = cx.now().mono;
        let wait = self.config.resend + 2 * self.round_trip;
        let (target, is_outside) = (self.target_of(cx, request), self.group().is_none());
        let Some(asking) = self.asking.get_mut(&request) else { return };
        asking.next = now + AGAIN;
        let Some(to) = target else { return };
        let intent = asking.intent.clone();
        if to == self.me.node {
            let Err(refused) = self.propose(cx, intent.as_ref().clone()) else {
                if let Some(asking) = self.asking.get_mut(&request) {
                    (asking.sent, asking.next) = (Some((to, now)), now + self.config.patience);
                    asking.attempts += 1;
                }
                return;
            };
            return self.on_refusal(cx, request, refused);
        }
        let is_first = asking.sent.is_none();
        // Who is no member cannot know whether they rest. Where nothing is wrong the answer is there by then.
        let soon = if is_outside && is_first { wait.min(self.config.heartbeat + 2 * self.round_trip) } else { wait };
        (asking.sent, asking.next) = (Some((to, now)), now + soon);
        asking.attempts += 1;
        if !asking.asked.contains(&to) {
            if asking.asked.len() == ASKED_MAX {
                asking.asked.pop_front();
            }
            asking.asked.push_back(to);
        }
        self.aside(cx, to, Body::Propose { intent });
        if self.resting {
            // A leader that died unseen is missed from here on, and not when the answer is late.
            self.rouse_all(cx);
        }
    }

    /// Whom to ask: the leader; else who was named by the last one asked; else some voter, who knows more. Not who was asked last and did
    /// not answer: it may be dead, though its link is not.
    fn target_of(&self, cx: &mut Cx<'_, Self>, request: RequestId) -> Option<NodeId> {
        if matches!(self.office, Office::Leader(_)) {
            return Some(self.me.node);
        }
        let linked = |peer: &NodeId| self.links.contains(peer);
        let leader = self.leader.map(|leader| leader.node).filter(linked);
        let silent = self.asking.get(&request).and_then(|asking| asking.sent).map(|(to, _)| to);
        let hint = || self.asking.get(&request).and_then(|asking| asking.hint);
        let hint = || hint().filter(|peer| linked(peer) && Some(*peer) != silent);
        if let Some(known) = leader.or_else(hint) {
            return Some(known);
        }
        // A member without a leader waits for one: the other voters know no more.
        if self.group().is_some_and(|group| group.is_voter(self.me)) {
            return None;
        }
        let group = self.group().or_else(|| self.outside.group())?;
        let mut voters: Vec<NodeId> = group.voters().map(|voter| voter.id.node).filter(linked).collect();
        if voters.len() > 1 {
            voters.retain(|peer| Some(*peer) != silent);
        }
        (!voters.is_empty()).then(|| voters[cx.rng().index(voters.len())])
    }

    /// An attempt was refused for certain.
    fn on_refusal(&mut self, cx: &mut Cx<'_, Self>, request: RequestId, refused: Refusal) {
        let now = cx.now().mono;
        let Some(asking) = self.asking.get_mut(&request) else { return };
        if asking.sent.is_some() {
            asking.attempts = asking.attempts.saturating_sub(1);
        }
        (asking.sent, asking.next) = (None, now + AGAIN);
        match &refused {
            Refusal::NotLeader { leader, .. } => asking.hint = *leader,
            Refusal::NoQuorum | Refusal::Outsider | Refusal::Disk(_) => asking.hint = None,
            // Nobody will take it on.
            Refusal::Expired { .. } | Refusal::Forgotten { .. } | Refusal::Unborn { .. } | Refusal::Busy { .. } => {
                return self.finish(cx, request, Err(refused));
            }
        }
        asking.refused = Some(refused);
    }

    fn finish(&mut self, cx: &mut Cx<'_, Self>, request: RequestId, result: Result<Answer, Refusal>) {
        let Some(asking) = self.asking.remove(&request) else { return };
        let result = match result {
            // An earlier attempt may have been taken on.
            Err(_) if asking.attempts > 0 => Ok(Answer::Unknown),
            // Who cannot know it any more, or holds it for never asked, says so whoever asked before.
            Err(
                Refusal::NoQuorum
                | Refusal::NotLeader { .. }
                | Refusal::Outsider
                | Refusal::Disk(_)
                | Refusal::Busy { .. },
            ) if asking.is_again => Ok(Answer::Unknown),
            result => result,
        };
        cx.emit(Event::Asked { request, result });
    }

    /// Answers what is late, and passes on what may be.
    pub(super) fn on_ask_due(&mut self, cx: &mut Cx<'_, Self>) {
        let now = cx.now().mono;
        let (patience, leaderless) = (self.config.patience, self.config.leaderless);
        for request in self.asking.keys().copied().collect::<Vec<_>>() {
            let Some(asking) = self.asking.get(&request) else { continue };
            let waited = now.since(asking.since);
            if asking.next > now && waited < patience {
                continue;
            }
            let is_lost = asking.sent.is_none() && waited >= leaderless;
            let is_vain = matches!(asking.refused, Some(Refusal::NoQuorum));
            if waited >= patience || (is_lost && (is_vain || self.target_of(cx, request).is_none())) {
                let refused = self.refusal_of(request);
                self.finish(cx, request, Err(refused));
                continue;
            }
            let again = asking.sent.map(|(_, at)| at + self.config.resend + 2 * self.round_trip);
            if again.is_some() {
                reachable!("consensus/leader-missed-by-a-request");
                self.rouse_all(cx);
            }
            match self.asking.get_mut(&request).zip(again.filter(|again| *again > now)) {
                Some((asking, again)) => asking.next = again,
                None => self.pass_on(cx, request),
            }
        }
        self.arm_ask(cx);
    }

    /// Why it was not done, as far as is known.
    fn refusal_of(&self, request: RequestId) -> Refusal {
        if let Some(fault) = &self.halted {
            return Refusal::Disk(fault.clone());
        }
        let refused = self.asking.get(&request).and_then(|asking| asking.refused.clone());
        match refused {
            Some(Refusal::NotLeader { leader: Some(_), .. }) | None if self.leader.is_some() => {
                let (epoch, term) = (self.epoch, self.term);
                Refusal::NotLeader { leader: self.leader.map(|leader| leader.node), epoch, term }
            }
            _ if self.group().or_else(|| self.outside.group()).is_none() => Refusal::Outsider,
            _ => Refusal::NoQuorum,
        }
    }

    /// Whoever may know whether the leader lives is to find out.
    fn rouse_all(&mut self, cx: &mut Cx<'_, Self>) {
        // Whom it follows it tells itself.
        let told = self.leader.filter(|_| self.resting).map(|leader| leader.node);
        self.rouse(cx);
        let Some(group) = self.group().or_else(|| self.outside.group()).cloned() else { return };
        let others = group.voters().map(|voter| voter.id.node);
        for voter in others.filter(|node| *node != self.me.node && Some(*node) != told) {
            if self.links.contains(&voter) {
                self.aside(cx, voter, Body::Rouse);
            }
        }
    }

    /// Somebody leads from now on, or a link closed: what waits goes there.
    pub(super) fn ask_again(&mut self, cx: &mut Cx<'_, Self>, closed: Option<NodeId>) {
        for request in self.asking.keys().copied().collect::<Vec<_>>() {
            let Some(asking) = self.asking.get_mut(&request) else { continue };
            if closed.is_some() && asking.sent.map(|(to, _)| to) == closed {
                (asking.sent, asking.hint) = (None, None);
            }
            let leader = self.leader.map(|leader| leader.node);
            if leader.is_some() && asking.sent.map(|(to, _)| to) != leader {
                self.pass_on(cx, request);
            }
        }
        self.arm_ask(cx);
    }

    fn arm_ask(&self, cx: &mut Cx<'_, Self>) {
        let now = cx.now().mono;
        let due = |asking: &Asking| asking.next.min(asking.since + self.config.patience);
        match self.asking.values().map(due).min() {
            Some(at) => cx.arm(Timer::Ask, at.since(now)),
            None => cx.disarm(Timer::Ask),
        }
    }

    /// A request that was appended here has its answer.
    pub(super) fn answered(&mut self, cx: &mut Cx<'_, Self>, request: RequestId, answer: Answer) {
        if let Some(asker) = self.askers.remove(&request) {
            let said = match &answer {
                Answer::Decided { token, outcome } => Said::Decided { token: *token, outcome: *outcome },
                Answer::Unknown => Said::Unknown,
            };
            self.aside(cx, asker, Body::Proposed { request, said });
        }
        match &answer {
            Answer::Decided { .. } => self.finish(cx, request, Ok(answer.clone())),
            Answer::Unknown => {
                if let Some(asking) = self.asking.get_mut(&request) {
                    (asking.sent, asking.next) = (None, cx.now().mono + AGAIN);
                    self.arm_ask(cx);
                }
            }
        }
        cx.emit(Event::Answered { request, answer });
    }

    /// A peer passes a request on.
    pub(super) fn on_propose(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, intent: &Intent) {
        let request = intent.request;
        if self.askers.len() < ASKERS_MAX {
            self.askers.insert(request, from);
        }
        let Err(refused) = self.propose(cx, intent.clone()) else { return };
        self.askers.remove(&request);
        let said = match refused {
            Refusal::NotLeader { leader, .. } => Said::NotLeader { leader },
            Refusal::Outsider | Refusal::NoQuorum | Refusal::Disk(_) => Said::NoQuorum,
            Refusal::Expired { .. } => Said::Expired,
            Refusal::Forgotten { floor } => Said::Forgotten { floor },
            Refusal::Unborn { last, .. } => Said::Unborn { last },
            Refusal::Busy { .. } => Said::Busy,
        };
        self.aside(cx, from, Body::Proposed { request, said });
    }

    /// Who was asked answers. Only who was: anybody else may say what it likes, and may know the name of the request. That it is decided
    /// counts also from who was asked before somebody else; nobody passes a request on for others, so nobody else answers one.
    pub(super) fn on_proposed(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, request: RequestId, said: Said) {
        let Some(asking) = self.asking.get(&request) else { return };
        let is_asked = asking.sent.is_some_and(|(to, _)| to == from);
        // Refused for certain, and passed on to nobody else before: then it is nowhere.
        let expires = asking.intent.expires;
        let (epoch, term) = (self.epoch, self.term);
        match said {
            Said::Decided { token, outcome } if asking.asked.contains(&from) => {
                self.finish(cx, request, Ok(Answer::Decided { token, outcome }));
            }
            Said::Decided { .. } => {}
            _ if !is_asked => {}
            Said::Unknown => {
                if let Some(asking) = self.asking.get_mut(&request) {
                    (asking.sent, asking.next) = (None, cx.now().mono + AGAIN);
                }
            }
            Said::NotLeader { leader } => self.on_refusal(cx, request, Refusal::NotLeader { leader, epoch, term }),
            Said::NoQuorum => self.on_refusal(cx, request, Refusal::NoQuorum),
            Said::Expired => self.on_refusal(cx, request, Refusal::Expired { expires }),
            Said::Forgotten { floor } => self.on_refusal(cx, request, Refusal::Forgotten { floor }),
            Said::Unborn { last } => self.on_refusal(cx, request, Refusal::Unborn { born: request.born, last }),
            Said::Busy => self.on_refusal(cx, request, Refusal::Busy { waiting: ASKING_MAX }),
        }
        self.arm_ask(cx);
    }

    /// Its requests cannot be answered any more.
    pub(super) fn forget_asker(&mut self, peer: NodeId) {
        self.askers.retain(|_, asker| *asker != peer);
    }
}

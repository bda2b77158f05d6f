//! Roles, as the node hosts them: what the room is shown, and what clients ask of it.
//!
//! Where no role is configured or decided, none of this does anything, so that a mesh without roles rests. A leader that gives leases does not
//! rest: they count from its last round of heartbeats.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::decide::Deciders;
use super::edge::{CommandError, Effect, Outcome};
use super::vacancy::Vacancy;
use super::{Event, Node};
use crate::consensus::{self, Name, RequestId, Standing, Token};
use crate::failover::{Candidate, FailoverState, FailoverStatistics};
use crate::machine::Cx;
use crate::membership::State;
use crate::roles::{
    self, Admission, Hooks, Lease, Mandate, Message, Order, OrderError, OrderWhat, Past, Reason, Refused, RoleName,
    Roles, Sight, View, Watched,
};
use crate::types::{Address, CommandId, NodeId, Now, Time, WallTime};

/// An order is not begun after so many seconds.
const EXPIRES_S: u64 = 30;
/// A leader speaks to holders and to who stopped in each second: who has not for so long may lead no more.
const TOLD_MAX: Duration = Duration::from_secs(2);

/// What an operator wants of a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleOrder {
    /// Which role.
    pub role: RoleName,
    /// What.
    pub what: OrderWhat,
    /// Who wants it, for the history.
    pub by: String,
}

/// A role, as this peer knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RoleStatus {
    /// Which.
    pub role: RoleName,
    /// Who holds it; nobody after it was released.
    pub holder: Option<NodeId>,
    /// The holder's name, as far as it is known.
    pub name: String,
    /// Where it listens, as far as is known.
    pub addresses: Vec<Address>,
    /// The holder's fencing token.
    pub token: Token,
    /// Whether the holder is this peer, and may act now.
    pub acts: bool,
    /// Why it holds it.
    pub reason: Reason,
    /// By whose wish.
    pub by: String,
    /// Since when.
    pub since: WallTime,
    /// Its lease, in microseconds.
    pub lease_us: u64,
    /// How long it took to come to the holder, in microseconds, if that was written down: then it has begun.
    pub took_us: Option<u64>,
    /// No automation touches the role.
    pub paused: bool,
    /// Where it stands in a failover; known to the leader only.
    pub state: Option<FailoverState>,
    /// The holder's lease; known to the leader, and to the holder.
    pub lease: Option<Lease>,
    /// Whether the holder's hooks have begun its work; nothing where that is not known.
    pub begun: Option<bool>,
    /// How long hooks that begin the work may run, in milliseconds, as it is configured here; 0 where there are none.
    pub promote_limit_ms: u64,
    /// Who grants roles, and knows the leases: the voters' leader, as far as is known.
    pub granter: Option<NodeId>,
    /// Why nobody acts, if it is so as far as this peer can tell.
    pub vacancy: Option<Vacancy>,
    /// How long failovers took.
    pub statistics: FailoverStatistics,
    /// Who held it before, the oldest first.
    pub history: Vec<Past>,
}

/// Clients that wait, and what is remembered between inputs.
#[derive(Debug, Default)]
pub(super) struct Serving {
    orders: BTreeMap<RequestId, CommandId>,
    admissions: BTreeMap<u64, CommandId>,
    tickets: u64,
    /// Who leads, as the leader itself let this peer know when it spoke of roles, and when.
    leader: Option<(NodeId, Time)>,
}

impl Node {
    /// Whether there is any role.
    fn has_roles(&self) -> bool {
        let decided = self.consensus.view().registers();
        !self.roles.config().roles.is_empty()
            || decided.keys().any(|name| RoleName::of_register(name).is_some())
            || self.roles.view().is_fenced()
    }

    /// One step of the room, with what it is shown.
    pub(super) fn serve(&mut self, now: Now, step: impl FnOnce(&mut Roles, &mut Cx<'_, Roles>, &Sight<'_>)) {
        if self.has_roles() {
            self.serve_always(now, step);
        }
    }

    /// The same where no role is known yet.
    fn serve_always(&mut self, now: Now, step: impl FnOnce(&mut Roles, &mut Cx<'_, Roles>, &Sight<'_>)) {
        let mandate = self.mandate(now.mono);
        let candidates = if mandate.is_some() { self.candidates(now.mono) } else { Vec::new() };
        let view = self.consensus.view();
        let leader = self.granter(now.mono);
        let (commit, registers, decisions) = (view.known().index, view.registers(), Some(view));
        let sight = Sight { leader, mandate, commit, registers, decisions, candidates: &candidates };
        let roles = &mut self.roles;
        self.shared.step(now, |cx| step(roles, cx, &sight));
        if mandate.is_some() && self.roles.view().is_held() {
            self.shared.step(now, |cx| self.consensus.rouse(cx));
        }
        self.go_if_free(now);
    }

    /// This peer leaves: it wants no role any more.
    pub(super) fn give_up_roles(&mut self, now: Now) {
        let held: Vec<_> = self.roles.view().holdings().map(|(role, _)| role.clone()).collect();
        for role in held {
            self.serve(now, |machine, cx, sight| machine.give_up(cx, sight, &role));
        }
    }

    fn mandate(&self, now: Time) -> Option<Mandate> {
        let view = self.consensus.view();
        let (epoch, term, is_settled) = (view.epoch(), view.term(), view.is_settled());
        let (unled_since, quorum_sent_at) = (view.unled_since(), view.quorum_sent_at(now));
        let mandate = Mandate { epoch, term, is_settled, unled_since, quorum_sent_at };
        (view.standing() == Standing::Leader).then_some(mandate)
    }

    /// All members, as this peer knows them.
    pub(super) fn candidates(&self, now: Time) -> Vec<Candidate> {
        let (links, replicas) = (self.overlay.view().links(), self.replication.view());
        let candidate = |member: &crate::membership::Member| {
            let is_me = member.id == self.identity.node;
            let lag = if is_me { Some(0) } else { replicas.known(member.id, now).map(|known| known.lag.changes) };
            let is_linked = is_me || links.contains(&member.id);
            Candidate {
                node: member.id,
                priority: Candidate::priority_of(member.meta.priority),
                observer: member.meta.observer,
                healthy: member.state == State::Alive
                    && is_linked
                    && !member.meta.read_only
                    && !(is_me && self.leaving),
                lag: lag.unwrap_or(u64::MAX),
                load: member.meta.load.map_or(u32::MAX, u32::from),
            }
        };
        self.membership.view().members().map(candidate).collect()
    }

    /// A peer speaks of roles.
    pub(super) fn on_role_message(&mut self, now: Now, from: NodeId, message: Message) {
        let view = self.consensus.view();
        let votes = view.deciders().is_some_and(|group| group.voters().any(|voter| voter.id.node == from));
        let leads = view.group().is_none() || view.leader().is_some_and(|leader| leader.node == from);
        if leads && votes && Roles::is_leaders(&message) {
            self.serving.leader = Some((from, now.mono));
        }
        self.serve(now, |machine, cx, sight| machine.on_message(cx, sight, from, message));
    }

    /// What consensus tells that roles hear.
    pub(super) fn tell_roles(&mut self, now: Now, event: &consensus::Event) {
        use consensus::Event as E;
        match event {
            E::Committed { token, intent, outcome, .. } => {
                let (request, token, outcome) = (intent.request, *token, *outcome);
                self.serve(now, |machine, cx, sight| machine.on_decided(cx, sight, request, token, outcome));
            }
            // A proposal that was decided before is not committed again.
            E::Answered { request, answer: consensus::Answer::Decided { token, outcome } }
                if self.roles.view().awaits(*request) =>
            {
                let (request, token, outcome) = (*request, *token, *outcome);
                self.serve(now, |machine, cx, sight| machine.on_decided(cx, sight, request, token, outcome));
            }
            E::Elected { .. } | E::Resigned { .. } | E::Follows { .. } | E::Installed { .. } => {
                self.serve(now, |machine, cx, sight| machine.on_changed(cx, sight));
            }
            _ => {}
        }
    }

    pub(super) fn on_roles_event(&mut self, now: Now, event: roles::Event) {
        use roles::Event as E;
        match &event {
            E::Propose { intent } => {
                let (intent, request) = (intent.clone(), intent.request);
                let mut proposed = Ok(());
                self.shared.step(now, |cx| proposed = self.consensus.propose(cx, intent));
                if let Err(why) = proposed {
                    self.serve(now, |machine, cx, _| machine.on_refused(cx, request, &why));
                }
                return;
            }
            E::Promote { role, token, .. } if !self.roles.config().hooks => {
                self.hooks_done(now, role, *token, (Hooks::Begin, true));
            }
            E::Demote { role, token, .. } if !self.roles.config().hooks => {
                self.hooks_done(now, role, *token, (Hooks::End, true));
            }
            E::Ordered { id, result } => {
                if let Some(command) = self.serving.orders.remove(id) {
                    let result = result.clone().map(|token| Outcome::RoleOrdered { token });
                    let result = result.map_err(|error| self.order_refused(error));
                    self.shared.effects.push_back(Effect::Reply { id: command, result });
                }
            }
            E::Admitted { ticket, result } => {
                if let Some(command) = self.serving.admissions.remove(ticket) {
                    let result = result.clone().map(|()| Outcome::RoleAdmitted).map_err(CommandError::RoleRefused);
                    self.shared.effects.push_back(Effect::Reply { id: command, result });
                }
            }
            _ => {}
        }
        self.shared.effects.push_back(Effect::Notify(Event::Roles(event)));
    }

    /// Hooks ran to their end, well or not.
    pub(super) fn hooks_done(&mut self, now: Now, role: &RoleName, token: Token, how: (Hooks, bool)) {
        self.serve(now, |machine, cx, sight| machine.on_hooks_done(cx, sight, role, token, how));
    }

    /// An operator orders something. It is passed on to whoever leads.
    pub(super) fn order_role(&mut self, now: Now, id: CommandId, order: RoleOrder) -> Result<(), CommandError> {
        if !self.has_roles() {
            return Err(CommandError::Role(OrderError::NoRole { role: order.role }));
        }
        let RoleOrder { role, what, by } = order;
        let end = by.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= Name::LEN_MAX).last();
        let by = Name::new(&by[..end.unwrap_or(0)]).or_else(|| Name::new("somebody")).expect("it is short");
        let rng = &mut self.shared.rngs.node;
        let number = u128::from(rng.bits()) << 64 | u128::from(rng.bits());
        let request = RequestId { born: self.consensus.view().known().index, number };
        let expires = WallTime::from_micros(now.wall.as_micros().saturating_add(EXPIRES_S * 1_000_000));
        let order = Order { id: request, expires, by, role, what };
        // Before it is asked for: the answer may come with it.
        self.serving.orders.insert(request, id);
        self.serve(now, |machine, cx, sight| machine.ask(cx, sight, order));
        Ok(())
    }

    fn order_refused(&self, error: OrderError) -> CommandError {
        match error {
            // Others may lead: this peer hears nobody.
            OrderError::NotLeader { leader: None } if let Some(fault) = self.deafened() => {
                CommandError::Disk(fault.clone())
            }
            // Of a group that is known nobody leads.
            OrderError::NotLeader { leader: None } if self.consensus.view().deciders().is_some() => {
                CommandError::NoQuorum
            }
            OrderError::NotLeader { leader } => {
                let Deciders { epoch, term, .. } = self.deciders();
                CommandError::NotLeader { leader, epoch, term }
            }
            other => CommandError::Role(other),
        }
    }

    /// Somebody acts upon this peer under a token.
    pub(super) fn admit_role(
        &mut self,
        now: Now,
        id: CommandId,
        role: &RoleName,
        token: Token,
    ) -> Result<Option<Outcome>, CommandError> {
        self.serving.tickets += 1;
        let ticket = self.serving.tickets;
        self.serving.admissions.insert(ticket, id);
        // Also of a role that is not known here yet: who is shown a token first may hear of its grant last.
        let mut result = Err(Refused::TooMany);
        self.serve_always(now, |machine, cx, sight| result = machine.admit(cx, sight, role, token, ticket));
        match result {
            Ok(Admission::Later) => Ok(None),
            Ok(Admission::Admitted) => {
                self.serving.admissions.remove(&ticket);
                Ok(Some(Outcome::RoleAdmitted))
            }
            Err(why) => {
                self.serving.admissions.remove(&ticket);
                Err(CommandError::RoleRefused(why))
            }
        }
    }

    /// All roles, as this peer knows them.
    #[must_use]
    pub fn roles(&self, now: Now) -> Vec<RoleStatus> {
        let watched: BTreeMap<_, _> = self.roles.view().watched(now.mono).collect();
        let config = self.roles.config();
        let promote_limit = if config.hooks { config.failover.promote_limit.as_millis() } else { 0 };
        let promote_limit_ms = u64::try_from(promote_limit).unwrap_or(u64::MAX);
        let member = |grant: &roles::Grant| grant.holder.and_then(|node| self.membership.view().member(node));
        let status = |(role, token, grant): (RoleName, Token, roles::Grant)| RoleStatus {
            holder: grant.holder,
            name: member(&grant).map(|member| member.meta.name.clone()).unwrap_or_default(),
            addresses: member(&grant).map(|member| member.meta.addresses.clone()).unwrap_or_default(),
            token,
            acts: self.roles.view().holds(&role, now.mono) == Some(token),
            reason: grant.turn.reason,
            by: grant.turn.by.as_str().to_owned(),
            since: grant.turn.since,
            lease_us: grant.lease_us,
            took_us: grant.turn.took_us,
            paused: grant.is_paused,
            state: watched.get(&role).map(|it| it.state),
            lease: self.lease(now, &role, token, &grant, watched.get(&role)),
            begun: self.has_begun(now, &role, token, &grant, watched.get(&role)),
            promote_limit_ms,
            granter: self.granter(now.mono),
            vacancy: self.vacancy(now, &role),
            statistics: grant.statistics,
            history: grant.history.to_vec(),
            role,
        };
        View::decided(self.consensus.view().registers()).map(status).collect()
    }

    /// What is known here of the holder's lease.
    fn lease(
        &self,
        now: Now,
        role: &RoleName,
        token: Token,
        grant: &roles::Grant,
        watched: Option<&Watched>,
    ) -> Option<Lease> {
        if grant.holder? != self.identity.node {
            return watched?.lease;
        }
        match self.roles.view().holds(role, now.mono) {
            Some(held) if held == token => Some(Lease::Runs),
            _ => watched.and_then(|it| it.lease).filter(|lease| *lease != Lease::Runs).or(Some(Lease::Over)),
        }
    }

    /// What is known here of whether the holder has begun: what it took is written down only then.
    fn has_begun(
        &self,
        now: Now,
        role: &RoleName,
        token: Token,
        grant: &roles::Grant,
        watched: Option<&Watched>,
    ) -> Option<bool> {
        let holder = grant.holder?;
        if grant.turn.took_us.is_some() {
            return Some(true);
        }
        if holder == self.identity.node {
            let mut holdings = self.roles.view().holdings();
            let held = holdings.find(|(name, held)| *name == role && held.token == token).map(|(_, held)| held);
            return Some(held.is_some_and(|it| it.is_ready && it.acts_until.is_some_and(|until| now.mono < until)));
        }
        watched?.begun
    }

    /// Who leads, as the leader itself let this peer know a short while ago. A voter that was removed hears no heartbeats any more before it
    /// hears that it was, and would lose its roles for that.
    pub(super) fn told_leader(&self, now: Time) -> Option<NodeId> {
        let (leader, at) = self.serving.leader?;
        (now.since(at) < TOLD_MAX).then_some(leader)
    }

    /// What this peer holds, for whoever acts.
    #[must_use]
    pub fn serving(&self) -> View<'_> {
        self.roles.view()
    }
}

impl From<Refused> for CommandError {
    fn from(refused: Refused) -> Self {
        Self::RoleRefused(refused)
    }
}

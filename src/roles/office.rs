//! The leader's side: what is known of each role, and what holders say.
//!
//! Everything here is forgotten with the office. A new leader knows what is decided, and that no lease that somebody before it gave goes on
//! longer than a full one from its own election: see [`Watch::leased_at`].

use std::collections::BTreeMap;
use std::time::Duration;

use super::grant::Grant;
use super::message::Body;
use super::order::Running;
use super::vocabulary::{Alert, Event, ROLES_MAX, Reason, RoleName};
use super::{Mandate, Roles, Sight};
use crate::consensus::{RequestId, Token};
use crate::failover::{FailoverLimits, FailoverState, HolderWatch};
use crate::machine::Cx;
use crate::probe::planted;
use crate::types::{Epoch, NodeId, Now, Term, Time};

/// So many roles are watched: those of the configuration, and those that are decided.
const WATCHES_MAX: usize = 2 * ROLES_MAX;
/// Who heard no leader for longer was cut off, and somebody may have led meanwhile.
const UNLED_MAX: Duration = Duration::from_secs(600);
/// So many peers are passed over at a time.
const SHUNNED_MAX: usize = 16;

/// This peer leads.
#[derive(Clone, Debug)]
pub(super) struct Office {
    pub(super) epoch: Epoch,
    pub(super) term: Term,
    /// When this room was told. Not before the election.
    pub(super) since: Time,
    /// It was told before, and that it was over: leases may have been given that are forgotten.
    is_resumed: bool,
    pub(super) watches: BTreeMap<RoleName, Watch>,
}

/// One role.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    pub(super) decided: Decided,
    /// The holder's token, if somebody holds it.
    pub(super) holding: Option<Token>,
    pub(super) detector: HolderWatch,
    /// No lease of this holder counts from later than this; nothing if it never had one.
    pub(super) leased_at: Option<Time>,
    /// The holder said that it stopped.
    pub(super) has_stopped: bool,
    /// The hooks that begin its work are done, as it said last.
    pub(super) is_ready: bool,
    /// It stopped before that, as far as this leader saw.
    pub(super) in_vain: bool,
    /// It failed, and the limit of promotions keeps the role from others: that it wakes up to find its lease over is no other reason.
    pub(super) is_limited: bool,
    pub(super) pending: Option<Pending>,
    /// Nothing is proposed before this: a proposal was refused.
    pub(super) retry_at: Time,
    pub(super) state: FailoverState,
    /// The holder was not heard in this office, and could renew nothing while nobody led: since then.
    pub(super) unheard_since: Option<Time>,
    /// When the failover began that is under way.
    pub(super) began: Option<Time>,
    pub(super) order: Option<Running>,
    /// Who is passed over, until when.
    pub(super) shunned: BTreeMap<NodeId, Time>,
    /// Who is preferred to the holder, and since when without a break.
    pub(super) preferred: Option<(NodeId, Time)>,
    pub(super) alerted: Option<Alert>,
    /// When the holder was last told something that it may know.
    said_at: Option<Time>,
}

/// What is decided about a role.
#[derive(Clone, Debug)]
pub(super) enum Decided {
    /// Nothing yet.
    Nothing,
    /// This, by this decision.
    Is(Token, Box<Grant>),
    /// Something that this version cannot read.
    Unreadable(Token),
}

impl Decided {
    /// By which decision.
    fn at(&self) -> Option<Token> {
        match self {
            Self::Nothing => None,
            Self::Is(at, _) | Self::Unreadable(at) => Some(*at),
        }
    }

    /// What it says, if it can be read.
    pub(super) fn grant(&self) -> Option<(Token, &Grant)> {
        if let Self::Is(at, grant) = self { Some((*at, grant)) } else { None }
    }
}

/// A proposal that may yet be decided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) request: RequestId,
    /// It would give the role to somebody else: the holder's lease goes on no more.
    pub(super) is_turn: bool,
}

impl Office {
    /// Whether an order of this name is under way.
    pub(super) fn carries_out(&self, id: RequestId) -> bool {
        let mut orders = self.watches.values().filter_map(|watch| watch.order.as_ref()?.asked);
        orders.any(|(asked, _)| asked == id)
    }
}

impl Watch {
    fn new(config: &FailoverLimits) -> Self {
        Self {
            decided: Decided::Nothing,
            holding: None,
            detector: HolderWatch::new(config.clone()),
            leased_at: None,
            has_stopped: false,
            is_ready: false,
            in_vain: false,
            is_limited: false,
            pending: None,
            retry_at: Time::ZERO,
            state: FailoverState::Normal,
            unheard_since: None,
            began: None,
            order: None,
            shunned: BTreeMap::new(),
            preferred: None,
            alerted: None,
            said_at: None,
        }
    }

    /// Who holds it, and under which token.
    pub(super) fn holder(&self) -> Option<(NodeId, Token)> {
        let (at, grant) = self.decided.grant()?;
        grant.holder.map(|holder| (holder, grant.token(at)))
    }

    /// When nobody acts any more under the holder's token, unless a leader goes on giving it leases.
    pub(super) fn over_at(&self, config: &FailoverLimits) -> Time {
        if planted!("roles/lease-not-waited") {
            return Time::ZERO;
        }
        match (self.leased_at, self.decided.grant()) {
            (Some(at), Some((_, grant))) if !self.has_stopped => at + config.wait(grant.lease(), grant.hooks()),
            _ => Time::ZERO,
        }
    }

    /// Whether the holder has begun its work; nothing if it was not heard in this office, and was granted the role before.
    pub(super) fn begun(&self) -> Option<bool> {
        self.unheard_since.is_none().then_some(self.is_ready)
    }

    /// The holder is not to go on: it gets no lease any more.
    pub(super) fn is_being_moved(&self) -> bool {
        self.has_stopped
            || self.pending.is_some_and(|pending| pending.is_turn)
            || self.order.as_ref().is_some_and(Running::ends_the_turn)
    }

    /// Whether it is written down that the holder has begun: all peers go by that.
    fn is_noted(&self) -> bool {
        self.decided.grant().is_none_or(|(_, grant)| grant.turn.took_us.is_some())
    }

    /// Since when the turn goes on, by the wall clock of who decided it, if that is of late.
    fn granted_at(&self, now: Now) -> Option<Time> {
        let (_, grant) = self.decided.grant()?;
        let ago = now.wall.as_micros().checked_sub(grant.turn.since.as_micros()).map(Duration::from_micros)?;
        (ago < UNLED_MAX && now.mono.since(Time::ZERO) >= ago).then(|| now.mono - ago)
    }

    /// Passes somebody over for a while.
    pub(super) fn shun(&mut self, node: NodeId, until: Time) {
        if self.shunned.len() >= SHUNNED_MAX
            && let Some(first) = self.shunned.iter().min_by_key(|(_, until)| **until).map(|(node, _)| *node)
        {
            self.shunned.remove(&first);
        }
        self.shunned.insert(node, until);
    }

    /// Whether it is time to tell the holder something again.
    pub(super) fn may_say(&mut self, now: Time, heartbeat: Duration) -> bool {
        let may = self.said_at.is_none_or(|at| now.since(at) >= heartbeat);
        if may {
            self.said_at = Some(now);
        }
        may
    }

    /// Looks at the register. A new holder begins with a clean sheet.
    fn read(
        &mut self,
        role: &RoleName,
        sight: &Sight<'_>,
        ours: Option<(Epoch, Term)>,
        (since, unled_since): (Time, Time),
        now: Time,
    ) {
        let register = sight.registers.get(&role.register());
        if register.map(|register| register.token) == self.decided.at() {
            return;
        }
        self.decided = match register {
            None => Decided::Nothing,
            Some(register) => match Grant::of_register(register) {
                Some(grant) => Decided::Is(register.token, Box::new(grant)),
                None => Decided::Unreadable(register.token),
            },
        };
        let holding = self.holder().map(|(_, token)| token);
        if holding == self.holding {
            return;
        }
        self.holding = holding;
        (self.has_stopped, self.is_ready, self.in_vain, self.is_limited) = (false, false, false, false);
        self.preferred = None;
        self.said_at = None;
        // Only this leader grants in its term, and it gave no lease under this token yet. Under another one, others may have.
        let is_ours = holding.is_some_and(|token| Some((token.epoch, token.term)) == ours);
        self.leased_at = if is_ours { None } else { holding.map(|_| since) };
        let latest = since.max(Time::ZERO + UNLED_MAX) - UNLED_MAX;
        self.unheard_since = self.leased_at.map(|since| since.min(unled_since).max(latest));
        self.detector.begin(now, !is_ours);
    }
}

impl Roles {
    /// Takes office, gives it up, and reads what is decided. Whether this peer may decide anything.
    pub(super) fn read(&mut self, cx: &mut Cx<'_, Self>, sight: &Sight<'_>) -> bool {
        let now = cx.now().mono;
        let told = sight.mandate.map(|mandate| (mandate.epoch, mandate.term));
        if let Some(office) = self.office.take_if(|office| Some((office.epoch, office.term)) != told) {
            self.left = Some((office.epoch, office.term));
            for running in office.watches.into_values().filter_map(|watch| watch.order) {
                let error = running.lost();
                self.end_order(cx, &running, Err(error));
            }
        }
        let Some(Mandate { epoch, term, is_settled, unled_since, .. }) = sight.mandate else { return false };
        let is_resumed = self.left == told;
        let office = self.office.get_or_insert_with(|| {
            let watches = BTreeMap::new();
            Office { epoch, term, since: now, is_resumed, watches }
        });
        if !is_settled {
            return false;
        }
        let ours = told.filter(|_| !office.is_resumed);
        let decided = sight.registers.keys().filter_map(RoleName::of_register);
        for role in self.config.roles.iter().cloned().chain(decided).take(WATCHES_MAX) {
            let watch = office.watches.entry(role.clone()).or_insert_with(|| Watch::new(&self.config.failover));
            watch.read(&role, sight, ours, (office.since, unled_since), now);
        }
        true
    }

    /// A holder wants to go on.
    pub(super) fn on_renew(
        &mut self,
        cx: &mut Cx<'_, Self>,
        sight: &Sight<'_>,
        from: NodeId,
        role: &RoleName,
        token: Token,
        (number, is_ready): (u64, bool),
    ) {
        if !self.read(cx, sight) || !self.is_holder(cx, sight, from, role, token) {
            return;
        }
        let now = cx.now().mono;
        let Some(watch) = self.watch(role) else { return };
        watch.detector.heard(now);
        if watch.is_being_moved() {
            return;
        }
        let Some((_, grant)) = watch.decided.grant() else { return };
        let Some(sent_at) = sight.mandate.and_then(|mandate| mandate.quorum_sent_at) else { return };
        // From when a majority was last asked, not from now: a leader that is cut off gives nothing that a later one does not wait for.
        let left = (sent_at + grant.lease()).since(now);
        if left.is_zero() {
            return;
        }
        watch.leased_at = watch.leased_at.max(Some(sent_at));
        let left_us = super::grant::micros(left);
        self.tell(cx, sight, from, role, token, Body::Renewed { number, left_us });
        self.on_progress(cx, role, is_ready);
    }

    /// The holder acts, and perhaps its hooks are done. Of one that was granted the role before this office, that is written down now where it was not.
    fn on_progress(&mut self, cx: &mut Cx<'_, Self>, role: &RoleName, is_ready: bool) {
        let now = cx.now().mono;
        let Some(watch) = self.watch(role) else { return };
        (watch.is_ready, watch.is_limited) = (is_ready, false);
        let unheard_since = watch.unheard_since.take();
        let is_quiet = matches!(watch.state, FailoverState::Normal | FailoverState::Complete) && watch.order.is_none();
        if !watch.is_noted() && (unheard_since.is_some() || is_quiet) {
            let known = unheard_since.into_iter().chain(watch.granted_at(cx.now()));
            watch.began.get_or_insert_with(|| known.min().unwrap_or(now));
            super::tend::stand(cx, role, watch, FailoverState::Promoting);
        }
        if watch.state == FailoverState::Promoting && is_ready {
            super::tend::stand(cx, role, watch, FailoverState::Redirecting);
            let began = watch.began.take();
            if let (Some(began), Some((holder, token))) = (began, watch.holder()) {
                let took = now.since(began);
                cx.emit(Event::Completed { role: role.clone(), holder, token, took });
                watch.order.get_or_insert_with(|| Running::note(took));
            }
        }
    }

    /// A holder stopped, for good.
    pub(super) fn on_stopped(
        &mut self,
        cx: &mut Cx<'_, Self>,
        sight: &Sight<'_>,
        from: NodeId,
        role: &RoleName,
        token: Token,
        is_wish: bool,
    ) {
        if !self.read(cx, sight) || !self.is_holder(cx, sight, from, role, token) {
            return;
        }
        let (now, shun) = (cx.now().mono, self.config.failover.shun);
        let Some(watch) = self.watch(role) else { return };
        if !watch.has_stopped && is_wish {
            watch.shun(from, now + shun);
        }
        if !watch.has_stopped {
            watch.in_vain = watch.begun() == Some(false);
        }
        watch.has_stopped = true;
        self.tell(cx, sight, from, role, token, Body::Noted);
    }

    /// Whether somebody is who holds a role. If the role was decided anew since, it is told.
    fn is_holder(
        &mut self,
        cx: &mut Cx<'_, Self>,
        sight: &Sight<'_>,
        from: NodeId,
        role: &RoleName,
        token: Token,
    ) -> bool {
        let Some(watch) = self.watch(role) else { return false };
        if watch.holder() == Some((from, token)) {
            return true;
        }
        if let Some((at, grant)) = watch.decided.grant() {
            let by = grant.token(at);
            if by > token {
                self.tell(cx, sight, from, role, token, Body::Superseded { by });
            }
        }
        false
    }

    pub(super) fn watch(&mut self, role: &RoleName) -> Option<&mut Watch> {
        self.office.as_mut()?.watches.get_mut(role)
    }

    /// What is held against somebody, by a function of its detector.
    pub(super) fn suspect(
        &mut self,
        cx: &mut Cx<'_, Self>,
        sight: &Sight<'_>,
        peer: NodeId,
        hint: fn(&mut HolderWatch),
    ) {
        if !self.read(cx, sight) {
            return;
        }
        let Some(office) = &mut self.office else { return };
        for watch in office.watches.values_mut().filter(|watch| watch.holder().is_some_and(|(node, _)| node == peer)) {
            hint(&mut watch.detector);
        }
    }
}

/// Why a turn ends that nobody ordered to.
pub(super) fn reason(watch: &Watch) -> Reason {
    match (watch.detector.has_begun() && !watch.in_vain, watch.has_stopped && !watch.is_limited) {
        (false, _) => Reason::NotBegun,
        (true, true) => Reason::Released,
        (true, false) => Reason::Failed,
    }
}

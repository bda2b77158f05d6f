//! What must hold in every world, whatever happens. The names are those of the room's essay.

use std::collections::BTreeMap;

use super::super::*;
use super::world::{MS, Peer};
use crate::consensus::{Intent, Outcome, Token};
use crate::types::WallTime;

/// See the module.
#[derive(Default)]
pub(super) struct Checks {
    /// The last token under which somebody began, of each role.
    began: BTreeMap<RoleName, (Token, NodeId)>,
    /// The highest token that was ever heeded, by who was acted upon.
    heeded: BTreeMap<(usize, RoleName), Token>,
    /// The highest against which another one was refused.
    refused: BTreeMap<(usize, RoleName), Token>,
    /// When promotions were decided that nobody asked for, by the token of the decision.
    pub(super) promotions: BTreeMap<(RoleName, Token), WallTime>,
    /// What was proposed and is decided, so that each is looked at once.
    pub(super) turns: u64,
    pub(super) admissions: u64,
    pub(super) refusals: u64,
    pub(super) began_count: u64,
}

impl Checks {
    /// L1, at every step: nobody acts where somebody else does.
    pub(super) fn after_step(&self, peers: &[Peer], now: u64, roles: &[RoleName]) {
        for role in roles {
            let acting: Vec<_> = (0..peers.len()).filter(|at| peers[*at].acts(*at, now, role).is_some()).collect();
            assert!(acting.len() <= 1, "L1: {acting:?} act as {role} at {} ms", now / MS);
        }
    }

    /// L1 with its hooks, L2: somebody begins.
    pub(super) fn on_promote(&mut self, peers: &[Peer], at: usize, now: u64, role: &RoleName, token: Token) {
        let me = peers[at].node;
        self.began_count += 1;
        if let Some((before, who)) = self.began.insert(role.clone(), (token, me)) {
            assert!(before < token, "L2: {me:?} begins as {role} under {token} after {who:?} under {before}");
        }
        for (other, peer) in peers.iter().enumerate().filter(|(other, _)| *other != at) {
            let ends = peer.ending.get(role).filter(|ending| !ending.is_late && peer.up && !peer.was_paused(now));
            assert!(ends.is_none(), "L1: at {} ms {at} begins as {role}, and hooks of {other} run", now / MS);
        }
    }

    /// L3: who is acted upon heeds this one.
    pub(super) fn on_admitted(&mut self, at: usize, role: &RoleName, token: Token) {
        self.admissions += 1;
        let highest = self.heeded.entry((at, role.clone())).or_default();
        assert!(token >= *highest, "L3: {at} heeds {token} after {highest} as {role}");
        *highest = token;
        let refused = self.refused.get(&(at, role.clone())).copied().unwrap_or_default();
        assert!(token > refused || refused == Token::default(), "L3: {at} heeds {token}, and refused {refused}");
    }

    pub(super) fn on_refused(&mut self, at: usize, role: &RoleName, token: Token) {
        self.refusals += 1;
        let refused = self.refused.entry((at, role.clone())).or_default();
        *refused = token.max(*refused);
    }

    /// L4: whom a leader wants to grant a role may have it.
    pub(super) fn on_propose(peer: &Peer, config: &Config, intent: &Intent) {
        let (Some(role), Some(value)) = (RoleName::of_register(&intent.action.name), &intent.action.value) else {
            panic!("{intent:?} is about no role");
        };
        let register = crate::consensus::Register { token: Token::default(), value: value.clone() };
        let grant = Grant::of_register(&register).expect("it can be read");
        if let (Some(holder), None) = (grant.holder, grant.begun) {
            let rules = crate::failover::PromotionRules::new(&config.failover);
            let checked = rules.check_node(&peer.candidates, holder);
            assert!(checked.is_ok(), "L4: {role} is to be granted to {holder:?}, who is {checked:?}");
        }
    }

    /// L5, at every decision: not too many.
    pub(super) fn on_committed(&mut self, config: &Config, token: Token, intent: &Intent, outcome: Outcome) {
        let (Some(role), Outcome::Done) = (RoleName::of_register(&intent.action.name), outcome) else { return };
        let Some(value) = &intent.action.value else { return };
        let register = crate::consensus::Register { token, value: value.clone() };
        let grant = Grant::of_register(&register).expect("it can be read");
        if grant.begun.is_some() {
            return;
        }
        self.turns += 1;
        if grant.turn.reason.is_limited() {
            self.promotions.insert((role.clone(), token), grant.turn.since);
        }
        let window = u64::try_from(config.failover.promotions_window.as_micros()).unwrap();
        let from = grant.turn.since.as_micros().saturating_sub(window);
        let is_recent = |at: &WallTime| at.as_micros() > from && *at <= grant.turn.since;
        let recent = self.promotions.iter().filter(|((of, _), at)| *of == role && is_recent(at)).count();
        let most = usize::try_from(config.failover.promotions_max).unwrap();
        assert!(recent <= most || grant.counts_after > Token::default(), "L5: {recent} promotions of {role}");
    }
}

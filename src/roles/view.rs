//! What others may read of this room.

use std::collections::BTreeMap;

use serde::Serialize;

use super::grant::{Grant, grants};
use super::hold::Phase;
use super::vocabulary::{Alert, RoleName};
use super::{Record, Roles};
use crate::consensus::{Name, Register, RequestId, Token};
use crate::failover::FailoverState;
use crate::types::Time;

/// A read-only face.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub(super) roles: &'a Roles,
}

/// What this peer does in a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Its token.
    pub token: Token,
    /// Until when it acts, if it does and its lease is not renewed.
    pub acts_until: Option<Time>,
    /// The hooks that begin its work are done.
    pub is_ready: bool,
    /// The hooks that end its work run.
    pub is_ending: bool,
}

/// Whether somebody may act in a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lease {
    /// It was given one that is not over.
    Runs,
    /// It had one, and it is over, or it said that it stopped: nobody acts.
    Over,
    /// It was given none yet: nobody acts.
    NotBegun,
}

/// A role, as the leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Where it stands in a failover.
    pub state: FailoverState,
    /// The holder's lease; nothing if nobody holds it.
    pub lease: Option<Lease>,
    /// Whether the hooks that begin its work are done; nothing where that is not known yet.
    pub begun: Option<bool>,
    /// Why the automation rests, if it does; what was told last, also when it is well again.
    pub alert: Option<Alert>,
}

impl<'a> View<'a> {
    /// The token under which this peer may act in a role at this moment; nothing if it may not. Whoever acts asks this first, with the
    /// clock as it is then, and shows the token to whom it acts upon.
    #[must_use]
    pub fn holds(self, role: &RoleName, now: Time) -> Option<Token> {
        self.roles.holdings.0.get(role).filter(|held| held.acts(now)).map(|held| held.token)
    }

    /// All roles that this peer was granted and that it has not put behind it.
    pub fn holdings(self) -> impl Iterator<Item = (&'a RoleName, Holding)> {
        self.roles.holdings.0.iter().map(|(role, held)| {
            let acts_until = if let Phase::Acting(until) = held.phase { Some(until) } else { None };
            let is_ending = matches!(held.phase, Phase::Ending(_));
            (role, Holding { token: held.token, acts_until, is_ready: held.is_ready, is_ending })
        })
    }

    /// Whether this peer holds nothing, and the leader knows.
    #[must_use]
    pub fn is_free(self) -> bool {
        self.roles.holdings.0.values().all(|held| matches!(held.phase, Phase::Ended { is_noted: true, .. }))
    }

    /// Whether somebody holds a role and has to be answered, as a leader knows.
    #[must_use]
    pub fn is_held(self) -> bool {
        let mut watches = self.roles.office.iter().flat_map(|office| office.watches.values());
        watches.any(|watch| watch.holder().is_some())
    }

    /// Where roles stand in a failover, as the leader sees it; nothing elsewhere.
    pub fn states(self) -> impl Iterator<Item = (&'a RoleName, FailoverState)> {
        let watches = self.roles.office.iter().flat_map(|office| office.watches.iter());
        watches.map(|(role, watch)| (role, watch.state))
    }

    /// All roles, as the leader sees them; nothing elsewhere.
    pub fn watched(self, now: Time) -> impl Iterator<Item = (&'a RoleName, Watched)> {
        let config = &self.roles.config.failover;
        let watches = self.roles.office.iter().flat_map(|office| office.watches.iter());
        watches.map(move |(role, watch)| {
            let lease = match watch.leased_at {
                None if !watch.has_stopped => Lease::NotBegun,
                _ if now < watch.over_at(config) => Lease::Runs,
                _ => Lease::Over,
            };
            let lease = watch.holder().map(|_| lease);
            let begun = watch.holder().and_then(|_| watch.begun());
            (role, Watched { state: watch.state, lease, begun, alert: watch.alerted })
        })
    }

    /// Whether this leader proposed something under this name, and does not know what came of it.
    #[must_use]
    pub fn awaits(self, request: RequestId) -> bool {
        let mut watches = self.roles.office.iter().flat_map(|office| office.watches.values());
        watches.any(|watch| watch.pending.is_some_and(|pending| pending.request == request))
    }

    /// The highest token of a role that was seen here.
    #[must_use]
    pub fn highest(self, role: &RoleName) -> Option<Token> {
        self.roles.fences.find(role).map(|fence| fence.seen)
    }

    /// Whether any token was shown to this peer, of whatever role.
    #[must_use]
    pub fn is_fenced(self) -> bool {
        self.roles.fences.any()
    }

    /// What a snapshot of this peer's log has to hold of this room.
    pub fn records(self) -> impl Iterator<Item = Record> + 'a {
        self.roles.fences.records()
    }

    /// All roles that are decided, with the tokens of their holders, as they stand in the registers; any peer may ask.
    pub fn decided(registers: &BTreeMap<Name, Register>) -> impl Iterator<Item = (RoleName, Token, Grant)> {
        grants(registers)
    }
}

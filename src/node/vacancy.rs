//! Roles in which nobody acts, as far as this peer can tell: what an operator is told, with the reason and the cure.
//!
//! Whoever leads the voters knows each lease, and why the automation rests; a holder knows its own lease. Everybody else knows what is decided and
//! what membership thinks of the holder, and says no more than that, and whom to ask: that a holder is dead here is no proof that it does not act.
//! Whose disk takes no writes hears of no decision, and so cannot tell even whether anybody leads: it tells of its disk.

use serde::Serialize;

use super::Node;
use crate::failover::{FailoverState, PromotionStrategy};
use crate::membership::State;
use crate::roles::{Alert, Grant, Lease, RoleName, Watched};
use crate::types::{DiskFault, DiskFaultKind, NodeId, Now, Time, WallTime};

/// A role in which nobody acts, or may not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Vacancy {
    /// Which role.
    pub role: RoleName,
    /// Why, for programs.
    pub code: VacancyCode,
    /// Nobody is promoted before this without an operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<WallTime>,
    /// Why, for people.
    pub why: String,
    /// What to do about it.
    pub cure: String,
}

/// Why nobody acts in a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VacancyCode {
    /// It is configured here, and nobody was ever granted it, as far as is known.
    NeverGranted,
    /// An operator released it.
    Released,
    /// Nobody was chosen yet.
    Vacant,
    /// The automation made as many promotions as it may in that time.
    PromotionsMax,
    /// Nobody is eligible.
    NoCandidate,
    /// Nobody is promoted without an operator: the role is paused, or that is configured.
    Held,
    /// What was decided of it cannot be read by this version.
    Unreadable,
    /// The holder's lease is over, and a successor is looked for.
    Electing,
    /// Whoever was granted it has not begun, or the hooks that begin its work run.
    NotBegun,
    /// Nobody leads the voters: no lease is renewed, and nobody is granted a role.
    NoLeader,
    /// This peer was granted it and has no lease that runs.
    Lapsed,
    /// The holder is not there as this peer sees it; only the voters' leader knows whether it acts.
    HolderGone,
    /// This peer's log takes no writes, so that it hears of no decision: who holds the role now it does not know.
    ReadOnly,
}

/// Code, reason and cure.
type Told = (VacancyCode, String, String);

impl Node {
    /// All roles in which nobody acts, as far as this peer can tell: of those that are decided and of those that are configured here.
    pub(super) fn vacancies(&self, now: Now) -> Vec<Vacancy> {
        let registers = self.consensus.view().registers();
        let mut roles: Vec<_> = registers.keys().filter_map(RoleName::of_register).collect();
        roles.extend(self.roles.config().roles.iter().cloned());
        roles.sort();
        roles.dedup();
        roles.iter().filter_map(|role| self.vacancy(now, role)).collect()
    }

    /// Why nobody acts in this role; nothing if somebody does, or if nothing speaks against it here.
    pub(super) fn vacancy(&self, now: Now, role: &RoleName) -> Option<Vacancy> {
        let register = self.consensus.view().registers().get(&role.register());
        let watched = self.roles.view().watched(now.mono).find(|(name, _)| *name == role).map(|(_, watched)| watched);
        let grant = register.map(Grant::of_register);
        let (code, why, cure) = match &grant {
            _ if let Some(fault) = self.deafened()
                && self.roles.view().holds(role, now.mono).is_none() =>
            {
                let holder = grant.as_ref().and_then(|grant| grant.as_ref()?.holder);
                Some(self.out_of_date(role, holder, fault))
            }
            Some(None) => Some((
                VacancyCode::Unreadable,
                format!("what was decided of the role {role} cannot be read by this version"),
                "a newer version wrote it: update this peer".to_owned(),
            )),
            Some(Some(grant)) if grant.holder.is_some() => self.unheld(now, role, grant, watched),
            Some(Some(grant)) => Some(self.vacant(now, role, grant, watched)),
            None => Some(self.never_granted(now, role, watched)),
        }?;
        let until = watched.and_then(|it| it.alert).filter(|_| code == VacancyCode::PromotionsMax);
        let until = until.and_then(|alert| if let Alert::TooMany { until } = alert { Some(until) } else { None });
        Some(Vacancy { role: role.clone(), code, until, why, cure })
    }

    /// Why its disk takes no writes, if it is so: then this peer votes no more, and hears nothing of what is decided.
    pub(super) fn deafened(&self) -> Option<&DiskFault> {
        self.read_only.as_ref().filter(|_| !self.consensus.view().is_disk_well())
    }

    /// What is known here of a role is of before the disk took no more writes.
    fn out_of_date(&self, role: &RoleName, holder: Option<NodeId>, fault: &DiskFault) -> Told {
        let before = match holder {
            Some(node) if node == self.identity.node => format!("this peer was {role} until then"),
            Some(node) => format!("until then {} was {role}", self.name_of(node)),
            None => format!("until then nobody was {role}"),
        };
        let why = format!(
            "who is {role} this peer does not know: its disk takes no writes ({fault}), so it votes no more and hears of no decision; {before}, as far as it knew"
        );
        let mend = match fault.kind {
            DiskFaultKind::Full => "make room on its disk: within five minutes it sees that, and takes part again",
            _ => "see to its disk, then restart it",
        };
        let cure = format!("{mend}; meanwhile ask another peer (`oxigdal-ha role list` at its --api)");
        (VacancyCode::ReadOnly, why, cure)
    }

    fn never_granted(&self, now: Now, role: &RoleName, watched: Option<Watched>) -> Told {
        let why = format!("nobody was granted the role {role}, as far as this peer knows");
        match watched {
            Some(watched) if watched.alert.is_some() => self.rests(role, &why, watched.alert, false),
            Some(_) => (VacancyCode::NeverGranted, why, "a holder is being chosen: look again shortly".to_owned()),
            None => (VacancyCode::NeverGranted, why, self.whom_to_ask(now)),
        }
    }

    /// It is decided that nobody holds it.
    fn vacant(&self, now: Now, role: &RoleName, grant: &Grant, watched: Option<Watched>) -> Told {
        if grant.is_paused {
            let (by, since) = (grant.turn.by.as_str(), grant.turn.since);
            let why = format!("nobody is {role}: it was released by {by:?} at {since}, and is not granted by itself");
            return (VacancyCode::Released, why, cure(role));
        }
        let why = format!("nobody is {role}");
        let config = &self.roles.config().failover;
        match watched {
            Some(_) if !config.automatic || config.strategy == PromotionStrategy::Manual => {
                self.rests(role, &why, Some(Alert::Held), false)
            }
            Some(watched) if watched.alert.is_some() => self.rests(role, &why, watched.alert, false),
            Some(_) => (VacancyCode::Vacant, why, "a holder is being chosen: look again shortly".to_owned()),
            None => (VacancyCode::Vacant, why, self.whom_to_ask(now)),
        }
    }

    /// Somebody holds it, and may not act.
    fn unheld(&self, now: Now, role: &RoleName, grant: &Grant, watched: Option<Watched>) -> Option<Told> {
        let holder = grant.holder?;
        let name = self.name_of(holder);
        let is_me = holder == self.identity.node;
        if is_me && self.roles.view().holds(role, now.mono).is_some() {
            let is_ready = self.roles.view().holdings().any(|(of, held)| of == role && held.is_ready);
            return (!is_ready).then(|| self.begins(role, "this peer"));
        }
        match watched.and_then(|it| Some((it, it.lease?))) {
            Some((watched, Lease::Runs)) if !is_me && watched.begun == Some(false) => Some(self.begins(role, &name)),
            Some((_, Lease::Runs)) if !is_me => None,
            Some((watched, Lease::Over)) => Some(self.over(role, &name, watched, grant.is_paused)),
            Some((watched, Lease::NotBegun)) if watched.state == FailoverState::Electing => {
                Some(self.over(role, &name, watched, grant.is_paused))
            }
            Some((_, Lease::NotBegun)) => Some((
                VacancyCode::NotBegun,
                format!("nobody is {role} yet: {name} was granted it and has not begun"),
                "it is waited for, and somebody else is chosen if it does not begin".to_owned(),
            )),
            Some((_, Lease::Runs)) | None if is_me => Some((
                VacancyCode::Lapsed,
                format!("this peer was granted the role {role}, and does not act: it has no lease that runs"),
                self.whom_to_ask(now),
            )),
            _ => {
                let state = match self.membership.view().member(holder).map(|member| member.state) {
                    Some(State::Alive) if self.granter(now.mono).is_none() => {
                        let why = format!(
                            "{role} is held by {name}, and nobody leads the voters, as far as this peer knows: then its lease is not renewed, and nobody acts once it \
                             is over"
                        );
                        return Some((VacancyCode::NoLeader, why, self.whom_to_ask(now)));
                    }
                    Some(State::Alive) => return None,
                    Some(State::Suspect) => "suspect",
                    Some(State::Dead) => "dead",
                    Some(State::Left) => "gone",
                    None => "no member",
                };
                let why = format!("{role} is held by {name}, which is {state} for this peer: perhaps nobody acts");
                Some((VacancyCode::HolderGone, why, self.whom_to_ask(now)))
            }
        }
    }

    /// The lease of whoever was granted it runs, and its hooks do.
    fn begins(&self, role: &RoleName, whose: &str) -> Told {
        let limit = self.roles.config().failover.promote_limit.as_millis();
        let why =
            format!("nobody is {role} yet: {whose} was granted it, and what begins its work runs (`roles.on-promote`)");
        let cure = format!(
            "it is waited for; after {limit} ms (`roles.promote-limit-ms`) it is stopped, and somebody else chosen"
        );
        (VacancyCode::NotBegun, why, cure)
    }

    /// The leader knows that the holder's lease is over.
    fn over(&self, role: &RoleName, name: &str, watched: Watched, is_paused: bool) -> Told {
        let why = format!("nobody is {role}: {name} holds it, and its lease is over");
        // An alert of before says nothing of what goes on now.
        match watched.alert.filter(|_| watched.state == FailoverState::Electing) {
            Some(alert) => self.rests(role, &why, Some(alert), is_paused),
            None => (VacancyCode::Electing, why, "a successor is being chosen: look again shortly".to_owned()),
        }
    }

    /// Why the automation rests.
    fn rests(&self, role: &RoleName, why: &str, alert: Option<Alert>, is_paused: bool) -> Told {
        match alert {
            Some(Alert::TooMany { until }) => {
                let config = &self.roles.config().failover;
                let (most, window) = (config.promotions_max, config.promotions_window.as_secs());
                let why = format!(
                    "{why}; there were {most} promotions within {window} s, which is the limit (`roles.promotions-max`): none by itself before \
                     {until}"
                );
                (VacancyCode::PromotionsMax, why, format!("look why holders fail, then {}", cure(role)))
            }
            Some(Alert::NoCandidate) => (
                VacancyCode::NoCandidate,
                format!(
                    "{why}; nobody is eligible: all others are dead, not linked, observers, read-only, too far behind or just failed in it"
                ),
                format!(
                    "bring another peer up, or see what it lacks (`oxigdal-ha lag`, `members`): then it is granted by itself; \
                     `oxigdal-ha role move {role} PEER` gives it to one that just failed"
                ),
            ),
            Some(Alert::Unreadable) => (
                VacancyCode::Unreadable,
                format!("{why}; what was decided of it cannot be read by this version"),
                "a newer version wrote it: update this peer".to_owned(),
            ),
            Some(Alert::Held) | None if is_paused => (
                VacancyCode::Held,
                format!("{why}; it is paused, so nobody is promoted without an operator"),
                cure(role),
            ),
            Some(Alert::Held) | None => (
                VacancyCode::Held,
                format!("{why}; `roles.automatic` or `roles.strategy` leaves it to operators whom to promote"),
                format!("`oxigdal-ha role move {role} PEER`"),
            ),
        }
    }

    /// Who grants roles, and so knows their leases.
    pub(super) fn granter(&self, now: Time) -> Option<NodeId> {
        self.consensus.view().known_leader().1.map(|leader| leader.node).or_else(|| self.told_leader(now))
    }

    fn whom_to_ask(&self, now: Now) -> String {
        match self.granter(now.mono) {
            Some(node) if node == self.identity.node => "this peer leads the voters: look again shortly".to_owned(),
            Some(node) => format!(
                "only the voters' leader knows more: ask {} (`oxigdal-ha role list` at its --api)",
                self.name_of(node)
            ),
            None => self.whom_to_bring_back(),
        }
    }

    /// Nobody leads: the voters that this peer does not see.
    fn whom_to_bring_back(&self) -> String {
        let deciders = self.deciders();
        let gone = deciders.members.iter().filter(|it| it.voter && !it.there).map(|it| self.name_of(it.node));
        let gone: Vec<_> = gone.collect();
        let why = "nobody leads the voters, as far as this peer knows, and nobody is granted a role until a majority of them is in reach";
        if gone.is_empty() {
            return format!("{why}: one is elected shortly, if they see each other");
        }
        format!("{why}: bring back {}, which this peer does not see", gone.join(", "))
    }

    /// What people call a node: its name, as far as it is known and not empty, else its id.
    pub(super) fn name_of(&self, node: NodeId) -> String {
        let name = self.membership.view().member(node).map(|member| member.meta.name.clone());
        name.filter(|name| !name.is_empty()).unwrap_or_else(|| node.to_string())
    }
}

/// What gives a role to somebody.
fn cure(role: &RoleName) -> String {
    format!(
        "`oxigdal-ha role resume {role}`: it is granted by the rules again; or `oxigdal-ha role move {role} PEER`: to that peer"
    )
}

//! Decisions that clients ask for here: an action for the voters, wherever they are, with one answer in time.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::edge::{CommandError, Effect, Held, Outcome};
use super::policies::{POLICIES_REGISTER, check_policies};
use super::timers::Timer;
use super::wishes::{WISHES_REGISTER, Wishes};
use super::{Node, Proposed};
use crate::consensus::{
    self, Action, Answer, Expect, Intent, Name, Refusal, Register, RequestId, Says, Standing, Token, TransferError,
    VALUE_MAX, Value,
};
use crate::membership::State;
use crate::roles::{self, Grant, REGISTER_PREFIX, Reason};
use crate::types::{CommandId, Epoch, Index, NodeId, Now, Term, Time, WallTime};

/// Nobody begins an action that was asked for longer ago.
const EXPIRES: Duration = Duration::from_secs(30);

/// Who goes in order hands the lead over first, within this.
const HAND_OVER: Duration = Duration::from_secs(1);
/// Who leads and holds roles has somebody else hold these before, within this and the time of the hooks that end its work.
const SUCCEED: Duration = Duration::from_millis(300);
/// Decisions in one page at most.
const PAGE_MAX: usize = 1_000;

/// Who decides, as far as a peer knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deciders {
    /// What this peer is among them.
    pub standing: Standing,
    /// Who leads them.
    pub leader: Option<NodeId>,
    /// The generation of the group, and the term.
    pub epoch: Epoch,
    /// As a member counts it; of who is none that of the newest decision, or of the leader that it was told of.
    pub term: Term,
    /// The newest decision that is known here.
    pub known: Token,
    /// The voters and learners.
    pub members: Vec<Decider>,
    /// So many voters are needed for a decision.
    pub quorum: usize,
    /// So many may be lost, of all.
    pub tolerates: usize,
    /// So many voters are there, as this peer sees it.
    pub there: usize,
    /// So many of those may be lost still.
    pub tolerates_now: usize,
    /// Who is to vote and who is not, as operators want it.
    #[serde(flatten)]
    pub wishes: Wishes,
}

/// A voter or learner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decider {
    /// The node.
    pub node: NodeId,
    /// Its name, as far as it is known.
    pub name: String,
    /// Whether it votes.
    pub voter: bool,
    /// What this peer thinks of it; nothing if it is no member.
    pub state: Option<State>,
    /// Whether it is there: alive, and linked with this peer if this one is of the group.
    pub there: bool,
    /// What it wishes (`node.priority`), as it says itself; of who is no member the same as `ranks_as`.
    pub priority: u16,
    /// What the voters wrote down of that when it joined them, by which it is elected: 255 stands for all that is more.
    pub ranks_as: u8,
    /// How far it holds the log, as the leader knows; nothing elsewhere.
    pub holds: Option<Index>,
}

/// What an operator wants of the voters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum VotersChange {
    /// This node is to vote: if there is no place, it takes that of a voter whom nobody wants.
    Add {
        /// Which.
        node: NodeId,
    },
    /// This node votes no more, and is not chosen again.
    Remove {
        /// Which.
        node: NodeId,
    },
    /// Somebody else leads.
    Transfer {
        /// Who; by default whoever is first in rank.
        to: Option<NodeId>,
    },
    /// Nobody wishes anything about this node any more.
    Clear {
        /// Which.
        node: NodeId,
    },
}

/// A decision, as peers tell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// Its place.
    pub index: Index,
    /// The generation of the group; with term and place it is the decision's token.
    pub epoch: Epoch,
    /// The term.
    pub term: Term,
    /// Which register it is about; nothing where it is about the voters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub register: Option<String>,
    /// What it sets the register to, if that is text. Without it, `bytes` and `grant` it removes the register.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// How many bytes it sets the register to, if they are no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<usize>,
    /// What they say, of a role's register.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<Granted>,
    /// Who decides from there on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub voters: Vec<NodeId>,
}

/// What was decided of a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Granted {
    /// Who holds it.
    pub holder: Option<NodeId>,
    /// The holder's name, as far as it is known.
    pub name: Option<String>,
    /// Why.
    pub reason: Reason,
    /// By whose wish.
    pub by: String,
    /// No automation touches it.
    pub paused: bool,
    /// The turn was decided before, and goes on: something else about it is.
    pub goes_on: bool,
}

/// Some decisions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decisions {
    /// In their order.
    pub decisions: Vec<Decision>,
    /// Ask behind this one next.
    pub upto: Index,
    /// Some before them are not kept here: the registers say what came of them.
    pub gap: bool,
}

/// Somebody who waits until this peer has gone in order.
#[derive(Debug)]
pub(super) struct Going {
    id: CommandId,
    until: Time,
    /// Somebody else is about to lead.
    hands_over: bool,
    /// It leads on until somebody else holds its roles, but no longer than this: nothing is decided while the lead is handed over.
    leads_until: Option<Time>,
}

impl Going {
    /// Something is done then, whatever is not: it hands the lead over, or goes.
    pub(super) fn until(&self) -> Time {
        self.leads_until.unwrap_or(self.until)
    }

    /// Whether it hands over the lead by now, if it has it.
    pub(super) fn hands_over(&self) -> bool {
        self.leads_until.is_none()
    }
}

/// An action that a client wants decided: a register is to be set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// Which register.
    pub register: String,
    /// What it must hold before.
    pub expect: Expect,
    /// What it is to hold; nothing removes it.
    pub value: Option<Bytes>,
    /// The name under which it was asked before, if it was.
    pub request: Option<RequestId>,
}

/// A client that waits for a decision.
#[derive(Debug)]
struct Client {
    id: CommandId,
    /// For what it asks, if it asks under a name of before: under that, something else may have been decided.
    again: Option<Action>,
}

/// Clients that wait for a decision.
#[derive(Debug, Default)]
pub(super) struct Deciding {
    clients: BTreeMap<RequestId, Client>,
    /// What the voters are to be, of those that asked for that.
    pub(super) wishes: BTreeMap<RequestId, Wishes>,
}

impl Decision {
    /// Of nothing yet.
    fn at(token: Token) -> Self {
        let Token { epoch, term, index } = token;
        let (register, value, bytes, grant, voters) = (None, None, None, None, Vec::new());
        Self { index, epoch, term, register, value, bytes, grant, voters }
    }
}

impl Node {
    /// A client wants something decided.
    pub(super) fn propose(&mut self, now: Now, id: CommandId, proposal: Proposal) -> Result<(), CommandError> {
        let refused = |why: String| CommandError::Proposal { why };
        let Proposal { register, expect, value, request } = proposal;
        if register.starts_with(REGISTER_PREFIX) {
            return Err(refused(
                "registers of roles are set by who grants them: `role move`, `role release`".to_owned(),
            ));
        }
        if register == WISHES_REGISTER {
            return Err(refused("`voters add`, `voters remove` and `voters clear` set this register".to_owned()));
        }
        if register == POLICIES_REGISTER
            && let Some(bytes) = &value
        {
            let wall = now.wall;
            check_policies(bytes, wall).map_err(|why| refused(format!("{POLICIES_REGISTER}: {why}")))?;
        }
        let len = register.len();
        let name = Name::new(&register)
            .ok_or_else(|| refused(format!("a register's name has 1 to {} bytes, this one {len}", Name::LEN_MAX)))?;
        let value = match value {
            None => None,
            Some(bytes) => {
                let len = bytes.len();
                let value = Value::new(bytes);
                Some(value.ok_or_else(|| refused(format!("a value has at most {VALUE_MAX} bytes, this one {len}")))?)
            }
        };
        self.ask_voters(now, id, Action { name, expect, value }, request).map(drop)
    }

    /// Asks the voters for an action, under a name of before or a new one.
    pub(super) fn ask_voters(
        &mut self,
        now: Now,
        id: CommandId,
        action: Action,
        request: Option<RequestId>,
    ) -> Result<RequestId, CommandError> {
        let born = self.consensus.view().known().index;
        let rng = &mut self.shared.rngs.consensus;
        let mut drawn = || RequestId { born, number: u128::from(rng.bits()) << 64 | u128::from(rng.bits()) };
        let is_again = request.is_some();
        let request = request.unwrap_or_else(&mut drawn);
        if self.deciding.clients.contains_key(&request) {
            return Err(CommandError::Proposal { why: "the same request waits for its answer already".to_owned() });
        }
        self.deciding.clients.insert(request, Client { id, again: is_again.then(|| action.clone()) });
        let expires = now.wall.as_micros().saturating_add(u64::try_from(EXPIRES.as_micros()).unwrap_or(u64::MAX));
        let intent = Intent { request, expires: WallTime::from_micros(expires), action };
        self.shared.step(now, |cx| self.consensus.ask(cx, intent, is_again));
        Ok(request)
    }

    /// It has its answer.
    pub(super) fn on_asked(&mut self, request: RequestId, result: Result<Answer, Refusal>) {
        let Some(Client { id, again }) = self.deciding.clients.remove(&request) else { return };
        let wishes = self.deciding.wishes.remove(&request);
        if let (Some(wishes), Ok(Answer::Decided { outcome, .. })) = (wishes, &result) {
            return self.on_wished(id, *outcome, wishes);
        }
        let result = match result {
            Ok(Answer::Decided { token, outcome }) => {
                match again.and_then(|action| self.otherwise(request, token, &action)) {
                    Some(why) => Err(CommandError::Proposal { why }),
                    None => Ok(Outcome::Decided(Proposed { request, token, outcome })),
                }
            }
            Ok(Answer::Unknown) => Err(CommandError::OutcomeUnknown { request }),
            Err(Refusal::NotLeader { leader, epoch, term }) => Err(CommandError::NotLeader { leader, epoch, term }),
            Err(Refusal::NoQuorum) => Err(CommandError::NoQuorum),
            Err(Refusal::Disk(fault)) => Err(CommandError::Disk(fault)),
            Err(other) => Err(CommandError::Proposal { why: other.to_string() }),
        };
        self.shared.effects.push_back(Effect::Reply { id, result });
    }

    /// What was decided there under this name, if it is known here and is about something else: a name is that of one request.
    fn otherwise(&self, request: RequestId, token: Token, action: &Action) -> Option<String> {
        let before = Index::new(token.index.value().checked_sub(1)?);
        let (_, entry) = self.consensus.view().decided(before)?.next().filter(|(at, _)| *at == token.index)?;
        let Says::Act(intent) = &entry.says else { return None };
        let (of, Token { epoch, term, index }) = (&intent.action, token);
        let is_other = intent.request == request && (&of.name, &of.value) != (&action.name, &action.value);
        is_other.then(|| {
            let name = of.name.as_str();
            let decided = format!("another request, about {name:?}, which was decided as {epoch}.{term}.{index}");
            format!("this name belongs to {decided}: nothing was done now; ask for this without the name")
        })
    }
}

/// Whether a peer asks for what nobody asks for: registers of roles are set by the leader alone, and wishes are such that all can read them.
pub(super) fn is_foreign(message: &consensus::Message) -> bool {
    let consensus::Body::Propose { intent } = &message.body else { return false };
    let Action { name, value, .. } = &intent.action;
    let unreadable = |value: &Value| Wishes::read(value.bytes()).is_none();
    name.as_str().starts_with(REGISTER_PREFIX)
        || (name.as_str() == WISHES_REGISTER && value.as_ref().is_none_or(unreadable))
}

impl Node {
    /// What a register holds, as far as is known here.
    pub(super) fn register(&self, name: &str) -> Option<Held> {
        let register = self.consensus.view().registers().get(&Name::new(name)?)?;
        Some(Held { token: register.token, value: register.value.bytes().clone() })
    }

    /// Who decides, as far as this peer knows.
    #[must_use]
    pub fn deciders(&self) -> Deciders {
        let view = self.consensus.view();
        let group = view.deciders();
        let holds: BTreeMap<_, _> = view.progress().map(|(id, matched, _)| (id, matched)).collect();
        let state = |node: NodeId| self.membership.view().member(node).map(|member| member.state);
        let wish = |node: NodeId| self.membership.view().member(node).map(|member| member.meta.priority);
        let is_there = |node: NodeId| {
            let needs_no_link = node == self.identity.node || view.group().is_none();
            state(node) == Some(State::Alive) && (needs_no_link || self.overlay.view().links().contains(&node))
        };
        let members = group.into_iter().flat_map(|group| group.members());
        let members = members.map(|it| Decider {
            node: it.id.node,
            name: self.membership.view().member(it.id.node).map(|member| member.meta.name.clone()).unwrap_or_default(),
            voter: it.voter,
            state: state(it.id.node),
            there: is_there(it.id.node),
            priority: wish(it.id.node).unwrap_or_else(|| it.priority.into()),
            ranks_as: it.priority,
            holds: if it.id == view.id() { Some(view.last().index) } else { holds.get(&it.id).copied() },
        });
        let members: Vec<_> = members.collect();
        let there = members.iter().filter(|it| it.voter && it.there).count();
        let known = view.known();
        let (is_member, (term, leader)) = (view.group().is_some(), view.known_leader());
        Deciders {
            standing: view.standing(),
            leader: leader.map(|leader| leader.node),
            epoch: if is_member { view.epoch() } else { known.epoch },
            term: if is_member { view.term() } else { known.term.max(term) },
            known,
            members,
            there,
            tolerates_now: there.saturating_sub(group.map_or(0, |group| group.quorum())),
            quorum: group.map_or(0, |group| group.quorum()),
            tolerates: group.map_or(0, |group| group.voters().count() - group.quorum()),
            wishes: self.voters.wishes.clone(),
        }
    }

    /// Decisions behind a place.
    pub(super) fn decisions(&self, after: Index, limit: usize) -> Decisions {
        let view = self.consensus.view();
        // A group is founded at place 1: nothing is decided there.
        let gap = after.next() < view.kept_behind();
        let after = after.max(view.kept_behind());
        let (mut upto, mut decisions) = (after, Vec::new());
        let some = view.decided(after).into_iter().flatten();
        for (index, entry) in some.take(limit.clamp(1, PAGE_MAX)) {
            upto = index;
            let token = Token { epoch: view.known().epoch, term: entry.term, index };
            let decision = match &entry.says {
                Says::Office => continue,
                Says::Act(intent) => self.decision(token, &intent.action),
                Says::Group(group) => {
                    let voters = group.voters().map(|voter| voter.id.node).collect();
                    Decision { voters, ..Decision::at(token) }
                }
            };
            decisions.push(decision);
        }
        Decisions { decisions, upto, gap }
    }

    /// An action that was decided. What is no text is not told as if it were: it is read, where it is known how, and else counted.
    fn decision(&self, token: Token, action: &Action) -> Decision {
        let mut told = Decision { register: Some(action.name.as_str().to_owned()), ..Decision::at(token) };
        let Some(value) = &action.value else { return told };
        if action.name.as_str().starts_with(REGISTER_PREFIX) {
            let grant = Grant::of_register(&Register { token, value: value.clone() });
            told.grant = grant.map(|grant| Granted {
                holder: grant.holder,
                name: grant.holder.map(|holder| self.name_of(holder)),
                reason: grant.turn.reason,
                by: grant.turn.by.as_str().to_owned(),
                paused: grant.is_paused,
                goes_on: grant.begun.is_some(),
            });
            told.bytes = Some(value.bytes().len());
            return told;
        }
        match std::str::from_utf8(value.bytes()) {
            Ok(text) => told.value = Some(text.to_owned()),
            Err(_) => told.bytes = Some(value.bytes().len()),
        }
        told
    }

    /// An operator wants the voters changed. Nothing, if the answer comes later.
    pub(super) fn change_voters(
        &mut self,
        now: Now,
        id: CommandId,
        change: VotersChange,
    ) -> Result<Option<Outcome>, CommandError> {
        let VotersChange::Transfer { to } = change else { return self.wish(now, id, change).map(|()| None) };
        let view = self.consensus.view();
        if view.standing() != Standing::Leader {
            let leader = view.known_leader().1.map(|leader| leader.node);
            return Err(CommandError::NotLeader { leader, epoch: view.epoch(), term: view.term() });
        }
        if to == Some(self.identity.node) {
            return Ok(Some(Outcome::Deciders(Box::new(self.deciders()))));
        }
        let at = |node: NodeId| view.group().and_then(|group| group.at(node).next());
        let none = |node: NodeId| match self.membership.view().member(node) {
            Some(_) => CommandError::Proposal { why: format!("{} is no voter: see `voters list`", self.name_of(node)) },
            None => CommandError::UnknownMember { node },
        };
        let to = to.map(|node| at(node).ok_or_else(|| none(node))).transpose()?;
        let mut begun = Ok(());
        self.shared.step(now, |cx| begun = self.consensus.transfer(cx, to).map(|_| ()));
        begun.map_err(|why| CommandError::Proposal { why: self.not_transferred(&why) })?;
        Ok(Some(Outcome::Deciders(Box::new(self.deciders()))))
    }

    /// Why the office is not handed over, in words that name who people know.
    fn not_transferred(&self, why: &TransferError) -> String {
        match why {
            TransferError::NoSuccessor { wanted: Some(id) } => {
                format!("{} cannot take the lead over: it is no voter that was heard lately", self.name_of(id.node))
            }
            TransferError::NoSuccessor { wanted: None } => {
                "nobody can take the lead over: no other voter was heard lately".to_owned()
            }
            other => other.to_string(),
        }
    }

    /// Goodbye: whoever leads, or holds a role, hands over first, so that nothing waits for anybody to find out.
    pub(super) fn leave(&mut self, now: Now, id: CommandId) {
        self.leaving = true;
        self.give_up_roles(now);
        // What ends the work of a role has its time.
        let hooks = self.roles.config().failover.hook_limit;
        // Where nobody else could hold them nothing is waited for.
        let has_heir =
            self.candidates(now.mono).iter().any(|it| it.node != self.identity.node && it.healthy && !it.observer);
        let leads_until = (has_heir && self.leads_what_it_holds()).then(|| now.mono + hooks + SUCCEED);
        let going = Going { id, until: now.mono + HAND_OVER + hooks, hands_over: false, leads_until };
        self.shared.timers.arm(Timer::Voters, going.until());
        self.going = Some(going);
        self.voters.changed = true;
        if leads_until.is_none() {
            self.hand_over_lead(now);
        }
        self.go_if_free(now);
    }

    /// Whether it decides who holds a role that is its own still.
    fn leads_what_it_holds(&self) -> bool {
        let (view, me) = (self.consensus.view(), self.identity.node);
        let mut roles = roles::View::decided(view.registers());
        view.standing() == Standing::Leader && roles.any(|(_, _, grant)| grant.holder == Some(me))
    }

    fn hand_over_lead(&mut self, now: Now) {
        let mut hands_over = self.has_heirs();
        if !hands_over {
            self.shared.step(now, |cx| hands_over = self.consensus.transfer(cx, None).is_ok());
        }
        if let Some(going) = &mut self.going {
            (going.hands_over, going.leads_until) = (hands_over, None);
            self.shared.timers.arm(Timer::Voters, going.until);
        }
        self.voters.changed = true;
    }

    /// Whether all was handed over by now, or cannot be.
    pub(super) fn go_if_free(&mut self, now: Now) {
        if let Some(leads_until) = self.going.as_ref().and_then(|going| going.leads_until) {
            if now.mono < leads_until && self.leads_what_it_holds() {
                return;
            }
            self.hand_over_lead(now);
        }
        let Some(going) = &self.going else { return };
        let leads = going.hands_over && self.consensus.view().standing() == Standing::Leader;
        if now.mono >= going.until || !leads && self.roles.view().is_free() {
            self.gone(now);
        }
    }

    fn gone(&mut self, now: Now) {
        let Some(Going { id, .. }) = self.going.take() else { return };
        self.shared.step(now, |cx| self.membership.leave(cx));
        self.shared.effects.push_back(Effect::Reply { id, result: Ok(Outcome::Left) });
    }
}

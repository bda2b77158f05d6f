//! What the host tells with every input: who leads, what is decided, and who could hold a role.

use std::collections::BTreeMap;

use super::vocabulary::OrderError;
use crate::consensus::{self, Name, Outcome, Register, RequestId, Token};
use crate::failover::Candidate;
use crate::types::{Epoch, Index, NodeId, Term, Time};

/// See the module. A sight that is late does no harm: what leases rest on is [`Mandate::quorum_sent_at`] alone.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// Who leads, as far as is known here; also on peers that are no members of the group.
    pub leader: Option<NodeId>,
    /// This peer's own office, if it leads.
    pub mandate: Option<Mandate>,
    /// Up to where the log is committed, as far as is known here.
    pub commit: Index,
    /// The registers that are decided, as far as is known here.
    pub registers: &'a BTreeMap<Name, Register>,
    /// What came of requests that were decided, as far as is remembered here; nothing where there is nobody to ask.
    pub decisions: Option<consensus::View<'a>>,
    /// All peers that could hold a role, as far as is known here. Only a leader's is looked at.
    pub candidates: &'a [Candidate],
}

impl Sight<'_> {
    /// What came of an order, if something was decided under its name.
    pub(super) fn came_of(&self, id: RequestId) -> Option<Result<Token, OrderError>> {
        let (token, outcome) = self.decisions?.outcome(id)?;
        Some(if outcome == Outcome::Done { Ok(token) } else { Err(OrderError::Overtaken) })
    }
}

/// The office of a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mandate {
    /// The generation of its group.
    pub epoch: Epoch,
    /// Its term.
    pub term: Term,
    /// It has committed something in its term, and so knows all that is decided.
    pub is_settled: bool,
    /// By this peer's clock, since when nobody had led before it, as far as it knows.
    pub unled_since: Time,
    /// By this peer's clock, when it sent the last round of heartbeats of this term that a majority of the voters has answered; its own
    /// answer counts as given at once, so alone it is now. Nothing before the first. Not when they answered: between the two, voters that
    /// answered may have elected somebody else.
    pub quorum_sent_at: Option<Time>,
}

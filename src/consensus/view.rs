//! What others may read of this member.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::log::Entry;
use super::outside::Outside;
use super::state::Register;
use super::vocabulary::{Mark, Name, Outcome, RequestId, Token};
use super::{Consensus, Group, Office};
use crate::types::{Actor, Epoch, Index, Mint, NodeId, Term, Time};

/// A read-only face. Everything in it is as far as this peer knows; only a [`read`](Consensus::read) knows more.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub(super) consensus: &'a Consensus,
}

/// What this peer is in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// In none.
    Outsider,
    /// It takes the log and has no voice.
    Learner,
    /// It has a vote.
    Follower,
    /// It seeks office.
    Candidate,
    /// It leads.
    Leader,
    /// It takes part in nothing any more, until it is started again.
    Halted,
}

impl<'a> View<'a> {
    /// This store's name.
    #[must_use]
    pub fn id(self) -> Actor {
        self.consensus.me
    }

    /// What this peer is.
    #[must_use]
    pub fn standing(self) -> Standing {
        let Some(group) = self.group() else { return Standing::Outsider };
        match self.consensus.office {
            _ if self.consensus.halted.is_some() => Standing::Halted,
            Office::Leader(_) => Standing::Leader,
            Office::PreCandidate(_) | Office::Candidate(_) => Standing::Candidate,
            Office::Follower => match group.member(self.consensus.me) {
                None => Standing::Outsider,
                Some(member) if member.voter => Standing::Follower,
                Some(_) => Standing::Learner,
            },
        }
    }

    /// Whether the disk took all that was given to it.
    #[must_use]
    pub fn is_disk_well(self) -> bool {
        self.consensus.halted.is_none()
    }

    /// Of which group what is known here is; 0 as long as nothing is.
    #[must_use]
    pub fn founding(self) -> Mint {
        self.consensus.known_of().0
    }

    /// The generation of the group.
    #[must_use]
    pub fn epoch(self) -> Epoch {
        self.consensus.epoch
    }

    /// The term.
    #[must_use]
    pub fn term(self) -> Term {
        self.consensus.term
    }

    /// Who leads, as a member of the group sees it.
    #[must_use]
    pub fn leader(self) -> Option<Actor> {
        self.consensus.leader
    }

    /// Since when nobody has led, or had before whoever leads, as far as this member knows.
    #[must_use]
    pub fn unled_since(self) -> Time {
        self.consensus.unled_since
    }

    /// The same, with the term; and in no group what a member said of it.
    #[must_use]
    pub fn known_leader(self) -> (Term, Option<Actor>) {
        self.consensus.known_leader()
    }

    /// Who decides; nothing in no group.
    #[must_use]
    pub fn group(self) -> Option<&'a Arc<Group>> {
        self.consensus.group()
    }

    /// Up to where the log is committed, as far as is known here.
    #[must_use]
    pub fn commit(self) -> Index {
        self.consensus.commit
    }

    /// Where the log ends.
    #[must_use]
    pub fn last(self) -> Mark {
        self.consensus.log.last()
    }

    /// The term of its log's entry at a place, if it is kept.
    #[must_use]
    pub fn term_at(self, index: Index) -> Option<Term> {
        self.consensus.log.term(index)
    }

    /// Of a leader: whether it has committed something in its term, and so knows all that is.
    #[must_use]
    pub fn is_settled(self) -> bool {
        matches!(&self.consensus.office, Office::Leader(lead) if self.consensus.commit >= lead.first)
    }

    /// Of a leader: when it sent the last round of heartbeats that a majority has answered. Its own answer counts as given at once,
    /// so alone that is now. Whoever is elected later is elected after that moment: of those that answered, one votes for it.
    #[must_use]
    pub fn quorum_sent_at(self, now: Time) -> Option<Time> {
        let (Office::Leader(lead), Some(group)) = (&self.consensus.office, self.group()) else { return None };
        let answered = |id| lead.peers.get(&id).map_or(0, |progress| progress.round);
        let me = self.consensus.me;
        match group.reached(|id| if id == me { u64::MAX } else { answered(id) }) {
            u64::MAX => Some(now),
            round => lead.began(round),
        }
    }

    /// Of a leader: how far each other member holds the log, and when it was heard.
    pub fn progress(self) -> impl Iterator<Item = (Actor, Index, Time)> + 'a {
        let lead = if let Office::Leader(lead) = &self.consensus.office { Some(lead) } else { None };
        lead.into_iter().flat_map(|lead| lead.peers.iter()).map(|(id, it)| (*id, it.matched, it.heard_at))
    }

    /// How many voters may be lost while a majority is left.
    #[must_use]
    pub fn tolerates(self) -> usize {
        self.group().map_or(0, |group| group.voters().count() - group.quorum())
    }

    /// What was told from outside of a group, where that is more than is certain here as a member.
    fn outside(self) -> Option<&'a Outside> {
        self.consensus.knows_more().then_some(&self.consensus.outside)
    }

    /// The registers.
    #[must_use]
    pub fn registers(self) -> &'a BTreeMap<Name, Register> {
        self.outside().map_or(&self.consensus.state, Outside::state).registers()
    }

    /// The newest decision that is known here, whether this peer is a member or not.
    #[must_use]
    pub fn known(self) -> Token {
        if let Some(outside) = self.outside() {
            return outside.newest();
        }
        let (epoch, index) = (self.consensus.epoch, self.consensus.commit);
        let term = self.consensus.log.term(index).unwrap_or(self.consensus.snapshot.last.term);
        Token { epoch, term, index }
    }

    /// Who decides, as far as is known here, whether this peer is a member or not.
    #[must_use]
    pub fn deciders(self) -> Option<&'a Arc<Group>> {
        self.group().or_else(|| self.consensus.outside.group())
    }

    /// What came of a request, if that is remembered.
    #[must_use]
    pub fn outcome(self, request: RequestId) -> Option<(Token, Outcome)> {
        self.outside().map_or(&self.consensus.state, Outside::state).sessions().find(request)
    }

    /// Committed entries behind a place, for peers that are no members: they learn what was decided from whoever has it. Nothing if some
    /// of them are no longer kept; then the registers say what came of them.
    #[must_use]
    pub fn decided(self, after: Index) -> Option<impl Iterator<Item = (Index, &'a Entry)>> {
        let log = self.outside().map_or(&self.consensus.log, Outside::log);
        let commit = self.known().index;
        let kept = after >= log.base().index;
        kept.then(|| log.iter_from(after.next()).take_while(move |(at, _)| *at <= commit))
    }

    /// Behind which place decisions are kept here.
    #[must_use]
    pub fn kept_behind(self) -> Index {
        self.outside().map_or(&self.consensus.log, Outside::log).base().index
    }

    /// What this store has promised, and what it holds: equal after two starts from the same log. Nothing in no group.
    #[must_use]
    pub fn promised(self) -> Option<(Actor, Epoch, Term, Option<Actor>, Mark)> {
        let it = self.consensus;
        self.group().map(|_| (it.me, it.epoch, it.term, it.vote, it.log.last()))
    }

    /// The nodes of all members: links to them are wanted.
    pub fn nodes(self) -> impl Iterator<Item = NodeId> + 'a {
        self.group().into_iter().flat_map(|group| group.members().iter().map(|member| member.id.node))
    }
}

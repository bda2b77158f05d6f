//! Changes of the group: one member at a time (Ongaro's dissertation, chapter 4).
//!
//! A change is in force as soon as it is in the log, committed or not. Two that follow each other are safe if the first is committed
//! before the second is begun, and if the leader committed something in its term before: else a change of an earlier leader that nobody
//! knew of could come into force beside ours, and two majorities need not meet (Ongaro, raft-dev, July 2015).

use std::sync::Arc;

use super::group::{Change, Group, GroupError};
use super::log::Says;
use super::vocabulary::{Event, Refusal};
use super::{Consensus, Office};
use crate::machine::Cx;
use crate::types::{Actor, Index};

/// A change that is in the log and not committed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) at: Index,
    pub(super) change: Change,
}

/// Why a change was not begun. Nothing was appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// Not here, or not now.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The group cannot be changed so.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// Another change is not certain yet.
    #[error("another change, at {at}, is not certain yet")]
    Pending {
        /// Where it stands.
        at: Index,
    },
    /// This leader does not know yet what is committed.
    #[error("this leader has not committed anything in its term yet")]
    NewInOffice,
    /// A learner that is not ready would slow down every decision.
    #[error("the learner is {behind} entries behind, or was not heard lately")]
    NotReady {
        /// How many.
        behind: u64,
    },
    /// Fewer than a majority of the voters after it are in reach: nothing could be decided any more.
    #[error("{reached} of the voters after it are in reach, {needed} are needed")]
    WouldLoseQuorum {
        /// Voters that were heard lately.
        reached: usize,
        /// What a majority is.
        needed: usize,
    },
}

impl Consensus {
    /// Wants the group changed. [`Event::ChangeEnded`] comes, once.
    ///
    /// # Errors
    /// [`ChangeError`] says why it was not begun.
    pub fn change(&mut self, cx: &mut Cx<'_, Self>, change: Change) -> Result<(), ChangeError> {
        self.may_lead(cx)?;
        // Whoever rested may find out, when it is roused, that it was cut off.
        self.rouse(cx);
        let Some((at, group)) = self.groups.latest() else { return Err(Refusal::Outsider.into()) };
        if Index::new(at) > self.commit {
            return Err(ChangeError::Pending { at: Index::new(at) });
        }
        let Office::Leader(lead) = &self.office else { return Err(Refusal::NoQuorum.into()) };
        if self.commit < lead.first {
            return Err(ChangeError::NewInOffice);
        }
        let changed = group.changed(change)?;
        if let Change::Promote { id } = change {
            self.check_ready(cx, id)?;
        }
        self.check_quorum_after(cx, &changed)?;
        let at = self.append(cx, Says::Group(Arc::new(changed)));
        if let Office::Leader(lead) = &mut self.office {
            lead.change = Some(Pending { at, change });
        }
        Ok(())
    }

    fn check_ready(&self, cx: &Cx<'_, Self>, id: Actor) -> Result<(), ChangeError> {
        let Office::Leader(lead) = &self.office else { return Ok(()) };
        let behind = self.log.last().index.value().saturating_sub(lead.matched(id).value());
        let has_begun = lead.matched(id) > Index::ZERO;
        if behind > self.config.promote_lag || !has_begun || !self.is_heard(cx, id) {
            return Err(ChangeError::NotReady { behind });
        }
        Ok(())
    }

    fn check_quorum_after(&self, cx: &Cx<'_, Self>, group: &Group) -> Result<(), ChangeError> {
        let reached = group.voters().filter(|voter| self.is_heard(cx, voter.id)).count();
        let needed = group.quorum();
        if reached < needed { Err(ChangeError::WouldLoseQuorum { reached, needed }) } else { Ok(()) }
    }

    /// Whether a member was heard lately. Of somebody who is not led, nothing is known.
    fn is_heard(&self, cx: &Cx<'_, Self>, id: Actor) -> bool {
        let Office::Leader(lead) = &self.office else { return false };
        let heard_at = lead.peers.get(&id).map(|progress| progress.heard_at);
        id == self.me || heard_at.is_some_and(|at| cx.now().mono.since(at) < self.silence_max())
    }

    /// A group is certain.
    pub(super) fn end_change(&mut self, cx: &mut Cx<'_, Self>, index: Index) {
        let Office::Leader(lead) = &mut self.office else { return };
        if let Some(pending) = lead.change.take_if(|pending| pending.at == index) {
            cx.emit(Event::ChangeEnded { change: pending.change, committed: true });
        }
    }
}

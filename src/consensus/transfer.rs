//! Handing over the office, for an orderly end or to who is wished for (Ongaro's dissertation, section 3.10).
//!
//! The successor gets all that is missing; then it is told to seek office at once, and is not refused for the leader being alive.
//! Nothing new is taken on meanwhile. If that takes too long, it did not happen.

use super::message::Body;
use super::vocabulary::{Event, Refusal};
use super::{Consensus, Office};
use crate::machine::Cx;
use crate::types::{Actor, Time};

/// A hand-over under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transfer {
    pub(super) to: Actor,
    until: Time,
    told: bool,
}

/// Why the office is not handed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// Not from here.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No other voter was heard lately, or that one is none.
    #[error("nobody can take the office over: {wanted:?} is no other voter that was heard lately")]
    NoSuccessor {
        /// Who was named.
        wanted: Option<Actor>,
    },
}

impl Consensus {
    /// Hands the office to this voter, or to the first in rank of those that hold most of the log. Then somebody else is elected, or
    /// [`Event::TransferFailed`] comes.
    ///
    /// # Errors
    /// [`TransferError`] says why not. Nothing was changed.
    pub fn transfer(&mut self, cx: &mut Cx<'_, Self>, to: Option<Actor>) -> Result<Actor, TransferError> {
        self.may_lead(cx)?;
        self.rouse(cx);
        let (now, timeout) = (cx.now().mono, self.silence_max());
        let Some(group) = self.group().cloned() else { return Err(Refusal::Outsider.into()) };
        // Whoever rested may find out, when it is roused, that it was cut off.
        let Office::Leader(lead) = &mut self.office else { return Err(Refusal::NoQuorum.into()) };
        let is_able = |id: &Actor| {
            let heard_at = lead.peers.get(id).map(|progress| progress.heard_at);
            *id != self.me && heard_at.is_some_and(|at| now.since(at) < timeout)
        };
        let able = group.voters().map(|voter| voter.id).filter(is_able);
        let chosen = able
            .filter(|id| to.is_none_or(|wanted| wanted == *id))
            .min_by_key(|id| (std::cmp::Reverse(lead.matched(*id)), group.rank(*id, self.me)));
        let to = chosen.ok_or(TransferError::NoSuccessor { wanted: to })?;
        lead.transfer = Some(Transfer { to, until: now + self.config.transfer, told: false });
        self.hand_over(cx);
        Ok(to)
    }

    /// Tells the successor, once it has all.
    pub(super) fn hand_over(&mut self, cx: &mut Cx<'_, Self>) {
        let (head, last) = (self.head(), self.log.last().index);
        let Office::Leader(lead) = &mut self.office else { return };
        let Some(transfer) = lead.transfer else { return };
        if !transfer.told && lead.matched(transfer.to) == last {
            lead.transfer = Some(Transfer { told: true, ..transfer });
            let (node, message) = head.to(transfer.to, Body::Succeed);
            cx.send(node, message);
        }
    }

    pub(super) fn give_up_transfer(&mut self, cx: &mut Cx<'_, Self>) {
        let Office::Leader(lead) = &mut self.office else { return };
        if let Some(transfer) = lead.transfer.take_if(|transfer| cx.now().mono >= transfer.until) {
            cx.emit(Event::TransferFailed { to: transfer.to });
        }
    }
}

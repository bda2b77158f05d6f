//! Founding a group, forming it anew after a disaster, and leaving it.

use std::sync::Arc;

use super::bounded::Blob;
use super::group::{Group, GroupError};
use super::vocabulary::{Event, Mark, Resigned, Timer};
use super::{Config, Consensus, Office, Record, Snapshot};
use crate::machine::Cx;
use crate::types::{Actor, Epoch, Index, Mint, Term};

/// Why a group is not formed. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormError {
    /// This peer is a member of one.
    #[error("this peer is in a group already")]
    InGroup,
    /// This peer is a member of none.
    #[error("this peer is in no group that could be formed anew")]
    Outsider,
    /// The group leaves this peer out.
    #[error("{0:?}, which is this peer, is not among the voters")]
    NotAmongThem(Actor),
    /// There is no such group.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// The generation is not a later one.
    #[error("epoch {wanted} is not after {known}")]
    Epoch {
        /// Which was asked for.
        wanted: Epoch,
        /// Which is in force.
        known: Epoch,
    },
    /// The disk has not answered yet for all that the log holds.
    #[error("the disk has not answered yet for the end of the log; try again")]
    NotDurable,
    /// The store takes no records.
    #[error("this store takes part in nothing any more")]
    Halted,
}

impl Consensus {
    /// Founds a group of these voters, with their priorities. `founding` is drawn once; each of the first voters is told the same words, and
    /// nobody else ever: an empty store is no reason to found anything.
    ///
    /// # Errors
    /// [`FormError`] says why not.
    pub fn found(&mut self, cx: &mut Cx<'_, Self>, founding: Mint, voters: &[(Actor, u8)]) -> Result<(), FormError> {
        if self.halted.is_some() {
            return Err(FormError::Halted);
        }
        if self.group().is_some() {
            return Err(FormError::InGroup);
        }
        let group = Arc::new(Group::of(voters)?);
        if !group.is_voter(self.me) {
            return Err(FormError::NotAmongThem(self.me));
        }
        // The group stands in an entry that is there before any other: all begin with the same log.
        let last = Mark { term: Term::new(1), index: Index::new(1) };
        let state = Blob::new(self.state.encode()).expect("nothing is in it");
        let snapshot = Snapshot { founding, epoch: Epoch::new(1), last, group, state };
        self.take_on(cx, snapshot);
        self.begin(cx);
        Ok(())
    }

    /// Forms the group anew, of this store alone, in a later generation: the majority of the old one is lost for good, and an operator
    /// says so. All that the log holds here is decided by that, also what was not; whatever others held beyond it is lost.
    /// Frames of the old generation are refused from now on. The others join as learners, under new names, once an operator
    /// has made them [`withdraw`](Self::withdraw): this store alone is no majority of theirs, and is not believed that they are of the past. So
    /// it is with peers that are no members and know the old generation, until they start anew.
    ///
    /// # Errors
    /// [`FormError`] says why not.
    pub fn reform(&mut self, cx: &mut Cx<'_, Self>, epoch: Epoch, priority: u8) -> Result<(), FormError> {
        if self.halted.is_some() {
            return Err(FormError::Halted);
        }
        if self.group().is_none() {
            return Err(FormError::Outsider);
        }
        if epoch <= self.epoch {
            return Err(FormError::Epoch { wanted: epoch, known: self.epoch });
        }
        if !self.durable.is_idle() {
            return Err(FormError::NotDurable);
        }
        let group = Arc::new(Group::of(&[(self.me, priority)])?);
        self.resign(cx, Resigned::Withdrawn);
        self.follow(cx, None);
        self.office = Office::Follower;
        self.commit_to(cx, self.log.last().index);
        let state = Blob::new(self.state.encode()).expect("registers and outcomes are bounded");
        let last = self.log.last();
        self.take_on(cx, Snapshot { founding: self.founding, epoch, last, group, state });
        self.begin(cx);
        Ok(())
    }

    fn take_on(&mut self, cx: &mut Cx<'_, Self>, snapshot: Snapshot) {
        let snapshot = Arc::new(snapshot);
        self.take_snapshot(snapshot.clone(), self.state.clone());
        self.incoming = None;
        self.write(cx, Record::Snapshot(snapshot));
        self.enter_group(cx);
    }

    /// Leaves its group, if it is in one, and forgets all of it: replaced, or after its memory was lost. What it holds is no longer
    /// counted by anybody, so it has a new name from now on, under which it may be added as a learner.
    pub fn withdraw(&mut self, cx: &mut Cx<'_, Self>) {
        if self.halted.is_some() {
            return;
        }
        self.resign(cx, Resigned::Withdrawn);
        self.follow(cx, None);
        self.rename(cx);
    }

    /// It was removed from its group, and goes on as one that is told what is decided: what it knew of that it knows still, and whoever holds a role by it
    /// may hold it on.
    pub fn leave_group(&mut self, cx: &mut Cx<'_, Self>) {
        if self.halted.is_none() && self.group().is_some() {
            self.outside = self.as_known_outside();
            self.withdraw(cx);
            self.choose_source(cx);
        }
    }

    /// Draws a new name, and is in no group under it.
    pub(super) fn rename(&mut self, cx: &mut Cx<'_, Self>) {
        let mint = Mint::new(cx.rng().bits().max(1));
        self.forget(mint);
        self.durable.forget();
        self.lose_leader(cx.now().mono);
        self.write(cx, Record::Named { mint });
        cx.disarm(Timer::Election);
        cx.emit(Event::Named { id: self.me });
        self.wait_for_greeting(cx);
    }

    /// As if it had never been in a group. What is known from outside of one stays known.
    pub(super) fn forget(&mut self, mint: Mint) {
        let config: Config = self.config.clone();
        let durable = std::mem::take(&mut self.durable);
        let (links, subscribers) = (std::mem::take(&mut self.links), std::mem::take(&mut self.subscribers));
        let (asking, outside) = (std::mem::take(&mut self.asking), std::mem::take(&mut self.outside));
        let fresh = Self::new(self.me.node, config);
        *self = Self { durable, links, subscribers, asking, outside, me: Actor { mint, ..self.me }, ..fresh };
    }
}

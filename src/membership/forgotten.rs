//! Members that were forgotten because somebody asked for it.
//!
//! A dead member is remembered for a day, so that it can be told when it comes back, and so that nobody takes an old word of it for
//! news. Whoever knows that it does not come back need not look at it for so long. But the others remember it, and would tell of
//! it again: what they say of the life that was forgotten, or of one before, is passed over for as long as they may say it. A new
//! life of it, or its own word, is heard as ever.

use std::collections::BTreeMap;

use super::message::Update;
use super::table::Slot;
use super::{Membership, State};
use crate::machine::Cx;
use crate::types::{Boot, Incarnation, NodeId, Time};

/// Most members that are remembered as forgotten. Of more, the one that would be over first is told of again.
const FORGOTTEN_MAX: usize = 1_024;

/// Why a member was not forgotten. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForgetError {
    /// Nobody of this id is known.
    #[error("there is no member {node}")]
    Unknown {
        /// The id.
        node: NodeId,
    },
    /// It is this node itself, or alive, or only suspected, or there is a link with it.
    #[error("{node} is {state:?} here, or linked: only who is dead or has left can be forgotten")]
    Present {
        /// Who.
        node: NodeId,
        /// What is thought of it.
        state: State,
    },
}

/// Who was forgotten.
#[derive(Clone, Debug, Default)]
pub(super) struct Forgotten {
    /// In which life and at which incarnation, and until when others may remember it.
    members: BTreeMap<NodeId, ((Boot, Incarnation), Time)>,
}

impl Forgotten {
    fn add(&mut self, id: NodeId, rank: (Boot, Incarnation), until: Time) {
        if self.members.len() >= FORGOTTEN_MAX
            && let Some(first) = self.members.iter().min_by_key(|(_, (_, until))| *until).map(|(id, _)| *id)
        {
            self.members.remove(&first);
        }
        self.members.insert(id, (rank, until));
    }

    /// Whether this says nothing that was not known when its subject was forgotten.
    pub(super) fn covers(&mut self, from: NodeId, update: &Update, now: Time) -> bool {
        self.members.retain(|_, (_, until)| *until > now);
        let said = (update.boot, update.incarnation);
        let known = self.members.get(&update.id).is_some_and(|(rank, _)| said <= *rank);
        if !known {
            self.members.remove(&update.id);
        }
        known && from != update.id
    }
}

impl Membership {
    /// Forgets a member that is dead or has left before its time. Others remember it, and are not heard about it.
    ///
    /// # Errors
    /// [`ForgetError`]: it is not known, or may still be there.
    pub fn forget(&mut self, cx: &mut Cx<'_, Self>, node: NodeId) -> Result<(), ForgetError> {
        let slot = self.table.slot(node).ok_or(ForgetError::Unknown { node })?;
        let (entry, now) = (self.table.entry(slot), cx.now().mono);
        if slot == Slot::ME || entry.is_present() || entry.linked {
            return Err(ForgetError::Present { node, state: entry.member.state });
        }
        // Others may have heard of it later than we, and count from there.
        let until = now + self.kept(entry.claim);
        self.forgotten.add(node, (entry.member.boot, entry.member.incarnation), until);
        self.table.forget_one(slot);
        self.drop_slot(cx, slot);
        Ok(())
    }
}

//! Which stores of voters may have forgotten what they promised, on ground truth: no protocol among them can bear that.
//!
//! A disk that is put back to an image, or that lost a write unseen, looks whole to its peer: it may vote again in a term in which it voted, and lack what
//! it acknowledged. That is no defect of consensus. A disk that is empty, or whose damage is found, is: such a store takes part anew.

use std::collections::BTreeSet;

use super::Sight;
use crate::consensus;
use crate::node::Event;

/// See the module.
#[derive(Default)]
pub(super) struct Trust {
    /// Machines whose store was a member of the group.
    members: BTreeSet<u32>,
    broken: bool,
}

impl Trust {
    /// A node told something.
    pub(super) fn on_event(&mut self, sight: &Sight<'_>, who: u32, event: &Event) {
        match event {
            Event::Consensus(consensus::Event::Elected { .. }) => _ = self.members.insert(who),
            Event::Consensus(consensus::Event::Changed { group, .. }) => {
                self.members.extend(group.members().iter().filter_map(|member| sight.place(member.id.node)));
            }
            _ => {}
        }
    }

    /// What this machine's disk holds is not what it held, and its peer may not see that.
    pub(super) fn on_forgotten(&mut self, who: u32) {
        self.broken |= self.members.contains(&who);
    }

    /// Whether some member has forgotten something.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }
}

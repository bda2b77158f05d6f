//! Which stores of voters may have forgotten what they promised, on ground truth: no protocol among them can bear that.
//!
//! A disk that is put back to an image looks whole to its peer: it may vote again in a term in which it voted, and lack what it acknowledged. That is no
//! defect of consensus. Nor is it one when a disk said of a write that it was durable and never wrote it: that looks like the write that a power cut
//! tore, which was promised to nobody. A disk that is empty or damaged otherwise is no excuse: whoever starts on it must see that, and take part anew.

use std::collections::BTreeSet;

use crate::consensus;
use crate::node::Event;
use crate::sim::host::Host;
use crate::sim::world::place_in;

/// See the module.
#[derive(Debug, Default)]
pub(in crate::sim) struct Trust {
    /// Machines whose store was a member of the group.
    members: BTreeSet<u32>,
    broken: bool,
}

impl Trust {
    /// A node told something.
    pub(in crate::sim) fn on_event(&mut self, hosts: &[Host], who: u32, event: &Event) {
        match event {
            Event::Consensus(consensus::Event::Elected { .. }) => _ = self.members.insert(who),
            Event::Consensus(consensus::Event::Changed { group, .. }) => {
                self.members.extend(group.members().iter().filter_map(|member| place_in(hosts, member.id.node)));
            }
            _ => {}
        }
    }

    /// What this machine's disk holds is what it held once, or lacks what it said it held; its peer may not see that.
    pub(in crate::sim) fn on_forgot(&mut self, who: u32) {
        self.broken |= self.members.contains(&who);
    }

    /// Whether some member has forgotten something.
    pub(in crate::sim) fn is_broken(&self) -> bool {
        self.broken
    }
}

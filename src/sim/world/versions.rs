//! Peers of the next version: what is installed at a peer changes while its process does not run, so each change is a restart.
//!
//! The next version is this one behind another name: it says a higher version of itself, sends frames that only its like knows
//! beside those that it means, and may end with a record in its log that only its like reads. So the rules of
//! [`wire`](crate::wire) and of the log are tried, and no second version has to be built.

use super::super::check::Sight;
use super::super::plan::Fault;
use super::damage::REPAIR_NS;
use super::{Due, World};
use crate::node::BootError;

impl World<'_> {
    /// The next version is installed at a peer.
    pub(super) fn upgrade(&mut self, item: usize, place: u32) {
        self.wrong(item, place);
        let host = self.host(place);
        (host.is_next, host.next_frames) = (true, host.next_frames.max(host.next_version()));
        if self.end_for_a_change(place) {
            self.acted(item);
            self.start(place);
        }
    }

    /// This version is installed at it again; what the next one has written it may refuse.
    pub(super) fn downgrade(&mut self, place: u32, writes: bool) {
        let config = self.scenario.config_at(place).wal.clone();
        let host = self.host(place);
        if host.wrong(|fault| matches!(fault, Fault::NextVersion { .. })).is_some() {
            return;
        }
        host.is_next = false;
        if self.end_for_a_change(place) {
            let host = self.host(place);
            if writes && !host.damaged && !host.disk.is_poisoned() {
                host.disk.leave_newer(host.id, config);
            }
            self.start(place);
        }
    }

    /// An orderly end of the process, unless none runs, or one that is about to end anyway.
    fn end_for_a_change(&mut self, place: u32) -> bool {
        let host = self.host(place);
        let ends = host.runs() && host.down_by.is_none();
        if ends {
            self.shut_down(place);
        }
        ends
    }

    /// This version does not start from what the next one wrote: its operator installs that one again.
    pub(super) fn refused_newer(&mut self, place: u32, error: &BootError) {
        let sight = Sight::new(&self.mesh, self.scenario);
        let verdict = self.checks.on_refused_newer(&sight, place, error);
        self.judge(verdict);
        let host = self.host(place);
        host.is_next = true;
        let epoch = host.epoch;
        self.figures.refused_newer += 1;
        self.queue.push(self.mesh.now + REPAIR_NS, self.cause, Due::Repair { host: place, epoch });
    }
}

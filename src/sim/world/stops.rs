//! Stops and starts of machines, and what their disks are put back to.

use std::collections::BTreeSet;

use super::super::check::Sight;
use super::super::disk::{Disk, Model, Stop};
use super::super::host::Life;
use super::super::part::Piece;
use super::{Due, World, node_id};
use crate::overlay::Policies;

/// From the goodbye to the end of the process: the frames must leave.
const GOODBYE_NS: u64 = 200_000_000;

/// What is on a machine's disk.
#[derive(Debug)]
pub(super) struct Image {
    disk: Disk,
    /// It was not what had been written even then.
    damaged: bool,
    /// Which of the machines that stood there it was.
    identity: u32,
    /// The peers that the driver remembers.
    book: BTreeSet<u32>,
    policies: Policies,
}

impl World<'_> {
    /// An image is taken of a disk, while it is in use.
    pub(super) fn image(&mut self, item: usize) {
        let Some(peer) = self.mesh.plan.items[item].fault.peer() else { return };
        let host = self.host(peer);
        let identity = host.identity;
        let image = Image {
            disk: host.disk.clone(),
            damaged: host.damaged,
            identity,
            book: host.book.clone(),
            policies: host.policies.clone(),
        };
        self.images.insert(item, image);
        self.checks.on_imaged(peer, item);
    }

    pub(super) fn wipe(&mut self, item: usize, peer: u32) {
        if !self.affords(item, peer) {
            return;
        }
        self.stop(item, peer, Stop::PowerLoss, None);
        self.empty(peer);
    }

    /// Another machine stands where this one stood.
    pub(super) fn replace(&mut self, item: usize, peer: u32) {
        if !self.affords(item, peer) {
            return;
        }
        self.stop(item, peer, Stop::PowerLoss, None);
        self.empty(peer);
        let host = self.host(peer);
        host.identity += 1;
        host.id = node_id(peer, host.identity);
        self.checks.on_replaced(peer);
    }

    pub(super) fn roll_back(&mut self, item: usize, peer: u32) {
        // The image is of another machine: nobody puts it into this one.
        if self.images.get(&item).is_none_or(|image| image.identity != self.mesh.hosts[peer as usize].identity) {
            self.mesh.active[item] = false;
            return;
        }
        if !self.affords(item, peer) {
            return;
        }
        self.stop(item, peer, Stop::PowerLoss, None);
        self.put_back(item, peer);
    }

    /// A machine gets an empty disk.
    pub(super) fn empty(&mut self, place: u32) {
        let host = self.host(place);
        host.disk.wipe();
        host.book.clear();
        host.policies = Policies::default();
        host.damaged = false;
        self.checks.on_wiped(place);
    }

    /// A peer whose process ends while it writes.
    pub(super) fn strike(&mut self, item: usize) {
        let Some(peer) = self.mesh.plan.items[item].fault.peer().filter(|_| self.mesh.active[item]) else { return };
        let host = self.host(peer);
        if host.disk.open_writes() > 0 {
            host.wrongs.retain(|(of, _)| *of != item);
            self.stop(item, peer, Stop::Crash, None);
        }
    }

    /// The disk is what it was when the image was taken. Nobody tells the peer.
    fn put_back(&mut self, item: usize, place: u32) {
        let Some(Image { disk, damaged, book, policies, .. }) = self.images.remove(&item) else { return };
        let (says, luck) = (&self.scenario.says.disk, self.draws.image);
        let (model, torn) = (says.model, says.torn.0);
        let number = self.mesh.plan.number_of(Piece::Fault(item));
        let host = self.host(place);
        host.disk.put_back(disk, model, torn, luck, u64::from(place), number);
        (host.damaged, host.book, host.policies) = (damaged, book, policies);
        self.mesh.trust.on_forgot(place);
        self.checks.on_put_back(place, item);
        if damaged {
            self.checks.on_damaged(place);
        }
    }

    /// The process ends, unless none runs.
    pub(super) fn stop(&mut self, item: usize, place: u32, how: Stop, model: Option<Model>) {
        if !self.host(place).runs() {
            self.mesh.active[item] = false;
            return;
        }
        let verdict = self.checks.on_stopping(&Sight::new(&self.mesh, self.scenario), place);
        self.judge(verdict);
        self.acted(item);
        self.hang_up(place, how == Stop::PowerLoss);
        self.check_astray(place);
        self.guest_ends(place);
        let (now, luck) = (self.mesh.now, self.draws.stop);
        let disk = &self.scenario.says.disk;
        let (model, torn) = (model.unwrap_or(disk.model), disk.torn.0);
        let host = self.host(place);
        let counter = u64::from(host.epoch);
        let changed = host.disk.stop(how, model, torn, luck, u64::from(place), counter);
        host.life = Life::Off;
        host.forget(now);
        // Whoever was about to leave ails already.
        if host.down_by.replace(item).is_none() {
            host.ails();
        }
        (host.down_since, host.dark) = (Some(now), how == Stop::PowerLoss);
        self.figures.stops += 1;
        if changed {
            self.damaged(place);
        }
    }

    pub(super) fn restart(&mut self, item: usize, place: u32) {
        let now = self.mesh.now;
        let host = self.host(place);
        if host.down_by != Some(item) {
            return;
        }
        host.heals(now);
        host.dark = false;
        if host.runs() {
            // It was asked to leave and has not answered yet: it is stopped now, and starts again.
            self.shut_down(place);
        }
        self.start(place);
    }

    /// A peer whose log takes no writes is stopped and started again.
    pub(super) fn reopen(&mut self, item: usize, place: u32) {
        if self.host(place).node().is_some() {
            self.stop(item, place, Stop::Crash, None);
            self.restart(item, place);
        }
    }

    /// The goodbye is said: the process ends.
    pub(super) fn left(&mut self, place: u32) {
        self.host(place).leaving = true;
        let (at, epoch) = (self.host(place).busy_until + GOODBYE_NS, self.host(place).epoch);
        self.queue.push(at, self.cause, Due::Gone { host: place, epoch });
    }

    pub(super) fn gone(&mut self, place: u32, epoch: u32) {
        if self.host(place).epoch == epoch {
            self.shut_down(place);
        }
    }

    /// An orderly end: what was written is synced, links are closed.
    pub(super) fn shut_down(&mut self, place: u32) {
        let verdict = self.checks.on_stopping(&Sight::new(&self.mesh, self.scenario), place);
        self.judge(verdict);
        self.hang_up(place, false);
        self.check_astray(place);
        let now = self.mesh.now;
        let host = self.host(place);
        // One that runs already serves what was written before it began, and no more.
        while host.disk.open_writes() > 0 {
            host.disk.start_sync();
            host.disk.finish_sync();
        }
        let changed = host.disk.uncover();
        host.life = Life::Off;
        host.forget(now);
        (host.down_since, host.leaving) = (Some(now), false);
        self.guest_ends(place);
        if changed {
            self.damaged(place);
        }
    }
}

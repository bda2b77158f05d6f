//! Faults: the items of the plan begin and end, and the calm ends what is not permanent.

use std::collections::BTreeSet;

use super::super::check::Sight;
use super::super::disk::{Disk, Stop};
use super::super::host::{Asked, Life};
use super::super::part::Piece;
use super::super::plan::Fault;
use super::super::witness::Seen;
use super::{Due, World};
use crate::node::{Command, Input};
use crate::overlay::Policies;
use crate::replication::Pause;

/// What is on a machine's disk.
#[derive(Debug)]
pub(super) struct Image {
    disk: Disk,
    /// The peers that the driver remembers.
    book: BTreeSet<u32>,
    policies: Policies,
}

impl World<'_> {
    pub(super) fn begin(&mut self, item: usize) {
        let says = self.mesh.plan.items[item].clone();
        self.mesh.active[item] = true;
        self.figures.faults += 1;
        if let Some(until) = says.until {
            self.queue.push(until, self.cause, Due::End { item });
        }
        if let Some(peer) = says.fault.peer() {
            self.note(peer, &says.fault);
        }
        self.seen(says.fault.peer().unwrap_or_default(), &Seen::Begins { item, says: &says });
        let kind = super::super::words::family(&says.fault);
        *self.figures.faults_of.entry(kind).or_default() += 1;
        let now = self.mesh.now;
        match says.fault {
            Fault::Crash { peer } => self.stop(item, peer, Stop::Crash),
            Fault::PowerLoss { peer } => self.stop(item, peer, Stop::PowerLoss),
            Fault::Wipe { peer } => {
                self.stop(item, peer, Stop::PowerLoss);
                self.host(peer).disk.wipe();
                self.host(peer).book.clear();
                self.host(peer).policies = Policies::default();
                self.checks.on_wiped(peer);
            }
            Fault::RollBack { peer, .. } => {
                self.stop(item, peer, Stop::PowerLoss);
                self.put_back(item, peer);
            }
            Fault::Leave { peer } => {
                if self.host(peer).node().is_some() && self.host(peer).down_by.is_none() {
                    self.host(peer).down_by = Some(item);
                    self.host(peer).ails();
                    let id = self.host(peer).ask(Asked::Leave);
                    self.feed(peer, Input::Command { id, command: Command::Leave });
                } else {
                    self.mesh.active[item] = false;
                }
            }
            Fault::Pause { peer } => {
                let host = self.host(peer);
                host.pauses += 1;
                host.paused_since.get_or_insert(now);
                host.ails();
                let links = self.mesh.net.links(peer).map(|(other, conn)| (peer, other, conn)).collect();
                self.silenced(links);
            }
            Fault::Slow { peer, factor } => {
                self.host(peer).slow.push((item, factor));
                self.host(peer).ails();
            }
            Fault::SlowDisk { peer, factor } => self.host(peer).slow_disk.push((item, factor)),
            Fault::FullDisk { peer } => {
                let disk = &mut self.host(peer).disk;
                disk.capacity = Some(disk.used());
            }
            Fault::FailingDisk { peer } => self.host(peer).disk.fail_next_sync = true,
            Fault::Cut { from, to, one_way } => {
                self.cut_off(&from, &to).iter().for_each(|peer| self.host(*peer).ails());
                let links = self.mesh.net.cut(now, item, &from, &to, one_way);
                self.silenced(links);
            }
            Fault::Hold { peer, whom } => self.hold(peer, whom, true),
            Fault::Loss { ppm } => self.mesh.net.loss += ppm,
            Fault::ClockStep { peer, by_us } => self.host(peer).clock.step(by_us),
            Fault::LoseChange { peer } => self.host(peer).loses_change = true,
            Fault::Garble { peer, ppm } => {
                self.host(peer).garbles.push((item, ppm));
                self.host(peer).ails();
            }
        }
    }

    pub(super) fn end(&mut self, item: usize) {
        if !std::mem::take(&mut self.mesh.active[item]) {
            return;
        }
        let now = self.mesh.now;
        let says = self.mesh.plan.items[item].clone();
        self.seen(says.fault.peer().unwrap_or_default(), &Seen::Ends { item, says: &says });
        match says.fault {
            Fault::Crash { peer }
            | Fault::PowerLoss { peer }
            | Fault::Wipe { peer }
            | Fault::RollBack { peer, .. }
            | Fault::Leave { peer } => self.restart(item, peer),
            Fault::Pause { peer } => {
                let host = self.host(peer);
                host.pauses -= 1;
                host.heals(now);
                if host.pauses == 0 {
                    host.paused_since = None;
                    self.unpause(peer);
                }
            }
            Fault::Slow { peer, .. } => {
                self.host(peer).slow.retain(|(of, _)| *of != item);
                self.host(peer).heals(now);
            }
            Fault::SlowDisk { peer, .. } => self.host(peer).slow_disk.retain(|(of, _)| *of != item),
            // Space returns, but what failed stays failed until the log is opened again: the operator restarts the peer.
            Fault::FullDisk { peer } => {
                let capacity = self.scenario.says.disk.capacity.map(|size| size.0);
                self.host(peer).disk.capacity = capacity;
                self.reopen(item, peer);
            }
            Fault::FailingDisk { peer } => {
                self.host(peer).disk.fail_next_sync = false;
                self.reopen(item, peer);
            }
            Fault::Cut { from, to, .. } => {
                self.cut_off(&from, &to).iter().for_each(|peer| self.host(*peer).heals(now));
                self.spread.on_healed(now);
                for (at, frame) in self.mesh.net.heal(now, item) {
                    self.queue.push(at, self.cause, Due::Frame(frame));
                }
            }
            Fault::Hold { peer, whom } => self.hold(peer, whom, false),
            Fault::Loss { ppm } => self.mesh.net.loss -= ppm,
            Fault::ClockStep { peer, by_us } => self.host(peer).clock.step(-by_us),
            Fault::LoseChange { peer } => self.host(peer).loses_change = false,
            Fault::Garble { peer, .. } => {
                self.host(peer).garbles.retain(|(of, _)| *of != item);
                self.host(peer).heals(now);
            }
        }
    }

    /// The operator pauses a replica, or resumes it. Of a peer that is down it is asked in vain.
    fn hold(&mut self, place: u32, whom: u32, paused: bool) {
        let peer = self.mesh.hosts[whom as usize].id;
        if self.host(place).node().is_some() {
            let id = self.host(place).ask(Asked::Hold);
            self.feed(place, Input::Command { id, command: Command::Pause(Pause { peer, paused }) });
        }
    }

    /// An image is taken of a disk, while it is in use.
    pub(super) fn image(&mut self, item: usize) {
        let Some(peer) = self.mesh.plan.items[item].fault.peer() else { return };
        let host = self.host(peer);
        let image = Image { disk: host.disk.clone(), book: host.book.clone(), policies: host.policies.clone() };
        self.images.insert(item, image);
        self.checks.on_imaged(peer, item);
    }

    /// The disk is what it was when the image was taken. Nobody tells the peer.
    fn put_back(&mut self, item: usize, place: u32) {
        let Some(Image { disk, book, policies }) = self.images.remove(&item) else { return };
        let (says, luck) = (&self.scenario.says.disk, self.draws.image);
        let (model, torn) = (says.model, says.torn.0);
        let number = self.mesh.plan.number_of(Piece::Fault(item));
        let host = self.host(place);
        host.disk.put_back(disk, model, torn, luck, u64::from(place), number);
        (host.book, host.policies) = (book, policies);
        self.checks.on_put_back(place, item);
    }

    /// The peers that a cut makes unwell: the smaller side if it is small, else both.
    fn cut_off(&self, from: &[u32], to: &[u32]) -> Vec<u32> {
        if from.len() * 4 <= to.len() {
            from.to_vec()
        } else if to.len() * 4 <= from.len() {
            to.to_vec()
        } else {
            from.iter().chain(to).copied().collect()
        }
    }

    /// The process ends, unless none runs.
    fn stop(&mut self, item: usize, place: u32, how: Stop) {
        if !self.host(place).runs() {
            self.mesh.active[item] = false;
            return;
        }
        let verdict = self.checks.on_stopping(&Sight::new(&self.mesh, self.scenario), place);
        self.judge(verdict);
        self.hang_up(place, how == Stop::PowerLoss);
        let (now, luck) = (self.mesh.now, self.draws.stop);
        let disk = &self.scenario.says.disk;
        let (model, torn) = (disk.model, disk.torn.0);
        let host = self.host(place);
        let counter = u64::from(host.epoch);
        host.disk.stop(how, model, torn, luck, u64::from(place), counter);
        host.life = Life::Off;
        host.forget(now);
        // Whoever was about to leave ails already.
        if host.down_by.replace(item).is_none() {
            host.ails();
        }
        (host.down_since, host.dark) = (Some(now), how == Stop::PowerLoss);
        self.figures.stops += 1;
    }

    fn restart(&mut self, item: usize, place: u32) {
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
    fn reopen(&mut self, item: usize, place: u32) {
        if self.host(place).node().is_some() {
            self.stop(item, place, Stop::Crash);
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
    fn shut_down(&mut self, place: u32) {
        let verdict = self.checks.on_stopping(&Sight::new(&self.mesh, self.scenario), place);
        self.judge(verdict);
        self.hang_up(place, false);
        let now = self.mesh.now;
        let host = self.host(place);
        host.disk.start_sync();
        host.disk.finish_sync();
        host.life = Life::Off;
        host.forget(now);
        (host.down_since, host.leaving) = (Some(now), false);
    }

    /// Faults are over: what is not permanent ends now.
    pub(super) fn calm(&mut self) {
        for item in 0..self.mesh.active.len() {
            if self.mesh.active[item] && !self.mesh.plan.items[item].permanent {
                self.end(item);
            }
        }
    }
}

/// From the goodbye to the end of the process: the frames must leave.
const GOODBYE_NS: u64 = 200_000_000;

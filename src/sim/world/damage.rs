//! Damage to disks, how much of it the mesh can afford, and what an operator does about it.
//!
//! With a budget a fault that destroys what a disk holds happens only while every log of that disk is held as far by another
//! one that is whole: TigerBeetle's fault atlas. So what is lost in the end is always a defect.

use super::super::check::Sight;
use super::super::disk::{Model, Stop};
use super::super::host::Life;
use super::super::plan::Fault;
use super::{Due, SECOND, World};
use crate::node::BootError;
use crate::types::{DiskFault, DiskFaultKind};

/// From a log that is refused to a new disk, or to the next try.
pub(super) const REPAIR_NS: u64 = 2 * SECOND;

impl World<'_> {
    /// Whether what this disk holds may be destroyed. If not, the item does not happen.
    pub(super) fn affords(&mut self, item: usize, place: u32) -> bool {
        let affords = self.is_held_elsewhere(place);
        if !affords {
            self.mesh.active[item] = false;
            self.figures.spared += 1;
        }
        affords
    }

    /// Whether another disk that is whole holds each log as far as this one; always, without a budget.
    fn is_held_elsewhere(&self, place: u32) -> bool {
        if !self.scenario.says.budget.copies {
            return true;
        }
        let hosts = &self.mesh.hosts;
        let Some(node) = hosts[place as usize].node() else { return false };
        let others =
            (0..).zip(hosts).filter(|(other, host)| *other != place && !host.damaged && !host.disk.has_astray());
        let held: Vec<_> = others.filter_map(|(_, host)| host.node()).map(|node| node.replication().vector()).collect();
        node.replication().vector().iter().all(|(log, seq)| held.iter().any(|vector| vector.of(log) >= seq))
    }

    /// A bit of a disk rots, unseen.
    pub(super) fn rot(&mut self, item: usize, place: u32, bits: u64) {
        if self.affords(item, place) && self.host(place).disk.rot(bits) {
            self.acted(item);
            self.damaged(place);
        }
    }

    /// Before the writes of a process that went astray are seen: whether the mesh can bear it.
    pub(super) fn check_astray(&mut self, place: u32) {
        if self.host(place).disk.has_astray() && !self.is_held_elsewhere(place) {
            self.host(place).disk.forgive_astray();
            self.figures.spared += 1;
        }
    }

    /// A disk does not hold what it held.
    pub(super) fn damaged(&mut self, place: u32) {
        self.host(place).damaged = true;
        self.checks.on_damaged(place);
        let astray = |fault: &Fault| matches!(fault, Fault::LostWrite { .. } | Fault::MisdirectedWrite { .. });
        let items = &self.mesh.plan.items;
        let began = items.iter().enumerate().filter(|(_, item)| item.at <= self.mesh.now);
        let of: Vec<usize> = began
            .filter(|(_, item)| item.fault.peer() == Some(place) && astray(&item.fault))
            .map(|(item, _)| item)
            .collect();
        if of.iter().any(|item| matches!(items[*item].fault, Fault::LostWrite { .. })) {
            self.mesh.trust.on_forgot(place);
        }
        self.acted.extend(of);
    }

    /// A process gave its log up. Where a fault is the cause an operator does something about it; else it is a defect.
    pub(super) fn refused(&mut self, place: u32, error: &BootError) {
        let failing = |fault: &Fault| {
            matches!(fault, Fault::UnreadableDisk { .. } | Fault::FullDisk { .. } | Fault::FailingDisk { .. })
        };
        let fails = self.active_at(place, failing).next().is_some();
        self.check_astray(place);
        let luck = self.draws.stop;
        let host = self.host(place);
        // A write may have failed before the fault was over.
        if !host.damaged && !fails && !host.disk.is_poisoned() {
            if host.disk.has_newer() {
                return self.refused_newer(place, error);
            }
            let verdict = self.checks.on_refused(&Sight::new(&self.mesh, self.scenario), place, error);
            return self.judge(verdict);
        }
        // What failed stays failed until the log is opened again.
        let epoch = host.epoch;
        if host.disk.stop(Stop::Crash, Model::Prefix, 0, luck, u64::from(place), u64::from(epoch)) {
            self.damaged(place);
        }
        self.figures.refused += 1;
        self.queue.push(self.mesh.now + REPAIR_NS, self.cause, Due::Repair { host: place, epoch });
    }

    /// A damaged disk is replaced by an empty one, and the process is started again.
    pub(super) fn repair(&mut self, place: u32, epoch: u32) {
        let host = self.host(place);
        if host.epoch != epoch || !matches!(host.life, Life::Refused) {
            return;
        }
        if host.damaged {
            self.empty(place);
        }
        self.start(place);
    }

    /// Peers whose disk is damaged are started again, so that they look at all of it; also one that starts just now, from a snapshot.
    pub(super) fn scrub(&mut self) {
        for place in 0..self.mesh.hosts.len() {
            let place = u32::try_from(place).expect("a topology has at most 10,000 nodes");
            let host = self.host(place);
            if (host.damaged || host.disk.has_astray()) && host.runs() {
                self.shut_down(place);
                self.host(place).disk.remove_snapshots();
                self.checks.on_snapshots_removed(place);
                self.start(place);
            }
        }
    }

    /// A write of this peer failed: by what is wrong with its disk.
    pub(super) fn failed(&mut self, place: u32) {
        let is = |fault: &Fault| matches!(fault, Fault::FullDisk { .. } | Fault::FailingDisk { .. });
        let of: Vec<usize> = self.active_at(place, is).collect();
        self.acted.extend(of);
    }

    /// The items that happen to this peer now.
    fn active_at(&self, place: u32, is: fn(&Fault) -> bool) -> impl Iterator<Item = usize> {
        let items = self.mesh.plan.items.iter().enumerate().filter(|(item, _)| self.mesh.active[*item]);
        items.filter(move |(_, says)| says.fault.peer() == Some(place) && is(&says.fault)).map(|(item, _)| item)
    }

    /// What a read comes to on a disk that cannot be read; none if nothing is wrong.
    pub(super) fn misread(&mut self, place: u32, bytes: &bytes::Bytes) -> Option<Result<bytes::Bytes, DiskFault>> {
        let host = self.host(place);
        if let Some(item) = host.wrong(|fault| matches!(fault, Fault::UnreadableDisk { .. })) {
            self.acted(item);
            let why = "Input/output error (os error 5)".into();
            return Some(Err(DiskFault { kind: DiskFaultKind::Failed, what: "read".into(), why }));
        }
        // At boot a bit that is read otherwise would look like a torn write, and be cut: that is rot, not this.
        let (ppm, op) = (host.misreads(), host.disk_ops);
        let item = host.wrong(|fault| matches!(fault, Fault::MisreadDisk { .. })).filter(|_| host.node().is_some())?;
        host.disk_ops += 1;
        let luck = self.draws.misread;
        if bytes.is_empty() || !luck.chance(u64::from(place), op << 1, ppm) {
            return None;
        }
        self.acted(item);
        let mut read = bytes.to_vec();
        let bit = luck.below(u64::from(place), op << 1 | 1, read.len() as u64 * 8);
        read[usize::try_from(bit / 8).expect("below a length")] ^= 1 << (bit % 8);
        Some(Ok(read.into()))
    }
}

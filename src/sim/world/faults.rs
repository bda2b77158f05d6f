//! Faults: the items of the plan begin and end, and the calm ends what is not permanent.

use super::super::disk::Stop;
use super::super::host::Asked;
use super::super::net::{Fate, Frame};
use super::super::peers::PeerSet;
use super::super::plan::{Fault, Item};
use super::super::witness::Seen;
use super::{Due, SECOND, World};
use crate::node::{Command, Input};
use crate::replication::{Pause, ReplicationState};
use crate::types::Address;

impl World<'_> {
    pub(super) fn begin(&mut self, item: usize) {
        let says = self.mesh.plan.items[item].clone();
        self.mesh.active[item] = true;
        self.figures.faults += 1;
        self.figures.kinds.entry(says.kind().to_owned()).or_default().began += 1;
        if let Some(until) = says.until {
            self.queue.push(until, self.cause, Due::End { item });
        }
        if let Some(peer) = says.fault.peer() {
            self.note(peer, &says.fault);
        }
        self.seen(says.fault.peer().unwrap_or_default(), &Seen::Begins { item, says: &says });
        self.afflict(&says.fault, true);
        match says.fault {
            Fault::Crash { peer } => self.stop(item, peer, Stop::Crash, None),
            Fault::PowerLoss { peer, model } => self.stop(item, peer, Stop::PowerLoss, model),
            Fault::Wipe { peer } => self.wipe(item, peer),
            Fault::Replace { peer } => self.replace(item, peer),
            Fault::RollBack { peer, .. } => self.roll_back(item, peer),
            Fault::Leave { peer } => self.leave(item, peer),
            Fault::Pause { peer } => self.pause(item, peer),
            Fault::Reset { peer } => self.reset(item, peer),
            Fault::NewAddress { peer } => self.move_on(item, peer),
            Fault::Hold { peer, whom } => self.hold(item, peer, whom, true),
            Fault::LoseChange { peer } => self.host(peer).loses_change = Some(item),
            Fault::Flap { down, .. } => {
                self.cut_links(item);
                self.queue.push(self.mesh.now + down, self.cause, Due::Flap { item, down: false });
            }
            Fault::Slow { peer, .. }
            | Fault::SlowDisk { peer, .. }
            | Fault::StallDisk { peer }
            | Fault::UnreadableDisk { peer }
            | Fault::MisreadDisk { peer, .. }
            | Fault::CrashWriting { peer }
            | Fault::RefuseDials { peer }
            | Fault::HangDials { peer }
            | Fault::Nat { peer }
            | Fault::Garble { peer, .. } => self.wrong(item, peer),
            Fault::NextVersion { peer, .. } => self.upgrade(item, peer),
            Fault::Cut { .. }
            | Fault::Split { .. }
            | Fault::Ring { .. }
            | Fault::Clog { .. }
            | Fault::Delay { .. }
            | Fault::SlowLink { .. }
            | Fault::Throttle { .. }
            | Fault::Loss { .. }
            | Fault::BurstLoss { .. }
            | Fault::Duplicate { .. }
            | Fault::Reorder { .. }
            | Fault::Corrupt { .. } => self.cut_links(item),
            fault => self.begin_at_machine(item, &fault),
        }
    }

    /// What begins at a disk or a clock.
    fn begin_at_machine(&mut self, item: usize, fault: &Fault) {
        let Some(peer) = fault.peer() else { return };
        match *fault {
            Fault::FullDisk { .. } => {
                let disk = &mut self.host(peer).disk;
                disk.capacity = Some(disk.used());
            }
            Fault::FailingDisk { .. } => self.host(peer).disk.fail_next_sync = true,
            Fault::BitRot { bits, .. } => self.rot(item, peer, bits),
            Fault::MisdirectedWrite { bits, .. } => self.host(peer).disk.misplace_next(Some(bits)),
            Fault::LostWrite { .. } => self.host(peer).disk.misplace_next(None),
            Fault::ClockStep { by_us, .. } => {
                self.host(peer).clock.step(by_us);
                self.acted(item);
            }
            // The rates of clocks.
            _ => {
                self.wrong(item, peer);
                self.reset_clock(peer);
                self.acted(item);
            }
        }
    }

    /// A fault that the plan ends. What outlasts the healing of a core is not ended any more.
    pub(super) fn expire(&mut self, item: usize) {
        if self.mesh.core.is_none() {
            self.end(item);
        }
    }

    pub(super) fn end(&mut self, item: usize) {
        if !std::mem::take(&mut self.mesh.active[item]) {
            return;
        }
        let says = self.mesh.plan.items[item].clone();
        self.seen(says.fault.peer().unwrap_or_default(), &Seen::Ends { item, says: &says });
        let fault = says.fault;
        self.afflict(&fault, false);
        let wrong = fault.peer().is_some_and(|peer| {
            let host = self.host(peer);
            let before = host.wrongs.len();
            host.wrongs.retain(|(of, _)| *of != item);
            host.wrongs.len() < before
        });
        match fault {
            Fault::Crash { peer }
            | Fault::CrashWriting { peer }
            | Fault::PowerLoss { peer, .. }
            | Fault::Wipe { peer }
            | Fault::Replace { peer }
            | Fault::Leave { peer } => self.restart(item, peer),
            Fault::RollBack { peer, .. } => {
                self.restart(item, peer);
                self.look_after_pauses(peer);
            }
            Fault::Pause { peer } => self.go_on(peer),
            // Space returns, and the peer looks for it.
            Fault::FullDisk { peer } => {
                let capacity = self.scenario.says.disk.capacity.map(|size| size.0);
                self.host(peer).disk.capacity = capacity;
            }
            // What failed stays failed until the log is opened again: the operator restarts the peer.
            Fault::FailingDisk { peer } => {
                self.host(peer).disk.fail_next_sync = false;
                self.reopen(item, peer);
            }
            Fault::StallDisk { peer } => self.end_stall(peer),
            Fault::MisdirectedWrite { peer, .. } | Fault::LostWrite { peer } => self.host(peer).disk.place_next(),
            Fault::Hold { .. } => self.release(item),
            Fault::ClockStep { peer, by_us } => self.host(peer).clock.step(-by_us),
            Fault::LoseChange { peer } => self.host(peer).loses_change = None,
            Fault::NextVersion { peer, writes, .. } => self.downgrade(peer, writes),
            Fault::WallDrift { peer, .. }
            | Fault::WallFreeze { peer }
            | Fault::ClockDrift { peer, .. }
            | Fault::ClockFreeze { peer }
                if wrong =>
            {
                self.reset_clock(peer);
            }
            _ => self.heal_links(item),
        }
    }

    /// What lasts is wrong with this peer from now on.
    pub(super) fn wrong(&mut self, item: usize, peer: u32) {
        let fault = self.mesh.plan.items[item].fault.clone();
        self.host(peer).wrongs.push((item, fault));
    }

    /// A fault changed what happened.
    pub(super) fn acted(&mut self, item: usize) {
        self.acted.insert(item);
    }

    /// Whoever a fault makes unwell is so from now on, or not any more.
    fn afflict(&mut self, fault: &Fault, begins: bool) {
        let now = self.mesh.now;
        let hit = match fault {
            Fault::Cut { from, to, .. } | Fault::Flap { from, to, .. } | Fault::Clog { from, to, .. } => {
                smaller(from, to)
            }
            Fault::Split { groups } => groups.concat(),
            Fault::Ring { peers } => peers.clone(),
            Fault::Pause { peer }
            | Fault::Slow { peer, .. }
            | Fault::Garble { peer, .. }
            | Fault::StallDisk { peer }
            | Fault::Delay { peer, .. }
            | Fault::SlowLink { peer, .. }
            | Fault::Throttle { peer, .. }
            | Fault::Reset { peer }
            | Fault::RefuseDials { peer }
            | Fault::HangDials { peer }
            | Fault::Nat { peer }
            | Fault::NewAddress { peer }
            | Fault::ClockDrift { peer, .. }
            | Fault::ClockFreeze { peer } => vec![*peer],
            _ => Vec::new(),
        };
        for peer in hit {
            if begins { self.host(peer).ails() } else { self.host(peer).heals(now) }
        }
    }

    fn pause(&mut self, item: usize, peer: u32) {
        if self.host(peer).runs() {
            self.acted(item);
        }
        let now = self.mesh.now;
        let host = self.host(peer);
        host.pauses += 1;
        host.paused_since.get_or_insert(now);
        let links = self.mesh.net.links(peer).map(|(other, conn)| (peer, other, conn)).collect();
        self.silenced(links);
    }

    fn go_on(&mut self, peer: u32) {
        let host = self.host(peer);
        host.pauses -= 1;
        if host.pauses == 0 {
            host.paused_since = None;
            self.unpause(peer);
        }
    }

    fn leave(&mut self, item: usize, peer: u32) {
        let host = self.host(peer);
        if host.node().is_none() || host.down_by.is_some() {
            self.mesh.active[item] = false;
            return;
        }
        host.down_by = Some(item);
        host.ails();
        let id = host.ask(Asked::Leave);
        self.acted(item);
        self.feed(peer, Input::Command { id, command: Command::Leave });
    }

    /// The item's trouble of links begins.
    pub(super) fn cut_links(&mut self, item: usize) {
        let links = self.mesh.net.trouble(self.mesh.now, item, &self.mesh.plan.items[item]);
        self.silenced(links);
    }

    /// The item's trouble of links ends, if it is one.
    pub(super) fn heal_links(&mut self, item: usize) {
        let now = self.mesh.now;
        if matches!(self.mesh.plan.items[item].fault, Fault::Cut { .. } | Fault::Flap { .. } | Fault::Split { .. }) {
            self.spread.on_healed(now);
        }
        let released = self.mesh.net.heal(now, item);
        self.send_on(released);
    }

    fn send_on(&mut self, released: Vec<(Fate, Frame)>) {
        for (fate, frame) in released {
            self.send_frame(fate, frame);
        }
    }

    /// Links that flap go down, or come up.
    pub(super) fn flap(&mut self, item: usize, down: bool) {
        let Fault::Flap { down: lasts, up, .. } = self.mesh.plan.items[item].fault else { return };
        if !self.mesh.active[item] {
            return;
        }
        if down {
            self.cut_links(item)
        } else {
            self.heal_links(item)
        }
        self.queue.push(self.mesh.now + if down { lasts } else { up }, self.cause, Due::Flap { item, down: !down });
    }

    /// All links of a peer break, for both ends at once.
    fn reset(&mut self, item: usize, place: u32) {
        let links: Vec<(u32, u32)> = self.mesh.net.links(place).collect();
        for (peer, conn) in links {
            self.acted(item);
            self.break_link(place, peer, conn, self.mesh.now);
        }
    }

    /// Both ends of a link learn that it is gone.
    pub(super) fn break_link(&mut self, a: u32, b: u32, conn: u32, at: u64) {
        self.queue.push(at, self.cause, Due::FarEnd { host: a, peer: b, conn });
        self.queue.push(at, self.cause, Due::FarEnd { host: b, peer: a, conn });
    }

    /// A peer listens elsewhere.
    fn move_on(&mut self, item: usize, place: u32) {
        self.reset(item, place);
        let host = self.host(place);
        host.address += 1;
        let addresses = vec![address_of(place, host.address)];
        if host.node().is_some() {
            self.acted(item);
            self.later(place, self.mesh.now, Input::Listening { addresses });
        }
    }

    fn reset_clock(&mut self, place: u32) {
        let now = self.mesh.now;
        let host = self.host(place);
        host.set_clock(now);
        host.wake_at = None;
        self.rearm(place);
    }

    /// The operator resumes a replica.
    fn release(&mut self, item: usize) {
        let Fault::Hold { peer, whom } = self.mesh.plan.items[item].fault else { return };
        self.hold(item, peer, whom, false);
        self.queue.push(self.mesh.now + SECOND, self.cause, Due::Release { item });
    }

    /// And looks whether that was done: again, where nobody was there to be told or the peer went down on it.
    pub(super) fn release_again(&mut self, item: usize) {
        let Fault::Hold { peer, whom } = self.mesh.plan.items[item].fault else { return };
        let held = |(at, other): (usize, &Item)| self.mesh.active[at] && other.fault == Fault::Hold { peer, whom };
        if self.mesh.plan.items.iter().enumerate().any(held) {
            return; // It was paused anew meanwhile.
        }
        let id = self.mesh.hosts[whom as usize].id;
        let now = self.mesh.hosts[peer as usize].clock.read(self.mesh.now).mono;
        let known = self.host(peer).node().map(|node| node.replication().known(id, now));
        match known {
            Some(Some(known)) if known.state != ReplicationState::Paused => {}
            // It has just started and has not heard of that one: who was paused may be paused still.
            Some(None) => _ = self.queue.push(self.mesh.now + SECOND, self.cause, Due::Release { item }),
            _ => self.release(item),
        }
    }

    /// An image may be of when a replica was paused that was resumed since: the operator looks.
    fn look_after_pauses(&mut self, place: u32) {
        let of = |item: &Item| matches!(item.fault, Fault::Hold { peer, .. } if peer == place);
        let items = self.mesh.plan.items.iter().enumerate().filter(|(_, item)| of(item));
        for item in items.map(|(at, _)| at).collect::<Vec<_>>() {
            self.queue.push(self.mesh.now + SECOND, self.cause, Due::Release { item });
        }
    }

    /// The operator pauses a replica, or resumes it. Of a peer that is down it is asked in vain.
    fn hold(&mut self, item: usize, place: u32, whom: u32, paused: bool) {
        let peer = self.mesh.hosts[whom as usize].id;
        if self.host(place).node().is_some() {
            self.acted(item);
            let id = self.host(place).ask(Asked::Hold);
            self.feed(place, Input::Command { id, command: Command::Pause(Pause { peer, paused }) });
        }
    }

    /// Faults are over: what is not permanent ends now, if it concerns the core.
    pub(super) fn calm(&mut self) {
        let core = self.mesh.plan.core.clone();
        for item in 0..self.mesh.active.len() {
            let says = &self.mesh.plan.items[item];
            // Who still waits for a write to crash at would do so when the mesh is looked at, whoever it is.
            let waits = matches!(says.fault, Fault::CrashWriting { peer } if self.mesh.hosts[peer as usize].runs());
            if self.mesh.active[item] && (waits || !says.permanent && concerns(&says.fault, &core)) {
                self.end(item);
            }
        }
        if !core.is_empty() {
            self.mesh.core = Some(PeerSet::of(&core));
            let released = self.mesh.net.spare(self.mesh.now, &core);
            self.send_on(released);
        } else {
            self.mesh.core = self.writers();
        }
        self.scrub();
    }

    /// Those whose disks take writes, if others' are full or broken for good: these cannot come to hold what all others hold.
    fn writers(&self) -> Option<PeerSet> {
        let broken = |item: &Item| match item.fault {
            Fault::FullDisk { peer } | Fault::FailingDisk { peer } if item.permanent => Some(peer),
            _ => None,
        };
        let broken: Vec<u32> = self.mesh.plan.items.iter().filter_map(broken).collect();
        let all = (0..).take(self.mesh.hosts.len()).filter(|place| !broken.contains(place));
        (!broken.is_empty()).then(|| PeerSet::of(&all.collect::<Vec<u32>>()))
    }
}

/// Whether a fault ends when this core is healed. Troubles of links stay, and the core is spared them.
fn concerns(fault: &Fault, core: &[u32]) -> bool {
    // An operator outside who pauses one of the core may cut it off: nobody could mend that.
    if let Fault::Hold { whom, .. } = fault
        && core.contains(whom)
    {
        return true;
    }
    match fault.peer() {
        Some(peer) => core.is_empty() || core.contains(&peer),
        None => {
            let links = matches!(
                fault,
                Fault::Cut { .. } | Fault::Split { .. } | Fault::Ring { .. } | Fault::Flap { .. } | Fault::Clog { .. }
            );
            core.is_empty() || !links
        }
    }
}

/// The peers that a cut makes unwell: the smaller side if it is small, else both.
fn smaller(from: &[u32], to: &[u32]) -> Vec<u32> {
    if from.len() * 4 <= to.len() {
        from.to_vec()
    } else if to.len() * 4 <= from.len() {
        to.to_vec()
    } else {
        from.iter().chain(to).copied().collect()
    }
}

/// Where a peer listens.
pub(super) fn address_of(place: u32, address: u32) -> Address {
    let text = if address == 0 { format!("/sim/{place}") } else { format!("/sim/{place}/{address}") };
    Address::parse(&text).expect("short")
}

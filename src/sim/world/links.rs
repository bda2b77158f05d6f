//! Links: what the production driver's dialer, watchdogs and book of remembered peers do.

use super::super::plan::Fault;
use super::{Due, World};
use crate::node::Input;

/// The first pause between two dials of a candidate, and the longest.
const KNOCK_NS: u64 = 500_000_000;
const KNOCK_MAX_NS: u64 = 30_000_000_000;
/// Dials of a remembered candidate before it is left to the mesh.
const KNOCKS_MAX: u32 = 8;

impl World<'_> {
    pub(super) fn dial(&mut self, from: u32, to: u32, at: u64) {
        if from == to {
            return;
        }
        self.host(from).dials += 1;
        if let Some(at) = self.mesh.net.dial(at, from, to) {
            self.queue.push(at, self.cause, Due::Dialed { from, to });
        }
    }

    /// Whether a process of this peer answers.
    fn answers(&self, place: u32) -> bool {
        let host = &self.mesh.hosts[place as usize];
        host.node().is_some() && host.paused_since.is_none()
    }

    pub(super) fn dialed(&mut self, from: u32, to: u32) {
        let (now, cause) = (self.mesh.now, self.cause);
        let waited = self.mesh.net.dialed(from, to);
        let reachable = self.mesh.net.cut_since(from, to).is_none();
        let (open, barred) = self.bars(from, to, &waited);
        if reachable && open && self.answers(from) && self.answers(to) {
            let id = |place: u32| (place, self.mesh.hosts[place as usize].id);
            for (place, peer) in self.mesh.net.link(now, id(from), id(to)) {
                // The old link of this pair was still there at this end: its goodbye comes first.
                self.feed(place, Input::Unlinked { peer });
            }
            for (place, peer) in [(from, to), (to, from)] {
                let peer_id = self.mesh.hosts[peer as usize].id;
                self.host(place).book.insert(peer);
                self.feed(place, Input::Linked { peer: peer_id });
            }
            return;
        }
        // A machine that is there but has no process says so; silence takes until the timeout.
        let (from_runs, to_runs) = (self.refuses(from), self.refuses(to));
        let refused = reachable && (from_runs || to_runs || barred);
        let at = if refused { now } else { now + self.mesh.net.dial_timeout() };
        for place in waited {
            let peer = if place == from { to } else { from };
            self.mesh.net.stats.failed_dials += 1;
            let (epoch, peer) = (self.host(place).epoch, self.mesh.hosts[peer as usize].id);
            let input = Box::new(Input::DialFailed { peer });
            self.queue.push(at, cause, Due::Input { host: place, epoch, input });
        }
    }

    /// Whether one of those who dialled gets through to the other, and whether it is refused else: between the two there may
    /// be what lets a dial through one way only.
    fn bars(&mut self, a: u32, b: u32, waited: &[u32]) -> (bool, bool) {
        let free = |place: u32| self.mesh.hosts[place as usize].wrongs.is_empty();
        if free(a) && free(b) {
            return (true, false);
        }
        let wrong = |place: u32, is: fn(&Fault) -> bool| self.mesh.hosts[place as usize].wrong(is);
        let (mut open, mut refused, mut by) = (false, false, Vec::new());
        for dialler in waited.iter().copied() {
            let other = if dialler == a { b } else { a };
            let hangs = wrong(dialler, hangs)
                .or_else(|| wrong(other, hangs))
                .or_else(|| wrong(other, |fault| matches!(fault, Fault::Nat { .. })));
            let refuses = wrong(other, |fault| matches!(fault, Fault::RefuseDials { .. }));
            by.extend(hangs.or(refuses));
            open |= hangs.is_none() && refuses.is_none();
            refused |= hangs.is_none() && refuses.is_some();
        }
        self.acted.extend(by);
        (open, refused)
    }

    /// Whether the machine answers that no process listens there.
    fn refuses(&self, place: u32) -> bool {
        let host = &self.mesh.hosts[place as usize];
        host.node().is_none() && !host.dark
    }

    /// A node closes a link.
    pub(super) fn close(&mut self, place: u32, peer: u32) {
        let now = self.mesh.now;
        if let Some((at, conn, id)) = self.mesh.net.close(now, place, peer, false) {
            self.queue.push(at, self.cause, Due::FarEnd { host: peer, peer: place, conn });
            self.feed(place, Input::Unlinked { peer: id });
        }
    }

    pub(super) fn far_end(&mut self, place: u32, peer: u32, conn: u32) {
        if let Some(peer) = self.mesh.net.unlink(place, peer, conn) {
            self.feed(place, Input::Unlinked { peer });
        }
    }

    /// A process is gone: its links end, loudly or not.
    pub(super) fn hang_up(&mut self, place: u32, silent: bool) {
        let now = self.mesh.now;
        let peers: Vec<u32> = self.mesh.net.links(place).map(|(peer, _)| peer).collect();
        for peer in peers {
            if let Some((at, conn, _)) = self.mesh.net.close(now, place, peer, silent) {
                self.queue.push(at, self.cause, Due::FarEnd { host: peer, peer: place, conn });
            }
        }
    }

    /// These links are silent from now on: watchdogs will look at them.
    pub(super) fn silenced(&mut self, links: Vec<(u32, u32, u32)>) {
        let now = self.mesh.now;
        for (a, b, conn) in links {
            let at = now + self.mesh.net.watchdog(a, b, conn);
            self.queue.push(at, self.cause, Due::Watchdog { a, b, conn });
        }
    }

    pub(super) fn watchdog(&mut self, a: u32, b: u32, conn: u32) {
        if !self.mesh.net.is_linked(a, b, conn) && !self.mesh.net.is_linked(b, a, conn) {
            return;
        }
        let paused = |place: u32| self.mesh.hosts[place as usize].paused_since;
        let since = [self.mesh.net.cut_since(a, b), paused(a), paused(b)].into_iter().flatten().min();
        let Some(since) = since else { return };
        let (now, patience) = (self.mesh.now, self.mesh.net.cut_detection());
        if now.saturating_sub(since) < patience {
            self.queue.push(since + patience, self.cause, Due::Watchdog { a, b, conn });
            return;
        }
        self.far_end(a, b, conn);
        self.far_end(b, a, conn);
    }

    /// A process has candidates of its own: those that it was told of, and those that it remembers.
    pub(super) fn seek(&mut self, place: u32) {
        let told = self.scenario.says.join.through.choose(&self.scenario.mesh, self.draws.knock, 0);
        let told = told.expect("checked when the scenario was read");
        let host = self.host(place);
        let remembered: Vec<u32> = host.book.iter().copied().filter(|peer| !told.contains(peer)).collect();
        let epoch = host.epoch;
        let first = |peer| (peer, KNOCKS_MAX);
        let candidates = told.iter().map(|peer| (*peer, u32::MAX)).chain(remembered.into_iter().map(first));
        for (peer, left) in candidates.filter(|(peer, _)| *peer != place).collect::<Vec<_>>() {
            let at = self.mesh.now + self.draws.knock.below(u64::from(place), u64::from(peer), KNOCK_NS);
            let knock = Knock { host: place, epoch, peer, failures: 0, left };
            self.queue.push(at, self.cause, Due::Knock(knock));
        }
    }

    /// Dials a candidate unless it is linked; pauses double with each failure, with full jitter.
    pub(super) fn knock(&mut self, mut knock: Knock) {
        let (now, place) = (self.mesh.now, knock.host);
        if self.host(place).epoch != knock.epoch {
            return;
        }
        if self.mesh.net.has_link(place, knock.peer) {
            knock.failures = 0;
        } else if self.answers(place) {
            let lonely = self.mesh.net.links(place).next().is_none();
            if knock.left < KNOCKS_MAX && knock.left == 0 && !lonely {
                return;
            }
            knock.left = knock.left.saturating_sub(1);
            self.dial(place, knock.peer, now);
            knock.failures += 1;
        }
        let pause = (KNOCK_NS << knock.failures.min(7)).min(KNOCK_MAX_NS);
        let counter = u64::from(knock.peer) << 32 | u64::from(knock.failures);
        let wait = pause / 2 + self.draws.knock.below(u64::from(place), counter, pause);
        self.queue.push(now + wait, self.cause, Due::Knock(knock));
    }
}

fn hangs(fault: &Fault) -> bool {
    matches!(fault, Fault::HangDials { .. })
}

/// A peer's wish to be linked with a candidate.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Knock {
    host: u32,
    epoch: u32,
    peer: u32,
    /// Dials since it was last linked.
    failures: u32,
    /// How many dials are left, once there are links; those that the peer was told of are tried for ever.
    left: u32,
}

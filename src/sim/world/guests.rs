//! The embedding program at each peer: it hears what its node tells, and its node hears what it asks.

use super::super::check::Violation;
use super::super::guest::{GuestCx, Tell};
use super::super::host::Asked;
use super::{Due, World};
use crate::node::Input;

impl World<'_> {
    /// A node may speak from now on: so may its guest.
    pub(super) fn guest_starts(&mut self, place: u32) {
        if let Some(guests) = &mut self.guests {
            guests.start(place);
            self.tell_guest(place, Tell::Started);
        }
    }

    /// The process has ended, and its guest with it.
    pub(super) fn guest_ends(&mut self, place: u32) {
        if let Some(guests) = &mut self.guests {
            guests.end(place);
        }
    }

    pub(super) fn tell_guest(&mut self, place: u32, what: Tell<'_>) {
        let (Some(guests), now) = (&mut self.guests, self.mesh.now) else { return };
        let host = &self.mesh.hosts[place as usize];
        let Some(node) = host.node() else { return };
        let mut cx = GuestCx::new(host.clock.read(now), node, host.next_command);
        guests.tell(place, &mut cx, what);
        let (asks, wake_at) = cx.into_asks();
        for command in asks {
            let host = self.host(place);
            let (id, epoch) = (host.ask(Asked::Guest), host.epoch);
            let input = Box::new(Input::Command { id, command });
            self.queue.push(now + 1, self.cause, Due::Input { host: place, epoch, input });
        }
        if let Some(wake_at) = wake_at {
            let host = self.host(place);
            let at = host.clock.when(wake_at, now + 1);
            host.guest_wakes = Some(at);
            let epoch = host.epoch;
            self.queue.push(at, self.cause, Due::Guest { host: place, epoch });
        }
    }

    /// The time has come that a guest named.
    pub(super) fn wake_guest(&mut self, place: u32, epoch: u32) {
        let now = self.mesh.now;
        let host = self.host(place);
        if host.epoch != epoch || host.guest_wakes != Some(now) {
            return;
        }
        if host.paused_since.is_some() || host.busy_until > now {
            // It is woken when the process has time for it.
            let at = host.busy_until.max(now + super::SECOND / 100);
            host.guest_wakes = Some(at);
            self.queue.push(at, self.cause, Due::Guest { host: place, epoch });
            return;
        }
        host.guest_wakes = None;
        self.tell_guest(place, Tell::Woken);
    }

    /// What the program says of what it sees.
    pub(super) fn judge_guests(&mut self, at_rest: bool) {
        if let Some(Err(what)) = self.guests.as_ref().map(|guests| guests.judge(&self.mesh.hosts, at_rest)) {
            self.judge(Err(Violation { check: "H1", what }));
        }
    }
}

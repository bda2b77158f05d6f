//! A disk that does not answer: neither done nor failed.
//!
//! What a peer passes on is durable there first, so the hub of a star, or a parent in a tree, whose disk hangs holds up everybody
//! behind it, and looks well: it answers pings. After [`STALL`] it therefore says of itself what it would say if its
//! disk had failed, and others do not rely on it. Nothing is given up: writes still count when they are answered, and then it
//! takes its place again.

use std::time::Duration;

use super::Node;
use super::edge::{Effect, Event};
use super::timers::Timer;
use crate::types::{Now, Time};

/// A write that takes longer is one of a disk that stalls. Disks pause for a second or two while they collect garbage, and each change of hub
/// costs a round of the overlay.
pub(super) const STALL: Duration = Duration::from_secs(5);

impl Node {
    /// Keeps the timer of the oldest write that waits.
    pub(super) fn watch_disk(&mut self, now: Now) {
        let oldest = self.shared.oldest_write();
        if oldest == self.stall.watched {
            return;
        }
        self.stall.watched = oldest;
        match oldest {
            Some(asked) => self.shared.timers.arm(Timer::Stall, asked + STALL),
            None => self.shared.timers.disarm(Timer::Stall),
        }
        if self.stall.stalled && oldest.is_none_or(|asked| now.mono.since(asked) < STALL) {
            self.stall.stalled = false;
            self.shared.effects.push_back(Effect::Notify(Event::DiskAnswers));
            self.say_whether_writable(now);
        }
    }

    /// The oldest write was not answered in time.
    pub(super) fn on_stall(&mut self, now: Now) {
        self.stall.stalled = true;
        self.shared.effects.push_back(Effect::Notify(Event::DiskStalls { after: STALL }));
        self.say_whether_writable(now);
    }

    /// Tells the mesh whether this node can be relied on to keep what it is given.
    pub(super) fn say_whether_writable(&mut self, now: Now) {
        let read_only = self.read_only.is_some() || self.stall.stalled;
        if self.meta.read_only != read_only {
            self.meta.read_only = read_only;
            self.describe(now);
        }
    }
}

/// What is known of the disk's answers.
#[derive(Debug, Default)]
pub(super) struct Stall {
    /// When the write was asked for whose answer is waited for.
    watched: Option<Time>,
    /// It did not come in time.
    pub(super) stalled: bool,
}

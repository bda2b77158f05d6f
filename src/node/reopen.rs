//! A log that takes no writes: what is done about it.
//!
//! A write that failed is never tried again: nobody knows what of it is on the medium. Want of room is the exception, since
//! the host says then that nothing is there, and it is the one fault of a disk that ends by itself or by an operator who has other
//! things to do than to restart peers. So a node whose disk was full asks now and then whether there is room for a
//! [segment](crate::wal::Config::segment_bytes), takes back what it had numbered behind the last durable record, and goes on as a
//! new actor: no place of a log is used twice, whatever the disk kept.

use std::time::Duration;

use super::Node;
use super::edge::{Effect, Event, IoOutcome};
use super::timers::Timer;
use crate::probe::{planted, reachable};
use crate::types::{DiskFault, DiskFaultKind, Now, Time};

/// How long after a failed write it is asked whether there is room.
const FIRST: Duration = Duration::from_secs(5);
/// It takes twice as long each time that a disk is full again within this after it had room.
const SOON: Duration = Duration::from_secs(60);
/// At most so long.
const MOST: Duration = Duration::from_secs(300);

/// When to ask, and for how much.
#[derive(Debug)]
pub(super) struct Reopening {
    room: u64,
    pause: Option<Duration>,
    reopened_at: Option<Time>,
}

impl Reopening {
    /// When so many bytes are free, it is tried.
    pub(super) const fn new(room: u64) -> Self {
        Self { room, pause: None, reopened_at: None }
    }
}

impl Node {
    /// A write failed. The first that does makes the log read-only.
    pub(super) fn on_unwritten(&mut self, now: Now, fault: &DiskFault) {
        if self.read_only.is_some() {
            return;
        }
        self.read_only = Some(fault.clone());
        // Whose write it was: nothing more is written by anybody, also while the host opens the log anew.
        self.replication.fail(fault.clone());
        self.shared.step(now, |cx| self.consensus.fail(cx, fault.clone()));
        reachable!("node/read-only");
        self.shared.effects.push_back(Effect::Notify(Event::ReadOnly { fault: fault.clone() }));
        self.say_whether_writable(now);
        if fault.kind == DiskFaultKind::Full && !planted!("node/room-is-not-looked-for") {
            let Reopening { pause, reopened_at, .. } = &mut self.reopening;
            let again = reopened_at.is_some_and(|at| now.mono.since(at) < SOON);
            let next = pause.filter(|_| again).map_or(FIRST, |pause| (pause * 2).min(MOST));
            *pause = Some(next);
            self.shared.timers.arm(Timer::Reopen, now.mono + next);
        }
    }

    /// Asks whether there is room again.
    pub(super) fn reopen(&mut self, now: Now) {
        if !self.shared.ask_to_reopen(self.reopening.room) {
            self.ask_later(now);
        }
    }

    fn ask_later(&mut self, now: Now) {
        self.shared.timers.arm(Timer::Reopen, now.mono + self.reopening.pause.unwrap_or(FIRST));
    }

    /// The host's answer.
    pub(super) fn on_reopened(&mut self, now: Now, result: Result<IoOutcome, DiskFault>) {
        if result.is_err() {
            return self.ask_later(now);
        }
        reachable!("node/writable-again");
        self.reopening.reopened_at = Some(now.mono);
        self.read_only = None;
        self.shared.reopened();
        self.shared.step(now, |cx| self.replication.reopen(cx));
        self.mint(now, "the disk was full, and has room again");
        self.resume_consensus(now);
        self.keep_policies(now);
        self.say_whether_writable(now);
        self.shared.effects.push_back(Effect::Notify(Event::Writable));
    }
}

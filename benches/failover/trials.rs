//! What is done to a leader, and what it costs whoever asks.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::ask::{Asker, Pace, Question};
use crate::harness::wait_for;

/// Three that decide together.
pub(crate) trait Trio {
    /// Who.
    const NAME: &'static str;

    /// Who leads, if all are there and hold the same.
    fn settled(&self) -> Option<usize>;

    /// What a client asks of this one.
    fn question(&self, at: usize) -> Question;

    fn pid(&self, at: usize) -> u32;

    /// Its process has ended, or does now.
    fn reap(&mut self, at: usize);

    fn restart(&mut self, at: usize);
}

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blow {
    /// `kill -9` of a leader that has nothing to do.
    Kill,
    /// The same under requests.
    KillBusy,
    /// SIGSTOP under requests.
    Stop,
    /// The same of a leader that has nothing to do; from the first request on.
    StopIdle,
    /// SIGTERM under requests: the longest time in which nothing was decided.
    Term,
    /// Each is restarted once, then `kill -9` of the leader.
    Rolling,
}

impl Blow {
    pub(crate) const ALL: [(&'static str, Self); 6] = [
        ("kill", Self::Kill),
        ("kill-busy", Self::KillBusy),
        ("stop", Self::Stop),
        ("stop-idle", Self::StopIdle),
        ("term", Self::Term),
        ("rolling", Self::Rolling),
    ];

    /// What is aimed at, in milliseconds: the median, p99, and the longest.
    pub(crate) const fn goals(self) -> [Option<u64>; 3] {
        match self {
            Self::Kill | Self::KillBusy | Self::Rolling => [Some(60), Some(250), Some(500)],
            Self::Stop | Self::StopIdle => [None, Some(350), Some(1_000)],
            Self::Term => [None, Some(150), None],
        }
    }

    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Kill => "kill -9 of the leader, nothing asked before, to the next decision",
            Self::KillBusy => "kill -9 of the leader under requests, to the next decision",
            Self::Stop => "SIGSTOP of the leader under requests, to the next decision",
            Self::StopIdle => "SIGSTOP of the leader, nothing asked before, to the next decision",
            Self::Term => "SIGTERM of the leader under requests: the longest time without a decision",
            Self::Rolling => "kill -9 of the leader after a restart of each, to the next decision",
        }
    }

    const fn is_busy(self) -> bool {
        matches!(self, Self::KillBusy | Self::Stop | Self::Term)
    }
}

/// What one blow cost: whoever asks anew every 5 ms, and who asks one thing after the other at the other survivor.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) open: Duration,
    pub(crate) closed: Duration,
}

/// How long requests are under way before the blow.
const WARM: Duration = Duration::from_millis(400);
/// What comes after an orderly end may be late by so much.
const AFTERMATH: Duration = Duration::from_millis(500);

/// One blow, its cost, and all is as before.
pub(crate) fn strike<T: Trio>(trio: &mut T, blow: Blow, luck: u64) -> Cost {
    let mut leader = settle(trio);
    if blow == Blow::Rolling {
        for at in 0..3 {
            signal(trio.pid(at), Signal::TERM);
            wait_for("it has ended", || has_ended(trio.pid(at)));
            trio.reap(at);
            trio.restart(at);
            leader = settle(trio);
        }
    }
    let [mut open, mut closed] =
        [(1, Pace::Open), (2, Pace::Closed)].map(|(on, pace)| Asker::ready(trio.question((leader + on) % 3), pace));
    // Any moment between two heartbeats, and longer than it takes to come to rest.
    std::thread::sleep(Duration::from_millis(300 + luck % 500));
    if blow.is_busy() {
        closed.go();
        if blow == Blow::Term {
            open.go();
        }
        std::thread::sleep(WARM + Duration::from_millis(luck / 500 % 50));
    }
    let began = Instant::now();
    signal(trio.pid(leader), blow_signal(blow));
    if blow != Blow::Term {
        open.go();
    }
    if !blow.is_busy() {
        closed.go();
    }
    let cost = match blow {
        Blow::Term => {
            wait_for("it has ended", || has_ended(trio.pid(leader)));
            std::thread::sleep(AFTERMATH);
            let [open, closed] = [&open, &closed].map(|asker| longest_gap(&asker.all(), began));
            Cost { open, closed }
        }
        _ => Cost { open: open.next() - began, closed: first_after(&closed, began) },
    };
    drop((open, closed));
    match blow {
        Blow::Stop | Blow::StopIdle => signal(trio.pid(leader), Signal::CONT),
        _ => {
            trio.reap(leader);
            trio.restart(leader);
        }
    }
    settle(trio);
    cost
}

/// How long after a blow the first request was decided that is known not to be of before: what was decided within some
/// milliseconds may still be the dead one's.
fn first_after(asker: &Asker, began: Instant) -> Duration {
    loop {
        let after = asker.next().saturating_duration_since(began);
        if after > LAST_WORDS {
            return after;
        }
    }
}

/// An answer that was under way when its leader died is there within this.
const LAST_WORDS: Duration = Duration::from_millis(8);

/// The longest time without a decision, from a little before a moment on.
pub(crate) fn longest_gap(decided: &[Instant], moment: Instant) -> Duration {
    let from = moment - Duration::from_millis(50);
    let all: Vec<&Instant> = decided.iter().filter(|at| **at >= from).collect();
    all.windows(2).map(|two| *two[1] - *two[0]).max().expect("something was decided")
}

const fn blow_signal(blow: Blow) -> Signal {
    match blow {
        Blow::Kill | Blow::KillBusy | Blow::Rolling => Signal::KILL,
        Blow::Stop | Blow::StopIdle => Signal::STOP,
        Blow::Term => Signal::TERM,
    }
}

/// Waits until all hold the same; who leads.
pub(crate) fn settle<T: Trio>(trio: &T) -> usize {
    let mut leader = None;
    wait_for("all agree", || {
        leader = trio.settled();
        leader.is_some()
    });
    leader.unwrap()
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    kill_process(pid_of(pid), signal).unwrap();
}

fn pid_of(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

/// Whether a process of ours is over: it stays until somebody asks what became of it.
fn has_ended(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with('Z'))
}

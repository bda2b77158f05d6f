//! A little world for membership protocols: links that delay and lose, members that die, and a record of who said what.
//!
//! Times are virtual, so every figure but the CPU time is a function of the seed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use oxigdal_ha::machine::Rng;
use oxigdal_ha::types::{NodeId, Time};

/// The id of a member, spread as real ones are.
pub(crate) fn id(member: usize) -> NodeId {
    let spread = oxigdal_ha::types::digest64(&member.to_le_bytes()).value();
    NodeId::from_u128(u128::from(spread) << 64 | member as u128)
}

/// The member with this id.
pub(crate) fn member(id: &[u8; 16]) -> usize {
    let low: [u8; 8] = id[8..].try_into().expect("an id has 16 bytes");
    usize::try_from(u64::from_be_bytes(low)).expect("a member's number is small")
}

/// What the world needs of a protocol.
pub(crate) trait Protocol: Sized {
    type Message;
    type Alarm;

    fn on_message(&mut self, now: Time, from: usize, message: Self::Message, out: &mut Out<Self>);
    fn on_alarm(&mut self, now: Time, alarm: Self::Alarm, out: &mut Out<Self>);
}

/// What a step of a protocol leaves behind.
pub(crate) struct Out<P: Protocol> {
    /// To whom, what, and how many bytes that is.
    pub(crate) sends: Vec<(usize, P::Message, usize)>,
    pub(crate) alarms: Vec<(Duration, P::Alarm)>,
    /// Of whom, and whether it is held for dead from now on.
    pub(crate) verdicts: Vec<(usize, bool)>,
}

impl<P: Protocol> Default for Out<P> {
    fn default() -> Self {
        Self { sends: Vec::new(), alarms: Vec::new(), verdicts: Vec::new() }
    }
}

enum What<P: Protocol> {
    Message { from: usize, to: usize, message: P::Message },
    Alarm { at: usize, alarm: P::Alarm },
}

struct Pending<P: Protocol> {
    due: (Time, u64),
    what: What<P>,
}

impl<P: Protocol> PartialEq for Pending<P> {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}
impl<P: Protocol> Eq for Pending<P> {}
impl<P: Protocol> PartialOrd for Pending<P> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<P: Protocol> Ord for Pending<P> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.due.cmp(&other.due)
    }
}

/// One death, as it became known.
pub(crate) struct Death {
    pub(crate) at: Time,
    pub(crate) first: Option<Duration>,
    pub(crate) everybody: Option<Duration>,
    knowing: BTreeSet<usize>,
}

/// What was counted since the last [`World::count`].
#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// Members that were up and were declared dead, counted at each observer.
    pub(crate) false_deaths: u64,
}

pub(crate) struct World<P: Protocol> {
    pub(crate) now: Time,
    pub(crate) members: Vec<P>,
    up: Vec<bool>,
    pending: BinaryHeap<Reverse<Pending<P>>>,
    order: u64,
    rng: Rng,
    pub(crate) loss_percent: u64,
    pub(crate) counts: Counts,
    pub(crate) deaths: BTreeMap<usize, Death>,
}

impl<P: Protocol> World<P> {
    pub(crate) fn new(seed: u8, members: Vec<P>) -> Self {
        Self {
            now: Time::from_nanos(1_000_000_000),
            up: vec![true; members.len()],
            members,
            pending: BinaryHeap::new(),
            order: 0,
            rng: Rng::fork(&[seed; 32], "world"),
            loss_percent: 0,
            counts: Counts::default(),
            deaths: BTreeMap::new(),
        }
    }

    /// One step of one member, and all that it asks for.
    pub(crate) fn step(&mut self, at: usize, step: impl FnOnce(&mut P, Time, &mut Out<P>)) {
        let mut out = Out::default();
        step(&mut self.members[at], self.now, &mut out);
        for (to, message, bytes) in out.sends {
            self.counts.messages += 1;
            self.counts.bytes += bytes as u64;
            if self.rng.below(100) >= self.loss_percent {
                let delay = Duration::from_micros(20_000 + self.rng.below(4_000));
                self.push(delay, What::Message { from: at, to, message });
            }
        }
        for (after, alarm) in out.alarms {
            self.push(after, What::Alarm { at, alarm });
        }
        for (subject, dead) in out.verdicts {
            self.note(at, subject, dead);
        }
    }

    pub(crate) fn alarm(&mut self, at: usize, after: Duration, alarm: P::Alarm) {
        self.push(after, What::Alarm { at, alarm });
    }

    fn push(&mut self, after: Duration, what: What<P>) {
        self.order += 1;
        self.pending.push(Reverse(Pending { due: (self.now + after, self.order), what }));
    }

    fn note(&mut self, observer: usize, subject: usize, dead: bool) {
        if self.up[subject] {
            self.counts.false_deaths += u64::from(dead);
            return;
        }
        let living = self.up.iter().filter(|up| **up).count();
        let Some(death) = self.deaths.get_mut(&subject) else { return };
        if !dead {
            death.knowing.remove(&observer);
            return;
        }
        let after = self.now.since(death.at);
        death.first.get_or_insert(after);
        death.knowing.insert(observer);
        if death.knowing.iter().filter(|knowing| self.up[**knowing]).count() >= living {
            death.everybody.get_or_insert(after);
        }
    }

    /// Stops a member without a word. Nobody's link to it closes.
    pub(crate) fn crash(&mut self, victim: usize) {
        self.up[victim] = false;
        let death = Death { at: self.now, first: None, everybody: None, knowing: BTreeSet::new() };
        self.deaths.insert(victim, death);
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.pending.peek().is_some_and(|Reverse(next)| next.due.0 <= end) {
            let Some(Reverse(Pending { due: (now, _), what })) = self.pending.pop() else { break };
            self.now = now;
            match what {
                What::Message { from, to, message } if self.up[to] => {
                    self.step(to, |member, now, out| member.on_message(now, from, message, out));
                }
                What::Alarm { at, alarm } if self.up[at] => {
                    self.step(at, |member, now, out| member.on_alarm(now, alarm, out));
                }
                What::Message { .. } | What::Alarm { .. } => {}
            }
        }
        self.now = end;
    }

    /// What was counted since the last time, and begins anew.
    pub(crate) fn count(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }
}

//! A little world: peers with clocks that drift, disks that lose what was not synced, and a network that loses, doubles, delays and
//! reorders. Everything follows from a seed. After every step the laws are looked at (`checks`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::checks::Checks;
use super::*;
use crate::machine::{Op, Rng};
use crate::types::{Now, Time, WallTime};

/// A millisecond of the world's clock.
pub(super) const MS: u64 = 1_000_000;

/// What the network and the disks are like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    /// Of a thousand messages, so many are lost, and so many come twice.
    pub(super) lost: u64,
    pub(super) doubled: u64,
    /// How long a message takes, in microseconds.
    pub(super) delay: (u64, u64),
    /// How long a sync takes, in microseconds.
    pub(super) sync: (u64, u64),
}

impl Weather {
    pub(super) const FAIR: Self = Self { lost: 0, doubled: 0, delay: (1_000, 5_000), sync: (2_000, 2_000) };
}

/// A peer and what the world knows of it.
pub(in crate::consensus) struct Peer {
    pub(in crate::consensus) node: NodeId,
    pub(super) machine: Consensus,
    pub(super) up: bool,
    boot: u64,
    /// What is durable, as bytes.
    pub(in crate::consensus) disk: Vec<Vec<u8>>,
    writes: VecDeque<(Record, Wait)>,
    timers: BTreeMap<Timer, u64>,
    /// Of a thousand milliseconds its clock shows so many more.
    pub(super) drift: i64,
    pub(super) paused_until: u64,
    /// Writes are not answered before this.
    pub(super) disk_stuck_until: u64,
    rng: Rng,
    pub(super) told: Vec<Event>,
}

#[derive(Debug)]
enum Happening {
    Arrives { to: usize, from: usize, bytes: Vec<u8> },
    Fires { at: usize, boot: u64, timer: Timer, number: u64 },
    Synced { at: usize, boot: u64 },
    Closed { at: usize, peer: NodeId },
}

pub(in crate::consensus) struct World {
    pub(super) now: u64,
    number: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    pub(in crate::consensus) peers: Vec<Peer>,
    pub(super) weather: Weather,
    /// Nothing goes this way.
    pub(super) cut: BTreeSet<(usize, usize)>,
    rng: Rng,
    pub(super) checks: Checks,
    config: Config,
    pub(super) sent: u64,
    /// What is said from here on, in words, if anybody wants to know.
    pub(super) overheard: Option<Vec<String>>,
}

impl World {
    /// So many peers that know nothing of each other.
    pub(super) fn new(seed: u64, count: usize, config: Config) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let peer = |at: usize| Peer {
            node: NodeId::from_u128(at as u128 + 1),
            machine: Consensus::new(NodeId::from_u128(at as u128 + 1), config.clone()),
            up: true,
            boot: 0,
            disk: Vec::new(),
            writes: VecDeque::new(),
            timers: BTreeMap::new(),
            drift: 0,
            paused_until: 0,
            disk_stuck_until: 0,
            rng: Rng::fork(&bytes, &format!("peer {at}")),
            told: Vec::new(),
        };
        let peers = (0..count).map(peer).collect();
        let mut world = Self {
            now: 0,
            number: 0,
            queue: BTreeMap::new(),
            peers,
            weather: Weather::FAIR,
            cut: BTreeSet::new(),
            rng: Rng::fork(&bytes, "world"),
            checks: Checks::new(count),
            config,
            sent: 0,
            overheard: None,
        };
        for at in 0..count {
            world.step(at, |machine, cx| machine.start(cx, false));
        }
        for at in 0..count {
            world.link(at);
        }
        world.run(20);
        world
    }

    /// Of these, the first so many found a group.
    pub(in crate::consensus) fn founded(seed: u64, count: usize, voters: usize, config: Config) -> Self {
        let mut world = Self::new(seed, count, config);
        let voters: Vec<_> = (0..voters).map(|at| (world.id(at), 0)).collect();
        for at in 0..voters.len() {
            world.step(at, |machine, cx| machine.found(cx, Mint::new(7), &voters).unwrap());
        }
        world
    }

    /// With a leader that is settled.
    pub(super) fn led(seed: u64, voters: usize) -> (Self, usize) {
        let mut world = Self::founded(seed, voters, voters, awake());
        let leader = world.settle();
        (world, leader)
    }

    pub(super) fn id(&self, at: usize) -> Actor {
        self.peers[at].machine.me
    }

    pub(super) fn view(&self, at: usize) -> View<'_> {
        self.peers[at].machine.view()
    }

    /// Both clocks of a peer.
    pub(super) fn clock(&self, at: usize) -> Now {
        let shown = self.now / 1_000 * u64::try_from(1_000 + self.peers[at].drift).unwrap();
        let mono = Time::from_nanos(shown + (at as u64 + 1) * 1_000 * MS);
        Now { mono, wall: WallTime::from_micros(shown / 1_000 + 1_000_000) }
    }

    /// One input of one peer; what it asks for is taken up.
    pub(super) fn step<T>(&mut self, at: usize, step: impl FnOnce(&mut Consensus, &mut Cx<'_, Consensus>) -> T) -> T {
        let now = self.clock(at);
        let (peer, mut ops) = (&mut self.peers[at], Vec::new());
        let result = step(&mut peer.machine, &mut Cx::new(now, &mut peer.rng, &mut ops));
        for op in ops {
            self.take_up(at, op);
        }
        self.checks.after_step(&self.peers, at);
        result
    }

    fn take_up(&mut self, at: usize, op: Op<Consensus>) {
        match op {
            Op::Send(to, message) => self.send(at, to, &message),
            Op::Persist(record, wait) => {
                let idle = self.peers[at].writes.is_empty();
                self.peers[at].writes.push_back((record, wait));
                if idle {
                    self.sync(at);
                }
            }
            Op::Arm(timer, after) => {
                self.number += 1;
                let (number, boot) = (self.number, self.peers[at].boot);
                self.peers[at].timers.insert(timer, number);
                let real = u64::try_from(after.as_nanos()).unwrap() * 1_000
                    / u64::try_from(1_000 + self.peers[at].drift).unwrap();
                self.push(real, Happening::Fires { at, boot, timer, number });
            }
            Op::Disarm(timer) => drop(self.peers[at].timers.remove(&timer)),
            Op::Emit(event) => {
                self.checks.on_event(&self.peers, at, &event);
                self.peers[at].told.push(event);
            }
            Op::Read(..) | Op::Task(_) => panic!("this room reads nothing and has no tasks"),
        }
    }

    fn send(&mut self, at: usize, to: NodeId, message: &Message) {
        self.checks.on_send(&self.peers, at, message);
        self.sent += 1;
        if let Some(overheard) = &mut self.overheard {
            overheard.push(format!("{at} to {to:?}: {:?}", message.body));
        }
        let Some(to) = self.peers.iter().position(|peer| peer.node == to) else { return };
        if self.cut.contains(&(at, to)) || self.rng.below(1_000) < self.weather.lost {
            return;
        }
        let bytes = bincode::encode_to_vec(message, bincode::config::standard()).unwrap();
        assert!(bytes.len() <= 60 << 10, "a frame of {} bytes", bytes.len());
        let copies = 1 + u64::from(self.rng.below(1_000) < self.weather.doubled);
        for _ in 0..copies {
            let after = self.drawn(self.weather.delay);
            self.push(after, Happening::Arrives { to, from: at, bytes: bytes.clone() });
        }
    }

    fn drawn(&mut self, (least, most): (u64, u64)) -> u64 {
        1_000 * (least + self.rng.below(most - least + 1))
    }

    fn sync(&mut self, at: usize) {
        let boot = self.peers[at].boot;
        let stuck = self.peers[at].disk_stuck_until.saturating_sub(self.now);
        let after = self.drawn(self.weather.sync).max(stuck);
        self.push(after, Happening::Synced { at, boot });
    }

    fn push(&mut self, after: u64, happening: Happening) {
        self.number += 1;
        self.queue.insert((self.now + after, self.number), happening);
    }

    /// Goes on for so many milliseconds.
    pub(in crate::consensus) fn run(&mut self, ms: u64) {
        self.run_nanos(ms * MS);
    }

    fn run_nanos(&mut self, nanos: u64) {
        let until = self.now + nanos;
        while let Some(first) = self.queue.first_entry().filter(|first| first.key().0 <= until) {
            self.now = first.key().0;
            let happening = first.remove();
            self.happens(happening);
        }
        self.now = until;
    }

    /// Goes on until something is so. Milliseconds that took; panics after `most`.
    pub(super) fn until(&mut self, most: u64, is_so: impl Fn(&Self) -> bool) -> u64 {
        let began = self.now;
        while !is_so(self) {
            assert!(self.now - began <= most * MS, "it took more than {most} ms");
            self.run_nanos(MS / 4);
        }
        (self.now - began) / MS
    }

    fn happens(&mut self, happening: Happening) {
        let (Happening::Arrives { to: at, .. }
        | Happening::Fires { at, .. }
        | Happening::Synced { at, .. }
        | Happening::Closed { at, .. }) = happening;
        if self.peers[at].paused_until > self.now {
            let after = self.peers[at].paused_until - self.now;
            return self.push(after, happening);
        }
        if !self.peers[at].up {
            return;
        }
        match happening {
            Happening::Arrives { to, from, bytes } => {
                let node = self.peers[from].node;
                let (message, _) = bincode::decode_from_slice(&bytes, bincode::config::standard()).unwrap();
                self.step(to, |machine, cx| machine.on_message(cx, node, message));
            }
            Happening::Fires { at, boot, timer, number } => {
                if self.peers[at].boot == boot && self.peers[at].timers.get(&timer) == Some(&number) {
                    self.peers[at].timers.remove(&timer);
                    self.step(at, |machine, cx| machine.on_timer(cx, timer));
                }
            }
            Happening::Synced { at, boot } => self.synced(at, boot),
            Happening::Closed { at, peer } => self.step(at, |machine, cx| machine.on_unlinked(cx, peer)),
        }
    }

    /// All that was written until now is durable: one sync serves all that wait.
    fn synced(&mut self, at: usize, boot: u64) {
        if self.peers[at].boot != boot {
            return;
        }
        let writes = std::mem::take(&mut self.peers[at].writes);
        let mut waits = Vec::new();
        for (record, wait) in writes {
            self.checks.on_durable(at, &record);
            self.peers[at].disk.push(bincode::encode_to_vec(&record, bincode::config::standard()).unwrap());
            waits.push(wait);
        }
        for wait in waits {
            self.step(at, |machine, cx| machine.on_persisted(cx, wait, Ok(())));
        }
        if !self.peers[at].writes.is_empty() {
            self.sync(at);
        }
    }

    /// It loses what was not durable; the others see the link close, if it is not cut.
    pub(in crate::consensus) fn crash(&mut self, at: usize, is_seen: bool) {
        let peer = &mut self.peers[at];
        peer.up = false;
        peer.boot += 1;
        peer.writes.clear();
        peer.timers.clear();
        peer.paused_until = 0;
        let node = peer.node;
        for other in (0..self.peers.len()).filter(|other| is_seen && *other != at) {
            if !self.cut.contains(&(at, other)) {
                // Behind all that is under way: links keep the order.
                self.push(self.weather.delay.1 * 1_000, Happening::Closed { at: other, peer: node });
            }
        }
    }

    /// It starts from what is on its disk.
    pub(in crate::consensus) fn restart(&mut self, at: usize) {
        let peer = &mut self.peers[at];
        peer.machine = Consensus::new(peer.node, self.config.clone());
        for bytes in &peer.disk {
            let (record, _): (Record, usize) = bincode::decode_from_slice(bytes, bincode::config::standard()).unwrap();
            peer.machine.restore(&record).unwrap();
        }
        peer.up = true;
        let node = peer.node;
        self.checks.restarted(at);
        self.step(at, |machine, cx| machine.start(cx, false));
        for other in (0..self.peers.len()).filter(|other| *other != at) {
            if self.peers[other].up {
                self.step(other, |machine, cx| machine.on_linked(cx, node));
            }
        }
        self.link(at);
    }

    /// Its links with all that are up.
    fn link(&mut self, at: usize) {
        for other in (0..self.peers.len()).filter(|other| *other != at) {
            if self.peers[other].up {
                let node = self.peers[other].node;
                self.step(at, |machine, cx| machine.on_linked(cx, node));
            }
        }
    }

    /// Its disk is new.
    pub(in crate::consensus) fn wipe(&mut self, at: usize) {
        if self.peers[at].up {
            self.crash(at, true);
        }
        self.peers[at].disk.clear();
        self.restart(at);
    }

    /// Nothing goes between these and the others, for what is sent from now on.
    pub(super) fn isolate(&mut self, some: &[usize]) {
        for a in 0..self.peers.len() {
            for b in 0..self.peers.len() {
                if some.contains(&a) != some.contains(&b) {
                    self.cut.insert((a, b));
                }
            }
        }
    }

    /// Who leads and has committed something in its term, with the highest term.
    pub(super) fn leader(&self) -> Option<usize> {
        let leads = |at: &usize| self.peers[*at].up && self.view(*at).is_settled();
        (0..self.peers.len()).filter(leads).max_by_key(|at| self.view(*at).term())
    }

    /// Goes on until somebody leads whom all voters that are up follow.
    pub(in crate::consensus) fn settle(&mut self) -> usize {
        self.until(10_000, |world| {
            let Some(leader) = world.leader() else { return false };
            let (id, group) = (world.id(leader), world.view(leader).group().unwrap());
            let follows = |at: usize| !world.peers[at].up || world.view(at).leader() == Some(id);
            (0..world.peers.len()).filter(|at| group.is_voter(world.id(*at))).all(follows)
        });
        self.leader().unwrap()
    }

    /// An action under a new name, at a peer.
    pub(super) fn propose(&mut self, at: usize, name: &str) -> (RequestId, Result<(), Refusal>) {
        let (number, born) = (u128::from(self.rng.bits()), self.view(at).commit());
        let request = RequestId { born, number };
        let result = self.propose_as(at, name, request);
        (request, result)
    }

    pub(super) fn propose_as(&mut self, at: usize, name: &str, request: RequestId) -> Result<(), Refusal> {
        let expires = WallTime::from_micros(self.clock(at).wall.as_micros() + 30_000_000);
        let value = Value::new(vec![1, 2, 3].into());
        let action = Action { name: Name::new(name).unwrap(), expect: Expect::Any, value };
        self.step(at, |machine, cx| machine.propose(cx, Intent { request, expires, action }))
    }

    /// Decides something, wherever somebody leads; where it was decided.
    pub(in crate::consensus) fn decide(&mut self, name: &str) -> Token {
        for _ in 0..200 {
            self.until(10_000, |world| world.leader().is_some());
            let leader = self.leader().unwrap();
            let (request, result) = self.propose(leader, name);
            if result.is_ok() {
                self.run(100);
                if let Some(Answer::Decided { token, .. }) = self.answer(leader, request) {
                    return token;
                }
            }
            self.run(20);
        }
        panic!("nothing is decided any more");
    }

    /// What a peer answered to a request, last.
    pub(super) fn answer(&self, at: usize, request: RequestId) -> Option<Answer> {
        self.peers[at].told.iter().rev().find_map(|event| match event {
            Event::Answered { request: of, answer } if *of == request => Some(answer.clone()),
            _ => None,
        })
    }

    /// What a peer told since this was last asked.
    pub(super) fn told(&mut self, at: usize) -> Vec<Event> {
        std::mem::take(&mut self.peers[at].told)
    }

    /// All that is wrong with the world ends, and it has to become one again: R14.
    pub(super) fn heal(&mut self) {
        self.heal_without(&[]);
    }

    /// The same, but these die first and never come back.
    pub(super) fn heal_without(&mut self, dead: &[usize]) {
        for at in dead {
            if self.peers[*at].up {
                self.crash(*at, false);
            }
        }
        (self.weather, self.cut) = (Weather::FAIR, BTreeSet::new());
        for at in 0..self.peers.len() {
            self.peers[at].paused_until = self.peers[at].paused_until.min(self.now);
            self.peers[at].disk_stuck_until = 0;
            if !self.peers[at].up && !dead.contains(&at) {
                self.restart(at);
            }
        }
        self.run(3_000);
        self.decide("healed");
        self.run(1_000);
        self.checks.at_rest(&self.peers);
    }

    /// Draws.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.rng.below(bound)
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }
}

/// A duration in milliseconds.
pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl World {
    /// Decides something without looking at more than the leader.
    pub(super) fn decide_quickly(&mut self, name: &str) {
        self.until(5_000, |world| world.leader().is_some());
        let leader = self.leader().unwrap();
        let (request, result) = self.propose(leader, name);
        result.unwrap();
        self.until(1_000, |world| world.answer(leader, request).is_some());
    }

    /// Decides something of so many bytes.
    pub(super) fn decide_long(&mut self, name: &str, len: usize) {
        self.until(5_000, |world| world.leader().is_some());
        let leader = self.leader().unwrap();
        let (number, born) = (u128::from(self.rng.bits()), self.view(leader).commit());
        let request = RequestId { born, number };
        let action =
            Action { name: Name::new(name).unwrap(), expect: Expect::Any, value: Value::new(vec![7; len].into()) };
        let expires = WallTime::from_micros(u64::MAX);
        self.step(leader, |machine, cx| machine.propose(cx, Intent { request, expires, action })).unwrap();
        self.until(1_000, |world| world.answer(leader, request).is_some());
    }
}

impl World {
    /// Its disk takes writes again: it goes on from what is there, and its links are up.
    pub(super) fn reopen(&mut self, at: usize) {
        let peer = &mut self.peers[at];
        peer.machine = peer.machine.again();
        for bytes in &peer.disk {
            let (record, _) = bincode::decode_from_slice(bytes, bincode::config::standard()).unwrap();
            peer.machine.restore(&record).unwrap();
        }
        self.checks.restarted(at);
        self.step(at, |machine, cx| machine.start(cx, false));
    }

    /// It starts from what is on its disk, and its host knows that something is missing there.
    pub(super) fn restart_cut(&mut self, at: usize) {
        self.peers[at].up = true;
        let peer = &mut self.peers[at];
        peer.machine = Consensus::new(peer.node, self.config.clone());
        for bytes in &peer.disk {
            let (record, _) = bincode::decode_from_slice(bytes, bincode::config::standard()).unwrap();
            peer.machine.restore(&record).unwrap();
        }
        self.checks.restarted(at);
        self.step(at, |machine, cx| machine.start(cx, true));
        self.run(20);
    }
}

//! A mesh of replication machines in virtual time: links that delay, lose, double and reorder frames, disks that take their
//! time and lose what was not synced.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use crate::machine::{Op, Rng};
use crate::topology::{Policy, graph};
use crate::types::{Now, Time, VersionVector, WallTime};
use crate::wire;

pub(super) const MS: u64 = 1_000_000;

/// What the links do to frames.
#[derive(Clone, Copy, Debug)]
pub(super) struct Net {
    pub(super) delay: (u64, u64),
    /// Another number, other delays.
    pub(super) drawn: u8,
    /// In thousandths.
    pub(super) loss: u64,
    pub(super) doubled: u64,
    pub(super) reorder: bool,
}

impl Default for Net {
    fn default() -> Self {
        Self { delay: (5 * MS, 15 * MS), drawn: 3, loss: 0, doubled: 0, reorder: false }
    }
}

/// Bytes of frames by what they carry.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traffic {
    pub(super) frames: u64,
    pub(super) bytes: u64,
    pub(super) digests: u64,
    pub(super) vectors: u64,
    pub(super) haves: u64,
    pub(super) acks: u64,
}

#[derive(Debug)]
enum Happening {
    Frame { from: NodeId, to: NodeId, lane: Lane, frame: Bytes, link: u64 },
    Timer { to: NodeId, timer: Timer, life: u64, serial: u64 },
    Persisted { to: NodeId, record: Record, wait: Wait, life: u64 },
    Read { to: NodeId, position: Position, wait: Wait, life: u64 },
}

#[derive(Debug)]
pub(super) struct Host {
    pub(super) machine: Replication,
    pub(super) disk: Vec<Record>,
    /// What this life was told: per log how far.
    delivered: BTreeMap<LogId, u64>,
    pub(super) events: Vec<Event>,
    rng: Rng,
    timers: BTreeMap<Timer, u64>,
    life: u64,
    pub(super) up: bool,
    /// The disk is free again then.
    disk_free: u64,
}

/// Everything.
#[derive(Debug)]
pub(super) struct World {
    pub(super) now: u64,
    serial: u64,
    luck: Rng,
    queue: BTreeMap<(u64, u64), Happening>,
    pub(super) hosts: BTreeMap<NodeId, Host>,
    /// The graph: who would be neighbours.
    pub(super) edges: BTreeSet<(NodeId, NodeId)>,
    /// The edges that are up, each with the number of its link.
    links: BTreeMap<(NodeId, NodeId), u64>,
    pub(super) net: Net,
    /// When the last frame of a lane arrives: lanes keep their order.
    last: BTreeMap<(NodeId, NodeId, Lane), u64>,
    pub(super) traffic: Traffic,
    /// What was originated and answered, with its body's hash.
    pub(super) answered: BTreeMap<(LogId, Seq), Bytes>,
    tokens: BTreeMap<u64, Bytes>,
    pub(super) config: Config,
}

pub(super) fn star(n: u8) -> Vec<(u8, u8)> {
    (2..=n).map(|spoke| (1, spoke)).collect()
}

pub(super) fn tree(n: u8, arity: u8) -> Vec<(u8, u8)> {
    (1..n).map(|child| ((child - 1) / arity + 1, child + 1)).collect()
}

pub(super) fn full(n: u8) -> Vec<(u8, u8)> {
    (1..=n).flat_map(|a| (a + 1..=n).map(move |b| (a, b))).collect()
}

/// A partial mesh, as the overlay computes it.
pub(super) fn web(n: u8, degree: u8) -> Vec<(u8, u8)> {
    let seat = |n| graph::Seat { id: node(n), region: "", priority: 0, observer: false };
    let seats: Vec<_> = (1..=n).map(seat).collect();
    let beside = |a| graph::neighbors(&seats, Policy::Mesh { degree }, node(a));
    (1..=n)
        .flat_map(|a| (a + 1..=n).filter(|b| beside(a).contains(&node(*b))).map(|b| (a, b)).collect::<Vec<_>>())
        .collect()
}

impl World {
    pub(super) fn new(seed: u8, edges: &[(u8, u8)], config: Config) -> Self {
        let mut world = Self {
            now: MS,
            serial: 0,
            luck: Rng::fork(&[seed; 32], "world"),
            queue: BTreeMap::new(),
            hosts: BTreeMap::new(),
            edges: edges.iter().map(|(a, b)| (node(*a), node(*b))).collect(),
            links: BTreeMap::new(),
            net: Net::default(),
            last: BTreeMap::new(),
            traffic: Traffic::default(),
            answered: BTreeMap::new(),
            tokens: BTreeMap::new(),
            config,
        };
        let ids: BTreeSet<NodeId> = world.edges.iter().flat_map(|(a, b)| [*a, *b]).collect();
        for id in ids {
            world.boot(id, Actor { node: id, mint: Mint::new(1) }, Vec::new(), 0);
        }
        world.join_all();
        world
    }

    fn boot(&mut self, id: NodeId, actor: Actor, disk: Vec<Record>, life: u64) {
        let mut machine = Replication::new(actor, self.config.clone());
        let mut delivered = BTreeMap::new();
        for (offset, record) in disk.iter().enumerate() {
            machine.restore(record, at(offset as u64, record.body.len())).expect("the disk holds what was written");
            delivered.insert(record.log, record.seq.value());
        }
        let rng = Rng::fork(&[u8::try_from(life % 251).unwrap(); 32], &id.to_string());
        let host = Host {
            machine,
            disk,
            delivered,
            events: Vec::new(),
            rng,
            timers: BTreeMap::new(),
            life,
            up: true,
            disk_free: 0,
        };
        self.hosts.insert(id, host);
        self.step(id, |machine, cx| machine.start(cx));
    }

    /// Brings every edge between hosts that are up, up.
    pub(super) fn join_all(&mut self) {
        for (a, b) in self.edges.clone() {
            self.join(a, b);
        }
    }

    pub(super) fn join(&mut self, a: NodeId, b: NodeId) {
        if self.links.contains_key(&(a, b)) || !self.hosts[&a].up || !self.hosts[&b].up {
            return;
        }
        self.serial += 1;
        self.links.insert((a, b), self.serial);
        self.step(a, |machine, cx| machine.on_neighbor_up(cx, b));
        self.step(b, |machine, cx| machine.on_neighbor_up(cx, a));
    }

    pub(super) fn cut(&mut self, a: NodeId, b: NodeId) {
        if self.links.remove(&(a, b)).is_some() {
            self.step(a, |machine, cx| machine.on_neighbor_down(cx, b));
            self.step(b, |machine, cx| machine.on_neighbor_down(cx, a));
        }
    }

    /// Kills a host: what its disk has not answered is lost.
    pub(super) fn kill(&mut self, id: NodeId) {
        for (a, b) in self.edges.clone() {
            if a == id || b == id {
                self.cut(a, b);
            }
        }
        self.hosts.get_mut(&id).unwrap().up = false;
    }

    pub(super) fn restart(&mut self, id: NodeId) {
        let host = &self.hosts[&id];
        if !host.up {
            let (actor, disk, life) = (host.machine.actor, host.disk.clone(), host.life + 1);
            self.boot(id, actor, disk, life);
        }
    }

    pub(super) fn originate(&mut self, id: NodeId, len: usize) {
        if !self.hosts[&id].up {
            return;
        }
        self.serial += 1;
        let token = self.serial;
        let body = body(LogId { actor: Actor { node: id, mint: Mint::new(token) }, topic: Topic::DOCUMENTS }, 0, len);
        self.tokens.insert(token, body.clone());
        self.step(id, |machine, cx| machine.originate(cx, Topic::DOCUMENTS, body, token));
    }

    /// Lets virtual time pass.
    pub(super) fn run(&mut self, millis: u64) {
        self.run_nanos(millis * MS);
    }

    pub(super) fn run_nanos(&mut self, nanos: u64) {
        let until = self.now + nanos;
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= until) {
            let ((now, _), happening) = entry.remove_entry();
            self.now = now;
            self.happen(happening);
        }
        self.now = until;
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Frame { from, to, lane, frame, link } => {
                let pair = if from < to { (from, to) } else { (to, from) };
                if self.links.get(&pair) == Some(&link) {
                    let payload = wire::open(&frame, lane).unwrap().unwrap();
                    let message: Message = payload.decode().expect("what is sent can be read");
                    self.step(to, |machine, cx| machine.on_message(cx, from, message));
                }
            }
            Happening::Timer { to, timer, life, serial } => {
                let host = self.hosts.get_mut(&to).unwrap();
                if host.up && host.life == life && host.timers.get(&timer) == Some(&serial) {
                    host.timers.remove(&timer);
                    self.step(to, |machine, cx| machine.on_timer(cx, timer));
                }
            }
            Happening::Persisted { to, record, wait, life } => {
                let host = self.hosts.get_mut(&to).unwrap();
                if host.up && host.life == life {
                    let position = at(host.disk.len() as u64, record.body.len());
                    host.disk.push(record);
                    self.step(to, |machine, cx| machine.on_persisted(cx, wait, Ok(position)));
                }
            }
            Happening::Read { to, position, wait, life } => {
                let host = &self.hosts[&to];
                if host.up && host.life == life {
                    let record = host.disk[usize::try_from(position.offset).unwrap()].clone();
                    self.step(to, |machine, cx| machine.on_read(cx, wait, Ok(record)));
                }
            }
        }
    }

    /// One input of one machine, and everything it asks for.
    pub(super) fn step(&mut self, id: NodeId, input: impl FnOnce(&mut Replication, &mut Cx<'_, Replication>)) {
        let wall = WallTime::from_micros(1_700_000_000_000_000 + self.now / 1_000);
        let now = Now { mono: Time::from_nanos(self.now), wall };
        let host = self.hosts.get_mut(&id).unwrap();
        let mut ops = Vec::new();
        input(&mut host.machine, &mut Cx::new(now, &mut host.rng, &mut ops));
        for op in ops {
            self.perform(id, op);
        }
    }

    fn perform(&mut self, id: NodeId, op: Op<Replication>) {
        self.serial += 1;
        let (now, serial) = (self.now, self.serial);
        let host = self.hosts.get_mut(&id).unwrap();
        let life = host.life;
        match op {
            Op::Send(to, message) => self.transmit(id, to, &message),
            Op::Persist(record, wait) => {
                // One sync serves all that came before it: 1.5 ms.
                host.disk_free = host.disk_free.max(now + 3 * MS / 2);
                self.queue.insert((host.disk_free, serial), Happening::Persisted { to: id, record, wait, life });
            }
            Op::Read(position, wait) => {
                let happening = Happening::Read { to: id, position, wait, life };
                self.queue.insert((now + MS / 10, serial), happening);
            }
            Op::Task(never) => match never {},
            Op::Arm(timer, after) => {
                host.timers.insert(timer, serial);
                let after = u64::try_from(after.as_nanos()).unwrap();
                self.queue.insert((now + after, serial), Happening::Timer { to: id, timer, life, serial });
            }
            Op::Disarm(timer) => _ = host.timers.remove(&timer),
            Op::Emit(event) => self.hear(id, event),
        }
    }

    fn hear(&mut self, id: NodeId, event: Event) {
        let host = self.hosts.get_mut(&id).unwrap();
        match &event {
            Event::Delivered { log, seq, body, .. } => {
                let last = host.delivered.insert(*log, seq.value()).unwrap_or_default();
                assert_eq!(last + 1, seq.value(), "{id:?} is told of {log:?} in order, each entry once");
                if let Some(original) = self.answered.get(&(*log, *seq)) {
                    assert_eq!(body, original, "what is delivered is what was originated");
                }
            }
            Event::Originated { token, log, seq, .. } => {
                host.delivered.insert(*log, seq.value());
                self.answered.insert((*log, *seq), self.tokens[token].clone());
            }
            _ => {}
        }
        host.events.push(event);
    }

    fn transmit(&mut self, from: NodeId, to: NodeId, message: &Message) {
        let lane = message.lane();
        let frame = wire::seal(wire::Kind::Replication, lane, message);
        let len = frame.len() as u64;
        let counter = match message {
            Message::Digest(_) => &mut self.traffic.digests,
            Message::Vector(_) => &mut self.traffic.vectors,
            Message::Have(_) => &mut self.traffic.haves,
            Message::Ack { .. } => &mut self.traffic.acks,
            _ => &mut 0,
        };
        *counter += len;
        (self.traffic.frames, self.traffic.bytes) = (self.traffic.frames + 1, self.traffic.bytes + len);
        let pair = if from < to { (from, to) } else { (to, from) };
        let Some(link) = self.links.get(&pair).copied() else { return };
        let copies = if self.luck.below(1_000) < self.net.loss {
            0
        } else {
            1 + u64::from(self.luck.below(1_000) < self.net.doubled)
        };
        for _ in 0..copies {
            self.serial += 1;
            // A little jitter.
            let mut at = self.now + self.delay(pair) + self.luck.below(MS / 2);
            if self.net.reorder {
                at += self.luck.below(3 * self.net.delay.1);
            } else {
                let last = self.last.entry((from, to, lane)).or_default();
                at = at.max(*last + 1);
                *last = at;
            }
            let frame = frame.clone();
            self.queue.insert((at, self.serial), Happening::Frame { from, to, lane, frame, link });
        }
    }

    /// Each link has its own.
    pub(super) fn delay(&self, pair: (NodeId, NodeId)) -> u64 {
        let (min, max) = self.net.delay;
        min + Rng::fork(&[self.net.drawn; 32], &format!("{pair:?}")).below(max - min + 1)
    }

    pub(super) fn vectors(&self) -> BTreeSet<Vec<(LogId, Seq)>> {
        let up = self.hosts.values().filter(|host| host.up);
        up.map(|host| host.machine.view().vector().iter().collect()).collect()
    }

    /// Whether all hold the same, and at least everything that was answered.
    pub(super) fn agrees(&self) -> Result<(), String> {
        let vectors = self.vectors();
        let [all] = &vectors.iter().collect::<Vec<_>>()[..] else {
            return Err(format!("{} different vectors: {vectors:#?}", vectors.len()));
        };
        let all: VersionVector = all.iter().copied().collect();
        for (log, seq) in self.answered.keys() {
            if all.of(*log) < *seq {
                return Err(format!("{} is missing", log.at(*seq)));
            }
        }
        Ok(())
    }

    pub(super) fn statistics(&self) -> Statistics {
        self.hosts.values().map(|host| host.machine.view().statistics()).fold(Statistics::default(), |a, b| {
            Statistics {
                pushed: a.pushed + b.pushed,
                taken: a.taken + b.taken,
                duplicates: a.duplicates + b.duplicates,
                wants: a.wants + b.wants,
                grafts: a.grafts + b.grafts,
                prunes: a.prunes + b.prunes,
                retransmits: a.retransmits + b.retransmits,
                repaired_bytes: a.repaired_bytes + b.repaired_bytes,
                overflows: a.overflows + b.overflows,
                faults: a.faults + b.faults,
            }
        })
    }

    /// Runs until all agree; says how long it took.
    pub(super) fn settle(&mut self, limit: Duration) -> Duration {
        let start = self.now;
        let limit = start + u64::try_from(limit.as_nanos()).unwrap();
        while self.agrees().is_err() {
            assert!(self.now < limit, "no agreement: {:?} {:#?}", self.agrees(), self.statistics());
            self.run(if self.now < start + 500 * MS { 5 } else { 100 });
        }
        Duration::from_nanos(self.now - start)
    }
}

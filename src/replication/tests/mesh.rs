//! A mesh of replication machines in virtual time: links that delay, lose, double and reorder frames, disks that take their
//! time and lose what was not synced.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use crate::machine::{Op, Rng};
use crate::topology::{Policy, graph};
use crate::types::{Digest, LogId, Mint, Now, Time, VersionVector, WallTime, digest64};
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
    pub(super) held: u64,
}

#[derive(Debug)]
enum Happening {
    Frame { from: NodeId, to: NodeId, lane: Lane, frame: Bytes, link: u64 },
    Timer { to: NodeId, timer: Timer, life: u64, serial: u64 },
    Persisted { to: NodeId, record: Kept, wait: Wait, life: u64 },
    Minted { to: NodeId, actor: Actor, life: u64 },
    Read { to: NodeId, position: Position, wait: Wait, life: u64 },
}

/// What stands at one place of a disk.
#[derive(Clone, Debug)]
pub(super) enum Stored {
    Kept(Kept),
    /// From here on the host writes as this actor.
    Minted(Actor),
}

#[derive(Debug)]
pub(super) struct Host {
    pub(super) machine: Replication,
    pub(super) disk: Vec<Stored>,
    /// What this life was told: per log how far.
    delivered: BTreeMap<LogId, u64>,
    /// And what it said.
    told: BTreeSet<Digest>,
    pub(super) events: Vec<Event>,
    rng: Rng,
    timers: BTreeMap<Timer, u64>,
    pub(super) life: u64,
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
    /// What was originated and answered.
    pub(super) answered: BTreeMap<(LogId, Seq), Bytes>,
    /// What must be everywhere in the end.
    promised: BTreeSet<Digest>,
    /// Whose disk was put back to an earlier image: they may use places twice.
    reused: BTreeSet<NodeId>,
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
            promised: BTreeSet::new(),
            reused: BTreeSet::new(),
            tokens: BTreeMap::new(),
            config,
        };
        let ids: BTreeSet<NodeId> = world.edges.iter().flat_map(|(a, b)| [*a, *b]).collect();
        for id in ids {
            world.boot(id, vec![Stored::Minted(Actor { node: id, mint: Mint::new(1) })], 0);
        }
        world.join_all();
        world
    }

    fn boot(&mut self, id: NodeId, disk: Vec<Stored>, life: u64) {
        let (mut entries, mut actor) = (VecDeque::new(), None);
        let mut pauses = Vec::new();
        for (offset, stored) in (0..).zip(&disk) {
            match stored {
                Stored::Kept(Kept::Entry(record)) => entries.push_back((record.clone(), at(offset, record.body.len()))),
                Stored::Kept(Kept::Branch(branch)) => branch.replay(&mut entries),
                Stored::Kept(Kept::Pause(pause)) => pauses.push(*pause),
                Stored::Kept(other) => panic!("{other:?}: documents are kept"),
                Stored::Minted(minted) => actor = Some(*minted),
            }
        }
        // A disk that was wiped gets a new actor at the boot, as the node would give it one.
        let actor = actor.unwrap_or_else(|| Actor { node: id, mint: Mint::new(1_000 + life) });
        let mut machine = Replication::new(actor, self.config.clone());
        pauses.into_iter().for_each(|pause| machine.restore_pause(pause));
        let (mut delivered, mut told) = (BTreeMap::new(), BTreeSet::new());
        for (record, position) in entries {
            machine.restore(&record, position).expect("the disk holds what was written");
            delivered.insert(record.log, record.seq.value());
            told.insert(digest64(&record.body));
        }
        let rng = Rng::fork(&[u8::try_from(life % 251).unwrap(); 32], &id.to_string());
        let host = Host {
            machine,
            disk,
            delivered,
            told,
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
            let (disk, life) = (host.disk.clone(), host.life + 1);
            self.boot(id, disk, life);
        }
    }

    /// Puts a host's disk back to what its first `len` places held, and starts it. What nobody holds any more is lost.
    pub(super) fn put_back(&mut self, id: NodeId, len: usize) {
        self.kill(id);
        self.hosts.get_mut(&id).unwrap().disk.truncate(len.max(1));
        self.reused.insert(id);
        let held = self.hosts.values().flat_map(|host| &host.disk).filter_map(|stored| match stored {
            Stored::Kept(Kept::Entry(record)) => Some(digest64(&record.body)),
            Stored::Kept(_) | Stored::Minted(_) => None,
        });
        let held: BTreeSet<Digest> = held.collect();
        self.promised.retain(|promised| held.contains(promised));
        self.restart(id);
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
                    let len = if let Kept::Entry(record) = &record { record.body.len() } else { 0 };
                    let position = at(host.disk.len() as u64, len);
                    host.disk.push(Stored::Kept(record));
                    self.step(to, |machine, cx| machine.on_persisted(cx, wait, Ok(position)));
                }
            }
            Happening::Minted { to, actor, life } => {
                let host = self.hosts.get_mut(&to).unwrap();
                if host.up && host.life == life {
                    host.disk.push(Stored::Minted(actor));
                }
            }
            Happening::Read { to, position, wait, life } => {
                let host = &self.hosts[&to];
                if host.up && host.life == life {
                    let stored = host.disk[usize::try_from(position.offset).unwrap()].clone();
                    let Stored::Kept(Kept::Entry(record)) = stored else { panic!("{stored:?} is read as an entry") };
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
        let mut rolled_back = false;
        for op in ops {
            rolled_back |= matches!(op, Op::Emit(Event::RolledBack { .. }));
            self.perform(id, op);
        }
        if rolled_back {
            self.mint(id);
        }
    }

    /// As the node does when it hears that its store was rolled back.
    fn mint(&mut self, id: NodeId) {
        self.serial += 1;
        let (actor, serial) = (Actor { node: id, mint: Mint::new(1_000_000 + self.serial) }, self.serial);
        let host = self.hosts.get_mut(&id).unwrap();
        host.disk_free = host.disk_free.max(self.now + 1);
        let (at, life) = (host.disk_free, host.life);
        self.queue.insert((at, serial), Happening::Minted { to: id, actor, life });
        self.step(id, |machine, cx| machine.mint(cx, actor));
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
                if let Some(original) =
                    self.answered.get(&(*log, *seq)).filter(|_| !self.reused.contains(&log.actor.node))
                {
                    assert_eq!(body, original, "what is delivered is what was originated");
                }
                host.told.insert(digest64(body));
            }
            Event::Originated { token, log, seq, .. } => {
                let body = &self.tokens[token];
                let before = host.delivered.insert(*log, seq.value()).unwrap_or_default();
                assert!(before < seq.value(), "a life uses a place once");
                host.told.insert(digest64(body));
                self.promised.insert(digest64(body));
                self.answered.insert((*log, *seq), body.clone());
            }
            Event::GaveWay { log, from, last, to, at } => {
                assert_eq!(host.delivered.insert(*log, from.value() - 1), Some(last.value()));
                let here = host.machine.view().vector().of(*to);
                assert!(here >= *at, "the last of it stands in {to:?}, which is held up to {here}");
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
            Message::Ack { .. } | Message::Part { .. } => &mut self.traffic.acks,
            Message::Held(_) | Message::Tell(_) | Message::Equal { .. } | Message::Watch(_) => &mut self.traffic.held,
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

    /// How far everybody holds each log, and which branch of it.
    pub(super) fn vectors(&self) -> BTreeSet<Vec<(LogId, Seq, Digest)>> {
        let up = self.hosts.values().filter(|host| host.up);
        let tip = |host: &Host, log| host.machine.view().tip(log).unwrap_or_default();
        up.map(|host| host.machine.view().vector().iter().map(|(log, seq)| (log, seq, tip(host, log))).collect())
            .collect()
    }

    /// Whether all hold the same, and at least everything that was answered.
    pub(super) fn agrees(&self) -> Result<(), String> {
        let vectors = self.vectors();
        let [all] = &vectors.iter().collect::<Vec<_>>()[..] else {
            return Err(format!("{} different vectors: {vectors:#?}", vectors.len()));
        };
        let all: VersionVector = all.iter().map(|(log, seq, _)| (*log, *seq)).collect();
        let once = |log: &LogId| !self.reused.contains(&log.actor.node);
        for (log, seq) in self.answered.keys().filter(|(log, _)| once(log)) {
            if all.of(*log) < *seq {
                return Err(format!("{} is missing", log.at(*seq)));
            }
        }
        for (id, host) in self.hosts.iter().filter(|(_, host)| host.up) {
            let missing = self.promised.difference(&host.told).count();
            if missing > 0 {
                return Err(format!("{missing} of {} bodies are not at {id:?}", self.promised.len()));
            }
            if !host.machine.view().forks().is_empty() {
                return Err(format!("{id:?} still disputes {:?}", host.machine.view().forks()));
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
                branches: a.branches + b.branches,
                faults: a.faults + b.faults,
                pushed_bytes: a.pushed_bytes + b.pushed_bytes,
                taken_bytes: a.taken_bytes + b.taken_bytes,
                failed: a.failed + b.failed,
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

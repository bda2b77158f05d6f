//! Entries from one peer to another: what it costs to originate, give, take and acknowledge them, disks and links aside.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use oxigdal_ha::machine::{Cx, Machine as _, Op, Rng};
use oxigdal_ha::replication::{Config, Event, Kept, Message, Replication, Timer};
use oxigdal_ha::types::{Actor, Hlc, Lane, Mint, NodeId, Now, Position, SegmentId, Time, Topic, WallTime};
use oxigdal_ha::wal::{self, Scanner, Writer};
use oxigdal_ha::wire::{self, Kind};

use crate::cpu::Cpu;
use crate::wire::body;

const ENTRIES: usize = 10_000;

/// What lies between two machines.
#[derive(Clone, Copy, PartialEq)]
enum Between {
    /// Nothing: messages are handed over.
    Nothing,
    /// The frames that would cross the wire, and the bytes that would go to the log.
    Bytes,
}

struct Host {
    id: NodeId,
    machine: Replication,
    rng: Rng,
    log: Writer,
    timers: Vec<(Time, Timer)>,
    delivered: usize,
}

/// Two neighbours whose disks answer at once.
struct Pair {
    hosts: [Host; 2],
    between: Between,
    now: Time,
    sent: VecDeque<(usize, Lane, Sent)>,
}

enum Sent {
    Message(Message),
    Frame(Bytes),
}

impl Host {
    fn new(number: u8) -> Self {
        let id = NodeId::from_u128(u128::from(number));
        Self {
            id,
            machine: Replication::new(Actor { node: id, mint: Mint::new(1) }, Config::default()),
            rng: Rng::fork(&[number; 32], "replication"),
            log: Writer::new(wal::Config::default(), Scanner::new(id).finish().end, 1),
            timers: Vec::new(),
            delivered: 0,
        }
    }
}

impl Pair {
    fn new(between: Between) -> Self {
        let mut pair =
            Self { hosts: [Host::new(1), Host::new(2)], between, now: Time::from_nanos(1), sent: VecDeque::new() };
        let ids = [pair.hosts[0].id, pair.hosts[1].id];
        for at in [0, 1] {
            pair.step(at, |machine, cx| machine.start(cx));
        }
        for at in [0, 1] {
            pair.step(at, |machine, cx| machine.on_neighbor_up(cx, ids[1 - at]));
        }
        pair.settle(0);
        pair
    }

    fn step(&mut self, at: usize, input: impl FnOnce(&mut Replication, &mut Cx<'_, Replication>)) {
        let wall = WallTime::from_micros(1_700_000_000_000_000 + self.now.as_nanos() / 1_000);
        let (now, mut ops) = (Now { mono: self.now, wall }, Vec::new());
        let host = &mut self.hosts[at];
        input(&mut host.machine, &mut Cx::new(now, &mut host.rng, &mut ops));
        for op in ops {
            self.perform(at, op);
        }
    }

    fn perform(&mut self, at: usize, op: Op<Replication>) {
        match op {
            Op::Send(_, message) => {
                let lane = Replication::lane(&message);
                let sent = match self.between {
                    Between::Nothing => Sent::Message(message),
                    Between::Bytes => Sent::Frame(wire::seal(Kind::Replication, lane, &message)),
                };
                self.sent.push_back((1 - at, lane, sent));
            }
            Op::Persist(Kept::Entry(record), wait) => {
                let position = match self.between {
                    Between::Nothing => Position { segment: SegmentId::new(1), offset: 0, len: 0 },
                    Between::Bytes => {
                        let bytes = bincode::encode_to_vec(&record, bincode::config::standard()).unwrap();
                        self.hosts[at].log.append(1, Hlc::default(), &bytes).unwrap().position
                    }
                };
                self.step(at, |machine, cx| machine.on_persisted(cx, wait, Ok(position)));
            }
            Op::Persist(kept, _) => unreachable!("there are no branches and no trims here: {kept:?}"),
            Op::Arm(timer, after) => {
                let due = self.now + after;
                let timers = &mut self.hosts[at].timers;
                timers.retain(|(_, armed)| *armed != timer);
                timers.push((due, timer));
            }
            Op::Disarm(timer) => self.hosts[at].timers.retain(|(_, armed)| *armed != timer),
            Op::Emit(Event::Delivered { .. }) => self.hosts[at].delivered += 1,
            Op::Emit(_) => {}
            Op::Read(..) => panic!("what is spread is still in the cache"),
            Op::Task(never) => match never {},
        }
    }

    /// Hands over what was sent until the second has so many entries; timers fire only when nothing else happens.
    fn settle(&mut self, delivered: usize) {
        loop {
            while let Some((to, lane, sent)) = self.sent.pop_front() {
                let message = match sent {
                    Sent::Message(message) => message,
                    Sent::Frame(frame) => wire::open(&frame, lane).unwrap().unwrap().decode().unwrap(),
                };
                let from = self.hosts[1 - to].id;
                self.step(to, |machine, cx| machine.on_message(cx, from, message));
            }
            if self.hosts[1].delivered >= delivered {
                return;
            }
            self.fire();
        }
    }

    /// The next timer of either.
    fn fire(&mut self) {
        let armed = (0..2).flat_map(|at| self.hosts[at].timers.iter().map(move |(due, timer)| (*due, at, *timer)));
        let (due, at, timer) = armed.min().expect("a machine that waits has a timer");
        self.now = self.now.max(due);
        self.hosts[at].timers.retain(|(_, armed)| *armed != timer);
        self.step(at, |machine, cx| machine.on_timer(cx, timer));
    }

    /// The first writes, the second takes.
    fn spread(mut self, bodies: &[Bytes]) -> Self {
        for (token, body) in bodies.iter().enumerate() {
            // An edit each 10 us.
            self.now = self.now + Duration::from_micros(10);
            self.step(0, |machine, cx| machine.originate(cx, Topic::DOCUMENTS, body.clone(), token as u64));
        }
        self.settle(bodies.len());
        assert_eq!(self.hosts[1].machine.view().entries(), bodies.len() as u64);
        self
    }
}

pub(crate) fn bench(c: &mut Criterion<Cpu>) {
    let bodies: Vec<Bytes> = (0..ENTRIES).map(|number| body(number as u64, 100)).collect();
    let mut group = c.benchmark_group("replication: 10,000 entries of 100 B from one peer to another");
    group.sample_size(20).throughput(Throughput::Elements(ENTRIES as u64));
    for (name, between) in [("machines alone", Between::Nothing), ("with frames and log", Between::Bytes)] {
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter_batched(|| Pair::new(between), |pair| pair.spread(&bodies), BatchSize::PerIteration);
        });
    }
    group.finish();
}

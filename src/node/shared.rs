//! What the machines share: the outbox, the timers, the log's end, and who waits for which answer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::machine::{Cx, Op, Rng};
use crate::replication;
use crate::types::{
    Chain, DiskFault, DiskFaultKind, Hlc, HlcClock, IoId, Lane, Lsn, Now, PersistId, Position, SegmentId, TaskId, Topic,
};
use crate::wal;
use crate::wire;

use super::edge::{Effect, Event, Io, IoOutcome};
use super::hosted::{Hosted, Wait};
use super::record::Own;
use super::timers::Timers;

/// The generators of one node, forked by name.
#[derive(Clone, Debug)]
pub(super) struct Rngs {
    pub(super) node: Rng,
    pub(super) membership: Rng,
    pub(super) overlay: Rng,
    pub(super) replication: Rng,
    pub(super) documents: Rng,
    pub(super) events: Rng,
    pub(super) audit: Rng,
}

impl Rngs {
    pub(super) fn fork(seed: &[u8; 32]) -> Self {
        let fork = |name| Rng::fork(seed, name);
        Self {
            node: fork("node"),
            membership: fork("membership"),
            overlay: fork("overlay"),
            replication: fork("replication"),
            documents: fork("documents"),
            events: fork("events"),
            audit: fork("audit"),
        }
    }
}

/// Totals since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
    /// Of the sync lane: payloads before compression, and the frames that carried them.
    pub(super) sync_raw: u64,
    pub(super) sync_sent: u64,
}

/// A write that the disk has not answered.
#[derive(Debug)]
struct InFlight {
    id: PersistId,
    wait: Wait,
    lsn: Lsn,
    position: Position,
}

/// The ends of both chains.
#[derive(Debug)]
pub(super) struct Logs {
    pub(super) main: wal::Writer,
    pub(super) events: wal::Writer,
    /// With which record each segment of the events' chain begins.
    pub(super) starts: BTreeMap<SegmentId, Lsn>,
    /// Stamps every record of either chain above all that were stamped before.
    pub(super) clock: HlcClock,
}

impl Logs {
    fn of(&mut self, chain: Chain) -> &mut wal::Writer {
        match chain {
            Chain::Main => &mut self.main,
            Chain::Events => &mut self.events,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) effects: VecDeque<Effect>,
    pub(super) events: VecDeque<Event>,
    pub(super) timers: Timers,
    pub(super) rngs: Rngs,
    pub(super) counts: Counts,
    packing: wire::Packing,
    logs: Logs,
    /// Writes in flight, in order: the disk answers them in order.
    persists: VecDeque<InFlight>,
    reads: BTreeMap<IoId, (Wait, Position)>,
    tasks: BTreeSet<TaskId>,
    next_persist: PersistId,
    next_io: IoId,
    next_task: TaskId,
}

impl Shared {
    pub(super) fn new(rngs: Rngs, logs: Logs, next_io: IoId, packing: wire::Packing) -> Self {
        Self {
            effects: VecDeque::new(),
            events: VecDeque::new(),
            timers: Timers::default(),
            rngs,
            counts: Counts::default(),
            packing,
            logs,
            persists: VecDeque::new(),
            reads: BTreeMap::new(),
            tasks: BTreeSet::new(),
            next_persist: PersistId::ZERO,
            next_io,
            next_task: TaskId::ZERO,
        }
    }

    /// Runs one machine for one step and takes up what it asked for.
    pub(super) fn step<M: Hosted>(&mut self, now: Now, step: impl FnOnce(&mut Cx<'_, M>)) {
        let mut ops = Vec::new();
        step(&mut Cx::new(now, M::rng(&mut self.rngs), &mut ops));
        for op in ops {
            self.take_up(now, op);
        }
    }

    fn take_up<M: Hosted>(&mut self, now: Now, op: Op<M>) {
        match op {
            Op::Send(to, message) => {
                let kind = M::KIND.expect("a machine without a kind has no messages");
                let lane = M::lane(&message);
                let frame = wire::seal_packed(kind, lane, &message, self.packing);
                self.counts.bytes_sent += frame.len() as u64;
                if lane == Lane::Sync {
                    self.counts.sync_raw += wire::plain_len(&frame) as u64;
                    self.counts.sync_sent += frame.len() as u64;
                }
                self.effects.push_back(Effect::Send { to, lane, frame });
            }
            Op::Persist(record, wait) => self.append(now, &M::record(record), M::wait(wait)),
            Op::Read(position, wait) => {
                self.next_io = self.next_io.next();
                self.reads.insert(self.next_io, (M::wait(wait), position));
                let Position { segment, offset, len } = position;
                self.effects
                    .push_back(Effect::Io { id: self.next_io, op: Io::Read { segment, offset, len: u64::from(len) } });
            }
            Op::Task(task) => {
                self.next_task = self.next_task.next();
                self.tasks.insert(self.next_task);
                self.effects.push_back(Effect::Task { id: self.next_task, task: M::task(task) });
            }
            Op::Arm(timer, after) => self.timers.arm(M::timer(timer), now.mono + after),
            Op::Disarm(timer) => self.timers.disarm(M::timer(timer)),
            Op::Emit(event) => self.events.push_back(M::event(event)),
        }
    }

    /// Appends a record to the chain it belongs to.
    pub(super) fn append(&mut self, now: Now, record: &Own, wait: Wait) {
        match record {
            // Its place among the entries that it speaks of is told, since they stand in another chain.
            Own::Branch(branch) if branch.log.topic == Topic::EVENTS => {
                let record = Own::EventsBranch { branch: *branch, before: self.logs.events.next_lsn() };
                self.append_to(Chain::Main, now, &record, wait);
            }
            _ => self.append_to(record.chain(), now, record, wait),
        }
    }

    /// Appends a record to this chain.
    pub(super) fn append_to(&mut self, chain: Chain, now: Now, record: &Own, wait: Wait) {
        self.frame(chain, now, record, |_, _| wait);
    }

    /// Appends a record to the chain it belongs to, for somebody who is told its number and stamp.
    pub(super) fn append_with(&mut self, now: Now, record: &Own, wait: impl FnOnce(Lsn, Hlc) -> Wait) {
        self.frame(record.chain(), now, record, wait);
    }

    fn frame(&mut self, chain: Chain, now: Now, record: &Own, wait: impl FnOnce(Lsn, Hlc) -> Wait) {
        let (kind, payload) = record.encode();
        let hlc = self.logs.clock.tick(now.wall);
        let appended = self.logs.of(chain).append(kind, hlc, &payload).expect("machines bound what they want kept");
        let wal::Appended { segment, offset, lsn, position, bytes } = appended;
        if chain == Chain::Events && offset == 0 {
            self.logs.starts.insert(segment, lsn);
        }
        self.next_persist = self.next_persist.next();
        self.persists.push_back(InFlight { id: self.next_persist, wait: wait(lsn, hlc), lsn, position });
        self.effects.push_back(Effect::Persist { id: self.next_persist, segment, offset, bytes });
    }

    /// # Panics
    /// When the host answers writes out of order, twice, or never asked for: its mistake.
    pub(super) fn persisted(&mut self, id: PersistId, durable: bool) -> (Wait, Position) {
        let first = self.persists.pop_front().expect("the host answers only what was asked");
        assert_eq!(first.id, id, "the disk answers writes in their order");
        if durable {
            self.logs.of(first.position.segment.chain()).on_persisted(first.lsn);
        }
        (first.wait, first.position)
    }

    /// An entry read back from its place in the log.
    pub(super) fn read_back(
        &self,
        position: Position,
        result: Result<IoOutcome, DiskFault>,
    ) -> Result<replication::Record, DiskFault> {
        let fault = |why: String| DiskFault {
            kind: DiskFaultKind::Failed,
            what: format!("reading {} at byte {}", wal::file_name(position.segment), position.offset).into(),
            why: why.into(),
        };
        let IoOutcome::Read(bytes) = result? else { return Err(fault("the host answered another question".into())) };
        // The two chains have one store, and so one mask.
        let frame = self.logs.main.decode(position, &bytes).map_err(|error| fault(error.to_string()))?;
        match Own::decode(frame.kind, &frame.payload).map_err(fault)? {
            Own::Entry(record) => Ok(record),
            other => Err(fault(format!("an entry was expected there, not {other:?}"))),
        }
    }

    /// The first record of this segment, if there is something before it that could be removed.
    pub(super) fn trim_point(&self, before: SegmentId) -> Option<Lsn> {
        self.logs.starts.range(..before).next()?;
        self.logs.starts.get(&before).copied()
    }

    /// Removes the segments of the events' chain before this one: it is written down that they do not count.
    pub(super) fn remove_before(&mut self, first: SegmentId) {
        let kept = self.logs.starts.split_off(&first);
        for (segment, _) in std::mem::replace(&mut self.logs.starts, kept) {
            self.next_io = self.next_io.next();
            let position = Position { segment, offset: 0, len: 0 };
            self.reads.insert(self.next_io, (Wait::Node, position));
            self.effects.push_back(Effect::Io { id: self.next_io, op: Io::Truncate { segment, len: 0 } });
        }
    }

    /// # Panics
    /// When the host answers twice or what was never asked: its mistake.
    pub(super) fn io_done(&mut self, id: IoId) -> (Wait, Position) {
        self.reads.remove(&id).expect("the host answers only what was asked, once")
    }

    /// # Panics
    /// When the host answers twice or what was never asked: its mistake.
    pub(super) fn task_done(&mut self, id: TaskId) {
        assert!(self.tasks.remove(&id), "the host answers only what was asked, once");
    }
}

//! What the machines share: the outbox, the timers, the log's end, and who waits for which answer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::machine::{Cx, Op, Rng};
use crate::replication;
use crate::types::{
    Chain, Checksum, DiskFault, DiskFaultKind, Hlc, HlcClock, IoId, Lane, Lsn, Now, PersistId, Position, SegmentId,
    TaskId, Time, Topic,
};
use crate::wal;
use crate::wire;

use super::edge::{Effect, Event, Io, IoOutcome};
use super::hosted::{Hosted, Wait};
use super::life::Life;
use super::record::Own;
use super::snapshot::{self, Mark, Pack};
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
    pub(super) consensus: Rng,
    pub(super) roles: Rng,
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
            consensus: fork("consensus"),
            roles: fork("roles"),
        }
    }
}

/// Totals since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
    /// Frames of kinds that only a newer version knows.
    pub(super) frames_skipped: u64,
    /// Of the sync lane: payloads before compression, and the frames that carried them.
    pub(super) sync_raw: u64,
    pub(super) sync_sent: u64,
}

/// A write that the disk has not answered.
#[derive(Debug)]
struct InFlight {
    id: PersistId,
    wait: Wait,
    position: Position,
    asked: Time,
    /// Which record it is; none is a piece of a snapshot.
    record: Option<Record>,
}

/// What becomes known when a record is durable.
#[derive(Debug)]
struct Record {
    mark: Mark,
    /// What it says, unless it is an entry.
    says: Option<Own>,
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
    /// What the main chain says of the node, the last record of it, and how many bytes became durable in this life: all that
    /// is durable.
    pub(super) life: Life,
    pub(super) mark: Mark,
    pub(super) written: u64,
    /// A write failed: what is said of later ones counts no more, since they would stand behind a hole.
    broken: bool,
}

impl Shared {
    pub(super) fn new(rngs: Rngs, logs: Logs, next_io: IoId, packing: wire::Packing, life: Life) -> Self {
        Self {
            life,
            mark: Mark::default(),
            written: 0,
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
            broken: false,
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
        let sum = Checksum::of(&payload);
        let hlc = self.logs.clock.tick(now.wall);
        let appended = self.logs.of(chain).append(kind, hlc, &payload).expect("machines bound what they want kept");
        let wal::Appended { segment, offset, lsn, position, bytes } = appended;
        if chain == Chain::Events && offset == 0 {
            self.logs.starts.insert(segment, lsn);
        }
        self.next_persist = self.next_persist.next();
        let says = (chain == Chain::Main && !matches!(record, Own::Entry(_))).then(|| record.clone());
        let record = Some(Record { mark: Mark::at(position, lsn, hlc, sum), says });
        self.persists.push_back(InFlight {
            id: self.next_persist,
            wait: wait(lsn, hlc),
            position,
            asked: now.mono,
            record,
        });
        self.effects.push_back(Effect::Persist { id: self.next_persist, segment, offset, bytes });
    }

    /// # Panics
    /// When the host answers writes out of order, twice, or never asked for: its mistake.
    pub(super) fn persisted(&mut self, id: PersistId, durable: bool) -> (Wait, Position) {
        let at = self.persists.iter().position(|write| write.id == id).expect("the host answers only what was asked");
        // A piece of a snapshot may take its time: what the log writes behind it is answered before.
        let is_snapshot = |write: &InFlight| matches!(write.wait, Wait::Snapshot(_));
        assert!(self.persists.iter().take(at).all(is_snapshot), "the disk answers the log's writes in their order");
        let first = self.persists.remove(at).expect("it was found there");
        let Some(Record { mark, says }) = first.record else { return (first.wait, first.position) };
        self.broken |= !durable;
        if !self.broken {
            let chain = first.position.segment.chain();
            self.logs.of(chain).on_persisted(mark.lsn, first.position);
            if let Some(own) = says {
                self.life.record(own, mark.lsn, mark.hlc).expect("the node writes what belongs there");
            }
            if chain == Chain::Main {
                self.written += u64::from(first.position.len);
                self.mark = mark;
            }
        }
        (first.wait, first.position)
    }

    /// When the oldest write of the log was asked for that is not answered. Pieces of snapshots may take their time.
    pub(super) fn oldest_write(&self) -> Option<Time> {
        self.persists.iter().find(|write| write.record.is_some()).map(|write| write.asked)
    }

    /// Appends a piece to a snapshot.
    pub(super) fn put(&mut self, number: SegmentId, offset: u64, bytes: Bytes) {
        self.next_persist = self.next_persist.next();
        let (wait, position) =
            (Wait::Snapshot(snapshot::Wait::Wrote(number)), Position { segment: number, offset, len: 0 });
        self.persists.push_back(InFlight { id: self.next_persist, wait, position, asked: Time::ZERO, record: None });
        self.effects.push_back(Effect::Persist { id: self.next_persist, segment: number, offset, bytes });
    }

    /// Has a worker compress a piece of a snapshot.
    pub(super) fn pack(&mut self, pack: Pack) -> TaskId {
        self.next_task = self.next_task.next();
        self.tasks.insert(self.next_task);
        self.effects.push_back(Effect::Pack { id: self.next_task, pack });
        self.next_task
    }

    /// Asks for an operation on files.
    pub(super) fn io(&mut self, op: Io, wait: Wait) {
        self.next_io = self.next_io.next();
        self.reads.insert(self.next_io, (wait, Position { segment: SegmentId::ZERO, offset: 0, len: 0 }));
        self.effects.push_back(Effect::Io { id: self.next_io, op });
    }

    /// Whose log it is, apart from all others that a node may have had.
    pub(super) fn store(&self) -> u64 {
        self.logs.main.store()
    }

    /// Asks the host to take writes again that it refuses for want of room; not before it has refused all that there were. Says
    /// whether it was asked.
    pub(super) fn ask_to_reopen(&mut self, room: u64) -> bool {
        if !self.persists.is_empty() {
            return false;
        }
        let ends = [self.logs.main.durable_end(), self.logs.events.durable_end()];
        self.next_io = self.next_io.next();
        self.reads.insert(self.next_io, (Wait::Reopen, Position { segment: ends[0].0, offset: 0, len: 0 }));
        self.effects.push_back(Effect::Io { id: self.next_io, op: Io::Reopen { ends, room } });
        true
    }

    /// The host takes writes again, behind what is durable.
    ///
    /// # Panics
    /// When something was written since it was asked: the node writes nothing while its log takes nothing.
    pub(super) fn reopened(&mut self) {
        assert!(self.persists.is_empty(), "nothing is written to a log that takes nothing");
        self.logs.main.roll_back();
        self.logs.events.roll_back();
        let (end, length) = self.logs.events.durable_end();
        self.logs.starts.retain(|segment, _| *segment < end || (*segment == end && length > 0));
        self.broken = false;
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

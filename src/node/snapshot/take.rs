//! Taking a snapshot, step by step: see the room's essay. One piece is under way at a time, with a worker or with the disk.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::file::{self, End, Kind, Pack, Seed};
use super::kept::status;
use super::{SnapshotFile, SnapshotState, Taken, Untaken, id_of_snapshot};
use crate::node::edge::{CommandError, Effect, Event, Io, IoOutcome, Outcome};
use crate::node::timers::Timer;
use crate::node::{Node, hosted};
use crate::probe::{planted, reachable, sometimes};
use crate::replication::Replication;
use crate::types::{
    Chain, Checksum, CommandId, DiskFault, DiskFaultKind, DocId, Family, LogId, Now, SegmentId, Seq, TaskId,
};
use crate::{consensus, wal};

/// What one step copies at most: documents, bytes of them, entries of logs.
const DOCUMENTS: usize = 256;
const BYTES: usize = 256 << 10;
const ENTRIES: usize = 8_192;
/// How often it is looked whether a snapshot is due, at most and at least.
const LOOK: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// How long after one that failed none is begun; twice as long each time that there is no room, this often at most (about an hour):
/// what is written of it takes room that the log needs.
const RETRY: Duration = Duration::from_secs(60);
const DOUBLED_MAX: u32 = 6;
/// Clients that wait for a snapshot at most.
const WAITING_MAX: usize = 64;

/// Who waits for the disk.
#[derive(Clone, Copy, Debug)]
pub(in crate::node) enum Wait {
    /// A piece of this snapshot.
    Wrote(SegmentId),
    /// The list of files, for this one.
    Listed(SegmentId),
    /// This one is to go.
    Removed(SegmentId),
}

#[derive(Debug)]
pub(super) struct Taking {
    number: SegmentId,
    seed: Seed,
    chunks: u32,
    offset: u64,
    sum: Checksum,
    documents: u64,
    entries: u64,
    stage: Stage,
    /// What a worker is at.
    task: Option<TaskId>,
}

#[derive(Debug)]
enum Stage {
    /// Behind this document.
    Documents(Option<DocId>),
    /// The moment: up to where it goes.
    Mark,
    /// What was decided up to there; then the logs.
    Decided(VecDeque<consensus::Record>, VecDeque<(LogId, Seq, Seq)>, Box<End>),
    /// By which policies was shown what met; then what was seen of roles.
    Policies(VecDeque<(LogId, Seq, Seq)>, Box<End>),
    /// What was seen of roles up to there; then what was decided.
    Roles(VecDeque<(LogId, Seq, Seq)>, Box<End>),
    /// Of each log, from where on and up to where.
    Logs(VecDeque<(LogId, Seq, Seq)>, Box<End>),
    /// The end is on its way.
    Ending(Box<End>),
}

impl End {
    pub(super) const fn taken(&self, bytes: u64) -> Taken {
        let Self { documents, entries, mark, taken, .. } = self;
        Taken { lsn: mark.lsn, at: mark.hlc, taken: *taken, documents: *documents, entries: *entries, bytes }
    }
}

/// Copies entries of logs, as many as one step may; how many these are.
///
/// # Errors
/// One of them is not held, in words.
fn copy(
    replication: &Replication,
    left: &mut VecDeque<(LogId, Seq, Seq)>,
    plain: &mut Vec<u8>,
) -> Result<usize, String> {
    let mut copied = 0;
    while copied < ENTRIES
        && let Some((log, first, last)) = left.pop_front()
    {
        let slots = replication.slots(log, first, last, ENTRIES - copied);
        let next = first.value() + slots.entries.len() as u64;
        if slots.entries.is_empty() {
            return Err(format!("{} is not held", log.at(first)));
        }
        copied += slots.entries.len();
        if next <= last.value() {
            left.push_front((log, Seq::new(next), last));
        }
        file::put(&slots, plain);
    }
    Ok(copied)
}

/// What comes behind the policies: what was seen of roles, if anything was.
fn behind_policies(left: VecDeque<(LogId, Seq, Seq)>, end: Box<End>) -> Stage {
    if end.life.roles.records().next().is_some() { Stage::Roles(left, end) } else { behind_roles(left, end) }
}

/// What comes behind the roles: decisions, if there are any.
fn behind_roles(left: VecDeque<(LogId, Seq, Seq)>, end: Box<End>) -> Stage {
    let mut records = end.life.decided.records();
    if planted!("node/snapshot-forgets-decisions") {
        records.clear();
    }
    if records.is_empty() { Stage::Logs(left, end) } else { Stage::Decided(records, left, end) }
}

impl Node {
    /// A life begins.
    pub(in crate::node) fn begin_snapshots(&mut self, now: Now) {
        for Untaken { file, why } in self.snapshots.untaken.clone() {
            reachable!("node/snapshot-refused-at-start");
            self.tell_snapshot(Event::SnapshotRefused { file, why });
        }
        sometimes!(self.snapshots.start.is_some(), "node/snapshot-start-from-one");
        if self.snapshots.config.keep == 0 {
            return;
        }
        let taken = match &self.snapshots.start {
            Some(SnapshotFile { state: SnapshotState::Good(taken), .. }) => Some(taken.taken),
            _ => None,
        };
        let old = taken.map_or(0, |taken| now.wall.as_micros().saturating_sub(taken.as_micros()));
        let left = self.snapshots.config.every.saturating_sub(Duration::from_micros(old));
        self.snapshots.due_at = now.mono + left;
        self.look_at_snapshots(now);
    }

    /// Looks whether one is due, and when to look again.
    pub(in crate::node) fn look_at_snapshots(&mut self, now: Now) {
        if let Some(fault) = &self.read_only {
            // Nothing is begun until it takes writes again, which may be never.
            for id in std::mem::take(&mut self.snapshots.asked) {
                self.shared.effects.push_back(Effect::Reply { id, result: Err(CommandError::Disk(fault.clone())) });
            }
        }
        let config = &self.snapshots.config;
        // Who asked is not forgotten, whatever it has to wait for.
        let pause = match self.snapshots.asked.is_empty() {
            true => (config.keep > 0).then(|| (config.every / 8).clamp(LOOK.0, LOOK.1)),
            false => Some(LOOK.0),
        };
        if let Some(pause) = pause {
            self.shared.timers.arm(Timer::Snapshot, now.mono + pause);
        }
        let snapshots = &self.snapshots;
        let (lsn, bytes) = (self.shared.mark.lsn, self.shared.written);
        let grown = (lsn.value().saturating_sub(snapshots.upto.0.value()), bytes.saturating_sub(snapshots.upto.1));
        // The ones that there are lead to nothing.
        let moved = self.shared.life.moved.is_some_and(|moved| moved > snapshots.upto.0) && !snapshots.files.is_empty();
        let by_time = now.mono >= snapshots.due_at && grown.0 >= config.least();
        let due = grown.0 >= config.records || grown.1 >= config.bytes || by_time || moved;
        let wanted = !snapshots.asked.is_empty() || (due && config.keep > 0 && now.mono >= snapshots.not_before);
        // While documents are put together after a start, most would be left out.
        let rests = self.documents.view().restoring() == 0 && self.replication.is_settled();
        if wanted && rests && snapshots.taking.is_none() && self.read_only.is_none() {
            self.begin_snapshot(now);
        }
    }

    /// A client wants one, of now.
    pub(in crate::node) fn ask_snapshot(&mut self, now: Now, id: CommandId) -> Result<(), CommandError> {
        if let Some(fault) = &self.read_only {
            return Err(CommandError::Disk(fault.clone()));
        }
        if self.snapshots.asked.len() >= WAITING_MAX {
            return Err(CommandError::Snapshot { why: format!("{WAITING_MAX} clients wait for one") });
        }
        self.snapshots.asked.push(id);
        self.look_at_snapshots(now);
        Ok(())
    }

    fn begin_snapshot(&mut self, now: Now) {
        let snapshots = &mut self.snapshots;
        snapshots.waiting = std::mem::take(&mut snapshots.asked);
        snapshots.last = snapshots.last.next();
        let number = snapshots.last;
        let (header, seed) = file::header(self.identity.node, self.shared.store(), number);
        let offset = header.len() as u64;
        let sum = Checksum::of(&[]);
        let (chunks, documents, entries, stage, task) = (0, 0, 0, Stage::Documents(None), None);
        snapshots.taking = Some(Taking { number, seed, chunks, offset, sum, documents, entries, stage, task });
        if planted!("node/snapshot-old-ones-removed-first") {
            let old: Vec<SegmentId> = self.snapshots.files.keys().copied().collect();
            old.into_iter().for_each(|number| self.remove_snapshot(number));
        }
        self.shared.put(number, 0, header.into());
        _ = now;
    }

    /// The next piece goes to a worker.
    fn snapshot_step(&mut self, now: Now) {
        let codec = self.snapshots.config.codec;
        let Some(taking) = &mut self.snapshots.taking else { return };
        let mut plain = Vec::new();
        let kind = match &mut taking.stage {
            Stage::Documents(after) => {
                let (kept, more) = self.documents.kept(after.as_ref(), DOCUMENTS, BYTES);
                kept.iter().for_each(|kept| file::put(kept, &mut plain));
                taking.documents += kept.len() as u64;
                taking.stage = more.map_or(Stage::Mark, |doc| Stage::Documents(Some(doc)));
                Kind::Documents
            }
            Stage::Mark => {
                let wait = hosted::Wait::Snapshot(Wait::Listed(taking.number));
                return self.shared.io(Io::List, wait);
            }
            Stage::Policies(left, end) => {
                end.life.policies.iter().for_each(|remembered| file::put(remembered, &mut plain));
                taking.stage = behind_policies(std::mem::take(left), end.clone());
                Kind::Policies
            }
            Stage::Roles(left, end) => {
                end.life.roles.records().for_each(|record| file::put(&record, &mut plain));
                taking.stage = behind_roles(std::mem::take(left), end.clone());
                Kind::Roles
            }
            Stage::Decided(records, left, end) => {
                while plain.len() < BYTES
                    && let Some(record) = records.pop_front()
                {
                    file::put(&record, &mut plain);
                }
                if records.is_empty() {
                    taking.stage = Stage::Logs(std::mem::take(left), end.clone());
                }
                Kind::Decided
            }
            Stage::Logs(left, end) => {
                let copied = match copy(&self.replication, left, &mut plain) {
                    Ok(copied) => copied,
                    Err(why) => return self.abandon_snapshot(now, RETRY, &why),
                };
                taking.entries += copied as u64;
                if copied > 0 {
                    Kind::Logs
                } else {
                    (end.chunks, end.documents) = (taking.chunks, taking.documents);
                    (end.entries, end.sum) = (taking.entries, taking.sum.value());
                    if planted!("node/snapshot-goes-up-to-its-end") {
                        end.mark = self.shared.mark.clone();
                    }
                    file::put(&**end, &mut plain);
                    taking.stage = Stage::Ending(end.clone());
                    Kind::End
                }
            }
            Stage::Ending(end) => {
                let taken = end.taken(taking.offset);
                return self.snapshot_taken(now, taken);
            }
        };
        let pack = Pack { seed: taking.seed, kind, codec, number: taking.chunks, plain };
        taking.chunks += 1;
        taking.task = Some(self.shared.pack(pack));
    }

    /// A worker has compressed a piece.
    pub(in crate::node) fn on_packed(&mut self, now: Now, id: TaskId, bytes: Bytes) {
        self.shared.task_done(id);
        let Some(taking) = self.snapshots.taking.as_mut().filter(|taking| taking.task == Some(id)) else { return };
        if self.read_only.is_some() {
            return self.abandon_snapshot(now, RETRY, "the log takes no writes");
        }
        taking.task = None;
        taking.sum = file::summed(taking.sum, &bytes);
        let (number, offset) = (taking.number, taking.offset);
        taking.offset += bytes.len() as u64;
        let ended = match &taking.stage {
            Stage::Ending(end) if planted!("node/snapshot-counts-before-durable") => Some(end.taken(taking.offset)),
            _ => None,
        };
        self.shared.put(number, offset, bytes);
        if let Some(taken) = ended {
            self.snapshot_taken(now, taken);
        }
    }

    /// The disk has answered.
    pub(in crate::node) fn on_snapshot(&mut self, now: Now, wait: Wait, result: Result<Option<IoOutcome>, DiskFault>) {
        let taking = self.snapshots.taking.as_ref().map(|taking| taking.number);
        match (wait, result) {
            (Wait::Removed(number), Ok(_)) => _ = self.snapshots.files.remove(&number),
            (Wait::Removed(number), Err(fault)) if fault.kind == DiskFaultKind::Missing => {
                self.snapshots.files.remove(&number);
            }
            // It goes with the next one.
            (Wait::Removed(_), Err(_)) => {}
            (Wait::Wrote(number) | Wait::Listed(number), _) if taking != Some(number) => {}
            (Wait::Wrote(_) | Wait::Listed(_), Err(fault)) => {
                let mut pause = RETRY;
                if fault.kind == DiskFaultKind::Full {
                    pause *= 1 << self.snapshots.no_room.min(DOUBLED_MAX);
                    self.snapshots.no_room = self.snapshots.no_room.saturating_add(1);
                }
                self.abandon_snapshot(now, pause, &fault.to_string());
            }
            (Wait::Listed(_), Ok(Some(IoOutcome::Listed(files)))) => self.mark_snapshot(now, &files),
            (Wait::Wrote(_) | Wait::Listed(_), Ok(_)) => self.snapshot_step(now),
        }
    }

    /// The moment up to which it goes is now.
    fn mark_snapshot(&mut self, now: Now, files: &[(SegmentId, u64)]) {
        let mark = self.shared.mark.clone();
        let mut segments = Vec::new();
        let mut next = Chain::Main.origin().next();
        let main = files.iter().filter(|(file, _)| file.family() == Family::Log(Chain::Main));
        for (segment, len) in main.take_while(|(segment, _)| *segment < mark.position.0) {
            if *segment != next {
                break;
            }
            next = next.next();
            segments.push(*len);
        }
        if next != mark.position.0 {
            return self.abandon_snapshot(now, RETRY, &format!("{} of the log is missing", wal::file_name(next)));
        }
        let reach = self.replication.reach().into_iter();
        let left = reach.map(|(log, last)| (log, Seq::ZERO.next(), last)).collect();
        let (life, stamps, taken) = (self.shared.life.clone(), self.replication.stamps(), now.wall);
        let (chunks, documents, entries, sum) = (0, 0, 0, 0);
        let end = End { chunks, documents, entries, sum, mark, segments, life, stamps, taken };
        if let Some(taking) = &mut self.snapshots.taking {
            let (end, forgets) = (Box::new(end), planted!("node/snapshot-forgets-policies"));
            let has_policies = end.life.policies.is_some() && !forgets;
            taking.stage = if has_policies { Stage::Policies(left, end) } else { behind_policies(left, end) };
        }
        self.snapshot_step(now);
    }

    /// It is whole and durable.
    fn snapshot_taken(&mut self, now: Now, taken: Taken) {
        let Some(Taking { number, .. }) = self.snapshots.taking.take() else { return };
        reachable!("node/snapshot-taken");
        self.snapshots.files.insert(number, SnapshotState::Good(taken));
        self.snapshots.upto = (taken.lsn, self.shared.written);
        self.snapshots.due_at = now.mono + self.snapshots.config.every;
        self.snapshots.no_room = 0;
        // What the start could not take is gone with the surplus.
        self.snapshots.untaken.clear();
        for number in self.snapshots.surplus() {
            self.remove_snapshot(number);
        }
        let told = status(number, SnapshotState::Good(taken));
        for id in std::mem::take(&mut self.snapshots.waiting) {
            self.shared.effects.push_back(Effect::Reply { id, result: Ok(Outcome::Snapshot(told.clone())) });
        }
        self.tell_snapshot(Event::SnapshotTaken { id: id_of_snapshot(number), taken });
        self.look_at_snapshots(now);
    }

    /// Entries of the main chain moved to another log: what was copied of them is not true any more.
    pub(in crate::node) fn redo_snapshot(&mut self, now: Now) {
        if self.snapshots.is_taking() {
            self.abandon_snapshot(now, Duration::ZERO, "entries got other names meanwhile");
        }
    }

    /// It comes to nothing; what was written of it goes.
    fn abandon_snapshot(&mut self, now: Now, pause: Duration, why: &str) {
        let Some(Taking { number, .. }) = self.snapshots.taking.take() else { return };
        self.snapshots.files.insert(number, SnapshotState::Refused(why.to_owned()));
        self.snapshots.not_before = now.mono + pause;
        self.remove_snapshot(number);
        let waiting = std::mem::take(&mut self.snapshots.waiting);
        if pause.is_zero() {
            self.snapshots.asked.extend(waiting);
            self.shared.timers.arm(Timer::Snapshot, now.mono + LOOK.0);
        } else {
            for id in waiting {
                let error = CommandError::Snapshot { why: why.to_owned() };
                self.shared.effects.push_back(Effect::Reply { id, result: Err(error) });
            }
        }
        self.tell_snapshot(Event::SnapshotFailed { id: id_of_snapshot(number), why: why.into() });
    }

    fn remove_snapshot(&mut self, number: SegmentId) {
        let wait = hosted::Wait::Snapshot(Wait::Removed(number));
        self.shared.io(Io::Truncate { segment: number, len: 0 }, wait);
    }

    fn tell_snapshot(&mut self, event: Event) {
        self.shared.effects.push_back(Effect::Notify(event));
    }
}

//! The disk's thread: groups, syncs, answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;

use super::Request;
use super::files::{Files, Tail};
use super::queue::Queue;
use super::stats::Tally;
use crate::node::{Input, Io, IoOutcome};
use crate::types::{Chain, DiskFault, DiskFaultKind, Family, PersistId, SegmentId};

pub(super) struct Worker<F> {
    pub(super) files: Files,
    /// The file of each family that is written.
    pub(super) tails: BTreeMap<Family, Tail>,
    queue: Arc<Queue>,
    tally: Arc<Mutex<Tally>>,
    answer: F,
    /// Queued behind each other in one segment and not written yet.
    run: Vec<(PersistId, Bytes)>,
    run_of: Family,
    /// Families that have writes which no sync has covered.
    dirty: BTreeSet<Family>,
    /// Written and not synced yet: id, length and where to.
    unsynced: Vec<(PersistId, usize, Family)>,
    /// Why no write is taken any more.
    poison: Option<DiskFault>,
    /// It was a write that found no room, and all before it is durable: what is behind can be taken back.
    full: bool,
}

/// Closes the queue however the thread ends, so that nobody submits to nobody.
struct Closing(Arc<Queue>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<F: Fn(Input)> Worker<F> {
    pub(super) fn new(files: Files, queue: Arc<Queue>, tally: Arc<Mutex<Tally>>, answer: F) -> Self {
        Self {
            files,
            tails: BTreeMap::new(),
            queue,
            tally,
            answer,
            run: Vec::new(),
            run_of: Family::Log(Chain::Main),
            dirty: BTreeSet::new(),
            unsynced: Vec::new(),
            poison: None,
            full: false,
        }
    }

    pub(super) fn run(mut self) {
        let _closing = Closing(Arc::clone(&self.queue));
        loop {
            let group = self.queue.take();
            if group.is_empty() {
                return;
            }
            let (requests, bytes) = (group.len(), group.iter().map(Request::bytes).sum());
            group.into_iter().for_each(|request| self.on_request(request));
            self.write();
            self.sync();
            self.queue.answered(requests, bytes);
        }
    }

    pub(super) fn on_request(&mut self, request: Request) {
        match request {
            Request::Persist { id, segment, offset, bytes } => self.on_persist(id, segment, offset, bytes),
            Request::Io { id, op } => {
                self.write();
                let result = self.on_io(op);
                (self.answer)(Input::IoDone { id, result });
            }
        }
    }

    fn on_persist(&mut self, id: PersistId, segment: SegmentId, offset: u64, bytes: Bytes) {
        if self.run_of != segment.family() {
            self.write();
            self.run_of = segment.family();
        }
        if self.poison.is_none() && !self.follows(segment, offset) {
            self.write();
            let room = match segment.family() {
                Family::Snapshot if offset == 0 => self.files.has_room_for_snapshot(),
                _ => Ok(()),
            };
            if let Err(fault) = room.and_then(|()| self.turn_to(segment, offset)) {
                return self.fail(id, fault);
            }
        }
        match &self.poison {
            Some(fault) => self.refuse(id, fault),
            None => self.run.push((id, bytes)),
        }
    }

    /// Whether a write there goes on where the last one ended.
    fn follows(&self, segment: SegmentId, offset: u64) -> bool {
        let run: u64 = self.run.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        self.tails.get(&segment.family()).is_some_and(|tail| (tail.segment, tail.len + run) == (segment, offset))
    }

    /// Opens or makes the segment to write to. What was written before is durable first: a segment that is there says
    /// that the one before it is whole.
    fn turn_to(&mut self, segment: SegmentId, offset: u64) -> Result<(), DiskFault> {
        self.sync();
        match &self.poison {
            Some(fault) => Err(poisoned(fault)),
            None => {
                self.tails.remove(&segment.family());
                self.tails.insert(segment.family(), self.files.tail(segment, offset)?);
                Ok(())
            }
        }
    }

    /// Hands the run to the system.
    fn write(&mut self) {
        let run = std::mem::take(&mut self.run);
        let Some(tail) = self.tails.get_mut(&self.run_of).filter(|_| !run.is_empty()) else { return };
        self.dirty.insert(self.run_of);
        let done = tail.check(tail.len).map_err(|fault| (0, fault)).and_then(|()| tail.append(&run));
        let whole = done.as_ref().map_or_else(|(whole, _)| *whole, |()| run.len());
        self.unsynced.extend(run[..whole].iter().map(|(id, bytes)| (*id, bytes.len(), self.run_of)));
        if let Err((whole, fault)) = done {
            self.fail(run[whole].0, fault.clone());
            let fault = self.poison.as_ref().unwrap_or(&fault);
            run[whole + 1..].iter().for_each(|(id, _)| self.refuse(*id, fault));
        }
    }

    /// Makes what was written durable and answers it: the one sync of a group, in each chain that was written.
    fn sync(&mut self) {
        let dirty = std::mem::take(&mut self.dirty);
        if self.unsynced.is_empty() {
            return;
        }
        let began = Instant::now();
        let is_log = |family: &Family| *family != Family::Snapshot;
        let mut logs = self.tails.iter_mut().filter(|(family, _)| is_log(family) && dirty.contains(family));
        let result = logs.try_for_each(|(_, tail)| self.files.sync(tail));
        let took = began.elapsed();
        let unsynced = std::mem::take(&mut self.unsynced);
        let mut tally = self.tally();
        tally.synced(took);
        match &result {
            Ok(()) => {
                let logs = || unsynced.iter().filter(|(.., family)| is_log(family));
                tally.writes += logs().count() as u64;
                tally.bytes += logs().map(|(_, bytes, _)| *bytes as u64).sum::<u64>();
            }
            Err(_) => tally.poisoned = true,
        }
        drop(tally);
        // Nobody knows what of it the medium holds, also where it was room that was missing.
        let result = result.map_err(|fault| match fault.kind {
            DiskFaultKind::Full => DiskFault { kind: DiskFaultKind::Failed, ..fault },
            _ => fault,
        });
        if let Err(fault) = &result {
            self.poison = Some(fault.clone());
            self.full = false;
        }
        // Of each kind in the order of the writes. The log's do not wait for the snapshot's sync.
        let (log, snapshot): (Vec<_>, Vec<_>) = unsynced.into_iter().partition(|(.., family)| is_log(family));
        for (id, ..) in log {
            (self.answer)(Input::Persisted { id, result: result.clone() });
        }
        if !snapshot.is_empty() {
            let result = self.sync_snapshot(&dirty);
            snapshot.into_iter().for_each(|(id, ..)| (self.answer)(Input::Persisted { id, result: result.clone() }));
        }
    }

    fn sync_snapshot(&mut self, dirty: &BTreeSet<Family>) -> Result<(), DiskFault> {
        let tail = dirty.contains(&Family::Snapshot).then(|| self.tails.get_mut(&Family::Snapshot)).flatten();
        tail.map_or(Ok(()), |tail| self.files.sync(tail))
    }

    /// A write was not done. What came before it still is, if it can be; nothing after it will be.
    fn fail(&mut self, id: PersistId, fault: DiskFault) {
        self.sync();
        if let Some(tail) = self.tails.get(&self.run_of)
            && tail.len == 0
        {
            self.files.discard(tail);
            self.tails.remove(&self.run_of);
        }
        if let Some(earlier) = &self.poison {
            return self.refuse(id, earlier);
        }
        if self.run_of == Family::Snapshot {
            // The log can do without it, and goes on.
            return (self.answer)(Input::Persisted { id, result: Err(fault) });
        }
        self.tally().poisoned = true;
        self.full = fault.kind == DiskFaultKind::Full;
        self.poison = Some(fault.clone());
        (self.answer)(Input::Persisted { id, result: Err(fault) });
    }

    fn refuse(&self, id: PersistId, earlier: &DiskFault) {
        (self.answer)(Input::Persisted { id, result: Err(poisoned(earlier)) });
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes writes again if it was for want of room that it did not, and there is room now.
    fn reopen(&mut self, ends: [(SegmentId, u64); 2], room: u64) -> Result<(), DiskFault> {
        self.sync();
        if !self.full {
            let (kind, why) = (DiskFaultKind::Failed, "no write was refused".into());
            let healthy = || DiskFault { kind, what: "reopen the log".into(), why };
            return Err(self.poison.as_ref().map_or_else(healthy, poisoned));
        }
        self.files.has_room(room)?;
        self.tails.clear();
        ends.into_iter().try_for_each(|(segment, len)| self.files.end_at(segment, len))?;
        (self.poison, self.full) = (None, false);
        self.tally().poisoned = false;
        Ok(())
    }

    fn on_io(&mut self, op: Io) -> Result<IoOutcome, DiskFault> {
        match op {
            Io::List => self.files.list().map(IoOutcome::Listed),
            Io::Read { segment, offset, len } => self.files.read(segment, offset, len).map(IoOutcome::Read),
            Io::Truncate { segment, len } => {
                self.sync();
                // On a full disk a file that expired is just the room that is missing.
                let expired = self.full && len == 0;
                if let Some(fault) = self.poison.as_ref().filter(|_| !expired) {
                    return Err(poisoned(fault));
                }
                if self.tails.get(&segment.family()).is_some_and(|tail| tail.segment == segment) {
                    self.tails.remove(&segment.family());
                }
                self.files.truncate(segment, len).map(|()| IoOutcome::Truncated)
            }
            Io::Reopen { ends, room } => self.reopen(ends, room).map(|()| IoOutcome::Reopened),
        }
    }
}

fn poisoned(earlier: &DiskFault) -> DiskFault {
    let why = format!("not tried, since an earlier operation failed: {earlier}");
    DiskFault { kind: DiskFaultKind::Poisoned, what: "write to the log".into(), why: why.into() }
}

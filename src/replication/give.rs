//! Sending: batches under credit, from the cache or the disk; what peers ask for; what they did not acknowledge.

use super::message::{Batch, Entry, Graft, Kind, Run};
use super::peer::{Budget, Job, Mode};
use super::{Event, Record, Replication, Timer, Wait};
use crate::machine::Cx;
use crate::probe::{always, planted, reachable};
use crate::types::{DiskFault, LogId, NodeId, Range, Seq};

impl Replication {
    /// Sends this peer what there is for it, as far as its credit goes.
    pub(super) fn pump(&mut self, cx: &mut Cx<'_, Self>, to: NodeId) {
        while let Some(peer) = self.peers.get_mut(&to).filter(|peer| peer.has_credit(&self.config)) {
            let fill = peer.next_fill(&self.logs, &self.config);
            if !fill.is_empty() {
                self.send(cx, to, fill, Kind::Repair);
                continue;
            }
            let live = peer.next_live(&self.logs, &self.config);
            if !live.is_empty() {
                self.send(cx, to, live, Kind::Live);
                continue;
            }
            let backlog = peer.next_backlog(&self.logs, &self.config);
            if !backlog.is_empty() {
                self.send(cx, to, backlog, Kind::Backlog);
            } else if !self.read_for(cx, to) {
                break;
            }
        }
        // Without credit nothing could be sent then either: the answer that gives some, or its absence, comes back here.
        if let Some(peer) = self.peers.get_mut(&to)
            && peer.has_ready()
            && peer.has_credit(&self.config)
            && !std::mem::replace(&mut peer.flushing, true)
        {
            cx.arm(Timer::Flush(to), self.config.batch_timeout);
        }
    }

    fn send(&mut self, cx: &mut Cx<'_, Self>, to: NodeId, runs: Vec<Run>, kind: Kind) {
        let bytes: usize = runs.iter().flat_map(|run| &run.entries).map(Entry::weight).sum();
        let entries: u64 = runs.iter().map(|run| run.entries.len() as u64).sum();
        self.statistics.pushed += entries;
        self.statistics.pushed_bytes += bytes as u64;
        self.rates.entries_out.add(cx.now().mono, entries);
        self.rates.bytes_out.add(cx.now().mono, bytes as u64);
        always!(
            runs.iter().all(|run| self.logs.named(run.log).is_some_and(|at| run.last() <= self.logs.get(at).durable())),
            "replication/sent-is-durable"
        );
        let spans = runs.iter().filter_map(|run| Some((self.logs.named(run.log)?, run.first.value(), run.last())));
        let spans = spans.collect();
        let Some(peer) = self.peers.get_mut(&to) else { return };
        peer.told.earn(bytes);
        let number = peer.launch(cx.now().mono, spans, bytes, kind == Kind::Live);
        if let Some(patience) = peer.patience(cx.now().mono)
            && !std::mem::replace(&mut peer.watched, true)
        {
            cx.arm(Timer::Retransmit(to), patience);
        }
        if kind != Kind::Live {
            self.statistics.repaired_bytes += bytes as u64;
        }
        if planted!("replication/sent-counts-as-held") {
            for at in runs.iter().filter_map(|run| self.logs.named(run.log)).collect::<Vec<_>>() {
                self.confirm(cx, to, at, self.logs.get(at).offered());
            }
        }
        cx.send(to, kind.message(Batch { number, runs }));
    }

    /// Begins to read the next batch that is not in the cache. Says whether there is something to send instead.
    fn read_for(&mut self, cx: &mut Cx<'_, Self>, to: NodeId) -> bool {
        let Some(peer) = self.peers.get_mut(&to) else { return false };
        let Some(job) = peer.next_job(&self.config) else { return false };
        let (at, first, last, kind) = match job {
            Job::Range(at, first, last) => (at, first, last, Kind::Repair),
            Job::Stream(at) => {
                let edge = peer.edge(at);
                let old = edge.cursor < edge.backlog;
                let (last, kind) = if old { (edge.backlog, Kind::Backlog) } else { (u64::MAX, Kind::Live) };
                (at, edge.cursor + 1, last, kind)
            }
        };
        let log = self.logs.get(at);
        if first <= log.base() {
            reachable!("replication/peer-needs-what-is-trimmed");
            self.tell_trimmed(cx, to, job);
            return true;
        }
        let wanted = matches!(job, Job::Range(..)) || peer.is_eager(at, log);
        let last = last.min(log.offered()).min(log.cached_from() - 1);
        let mut budget = Budget::of(&self.config);
        let fits = |position: &crate::types::Position| budget.take(position.len as usize);
        let positions: Vec<_> =
            (first..=last).map_while(|seq| log.position(seq)).take_while(fits).filter(|_| wanted).collect();
        if positions.is_empty() {
            match job {
                Job::Stream(at) => peer.requeue(at),
                Job::Range(at, first, last) => _ = peer.want(at, first, last),
            }
            return true;
        }
        if let Job::Stream(at) = job {
            peer.edge_mut(at).cursor = first + positions.len() as u64 - 1;
        }
        reachable!("replication/batch-read-from-disk");
        self.readings += 1;
        peer.read(self.readings, job, kind, (at, first, positions.len()));
        for (at, position) in positions.into_iter().enumerate() {
            cx.read(position, Wait::Read { peer: to, batch: self.readings, at });
        }
        false
    }

    /// The disk answers a read.
    pub fn on_read(&mut self, cx: &mut Cx<'_, Self>, wait: Wait, result: Result<Record, DiskFault>) {
        let (to, batch, at) = match wait {
            Wait::Read { peer, batch, at } => (peer, batch, at),
            Wait::Reread { log, seq, again } => return self.on_reread(cx, log, seq, again, result),
            Wait::Recall { log, seq } => return self.on_recall(cx, log, seq, result),
            Wait::Compare { log, seq, peer, theirs } => return self.on_compared(cx, log, seq, peer, theirs, result),
            Wait::Move { log, seq } => return self.on_move_read(cx, log, seq, result),
            Wait::Originated { .. }
            | Wait::Taken { .. }
            | Wait::Branch
            | Wait::Trim
            | Wait::Pause { .. }
            | Wait::Skip { .. } => {
                unreachable!("a write is not answered as a read")
            }
        };
        let Some(peer) = self.peers.get_mut(&to) else { return };
        let Some(reading) = peer.reading.as_mut().filter(|reading| reading.number == batch) else { return };
        let (log, seq) = (self.logs.get(reading.log), reading.first + at as u64);
        reading.unanswered -= 1;
        match result.and_then(|record| log.verify(seq, record)) {
            Ok(entry) => reading.entries[at] = Some(entry),
            Err(fault) => {
                reading.failed = true;
                cx.emit(Event::Unreadable { log: log.id, seq: Seq::new(seq), fault });
            }
        }
        if reading.unanswered == 0 {
            self.on_batch_read(cx, to);
        }
    }

    /// A batch has been read: it is sent, up to the first entry that could not be read.
    fn on_batch_read(&mut self, cx: &mut Cx<'_, Self>, to: NodeId) {
        let Some(peer) = self.peers.get_mut(&to) else { return };
        let Some(reading) = peer.reading.take() else { return };
        let (at, next) = (reading.log, reading.first + reading.entries.len() as u64);
        let entries: Vec<Entry> = reading.entries.into_iter().map_while(|entry| entry).collect();
        let run = peer.run_of(&self.logs, at, reading.first, entries);
        match reading.job {
            Job::Stream(at) if reading.failed => peer.give_up(at),
            Job::Stream(at) => peer.requeue(at),
            Job::Range(at, _, last) if !reading.failed && next <= last => _ = peer.want(at, next, last),
            Job::Range(..) => {}
        }
        if let Some(run) = run {
            self.send(cx, to, vec![run], reading.kind);
        }
        self.pump(cx, to);
    }

    pub(super) fn on_ack(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, number: u64, whole: bool) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        for (at, _, last) in peer.land(cx.now().mono, number, whole) {
            self.confirm(cx, from, at, last);
        }
        self.landed(cx, from);
    }

    /// There is credit again; and if nothing is under way now, nothing can be overdue.
    pub(super) fn landed(&mut self, cx: &mut Cx<'_, Self>, from: NodeId) {
        self.pump(cx, from);
        if let Some(peer) = self.peers.get_mut(&from).filter(|peer| peer.flights() == 0)
            && std::mem::take(&mut peer.watched)
        {
            cx.disarm(Timer::Retransmit(from));
        }
    }

    pub(super) fn on_flush(&mut self, cx: &mut Cx<'_, Self>, to: NodeId) {
        if let Some(peer) = self.peers.get_mut(&to) {
            (peer.flushing, peer.due) = (false, peer.has_ready());
            self.pump(cx, to);
        }
    }

    /// What is overdue is sent again, one batch at a time until the peer answers; what exceeds the bound is only announced.
    pub(super) fn on_retransmit(&mut self, cx: &mut Cx<'_, Self>, to: NodeId) {
        let now = cx.now().mono;
        let Some(peer) = self.peers.get_mut(&to) else { return };
        let mut announced = Vec::new();
        for flight in peer.overdue(now) {
            self.statistics.retransmits += 1;
            reachable!("replication/batch-sent-again");
            for (at, first, last) in flight.runs {
                if peer.edge(at).known < last && !peer.want(at, first, last) {
                    peer.edge_mut(at).mode = Mode::Lazy;
                    announced.push(at);
                }
            }
        }
        peer.watched = false;
        for at in announced {
            self.announce(cx, at);
        }
        self.pump(cx, to);
        let Some(peer) = self.peers.get_mut(&to).filter(|peer| !peer.watched) else { return };
        if let Some(patience) = peer.patience(now) {
            peer.watched = true;
            cx.arm(Timer::Retransmit(to), patience);
        }
    }

    /// A peer misses ranges.
    pub(super) fn on_want(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, ranges: &[Range]) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        for range in ranges {
            if let Some(at) = self.logs.find(range.log) {
                let edge = peer.edge_mut(at);
                edge.known = edge.known.min(range.first.value() - 1);
                peer.want(at, range.first.value(), range.last.value());
            }
        }
        self.pump(cx, from);
    }

    /// A peer wants logs pushed from where it stands.
    pub(super) fn on_graft(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, grafts: &[Graft]) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        for graft in grafts {
            let Some(at) = self.logs.find(graft.log) else { continue };
            let (after, offered) = (graft.after.value(), self.logs.get(at).offered());
            let edge = peer.edge_mut(at);
            reachable!("replication/log-grafted");
            (edge.mode, edge.known, edge.cursor, edge.backlog) = (Mode::Grafted, after, after, offered);
            if after < offered {
                peer.stream(at);
            }
        }
        self.pump(cx, from);
    }

    /// A peer has a faster source of logs.
    pub(super) fn on_prune(&mut self, from: NodeId, logs: &[LogId]) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        for at in logs.iter().filter_map(|log| self.logs.find(*log)) {
            peer.edge_mut(at).mode = Mode::Lazy;
        }
    }
}

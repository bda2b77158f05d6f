//! What this node originates, and what becomes of it when the disk answers, or when more of our log is found elsewhere.

use std::sync::Arc;

use bytes::Bytes;

use super::message::{ENTRY_MAX, Entry};
use super::{Event, Kept, Record, Replication, Wait};
use crate::machine::Cx;
use crate::probe::{planted, reachable};
use crate::types::{Actor, DiskFault, DiskFaultKind, LogId, NodeId, Position, Seq, Topic};

impl Replication {
    /// Adds an entry to our log of this topic. Answered by [`Event::Originated`] when it is durable, in order, or by
    /// [`Event::OriginateFailed`]: also when the topic does not exist or the body is longer than [`ENTRY_MAX`].
    pub fn originate(&mut self, cx: &mut Cx<'_, Self>, topic: Topic, body: Bytes, token: u64) {
        if let Err(fault) = self.refuse(topic, body.len()) {
            return cx.emit(Event::OriginateFailed { topic, token, fault });
        }
        if self.rolled_back {
            return self.queue.push_back((topic, body, token));
        }
        let log = LogId { actor: self.actor, topic };
        let hlc = self.clock.tick(cx.now().wall);
        let at = self.logs.intern(log);
        let entry = Entry { hlc, body: body.clone() };
        let log_at = self.logs.get_mut(at);
        log_at.push_pending(entry);
        let seq = Seq::new(log_at.accepted());
        self.writes.0 += 1;
        if planted!("replication/answers-before-durable") && topic == Topic::DOCUMENTS {
            cx.emit(Event::Originated { token, log, seq, hlc, body: body.clone() });
        }
        cx.persist(Kept::Entry(Record { log, seq, hlc, body }), Wait::Originated { token, log, seq });
    }

    fn refuse(&self, topic: Topic, len: usize) -> Result<(), DiskFault> {
        if let Some(fault) = &self.failed {
            return Err(fault.clone());
        }
        let why = if !self.config.topics.contains(&topic) {
            format!("topic {} does not exist", topic.value())
        } else if len > ENTRY_MAX {
            format!("an entry of {len} bytes, the limit is {ENTRY_MAX}")
        } else if self.rolled_back && self.queue.len() >= self.config.queue_max {
            format!("{} entries wait for a new actor already", self.queue.len())
        } else {
            return Ok(());
        };
        Err(DiskFault { kind: DiskFaultKind::Failed, what: "originate".into(), why: Arc::from(why) })
    }

    /// Writes as `actor` from now on, and originates what waited for it. What others hold of our old logs is fetched like
    /// anybody's, and if they hold another branch, it is settled as anybody's.
    pub fn mint(&mut self, cx: &mut Cx<'_, Self>, actor: Actor) {
        let old = std::mem::replace(&mut self.actor, actor);
        self.rolled_back = false;
        let ours: Vec<usize> =
            self.logs.by_id().filter(|(_, log)| log.id.actor == old && old != actor).map(|(at, _)| at).collect();
        for at in ours {
            self.lags(cx, at);
        }
        for (topic, body, token) in std::mem::take(&mut self.queue) {
            self.originate(cx, topic, body, token);
        }
    }

    /// A neighbour speaks of our own log. It cannot hold more of it than we do, unless our store was rolled back.
    pub(super) fn on_own(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId, log: LogId, theirs: Seq) {
        let at = self.logs.intern(log);
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.knows(at, theirs.value());
        }
        let held = Seq::new(self.logs.get(at).accepted());
        if theirs > held {
            self.roll_back(cx, log, held, theirs);
        }
    }

    pub(super) fn roll_back(&mut self, cx: &mut Cx<'_, Self>, log: LogId, held: Seq, theirs: Seq) {
        if !std::mem::replace(&mut self.rolled_back, true) {
            reachable!("replication/own-log-is-longer-elsewhere");
            cx.emit(Event::RolledBack { log, held, theirs });
        }
    }

    /// The disk answers a write. Answers come in the order of the writes.
    pub fn on_persisted(&mut self, cx: &mut Cx<'_, Self>, wait: Wait, result: Result<Position, DiskFault>) {
        self.writes.1 += 1;
        // What follows a failed write is on disk, if at all, behind a hole: it counts as failed too.
        match (self.failed.clone(), result) {
            (None, Ok(position)) => self.on_durable(cx, wait, position),
            (None, Err(fault)) => {
                self.fail(fault.clone());
                answer_failed(cx, wait, fault);
            }
            (Some(fault), _) => answer_failed(cx, wait, fault),
        }
    }

    fn on_durable(&mut self, cx: &mut Cx<'_, Self>, wait: Wait, position: Position) {
        let (log, seq) = match wait {
            Wait::Originated { log, seq, .. } | Wait::Taken { log, seq, .. } => (log, seq),
            Wait::Branch => return self.on_moved(cx),
            Wait::Pause { token, pause } => return self.on_pause_durable(cx, token, pause),
            Wait::Trim => return self.on_trim(cx),
            Wait::Skip { line, peer } => return self.on_skip(cx, &line, peer),
            Wait::Read { .. }
            | Wait::Reread { .. }
            | Wait::Recall { .. }
            | Wait::Compare { .. }
            | Wait::Move { .. } => {
                unreachable!("a read is not answered as a write")
            }
        };
        let at = self.logs.find(log).expect("a log lives as long as the process");
        self.durable_at = cx.now().mono;
        let entry = self.logs.settle(at, seq, position, self.config.cache_bytes);
        self.restored.1 = self.restored.1.max(entry.hlc);
        if log.actor.node == self.actor.node {
            self.restored.0 = self.restored.0.max(entry.hlc);
        }
        let weight = entry.weight();
        self.logs.get_mut(at).mark(cx.now().mono);
        if seq == Seq::new(self.logs.get(at).base()).next() {
            self.on_first_entry(cx, at);
        }
        self.report_soon(cx);
        self.on_own_copy(cx, at);
        match wait {
            Wait::Originated { .. }
                if planted!("replication/answers-before-durable") && log.topic == Topic::DOCUMENTS => {}
            Wait::Originated { token, .. } => {
                cx.emit(Event::Originated { token, log, seq, hlc: entry.hlc, body: entry.body });
            }
            _ => {
                self.statistics.taken += 1;
                self.statistics.taken_bytes += weight as u64;
                self.rates.entries_in.add(cx.now().mono, 1);
                self.rates.bytes_in.add(cx.now().mono, weight as u64);
                cx.emit(Event::Delivered { log, seq, hlc: entry.hlc, body: entry.body });
            }
        }
        self.spread(cx, at, weight, matches!(wait, Wait::Taken { backlog: true, .. }));
        self.flush_acks(cx);
        self.move_on(cx);
    }

    /// The log takes no writes: nothing more is taken or acknowledged, since it would not be durable. What is durable is still
    /// given to whoever lacks it.
    pub fn fail(&mut self, fault: DiskFault) {
        self.failed = Some(fault);
        for at in 0..self.logs.len() {
            let log = self.logs.get_mut(at);
            log.drop_pending();
            (log.lost, log.awaits) = (None, false);
        }
        self.acks.clear();
        self.behind.clear();
        self.moves.clear();
        self.trims.forget();
        self.forget_pauses_under_way();
    }

    /// The log takes writes again, behind what was durable. What others have written meanwhile is asked for.
    pub fn reopen(&mut self, cx: &mut Cx<'_, Self>) {
        self.failed = None;
        for at in 0..self.logs.len() {
            let accepted = self.logs.get(at).accepted();
            if self.peers.values().any(|peer| peer.edge(at).known > accepted) {
                self.lags(cx, at);
            }
        }
        for peer in self.peers.keys().copied().collect::<Vec<_>>() {
            self.tell_vector(cx, peer, true);
        }
        self.trim_next(cx);
    }
}

fn answer_failed(cx: &mut Cx<'_, Replication>, wait: Wait, fault: DiskFault) {
    match wait {
        Wait::Originated { token, log, .. } => cx.emit(Event::OriginateFailed { topic: log.topic, token, fault }),
        Wait::Pause { token, .. } => cx.emit(Event::PauseFailed { token, fault }),
        _ => {}
    }
}

//! Who holds what: vectors when neighbours meet, digests at random moments, and what is done about being behind.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use super::hearsay::Cause;
use super::message::{Chunk, Graft, LINES_MAX, Line, Message};
use super::peer::{Mode, Peer};
use super::{Replication, Timer};
use crate::machine::Cx;
use crate::probe::{planted, reachable};
use crate::types::{Digest, NodeId, Seq, Time};

/// How often the logs that are behind are looked after, and the least time that a source gets.
const BEHIND_TICK: Duration = Duration::from_millis(100);
const PATIENCE_MIN: Duration = Duration::from_millis(200);
/// A parent that holds more of a log and delivers others is given this many times longer: it may be working through many.
const BUSY_FACTOR: u32 = 8;
/// Between two requests for a vector that does not come, at first; doubles up to 32 times.
const SYNCHRONIZE: Duration = Duration::from_secs(1);

/// A log of which somebody holds more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Behind {
    /// When something was last done about it.
    since: Time,
    /// How far we were then.
    accepted: u64,
    tries: u32,
}

impl Replication {
    pub(super) fn begin_exchange(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        self.peers.insert(peer, Peer::new(peer, cx.now().mono, self.config.retry));
        if !planted!("replication/no-vector-for-new-neighbours") {
            self.on_synchronize(cx, peer);
        }
    }

    /// Asks for the peer's vector until it comes. It may take us for a neighbour later than we it.
    pub(super) fn on_synchronize(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        let Some(entry) = self.peers.get_mut(&peer).filter(|peer| !peer.heard) else { return };
        cx.arm(Timer::Synchronize(peer), SYNCHRONIZE * 2_u32.pow(entry.asked.min(5)));
        entry.asked = entry.asked.saturating_add(1);
        self.tell_vector(cx, peer, true);
    }

    pub(super) fn end_exchange(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        let Some(gone) = self.peers.remove(&peer) else { return };
        self.statistics.failed += gone.flights() as u64;
        for timer in [Timer::Flush(peer), Timer::Retransmit(peer), Timer::Synchronize(peer)] {
            cx.disarm(timer);
        }
        self.acks.retain(|(_, to, _)| *to != peer);
        self.disputes.retain(|(_, with), _| *with != peer);
        let mut grafts: BTreeMap<NodeId, Vec<usize>> = BTreeMap::new();
        for at in 0..self.logs.len() {
            let log = self.logs.get_mut(at);
            log.source = log.source.filter(|source| *source != peer);
            if log.parent == Some(peer) {
                log.parent = None;
                if let Some(next) = self.foster(at) {
                    grafts.entry(next).or_default().push(at);
                }
            }
        }
        for (next, logs) in grafts {
            self.graft(cx, next, &logs);
        }
    }

    /// Who should push a log whose parent is gone: the origin itself, else whoever holds most, among those who hold back.
    /// The others push already.
    fn foster(&self, at: usize) -> Option<NodeId> {
        let log = self.logs.get(at);
        if log.is_moving() || log.id.actor == self.actor || self.failed.is_some() {
            return None;
        }
        let quiet = self.peers.iter().filter(|(_, peer)| peer.edge(at).quiet);
        quiet.max_by_key(|(_, peer)| (peer.is_origin(log), peer.edge(at).known)).map(|(id, _)| *id)
    }

    /// Tells how far each log is held.
    pub(super) fn tell_vector(&mut self, cx: &mut Cx<'_, Self>, to: NodeId, answer: bool) {
        let Some(peer) = self.peers.get_mut(&to) else { return };
        let mut lines = Vec::new();
        for (at, log) in self.logs.by_id() {
            let last = log.offered();
            peer.edge_mut(at).told = last;
            if let Some(chain) = log.chain_at(last).filter(|_| last > 0) {
                lines.push(Line { log: log.id, last: Seq::new(last), chain });
            }
        }
        let mut after = None;
        let mut chunks = lines.chunks(LINES_MAX).peekable();
        loop {
            let lines = chunks.next().unwrap_or_default().to_vec();
            let upto = chunks.peek().and_then(|_| lines.last()).map(|line| line.log);
            cx.send(to, Message::Vector(Chunk { after, upto, lines, answer }));
            if upto.is_none() {
                return;
            }
            after = upto;
        }
    }

    pub(super) fn on_vector(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, chunk: &Chunk) {
        for line in &chunk.lines {
            self.on_line(cx, from, line);
        }
        // Who holds nothing of a log disputes nothing.
        let logs = &self.logs;
        self.disputes.retain(|(at, with), _| {
            let log = logs.get(*at).id;
            *with != from || !chunk.covers(log) || chunk.lines.iter().any(|line| line.log == log)
        });
        if let Some(row) = self.replicas.row_mut(from) {
            (row.as_of, row.compared) = (cx.now().mono, true);
            self.report_soon(cx);
        }
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if !peer.heard {
            self.settle_edges(cx, from, chunk);
        }
        if chunk.answer && chunk.upto.is_none() {
            self.tell_vector(cx, from, false);
        }
        self.pump(cx, from);
    }

    fn on_line(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, line: &Line) {
        let at = match self.admit(line.log, (from, cx.now().mono), Cause::Named) {
            Ok(Some(at)) => at,
            Ok(None) => return, // It is asked for when there is room.
            Err(why) => return self.fault(cx, from, why),
        };
        let (log, theirs) = (self.logs.get(at), line.last.value());
        if log.lost.is_some() {
            return;
        }
        match log.chain_at(theirs) {
            Some(ours) if ours != line.chain => return self.disagree(cx, from, at, theirs),
            Some(_) => _ = self.disputes.remove(&(at, from)),
            None => {}
        }
        let log = self.logs.get(at);
        if log.id.actor == self.actor {
            self.confirm_as(cx, from, at, theirs, line.chain);
            return self.on_own(cx, from, line.log, line.last);
        }
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.knows(at, theirs);
        }
        self.confirm_as(cx, from, at, theirs, line.chain);
        if theirs > self.logs.get(at).accepted() {
            self.lags(cx, at);
        }
    }

    /// The first vector of a link decides how each log begins. Whoever was told that we hold more will ask somebody for it,
    /// perhaps us; who was told nothing new gets what has come since. In the same way we ask one neighbour for what we lack.
    fn settle_edges(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, chunk: &Chunk) {
        let peer = self.peers.get_mut(&from).expect("the caller looked");
        let mut lacking = Vec::new();
        for (at, log) in self.logs.by_id().filter(|(_, log)| chunk.covers(log.id)) {
            let is_origin = peer.is_origin(log);
            let edge = peer.edge_mut(at);
            edge.quiet = edge.told < edge.known;
            if edge.mode == Mode::Unset && !is_origin {
                edge.mode = if edge.known >= edge.told { Mode::Eager } else { Mode::Lazy };
            }
            let (mode, cursor, known) = (edge.mode, edge.cursor, edge.known);
            if mode == Mode::Eager && cursor < log.offered() {
                peer.gather(at, usize::try_from(log.offered() - cursor).unwrap_or(usize::MAX), 0);
            }
            let ours = log.accepted();
            if known > ours && !log.is_moving() && log.id.actor != self.actor {
                lacking.push((Reverse(known - ours), at));
            }
        }
        let next = chunk.after.is_none() || chunk.after == peer.heard_upto;
        if next {
            (peer.heard_upto, peer.heard) = (chunk.upto, chunk.upto.is_none());
        }
        if peer.heard {
            cx.disarm(Timer::Synchronize(from));
        }
        // Unless its parent is known to hold more than we do: then that is on its way.
        lacking.retain(|(_, at)| {
            let log = self.logs.get(*at);
            let parent = log.parent.and_then(|parent| self.peers.get(&parent));
            parent.is_none_or(|parent| parent.edge(*at).known <= log.accepted())
        });
        lacking.sort_unstable(); // Most behind first.
        let lacking: Vec<usize> = lacking.into_iter().map(|(_, at)| at).collect();
        self.graft(cx, from, &lacking);
    }

    /// Asks a peer to push these logs from where we stand.
    pub(super) fn graft(&mut self, cx: &mut Cx<'_, Self>, to: NodeId, logs: &[usize]) {
        let Some(peer) = self.peers.get_mut(&to).filter(|_| self.failed.is_none()) else { return };
        let mut grafts = Vec::with_capacity(logs.len());
        for at in logs {
            let log = self.logs.get_mut(*at);
            log.parent = Some(to);
            let edge = peer.edge_mut(*at);
            (edge.quiet, edge.pruned_at) = (false, None);
            grafts.push(Graft { log: log.id, after: Seq::new(log.accepted()) });
        }
        self.statistics.grafts += grafts.len() as u64;
        for grafts in grafts.chunks(LINES_MAX) {
            cx.send(to, Message::Graft(grafts.to_vec()));
        }
    }

    /// Somebody holds more of this log, or there is a gap in it: it is looked after until that is over.
    pub(super) fn lags(&mut self, cx: &mut Cx<'_, Self>, at: usize) {
        if self.failed.is_some() || self.logs.get(at).is_moving() {
            return;
        }
        if self.behind.is_empty() {
            cx.arm(Timer::Behind, BEHIND_TICK);
        }
        let behind = Behind { since: cx.now().mono, accepted: self.logs.get(at).accepted(), tries: 0 };
        self.behind.entry(at).or_insert(behind);
    }

    /// Logs that make no progress get another source.
    pub(super) fn on_behind(&mut self, cx: &mut Cx<'_, Self>) {
        let now = cx.now().mono;
        let mut grafts: BTreeMap<NodeId, Vec<usize>> = BTreeMap::new();
        for (at, mut behind) in std::mem::take(&mut self.behind) {
            let log = self.logs.get(at);
            let ahead = |peer: &&Peer| peer.edge(at).known > log.accepted();
            if log.is_moving() || !self.peers.values().any(|peer| ahead(&peer)) {
                self.logs.drop_held(at);
                continue;
            }
            if log.accepted() > behind.accepted {
                behind = Behind { since: log.progress_at, accepted: log.accepted(), tries: 0 };
            }
            if self.is_stalled(at, behind, now)
                && let Some(next) = self.another_source(cx, at)
            {
                grafts.entry(next).or_default().push(at);
                (behind.since, behind.tries) = (now, behind.tries.saturating_add(1));
                reachable!("replication/stalled-log-gets-another-source");
            }
            self.behind.insert(at, behind);
        }
        if !grafts.is_empty() {
            self.compare_at = (now, 0);
        }
        for (next, logs) in grafts {
            self.graft(cx, next, &logs);
        }
        if !self.behind.is_empty() {
            cx.arm(Timer::Behind, BEHIND_TICK);
        }
    }

    /// Whether this log has made no progress for longer than its source may take.
    fn is_stalled(&self, at: usize, behind: Behind, now: Time) -> bool {
        let log = self.logs.get(at);
        let parent = log.parent.and_then(|parent| self.peers.get(&parent));
        let patience = parent.map_or(PATIENCE_MIN, Peer::rto).max(PATIENCE_MIN) * 2_u32.pow(behind.tries.min(5));
        let waited = now.since(behind.since.max(log.progress_at));
        let works = |parent: &Peer| parent.edge(at).known > log.accepted() && now.since(parent.active_at) < patience;
        let busy = parent.is_some_and(works);
        waited >= if busy { patience * BUSY_FACTOR } else { patience }
    }

    /// A peer who holds more of this log than we do, rather not its parent.
    fn another_source(&self, cx: &mut Cx<'_, Self>, at: usize) -> Option<NodeId> {
        let log = self.logs.get(at);
        let ahead = self.peers.iter().filter(|(_, peer)| peer.edge(at).known > log.accepted());
        let mut holders: Vec<NodeId> = ahead.map(|(id, _)| *id).collect();
        if holders.len() > 1 {
            holders.retain(|holder| log.parent != Some(*holder));
        }
        cx.rng().pick(&holders).copied()
    }

    pub(super) fn arm_anti_entropy(&self, cx: &mut Cx<'_, Self>) {
        let period = self.config.anti_entropy;
        let jitter = cx.rng().below(u64::try_from(period.as_nanos()).unwrap_or(u64::MAX));
        cx.arm(Timer::AntiEntropy, period / 2 + Duration::from_nanos(jitter));
    }

    /// Compares digests with one random neighbour.
    pub(super) fn on_anti_entropy(&mut self, cx: &mut Cx<'_, Self>) {
        self.arm_anti_entropy(cx);
        let peers: Vec<NodeId> = self.peers.keys().copied().collect();
        if let Some(peer) = cx.rng().pick(&peers) {
            cx.send(*peer, Message::Digest(self.logs.digest()));
        }
    }

    pub(super) fn on_digest(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, digest: Digest) {
        if digest == self.logs.digest() {
            self.disputes.retain(|(_, with), _| *with != from);
            return self.confirm_all(cx, from);
        }
        // While entries flow, digests differ by what is under way, and that is looked after by acknowledgements and gaps.
        let (now, (compare_at, fruitless)) = (cx.now().mono, self.compare_at);
        let flowing = now.since(self.durable_at) < self.config.anti_entropy / 2;
        if flowing && now < compare_at {
            return;
        }
        reachable!("replication/digests-differ");
        self.compare_at = (now + self.config.anti_entropy * 2_u32.pow(fruitless.min(3)), fruitless + 1);
        self.tell_vector(cx, from, true);
    }
}

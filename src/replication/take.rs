//! Receiving: entries are taken in order, held behind a gap, or recognised as duplicates; each log keeps one parent.

use std::time::Duration;

use super::log::Held;
use super::message::{Batch, Entry, Have, Kind, Message, Run, Short};
use super::peer::Mode;
use super::{Event, Kept, Peer, Record, Replication, Wait};
use crate::machine::Cx;
use crate::probe::{planted, reachable};
use crate::types::{Hlc, NodeId, Range, Seq};

/// Acknowledgements that may wait for the disk. Correct peers stay far below: each has a bounded number of batches under way.
const ACKS_MAX: usize = 1 << 16;

/// After so many entries of a log, and so long, another neighbour may show that it is faster than the parent. It costs the
/// duplicates of a round trip.
const RACE_ENTRIES: u64 = 64;
const RACE_PAUSE: Duration = Duration::from_secs(10);

/// What a run brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Taken {
    new: u64,
    old: u64,
}

/// What is to be said of a run, and of a batch what is to be said of any of its runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Answer {
    /// It met a batch of ours that brings the sender the same: each of the two acknowledges the other.
    Nothing,
    /// All of it is held, or will be when it is durable.
    Ack,
    /// Not all of it was taken.
    Part,
}

impl Replication {
    pub(super) fn on_batch(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, batch: Batch, kind: Kind) {
        if self.failed.is_some() {
            return;
        }
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.active_at = cx.now().mono;
        }
        let (number, duplicates) = (batch.number, self.statistics.duplicates);
        let mut answer = if batch.runs.is_empty() { Answer::Ack } else { Answer::Nothing };
        for run in batch.runs {
            answer = answer.max(self.on_run(cx, from, run, kind));
        }
        let ack = match answer {
            Answer::Nothing => None,
            Answer::Ack => Some(Message::Ack { number }),
            Answer::Part => Some(Message::Part { number }),
        };
        if let Some(ack) = ack.filter(|_| self.acks.len() < ACKS_MAX) {
            self.acks.push_back((self.writes.0, from, ack));
        }
        self.flush_acks(cx);
        if self.statistics.duplicates > duplicates && self.peers.get_mut(&from).is_some_and(|peer| peer.land_shown()) {
            self.landed(cx, from);
        }
    }

    /// Acknowledges the batches of which everything is durable now.
    pub(super) fn flush_acks(&mut self, cx: &mut Cx<'_, Self>) {
        let early = planted!("replication/copies-acknowledged-early");
        while let Some((_, to, ack)) = self.acks.pop_front_if(|(writes, ..)| *writes <= self.writes.1 || early) {
            cx.send(to, ack);
        }
    }

    fn on_run(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, run: Run, kind: Kind) -> Answer {
        let at = match self.resolve(run.log, (from, cx.now().mono), Some((run.first.value() - 1, run.before))) {
            Ok(Some(at)) => at,
            Ok(None) => return Answer::Part, // Anti-entropy will name it in full.
            Err(why) => {
                self.fault(cx, from, why);
                return Answer::Part;
            }
        };
        let log = self.logs.get(at);
        if log.id.actor == self.actor {
            self.on_own(cx, from, log.id, Seq::new(run.last()));
            return Answer::Part;
        }
        if log.lost.is_some() {
            return Answer::Part;
        }
        let weight: usize = run.entries.iter().map(Entry::weight).sum();
        let Some(run) = log.behind_base(run) else { return Answer::Part };
        let (first, last) = (run.first.value(), run.last());
        let (moving, gap) = (log.is_moving(), first > log.accepted() + 1);
        if moving || gap {
            self.knows(from, at, last);
        }
        if moving {
            return Answer::Part;
        }
        if gap {
            self.on_gap(cx, from, at, run, kind);
            return Answer::Part;
        }
        let held = Held { from, before: run.before, kind, entries: run.entries };
        if planted!("replication/taken-counts-as-parents") {
            self.logs.get_mut(at).parent = None;
        }
        // Who holds another branch does not hold this one up to there.
        let Some(taken) = self.take(cx, at, first, held) else { return Answer::Part };
        self.knows(from, at, last);
        self.shows(cx, from, at, last, weight);
        self.disputes.remove(&(at, from));
        self.statistics.duplicates += taken.old;
        let crossed = taken.new == 0
            && kind == Kind::Live
            && self.peers.get(&from).is_some_and(|peer| peer.brings(at, first, last));
        if crossed && first == 1 {
            self.part_ways(cx, from, at);
        } else if kind != Kind::Repair {
            self.choose_parent(cx, from, at, taken);
        }
        self.unhold(cx, at);
        if crossed { Answer::Nothing } else { Answer::Ack }
    }

    /// The peer holds this, and will know from the acknowledgement that we do.
    fn shows(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId, at: usize, last: u64, weight: usize) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            let edge = peer.edge_mut(at);
            edge.shown = edge.shown.max(last);
            peer.told.earn(weight);
        }
        self.confirm(cx, peer, at, last);
    }

    fn knows(&mut self, peer: NodeId, at: usize, seq: u64) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.knows(at, seq);
        }
    }

    /// Takes the new entries of a run that begins at most one beyond what we have. `None` if it is of another branch.
    fn take(&mut self, cx: &mut Cx<'_, Self>, at: usize, first: u64, run: Held) -> Option<Taken> {
        let Held { from, before, kind, entries } = run;
        let log = self.logs.get(at);
        let mut chain = log.chain_at(first - 1).expect("the caller looked for gaps");
        if Short::of(chain) != before {
            self.disagree(cx, from, at, first - 1);
            return None;
        }
        let mut taken = Taken::default();
        for (seq, entry) in (first..).zip(entries) {
            let log = self.logs.get(at);
            if let Some(ours) = log.chain_at(seq) {
                // The same entry behind the same chain gives the same: most duplicates are still in the cache.
                chain = if log.cached(seq) == Some(&entry) { ours } else { entry.link(chain) };
                if chain != ours {
                    self.differ(cx, from, at, seq, &entry);
                    return None;
                }
                reachable!("replication/duplicate-taken");
                taken.old += 1;
            } else {
                self.take_next(cx, at, entry, kind == Kind::Backlog);
                taken.new += 1;
            }
        }
        Some(taken)
    }

    fn take_next(&mut self, cx: &mut Cx<'_, Self>, at: usize, entry: Entry, backlog: bool) {
        let now = cx.now();
        let id = self.logs.get(at).id;
        self.follow(cx, id.actor.node, entry.hlc);
        let log = self.logs.get_mut(at);
        let (hlc, body) = (entry.hlc, entry.body.clone());
        log.push_pending(entry);
        log.progress_at = now.mono;
        let seq = Seq::new(log.accepted());
        self.writes.0 += 1;
        let record = Record { log: id, seq, hlc, body };
        cx.persist(Kept::Entry(record), Wait::Taken { log: id, seq, backlog });
    }

    /// Moves our clock past a stamp. An origin whose clock is far off is named once; its data must converge all the same.
    fn follow(&mut self, cx: &mut Cx<'_, Self>, origin: NodeId, stamp: Hlc) {
        if let Err(drift) = self.clock.follow(stamp, cx.now().wall)
            && self.drifted.insert(origin)
        {
            cx.emit(Event::Drifted { origin, drift });
        }
    }

    /// Whoever delivers a log first becomes its parent; whoever else delivers it is asked to stop. A parent is replaced by
    /// whoever is clearly faster and was not asked to stop: two sources that are pruned for each other would leave none.
    fn choose_parent(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, at: usize, taken: Taken) {
        let log = self.logs.get_mut(at);
        let parent = *log.parent.get_or_insert(from);
        if taken.new > 0 {
            log.source = Some(from);
            return self.race(cx, at, taken.new);
        }
        if parent != from {
            return self.prune(cx, from, at);
        }
        let Some(source) = log.source.filter(|source| *source != parent) else { return };
        let late = cx.now().mono.since(log.progress_at);
        let is_faster = |peer: &Peer| !peer.edge(at).quiet && late >= peer.noise();
        if self.peers.get(&source).is_some_and(is_faster) {
            self.logs.get_mut(at).parent = Some(source);
            self.prune(cx, parent, at);
        } else {
            self.prune(cx, source, at);
        }
    }

    /// Two who push each other a log from its first entry on have it from others, and each would ask the other to stop: neither
    /// has to, since both see it. But who has no parent keeps this one, and whoever asked for the log gets it until it says
    /// otherwise.
    fn part_ways(&mut self, cx: &mut Cx<'_, Self>, with: NodeId, at: usize) {
        let (now, parent) = (cx.now().mono, self.logs.get(at).parent);
        let Some(peer) = self.peers.get_mut(&with) else { return };
        let edge = peer.edge_mut(at);
        if edge.mode == Mode::Grafted || parent == Some(with) {
            return self.choose_parent(cx, with, at, Taken { new: 0, old: 1 });
        }
        reachable!("replication/neighbours-part");
        edge.mode = Mode::Lazy;
        if parent.is_none() {
            return self.graft(cx, with, &[at]);
        }
        (edge.pruned_at, edge.quiet) = (Some(now), true);
    }

    /// Has another neighbour push this log too, now and then: whoever is slower will be asked to stop.
    fn race(&mut self, cx: &mut Cx<'_, Self>, at: usize, new: u64) {
        let (now, log) = (cx.now().mono, self.logs.get_mut(at));
        let (accepted, parent) = (log.accepted(), log.parent);
        if accepted / RACE_ENTRIES == (accepted - new) / RACE_ENTRIES || now.since(log.raced_at) < RACE_PAUSE {
            return;
        }
        log.raced_at = now;
        let is_rival = |peer: &Peer| peer.edge(at).quiet && Some(peer.id()) != parent;
        // Whose last chance was the longest ago.
        let rivals = self.peers.values().filter(|peer| is_rival(peer));
        if let Some(rival) = rivals.min_by_key(|peer| peer.edge(at).pruned_at).map(Peer::id) {
            self.graft(cx, rival, &[at]);
            self.logs.get_mut(at).parent = parent;
        }
    }

    fn prune(&mut self, cx: &mut Cx<'_, Self>, whom: NodeId, at: usize) {
        let (now, log) = (cx.now().mono, self.logs.get(at).id);
        let Some(peer) = self.peers.get_mut(&whom) else { return };
        let rto = peer.rto();
        let edge = peer.edge_mut(at);
        // What was under way when it was pruned is no reason to prune it again.
        if edge.pruned_at.is_none_or(|before| now.since(before) >= rto) {
            reachable!("replication/neighbour-pruned");
            (edge.pruned_at, edge.quiet) = (Some(now), true);
            self.statistics.prunes += 1;
            cx.send(whom, Message::Prune(vec![log]));
        }
    }

    /// A run ahead of a gap is held, and the gap asked for at once.
    fn on_gap(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, at: usize, run: Run, kind: Kind) {
        let first = run.first.value();
        let missing_from = self.logs.get(at).held_before(first) + 1;
        let held = Held { from, before: run.before, kind, entries: run.entries };
        if !self.logs.hold(at, first, held, self.config.held_bytes) {
            self.statistics.overflows += 1;
        }
        reachable!("replication/run-held-behind-a-gap");
        self.ask(cx, from, at, missing_from, first - 1);
        self.lags(cx, at);
    }

    fn ask(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, at: usize, missing_from: u64, missing_to: u64) {
        let now = cx.now().mono;
        let Some(peer) = self.peers.get(&from) else { return };
        let log = self.logs.get_mut(at);
        let (asked, asked_at) = log.asked;
        let range = if asked > log.accepted() && now.since(asked_at) < peer.rto() {
            (missing_from.max(asked + 1), missing_to)
        } else {
            log.gap().unwrap_or((missing_from, missing_to))
        };
        if range.0 <= range.1 {
            log.asked = (range.1, now);
            self.statistics.wants += 1;
            cx.send(
                from,
                Message::Want(vec![Range { log: log.id, first: Seq::new(range.0), last: Seq::new(range.1) }]),
            );
        }
    }

    /// Takes what waited behind a gap that is closed.
    fn unhold(&mut self, cx: &mut Cx<'_, Self>, at: usize) {
        while let Some((first, held)) = self.logs.unhold(at) {
            reachable!("replication/gap-closed");
            if self.take(cx, at, first, held).is_none() {
                return;
            }
        }
    }

    pub(super) fn on_have(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, lines: &[Have]) {
        for have in lines {
            match self.resolve(have.log, (from, cx.now().mono), None) {
                Ok(Some(at)) => self.on_ahead(cx, from, at, have.last),
                Ok(None) => {}
                Err(why) => return self.fault(cx, from, why),
            }
        }
    }

    /// A peer offers what it is catching up on: it is asked for at once unless our source has it too, or will not come to us.
    pub(super) fn on_offer(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, lines: &[Have]) {
        let mut wanted = Vec::new();
        for offer in lines {
            let at = match self.resolve(offer.log, (from, cx.now().mono), None) {
                Ok(Some(at)) => at,
                Ok(None) => continue,
                Err(why) => return self.fault(cx, from, why),
            };
            self.on_ahead(cx, from, at, offer.last);
            let log = self.logs.get(at);
            let Some(peer) = self.peers.get_mut(&from) else { return };
            peer.edge_mut(at).quiet = true;
            let source = log.parent.filter(|parent| *parent != from).and_then(|parent| self.peers.get(&parent));
            if self.behind.contains_key(&at) && source.is_none_or(|source| source.edge(at).known <= log.accepted()) {
                wanted.push(at);
            }
        }
        self.graft(cx, from, &wanted);
    }

    fn on_ahead(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, at: usize, last: Seq) {
        let log = self.logs.get(at);
        if log.id.actor == self.actor {
            return self.on_own(cx, from, log.id, last);
        }
        let lags = last.value() > log.accepted();
        self.knows(from, at, last.value());
        if lags {
            self.lags(cx, at);
        }
    }
}

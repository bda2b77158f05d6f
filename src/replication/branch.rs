//! Two branches of one log: how they are found, which one stands, and what becomes of the other.
//!
//! A node whose store was put back to an earlier image (a restored disk, a rolled-back virtual machine) does not know it, and
//! goes on writing its log from there. So places of that log are used twice, and each of the two entries may be an edit that
//! somebody was promised. The node itself mints a new actor as soon as it hears of it. The log is settled by everybody who
//! holds a branch of it, by one rule, so that it does not matter who is there: the node itself may be gone again, and its
//! new branch may have reached a part of the mesh that was cut off from the rest.
//!
//! * **Find.** A chain that differs says that two branches part somewhere before. The two neighbours compare the chain at
//!   [`MARKS_MAX`] places of what is left ([`Message::Marks`]), until one of them knows the place, and asks for the entry there.
//!   Nothing is remembered between these messages: what is lost on the way is begun anew by the next comparison of vectors.
//! * **Decide.** Of two entries at the place where the branches part, the older one stands ([`Rank`]). As a rule that is what the
//!   mesh held before the store was put back, so it is the node itself that has work with it. Whoever holds the one that
//!   stands shows it to the other, and that is all. A log that is named after its first entry begins with that one.
//! * **Give way.** Whoever holds the other one moves it, with all that follows, to a log of its own, whose mint is the hash
//!   of its first entry: everybody who holds the branch gives it the same name without asking anybody, so copies of it
//!   are the same log. The entries stay where they are on the disk, and are not changed. One record says what moved where; it
//!   is durable before anything is forgotten, and a log that is replayed with it gives the same state: a crash loses and
//!   doubles nothing. Then the branch that stands is asked for, like any log that is behind.
//!
//! If the log that entries move to is held already (a neighbour was faster), only those behind its end move. If it goes on
//! otherwise (the branch has branches), the rest moves to a third log, by the same rule.
//!
//! **Why not written anew.** A node could write its losing entries again under its new actor, as new edits. Then it alone
//! could, once, and while it is away they are lost to the others; what others had built on them would hang in the air; and an
//! old value written again would win over what was edited since. Moved, they are what they were, with their stamps and their
//! past, and whoever takes them in (`documents`) sees that they are a branch.

use super::hearsay::Cause;
use super::log::Slot;
use super::message::{Entry, MARKS_MAX, Mark, Marks, Message};
use super::{Branch, Event, Kept, Rank, Record, Replication, Wait};
use crate::machine::Cx;
use crate::probe::{planted, reachable};
use crate::types::{Actor, Digest, DiskFault, LogId, Mint, NodeId, Range, Seq, Time};

/// A neighbour who holds another branch of a log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dispute {
    /// Where the two part at the latest.
    pub(super) upto: Seq,
    /// When we last asked where exactly.
    asked_at: Option<Time>,
}

/// A branch on its way to a log of its own.
#[derive(Debug)]
pub(super) struct Move {
    log: usize,
    /// The first entry that gives way.
    from: u64,
    /// The next entry to be read back.
    next: u64,
    /// Where to, and the place there of the next entry.
    to: Option<(usize, u64)>,
    /// What is not there yet, in order.
    tail: Vec<Slot>,
    /// Who holds the branch that stands.
    winner: NodeId,
    /// Who disputed the log with us.
    disputants: Vec<NodeId>,
    stage: Stage,
}

/// What has moved and is to be delivered under its new name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moved {
    log: usize,
    next: u64,
    last: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// For the disk, which has not answered for all of the log.
    Waiting,
    Reading,
    /// What moves where is on its way to the disk.
    Writing,
}

/// How an entry fits a place of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    /// It stands there.
    Held,
    /// It is the next one; the chain after it.
    Next(Digest),
    /// Another one stands there.
    Other,
}

impl Replication {
    /// A neighbour holds another branch of a log, which parts from ours at `upto` or before: where?
    pub(super) fn disagree(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId, at: usize, upto: u64) {
        let Some(rto) = self.peers.get(&peer).map(super::Peer::rto) else { return };
        if self.logs.get(at).is_moving() {
            return;
        }
        let base = self.logs.get(at).base();
        if base > 0 && upto <= base {
            return; // What could be compared is not held any more.
        }
        if upto == 0 {
            return self.fault(cx, peer, format!("log {} begins otherwise", self.logs.get(at).id.at(Seq::new(1))));
        }
        let now = cx.now().mono;
        let dispute = self.dispute(cx, peer, at, upto);
        if dispute.asked_at.is_none_or(|asked_at| now.since(asked_at) >= rto) {
            dispute.asked_at = Some(now);
            self.compare(cx, peer, at, base, upto);
        }
    }

    /// Notes, and tells if it is new, that a neighbour holds another branch. If the log is ours, we write to it no more.
    fn dispute(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId, at: usize, upto: u64) -> &mut Dispute {
        let (id, held, upto) = (self.logs.get(at).id, Seq::new(self.logs.get(at).accepted()), Seq::new(upto));
        if !self.disputes.contains_key(&(at, peer)) {
            cx.emit(Event::Forked { log: id, seq: upto, peer });
        }
        if id.actor == self.actor {
            self.roll_back(cx, id, held, upto);
        }
        let dispute = self.disputes.entry((at, peer)).or_insert(Dispute { upto, asked_at: None });
        dispute.upto = upto.min(dispute.upto);
        dispute
    }

    /// Tells our chain at some places: the two branches are the same up to `same`, and differ at `differ`.
    fn compare(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId, at: usize, same: u64, differ: u64) {
        let log = self.logs.get(at);
        let steps = (differ - same).min(MARKS_MAX as u64 - 1);
        // Places are below 2^48, so this does not overflow.
        let places = (0..=steps).map(|step| same + (differ - same) * step / steps);
        let mark = |seq: u64| Some(Mark { seq: Seq::new(seq), chain: log.chain_at(seq)? });
        let marks = places.filter(|seq| *seq > 0).filter_map(mark).collect();
        cx.send(peer, Message::Marks(Marks { log: log.id, marks }));
    }

    /// A neighbour tells its chain at some places.
    pub(super) fn on_marks(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, marks: &Marks) {
        let Some(at) = self.logs.find(marks.log) else { return };
        let log = self.logs.get(at);
        if log.is_moving() {
            return;
        }
        let (mut same, mut differ) = (0, None);
        for Mark { seq, chain } in &marks.marks {
            match log.chain_at(seq.value()) {
                Some(ours) if ours == *chain => same = seq.value(),
                Some(_) => {
                    differ = Some(seq.value());
                    break;
                }
                None if seq.value() < log.base() => {}
                None => break,
            }
        }
        // Settled meanwhile, or beyond our end: vectors will tell.
        let Some(differ) = differ else { return };
        self.dispute(cx, from, at, differ);
        if differ > same + 1 {
            return self.compare(cx, from, at, same, differ);
        }
        let place = Seq::new(differ);
        self.statistics.wants += 1;
        cx.send(from, Message::Want(vec![Range { log: marks.log, first: place, last: place }]));
    }

    /// A neighbour gave us its entry at the very place where the branches part.
    pub(super) fn differ(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId, at: usize, seq: u64, theirs: &Entry) {
        if self.logs.get(at).is_moving() {
            return;
        }
        self.dispute(cx, peer, at, seq);
        let log = self.logs.get(at);
        // What is not durable yet will be when the vectors are compared again.
        if let Some(position) = log.position(seq) {
            cx.read(position, Wait::Compare { log: log.id, seq: Seq::new(seq), peer, theirs: theirs.rank() });
        }
    }

    /// Our entry at the place where the branches part is here.
    pub(super) fn on_compared(
        &mut self,
        cx: &mut Cx<'_, Self>,
        log: LogId,
        seq: Seq,
        peer: NodeId,
        theirs: Rank,
        result: Result<Record, DiskFault>,
    ) {
        let Some(at) = self.logs.find(log).filter(|at| !self.logs.get(*at).is_moving()) else { return };
        let ours = match result.and_then(|record| self.logs.get(at).verify(seq.value(), record)) {
            Ok(entry) => entry.rank(),
            Err(fault) => return cx.emit(Event::Unreadable { log, seq, fault }),
        };
        // The entry that a log is named after is its first, whatever claims to be older: it could move nowhere else.
        let named = |rank: Rank| seq == Seq::new(1) && Mint::new(rank.hash.value()) == log.actor.mint;
        let (ours, theirs) = ((!named(ours), ours), (!named(theirs), theirs));
        if theirs < ours && !planted!("replication/own-branch-stands") {
            self.give_way(cx, at, seq.value(), peer);
        } else if ours < theirs
            && let Some(holder) = self.peers.get_mut(&peer)
        {
            holder.want(at, seq.value(), seq.value());
            self.pump(cx, peer);
        }
    }

    fn give_way(&mut self, cx: &mut Cx<'_, Self>, at: usize, from: u64, winner: NodeId) {
        if self.failed.is_some() {
            return;
        }
        self.logs.get_mut(at).lost = Some(from);
        reachable!("replication/branch-gives-way");
        self.logs.drop_held(at);
        self.behind.remove(&at);
        let disputants = self.disputes.keys().filter(|(log, _)| *log == at).map(|(_, peer)| *peer).collect();
        self.disputes.retain(|(log, _), _| *log != at);
        let (to, tail, stage) = (None, Vec::new(), Stage::Waiting);
        self.moves.push_back(Move { log: at, from, next: from, to, tail, winner, disputants, stage });
        self.move_on(cx);
    }

    /// Begins with the next branch that is to move, once the log is at rest.
    pub(super) fn move_on(&mut self, cx: &mut Cx<'_, Self>) {
        if let Some(first) = self.moves.front_mut()
            && first.stage == Stage::Waiting
            && !self.trims.is_writing()
            && !self.logs.get(first.log).is_pending()
        {
            first.stage = Stage::Reading;
            self.read_moving(cx);
        }
    }

    /// Reads the next entry of the branch; after the last one writes down what moves where.
    fn read_moving(&mut self, cx: &mut Cx<'_, Self>) {
        let Some(first) = self.moves.front_mut() else { return };
        let log = self.logs.get(first.log);
        if let Some(position) = log.position(first.next) {
            return cx.read(position, Wait::Move { log: log.id, seq: Seq::new(first.next) });
        }
        let Some((to, place)) = first.to else { return self.stay(cx) };
        first.stage = Stage::Writing;
        let moved = first.tail.len() as u64;
        let branch = Branch {
            log: log.id,
            from: Seq::new(first.from),
            moved: Seq::new(first.next - moved),
            to: self.logs.get(to).id.actor,
            at: Seq::new(place - moved),
        };
        self.writes.0 += 1;
        cx.persist(Kept::Branch(branch), Wait::Branch);
    }

    pub(super) fn on_move_read(
        &mut self,
        cx: &mut Cx<'_, Self>,
        log: LogId,
        seq: Seq,
        result: Result<Record, DiskFault>,
    ) {
        let Some(first) = self.moves.front() else { return };
        let held = self.logs.get(first.log);
        if first.stage != Stage::Reading || held.id != log || first.next != seq.value() {
            return;
        }
        let entry = match result.and_then(|record| held.verify(seq.value(), record)) {
            Ok(entry) => entry,
            Err(fault) => {
                cx.emit(Event::Unreadable { log, seq, fault });
                return self.stay(cx);
            }
        };
        match self.chain_moving(&entry, cx.now().mono) {
            Ok(()) => self.read_moving(cx),
            Err(why) => {
                cx.emit(Event::Unsettled { log, seq, why });
                self.stay(cx);
            }
        }
    }

    /// Finds the place of the next entry of the branch that moves.
    fn chain_moving(&mut self, entry: &Entry, now: Time) -> Result<(), String> {
        let Some(first) = self.moves.front() else { return Ok(()) };
        let log = self.logs.get(first.log);
        let (node, topic) = (log.id.actor.node, log.id.topic);
        let position = log.position(first.next).expect("it was just read from there");
        // Beyond the end of where it moves to one follows the other.
        let place = match (first.to, first.tail.last()) {
            (Some((to, place)), Some(last)) => Some((to, place, Fit::Next(entry.link(last.chain)))),
            (Some((to, place)), None) => Some((to, place, self.fit(to, place, entry))),
            (None, _) => None,
        };
        let (to, place, fit) = match place {
            Some(place) if place.2 != Fit::Other => place,
            _ => {
                // Named by this entry: it is the first of the branch, or of a branch of it.
                let actor = Actor { node, mint: Mint::new(entry.rank().hash.value()) };
                let by = (self.actor.node, now);
                let to = self.admit(LogId { actor, topic }, by, Cause::Entry)?;
                let to = to.ok_or("there is no place for another log")?;
                (to, 1, self.fit(to, 1, entry))
            }
        };
        if fit == Fit::Other || (fit != Fit::Held && self.logs.get(to).lost.is_some()) {
            return Err(format!(
                "{} is where a branch would move to, and is disputed",
                self.logs.get(to).id.at(Seq::new(place))
            ));
        }
        let Some(first) = self.moves.front_mut() else { return Ok(()) };
        let before = first.to.replace((to, place + 1));
        first.next += 1;
        if let Fit::Next(chain) = fit {
            first.tail.push(Slot { position, chain });
        }
        if let Some((before, _)) = before.filter(|(before, _)| *before != to) {
            self.release(before);
        }
        self.logs.get_mut(to).awaits = true;
        Ok(())
    }

    /// No branch moves to this log any more, unless another one does.
    pub(super) fn release(&mut self, at: usize) {
        let arrives = self.moves.iter().any(|other| other.to.is_some_and(|(to, _)| to == at));
        self.logs.get_mut(at).awaits = arrives || self.moved.iter().any(|other| other.log == at);
    }

    /// How an entry fits a place of a log.
    fn fit(&self, at: usize, place: u64, entry: &Entry) -> Fit {
        let log = self.logs.get(at);
        let Some(chain) = log.chain_at(place - 1).map(|before| entry.link(before)) else { return Fit::Other };
        match log.chain_at(place) {
            None => Fit::Next(chain),
            Some(held) if held == chain => Fit::Held,
            Some(_) => Fit::Other,
        }
    }

    /// The branch stays where it is, and the log in dispute. It is tried again when vectors are compared.
    fn stay(&mut self, cx: &mut Cx<'_, Self>) {
        if let Some(first) = self.moves.pop_front() {
            self.logs.get_mut(first.log).lost = None;
            if let Some((to, _)) = first.to {
                self.release(to);
            }
        }
        self.move_on(cx);
    }

    /// It is durable what moves where: so it does, and the branch that stands is asked for.
    pub(super) fn on_moved(&mut self, cx: &mut Cx<'_, Self>) {
        let Some(Move { log, from, to: Some((to, place)), tail, winner, disputants, next, .. }) =
            self.moves.pop_front()
        else {
            return;
        };
        self.statistics.branches += 1;
        let moved = tail.len() as u64;
        self.logs.cut(log, from);
        let first = self.logs.get(to).durable() == 0 && moved > 0;
        self.logs.adopt(to, tail);
        if first {
            self.on_first_entry(cx, to);
        }
        self.replicas.part(log);
        self.drop_copies(cx, log);
        for at in [log, to] {
            self.logs.get_mut(at).mark(cx.now().mono);
        }
        for (id, peer) in &mut self.peers {
            peer.part(log, from);
            if *id == winner {
                peer.knows(log, from);
            }
        }
        let (id, to_id) = (self.logs.get(log).id, self.logs.get(to).id);
        let (from, last) = (Seq::new(from), Seq::new(next - 1));
        cx.emit(Event::GaveWay { log: id, from, last, to: to_id, at: Seq::new(place - 1) });
        self.moved.push_back(Moved { log: to, next: place - moved, last: place - 1 });
        if self.moved.len() == 1 {
            self.deliver_moved(cx);
        }
        if moved > 0 {
            self.spread(cx, to, 0, true);
        }
        self.lags(cx, log);
        if self.peers.contains_key(&winner) {
            self.graft(cx, winner, &[log]);
        }
        // So that they see that it is over.
        disputants.into_iter().for_each(|peer| self.tell_vector(cx, peer, false));
        self.flush_acks(cx);
        self.move_on(cx);
    }

    /// Delivers what moved under its new name, one entry after the other. Until all is told, nothing more of that log is taken.
    fn deliver_moved(&mut self, cx: &mut Cx<'_, Self>) {
        while let Some(Moved { log, next, last }) = self.moved.front().copied() {
            if let Some(position) = self.logs.get(log).position(next).filter(|_| next <= last) {
                let (log, seq) = (self.logs.get(log).id, Seq::new(next));
                return cx.read(position, Wait::Reread { log, seq, again: false });
            }
            self.moved.pop_front();
            self.release(log);
            self.lags(cx, log);
        }
    }

    /// An entry was delivered once more, or could not be: the next one.
    pub(super) fn on_told_again(&mut self, cx: &mut Cx<'_, Self>, log: LogId, seq: Seq) {
        if let Some(first) = self.moved.front_mut()
            && self.logs.get(first.log).id == log
            && first.next == seq.value()
        {
            first.next += 1;
            self.deliver_moved(cx);
        }
    }
}

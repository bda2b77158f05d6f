//! Logs that are not held from their beginning: what nobody wants any more is forgotten, and whoever asks for it is told.
//!
//! Entries of streams expire. When the first segments of their chain hold nothing else, the host may remove them; before
//! that, one record in the main chain says with which segment the chain begins from then on, and for each log up to where it is
//! not held any more and its hash chain there. So a log that begins behind its trim point can be read back and chained
//! on, and a crash between the record and the removal leaves segments that do not count, which the next boot removes.
//!
//! A log's end is what vectors, digests and acknowledgements are about. Peers that forgot different parts of a log agree
//! as long as its ends do. Only who needs what is forgotten hears of it ([`Message::Trimmed`]): it passes over, durably, and
//! goes on behind the gap. It does not look for another holder first: the same events expire everywhere, and a stream
//! that stalls is worse than a gap that is told.

use super::hearsay::SKIPPED_MAX;
use super::log::Log;
use super::message::{Line, Message, Run, Short};
use super::peer::{Job, Mode};
use super::{Event, Kept, Replication, Trim, Wait};
use crate::machine::Cx;
use crate::probe::{planted, reachable};
use crate::types::{LogId, Lsn, NodeId, SegmentId, Seq, Topic};

/// One record at a time.
#[derive(Debug, Default)]
pub(super) struct Trims {
    writing: Option<Trim>,
    /// What was asked for meanwhile.
    next: Option<(SegmentId, Lsn)>,
}

impl Trims {
    /// Whether a record is on its way to the disk: no branch may begin to move meanwhile.
    pub(super) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// The disk will not answer for it. It is asked for again.
    pub(super) fn forget(&mut self) {
        if let Some(Trim { first, next, .. }) = self.writing.take() {
            self.next.get_or_insert((first, next));
        }
    }
}

impl Log {
    /// What of a run is behind our trim point; nothing else can be compared. `None` if nothing is.
    pub(super) fn behind_base(&self, mut run: Run) -> Option<Run> {
        let Some(gone) = (self.base() + 1).checked_sub(run.first.value()).filter(|gone| *gone > 0) else {
            return Some(run);
        };
        let gone = usize::try_from(gone).ok().filter(|gone| *gone < run.entries.len())?;
        run.entries.drain(..gone);
        run.first = Seq::new(self.base() + 1);
        run.before = Short::of(self.chain_at(self.base())?);
        Some(run)
    }
}

impl Replication {
    /// The next entry that [`restore`](Self::restore) takes of this log.
    #[must_use]
    pub fn next_of(&self, log: LogId) -> Seq {
        self.logs.find(log).map_or(Seq::ZERO, |at| Seq::new(self.logs.get(at).durable())).next()
    }

    /// Takes back that a log is not held up to here, before its entries behind that are [restored](Self::restore). `saved`
    /// if it stands in a [`Trim`].
    pub fn restore_base(&mut self, line: &Line, saved: bool) {
        let at = self.logs.intern(line.log);
        if !saved && self.logs.get(at).durable() == 0 {
            self.hearsay.skipped.insert(at);
        }
        self.logs.forget(at, line.last.value(), line.chain);
        if saved {
            self.logs.get_mut(at).base_saved = line.last.value();
        }
    }

    /// Nothing before the segment `first` of the events' chain, which begins with the record `next`, is wanted any more.
    /// Answered by [`Event::Trimmed`] when it may be removed, or by nothing if it must stay.
    pub fn trim(&mut self, cx: &mut Cx<'_, Self>, first: SegmentId, next: Lsn) {
        self.trims.next = Some((first, next));
        self.trim_next(cx);
    }

    /// Writes down what is to be forgotten, once no branch moves.
    pub(super) fn trim_next(&mut self, cx: &mut Cx<'_, Self>) {
        if self.failed.is_some() || self.trims.is_writing() || !self.moves.is_empty() || !self.moved.is_empty() {
            return;
        }
        let Some((first, next)) = self.trims.next.take() else { return };
        let mut lines = Vec::new();
        for (_, log) in self.logs.by_id().filter(|(_, log)| log.id.topic == Topic::EVENTS) {
            // An entry that moved here stands out of order: what is before it stays too.
            let Some(last) = log.last_before(first) else { return };
            if let Some(chain) = log.chain_at(last).filter(|_| last > log.base_saved) {
                lines.push(Line { log: log.id, last: Seq::new(last), chain });
            }
        }
        let trim = Trim { first, next, lines };
        self.trims.writing = Some(trim.clone());
        if planted!("replication/removes-before-written-down") {
            cx.emit(Event::Trimmed { first });
        }
        self.writes.0 += 1;
        cx.persist(Kept::Trim(trim), Wait::Trim);
    }

    /// It is durable: what was written down is forgotten.
    pub(super) fn on_trim(&mut self, cx: &mut Cx<'_, Self>) {
        let Some(Trim { first, lines, .. }) = self.trims.writing.take() else { return };
        reachable!("replication/log-trimmed");
        for line in &lines {
            self.restore_base(line, true);
        }
        cx.emit(Event::Trimmed { first });
        self.flush_acks(cx);
        self.move_on(cx);
        self.trim_next(cx);
    }

    /// A peer needs what is forgotten.
    pub(super) fn tell_trimmed(&mut self, cx: &mut Cx<'_, Self>, to: NodeId, job: Job) {
        let (Job::Stream(at) | Job::Range(at, ..)) = job;
        let (log, Some(peer)) = (self.logs.get(at), self.peers.get_mut(&to)) else { return };
        match job {
            // It will ask again from where it goes on.
            Job::Stream(at) => {
                peer.edge_mut(at).mode = Mode::Lazy;
                peer.requeue(at);
            }
            Job::Range(_, _, last) if last > log.base() => _ = peer.want(at, log.base() + 1, last),
            Job::Range(..) => {}
        }
        if let Some(chain) = log.chain_at(log.base()) {
            cx.send(to, Message::Trimmed(Line { log: log.id, last: Seq::new(log.base()), chain }));
        }
    }

    /// A peer does not hold a log up to here any more. If we lack what it forgot, we pass over it.
    pub(super) fn on_trimmed(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, line: Line) {
        if line.log.topic != Topic::EVENTS {
            return self.fault(cx, from, format!("{} was trimmed, and is kept whole", line.log.at(line.last)));
        }
        // It answers a request for what somebody named.
        let Some(at) = self.logs.find(line.log) else { return };
        let (log, last) = (self.logs.get(at), line.last.value());
        if log.id.actor == self.actor {
            return self.on_own(cx, from, line.log, line.last);
        }
        if self.failed.is_some() || log.is_moving() {
            return;
        }
        if log.chain_at(last).is_some_and(|ours| ours != line.chain) {
            return self.disagree(cx, from, at, last);
        }
        let lacks = last > log.accepted();
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.knows(at, last);
        }
        let begins = self.logs.get(at).accepted() == 0;
        if !lacks || (begins && self.hearsay.skipped.len() >= SKIPPED_MAX) {
            return;
        }
        // Nothing of it is taken until that is durable.
        self.logs.get_mut(at).awaits = true;
        self.logs.drop_held(at);
        self.behind.remove(&at);
        self.writes.0 += 1;
        cx.persist(Kept::Skip(line), Wait::Skip { line, peer: from });
    }

    pub(super) fn on_skip(&mut self, cx: &mut Cx<'_, Self>, line: &Line, peer: NodeId) {
        let at = self.logs.intern(line.log);
        let after = Seq::new(self.logs.get(at).durable());
        let first = self.logs.get(at).durable() == 0;
        self.logs.forget(at, line.last.value(), line.chain);
        self.release(at);
        if first {
            self.on_first_entry(cx, at);
            self.hearsay.skipped.insert(at);
        }
        cx.emit(Event::Skipped { log: line.log, after, upto: line.last });
        self.lags(cx, at);
        if self.peers.contains_key(&peer) {
            self.graft(cx, peer, &[at]);
        }
        self.flush_acks(cx);
        self.move_on(cx);
    }
}

//! Changes of others, and our own at boot: checked from outside, gathered, applied by a worker, or kept waiting.

use bytes::Bytes;

use super::change::{CHANGE_MAX, Hash, Header, Refusal};
use super::index::Busy;
use super::{Arrived, Body, DocState, Documents, Event, Orphan, Task};
use crate::machine::Cx;
use crate::probe::{planted, reachable};
use crate::types::{Actor, DocId, LogId, NodeId, Seq};

/// Bytes of an entry at most: a change and its document's id.
const BODY_MAX: usize = CHANGE_MAX + DocId::LEN_MAX + 16;
/// Entries that are asked for again at the same time at most.
const REREADS_MAX: usize = 16;
/// Refused changes that are remembered for one document at most; beyond it the lowest hashes are forgotten, and what
/// follows those waits for ever instead of being refused.
const REFUSALS_MAX: usize = 10_000;

impl Documents {
    /// Checks an entry from outside and puts it into its document's inbox. Gives the document, if it is one.
    pub(super) fn take_in(&mut self, log: LogId, seq: Seq, body: &Bytes) -> Option<DocId> {
        let (doc, change) = self.open(log, seq, body)?;
        if self.is_placed(&doc, log, seq) {
            return None; // It was applied, and came once more.
        }
        let work = self.work.entry(doc.clone()).or_default();
        work.own += usize::from(log.actor == self.actor);
        self.inbox_bytes += change.len();
        work.inbox.push_back(Arrived { log, seq, change });
        Some(doc)
    }

    /// Leaves an entry in the log for which there is no room.
    pub(super) fn put_off(&mut self, cx: &mut Cx<'_, Self>, log: LogId, seq: Seq, body: &Bytes) -> Option<DocId> {
        let (doc, _) = self.open(log, seq, body)?;
        if self.is_placed(&doc, log, seq) {
            return None;
        }
        self.pool.give_up(cx.now().mono, &doc, log, seq);
        self.tick(cx);
        Some(doc)
    }

    fn open(&mut self, log: LogId, seq: Seq, body: &Bytes) -> Option<(DocId, Bytes)> {
        let Some(Body { doc, change }) = decode(body) else {
            self.refuse(None, log, seq, "it is no entry of documents".to_owned());
            return None;
        };
        let refusal = match Header::read(&change) {
            Ok(header) if header.is_of(log.actor.node) => return Some((doc, change.into())),
            Ok(_) => Refusal::Impostor,
            Err(refusal) => refusal,
        };
        self.refuse(Some(doc), log, seq, refusal.to_string());
        None
    }

    /// Gives what is in the inbox to a worker; whether there was anything that need not wait for others.
    pub(super) fn apply(&mut self, cx: &mut Cx<'_, Self>, doc: &DocId) -> bool {
        let Some(work) = self.work.get_mut(doc) else { return true };
        let mut changes = Vec::new();
        while changes.len() < self.config.apply_max {
            let Some(arrived) = work.inbox.pop_front() else { break };
            work.own -= usize::from(arrived.log.actor == self.actor && work.own > 0);
            self.inbox_bytes -= arrived.change.len();
            if self.pool.blocks(doc, arrived.log, arrived.seq) {
                let hash = hash(&arrived.change);
                self.pool.push(cx.now().mono, doc, arrived, hash, Vec::new());
            } else {
                changes.push(arrived);
            }
        }
        if changes.is_empty() {
            self.shrink(cx);
            return false;
        }
        (work.edited, work.busy) = (false, Busy::Applying);
        self.applying += 1;
        cx.task(Task::Apply { doc: doc.clone(), changes });
        true
    }

    pub(super) fn on_applied(
        &mut self,
        cx: &mut Cx<'_, Self>,
        doc: DocId,
        (applied, known): (&[Arrived], &[(LogId, Seq)]),
        orphans: Vec<Orphan>,
        (refused, older): (Vec<(Arrived, String)>, Vec<Arrived>),
        state: DocState,
    ) {
        self.applying -= 1;
        let gave_way = self.work.get_mut(&doc).map(|work| std::mem::take(&mut work.gave_way)).unwrap_or_default();
        let stays = |arrived: &Arrived| !gave_way.iter().any(|(log, from)| arrived.log == *log && arrived.seq >= *from);
        let orphans = orphans.into_iter().filter(|orphan| stays(&orphan.arrived)).collect();
        let applied_at = applied.iter().map(|arrived| (arrived.log, arrived.seq, false));
        let stands =
            |(log, seq, _): &(LogId, Seq, bool)| !gave_way.iter().any(|(gone, from)| log == gone && seq >= from);
        let known_at = known.iter().map(|(log, seq)| (*log, *seq, true));
        let places: Vec<_> = applied_at.chain(known_at).filter(stands).collect();
        let older: Vec<Arrived> = older.into_iter().filter(stays).collect();
        let mut fallen = Vec::new();
        for (arrived, why) in refused {
            self.refuse(Some(doc.clone()), arrived.log, arrived.seq, why);
            fallen.push(self.fell(&doc, hash(&arrived.change)));
        }
        self.wait(cx, &doc, orphans, &mut fallen);
        if self.pool.holds(&doc) {
            for arrived in applied {
                self.pool.applied(&doc, &hash(&arrived.change));
            }
            self.fall(&doc, fallen);
            let mut released = self.pool.released(&doc);
            if planted!("documents/one-orphan-released") {
                released.truncate(1);
            }
            self.take_back_in(&doc, released);
        }
        let restoring = self.work.get(&doc).is_some_and(|work| work.restoring);
        if applied.is_empty() || restoring {
            self.set_state(&doc, state);
        } else {
            let mut origins: Vec<Actor> = applied.iter().map(|arrived| arrived.log.actor).collect();
            origins.sort_unstable();
            origins.dedup();
            self.changed(cx, &doc, state, origins);
        }
        for (log, seq, spare) in places {
            self.place(&doc, log, seq, spare);
        }
        for event in std::mem::take(&mut self.untold) {
            cx.emit(event);
        }
        self.shrink(cx);
        if !older.is_empty() {
            self.take_back_in(&doc, older);
            self.send_away(cx, &doc);
        }
        self.pump(cx, &doc);
        self.next_ready(cx);
        self.ask_again(cx);
    }

    /// The next documents get the places that became free.
    fn next_ready(&mut self, cx: &mut Cx<'_, Self>) {
        while self.applying < self.config.applies_max {
            let Some(doc) = self.ready.pop_front() else { return };
            if let Some(work) = self.work.get_mut(&doc) {
                work.listed = false;
            }
            self.pump(cx, &doc);
        }
    }

    /// What waited goes first: it is older than what is in the inbox.
    fn take_back_in(&mut self, doc: &DocId, released: Vec<Arrived>) {
        let work = self.work.entry(doc.clone()).or_default();
        for arrived in released.into_iter().rev() {
            work.own += usize::from(arrived.log.actor == self.actor);
            self.inbox_bytes += arrived.change.len();
            work.inbox.push_front(arrived);
        }
    }

    fn refuse(&mut self, doc: Option<DocId>, log: LogId, seq: Seq, why: String) {
        self.refused += 1;
        self.quarantine.add(doc.clone(), log, seq, why.clone());
        self.untold.push(Event::Refused { doc, log, seq, why });
    }

    /// Has the refused entries of an origin, or of all, read from the log and judged again: those that are listed. Gives how
    /// many.
    pub fn release(&mut self, cx: &mut Cx<'_, Self>, origin: Option<NodeId>) -> usize {
        let released = self.quarantine.release(origin);
        for entry in &released {
            if let Some(doc) = &entry.doc {
                self.refusals.remove(doc);
            }
            cx.emit(Event::Reread { log: entry.log, seq: entry.seq });
        }
        released.len()
    }

    fn fell(&mut self, doc: &DocId, hash: Hash) -> Hash {
        let refusals = self.refusals.entry(doc.clone()).or_default();
        refusals.insert(hash);
        if refusals.len() > REFUSALS_MAX {
            refusals.pop_first();
        }
        hash
    }

    /// Keeps orphans, but for those that follow a refused change.
    pub(super) fn wait(&mut self, cx: &mut Cx<'_, Self>, doc: &DocId, orphans: Vec<Orphan>, fallen: &mut Vec<Hash>) {
        for Orphan { arrived, missing } in orphans {
            let hash = hash(&arrived.change);
            let refusals = self.refusals.get(doc);
            if refusals.is_some_and(|refusals| missing.iter().any(|missing| refusals.contains(missing))) {
                self.refuse(Some(doc.clone()), arrived.log, arrived.seq, Refusal::Descends.to_string());
                fallen.push(self.fell(doc, hash));
            } else if !planted!("documents/orphans-dropped") {
                reachable!("documents/change-waits-for-others");
                self.pool.push(cx.now().mono, doc, arrived, hash, missing);
            }
        }
    }

    /// What follows a refused change is refused too, and what follows that.
    fn fall(&mut self, doc: &DocId, mut fallen: Vec<Hash>) {
        while let Some(hash) = fallen.pop() {
            for follower in self.pool.refused(doc, &hash) {
                self.refuse(Some(doc.clone()), follower.log, follower.seq, Refusal::Descends.to_string());
                fallen.push(self.fell(doc, follower.hash));
            }
        }
    }

    /// Keeps the pool within its bounds.
    pub(super) fn shrink(&mut self, cx: &mut Cx<'_, Self>) {
        let config = &self.config;
        self.pool.shrink(cx.now().mono, config.orphans_max, config.orphan_bytes, config.orphan_ttl);
        self.tick(cx);
    }

    /// Asks for entries whose turn has come, while there is room for them.
    pub(super) fn ask_again(&mut self, cx: &mut Cx<'_, Self>) {
        while self.inbox_bytes < self.config.inbox_bytes / 2 {
            let Some((log, seq)) = self.pool.ask(REREADS_MAX) else { break };
            cx.emit(Event::Reread { log, seq });
        }
        self.tick(cx);
    }

    pub(super) const fn orphans(&self) -> usize {
        self.pool.len()
    }

    pub(super) const fn refused(&self) -> u64 {
        self.refused
    }
}

/// A document's change, if this is the entry of one.
pub(super) fn read(body: &Bytes) -> Option<(DocId, Bytes)> {
    let Body { doc, change } = decode(body)?;
    Header::read(&change).is_ok().then(|| (doc, change.into()))
}

pub(super) fn decode(body: &Bytes) -> Option<Body> {
    let config = bincode::config::standard().with_limit::<BODY_MAX>();
    let (decoded, read) = bincode::decode_from_slice::<Body, _>(body, config).ok()?;
    (read == body.len()).then_some(decoded)
}

fn hash(change: &Bytes) -> Hash {
    Header::read(change).map(|header| header.hash).expect("it was read when it came in")
}

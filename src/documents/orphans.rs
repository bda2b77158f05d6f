//! Changes that wait for others.
//!
//! For each document and log there is a queue, in the log's order: behind a change that waits, later ones of the same log
//! wait too, since as a rule they follow it. Memory is bounded. When a change has waited for long, its queue gives up its
//! bytes, and when the pool is full, the oldest queue of the origin that has most: of its first change the hash and what it waits for stay, of the others only the range of
//! their places in the log. Nothing is lost: when the first one's turn comes, the entries are asked for again, one after the
//! other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::Arrived;
use super::change::Hash;
use crate::types::{DocId, LogId, NodeId, Seq, Time};

#[derive(Debug)]
struct Held {
    seq: Seq,
    hash: Hash,
    missing: Vec<Hash>,
    /// Absent when its bytes were given up.
    change: Option<Bytes>,
}

/// Entries that were given up: their places, among which are entries of other documents.
#[derive(Clone, Copy, Debug)]
struct Tail {
    first: Seq,
    last: Seq,
    /// How many are this document's, about.
    count: usize,
}

#[derive(Debug)]
struct Queue {
    since: Time,
    held: VecDeque<Held>,
    /// Behind all that is held.
    tail: Option<Tail>,
    /// The place that was asked for again.
    asked: Option<Seq>,
}

/// A change of a log that was in the pool and is refused, because what it follows was.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fallen {
    pub(super) log: LogId,
    pub(super) seq: Seq,
    pub(super) hash: Hash,
}

/// What waits in one document.
#[derive(Debug, Default)]
struct Waiting {
    queues: BTreeMap<LogId, Queue>,
    /// Who waits for a change.
    wants: BTreeMap<Hash, BTreeSet<(LogId, Seq)>>,
}

impl Waiting {
    fn find(&mut self, log: LogId, seq: Seq) -> Option<&mut Held> {
        let held = &mut self.queues.get_mut(&log)?.held;
        let at = held.binary_search_by_key(&seq, |held| held.seq).ok()?;
        held.get_mut(at)
    }

    fn queue(&mut self, now: Time, log: LogId) -> &mut Queue {
        let new = || Queue { since: now, held: VecDeque::new(), tail: None, asked: None };
        self.queues.entry(log).or_insert_with(new)
    }

    /// Nobody waits in this one's name any more.
    fn unlist(&mut self, log: LogId, held: &Held) {
        for missing in &held.missing {
            if let Some(waiters) = self.wants.get_mut(missing) {
                waiters.remove(&(log, held.seq));
                if waiters.is_empty() {
                    self.wants.remove(missing);
                }
            }
        }
    }
}

/// All queues. See the file's essay.
#[derive(Debug, Default)]
pub(super) struct Pool {
    docs: BTreeMap<DocId, Waiting>,
    /// Queues that hold bytes, by age.
    ages: BTreeSet<(Time, DocId, LogId)>,
    /// Queues whose next entry is to be asked for.
    due: BTreeSet<(DocId, LogId)>,
    /// Entries asked for, and for whom.
    asked: BTreeMap<(LogId, Seq), BTreeSet<DocId>>,
    held: usize,
    bytes: usize,
    /// The bytes of each origin's changes.
    shares: BTreeMap<NodeId, usize>,
    given_up: usize,
}

impl Queue {
    fn front(&self) -> Option<Seq> {
        self.held.front().map(|held| held.seq).or_else(|| self.tail.map(|tail| tail.first))
    }
}

impl Pool {
    /// How many changes wait.
    pub(super) const fn len(&self) -> usize {
        self.held + self.given_up
    }

    #[cfg(test)]
    pub(super) const fn in_memory(&self) -> usize {
        self.held
    }

    pub(super) fn is_empty(&self) -> bool {
        self.docs.is_empty()
    }

    /// How many changes of each origin wait.
    pub(super) fn by_origin(&self) -> BTreeMap<NodeId, usize> {
        let mut origins = BTreeMap::new();
        for (log, queue) in self.docs.values().flat_map(|waiting| &waiting.queues) {
            let waits = queue.held.len() + queue.tail.map_or(0, |tail| tail.count);
            *origins.entry(log.actor.node).or_default() += waits;
        }
        origins
    }

    /// Bytes are held for this origin, or given up.
    fn weigh(&mut self, origin: NodeId, more: usize, less: usize) {
        self.bytes = self.bytes + more - less;
        let share = self.shares.entry(origin).or_default();
        *share = *share + more - less;
        if *share == 0 {
            self.shares.remove(&origin);
        }
    }

    /// Whether anything of this document waits.
    pub(super) fn holds(&self, doc: &DocId) -> bool {
        self.docs.contains_key(doc)
    }

    /// Whether an entry must wait because an earlier one of its log does.
    pub(super) fn blocks(&self, doc: &DocId, log: LogId, seq: Seq) -> bool {
        let queue = self.docs.get(doc).and_then(|waiting| waiting.queues.get(&log));
        queue.and_then(Queue::front).is_some_and(|front| front < seq)
    }

    /// Whether anything of this log waits in this document.
    pub(super) fn waits(&self, doc: &DocId, log: LogId) -> bool {
        self.docs.get(doc).is_some_and(|waiting| waiting.queues.contains_key(&log))
    }

    /// Keeps a change until what it misses was applied and all before it in its log is done.
    pub(super) fn push(&mut self, now: Time, doc: &DocId, arrived: Arrived, hash: Hash, missing: Vec<Hash>) {
        let Arrived { log, seq, change } = arrived;
        let waiting = self.docs.entry(doc.clone()).or_default();
        let queue = waiting.queue(now, log);
        if let Some(tail) = queue.tail.as_mut().filter(|tail| tail.first <= seq) {
            if tail.last < seq {
                (tail.last, tail.count) = (seq, tail.count + 1);
                self.given_up += 1;
            }
            return;
        }
        if queue.held.back().is_some_and(|last| last.seq >= seq) {
            return;
        }
        let (since, len) = (queue.since, change.len());
        for missing in &missing {
            waiting.wants.entry(*missing).or_default().insert((log, seq));
        }
        let queue = waiting.queue(now, log);
        queue.held.push_back(Held { seq, hash, missing, change: Some(change) });
        self.held += 1;
        self.weigh(log.actor.node, len, 0);
        self.ages.insert((since, doc.clone(), log));
    }

    /// Gives up an entry before it was looked at, because there is no room for it.
    pub(super) fn give_up(&mut self, now: Time, doc: &DocId, log: LogId, seq: Seq) {
        let queue = self.docs.entry(doc.clone()).or_default().queue(now, log);
        match &mut queue.tail {
            Some(tail) if tail.last < seq => (tail.last, tail.count) = (seq, tail.count + 1),
            Some(_) => return,
            None => queue.tail = Some(Tail { first: seq, last: seq, count: 1 }),
        }
        self.given_up += 1;
        if queue.held.is_empty() && queue.asked.is_none() {
            self.due.insert((doc.clone(), log));
        }
    }

    /// A change was applied: nobody waits for it any more.
    pub(super) fn applied(&mut self, doc: &DocId, hash: &Hash) {
        let Some(waiting) = self.docs.get_mut(doc) else { return };
        for (log, seq) in waiting.wants.remove(hash).unwrap_or_default() {
            if let Some(held) = waiting.find(log, seq) {
                held.missing.retain(|missing| missing != hash);
            }
        }
    }

    /// A change was refused: gives what follows it directly, which is refused too.
    pub(super) fn refused(&mut self, doc: &DocId, hash: &Hash) -> Vec<Fallen> {
        let Some(waiting) = self.docs.get_mut(doc) else { return Vec::new() };
        let (mut fallen, mut less) = (Vec::new(), Vec::new());
        for (log, seq) in waiting.wants.remove(hash).unwrap_or_default() {
            let Some(queue) = waiting.queues.get_mut(&log) else { continue };
            let Ok(at) = queue.held.binary_search_by_key(&seq, |held| held.seq) else { continue };
            let Some(held) = queue.held.remove(at) else { continue };
            waiting.unlist(log, &held);
            self.held -= 1;
            less.push((log.actor.node, held.change.as_ref().map_or(0, Bytes::len)));
            fallen.push(Fallen { log, seq, hash: held.hash });
        }
        less.into_iter().for_each(|(origin, bytes)| self.weigh(origin, 0, bytes));
        fallen
    }

    /// Gives up bytes: of all queues that have waited for longer than `ttl`, and while there is too much, of the oldest queues
    /// of whoever has most: who floods pays for it.
    pub(super) fn shrink(&mut self, now: Time, held_max: usize, bytes_max: usize, ttl: Duration) {
        while let Some(oldest) = self.ages.first() {
            let age = if now.since(oldest.0) >= ttl {
                oldest.clone()
            } else if self.held > held_max || self.bytes > bytes_max {
                let heaviest = self.shares.iter().max_by_key(|(_, bytes)| **bytes).map(|(origin, _)| *origin);
                let of_heaviest = |age: &&(Time, DocId, LogId)| heaviest == Some(age.2.actor.node);
                self.ages.iter().find(of_heaviest).unwrap_or(oldest).clone()
            } else {
                return;
            };
            self.ages.remove(&age);
            self.spill(&age.1, age.2);
        }
    }

    /// The next entry to ask for, at most `max` at the same time.
    pub(super) fn ask(&mut self, max: usize) -> Option<(LogId, Seq)> {
        while self.asked.len() < max {
            let (doc, log) = self.due.pop_first()?;
            let Some(queue) = self.docs.get_mut(&doc).and_then(|waiting| waiting.queues.get_mut(&log)) else {
                continue;
            };
            let Some(tail) = queue.tail else { continue };
            queue.asked = Some(tail.first);
            let askers = self.asked.entry((log, tail.first)).or_default();
            askers.insert(doc);
            if askers.len() == 1 {
                return Some((log, tail.first));
            }
        }
        None
    }

    /// Whether this entry was asked for.
    pub(super) fn is_asked(&self, log: LogId, seq: Seq) -> bool {
        self.asked.contains_key(&(log, seq))
    }

    /// What was asked for and has not come.
    pub(super) fn outstanding(&self) -> impl Iterator<Item = (LogId, Seq)> {
        self.asked.keys().copied()
    }

    /// An entry came. Whoever had asked for it goes on behind it.
    pub(super) fn came(&mut self, log: LogId, seq: Seq, of: Option<&DocId>) {
        for doc in self.asked.remove(&(log, seq)).unwrap_or_default() {
            let Some(queue) = self.docs.get_mut(&doc).and_then(|waiting| waiting.queues.get_mut(&log)) else {
                continue;
            };
            queue.asked = None;
            let Some(tail) = queue.tail.as_mut().filter(|tail| tail.first == seq) else { continue };
            let own = usize::from(of == Some(&doc)).min(tail.count);
            let done = tail.first >= tail.last;
            let gone = if done { tail.count } else { own };
            self.given_up -= gone;
            if done {
                queue.tail = None;
            } else {
                (tail.first, tail.count) = (seq.next(), tail.count - gone);
            }
            self.tidy(&doc, log);
        }
    }

    /// What waits of a log from this place on comes again under another name.
    pub(super) fn give_way(&mut self, log: LogId, from: Seq) {
        self.asked.retain(|(of, seq), _| *of != log || *seq < from);
        let holds = |(doc, waiting): (&DocId, &Waiting)| waiting.queues.contains_key(&log).then(|| doc.clone());
        for doc in self.docs.iter().filter_map(holds).collect::<Vec<_>>() {
            let Some(waiting) = self.docs.get_mut(&doc) else { continue };
            let Some(queue) = waiting.queues.get_mut(&log) else { continue };
            queue.asked = queue.asked.filter(|seq| *seq < from);
            if let Some(tail) = queue.tail.take_if(|tail| tail.first >= from) {
                self.given_up -= tail.count;
            }
            if let Some(tail) = &mut queue.tail {
                tail.last = tail.last.min(Seq::new(from.value() - 1));
            }
            let gone = queue.held.split_off(queue.held.partition_point(|held| held.seq < from));
            gone.iter().for_each(|held| waiting.unlist(log, held));
            let bytes = gone.iter().filter_map(|held| held.change.as_ref()).map(Bytes::len).sum();
            self.held -= gone.len();
            self.weigh(log.actor.node, 0, bytes);
            self.tidy(&doc, log);
        }
    }

    /// Takes from the front of each queue what waits for nothing any more, in the order in which to apply it.
    pub(super) fn released(&mut self, doc: &DocId) -> Vec<Arrived> {
        let mut released = Vec::new();
        let logs: Vec<LogId> =
            self.docs.get(doc).map(|waiting| waiting.queues.keys().copied().collect()).unwrap_or_default();
        for log in logs {
            let Some(queue) = self.docs.get_mut(doc).and_then(|waiting| waiting.queues.get_mut(&log)) else { continue };
            let mut bytes = 0;
            while let Some(front) = queue.held.pop_front_if(|held| held.missing.is_empty()) {
                self.held -= 1;
                let Some(change) = front.change else {
                    let tail = queue.tail.map_or((front.seq, 0), |tail| (tail.last, tail.count));
                    queue.tail = Some(Tail { first: front.seq, last: tail.0, count: tail.1 + 1 });
                    self.given_up += 1;
                    break;
                };
                bytes += change.len();
                released.push(Arrived { log, seq: front.seq, change });
            }
            self.weigh(log.actor.node, 0, bytes);
            self.tidy(doc, log);
        }
        released
    }

    /// Of a queue's first change only the name stays, of the others the range.
    fn spill(&mut self, doc: &DocId, log: LogId) {
        let Some(waiting) = self.docs.get_mut(doc) else { return };
        let Some(queue) = waiting.queues.get_mut(&log) else { return };
        let bytes = queue.held.iter_mut().filter_map(|held| held.change.take()).map(|change| change.len()).sum();
        let others = queue.held.split_off(1.min(queue.held.len()));
        if let (Some(first), Some(last)) = (others.front(), others.back()) {
            let behind = queue.tail.map_or((last.seq, 0), |tail| (tail.last, tail.count));
            queue.tail = Some(Tail { first: first.seq, last: behind.0, count: behind.1 + others.len() });
            self.held -= others.len();
            self.given_up += others.len();
        }
        for held in &others {
            waiting.unlist(log, held);
        }
        self.weigh(log.actor.node, 0, bytes);
    }

    /// Keeps the indices true after a queue lost something.
    fn tidy(&mut self, doc: &DocId, log: LogId) {
        let Some(waiting) = self.docs.get_mut(doc) else { return };
        let Some(queue) = waiting.queues.get(&log) else { return };
        if queue.held.iter().all(|held| held.change.is_none()) {
            self.ages.remove(&(queue.since, doc.clone(), log));
        }
        if !queue.held.is_empty() {
            self.due.remove(&(doc.clone(), log));
        } else if queue.tail.is_none() {
            waiting.queues.remove(&log);
            if waiting.queues.is_empty() {
                self.docs.remove(doc);
            }
        } else if queue.asked.is_none() {
            self.due.insert((doc.clone(), log));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Actor, Mint, Topic};

    fn log(node: u128) -> LogId {
        LogId { actor: Actor { node: NodeId::from_u128(node), mint: Mint::new(1) }, topic: Topic::DOCUMENTS }
    }

    fn push(pool: &mut Pool, node: u128, seq: u64) {
        let change = Bytes::from(vec![0; 100]);
        let doc = DocId::parse(&format!("d{}", seq % 10)).unwrap();
        let arrived = Arrived { log: log(node), seq: Seq::new(seq), change };
        pool.push(Time::from_nanos(seq), &doc, arrived, [u8::try_from(seq % 251).unwrap(); 32], vec![[7; 32]]);
    }

    #[test]
    fn who_floods_the_pool_pays_for_it() {
        let mut pool = Pool::default();
        (1..=5).for_each(|seq| push(&mut pool, 1, seq));
        for seq in 1..=1_000 {
            push(&mut pool, 2, seq);
            pool.shrink(Time::from_nanos(seq), 200, 10_000, Duration::from_secs(600));
        }
        assert!(pool.bytes <= 10_000);
        assert_eq!(pool.shares[&NodeId::from_u128(1)], 500, "the honest origin's changes are all in memory");
        assert_eq!(pool.by_origin(), BTreeMap::from([(NodeId::from_u128(1), 5), (NodeId::from_u128(2), 1_000)]));
        assert_eq!(pool.bytes, pool.shares.values().sum::<usize>());
    }
}

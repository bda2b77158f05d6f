//! Origin logs as they are held here: where each durable entry stands on disk, the hash chain over them, what the disk has
//! not answered yet, what waits behind a gap, and a bounded cache of the most recent entries.
//!
//! An entry costs 32 bytes of memory for as long as it is held (its position and its link of the chain); its body only while
//! it is in the cache. Sequence numbers are plain `u64` inside this room, since its work is arithmetic on them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::Record;
use super::message::{Entry, Kind, Name, Short};
use crate::types::{
    Actor, Digest, DiskFault, DiskFaultKind, LogId, Mint, NodeId, Position, SegmentId, Seq, Time, Topic,
};

/// How often it is noted how far a log is held, at most, and how many such notes there are.
const MARK_EVERY: Duration = Duration::from_secs(1);
const MARKS_MAX: usize = 64;

/// A durable entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) position: Position,
    /// The chain after it.
    pub(super) chain: Digest,
}

/// A run that arrived ahead of a gap.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) from: NodeId,
    pub(super) before: Short,
    pub(super) kind: Kind,
    pub(super) entries: Vec<Entry>,
}

/// One origin log.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) id: LogId,
    /// The chain before the first entry: the log's name, hashed, so that no entry fits into another log.
    root: Digest,
    /// Entries up to here are not held any more, and the chain after them: see `trim`.
    base: (u64, Digest),
    /// Up to where a record of the main chain says so.
    pub(super) base_saved: u64,
    slots: Vec<Slot>,
    /// Given to the disk and not answered, in order, with the chain after each.
    pending: VecDeque<(Entry, Digest)>,
    /// The most recent durable entries.
    tail: VecDeque<Entry>,
    /// By the place of the first entry.
    held: BTreeMap<u64, Held>,
    /// Who pushes this log to us.
    pub(super) parent: Option<NodeId>,
    /// Who delivered the last new entry.
    pub(super) source: Option<NodeId>,
    /// When the last new entry came.
    pub(super) progress_at: Time,
    /// When somebody else last had a chance to become the parent.
    pub(super) raced_at: Time,
    /// Up to where a gap was asked for, and when.
    pub(super) asked: (u64, Time),
    /// From here on another branch stands: what is held of ours is about to move.
    pub(super) lost: Option<u64>,
    /// A branch of another log is about to move here.
    pub(super) awaits: bool,
    /// How far it was held when: at most one a second, and fewer of what is long ago.
    marks: VecDeque<(Time, u64)>,
}

impl Log {
    fn new(id: LogId) -> Self {
        let mut name = id.actor.to_bytes().to_vec();
        name.extend_from_slice(&id.topic.value().to_be_bytes());
        let root = Digest::ZERO.chain(&name);
        Self {
            id,
            root,
            base: (0, root),
            base_saved: 0,
            slots: Vec::new(),
            pending: VecDeque::new(),
            tail: VecDeque::new(),
            held: BTreeMap::new(),
            parent: None,
            source: None,
            progress_at: Time::ZERO,
            raced_at: Time::ZERO,
            asked: (0, Time::ZERO),
            lost: None,
            awaits: false,
            marks: VecDeque::new(),
        }
    }

    /// Notes how far it is held now.
    pub(super) fn mark(&mut self, now: Time) {
        let durable = self.durable();
        while self.marks.back().is_some_and(|(_, held)| *held > durable) {
            self.marks.pop_back(); // It gave way to another branch.
        }
        if self.marks.back().is_some_and(|(at, _)| now.since(*at) < MARK_EVERY) {
            return;
        }
        if self.marks.len() >= MARKS_MAX {
            // Of the older half every second goes.
            let keep = |at: usize| at >= MARKS_MAX / 2 || at.is_multiple_of(2);
            let marks = std::mem::take(&mut self.marks).into_iter().enumerate();
            self.marks = marks.filter(|(at, _)| keep(*at)).map(|(_, mark)| mark).collect();
        }
        self.marks.push_back((now, durable));
    }

    /// How far it was held at that time, at least. What came within a second after a mark counts from the next one on.
    pub(super) fn held_at(&self, at: Time) -> u64 {
        let before = self.marks.partition_point(|(when, _)| *when <= at);
        let Some((when, held)) = before.checked_sub(1).and_then(|last| self.marks.get(last)) else { return 0 };
        let all = before == self.marks.len() && at.since(*when) >= MARK_EVERY;
        if all { self.durable() } else { *held }
    }

    /// Since when an entry is held, about: rather too long ago than too lately.
    pub(super) fn durable_since(&self, seq: u64) -> Time {
        let upto = self.marks.partition_point(|(_, held)| *held <= seq);
        let mark = upto.checked_sub(1).and_then(|last| self.marks.get(last)).or_else(|| self.marks.front());
        mark.map_or(Time::ZERO, |(at, _)| *at)
    }

    /// The last durable entry.
    pub(super) fn durable(&self) -> u64 {
        self.base.0 + self.slots.len() as u64
    }

    /// Entries up to here are not held any more.
    pub(super) fn base(&self) -> u64 {
        self.base.0
    }

    /// The last of the first entries, all of which stand before this segment; `None` if others behind them do too.
    pub(super) fn last_before(&self, first: SegmentId) -> Option<u64> {
        let kept = self.slots.iter().position(|slot| slot.position.segment >= first).unwrap_or(self.slots.len());
        let in_order = self.slots[kept..].iter().all(|slot| slot.position.segment >= first);
        in_order.then_some(self.base.0 + kept as u64)
    }

    /// The last entry that was taken, durable or not.
    pub(super) fn accepted(&self) -> u64 {
        self.durable() + self.pending.len() as u64
    }

    /// The last entry that may be given away.
    pub(super) fn offered(&self) -> u64 {
        let stands = self.lost.map_or(u64::MAX, |from| from - 1);
        self.durable().min(stands)
    }

    /// Whether entries are moving out of it or into it: nothing of it is taken meanwhile.
    pub(super) fn is_moving(&self) -> bool {
        self.lost.is_some() || self.awaits
    }

    /// Whether the disk has not answered for some of it.
    pub(super) fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The durable entry `seq`, as the disk gave it back. Where it was written it may have had another name.
    pub(super) fn verify(&self, seq: u64, record: Record) -> Result<Entry, DiskFault> {
        let entry = Entry { hlc: record.hlc, body: record.body };
        let before = seq.checked_sub(1).and_then(|before| self.chain_at(before));
        if before.is_some_and(|before| self.chain_at(seq) == Some(entry.link(before))) {
            return Ok(entry);
        }
        let why = format!("another entry stands there, written as {}", record.log.at(record.seq));
        Err(DiskFault { kind: DiskFaultKind::Failed, what: self.id.at(Seq::new(seq)).into(), why: why.into() })
    }

    /// The hash chain after entry `seq`, if it was taken.
    pub(super) fn chain_at(&self, seq: u64) -> Option<Digest> {
        if seq == self.base.0 {
            return Some(self.base.1);
        }
        let at = self.index(seq)?;
        match at.checked_sub(self.slots.len()) {
            None => self.slots.get(at).map(|slot| slot.chain),
            Some(at) => self.pending.get(at).map(|(_, chain)| *chain),
        }
    }

    /// The first entry in the cache; one beyond the last durable one if there is none.
    pub(super) fn cached_from(&self) -> u64 {
        self.durable() - self.tail.len() as u64 + 1
    }

    /// An entry of the cache.
    pub(super) fn cached(&self, seq: u64) -> Option<&Entry> {
        let at = seq.checked_sub(self.cached_from())?;
        self.tail.get(usize::try_from(at).ok()?)
    }

    /// Where a durable entry stands on disk.
    pub(super) fn position(&self, seq: u64) -> Option<Position> {
        self.slots.get(self.index(seq)?).map(|slot| slot.position)
    }

    /// Takes the next entry; it goes to the disk.
    pub(super) fn push_pending(&mut self, entry: Entry) {
        let chain = entry.link(self.tip());
        self.pending.push_back((entry, chain));
    }

    /// The chain after everything that was taken.
    fn tip(&self) -> Digest {
        let last = self.pending.back().map(|(_, chain)| *chain);
        last.or_else(|| self.slots.last().map(|slot| slot.chain)).unwrap_or(self.base.1)
    }

    /// The place in the vectors of an entry that is held.
    fn index(&self, seq: u64) -> Option<usize> {
        usize::try_from(seq.checked_sub(self.base.0 + 1)?).ok()
    }

    /// Gives up what the disk has not answered: it will not.
    pub(super) fn drop_pending(&mut self) {
        self.pending.clear();
    }

    /// The gap before the first run that waits, both ends included.
    pub(super) fn gap(&self) -> Option<(u64, u64)> {
        let (first, _) = self.held.first_key_value()?;
        Some((self.accepted() + 1, first - 1)).filter(|(from, to)| from <= to)
    }

    /// The end of what waits before `seq`, or of what was taken: what lies between is missing.
    pub(super) fn held_before(&self, seq: u64) -> u64 {
        let held = self.held.range(..seq).next_back().map(|(first, held)| first + held.entries.len() as u64 - 1);
        held.unwrap_or_default().max(self.accepted())
    }
}

/// All logs. Each has an index for as long as the process lives.
#[derive(Debug, Default)]
pub(super) struct Logs {
    list: Vec<Log>,
    by_id: BTreeMap<LogId, usize>,
    by_tag: BTreeMap<Short, Vec<usize>>,
    of_node: BTreeMap<NodeId, usize>,
    /// Whose entries are in the cache, oldest first.
    cached: VecDeque<usize>,
    cached_bytes: usize,
    held_bytes: usize,
    entries: u64,
    /// The sum of all logs' shares, but for the dirty ones, whose share is out of date.
    sum: u64,
    shares: Vec<u64>,
    dirty: BTreeSet<usize>,
    /// How often the durable end of some log has changed, and which log did so last at which of these changes.
    changes: u64,
    changed: BTreeMap<u64, usize>,
    changed_at: Vec<u64>,
}

impl Logs {
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// The durable end of this log has changed.
    fn touch(&mut self, at: usize) {
        self.dirty.insert(at);
        self.changes += 1;
        self.changed.remove(&std::mem::replace(&mut self.changed_at[at], self.changes));
        self.changed.insert(self.changes, at);
    }

    /// How often the durable end of some log has changed.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// With which of these changes that of this log changed last.
    pub(super) fn changed_at(&self, at: usize) -> u64 {
        self.changed_at[at]
    }

    /// The logs whose durable end has changed after this change.
    pub(super) fn changed_since(&self, change: u64) -> impl Iterator<Item = usize> + '_ {
        self.changed.range(change + 1..).map(|(_, at)| *at)
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Has a second log claim this one's tag.
    #[cfg(test)]
    pub(super) fn collide(&mut self, at: usize) {
        let tag = Short::of(self.list[at].root);
        self.by_tag.entry(tag).or_default().push(at + 1);
    }

    pub(super) fn entries(&self) -> u64 {
        self.entries
    }

    pub(super) fn get(&self, at: usize) -> &Log {
        &self.list[at]
    }

    pub(super) fn get_mut(&mut self, at: usize) -> &mut Log {
        &mut self.list[at]
    }

    pub(super) fn find(&self, id: LogId) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    /// Of how many logs this node is the origin.
    pub(super) fn of_node(&self, node: NodeId) -> usize {
        self.of_node.get(&node).copied().unwrap_or_default()
    }

    /// All logs with their indices, in order of id.
    pub(super) fn by_id(&self) -> impl Iterator<Item = (usize, &Log)> {
        self.by_id.values().map(|at| (*at, &self.list[*at]))
    }

    /// The index of this log, which is made if it is new.
    pub(super) fn intern(&mut self, id: LogId) -> usize {
        if let Some(at) = self.by_id.get(&id) {
            return *at;
        }
        let (at, log) = (self.list.len(), Log::new(id));
        self.by_id.insert(id, at);
        self.by_tag.entry(Short::of(log.root)).or_default().push(at);
        *self.of_node.entry(id.actor.node).or_default() += 1;
        self.list.push(log);
        self.shares.push(0);
        self.changed_at.push(0);
        at
    }

    /// The indices of the logs of this node.
    pub(super) fn places_of(&self, node: NodeId) -> impl Iterator<Item = usize> + '_ {
        let from = LogId { actor: Actor { node, mint: Mint::new(0) }, topic: Topic::new(0) };
        self.by_id.range(from..).take_while(move |(id, _)| id.actor.node == node).map(|(_, at)| *at)
    }

    /// Gives the place of a log of which nothing is held to another one.
    pub(super) fn rename(&mut self, at: usize, id: LogId) {
        self.drop_held(at);
        let (old, new) = (&self.list[at], Log::new(id));
        assert_eq!(old.accepted(), 0, "what is held keeps its place");
        self.by_id.remove(&old.id);
        let tag = Short::of(old.root);
        let tagged = self.by_tag.entry(tag).or_default();
        tagged.retain(|other| *other != at);
        if tagged.is_empty() {
            self.by_tag.remove(&tag);
        }
        let node = old.id.actor.node;
        let of_node = self.of_node.entry(node).or_default();
        *of_node -= 1;
        if *of_node == 0 {
            self.of_node.remove(&node);
        }
        self.by_id.insert(id, at);
        self.by_tag.entry(Short::of(new.root)).or_default().push(at);
        *self.of_node.entry(id.actor.node).or_default() += 1;
        self.list[at] = new;
    }

    /// How to name this log to a peer who holds some of it.
    pub(super) fn tag(&self, at: usize) -> Option<Name> {
        let tag = Short::of(self.list[at].root);
        let alone = self.by_tag.get(&tag).is_some_and(|all| all.len() == 1);
        (alone && !tag.is_zero()).then_some(Name::Tag(tag))
    }

    /// The log that we name so.
    pub(super) fn named(&self, name: Name) -> Option<usize> {
        match name {
            Name::Id(id) => self.find(id),
            Name::Tag(tag) => self.tagged(tag).first().copied(),
        }
    }

    /// The logs with this tag: one, but for accidents.
    pub(super) fn tagged(&self, tag: Short) -> &[usize] {
        self.by_tag.get(&tag).map_or(&[], Vec::as_slice)
    }

    /// The first entry that waits for the disk is durable, here. Gives it back.
    ///
    /// # Panics
    /// When the disk answers a write that was not asked for, or out of order: that is our host's fault.
    pub(super) fn settle(&mut self, at: usize, seq: Seq, position: Position, cache_bytes: usize) -> Entry {
        let log = &mut self.list[at];
        assert_eq!(log.durable() + 1, seq.value(), "answers of the disk keep their order");
        let (entry, chain) = log.pending.pop_front().expect("only what was asked for is answered");
        log.slots.push(Slot { position, chain });
        log.tail.push_back(entry.clone());
        self.cached.push_back(at);
        self.cached_bytes += entry.weight();
        self.entries += 1;
        self.touch(at);
        while self.cached_bytes > cache_bytes {
            let oldest = self.cached.pop_front().expect("bytes belong to entries");
            let entry = self.list[oldest].tail.pop_front().expect("each log's cache is as old as its turns");
            self.cached_bytes -= entry.weight();
        }
        entry
    }

    /// Takes back an entry that was durable when the process began. Bodies stay on disk.
    pub(super) fn restore(&mut self, at: usize, entry: &Entry, position: Position) {
        let chain = entry.link(self.list[at].tip());
        self.take_back(at, Slot { position, chain });
    }

    /// The same of one of which it is known where it stands and how the chain goes on.
    pub(super) fn take_back(&mut self, at: usize, slot: Slot) {
        self.list[at].slots.push(slot);
        self.entries += 1;
        self.touch(at);
    }

    /// Keeps a run that is ahead of a gap. Says whether there was room.
    pub(super) fn hold(&mut self, at: usize, first: u64, held: Held, held_bytes: usize) -> bool {
        let log = &mut self.list[at];
        if log.held.get(&first).is_some_and(|older| older.entries.len() >= held.entries.len()) {
            return true;
        }
        let weight = held.weight();
        if self.held_bytes + weight > held_bytes {
            return false;
        }
        self.held_bytes += weight;
        if let Some(older) = log.held.insert(first, held) {
            self.held_bytes -= older.weight();
        }
        true
    }

    /// A run that waited and has no gap before it any more.
    pub(super) fn unhold(&mut self, at: usize) -> Option<(u64, Held)> {
        let log = &mut self.list[at];
        let next = log.accepted() + 1;
        let first = log.held.first_entry().filter(|first| *first.key() <= next)?;
        let (first, held) = first.remove_entry();
        self.held_bytes -= held.weight();
        Some((first, held))
    }

    /// Gives up what is durable from `from` on. Nothing may be on its way to the disk.
    pub(super) fn cut(&mut self, at: usize, from: u64) {
        let log = &mut self.list[at];
        assert!(!log.is_pending(), "a log is at rest when it is cut");
        let kept = usize::try_from((from - 1).saturating_sub(log.base.0))
            .map_or(log.slots.len(), |kept| kept.min(log.slots.len()));
        self.entries -= (log.slots.len() - kept) as u64;
        log.slots.truncate(kept);
        (log.asked, log.parent, log.source, log.lost) = ((0, Time::ZERO), None, None, None);
        self.uncache(at);
    }

    /// Takes durable entries that stood in another log until now.
    pub(super) fn adopt(&mut self, at: usize, slots: Vec<Slot>) {
        let log = &mut self.list[at];
        assert!(!log.is_pending(), "a log is at rest when entries move into it");
        self.entries += slots.len() as u64;
        log.slots.extend(slots);
        self.uncache(at);
    }

    /// Forgets the entries up to `upto`, after which the chain is so; beyond the end, the log goes on behind a gap. How far
    /// the log is held, and with it the digest, depends on its end alone.
    pub(super) fn forget(&mut self, at: usize, upto: u64, chain: Digest) {
        let log = &mut self.list[at];
        let gone =
            usize::try_from(upto.saturating_sub(log.base.0)).map_or(log.slots.len(), |gone| gone.min(log.slots.len()));
        if upto <= log.base.0 {
            return;
        }
        log.slots.drain(..gone);
        log.base = (upto, chain);
        self.entries -= gone as u64;
        if self.list[at].tail.len() > self.list[at].slots.len() {
            self.uncache(at);
        }
        self.touch(at);
    }

    /// Drops what is cached of a log whose end has changed: a cache ends with the last entry.
    fn uncache(&mut self, at: usize) {
        let tail = std::mem::take(&mut self.list[at].tail);
        self.cached_bytes -= tail.iter().map(Entry::weight).sum::<usize>();
        self.cached.retain(|cached| *cached != at);
        self.touch(at);
    }

    /// Gives up what waits behind a gap that nobody can close.
    pub(super) fn drop_held(&mut self, at: usize) {
        let held = std::mem::take(&mut self.list[at].held);
        self.held_bytes -= held.values().map(Held::weight).sum::<usize>();
    }

    /// Of everything that is durable.
    pub(super) fn digest(&mut self) -> Digest {
        for at in std::mem::take(&mut self.dirty) {
            let share = self.share(at);
            let before = std::mem::replace(&mut self.shares[at], share);
            self.sum = self.sum.wrapping_sub(before).wrapping_add(share);
        }
        Digest::new(self.sum)
    }

    /// The same, by who only reads.
    pub(super) fn current_digest(&self) -> Digest {
        // Addition, so that one log's share can be replaced (Bellare and Micciancio's AdHash; peers are admitted).
        let replaced = |sum: u64, at: &usize| sum.wrapping_sub(self.shares[*at]).wrapping_add(self.share(*at));
        Digest::new(self.dirty.iter().fold(self.sum, replaced))
    }

    /// What one log adds to the digest.
    fn share(&self, at: usize) -> u64 {
        let log = &self.list[at];
        let Some(chain) = log.chain_at(log.durable()).filter(|_| log.durable() > 0) else { return 0 };
        log.root.chain(&[log.durable().to_be_bytes(), chain.value().to_be_bytes()].concat()).value()
    }
}

impl Held {
    fn weight(&self) -> usize {
        64 + self.entries.iter().map(|entry| 32 + entry.weight()).sum::<usize>()
    }
}

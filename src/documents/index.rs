//! The machine: which documents there are, and in which order work is done on each.
//!
//! On one document at most one thing that writes is under way: an edit until its change is durable, or the application of
//! changes of others. What arrives meanwhile gathers, so grouping comes with load and an idle edit waits for nobody. Reads
//! wait only while an edit is not durable yet: nobody is shown what a failing disk may take back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::change::Hash;
use super::memory::{Indexed, Memory};
use super::orphans::Pool;
use super::policy::PolicyHistory;
use super::quarantine::Quarantine;
use super::reads::{Ask, Read, Scan, What};
use super::rebuild::Rebuild;
use super::returning::Return;
use super::trie::Trie;
use super::{Arrived, Command, Config, DocState, Done, Error, Event, Outcome, Stamp, Task, Timer, Token, View, Wanted};
use crate::machine::{Cx, Machine, Never};
use crate::probe::planted;
use crate::types::{Actor, CommandId, Digest, DiskFault, DocId, Lane, LogId, Seq, digest64, hex};

/// How often what was asked for is asked for again, and what waits for too long gives up its bytes.
const ORPHAN_TICK: Duration = Duration::from_secs(10);

/// The documents of one node. See the room's essay.
#[derive(Debug)]
pub struct Documents {
    pub(super) actor: Actor,
    pub(super) config: Config,
    pub(super) policies: PolicyHistory,
    pub(super) docs: BTreeMap<DocId, Indexed>,
    pub(super) memory: Memory,
    /// Logs that hold documents' changes, by their number in places; and back.
    pub(super) logs: Vec<LogId>,
    pub(super) numbers: BTreeMap<LogId, u32>,
    /// Entries that were asked for to read a document back, and which.
    pub(super) recalls: BTreeMap<(LogId, Seq), DocId>,
    /// Documents that are being read back, that wait for their turn, and that could not be.
    pub(super) returning: usize,
    pub(super) queue: BTreeSet<DocId>,
    pub(super) stuck: BTreeSet<DocId>,
    content: u64,
    pub(super) trie: Trie,
    count: usize,
    /// Documents on which something is under way or waits.
    pub(super) work: BTreeMap<DocId, Work>,
    /// Commands that are not answered yet.
    pub(super) waiting: usize,
    pub(super) asks: BTreeMap<CommandId, Ask>,
    /// Scans that came before every restored document was there.
    pub(super) parked: Vec<(CommandId, Scan)>,
    pub(super) originating: BTreeMap<Token, DocId>,
    pub(super) next_token: u64,
    /// Documents whose changes wait for a free place among those being applied.
    pub(super) ready: VecDeque<DocId>,
    pub(super) applying: usize,
    pub(super) inbox_bytes: usize,
    /// Documents that were restored and not applied yet.
    pub(super) restoring: usize,
    pub(super) pool: Pool,
    pub(super) ticking: bool,
    /// Changes that were refused, so that what follows them is refused too.
    pub(super) refusals: BTreeMap<DocId, BTreeSet<Hash>>,
    pub(super) refused: u64,
    pub(super) quarantine: Quarantine,
    pub(super) rebuild: Option<Rebuild>,
    /// The way through the log that follows, when that one's documents are built.
    pub(super) rebuild_next: Option<Rebuild>,
    /// What there was to tell before there was anybody to tell.
    pub(super) untold: Vec<Event>,
}

/// What is under way on a document.
#[derive(Debug, Default)]
pub(super) enum Busy {
    #[default]
    Idle,
    /// A worker makes a change of these commands.
    Editing { actor: Actor, batch: Vec<Wanted> },
    /// The log makes that change durable.
    Persisting { hash: Hash, commands: Vec<CommandId>, state: DocState },
    /// A worker forgets a change that is not durable.
    Forgetting,
    /// A worker applies changes of others.
    Applying,
    /// A worker builds it again from the log.
    Restoring,
}

/// A document on which something is under way or waits.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) busy: Busy,
    pub(super) edits: VecDeque<Wanted>,
    pub(super) reads: VecDeque<Read>,
    pub(super) inbox: VecDeque<Arrived>,
    /// How many in the inbox are of our own log: without them the next edit would reuse their numbers.
    pub(super) own: usize,
    /// Logs whose entries from a place on got other names while a worker was at some of them.
    pub(super) gave_way: Vec<(LogId, Seq)>,
    /// What the log says of it, if it is to be built again.
    pub(super) rebuild: Option<Vec<Arrived>>,
    /// Whether a worker is at that.
    pub(super) rebuilding: bool,
    /// Whether an edit was the last to have its turn.
    pub(super) edited: bool,
    /// Whether it waits among the ready.
    pub(super) listed: bool,
    /// Whether it was restored and not yet applied.
    pub(super) restoring: bool,
    /// What was read of it so far, if it is on its way back into memory.
    pub(super) back: Option<Return>,
}

impl Work {
    /// Whether something waits for which the folded past of the document is needed.
    fn needs_whole(&self, state: &DocState) -> bool {
        let newest = |at: &[Hash]| at.len() == state.heads.len() && at.iter().all(|head| state.heads.contains(head));
        let older = |wanted: &Wanted| wanted.at.as_deref().is_some_and(|at| !newest(at));
        self.reads.iter().any(Read::needs_whole) || self.edits.iter().any(older)
    }
}

impl Machine for Documents {
    type Message = Never;
    type Record = Never;
    type Wait = Never;
    type Task = Task;
    type Timer = Timer;
    type Event = Event;

    fn lane(message: &Never) -> Lane {
        match *message {}
    }
}

impl Documents {
    /// No documents yet; edits will be written as `actor`.
    #[must_use]
    pub fn new(actor: Actor, config: Config) -> Self {
        Self {
            actor,
            policies: config.policies.clone().into(),
            config,
            docs: BTreeMap::new(),
            memory: Memory::default(),
            logs: Vec::new(),
            numbers: BTreeMap::new(),
            recalls: BTreeMap::new(),
            returning: 0,
            queue: BTreeSet::new(),
            stuck: BTreeSet::new(),
            content: 0,
            trie: Trie::default(),
            count: 0,
            work: BTreeMap::new(),
            waiting: 0,
            asks: BTreeMap::new(),
            parked: Vec::new(),
            originating: BTreeMap::new(),
            next_token: 0,
            ready: VecDeque::new(),
            applying: 0,
            inbox_bytes: 0,
            restoring: 0,
            pool: Pool::default(),
            ticking: false,
            refusals: BTreeMap::new(),
            refused: 0,
            quarantine: Quarantine::default(),
            rebuild: None,
            rebuild_next: None,
            untold: Vec::new(),
        }
    }

    /// What shows is decided by these policies from now on, and what is told of earlier meetings by those that held then. Before the
    /// first that was decided the [`Config`]'s held.
    pub fn set_policies(&mut self, policies: impl Into<PolicyHistory>) {
        self.policies = policies.into().after(&self.config.policies);
    }

    /// The policies of today, and those of before as far as they are remembered. Also of a document that none of them concerns: what is
    /// forgotten may have.
    pub(super) fn policies_held(&self) -> PolicyHistory {
        let left = planted!("documents/policy-of-half-the-peers") && self.actor.node.as_bytes()[15] & 1 == 1;
        if left { PolicyHistory::default() } else { self.policies.clone() }
    }

    /// Write as this actor from now on. An edit that a worker is at is made again in the new name.
    pub fn mint(&mut self, actor: Actor) {
        self.actor = actor;
        for work in self.work.values_mut() {
            work.own = work.inbox.iter().filter(|arrived| arrived.log.actor == actor).count();
        }
    }

    /// Takes an entry of the log at boot, in the log's order, before [`start`](Self::start).
    pub fn restore(&mut self, log: LogId, seq: Seq, body: Bytes) {
        if let Some(doc) = self.take_in(log, seq, &body) {
            let work = self.work.entry(doc).or_default();
            self.restoring += usize::from(!std::mem::replace(&mut work.restoring, true));
        }
    }

    /// Begins: what was restored goes to the workers.
    pub fn start(&mut self, cx: &mut Cx<'_, Self>) {
        for event in std::mem::take(&mut self.untold) {
            cx.emit(event);
        }
        let docs: Vec<DocId> = self.work.keys().cloned().collect();
        for doc in docs {
            self.pump(cx, &doc);
        }
    }

    /// A client asks. Answered by one [`Event::Replied`].
    pub fn on_command(&mut self, cx: &mut Cx<'_, Self>, id: CommandId, command: Command) {
        let (waiting, max) = (self.waiting, self.config.waiting_max);
        self.waiting += 1;
        if waiting >= max {
            return self.reply(cx, id, Err(Error::Busy { waiting, max }));
        }
        match command {
            Command::Edit { doc, edits, create } => self.on_edit(cx, id, doc, edits, create, None),
            Command::EditAt { doc, edits, heads } => self.on_edit(cx, id, doc, edits, false, Some(heads)),
            Command::Get { doc, path } => self.on_read(cx, doc, Read::Get { command: id, path }),
            Command::Standing { doc, path, change } => {
                self.on_read(cx, doc, Read::Standing { command: id, path, change });
            }
            Command::History { doc } => self.on_read(cx, doc, Read::History { command: id }),
            Command::Met { prefix, after, limit, look, wish } => {
                self.on_scan(cx, id, Scan::new(prefix, after, limit, What::Met(look, wish)));
            }
            Command::Open { doc } => self.on_open(cx, id, doc),
            Command::Scan { prefix, after, limit, values } => {
                self.on_scan(
                    cx,
                    id,
                    Scan::new(prefix, after, limit, if values { What::Contents } else { What::Names }),
                );
            }
        }
    }

    /// The change of [`Event::Originate`] is durable.
    pub fn on_originated(&mut self, cx: &mut Cx<'_, Self>, token: Token, stamp: Stamp) {
        let Some((doc, hash, commands, state)) = self.persisted(token) else { return };
        let heads: Vec<String> = state.heads.iter().map(|head| hex(head)).collect();
        for command in commands {
            let (change, stamp) = (Some(hex(&hash)), Some(stamp));
            let outcome = Outcome::Edited { doc: doc.clone(), heads: heads.clone(), change, stamp };
            self.reply(cx, command, Ok(outcome));
        }
        self.changed(cx, &doc, state, vec![stamp.log.actor]);
        self.place(&doc, stamp.log, stamp.seq, false);
        self.pump(cx, &doc);
        self.evict(cx);
    }

    /// The change of [`Event::Originate`] could not be made durable: the worker forgets it, and nobody was told of it.
    pub fn on_originate_failed(&mut self, cx: &mut Cx<'_, Self>, token: Token, fault: DiskFault) {
        let Some((doc, change, commands, _)) = self.persisted(token) else { return };
        for command in commands {
            self.reply(cx, command, Err(Error::Disk(fault.clone())));
        }
        self.work.entry(doc.clone()).or_default().busy = Busy::Forgetting;
        cx.task(Task::Forget { doc, change });
    }

    /// An entry of another origin is durable here. Each log's entries come in order; an entry asked for by
    /// [`Event::Reread`] comes again.
    pub fn on_delivered(&mut self, cx: &mut Cx<'_, Self>, log: LogId, seq: Seq, body: Bytes) {
        if self.on_reread(cx, log, seq, &body) && !self.pool.is_asked(log, seq) {
            return;
        }
        let full = self.inbox_bytes >= self.config.inbox_bytes && !self.pool.is_asked(log, seq);
        let doc = if full { self.put_off(cx, log, seq, &body) } else { self.take_in(log, seq, &body) };
        self.pool.came(log, seq, doc.as_ref());
        for event in std::mem::take(&mut self.untold) {
            cx.emit(event);
        }
        if let Some(doc) = doc {
            self.pump(cx, &doc);
        }
        self.ask_again(cx);
    }

    /// The entries of a log from this place on stand in another one from now on, and will be delivered from there: what
    /// waits of them here under their old names is dropped. What was applied stays.
    pub fn give_way(&mut self, cx: &mut Cx<'_, Self>, log: LogId, from: Seq) {
        self.pool.give_way(log, from);
        self.lose_places(cx, log, from);
        self.lose_read(log, from);
        for work in self.work.values_mut() {
            let gone = |arrived: &Arrived| arrived.log == log && arrived.seq >= from;
            for arrived in work.inbox.iter().filter(|arrived| gone(arrived)) {
                self.inbox_bytes -= arrived.change.len();
                work.own -= usize::from(log.actor == self.actor && work.own > 0);
            }
            work.inbox.retain(|arrived| !gone(arrived));
            if let Some(changes) = &mut work.rebuild {
                changes.retain(|arrived| !gone(arrived));
            }
            if matches!(work.busy, Busy::Applying | Busy::Restoring) {
                work.gave_way.push((log, from));
            }
        }
    }

    /// A worker is done.
    pub fn on_done(&mut self, cx: &mut Cx<'_, Self>, done: Done) {
        match done {
            Done::Edited { doc, change, results, state } => self.on_edited(cx, doc, change, results, state),
            Done::Parted { doc, actor } => self.on_parted(cx, &doc, actor),
            Done::Applied { doc, applied, orphans, refused, known, older, state } => {
                self.on_applied(cx, doc, (&applied, &known), orphans, (refused, older), state);
            }
            Done::Got { doc, command, value, state } => self.on_got(cx, doc, command, value, &state),
            Done::Met { doc, command, found, state } => self.on_met(cx, doc, command, found, state),
            Done::Told { doc, command, changes } => {
                self.asks.remove(&command);
                self.reply(cx, command, changes.map(|changes| Outcome::History { doc, changes }));
            }
            Done::Forgotten { doc, state } => {
                self.set_state(&doc, state);
                self.pump(cx, &doc);
            }
            Done::Restored { doc, orphans, state } => self.on_restored(cx, &doc, orphans, state),
            Done::Evicted { .. } => {}
        }
        self.rebuild_on(cx);
        self.evict(cx);
    }

    /// A timer has fired.
    pub fn on_timer(&mut self, cx: &mut Cx<'_, Self>, timer: Timer) {
        match timer {
            Timer::Orphans => {
                self.ticking = false;
                self.shrink(cx);
                for (log, seq) in self.pool.outstanding() {
                    cx.emit(Event::Reread { log, seq });
                }
                self.ask_again(cx);
                self.try_stuck(cx);
            }
        }
    }

    /// What siblings may see.
    #[must_use]
    pub const fn view(&self) -> View<'_> {
        View::new(self)
    }

    /// Gives the document's next work to a worker, if nothing is under way that must be awaited.
    pub(super) fn pump(&mut self, cx: &mut Cx<'_, Self>, doc: &DocId) {
        if self.is_away(doc) {
            return self.bring_back(cx, doc);
        }
        self.touch(doc);
        loop {
            let Some(work) = self.work.get_mut(doc) else { return };
            let free = matches!(work.busy, Busy::Idle | Busy::Applying);
            let folded = self.docs.get(doc).filter(|indexed| indexed.state.folded);
            if free && folded.is_some_and(|indexed| work.needs_whole(&indexed.state)) {
                if matches!(work.busy, Busy::Idle) {
                    self.send_away(cx, doc);
                    self.bring_back(cx, doc);
                }
                return;
            }
            if free && !work.restoring && !work.reads.is_empty() {
                let reads = std::mem::take(&mut work.reads);
                let policies = self.policies_held();
                reads.into_iter().for_each(|read| cx.task(read.task(doc, policies.clone())));
            }
            let Some(work) = self.work.get_mut(doc) else { return };
            if !matches!(work.busy, Busy::Idle) {
                return;
            }
            if let Some(changes) = work.rebuild.take() {
                (work.busy, work.rebuilding) = (Busy::Applying, true);
                self.applying += 1;
                return cx.task(Task::Rebuild { doc: doc.clone(), changes });
            }
            let mut may_edit = !work.edits.is_empty() && !work.restoring && work.own == 0;
            if may_edit && self.pool.waits(doc, self.own_log()) {
                self.fail_edits(cx, doc);
                may_edit = false;
            }
            let Some(work) = self.work.get(doc) else { return };
            let apply = !work.inbox.is_empty() && (work.edited || !may_edit);
            if apply && self.applying < self.config.applies_max {
                if !self.apply(cx, doc) {
                    continue; // All of it went to wait for others; look at what else there is.
                }
            } else if may_edit {
                self.edit(cx, doc);
            } else if apply {
                self.list(doc);
            } else {
                self.rest(cx, doc);
            }
            return;
        }
    }

    /// Puts a document among those that wait for a free place.
    fn list(&mut self, doc: &DocId) {
        let Some(work) = self.work.get_mut(doc) else { return };
        if !std::mem::replace(&mut work.listed, true) {
            self.ready.push_back(doc.clone());
        }
    }

    /// Nothing is left to do on this document.
    pub(super) fn rest(&mut self, cx: &mut Cx<'_, Self>, doc: &DocId) {
        let Some(work) = self.work.get_mut(doc) else { return };
        if std::mem::take(&mut work.restoring) {
            self.restoring -= 1;
            if !work.reads.is_empty() || !work.edits.is_empty() {
                self.pump(cx, doc);
            } else {
                self.work.remove(doc);
            }
            if self.restoring == 0 {
                for (command, scan) in std::mem::take(&mut self.parked) {
                    self.on_scan(cx, command, scan);
                }
            }
            return;
        }
        if !work.listed {
            self.work.remove(doc);
        }
    }

    pub(super) fn reply(&mut self, cx: &mut Cx<'_, Self>, command: CommandId, result: Result<Outcome, Error>) {
        self.waiting -= 1;
        cx.emit(Event::Replied { command, result });
    }

    /// Takes over a document's state and tells it.
    pub(super) fn changed(&mut self, cx: &mut Cx<'_, Self>, doc: &DocId, state: DocState, origins: Vec<Actor>) {
        let (heads, exists) = (state.heads.clone(), state.exists);
        self.set_state(doc, state);
        cx.emit(Event::Changed { doc: doc.clone(), heads, exists, origins });
    }

    /// Takes over a document's state; whatever was under way on it is done.
    pub(super) fn set_state(&mut self, doc: &DocId, state: DocState) {
        if let Some(work) = self.work.get_mut(doc) {
            (work.busy, work.rebuilding) = (Busy::Idle, false);
        }
        self.index(doc, state);
    }

    /// Takes over a document's state.
    pub(super) fn index(&mut self, doc: &DocId, state: DocState) {
        let exists = state.exists;
        let new = term(doc, &state);
        self.trie.set(doc, new);
        let empty = state.heads.is_empty();
        let indexed = self.docs.entry(doc.clone()).or_default();
        let old = std::mem::replace(&mut indexed.state, state);
        if empty {
            self.memory.drop(indexed);
            self.docs.remove(doc);
        } else {
            self.memory.hold(doc, indexed);
        }
        let (old, existed) = (term(doc, &old), old.exists);
        self.content = self.content.wrapping_sub(old).wrapping_add(new);
        self.count = self.count + usize::from(exists) - usize::from(existed);
    }

    /// Arms the timer while anything waits for others.
    pub(super) fn tick(&mut self, cx: &mut Cx<'_, Self>) {
        let waits = !self.pool.is_empty() || !self.stuck.is_empty();
        if waits && !std::mem::replace(&mut self.ticking, true) {
            cx.arm(Timer::Orphans, ORPHAN_TICK);
        }
    }

    pub(super) const fn content(&self) -> Digest {
        Digest::new(self.content)
    }

    pub(super) const fn count(&self) -> usize {
        self.count
    }

    pub(super) fn busy(&self) -> bool {
        !self.work.is_empty() || self.waiting > 0
    }
}

/// A document's share of the content digest: a sum, so that it does not depend on the order in which documents came.
fn term(doc: &DocId, state: &DocState) -> u64 {
    if state.heads.is_empty() {
        return 0;
    }
    let mut bytes = Vec::with_capacity(doc.as_str().len() + 1 + 32 * state.heads.len());
    bytes.extend_from_slice(doc.as_str().as_bytes());
    bytes.push(0);
    state.heads.iter().for_each(|head| bytes.extend_from_slice(head));
    digest64(&bytes).value()
}

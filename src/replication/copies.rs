//! Acknowledgements that wait for copies: how many other members hold an entry of ours, durably.
//!
//! What counts is what the table of `replicas` knows for certain: the member's disk has the entry, in our branch. Most copies
//! are neighbours', whose acknowledgements say so. Where more are wanted than there are neighbours, as in a star or tree, those
//! around are asked to tell at once who holds the log ([`Message::Watch`]), and ask theirs; what they learn comes back the same
//! way, a batch timeout a step. Nobody is asked for anything while nobody waits. The question has no count of its steps: a
//! member hands it on once in [`HAND_ON`] for each log, which is longer than any way around a circle of links takes, so it
//! dies there; and no more than [`HANDED_ON_MAX`] of one neighbour's in a second, so a liar cannot have it multiplied.
//!
//! An answer that does not come in time changes nothing about the entry: it is durable here and goes on spreading.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::message::{Held, Hold, LINES_MAX, Message, Name};
use super::replicas::{ACTIVE_WITHIN, STALE};
use super::together::Together;
use super::{Ack, Event, Replication, ReplicationState, Timer};
use crate::machine::Cx;
use crate::probe::{planted, reachable};
use crate::types::{LogId, NodeId, Seq, Time};

/// How often those who wait are looked after.
const LOOK: Duration = Duration::from_millis(100);
/// How often the question is put again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// For how long one who was asked tells.
const WATCH: Duration = Duration::from_secs(10);
/// How often a neighbour's question about a log is handed on.
const HAND_ON: Duration = Duration::from_secs(3);
/// Questions of one neighbour that are handed on in a second.
const HANDED_ON_MAX: u32 = 64;
/// Most acknowledgements that wait.
const WAITING_MAX: usize = 1 << 16;
/// Logs that all neighbours together may watch; each has its share.
const WATCHED_MAX: usize = 1_000;
/// What waits at most to be told at once to one neighbour.
const URGENT_MAX: usize = 1 << 14;

/// Who waits for copies of an entry.
#[derive(Debug)]
struct Waiting {
    token: u64,
    seq: u64,
    until: Time,
}

/// Who waits, and who wants to know.
#[derive(Debug, Default)]
pub(super) struct Copies {
    /// By log and level, in order of seq.
    waiting: BTreeMap<(usize, Ack), VecDeque<Waiting>>,
    count: usize,
    /// When the neighbours were last asked about a log, for us or for others.
    asked: BTreeMap<usize, Time>,
    /// Which neighbours want to know of which logs at once, until when.
    watchers: BTreeMap<(usize, NodeId), Time>,
    /// What they are told next.
    urgent: BTreeMap<NodeId, BTreeSet<(NodeId, usize)>>,
    /// Who waits for more than one log.
    pub(super) together: Vec<Together>,
    /// When whose questions were handed on last, and how many in that second.
    handed_on: BTreeMap<NodeId, (Time, u32)>,
    looking: bool,
}

impl Copies {
    fn watchers_of(&self, at: usize) -> impl Iterator<Item = (usize, NodeId)> + '_ {
        let all = (at, NodeId::from_u128(0))..=(at, NodeId::from_u128(u128::MAX));
        self.watchers.range(all).map(|(key, _)| *key)
    }

    /// The place is another log's now, of which nobody wants to know anything.
    pub(super) fn vacate(&mut self, at: usize) {
        self.asked.remove(&at);
        let gone: Vec<(usize, NodeId)> = self.watchers_of(at).collect();
        gone.into_iter().for_each(|key| _ = self.watchers.remove(&key));
    }
}

impl Replication {
    /// Waits until as many other members as `ack` wants hold our log up to `seq`. Answered by [`Event::Copied`], or after
    /// `patience` by [`Event::NotCopied`]; each once.
    pub fn await_copies(
        &mut self,
        cx: &mut Cx<'_, Self>,
        token: u64,
        (log, seq): (LogId, Seq),
        ack: Ack,
        patience: Duration,
    ) {
        let at = self.logs.intern(log);
        if self.is_crowded() {
            let members = self.holders(at, seq.value());
            return cx.emit(Event::NotCopied { token, members });
        }
        let until = cx.now().mono + patience;
        let queue = self.copies.waiting.entry((at, ack)).or_default();
        // An edit that changed nothing waits for all that was written before it.
        let place = queue.partition_point(|waiting| waiting.seq <= seq.value());
        queue.insert(place, Waiting { token, seq: seq.value(), until });
        self.copies.count += 1;
        self.count_copies(cx, at);
        if self.copies.count > 0 {
            self.look_after(cx);
        }
        self.ask_for(cx, at);
    }

    /// How many wait.
    pub(super) fn awaited(&self) -> usize {
        self.copies.count + self.copies.together.len()
    }

    /// Whether nobody more may wait.
    pub(super) fn is_crowded(&self) -> bool {
        self.awaited() >= WAITING_MAX
    }

    pub(super) fn look_after(&mut self, cx: &mut Cx<'_, Self>) {
        if !std::mem::replace(&mut self.copies.looking, true) {
            cx.arm(Timer::Copies, LOOK);
        }
    }

    /// Somebody is known to hold more of this log: who waits for that is answered, who asked is told.
    pub(super) fn on_raised(&mut self, cx: &mut Cx<'_, Self>, member: NodeId, at: usize, from: NodeId) {
        self.count_copies(cx, at);
        if !self.copies.together.is_empty() {
            self.count_together(cx, Some(at));
        }
        if self.logs.get(at).durable() == 0 {
            return; // It may be made up: it is told when something of it is here.
        }
        if self.copies.watchers.is_empty() {
            return;
        }
        let watchers = self.copies.watchers.range((at, NodeId::from_u128(0))..=(at, NodeId::from_u128(u128::MAX)));
        let (now, mut told) = (cx.now().mono, false);
        for ((_, watcher), until) in watchers {
            if *until < now || [member, from].contains(watcher) {
                continue;
            }
            let urgent = self.copies.urgent.entry(*watcher).or_default();
            if urgent.len() < URGENT_MAX {
                told |= urgent.insert((member, at));
            }
        }
        if told {
            cx.arm(Timer::Urgent, self.config.batch_timeout);
        }
    }

    /// Answers those whose entries have copies enough.
    fn count_copies(&mut self, cx: &mut Cx<'_, Self>, at: usize) {
        if self.copies.waiting.is_empty() {
            return;
        }
        let levels: Vec<Ack> =
            self.copies.waiting.range((at, Ack::Local)..=(at, Ack::All)).map(|((_, ack), _)| *ack).collect();
        for ack in levels {
            while let Some(first) = self.copies.waiting.get(&(at, ack)).and_then(VecDeque::front) {
                let members = self.holders(at, first.seq);
                if !self.is_enough(cx, ack, &members) {
                    break;
                }
                let queue = self.copies.waiting.get_mut(&(at, ack)).expect("looked up above");
                let token = queue.pop_front().expect("looked up above").token;
                self.copies.count -= 1;
                reachable!("replication/copies-are-enough");
                cx.emit(Event::Copied { token, members });
            }
            self.copies.waiting.retain(|_, queue| !queue.is_empty());
        }
    }

    /// The other members who hold this log up to `seq`, in the branch that we hold. Whose log it is may
    /// have lost it with its disk: it counts when it is known to hold it.
    pub(super) fn holders(&self, at: usize, seq: u64) -> Vec<NodeId> {
        let (me, log) = (self.actor.node, self.logs.get(at));
        let others = self.replicas.iter().filter(|(id, _)| *id != me || planted!("replication/own-copy-counts"));
        others.filter(|(_, row)| row.holds(at, log, seq)).map(|(id, _)| id).collect()
    }

    pub(super) fn is_enough(&self, cx: &Cx<'_, Self>, ack: Ack, members: &[NodeId]) -> bool {
        match ack {
            Ack::Local => true,
            Ack::Members(wanted) => members.len() >= usize::from(wanted.get()),
            // Whoever is active now must hold it, and that is nobody's promise if there is nobody.
            Ack::All if planted!("replication/all-means-any") => !members.is_empty(),
            Ack::All => {
                let now = cx.now().mono;
                let mut others = self.replicas.iter().filter(|(id, _)| *id != self.actor.node);
                let lacks = others.any(|(id, _)| members.binary_search(&id).is_err() && self.is_wanted(id, now));
                !members.is_empty() && !lacks
            }
        }
    }

    /// Whether `all` waits for this member. Who lags is left out, and who was not heard of for minutes; who is far away and was
    /// said to lag a while ago may hold it all by now, and is being asked.
    fn is_wanted(&self, member: NodeId, now: Time) -> bool {
        self.view().known(member, now).is_some_and(|known| match known.state {
            ReplicationState::Active => true,
            ReplicationState::CatchingUp => (ACTIVE_WITHIN..STALE).contains(&now.since(known.as_of)),
            ReplicationState::Initializing | ReplicationState::Paused | ReplicationState::Failed => false,
        })
    }

    /// Asks those around who holds this log, if their own acknowledgements cannot be enough.
    pub(super) fn ask_for(&mut self, cx: &mut Cx<'_, Self>, at: usize) {
        let others = self.replicas.iter().filter(|(_, row)| row.present).count().saturating_sub(1);
        let neighbors = self.peers.len();
        let beyond = |ack: &Ack| match ack {
            Ack::Local => false,
            Ack::Members(wanted) => usize::from(wanted.get()) > neighbors,
            Ack::All => others > neighbors,
        };
        let mut levels = self.copies.waiting.range((at, Ack::Local)..=(at, Ack::All)).map(|((_, ack), _)| ack);
        let mut together = self.copies.together.iter().filter(|one| one.logs().any(|log| log == at));
        if self.relays && (levels.any(beyond) || together.any(|one| beyond(&one.ack()))) {
            self.ask_around(cx, at, None);
        }
    }

    /// Asks all neighbours but one to tell at once who holds this log, unless they were asked just now.
    fn ask_around(&mut self, cx: &mut Cx<'_, Self>, at: usize, but: Option<NodeId>) {
        let now = cx.now().mono;
        let pause = if but.is_some() { HAND_ON } else { ASK_AGAIN };
        if self.copies.asked.get(&at).is_some_and(|asked| now.since(*asked) < pause) {
            return;
        }
        if let Some(but) = but {
            let (second, count) = self.copies.handed_on.entry(but).or_insert((now, 0));
            if now.since(*second) >= Duration::from_secs(1) {
                (*second, *count) = (now, 0);
            }
            if *count >= HANDED_ON_MAX {
                return;
            }
            *count += 1;
        }
        self.copies.asked.insert(at, now);
        for (id, peer) in self.peers.iter().filter(|(id, _)| Some(**id) != but) {
            cx.send(*id, Message::Watch(vec![peer.log_name(&self.logs, at)]));
        }
    }

    /// A neighbour wants to know at once who holds these logs.
    pub(super) fn on_watch(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, logs: &[Name]) {
        let now = cx.now().mono;
        self.copies.watchers.retain(|_, until| *until > now);
        self.copies.asked.retain(|_, asked| now.since(*asked) < WATCH);
        self.copies.handed_on.retain(|_, (second, _)| now.since(*second) < WATCH);
        let mut watched = self.copies.watchers.keys().filter(|(_, watcher)| *watcher == from).count();
        for name in logs {
            let at = match self.resolve(*name, (from, now), None) {
                Ok(Some(at)) => at,
                Ok(None) => continue,
                Err(why) => return self.fault(cx, from, why),
            };
            let before = self.copies.watchers.get(&(at, from)).copied();
            if before.is_none() && watched >= WATCHED_MAX / self.peers.len().max(1) {
                break;
            }
            watched += usize::from(before.is_none());
            self.copies.watchers.insert((at, from), now + WATCH);
            // Who asks again and again is told what is new, and all of it once a second.
            if before.is_some_and(|until| until.since(now) > WATCH - ASK_AGAIN / 2) {
                continue;
            }
            if self.logs.get(at).durable() > 0 {
                self.tell_watcher(cx, at, from);
            }
        }
        cx.arm(Timer::Urgent, self.config.batch_timeout);
    }

    /// Tells this neighbour all that is known of who holds the log, and asks the others.
    fn tell_watcher(&mut self, cx: &mut Cx<'_, Self>, at: usize, watcher: NodeId) {
        self.raise_own(at, cx.now().mono);
        let urgent = self.copies.urgent.entry(watcher).or_default();
        let room = URGENT_MAX.saturating_sub(urgent.len());
        let known = self.replicas.iter().filter(|(id, row)| *id != watcher && row.seq(at) > 0);
        urgent.extend(known.map(|(id, _)| (id, at)).take(room));
        if self.relays {
            self.ask_around(cx, at, Some(watcher));
        }
    }

    /// The first entry of a log is here: who asked for it before is told now.
    pub(super) fn tell_watchers(&mut self, cx: &mut Cx<'_, Self>, at: usize) {
        let watchers: Vec<NodeId> = self.copies.watchers_of(at).map(|(_, watcher)| watcher).collect();
        for watcher in &watchers {
            self.tell_watcher(cx, at, *watcher);
        }
        if !watchers.is_empty() {
            cx.arm(Timer::Urgent, self.config.batch_timeout);
        }
    }

    /// Tells at once what neighbours want to know at once.
    pub(super) fn on_urgent(&mut self, cx: &mut Cx<'_, Self>) {
        for (to, cells) in std::mem::take(&mut self.copies.urgent) {
            let Some(peer) = self.peers.get(&to) else { continue };
            let mut held: Vec<Held> = Vec::new();
            let mut lines = 0;
            for (member, at) in cells {
                let Some(row) = self.replicas.row(member) else { continue };
                let Some(cell) = row.cell(at).filter(|cell| cell.from != to) else { continue };
                if held.last().is_none_or(|last| last.member != member) {
                    held.push(Held { member, boot: row.boot, age_ms: u64::MAX, lines: Vec::new() });
                }
                let line = Hold { log: peer.log_name(&self.logs, at), last: Seq::new(cell.seq), chain: cell.chain };
                held.last_mut().expect("pushed above").lines.push(line);
                lines += 1;
                if lines >= LINES_MAX || held.len() >= super::message::MEMBERS_MAX {
                    cx.send(to, Message::Held(std::mem::take(&mut held)));
                    lines = 0;
                }
            }
            if !held.is_empty() {
                cx.send(to, Message::Held(held));
            }
        }
    }

    /// An entry of a log that is watched became durable here.
    pub(super) fn on_own_copy(&mut self, cx: &mut Cx<'_, Self>, at: usize) {
        let mut watchers = self.copies.watchers.range((at, NodeId::from_u128(0))..);
        if watchers.next().is_some_and(|((log, _), _)| *log == at) && self.raise_own(at, cx.now().mono) {
            let me = self.actor.node;
            self.on_raised(cx, me, at, me);
        }
    }

    /// The log ended before what they wait for: it stands elsewhere now, and nobody knows who holds it there.
    pub(super) fn drop_copies(&mut self, cx: &mut Cx<'_, Self>, at: usize) {
        self.give_up_together(cx, Some(at));
        for level in
            self.copies.waiting.range((at, Ack::Local)..=(at, Ack::All)).map(|(key, _)| *key).collect::<Vec<_>>()
        {
            for waiting in self.copies.waiting.remove(&level).into_iter().flatten() {
                self.copies.count -= 1;
                cx.emit(Event::NotCopied { token: waiting.token, members: Vec::new() });
            }
        }
    }

    /// Looks after those who wait.
    pub(super) fn on_copies(&mut self, cx: &mut Cx<'_, Self>) {
        let now = cx.now().mono;
        let mut late = Vec::new();
        for ((at, _), queue) in &mut self.copies.waiting {
            // Patience may differ from one to the other.
            let before = queue.len();
            queue.retain(|waiting| {
                let waits = waiting.until > now;
                if !waits {
                    late.push((*at, waiting.seq, waiting.token));
                }
                waits
            });
            self.copies.count -= before - queue.len();
        }
        self.copies.waiting.retain(|_, queue| !queue.is_empty());
        for (at, seq, token) in late {
            reachable!("replication/copies-come-too-late");
            let members = self.holders(at, seq);
            cx.emit(Event::NotCopied { token, members });
        }
        // Whoever was to hold it may have died or been paused.
        self.give_up_together(cx, None);
        self.count_together(cx, None);
        let mut logs: BTreeSet<usize> = self.copies.waiting.keys().map(|(at, _)| *at).collect();
        logs.extend(self.copies.together.iter().flat_map(Together::logs));
        for at in logs {
            self.count_copies(cx, at);
            self.ask_for(cx, at);
        }
        self.copies.looking = self.awaited() > 0;
        if self.copies.looking {
            cx.arm(Timer::Copies, LOOK);
        } else {
            self.copies.asked.retain(|_, asked| now.since(*asked) < WATCH);
        }
    }
}

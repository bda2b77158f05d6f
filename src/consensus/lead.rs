//! The office: taking it, being heard, hearing a majority, appending what is asked for, and giving it up.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::change::Pending;
use super::log::{Entries, Entry, Says};
use super::message::Body;
use super::progress::{Pace, Progress};
use super::read::Read;
use super::transfer::Transfer;
use super::vocabulary::{Answer, Event, Intent, Mark, Refusal, RequestId, Resigned, Timer};
use super::{Consensus, Office, Record};
use crate::machine::Cx;
use crate::probe::planted;
use crate::types::{Actor, Index, Time};

/// Requests that may wait for a majority at a time.
pub(super) const WAITING_MAX: usize = 1_024;
/// Entries that may be appended and not committed at a time.
pub(super) const UNCOMMITTED_MAX: u64 = 2_048;

/// Of so many rounds it is known when they began.
const BEATS_MAX: usize = 64;

/// After a hand-over for the disk that came to nothing there is none for so many times as long as one may take.
const DISK_TRANSFER_PAUSE: u32 = 5;

/// What a leader holds.
#[derive(Clone, Debug)]
pub(super) struct Lead {
    /// The entry with which it took office.
    pub(super) first: Index,
    /// Up to here what it appended is durable here.
    pub(super) held: Index,
    pub(super) peers: BTreeMap<Actor, Progress>,
    /// The last round of heartbeats, and when each of the last ones began.
    pub(super) round: u64,
    beats: VecDeque<(u64, Time)>,
    /// Who waits for which entry, since when.
    pub(super) waiting: BTreeMap<Index, (RequestId, Time)>,
    pub(super) reads: VecDeque<Read>,
    pub(super) change: Option<Pending>,
    pub(super) transfer: Option<Transfer>,
    /// When the office was last to be handed over for the disk.
    disk_transfer_at: Option<Time>,
    /// When there was last something to do.
    pub(super) busy_at: Time,
    /// Whether all wait for each other's next word for longer; and when that last ended.
    pub(super) resting: bool,
    pub(super) woken_at: Time,
}

impl Lead {
    /// When a round began, if that is remembered.
    pub(super) fn began(&self, round: u64) -> Option<Time> {
        self.beats.iter().find(|(of, _)| *of == round).map(|(_, at)| *at)
    }
}

impl Consensus {
    /// Leads from now on. Its first entry makes known what is committed of those before.
    pub(super) fn take_office(&mut self, cx: &mut Cx<'_, Self>) {
        let (last, now) = (self.log.last().index, cx.now().mono);
        self.office = Office::Leader(Box::new(Lead {
            first: last.next(),
            held: Index::ZERO,
            peers: BTreeMap::new(),
            round: 0,
            beats: VecDeque::new(),
            waiting: BTreeMap::new(),
            reads: VecDeque::new(),
            change: None,
            transfer: None,
            disk_transfer_at: None,
            busy_at: now,
            resting: false,
            woken_at: Time::ZERO,
        }));
        self.incoming = None;
        self.failures = 0;
        // Whoever elected it was heard.
        self.meet(now);
        cx.disarm(Timer::Election);
        cx.emit(Event::Elected { term: self.term });
        self.follow(cx, Some(self.me));
        self.append(cx, Says::Office);
        self.beat(cx);
        cx.arm(Timer::Heartbeat, self.config.heartbeat);
        self.on_quorum_due(cx);
        if self.may_rest(now) {
            self.lie_down(cx);
        }
    }

    /// Every member but itself has a progress, and nobody else. Those that are new count as heard at this time.
    pub(super) fn meet(&mut self, heard_at: Time) {
        let last = self.log.last().index;
        let Some(group) = self.groups.latest().map(|(_, group)| group.clone()) else { return };
        let Office::Leader(lead) = &mut self.office else { return };
        lead.peers.retain(|id, _| group.member(*id).is_some());
        for member in group.members().iter().filter(|member| member.id != self.me) {
            lead.peers.entry(member.id).or_insert_with(|| Progress::new(last, heard_at));
        }
    }

    /// Appends an entry of its own. Whom it makes a member gets it too, and whom it removes does not: that one would refuse its vote to
    /// whoever lacks the entry, and not seek office itself.
    pub(super) fn append(&mut self, cx: &mut Cx<'_, Self>, says: Says) -> Index {
        self.wake(cx);
        let is_group = matches!(says, Says::Group(_));
        let entries = Entries::new(vec![Entry { term: self.term, says }]).expect("one");
        let first = self.log.last().index.next();
        self.replace_tail(first, &entries);
        self.write(cx, Record::Append { first, entries });
        if is_group {
            self.meet(Time::ZERO);
            self.on_quorum_due(cx);
        }
        self.feed_all(cx);
        first
    }

    /// What it wrote is durable up to here.
    pub(super) fn on_own_durable(&mut self, cx: &mut Cx<'_, Self>, last: Mark) {
        let Office::Leader(lead) = &mut self.office else { return };
        if last.term == self.term && last.index > lead.held {
            lead.held = last.index;
            self.advance(cx);
        }
    }

    /// Lets everybody hear from it, and says what is committed.
    pub(super) fn beat(&mut self, cx: &mut Cx<'_, Self>) {
        self.beat_to(cx, |_| true);
    }

    /// Lets these hear from it.
    pub(super) fn beat_to(&mut self, cx: &mut Cx<'_, Self>, whom: impl Fn(Actor) -> bool) {
        let (head, now) = (self.head(), cx.now().mono);
        let Office::Leader(lead) = &mut self.office else { return };
        lead.round += 1;
        lead.beats.push_back((lead.round, now));
        if lead.beats.len() > BEATS_MAX {
            lead.beats.pop_front();
        }
        let there = |(to, progress): &(&Actor, &Progress)| whom(**to) && !matches!(progress.pace, Pace::Gone);
        for (to, progress) in lead.peers.iter().filter(there) {
            let commit = self.commit.min(progress.matched);
            let (matched, round) = (progress.matched, lead.round);
            let body = if lead.resting {
                Body::Rest { commit, matched, round }
            } else {
                Body::Heartbeat { commit, matched, round }
            };
            let (node, message) = head.to(*to, body);
            cx.send(node, message);
        }
    }

    pub(super) fn on_heartbeat_due(&mut self, cx: &mut Cx<'_, Self>) {
        if !self.keeps_office(cx) {
            return;
        }
        let (now, resend) = (cx.now().mono, self.config.resend + 2 * self.round_trip);
        if let Office::Leader(lead) = &mut self.office {
            lead.peers.values_mut().for_each(|progress| progress.forget_lost(now, resend));
        }
        self.mind_the_disk(cx);
        self.give_up_transfer(cx);
        self.answer_late(cx);
        if self.may_rest(now) {
            self.lie_down(cx);
            return self.feed_all(cx);
        }
        self.wake_unless_waiting(cx);
        self.beat(cx);
        self.feed_all(cx);
        if matches!(self.office, Office::Leader(_)) {
            cx.arm(Timer::Heartbeat, self.config.heartbeat);
        }
    }

    /// It rested, and may not rest any longer.
    fn wake_unless_waiting(&mut self, cx: &mut Cx<'_, Self>) {
        if matches!(&self.office, Office::Leader(lead) if lead.resting) {
            self.wake(cx);
        }
    }

    pub(super) fn on_heard(&mut self, cx: &mut Cx<'_, Self>, from: Actor, round: u64) {
        let Office::Leader(lead) = &mut self.office else { return };
        let Some(progress) = lead.peers.get_mut(&from) else { return };
        progress.heard_at = cx.now().mono;
        progress.round = progress.round.max(round.min(lead.round));
        let began = lead.beats.iter().find(|(of, _)| *of == round).map(|(_, at)| *at);
        if let Some(began) = began.filter(|_| self.groups.latest().is_some_and(|(_, group)| group.is_voter(from))) {
            let took = cx.now().mono.since(began);
            self.round_trip = took.max(self.round_trip / 8 * 7).min(super::rest::ROUND_TRIP_MAX);
        }
        if lead.resting && progress.matched < self.log.last().index {
            // It is back, and lacks something.
            self.wake(cx);
            self.feed_all(cx);
        }
        self.answer_reads(cx);
        self.hand_over(cx);
    }

    /// When a majority, itself included, was last heard.
    fn quorum_heard_at(&self, now: Time) -> Option<Time> {
        let (Office::Leader(lead), Some(group)) = (&self.office, self.group()) else { return None };
        // Whoever answered the last word before a rest ended had no reason to say anything until then.
        let at_rest = 2 * self.config.rest + self.config.quorum_timeout.max(2 * self.round_trip);
        let heard = |id| {
            let heard_at = lead.peers.get(&id).map_or(Time::ZERO, |progress| progress.heard_at);
            if lead.woken_at.since(heard_at) < at_rest { heard_at.max(lead.woken_at) } else { heard_at }
        };
        Some(group.reached(|id| if id == self.me { now } else { heard(id) }))
    }

    /// Looks whether a majority was heard lately, and looks again when that may have ended.
    pub(super) fn on_quorum_due(&mut self, cx: &mut Cx<'_, Self>) {
        let now = cx.now().mono;
        if !self.keeps_office(cx) {
            return;
        }
        let Some(heard_at) = self.quorum_heard_at(now) else { return };
        // Never at once: no mistake in what was heard may keep a processor busy.
        if self.group().is_some_and(|group| group.quorum() == 1 && group.is_voter(self.me)) {
            return cx.disarm(Timer::Quorum); // It hears itself.
        }
        let left = self.silence_max().saturating_sub(now.since(heard_at));
        cx.arm(Timer::Quorum, left.max(Duration::from_millis(1)));
    }

    /// Whether it leads still. A process that was stopped finds out here before it does anything else.
    pub(super) fn keeps_office(&mut self, cx: &mut Cx<'_, Self>) -> bool {
        let now = cx.now().mono;
        let Some(heard_at) = self.quorum_heard_at(now) else { return false };
        if now.since(heard_at) >= self.silence_max() {
            self.resign(cx, Resigned::NoQuorum);
            self.follow(cx, None);
            // That there is no quorum is known already: nobody has to wait to be told.
            self.leaderless_since = now - self.config.leaderless;
            self.unled_since = heard_at;
            return false;
        }
        true
    }

    /// Who leads without a disk that answers helps nobody.
    fn mind_the_disk(&mut self, cx: &mut Cx<'_, Self>) {
        let Some(since) = self.durable.waits_since() else { return };
        let waited = cx.now().mono.since(since);
        if waited >= self.config.disk_dead {
            self.resign(cx, Resigned::Disk);
            self.follow(cx, None);
        } else if waited >= self.config.disk_slow {
            self.hand_over_for_the_disk(cx);
        }
    }

    /// Whoever holds nearly all of the log is chosen; if nobody does, a slow leader is better than none. So it is when that came to nothing:
    /// while the office is handed over nothing is taken on, so it is not tried again at once.
    fn hand_over_for_the_disk(&mut self, cx: &mut Cx<'_, Self>) {
        let (now, last, config) = (cx.now().mono, self.log.last().index.value(), &self.config);
        let Office::Leader(lead) = &mut self.office else { return };
        let pause = (1 + DISK_TRANSFER_PAUSE) * config.transfer;
        if lead.transfer.is_some() || lead.disk_transfer_at.is_some_and(|at| now.since(at) < pause) {
            return;
        }
        let near = Index::new(last.saturating_sub(config.promote_lag));
        let is_near = |progress: &Progress| progress.matched >= near && progress.matched > Index::ZERO;
        if lead.peers.values().any(is_near) {
            lead.disk_transfer_at = Some(now);
            let _ = self.transfer(cx, None);
        }
    }

    /// Wants an action done. A refusal is certain: nothing of it will happen. Otherwise [`Event::Answered`] comes, once.
    ///
    /// # Errors
    /// [`Refusal`] says why it was not taken on, and where it would be.
    pub fn propose(&mut self, cx: &mut Cx<'_, Self>, intent: Intent) -> Result<(), Refusal> {
        self.may_lead(cx)?;
        if let Some((token, outcome)) = self.state.sessions().find(intent.request)
            && !planted!("consensus/request-done-twice")
        {
            self.answered(cx, intent.request, Answer::Decided { token, outcome });
            return Ok(());
        }
        if cx.now().wall > intent.expires {
            return Err(Refusal::Expired { expires: intent.expires });
        }
        let (floor, last) = (self.state.sessions().floor(), self.log.last().index);
        if intent.request.born < floor {
            return Err(Refusal::Forgotten { floor });
        }
        if intent.request.born > last {
            return Err(Refusal::Unborn { born: intent.request.born, last });
        }
        let now = cx.now().mono;
        let pending = self.log.iter_from(self.commit.next()).find_map(|(at, entry)| match &entry.says {
            Says::Act(other) if other.request == intent.request => Some(at),
            _ => None,
        });
        let Office::Leader(lead) = &mut self.office else { return Err(Refusal::NoQuorum) };
        let waiting = lead.waiting.len();
        if waiting >= WAITING_MAX || last.value() - self.commit.value() >= UNCOMMITTED_MAX {
            return Err(Refusal::Busy { waiting });
        }
        let request = intent.request;
        let at = pending.unwrap_or_else(|| last.next());
        lead.waiting.insert(at, (request, now));
        if pending.is_none() {
            self.append(cx, Says::Act(Arc::new(intent)));
        }
        Ok(())
    }

    /// Whether something new may be begun here.
    pub(super) fn may_lead(&mut self, cx: &mut Cx<'_, Self>) -> Result<(), Refusal> {
        match &self.halted {
            Some(fault) => return Err(Refusal::Disk(fault.clone())),
            None if self.group().is_none() => return Err(Refusal::Outsider),
            None => {}
        }
        let led = matches!(self.office, Office::Leader(_));
        if led && !self.keeps_office(cx) {
            return Err(Refusal::NoQuorum);
        }
        let (epoch, term) = (self.epoch, self.term);
        match &self.office {
            Office::Leader(lead) if lead.transfer.is_none() => Ok(()),
            Office::Leader(_) => Err(Refusal::NotLeader { leader: None, epoch, term }),
            _ if self.leader.is_none() && cx.now().mono.since(self.leaderless_since) >= self.config.leaderless => {
                Err(Refusal::NoQuorum)
            }
            _ => Err(Refusal::NotLeader { leader: self.leader.map(|leader| leader.node), epoch, term }),
        }
    }

    /// Who waited too long is told that nothing is certain.
    fn answer_late(&mut self, cx: &mut Cx<'_, Self>) {
        let (now, patience) = (cx.now().mono, self.config.patience);
        let Office::Leader(lead) = &mut self.office else { return };
        let is_late = |since: &Time| now.since(*since) >= patience;
        let late: Vec<RequestId> =
            lead.waiting.values().filter(|(_, since)| is_late(since)).map(|(request, _)| *request).collect();
        lead.waiting.retain(|_, (_, since)| !is_late(since));
        late.into_iter().for_each(|request| self.answered(cx, request, Answer::Unknown));
    }

    /// Gives up the office, if it has it. Whoever waits is told what is certain.
    pub(super) fn resign(&mut self, cx: &mut Cx<'_, Self>, why: Resigned) {
        if !matches!(self.office, Office::Leader(_)) {
            return;
        }
        let Office::Leader(lead) = std::mem::replace(&mut self.office, Office::Follower) else { return };
        cx.disarm(Timer::Heartbeat);
        cx.disarm(Timer::Quorum);
        cx.emit(Event::Resigned { term: self.term, why });
        for (request, _) in lead.waiting.into_values() {
            self.answered(cx, request, Answer::Unknown);
        }
        for read in lead.reads {
            cx.emit(Event::Unreadable { read: read.read });
        }
        if let Some(pending) = lead.change {
            cx.emit(Event::ChangeEnded { change: pending.change, committed: false });
        }
        self.leader = None;
        self.tell_followers_who_leads(cx);
        self.lose_leader(cx.now().mono);
        self.arm_election(cx);
    }
}

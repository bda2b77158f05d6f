//! Elections: when office is sought, who gets a vote, and what a closed link means.
//!
//! Random timeouts (Raft, section 5.2) make two candidates collide now and then; the tail of that was measured at 650 ms, where
//! turns by rank stay below 200. The turn counts from when the leader was last heard. Where no leader was known, or a turn came to
//! nothing, the next timeout is drawn at random: ranks would collide for ever if the same two keep asking at the same time.

use std::collections::BTreeMap;
use std::time::Duration;

use super::message::{Ballot, Body, COUNT_MAX, Why};
use super::outside::SOONER;
use super::receive::Voice;
use super::vocabulary::{Event, Mark, Resigned, Timer, Wait};
use super::{Consensus, Office, Record};
use crate::machine::Cx;
use crate::probe::planted;
use crate::types::{Actor, NodeId, Term, Time};

/// How often the time between two attempts at office is doubled: to four seconds at most.
const DOUBLED_MAX: u32 = 4;
/// So many attempts come to nothing before it is.
const FAILURES_FREE: u32 = 4;

impl Consensus {
    /// Waits for a leader, or seeks office at once where there is nobody else.
    pub(super) fn begin(&mut self, cx: &mut Cx<'_, Self>) {
        self.lose_leader(cx.now().mono);
        if self.group().is_some_and(|group| group.is_voter(self.me) && group.quorum() == 1) {
            return self.seek(cx);
        }
        self.arm_election(cx);
    }

    /// Arms the timer anew: a turn by rank behind a known leader, else a random one.
    pub(super) fn arm_election(&mut self, cx: &mut Cx<'_, Self>) {
        let turn = self.leader.and_then(|leader| self.turn_behind(leader));
        let (least, most) = (self.config.election, self.config.election_max);
        let after = match turn {
            Some(turn) if least + turn < most => least + turn + self.patience_at_rest(),
            _ => {
                // Where nobody answers, ever more rarely; a link that comes up makes it soon again.
                let spread =
                    most.saturating_sub(least) * (1 << self.failures.saturating_sub(FAILURES_FREE).min(DOUBLED_MAX));
                let spread = u64::try_from(spread.as_micros()).unwrap_or(u64::MAX);
                least + Duration::from_micros(cx.rng().below(spread)) + self.patience_at_rest()
            }
        };
        let awaits = matches!(self.office, Office::PreCandidate(_) | Office::Candidate(_));
        let after = if awaits { after + 2 * self.round_trip } else { after };
        self.election_at = cx.now().mono + after;
        cx.arm(Timer::Election, after);
    }

    /// Since when answers to the ballot of a term are awaited.
    fn ask_in(&mut self, term: Term, now: Time) {
        if self.asked.0 != term {
            self.asked = (term, now);
        }
    }

    /// How long it waits for those before it in rank.
    fn turn_behind(&self, leader: Actor) -> Option<Duration> {
        self.group()?.rank(self.me, leader).map(|rank| self.config.slot * rank)
    }

    /// The link to a peer is gone. If that led, it probably does not live: a killed process's connections are closed at once. That
    /// changes only when we ask, and that we help others who ask.
    pub fn on_unlinked(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        self.links.remove(&peer);
        self.part(cx, peer);
        if matches!(self.office, Office::Leader(_)) {
            // Perhaps it was we who were cut off: a leader that rests would find out late.
            let linked = |id: Actor| id == self.me || self.links.contains(&id.node);
            if self.group().is_some_and(|group| group.at(peer).next().is_some() && !group.majority(linked)) {
                self.rouse(cx);
            }
            return;
        }
        self.presume_dead(cx, peer);
    }

    fn presume_dead(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        let Some(leader) = self.leader.filter(|leader| leader.node == peer && *leader != self.me) else { return };
        let turn = self.turn_behind(leader);
        self.follow(cx, None);
        let Some(turn) = turn else { return };
        let at = cx.now().mono + self.config.hint + turn;
        if at < self.election_at {
            self.election_at = at;
            cx.arm(Timer::Election, self.config.hint + turn);
        }
    }

    /// Membership suspects a peer. It promotes nobody by itself.
    pub fn on_suspected(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        if self.resting && self.leader.is_some_and(|leader| leader.node == peer) {
            return self.rouse(cx);
        }
        // Whoever is heard is not believed to be dead.
        if cx.now().mono.since(self.heard_at) > 2 * self.config.heartbeat {
            self.presume_dead(cx, peer);
        }
    }

    /// A link is up. Whoever seeks office in vain need not wait any longer than is needed to let those before it try.
    pub(super) fn seek_sooner(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        let is_voter = |id: NodeId| self.group().is_some_and(|group| group.voters().any(|voter| voter.id.node == id));
        if self.leader.is_none() && self.failures > 0 && is_voter(peer) && is_voter(self.me.node) {
            self.failures = 0;
            self.arm_election(cx);
        }
    }

    pub(super) fn on_election_due(&mut self, cx: &mut Cx<'_, Self>) {
        if matches!(self.office, Office::Leader(_)) {
            return;
        }
        if self.leader.is_some() {
            self.follow(cx, None);
            self.lose_leader(self.heard_at);
        }
        if !self.durable.is_done(self.ballot) {
            // The disk is slower than a ballot takes: another one would only be the next behind it.
            return self.arm_election(cx);
        }
        if self.may_seek() {
            return self.seek(cx);
        }
        // A learner seeks no office. It may be none any more, and nobody tells it twice.
        self.ask_about_itself(cx);
        let after = self.config.refresh / SOONER;
        self.election_at = cx.now().mono + after;
        cx.arm(Timer::Election, after);
    }

    /// Whether it may seek office: a voter may, and so may one whose removal is not certain. It may hold the furthest log, and then
    /// nobody else is elected (Ongaro's dissertation, section 4.2.2). Its own vote counts only where it is a voter.
    pub(super) fn may_seek(&self) -> bool {
        self.groups_in_doubt().any(|group| group.is_voter(self.me))
    }

    /// Asks whether it would be elected.
    fn seek(&mut self, cx: &mut Cx<'_, Self>) {
        if self.term.value() + 1 >= COUNT_MAX {
            return;
        }
        self.office = Office::PreCandidate(BTreeMap::from([(self.me, true)]));
        self.failures = self.failures.saturating_add(1);
        self.ask_in(self.term.next(), cx.now().mono);
        self.arm_election(cx);
        if self.is_elected() || planted!("consensus/pre-vote-skipped") {
            return self.stand(cx, Ballot::Vote);
        }
        let (last, head) = (self.log.last(), super::message::Head { term: self.term.next(), ..self.head() });
        for voter in self.other_voters() {
            let (node, message) = head.to(voter, Body::Ask { last, ballot: Ballot::Pre });
            cx.send(node, message);
        }
    }

    /// Asks to be elected.
    pub(super) fn stand(&mut self, cx: &mut Cx<'_, Self>, ballot: Ballot) {
        (self.term, self.vote) = (self.term.next(), Some(self.me));
        self.write_vote(cx);
        self.office = Office::Candidate(BTreeMap::new());
        self.arm_election(cx);
        let last = self.log.last();
        for voter in self.other_voters() {
            self.promise(cx, voter, Body::Ask { last, ballot });
        }
    }

    /// Its vote may have become durable. Only then is it on its way, its own or what it gave to somebody: the time for an answer counts
    /// from here.
    pub(super) fn on_durable(&mut self, cx: &mut Cx<'_, Self>, wait: Wait) {
        if wait.number == self.ballot && self.leader.is_none() {
            self.arm_election(cx);
        }
        if let Office::Candidate(votes) = &mut self.office
            && self.durable.is_done(self.ballot)
            && votes.insert(self.me, true).is_none()
            && self.is_elected()
        {
            return self.take_office(cx);
        }
        self.on_own_durable(cx, wait.last);
    }

    pub(super) fn on_pre_voted(&mut self, cx: &mut Cx<'_, Self>, from: Actor, term: Term, granted: bool) {
        let is_voter = self.group().is_some_and(|group| group.is_voter(from));
        let is_mine = term == self.term.next();
        let Office::PreCandidate(votes) = &mut self.office else { return };
        if !is_mine || !granted || !is_voter {
            return;
        }
        votes.insert(from, granted);
        self.measure(cx.now().mono.since(self.asked.1));
        if self.is_elected() {
            self.stand(cx, Ballot::Vote);
        }
    }

    pub(super) fn on_voted(&mut self, cx: &mut Cx<'_, Self>, from: Actor, granted: bool) {
        let Office::Candidate(votes) = &mut self.office else { return };
        votes.insert(from, granted);
        if self.is_elected() {
            self.take_office(cx);
        }
    }

    fn is_elected(&self) -> bool {
        let (Office::PreCandidate(votes) | Office::Candidate(votes)) = &self.office else { return false };
        self.group().is_some_and(|group| group.majority(|voter| votes.get(&voter) == Some(&true)))
    }

    /// Somebody asks for a vote. Whether it is granted depends on the log alone (Raft, section 5.4.1), not on whether we believe to
    /// be a voter: our group may be an old one.
    pub(super) fn on_ask(&mut self, cx: &mut Cx<'_, Self>, from: Actor, term: Term, last: Mark, ballot: Ballot) {
        if self.group().is_none() {
            return;
        }
        let ballot = match self.has_voice(from, term, last.index) {
            Ok(Voice::Claimed) if ballot == Ballot::Succession => Ballot::Vote,
            Ok(_) => ballot,
            Err(fault) => {
                // A removal that is not certain may be taken back, and with it the name.
                if self.groups_in_doubt().all(|group| group.member(from).is_none()) {
                    self.say(cx, from, Body::Refused(Why::NoMember));
                }
                return self.fault(cx, from.node, fault);
            }
        };
        let is_far_enough = last >= self.log.last();
        if self.leader == Some(from) && term > self.term {
            self.follow(cx, None); // Whoever seeks office has none.
            self.lose_leader(self.heard_at);
        }
        if ballot == Ballot::Pre {
            self.rouse(cx);
            let granted = term > self.term && is_far_enough && !self.hears_a_leader(cx);
            let head = super::message::Head { term: if granted { term } else { self.term }, ..self.head() };
            let (node, message) = head.to(from, Body::PreVoted { granted });
            return cx.send(node, message);
        }
        if term < self.term || (term > self.term && ballot == Ballot::Vote && self.hears_a_leader(cx)) {
            return self.say(cx, from, Body::Voted { granted: false });
        }
        let is_free = term > self.term || self.vote == Some(from) || (self.vote.is_none() && self.leader.is_none());
        let granted = is_free && is_far_enough;
        if granted && (term, Some(from)) != (self.term, self.vote) {
            self.enter(cx, term, Some(from));
        } else if term > self.term {
            self.enter(cx, term, None);
        }
        if granted {
            self.arm_election(cx);
        }
        self.promise(cx, from, Body::Voted { granted });
    }

    /// Whether there is a leader whom nobody should depose.
    pub(super) fn hears_a_leader(&self, cx: &Cx<'_, Self>) -> bool {
        match self.office {
            Office::Leader(_) => true,
            _ => {
                let lease = self.config.lease + self.patience_at_rest();
                self.leader.is_some() && cx.now().mono.since(self.heard_at) < lease
            }
        }
    }

    /// Goes to a term, or gives a vote in the one that it is in.
    pub(super) fn enter(&mut self, cx: &mut Cx<'_, Self>, term: Term, vote: Option<Actor>) {
        if term > self.term {
            self.resign(cx, Resigned::LaterTerm);
            self.follow(cx, None);
        }
        self.office = Office::Follower;
        (self.term, self.vote) = (term, vote);
        self.write_vote(cx);
    }

    fn write_vote(&mut self, cx: &mut Cx<'_, Self>) {
        let (founding, epoch, term, vote) = (self.founding, self.epoch, self.term, self.vote);
        self.ballot = self.write(cx, Record::Vote { founding, epoch, term, vote });
    }

    /// Nobody has led since.
    pub(super) fn lose_leader(&mut self, since: Time) {
        (self.leaderless_since, self.unled_since) = (since, since);
    }

    /// Follows somebody, or nobody.
    pub(super) fn follow(&mut self, cx: &mut Cx<'_, Self>, leader: Option<Actor>) {
        if leader.is_some() && leader != Some(self.me) {
            self.office = Office::Follower;
        }
        if self.leader == leader {
            return;
        }
        if leader.is_none() {
            self.lose_leader(cx.now().mono);
            self.resting = false;
        }
        self.leader = leader;
        cx.emit(Event::Follows { leader, term: self.term });
        self.tell_followers_who_leads(cx);
        if leader.is_some() {
            self.ask_again(cx, None);
        }
    }

    /// The leader hands its office to us.
    pub(super) fn on_succeed(&mut self, cx: &mut Cx<'_, Self>) {
        if self.may_seek() && self.term.value() + 1 < COUNT_MAX {
            self.follow(cx, None);
            self.stand(cx, Ballot::Succession);
        }
    }

    fn other_voters(&self) -> Vec<Actor> {
        let Some(group) = self.group() else { return Vec::new() };
        group.voters().map(|voter| voter.id).filter(|id| *id != self.me).collect()
    }
}

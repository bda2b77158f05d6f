//! What arrives: who speaks, of which group, generation and term, and whether it has a voice. Then it is handed on.

use std::sync::Arc;

use super::group::Group;
use super::message::{Body, LEAP_MAX, Message, Why};
use super::vocabulary::{Event, Fault};
use super::{Consensus, Office};
use crate::machine::Cx;
use crate::types::{Actor, Index, Mint, NodeId, Term};

/// What is known of who leads or seeks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Voice {
    /// It is a voter, as far as is known here.
    Voter,
    /// It says that its log goes on behind what is certain here, where a group may stand in which it is one. A stranger could say so
    /// too: it takes nobody from a leader who is heard.
    Claimed,
}

impl Consensus {
    /// A peer speaks. The host has made sure that it is this one.
    pub fn on_message(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, message: Message) {
        if self.halted.is_some() {
            return;
        }
        let sender = Actor { node: from, mint: message.from };
        if from == self.me.node {
            return;
        }
        if let Err(fault) = message.check() {
            return self.fault(cx, from, fault);
        }
        if message.body.is_aside() {
            return self.on_aside(cx, sender, message);
        }
        if let Body::Refused(why) = message.body {
            return self.on_refused(cx, sender, &message, why);
        }
        if message.to != self.me.mint {
            if message.founding == self.known_of().0 && self.is_retired(sender) {
                self.disown(cx, sender);
            }
            return self.say(cx, sender, Body::Refused(Why::OtherStore));
        }
        if self.is_of_this_generation(cx, sender, &message) {
            self.on_body(cx, sender, message.term, message.body);
        }
    }

    /// Whether the frame is of the group and generation that we are of. Whoever is in none takes part in the one that it knows from
    /// outside, or, as long as it knows of none, in the first that knows its name: nobody does but who was told it.
    fn is_of_this_generation(&mut self, cx: &mut Cx<'_, Self>, sender: Actor, message: &Message) -> bool {
        if self.group().is_none() {
            let leads = matches!(
                message.body,
                Body::Append { .. } | Body::Heartbeat { .. } | Body::Rest { .. } | Body::Piece { .. }
            );
            if !leads || !self.may_follow(cx, sender, message) {
                return false;
            }
            let is_later = message.founding == self.founding && message.epoch > self.epoch;
            if self.founding == Mint::new(0) || is_later {
                (self.founding, self.epoch) = (message.founding, message.epoch);
            }
        } else if message.founding == self.founding && message.epoch > self.epoch {
            self.on_disowned(cx, sender.node, message.epoch);
            return false;
        }
        if message.founding != self.founding {
            self.fault(cx, sender.node, Fault::OtherGroup(message.founding));
            return false;
        }
        if message.epoch < self.epoch {
            self.tell_once(cx, Event::OldEpoch { peer: sender.node, epoch: message.epoch });
            self.say(cx, sender, Body::Refused(Why::OldEpoch));
            return false;
        }
        true
    }

    fn on_body(&mut self, cx: &mut Cx<'_, Self>, sender: Actor, term: Term, body: Body) {
        match body {
            Body::Ask { last, ballot } => self.on_ask(cx, sender, term, last, ballot),
            Body::Append { prev, commit, entries } => {
                let end = prev.index.value() + entries.len() as u64;
                if self.heed(cx, sender, term, Some(Index::new(end))) {
                    self.on_append(cx, sender, prev, commit, &entries);
                }
            }
            Body::Heartbeat { commit, matched, round } => {
                if self.heed(cx, sender, term, None) {
                    self.on_heartbeat(cx, sender, commit, matched, (round, false));
                }
            }
            Body::Rest { commit, matched, round } => {
                if self.heed(cx, sender, term, None) {
                    self.on_heartbeat(cx, sender, commit, matched, (round, true));
                }
            }
            Body::Rouse => self.on_rouse(cx, sender.node),
            Body::Piece { last, total, offset, bytes } => {
                // Its log goes on behind the copy that it sends. All of that may be here already, and it has not heard so.
                if self.heed(cx, sender, term, Some(last.index.next())) {
                    self.on_piece(cx, sender, last, total, offset, bytes.bytes());
                }
            }
            Body::Succeed => {
                if self.leader == Some(sender) && term == self.term {
                    self.on_succeed(cx);
                }
            }
            // A grant of a pre-vote is about a term that nobody is in yet.
            Body::PreVoted { granted: true } => self.on_pre_voted(cx, sender, term, true),
            reply => {
                if self.knows_reply(cx, sender, term) {
                    self.on_reply(cx, sender, reply);
                }
            }
        }
    }

    fn on_reply(&mut self, cx: &mut Cx<'_, Self>, sender: Actor, reply: Body) {
        match reply {
            Body::PreVoted { granted } => self.on_pre_voted(cx, sender, self.term.next(), granted),
            Body::Voted { granted } => self.on_voted(cx, sender, granted),
            Body::Appended { matched } => self.on_appended(cx, sender, matched),
            Body::Conflict { rejected, hint } => self.on_conflict(cx, sender, rejected, hint),
            Body::Heard { round } => self.on_heard(cx, sender, round),
            Body::Pieced { last, upto } => self.on_pieced(cx, sender, last, upto),
            Body::Ask { .. }
            | Body::Append { .. }
            | Body::Heartbeat { .. }
            | Body::Rest { .. }
            | Body::Rouse
            | Body::Piece { .. }
            | Body::Succeed
            | Body::Refused(_)
            | Body::Newest { .. }
            | Body::Pull { .. }
            | Body::Decided { .. }
            | Body::Copy { .. }
            | Body::Copied { .. }
            | Body::Who
            | Body::Name
            | Body::Propose { .. }
            | Body::Proposed { .. }
            | Body::Leads { .. } => {}
        }
    }

    /// Whether an answer is of our term and by a member. One of a later term ends what we do.
    fn knows_reply(&mut self, cx: &mut Cx<'_, Self>, sender: Actor, term: Term) -> bool {
        if self.group().is_none_or(|group| group.member(sender).is_none()) {
            return false; // It was removed meanwhile.
        }
        if term > self.term {
            self.enter(cx, term, None);
        }
        term == self.term
    }

    /// Whether the sender leads, and we follow it. Where its log ends tells whether it may know a group that we do not.
    fn heed(&mut self, cx: &mut Cx<'_, Self>, sender: Actor, term: Term, end: Option<Index>) -> bool {
        if term < self.term {
            // It learns from our term that it leads no more.
            self.say(cx, sender, Body::Heard { round: 0 });
            return false;
        }
        if self.leader != Some(sender) {
            match self.has_voice(sender, term, end.unwrap_or(self.commit)) {
                Ok(Voice::Claimed) if self.hears_a_leader(cx) => return false,
                Ok(_) => {}
                Err(fault) => {
                    // A heartbeat says nothing of its log; the entries that come with it will.
                    if end.is_some() || self.is_retired(sender) {
                        self.fault(cx, sender.node, fault);
                    }
                    return false;
                }
            }
        }
        let is_second = term == self.term
            && (matches!(self.office, Office::Leader(_)) || self.leader.is_some_and(|leader| leader != sender));
        if is_second {
            let first = self.leader.unwrap_or(self.me);
            self.fault(cx, sender.node, Fault::TwoLeaders { term, first, second: sender });
            return false;
        }
        if term > self.term {
            self.enter(cx, term, None);
        }
        self.follow(cx, Some(sender));
        self.heard_at = cx.now().mono;
        self.disowned.clear();
        (self.resting, self.failures) = (false, 0);
        self.arm_election(cx);
        true
    }

    /// Whether this member may lead or seek to. By our group it must be a voter, or by the last that is certain; but it may know a later
    /// group than we do, if its log goes on behind what is committed here.
    pub(super) fn has_voice(&self, sender: Actor, term: Term, end: Index) -> Result<Voice, Fault> {
        if self.group().is_none() {
            return Ok(Voice::Voter);
        }
        if self.is_retired(sender) {
            return Err(Fault::Retired(sender));
        }
        if self.groups_in_doubt().any(|group| group.is_voter(sender)) {
            return Ok(Voice::Voter);
        }
        let is_far = term.value().saturating_sub(self.term.value()) > LEAP_MAX;
        if end > self.commit && !is_far { Ok(Voice::Claimed) } else { Err(Fault::NoVoter(sender)) }
    }

    /// The latest group, and the one that it would be if what is not certain were taken back.
    pub(super) fn groups_in_doubt(&self) -> impl Iterator<Item = &Arc<Group>> {
        self.groups.in_doubt(self.commit.value())
    }

    /// Whether it is certain that it was removed: a change that is not may be taken back.
    pub(super) fn is_retired(&self, id: Actor) -> bool {
        self.certain_group().is_some_and(|group| group.is_retired(id))
    }

    /// Who decides, as far as that is certain, in this group or as known from outside.
    pub(super) fn certain_group(&self) -> Option<&Arc<Group>> {
        match self.group() {
            Some(_) => self.groups_in_doubt().last(),
            None => self.outside.group(),
        }
    }

    /// Whether a member is at this node.
    pub(super) fn is_of_members(&self, peer: NodeId) -> bool {
        self.groups_in_doubt().any(|group| group.at(peer).next().is_some())
    }

    fn on_refused(&mut self, cx: &mut Cx<'_, Self>, sender: Actor, message: &Message, why: Why) {
        let peer = sender.node;
        match why {
            _ if self.group().is_none() => {}
            Why::OldEpoch | Why::NoMember if message.founding != self.founding => {}
            Why::OldEpoch | Why::NoMember if message.epoch > self.epoch => {
                self.on_disowned(cx, peer, message.epoch);
            }
            Why::NoMember if message.to == self.me.mint && message.epoch == self.epoch => {
                self.on_disowned(cx, peer, message.epoch);
            }
            Why::OtherStore => {
                let Some(group) = self.group() else { return };
                let gone = group.at(peer).filter(|id| *id != sender).collect::<Vec<_>>();
                for member in gone {
                    self.stop_feeding(member);
                    self.tell_once(cx, Event::Reborn { member, mint: sender.mint });
                }
            }
            Why::OldEpoch | Why::NoMember => {}
        }
    }
}

//! Words that would end a membership, and who said them.
//!
//! "You are in our group no more", and frames of a later generation, make a host give its membership up, and with it the log and the vote.
//! One member that lies, or that an old image of a disk was put into, must not bring that about. So it counts once a majority of the other
//! voters of the last group that is known here says the same, in the same generation; a learner's word counts for nothing. They are
//! counted by node, which the host has made sure of: whoever votes no more has another name by then and knows of it nevertheless. Whoever
//! is told so asks the others at once. Where the own log says for certain that this store was removed, one word is enough.
//!
//! The only voter of a group has no others: there its learners are counted, since one of them has taken its place if it was removed. A group that
//! was this store alone is passed over, as one is that handed over while it left and does not know for certain that it did.
//!
//! Where some of the others are gone for good, or were removed as well, no majority may ever say it. So to whom nobody has led for long the word of one
//! voter is enough: it could decide nothing anyway. That of anybody is for a learner that has a link to no voter that it knows.
//!
//! Who was added by an entry that was taken back never was a member, and takes itself for one: of that only a leader is certain, and says so when it hears the name.
//!
//! A leader that is followed ends the count. What is remembered is bounded by the voters of the group.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::Consensus;
use super::group::Group;
use super::message::{Body, Why};
use super::vocabulary::Event;
use crate::machine::Cx;
use crate::types::{Actor, Epoch, NodeId};

/// To whom nobody has led for so long, the word of one is enough.
const LONE: Duration = Duration::from_secs(10);

impl Consensus {
    /// A peer says that its group, in this generation, goes on without us.
    pub(super) fn on_disowned(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId, epoch: Epoch) {
        if !self.is_of_members(peer) && !self.is_lost(cx) {
            return; // A stranger's word is no reason to give up a membership that is good for something.
        }
        let knows_itself = epoch == self.epoch && self.is_retired(self.me);
        let is_left = epoch == self.epoch && (self.is_lost(cx) || self.is_left_for_long(cx, epoch));
        if !self.is_borne_out(peer, epoch) && !knows_itself && !is_left {
            self.tell_once(cx, Event::Disowned { peer, epoch });
            // Of another generation any frame is an answer.
            if epoch == self.epoch && self.disowned.contains_key(&peer) {
                self.ask_the_silent(cx);
            }
            return;
        }
        let event = if epoch > self.epoch { Event::NewerEpoch { peer, epoch } } else { Event::NoMember { peer } };
        self.tell_once(cx, event);
    }

    /// A node names a generation that goes on without us, or that is later than what is known. Whether a majority of the other voters of
    /// the last known group has named the same, this one among them.
    pub(super) fn is_borne_out(&mut self, peer: NodeId, epoch: Epoch) -> bool {
        let groups = self.last_voters();
        let all: BTreeSet<NodeId> = groups.iter().flatten().copied().collect();
        self.disowned.retain(|node, _| all.contains(node));
        if !all.contains(&peer) {
            return false;
        }
        self.disowned.insert(peer, epoch);
        let said =
            |voters: &BTreeSet<NodeId>| voters.iter().filter(|node| self.disowned.get(node) == Some(&epoch)).count();
        // Where this store was alone nobody else can say anything.
        groups.iter().filter(|voters| !voters.is_empty()).all(|voters| 2 * said(voters) > voters.len())
    }

    /// Whether nobody has led this store for long.
    fn is_lone(&self, cx: &Cx<'_, Self>) -> bool {
        self.leader.is_none() && cx.now().mono.since(self.leaderless_since) >= LONE
    }

    /// Whether it is a learner, as far as it knows, whom nobody has led for long, and that has no link to any voter that it knows: nobody whom it would
    /// believe can tell it that it was removed.
    fn is_lost(&self, cx: &Cx<'_, Self>) -> bool {
        let mut voters = self.last_voters().into_iter().flatten();
        self.is_lone(cx) && !self.may_seek() && voters.all(|node| !self.links.contains(&node))
    }

    /// Whether nobody has led this store for long, and another voter says that it is in the group no more. Who is left out knows it from the log: nobody who
    /// only lacks the end of it says so. To wait for all would be to wait for those that were left out as well.
    fn is_left_for_long(&self, cx: &Cx<'_, Self>, epoch: Epoch) -> bool {
        let mut voters = self.last_voters().into_iter().flatten();
        self.is_lone(cx) && voters.any(|node| self.disowned.get(&node) == Some(&epoch))
    }

    /// The nodes of the other voters: of both groups while a change is not certain, or of the one that is known from outside.
    fn last_voters(&self) -> Vec<BTreeSet<NodeId>> {
        let others = |group: &Group| {
            let nodes = |voters: bool| -> BTreeSet<NodeId> {
                let some = group.members().iter().filter(|it| it.voter || !voters).map(|it| it.id.node);
                some.filter(|node| *node != self.me.node).collect()
            };
            let others = nodes(true);
            if others.is_empty() { nodes(false) } else { others }
        };
        match self.group() {
            Some(_) => self.groups_in_doubt().map(|group| others(group)).collect(),
            None => self.outside.group().map(|group| others(group)).into_iter().collect(),
        }
    }

    /// Asks whoever may know what became of this learner, and somebody else if there is nobody.
    pub(super) fn ask_about_itself(&mut self, cx: &mut Cx<'_, Self>) {
        let said = self.disowned.iter().find(|(_, epoch)| **epoch == self.epoch).map(|(peer, _)| *peer);
        if let Some(peer) = said.filter(|_| self.is_left_for_long(cx, self.epoch)) {
            // It was said before that was long enough, and whoever said so is not asked again.
            return self.tell_once(cx, Event::NoMember { peer });
        }
        self.ask_the_silent(cx);
        if self.is_lost(cx) && !self.links.is_empty() {
            let linked: Vec<NodeId> = self.links.iter().copied().collect();
            let other = linked[cx.rng().index(linked.len())];
            self.aside(cx, other, Body::Name);
        }
    }

    /// Asks those that have not said so what they know of this store: who says its name is told if that is used up.
    pub(super) fn ask_the_silent(&self, cx: &mut Cx<'_, Self>) {
        let silent: BTreeSet<NodeId> = self.last_voters().into_iter().flatten().collect();
        let asked = |node: &NodeId| self.links.contains(node) && self.disowned.get(node) != Some(&self.epoch);
        for node in silent.into_iter().filter(asked) {
            self.aside(cx, node, Body::Name);
        }
    }

    /// Whether this one leads, knows all that is decided, and has nobody of that name in its group, nor is about to have.
    pub(super) fn is_certainly_none(&self, id: Actor) -> bool {
        let is_member = |group: &Arc<Group>| group.member(id).is_some();
        self.view().is_settled() && !self.groups_in_doubt().any(is_member)
    }

    /// Tells a store that it is in the group no more, as is known for certain here, by a member or by who is none.
    pub(super) fn disown(&self, cx: &mut Cx<'_, Self>, gone: Actor) {
        let (node, message) = self.known_head().to(gone, Body::Refused(Why::NoMember));
        cx.send(node, message);
    }
}

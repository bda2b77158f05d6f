//! Log replication (Raft, section 5.3): the leader's side and the follower's.

use std::time::Duration;

use super::lead::Lead;
use super::log::{Entries, Log};
use super::message::{Body, Head};
use super::progress::{Pace, Progress};
use super::vocabulary::{Event, Fault, Mark};
use super::{Config, Consensus, Office, Record, Snapshot};
use crate::machine::Cx;
use crate::probe::planted;
use crate::types::{Actor, Index, NodeId, Term};

impl Consensus {
    /// Sends to everybody what is there and may be sent.
    pub(super) fn feed_all(&mut self, cx: &mut Cx<'_, Self>) {
        let head = self.head();
        let Office::Leader(lead) = &mut self.office else { return };
        for (to, progress) in &mut lead.peers {
            let source = Source { head, log: &self.log, snapshot: &self.snapshot, commit: self.commit };
            source.feed(cx, *to, progress, &self.config);
        }
    }

    /// A link is up: whatever was under way on the last one is lost, and somebody may be waiting.
    pub fn on_linked(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        self.links.insert(peer);
        let now = cx.now().mono;
        let Office::Leader(lead) = &mut self.office else {
            self.seek_sooner(cx, peer);
            self.wait_for_greeting(cx);
            return self.greet(cx, peer);
        };
        let (last, rests) = (self.log.last().index, lead.resting);
        let (mut is_member, mut lacks) = (false, false);
        for (_, progress) in lead.peers.iter_mut().filter(|(id, _)| id.node == peer) {
            progress.forget_lost(now, Duration::ZERO);
            (is_member, lacks) = (true, lacks || progress.matched < last);
        }
        if !is_member {
            return self.greet(cx, peer);
        }
        if lacks || !rests {
            self.wake(cx);
            self.beat(cx);
            return self.feed_all(cx);
        }
        // It has all, as far as is known, and hears that somebody leads.
        self.beat_to(cx, |id| id.node == peer);
    }

    /// That store is lost: nothing that is sent to it will ever be heeded.
    pub(super) fn stop_feeding(&mut self, member: Actor) {
        let Office::Leader(lead) = &mut self.office else { return };
        if let Some(progress) = lead.peers.get_mut(&member) {
            progress.pace = Pace::Gone;
        }
    }

    fn feed(&mut self, cx: &mut Cx<'_, Self>, to: Actor) {
        let head = self.head();
        let Office::Leader(lead) = &mut self.office else { return };
        let Some(progress) = lead.peers.get_mut(&to) else { return };
        let source = Source { head, log: &self.log, snapshot: &self.snapshot, commit: self.commit };
        source.feed(cx, to, progress, &self.config);
    }

    pub(super) fn on_appended(&mut self, cx: &mut Cx<'_, Self>, from: Actor, matched: Index) {
        let last = self.log.last().index;
        let Office::Leader(lead) = &mut self.office else { return };
        let Some(progress) = lead.peers.get_mut(&from) else { return };
        if matched > last {
            return self.fault(cx, from.node, Fault::Beyond { claimed: matched, last });
        }
        progress.heard_at = cx.now().mono;
        let is_late = lead.resting && matched > progress.matched;
        progress.acknowledge(matched);
        self.advance(cx);
        self.feed(cx, from);
        if is_late {
            // It was not waited for, and does not know yet that it is decided.
            self.beat_to(cx, |id| id == from);
        }
        self.hand_over(cx);
    }

    pub(super) fn on_conflict(&mut self, cx: &mut Cx<'_, Self>, from: Actor, rejected: Index, hint: Mark) {
        let Office::Leader(lead) = &mut self.office else { return };
        let Some(progress) = lead.peers.get_mut(&from) else { return };
        progress.heard_at = cx.now().mono;
        // The last entry of ours that can be the same as one of its: all of later terms before it are passed over in one round.
        let parted = self.log.last_upto_term(hint.index, hint.term);
        let parted =
            parted.unwrap_or_else(|| hint.index.min(Index::new(self.log.base().index.value().saturating_sub(1))));
        if progress.reject(rejected, parted) {
            self.feed(cx, from);
        }
    }

    /// Commits what a majority holds, if it is of our term: what is of an earlier one may be held by a majority and be replaced
    /// nevertheless (Raft, section 5.4.2, figure 8).
    pub(super) fn advance(&mut self, cx: &mut Cx<'_, Self>) {
        let (Office::Leader(lead), Some(group)) = (&self.office, self.group()) else { return };
        let held = |id: Actor| if id == self.me { lead.held } else { lead.matched(id) };
        let reached = group.reached(held);
        let is_ours = self.log.term(reached) == Some(self.term) || planted!("consensus/earlier-terms-counted");
        if reached > self.commit && is_ours {
            self.commit_to(cx, reached);
            self.beat(cx);
        }
    }

    /// Entries from the leader.
    pub(super) fn on_append(
        &mut self,
        cx: &mut Cx<'_, Self>,
        from: Actor,
        prev: Mark,
        commit: Index,
        entries: &Entries,
    ) {
        let end = Index::new(prev.index.value() + entries.len() as u64);
        // What is below the base is committed, and so the same in every log.
        let base = self.log.base().index;
        if prev.index >= base && !self.log.has(prev) {
            if prev.index <= self.commit {
                return self.fault(cx, from.node, Fault::Committed { index: prev.index, commit: self.commit });
            }
            let upto = prev.index.min(self.log.last().index);
            let hint = self.log.last_upto_term(upto, prev.term).unwrap_or(base);
            let hint = Mark { term: self.log.term(hint).unwrap_or(Term::ZERO), index: hint };
            return self.promise(cx, from, Body::Conflict { rejected: prev.index, hint });
        }
        let new = (prev.index.value() + 1..).map(Index::new).zip(entries.iter());
        let differs = new.filter(|(at, _)| *at > base).find(|(at, entry)| self.log.term(*at) != Some(entry.term));
        if let Some((first, _)) = differs {
            if first <= self.commit {
                return self.fault(cx, from.node, Fault::Committed { index: first, commit: self.commit });
            }
            let skipped = usize::try_from(first.value() - prev.index.value() - 1).expect("within a frame");
            let entries = Entries::new(entries[skipped..].to_vec()).expect("a part of a list");
            self.replace_tail(first, &entries);
            self.write(cx, Record::Append { first, entries });
        }
        self.commit_to(cx, commit.min(end));
        self.promise(cx, from, Body::Appended { matched: end });
    }

    /// The leader lets hear from it.
    pub(super) fn on_heartbeat(
        &mut self,
        cx: &mut Cx<'_, Self>,
        from: Actor,
        commit: Index,
        matched: Index,
        (round, rests): (u64, bool),
    ) {
        let last = self.log.last().index;
        if matched > last && self.group().is_none() {
            return; // It holds nothing and acknowledged nothing: whoever speaks means somebody else.
        }
        if matched > last {
            // Acknowledgements of this term are about a log that only grew since: this store lost a part of it, and perhaps a vote. A
            // restart must not make it a voter again.
            self.withdraw(cx);
            return cx.emit(Event::LostMemory { acknowledged: matched, last });
        }
        self.commit_to(cx, commit.min(matched));
        if rests {
            self.resting = true;
            self.arm_election(cx);
        }
        self.say(cx, from, Body::Heard { round });
    }
}

/// Where frames of entries are taken from.
struct Source<'a> {
    head: Head,
    log: &'a Log,
    snapshot: &'a Snapshot,
    commit: Index,
}

impl Source<'_> {
    /// Sends what this member may get now.
    fn feed(&self, cx: &mut Cx<'_, Consensus>, to: Actor, progress: &mut Progress, config: &Config) {
        let now = cx.now().mono;
        if !matches!(progress.pace, Pace::Snapshot { .. } | Pace::Gone) && progress.next <= self.log.base().index {
            let (last, bytes) = (self.snapshot.last, self.snapshot.encode());
            progress.pace = Pace::Snapshot { last, bytes, upto: 0, sent: None };
        }
        match &mut progress.pace {
            Pace::Gone | Pace::Probe { sent: Some(_) } | Pace::Snapshot { sent: Some(_), .. } => {}
            Pace::Probe { sent } => {
                *sent = Some(now);
                self.send(cx, to, progress.next, config.batch_bytes);
            }
            Pace::Stream(inflight) => {
                while inflight.len() < config.inflight_max && progress.next <= self.log.last().index {
                    let end = self.send(cx, to, progress.next, config.batch_bytes);
                    progress.next = end.next();
                    inflight.push_back((end, now));
                }
            }
            Pace::Snapshot { last, bytes, upto, sent } => {
                *sent = Some(now);
                let (node, message) = self.head.to(to, super::snapshot::piece(*last, bytes, *upto));
                cx.send(node, message);
            }
        }
    }

    /// Sends a frame of entries from a place on; where it ends.
    fn send(&self, cx: &mut Cx<'_, Consensus>, to: Actor, from: Index, bytes: usize) -> Index {
        let index = Index::new(from.value() - 1);
        let prev = Mark { term: self.log.term(index).expect("it is not before the base"), index };
        let entries = self.log.slice(from, bytes);
        let end = Index::new(index.value() + entries.len() as u64);
        let (node, message) = self.head.to(to, Body::Append { prev, commit: self.commit, entries });
        cx.send(node, message);
        end
    }
}

impl Lead {
    /// How far a member holds the log. Whoever is none holds nothing.
    pub(super) fn matched(&self, id: Actor) -> Index {
        self.peers.get(&id).map_or(Index::ZERO, |progress| progress.matched)
    }
}

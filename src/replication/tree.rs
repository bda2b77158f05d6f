//! What the tree of a new log begins as.
//!
//! A tree forms as the first entry of its log floods the mesh: every link that brings a duplicate is pruned. That costs about as
//! many duplicates as there are links, and each store that begins is a new log, many of which never hold more than a few entries.
//! But a tree is the same from wherever it is walked (Leitao et al., SRDS 2007, share one between all sources). So who gets the
//! first entry of a log pushes it only along the tree of another log, its **pattern**. The origin pushes to all neighbours
//! nonetheless: for at most two duplicates a link no member becomes the hub of logs that are not its own.
//!
//! The ways along another's tree are longer than those of a flood, but only for this one entry: the other neighbours are told of it
//! at once, and who hears of it clearly before it comes takes whom it heard of it first for its parent. Everybody's parent
//! held the entry earlier than itself, so that is a tree, with the short ways that a flood would have found. From there on
//! it is as any other.
//!
//! An entry finds everybody if all take the same pattern. So what decides is what all hold alike: a log of the same
//! origin before others; then the longest, by orders of magnitude, lest it is another with each entry; then the lowest id.
//! Of those whose tree can be trusted here: an entry came along it lately, the first one not just now, and from a neighbour that is
//! still there. Links that are younger than that entry are part of its tree until they bring a duplicate, as a link is that was
//! grafted when a parent was lost.
//!
//! Where some take another pattern the entry may pass somebody by, who was told of it and asks (`reconcile`).
//! Where there is none, among the first logs of a mesh and at a peer that has just started, it floods.

use std::cmp::Reverse;
use std::time::Duration;

use super::Replication;
use super::log::Log;
use super::message::{Have, Message};
use crate::machine::Cx;
use crate::probe::reachable;
use crate::types::{NodeId, Seq, Time};

/// A tree is trusted for so long after an entry came along it.
const FRESH: Duration = Duration::from_secs(60);
/// And not before its first entry has found everybody, and what it brought twice was pruned.
const SETTLED: Duration = Duration::from_secs(1);
/// What a way has to gain to be taken instead.
const SHORTER: Duration = Duration::from_millis(1);
/// Most neighbours that are told of a first entry at once.
const TOLD_MAX: usize = 6;

impl Replication {
    /// The first entry of this log is here: decides to whom it is pushed, and tells others of it.
    pub(super) fn begin_tree(&mut self, cx: &mut Cx<'_, Self>, at: usize) {
        let log = self.logs.get(at);
        let Some(pattern) = self.pattern(cx.now().mono, at).filter(|_| log.id.actor != self.actor) else { return };
        reachable!("replication/tree-begins-as-another");
        let (model, origin) = (self.logs.get(pattern), log.id.actor.node);
        for peer in self.peers.values_mut() {
            if !peer.is_branch(pattern, model) {
                peer.spare(at, log);
            }
        }
        // Where everybody has it from its origin nobody has a shorter way.
        if !self.direct || log.parent != Some(origin) {
            self.tell_at_once(cx, at);
        }
    }

    fn tell_at_once(&mut self, cx: &mut Cx<'_, Self>, at: usize) {
        let log = self.logs.get(at);
        let last = log.offered();
        let unaware = self.peers.values_mut().filter(|peer| peer.is_unaware(at, log, last));
        let mut unaware: Vec<NodeId> = unaware.map(|peer| peer.id()).collect();
        cx.rng().shuffle(&mut unaware);
        for id in unaware.into_iter().take(TOLD_MAX) {
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            let have = Have { log: peer.log_name(&self.logs, at), last: Seq::new(last) };
            peer.edge_mut(at).told = last;
            cx.send(id, Message::Have(vec![have]));
        }
    }

    /// The first entry of a log came from this neighbour. Another one who spoke of it clearly earlier has a shorter way.
    pub(super) fn shorten(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, at: usize) {
        let Some((earlier, when)) = self.logs.get_mut(at).announced.take().filter(|(earlier, _)| *earlier != from)
        else {
            return;
        };
        if self.peers.contains_key(&earlier) && cx.now().mono.since(when) >= SHORTER {
            reachable!("replication/way-shortened");
            self.graft(cx, earlier, &[at]);
            self.prune(cx, from, at);
            // Nor has it to be pushed what it had before us.
            self.peers.get_mut(&from).into_iter().for_each(|peer| peer.lull(at));
        }
    }

    /// The log whose tree a new one begins with.
    fn pattern(&self, now: Time, new: usize) -> Option<usize> {
        let origin = self.logs.get(new).id.actor.node;
        let trusted = self.logs.by_id().filter(|(at, log)| *at != new && self.has_tree(now, log));
        let best = trusted
            .max_by_key(|(_, log)| (log.id.actor.node == origin, log.accepted().checked_ilog2(), Reverse(log.id)));
        best.map(|(at, _)| at)
    }

    fn has_tree(&self, now: Time, log: &Log) -> bool {
        let comes = log.id.actor == self.actor || log.source.is_some();
        let lives = log.live.is_some_and(|(first, last)| now.since(first) >= SETTLED && now.since(last) <= FRESH);
        comes && lives && !log.is_moving()
    }
}

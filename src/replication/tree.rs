//! What the tree of a new log begins as.
//!
//! A tree forms as the first entry of its log floods the mesh: every link that brings a duplicate is pruned. That costs about as
//! many duplicates as there are links, and each store that begins is a new log, many of which never hold more than a few entries.
//! But a tree is the same from wherever it is walked (Leitao et al., SRDS 2007, share one between all sources). So who gets the
//! first entry of a log pushes it only along the tree of another log, its **pattern**, and announces it to the rest. The origin
//! pushes to all neighbours nonetheless: for at most two duplicates a link its log gets short ways of its own, and no member
//! becomes the hub of logs that are not its own. From there on the tree is this log's, as any other.
//!
//! An entry finds everybody if all take the same pattern. So what decides is what all hold alike: a log of the same
//! origin before others; then the longest, by orders of magnitude, lest it is another with each entry; then the lowest id.
//! Of those whose tree can be trusted here: an entry came along it lately, the first one not just now, and from a neighbour that is
//! still there. Links that are younger than that entry are part of its tree until they bring a duplicate, as a link is that was
//! grafted when a parent was lost.
//!
//! Where some take another pattern the entry may pass somebody by, who hears of it by an announcement and asks (`reconcile`).
//! Where there is none, among the first logs of a mesh and at a peer that has just started, it floods.

use std::cmp::Reverse;
use std::time::Duration;

use super::Replication;
use super::log::Log;
use crate::types::Time;

/// A tree is trusted for so long after an entry came along it.
const FRESH: Duration = Duration::from_secs(60);
/// And not before its first entry has found everybody, and what it brought twice was pruned.
const SETTLED: Duration = Duration::from_secs(1);

impl Replication {
    /// The first entry of this log is here: decides to whom it is pushed.
    pub(super) fn begin_tree(&mut self, now: Time, at: usize) {
        let log = self.logs.get(at);
        let Some(pattern) = self.pattern(now, at).filter(|_| log.id.actor != self.actor) else { return };
        let model = self.logs.get(pattern);
        for peer in self.peers.values_mut() {
            if !peer.is_branch(pattern, model) {
                peer.spare(at, log);
            }
        }
    }

    /// The log whose tree a new one begins with.
    fn pattern(&self, now: Time, new: usize) -> Option<usize> {
        let origin = self.logs.get(new).id.actor.node;
        let trusted = self.logs.by_id().filter(|(at, log)| *at != new && self.has_tree(now, log));
        let best = trusted.max_by_key(|(_, log)| {
            (log.id.actor.node == origin, log.accepted().checked_ilog2(), Reverse(log.id))
        });
        best.map(|(at, _)| at)
    }

    fn has_tree(&self, now: Time, log: &Log) -> bool {
        let comes = log.id.actor == self.actor || log.source.is_some();
        let lives = log.live.is_some_and(|(first, last)| now.since(first) >= SETTLED && now.since(last) <= FRESH);
        comes && lives && !log.is_moving()
    }
}

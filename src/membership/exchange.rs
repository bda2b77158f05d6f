//! Whole views: asked for by who is new, and compared by an 8-byte digest on every ping and ack. Views that differ although there
//! is nothing fresh, and those on both sides of a cut, are compared bucket by bucket, and only what differs is sent. Whoever
//! else gets a link only says who it is.

use std::collections::BTreeMap;

use super::evidence::Source;
use super::message::{Message, Update, Updates};
use super::table::Slot;
use super::{Membership, State, Timer};
use crate::machine::Cx;
use crate::probe::reachable;
use crate::types::{Digest, NodeId, Time};

/// Most bytes of members in one message: a control frame holds 64 KiB.
const CHUNK_MAX: usize = 48 << 10;
/// So many digests in a row that differ although we have nothing fresh are no news under way, but a gap.
const UNLIKE_MAX: u8 = 3;

/// With fewer members than this in sight a node asks whoever it meets for all that it knows.
const FEW: usize = 8;

impl Membership {
    /// Whether this node has yet to find the mesh.
    pub(super) fn is_new(&self) -> bool {
        self.table.present_len() < FEW
    }

    /// Says who we are and asks for all that the peer knows; not again within a period.
    pub(super) fn ask_all(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        let now = cx.now().mono;
        let Some(link) = self.links.get_mut(&peer) else { return };
        if link.asked_at.is_some_and(|at| now.since(at) < self.config.probe_period) {
            return;
        }
        link.asked_at = Some(now);
        let rows = Updates(vec![self.update(Slot::ME, now, true)]);
        cx.send(peer, Message::State { rows, ask: true });
    }

    /// Sends all that we know, unless this peer was just told.
    fn tell_all(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        let now = cx.now().mono;
        let Some(link) = self.links.get_mut(&peer) else { return };
        if link.told_at.is_some_and(|at| now.since(at) < self.config.probe_period) {
            return;
        }
        (link.told_at, link.told_to) = (Some(now), self.queue.last());
        let rows =
            self.table.entries().map(|entry| (entry.cost(true), entry.update(now, true, self.kept(entry.claim))));
        for rows in chunked(rows) {
            cx.send(peer, Message::State { rows, ask: false });
        }
    }

    /// Says who we are, and that it is accused, if it is. A whole view for each new link would be N x N x N rows when N join
    /// at once.
    pub(super) fn introduce(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        let now = cx.now().mono;
        let accused = self.table.slot(peer).filter(|slot| self.table.entry(*slot).claim != State::Alive);
        let told = [Some(Slot::ME), accused].into_iter().flatten();
        let gossip = Updates(told.map(|slot| self.update(slot, now, slot == Slot::ME)).collect());
        cx.send(peer, Message::Gossip { gossip });
    }

    /// Asks a peer who it is that has not said so; not again within a period.
    pub(super) fn ask_who(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        if self.may_prod(cx.now().mono, peer) {
            cx.send(peer, Message::Who);
        }
    }

    pub(super) fn on_state(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, rows: &Updates, ask: bool) {
        let now = cx.now().mono;
        self.met_at.get_or_insert(now);
        self.learn_all(cx, from, rows, Source::Exchange);
        if ask {
            self.tell_all(cx, from);
        }
    }

    /// Whether this node is so new that what it is told is no news to anybody.
    pub(super) fn is_fresh(&self, now: Time) -> bool {
        self.met_at.is_none_or(|at| now.since(at) < self.config.probe_period)
    }

    /// A peer's digest came in.
    pub(super) fn compare(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, digest: Digest) {
        if digest == self.table.digest() {
            self.unlike = 0;
            return;
        }
        if self.is_new() && !self.leaving {
            self.ask_all(cx, from);
        }
        if !self.queue.is_empty() {
            return;
        }
        self.unlike = self.unlike.saturating_add(1);
        if self.unlike >= UNLIKE_MAX {
            self.reconcile(cx, from);
        }
    }

    /// Has the peer compare its buckets with ours: with one peer a period, or else once the digests differ again.
    pub(super) fn reconcile(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        let now = cx.now().mono;
        if self.compared_at.is_some_and(|at| now.since(at) < self.config.probe_period) {
            self.unlike = UNLIKE_MAX;
            return;
        }
        (self.unlike, self.compared_at) = (0, Some(now));
        reachable!("membership/buckets-compared");
        cx.send(peer, Message::Buckets { sums: Box::new(*self.table.sums()) });
    }

    pub(super) fn on_buckets(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, sums: &[u64; 64]) {
        let differing = sums.iter().zip(self.table.sums()).enumerate().filter(|(_, (theirs, ours))| theirs != ours);
        let mask = differing.fold(0, |mask, (bucket, _)| mask | 1 << bucket);
        let now = cx.now().mono;
        let period_over = now.since(self.diffs_since) >= self.config.probe_period;
        if period_over {
            (self.diffs_since, self.diffs) = (now, 0);
        }
        if mask != 0 && self.diffs < Self::DIFFS_MAX {
            self.diffs += 1;
            self.send_diff(cx, from, mask, &Updates::default(), true);
        }
    }

    /// Answers to differing buckets in one period: a peer that asks for ever must not make us send for ever.
    const DIFFS_MAX: u32 = 16;

    pub(super) fn on_diff(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, buckets: u64, rows: &Updates, ask: bool) {
        self.learn_all(cx, from, rows, Source::Exchange);
        if ask {
            self.send_diff(cx, from, buckets, rows, false);
        }
    }

    /// Sends our members of these buckets, without those that the peer just sent alike.
    fn send_diff(&self, cx: &mut Cx<'_, Self>, to: NodeId, buckets: u64, alike: &Updates, ask: bool) {
        let now = cx.now().mono;
        let theirs: BTreeMap<NodeId, _> = alike.as_slice().iter().map(|update| (update.id, update.rank())).collect();
        let known = |update: &Update| theirs.get(&update.id) == Some(&update.rank());
        let rows = self.table.in_buckets(buckets).filter_map(|entry| {
            let update = entry.update(now, true, self.kept(entry.claim));
            (!known(&update)).then(|| (entry.cost(true), update))
        });
        let mut chunks = chunked(rows);
        let last = chunks.pop().unwrap_or_default();
        for rows in chunks {
            cx.send(to, Message::Diff { buckets, rows, ask: false });
        }
        if ask || !last.as_slice().is_empty() {
            cx.send(to, Message::Diff { buckets, rows: last, ask });
        }
    }

    /// A tick to ping the dead runs while there is one that a link leads to; the overlay dials the others.
    pub(super) fn arm_reconnect(&mut self, cx: &mut Cx<'_, Self>) {
        if !self.reconnect_armed && !self.table.undead.is_empty() {
            self.reconnect_armed = true;
            let half = self.config.reconnect_period / 2;
            let jitter = cx.rng().below(u64::try_from(half.as_nanos()).unwrap_or(u64::MAX));
            cx.arm(Timer::Reconnect, half + std::time::Duration::from_nanos(jitter));
        }
    }

    pub(super) fn on_reconnect_due(&mut self, cx: &mut Cx<'_, Self>) {
        self.reconnect_armed = false;
        if let Some(slot) = self.table.undead.draw(cx.rng()) {
            self.nudge(cx, slot);
        }
        self.arm_reconnect(cx);
    }

    /// Says goodbye to everybody linked.
    pub(super) fn say_goodbye(&mut self, cx: &mut Cx<'_, Self>) {
        let now = cx.now().mono;
        let goodbye = self.update(Slot::ME, now, true);
        debug_assert_eq!(goodbye.state, State::Left);
        reachable!("membership/goodbye-said");
        let linked: Vec<NodeId> =
            self.table.entries().filter(|entry| entry.linked).map(|entry| entry.member.id).collect();
        for peer in linked {
            cx.send(peer, Message::Gossip { gossip: Updates(vec![goodbye.clone()]) });
        }
    }
}

/// Cuts rows with their costs into messages.
fn chunked(rows: impl Iterator<Item = (usize, Update)>) -> Vec<Updates> {
    let (mut chunks, mut chunk, mut bytes) = (Vec::new(), Vec::new(), 0);
    for (cost, row) in rows {
        if bytes + cost > CHUNK_MAX || chunk.len() == Updates::LEN_MAX {
            chunks.push(Updates(std::mem::take(&mut chunk)));
            bytes = 0;
        }
        bytes += cost;
        chunk.push(row);
    }
    chunks.push(Updates(chunk));
    chunks
}

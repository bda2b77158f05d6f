//! Whole views: exchanged when somebody comes or comes back, and compared by an 8-byte digest on every ping and ack. Views
//! that differ although there is nothing fresh are compared bucket by bucket, and only what differs is sent.

use super::evidence::Source;
use super::message::{Message, Update, Updates};
use super::{Membership, State, Timer};
use crate::machine::Cx;
use crate::types::{Digest, NodeId, Time};

/// Most bytes of members in one message: a control frame holds 64 KiB.
const CHUNK_MAX: usize = 48 << 10;
/// So many digests in a row that differ although we have nothing fresh are no news under way, but a gap.
const UNLIKE_MAX: u8 = 3;

impl Membership {
    /// Sends all that we know, unless this peer was just told; and asks for the same.
    pub(super) fn exchange(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId, ask: bool) {
        let now = cx.now().mono;
        let Some(link) = self.links.get_mut(&peer) else { return };
        if link.told_at.is_some_and(|at| now.since(at) < self.config.probe_period) {
            return;
        }
        (link.told_at, link.told_to) = (Some(now), self.queue.last());
        let rows =
            self.table.entries().map(|entry| (entry.cost(true), entry.update(now, true, self.kept(entry.claim))));
        let mut chunks = chunked(rows);
        let last = chunks.pop().unwrap_or_default();
        for rows in chunks {
            cx.send(peer, Message::State { rows, ask: false });
        }
        cx.send(peer, Message::State { rows: last, ask });
    }

    pub(super) fn on_state(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, rows: &Updates, ask: bool) {
        let now = cx.now().mono;
        self.met_at.get_or_insert(now);
        self.learn_all(cx, from, rows, Source::Exchange);
        if ask {
            self.exchange(cx, from, false);
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
        if !self.queue.is_empty() {
            return;
        }
        self.unlike = self.unlike.saturating_add(1);
        let now = cx.now().mono;
        if self.unlike >= UNLIKE_MAX && now.since(self.compared_at) >= self.config.probe_period {
            self.unlike = 0;
            self.compared_at = now;
            cx.send(from, Message::Buckets { sums: Box::new(*self.table.sums()) });
        }
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
        let known = |update: &Update| {
            let find = |theirs: &&Update| theirs.id == update.id;
            alike.as_slice().iter().find(find).is_some_and(|theirs| theirs.rank() == update.rank())
        };
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
        let goodbye = self.update(super::table::Slot::ME, now, true);
        debug_assert_eq!(goodbye.state, State::Left);
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

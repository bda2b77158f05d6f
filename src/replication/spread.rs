//! What became durable here spreads: pushed to eager neighbours, announced to lazy ones.

use std::collections::BTreeMap;
use std::time::Duration;

use super::message::{Have, LINES_MAX, Message};
use super::peer::Mode;
use super::{Replication, Timer};
use crate::machine::Cx;
use crate::types::{NodeId, Seq};

/// A lazy neighbour is offered what is caught up on once in so long: who lacks it too asks for it then.
const OFFER_AGAIN: Duration = Duration::from_secs(1);

impl Replication {
    /// An entry of this log became durable.
    pub(super) fn spread(&mut self, cx: &mut Cx<'_, Self>, at: usize, weight: usize, backlog: bool) {
        let now = cx.now().mono;
        let log = self.logs.get(at);
        let offered = log.offered();
        let (mut lazy, mut offers) = (false, false);
        let mut eager = Vec::with_capacity(self.peers.len());
        for (id, peer) in &mut self.peers {
            let edge = peer.edge(at);
            if edge.known >= offered {
                continue;
            }
            if peer.is_eager(at, log) && edge.cursor < offered {
                if backlog && edge.mode != Mode::Grafted {
                    peer.edge_mut(at).mode = Mode::Lazy;
                    offers |= self.offers.is_empty();
                    self.offers.entry(*id).or_default().insert(at);
                    continue;
                }
                if backlog {
                    peer.edge_mut(at).backlog = offered;
                }
                peer.gather(at, 1, weight);
                eager.push(*id);
            }
            let is_lazy = peer.is_lazy(at, log);
            lazy |= is_lazy;
            if backlog && is_lazy && edge.offered_at.is_none_or(|before| now.since(before) >= OFFER_AGAIN) {
                peer.edge_mut(at).offered_at = Some(now);
                offers |= self.offers.is_empty();
                self.offers.entry(*id).or_default().insert(at);
            }
        }
        if offers {
            cx.arm(Timer::Offer, self.config.batch_timeout);
        }
        if lazy {
            self.announce(cx, at);
        }
        for peer in eager {
            self.pump(cx, peer);
        }
    }

    /// Lazy neighbours are to hear of this log.
    pub(super) fn announce(&mut self, cx: &mut Cx<'_, Self>, at: usize) {
        if self.unannounced.is_empty() {
            cx.arm(Timer::Announce, self.config.announce);
        }
        self.unannounced.insert(at);
    }

    /// Tells some lazy neighbours of each log how far it is held. Not all: in a full mesh of n, n announcements of each entry
    /// would outweigh the entry, and a few suffice to notice a parent that fell silent.
    pub(super) fn on_announce(&mut self, cx: &mut Cx<'_, Self>) {
        let mut lines: BTreeMap<NodeId, Vec<Have>> = BTreeMap::new();
        for at in std::mem::take(&mut self.unannounced) {
            let log = self.logs.get(at);
            let last = log.offered();
            let unaware = |(_, peer): &(&NodeId, &super::Peer)| peer.is_lazy(at, log) && peer.edge(at).known < last;
            let mut peers: Vec<NodeId> = self.peers.iter().filter(unaware).map(|(id, _)| *id).collect();
            cx.rng().shuffle(&mut peers);
            for peer in peers.into_iter().take(self.config.announce_fanout) {
                let log = self.peers[&peer].log_name(&self.logs, at);
                lines.entry(peer).or_default().push(Have { log, last: Seq::new(last) });
            }
        }
        for (peer, lines) in lines {
            for lines in lines.chunks(LINES_MAX) {
                cx.send(peer, Message::Have(lines.to_vec()));
            }
        }
    }

    /// Offers what we catch up on to whoever may lack it too.
    pub(super) fn on_offer_due(&mut self, cx: &mut Cx<'_, Self>) {
        for (id, logs) in std::mem::take(&mut self.offers) {
            let Some(peer) = self.peers.get(&id) else { continue };
            let unaware = |at: &usize| peer.edge(*at).known < self.logs.get(*at).offered();
            let line = |at| Have { log: peer.log_name(&self.logs, at), last: Seq::new(self.logs.get(at).offered()) };
            let lines: Vec<Have> = logs.into_iter().filter(unaware).map(line).collect();
            for lines in lines.chunks(LINES_MAX) {
                cx.send(id, Message::Offer(lines.to_vec()));
            }
        }
    }
}

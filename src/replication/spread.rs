//! What became durable here spreads: pushed to eager neighbours, announced to lazy ones.

use std::collections::BTreeMap;

use super::message::{Have, LINES_MAX, Message, Name};
use super::{Replication, Timer};
use crate::machine::Cx;
use crate::types::{NodeId, Seq};

impl Replication {
    /// An entry of this log became durable.
    pub(super) fn spread(&mut self, cx: &mut Cx<'_, Self>, at: usize, weight: usize) {
        let log = self.logs.get(at);
        let offered = log.offered();
        let mut lazy = false;
        let mut eager = Vec::with_capacity(self.peers.len());
        for (id, peer) in &mut self.peers {
            let edge = peer.edge(at);
            if edge.known >= offered {
                continue;
            }
            if peer.is_eager(at, log) && edge.cursor < offered {
                peer.gather(at, 1, weight);
                eager.push(*id);
            }
            lazy |= peer.is_lazy(at, log);
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
            let (id, last) = (log.id, log.offered());
            let unaware = |(_, peer): &(&NodeId, &super::Peer)| peer.is_lazy(at, log) && peer.edge(at).known < last;
            let mut peers: Vec<NodeId> = self.peers.iter().filter(unaware).map(|(id, _)| *id).collect();
            cx.rng().shuffle(&mut peers);
            for peer in peers.into_iter().take(self.config.announce_fanout) {
                let holds_some = self.peers[&peer].edge(at).known > 0;
                let log = holds_some.then(|| self.logs.tag(at)).flatten().unwrap_or(Name::Id(id));
                lines.entry(peer).or_default().push(Have { log, last: Seq::new(last) });
            }
        }
        for (peer, lines) in lines {
            for lines in lines.chunks(LINES_MAX) {
                cx.send(peer, Message::Have(lines.to_vec()));
            }
        }
    }
}

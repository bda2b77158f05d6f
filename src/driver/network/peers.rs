//! Which connections lead to whom, and which of two to keep.
//!
//! Simultaneous dials always leave two connections (measured: 180 of 180). Both ends must keep the same one, without asking
//! each other; so the choice depends only on what both know: the peer's life, the way, who dialled, and the dialler's own count
//! of its dials. **The later life wins; then the better way; then the dial of the lower peer id; then the later dial.** The
//! loser is kept
//! for a second, so that frames in flight arrive and the other end can come to the same choice. An earlier life's connection
//! is not kept, though: the link of one life must be told gone before the next life's begins.

use std::collections::BTreeMap;
use std::sync::Arc;

use libp2p::identity::PeerId;
use libp2p::swarm::ConnectionId;

use super::handle::Linked;
use super::way::Way;
use crate::types::{Boot, NodeId};

/// What both ends of a connection know of it; the greater one is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// The peer's life, which is newer if it has restarted.
    pub(super) boot: Boot,
    /// How the connection runs.
    pub(super) way: Way,
    /// Whether the lower of both peer ids dialled.
    pub(super) by_lower: bool,
    /// The dialler's count of its dials.
    pub(super) attempt: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The lanes are being opened.
    Opening,
    /// The lanes are open.
    Open,
    /// The lanes are open; an earlier life's connection must end before it is used.
    Next,
    /// Another connection has taken over.
    Retired,
}

#[derive(Debug)]
struct Known {
    connection: ConnectionId,
    rank: Rank,
    stage: Stage,
}

/// The connections of one node.
#[derive(Debug)]
struct Entry {
    peer_id: PeerId,
    connections: Vec<Known>,
    /// The connection in use.
    active: Option<ConnectionId>,
    /// The link that was told, and the peer's life that it is with.
    link: Option<(Arc<Linked>, Boot)>,
    /// The life whose link one end has closed, and why: until all of it has ended, no further connection takes its place.
    closing: Option<(Boot, Arc<str>)>,
}

/// What to do about a connection whose ends have let each other in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Open its lanes, and close these of an earlier life.
    Proceed { superseded: Vec<ConnectionId> },
    /// There is a better one.
    Duplicate,
    /// Its node id is in use by another transport key.
    Taken,
    /// The link to its node is being closed: this end of it, which came later, is closed as well.
    Closing(Arc<str>),
}

/// What to do about a connection whose lanes are open.
#[derive(Debug)]
pub(super) enum Opening {
    /// It is the first: a link begins.
    First,
    /// It takes over the link from the other.
    TakesOver { linked: Arc<Linked>, retired: ConnectionId },
    /// Nothing is in use, but the link was not yet told gone: it goes on.
    GoesOn { linked: Arc<Linked> },
    /// It is used as soon as the earlier life's connection has ended.
    Waits,
    /// There is a better one already.
    Duplicate,
}

/// What the end of a connection means.
#[derive(Debug)]
pub(super) enum Ending {
    /// Nothing for the node: others are left.
    OthersLeft,
    /// The connection in use has ended; these, which were retired, must end before the link is told gone.
    CloseRetired(Vec<ConnectionId>),
    /// The link's life is over; a connection of the next life is left, and perhaps this one is open already.
    LifeOver { next: Option<ConnectionId> },
    /// No connection to this node is left; it was linked, or not.
    Last { was_linked: bool },
}

/// All nodes with connections.
#[derive(Debug, Default)]
pub(super) struct Peers {
    entries: BTreeMap<NodeId, Entry>,
    by_connection: BTreeMap<ConnectionId, NodeId>,
}

impl Peers {
    pub(super) fn node_of(&self, connection: ConnectionId) -> Option<NodeId> {
        self.by_connection.get(&connection).copied()
    }

    pub(super) fn is_linked(&self, node: NodeId) -> bool {
        self.entries.get(&node).is_some_and(|entry| entry.link.is_some())
    }

    /// Whether there is a connection to this node, linked or on the way.
    pub(super) fn is_reached(&self, node: NodeId) -> bool {
        self.entries.contains_key(&node)
    }

    /// The node with this transport id, if there is a connection to it.
    pub(super) fn reached_as(&self, peer_id: PeerId) -> Option<NodeId> {
        self.entries.iter().find(|(_, entry)| entry.peer_id == peer_id).map(|(node, _)| *node)
    }

    pub(super) fn connections_of(&self, node: NodeId) -> Vec<ConnectionId> {
        let known = self.entries.get(&node).into_iter().flat_map(|entry| &entry.connections);
        known.map(|known| known.connection).collect()
    }

    /// One end closes the link to this life of a node, or to whichever lives: the connections that must end for it to be gone.
    /// The other of two dials at once, let in only now, would otherwise take the link over at one end, which would never be
    /// told that it was gone.
    pub(super) fn close(&mut self, node: NodeId, life: Option<Boot>, why: &Arc<str>) -> Vec<ConnectionId> {
        let Some(entry) = self.entries.get_mut(&node) else { return Vec::new() };
        let latest = entry.connections.iter().map(|known| known.rank.boot).max();
        let Some(life) = life.or(latest) else { return Vec::new() };
        // What closes an earlier life, and comes late, opens nothing of a later one.
        if entry.closing.as_ref().is_none_or(|(closing, _)| *closing <= life) {
            entry.closing = Some((life, Arc::clone(why)));
        }
        entry.connections.iter().filter(|known| known.rank.boot <= life).map(|known| known.connection).collect()
    }

    /// The life of the peer at the other end.
    pub(super) fn life_of(&self, connection: ConnectionId) -> Option<Boot> {
        let entry = self.entries.get(self.by_connection.get(&connection)?)?;
        entry.connections.iter().find(|known| known.connection == connection).map(|known| known.rank.boot)
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.entries.keys().copied()
    }

    /// The connections in use, and with whom.
    pub(super) fn active(&self) -> impl Iterator<Item = (NodeId, ConnectionId)> {
        self.entries.iter().filter_map(|(node, entry)| Some((*node, entry.active?)))
    }

    pub(super) fn admitted(&mut self, connection: ConnectionId, node: NodeId, peer_id: PeerId, rank: Rank) -> Verdict {
        let entry = self.entries.entry(node).or_insert_with(|| Entry {
            peer_id,
            connections: Vec::new(),
            active: None,
            link: None,
            closing: None,
        });
        if entry.peer_id != peer_id {
            return Verdict::Taken;
        }
        if let Some((boot, why)) = &entry.closing
            && rank.boot <= *boot
        {
            return Verdict::Closing(Arc::clone(why));
        }
        // Better ones that are still opening count too: the other end sees them as well.
        let mut rivals = entry.connections.iter().filter(|known| known.stage != Stage::Retired);
        if rivals.any(|known| known.rank > rank) {
            return Verdict::Duplicate;
        }
        let earlier = entry.connections.iter().filter(|known| known.rank.boot < rank.boot);
        let superseded = earlier.map(|known| known.connection).collect();
        entry.connections.push(Known { connection, rank, stage: Stage::Opening });
        self.by_connection.insert(connection, node);
        Verdict::Proceed { superseded }
    }

    pub(super) fn open(&mut self, connection: ConnectionId) -> Option<(NodeId, Opening)> {
        let node = self.node_of(connection)?;
        let entry = self.entries.get_mut(&node)?;
        let at = entry.connections.iter().position(|known| known.connection == connection)?;
        let rank = entry.connections[at].rank;
        let in_use = entry.connections.iter().position(|known| Some(known.connection) == entry.active);
        if in_use.is_some_and(|in_use| entry.connections[in_use].rank > rank) {
            entry.connections[at].stage = Stage::Retired;
            return Some((node, Opening::Duplicate));
        }
        if let Some((_, boot)) = entry.link
            && boot != rank.boot
        {
            // Of the later life, or else there would be a better one.
            entry.connections[at].stage = Stage::Next;
            return Some((node, Opening::Waits));
        }
        entry.connections[at].stage = Stage::Open;
        entry.active = Some(connection);
        let opening = match (in_use, &entry.link) {
            (Some(in_use), Some((linked, _))) => {
                entry.connections[in_use].stage = Stage::Retired;
                Opening::TakesOver { linked: Arc::clone(linked), retired: entry.connections[in_use].connection }
            }
            (None, Some((linked, _))) => Opening::GoesOn { linked: Arc::clone(linked) },
            (_, None) => Opening::First,
        };
        Some((node, opening))
    }

    /// The link that is told now runs over this connection.
    pub(super) fn set_linked(&mut self, connection: ConnectionId, linked: Arc<Linked>) {
        let node = self.by_connection.get(&connection);
        if let Some(entry) = node.and_then(|node| self.entries.get_mut(node))
            && let Some(known) = entry.connections.iter().find(|known| known.connection == connection)
        {
            entry.link = Some((linked, known.rank.boot));
        }
    }

    pub(super) fn ended(&mut self, connection: ConnectionId) -> Option<(NodeId, Ending)> {
        let node = self.by_connection.remove(&connection)?;
        let entry = self.entries.get_mut(&node)?;
        entry.connections.retain(|known| known.connection != connection);
        if entry.active == Some(connection) {
            entry.active = None;
        }
        if entry.connections.is_empty() {
            let was_linked = entry.link.is_some();
            self.entries.remove(&node);
            return Some((node, Ending::Last { was_linked }));
        }
        let ending = entry.after_one_ended();
        Some((node, ending))
    }
}

impl Entry {
    fn after_one_ended(&mut self) -> Ending {
        let Some((_, boot)) = self.link else { return Ending::OthersLeft };
        if !self.connections.iter().any(|known| known.rank.boot == boot) {
            self.link = None;
            let waiting = self.connections.iter_mut().filter(|known| known.stage == Stage::Next);
            let next = waiting.max_by_key(|known| known.rank).map(|known| {
                known.stage = Stage::Open;
                known.connection
            });
            self.active = next;
            return Ending::LifeOver { next };
        }
        let of_life = self.connections.iter().filter(|known| known.rank.boot == boot);
        if self.active.is_some() || of_life.clone().any(|known| known.stage != Stage::Retired) {
            return Ending::OthersLeft;
        }
        Ending::CloseRetired(of_life.map(|known| known.connection).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::admission::key::SecretKey;

    const NODE: NodeId = NodeId::from_u128(1);

    fn rank(boot: u64, by_lower: bool, attempt: u64) -> Rank {
        Rank { boot: Boot::new(boot), way: Way::Tcp, by_lower, attempt }
    }

    fn connection(raw: usize) -> ConnectionId {
        ConnectionId::new_unchecked(raw)
    }

    fn peer() -> PeerId {
        SecretKey::mint().public().peer_id().unwrap()
    }

    #[test]
    fn the_later_life_wins_then_the_way_then_the_lower_peers_dial_then_the_later_dial() {
        assert!(rank(2, false, 0) > rank(1, true, 9));
        let by = |way, rank: Rank| Rank { way, ..rank };
        assert!(by(Way::Relayed, rank(2, false, 0)) > rank(1, true, 9));
        assert!(by(Way::Tcp, rank(1, false, 0)) > by(Way::Quic, rank(1, true, 9)));
        assert!(by(Way::Quic, rank(1, false, 0)) > by(Way::Relayed, rank(1, true, 9)));
        assert!(rank(1, true, 0) > rank(1, false, 9));
        assert!(rank(1, true, 2) > rank(1, true, 1));
    }

    #[test]
    fn both_ends_keep_the_same_connection_in_whatever_order_they_see_them() {
        let ranks = [rank(1, false, 1), rank(1, false, 2), rank(1, true, 1), rank(1, true, 2)];
        for first in 0..ranks.len() {
            for second in (0..ranks.len()).filter(|second| *second != first) {
                let (mut peers, peer_id) = (Peers::default(), peer());
                for at in [first, second] {
                    peers.admitted(connection(at), NODE, peer_id, ranks[at]);
                    peers.open(connection(at));
                }
                assert_eq!(peers.active().collect::<Vec<_>>(), vec![(NODE, connection(first.max(second)))]);
            }
        }
    }

    #[test]
    fn a_node_id_belongs_to_one_transport_key() {
        let mut peers = Peers::default();
        let proceed = Verdict::Proceed { superseded: vec![] };
        assert_eq!(peers.admitted(connection(1), NODE, peer(), rank(1, true, 1)), proceed);
        assert_eq!(peers.admitted(connection(2), NODE, peer(), rank(9, true, 9)), Verdict::Taken);
        assert_eq!(peers.node_of(connection(2)), None);
    }

    #[test]
    fn the_next_life_waits_until_the_last_one_is_told_gone() {
        let (mut peers, peer_id) = (Peers::default(), peer());
        peers.admitted(connection(1), NODE, peer_id, rank(1, true, 1));
        assert!(matches!(peers.open(connection(1)), Some((NODE, Opening::First))));
        peers.set_linked(connection(1), linked(peer_id));
        let verdict = peers.admitted(connection(2), NODE, peer_id, rank(2, false, 1));
        assert_eq!(verdict, Verdict::Proceed { superseded: vec![connection(1)] });
        assert!(matches!(peers.open(connection(2)), Some((NODE, Opening::Waits))));
        let old = peers.admitted(connection(3), NODE, peer_id, rank(1, true, 9));
        assert_eq!(old, Verdict::Duplicate, "an earlier life does not come back");
        let ending = peers.ended(connection(1));
        assert!(matches!(ending, Some((NODE, Ending::LifeOver { next: Some(next) })) if next == connection(2)));
        assert_eq!(peers.active().collect::<Vec<_>>(), vec![(NODE, connection(2))]);
    }

    #[test]
    fn a_life_that_ends_before_the_next_one_is_open_is_told_gone_too() {
        let (mut peers, peer_id) = (Peers::default(), peer());
        peers.admitted(connection(1), NODE, peer_id, rank(1, true, 1));
        peers.open(connection(1));
        peers.set_linked(connection(1), linked(peer_id));
        peers.admitted(connection(2), NODE, peer_id, rank(2, false, 1));
        assert!(matches!(peers.ended(connection(1)), Some((NODE, Ending::LifeOver { next: None }))));
        assert!(matches!(peers.open(connection(2)), Some((NODE, Opening::First))));
    }

    #[test]
    fn a_link_that_is_being_closed_is_not_taken_over_by_the_other_of_two_dials() {
        let (mut peers, peer_id) = (Peers::default(), peer());
        peers.admitted(connection(1), NODE, peer_id, rank(1, false, 1));
        peers.open(connection(1));
        peers.set_linked(connection(1), linked(peer_id));
        let why: Arc<str> = "enough".into();
        assert_eq!(peers.close(NODE, None, &why), vec![connection(1)]);
        let better = peers.admitted(connection(2), NODE, peer_id, rank(1, true, 1));
        assert_eq!(better, Verdict::Closing(why));
        assert!(matches!(peers.ended(connection(1)), Some((NODE, Ending::Last { was_linked: true }))));
        let proceed = Verdict::Proceed { superseded: vec![] };
        assert_eq!(peers.admitted(connection(3), NODE, peer_id, rank(1, true, 2)), proceed, "closed is not for ever");
        peers.close(NODE, None, &"again".into());
        let later = peers.admitted(connection(4), NODE, peer_id, rank(2, true, 1));
        assert_eq!(later, Verdict::Proceed { superseded: vec![connection(3)] }, "the next life's link is another");
        assert_eq!(peers.life_of(connection(4)), Some(Boot::new(2)));
        assert_eq!(peers.close(NODE, Some(Boot::new(1)), &"late".into()), vec![connection(3)]);
        peers.close(NODE, Some(Boot::new(2)), &"the next".into());
        peers.close(NODE, Some(Boot::new(1)), &"later still".into());
        let again = peers.admitted(connection(5), NODE, peer_id, rank(2, true, 2));
        assert_eq!(again, Verdict::Closing("the next".into()), "what closes an earlier life opens nothing");
    }

    fn linked(peer_id: PeerId) -> Arc<Linked> {
        let path = super::super::handle::Path {
            address: "/ip4/192.0.2.1/tcp/1".parse().unwrap(),
            dialled: true,
            way: Way::Tcp,
        };
        Arc::new(Linked::new(peer_id, path, &super::super::limit::Limits::default()))
    }

    #[test]
    fn a_link_is_gone_only_when_its_last_connection_is() {
        let (mut peers, peer_id) = (Peers::default(), peer());
        for raw in [1, 2] {
            peers.admitted(connection(raw), NODE, peer_id, rank(1, true, u64::try_from(raw).unwrap()));
            peers.open(connection(raw));
            peers.set_linked(connection(raw), linked(peer_id));
        }
        match peers.ended(connection(2)) {
            Some((NODE, Ending::CloseRetired(retired))) => assert_eq!(retired, vec![connection(1)]),
            other => panic!("{other:?}"),
        }
        assert!(peers.is_reached(NODE));
        assert!(matches!(peers.ended(connection(1)), Some((NODE, Ending::Last { was_linked: true }))));
        assert!(!peers.is_reached(NODE));
        assert!(peers.ended(connection(1)).is_none());
    }
}

//! Why there is no link with somebody: kept for the person who looks, forgotten when the link is there.
//!
//! Only what this peer dialled itself, and members that showed a good ticket, have a place here: strangers are counted and
//! logged, so that they cannot push out what matters.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use libp2p::Multiaddr;
use libp2p::identity::PeerId;
use serde::Serialize;

use super::dial::{Key, Target};
use crate::config::Differences;
use crate::driver::admission::Refusal;
use crate::types::{NodeId, TimelineId};

/// Most entries; beyond, those that were not tried for longest go.
const TROUBLES_MAX: usize = 256;
/// What was not tried again for so long is over: every candidate is tried more often.
const KEPT: Duration = Duration::from_mins(15);

/// Somebody with whom there is no link though one was tried, for people and metrics.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NotLinked {
    /// Who, if that is known.
    pub node: Option<NodeId>,
    /// Its name, as its ticket has it.
    pub name: Option<String>,
    /// Where it was tried, or where it came from.
    pub address: Option<String>,
    /// Whether one end refused the other; otherwise there was no connection, or it broke.
    pub refused: bool,
    /// Why.
    pub why: String,
    /// What must be alike in the configurations and is not.
    pub differs: Differences,
    /// On which timelines both are, if they are on different ones: this peer's, then the other's.
    pub timelines: Option<(TimelineId, TimelineId)>,
    /// Seconds since the first attempt that failed.
    pub since_s: u64,
    /// Seconds since the last one.
    pub last_s: u64,
    /// Attempts that failed.
    pub times: u64,
}

/// Names an entry: as closely as the other is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whom {
    Peer(PeerId),
    Node(NodeId),
    Address(Multiaddr),
}

impl Whom {
    /// Who is meant by a dial.
    pub(super) fn dialled(key: &Key, target: &Target) -> Self {
        match (key, target.peer) {
            (Key::Asked(node) | Key::Remembered(node), _) => Self::Node(*node),
            (Key::Found(peer), _) => Self::Peer(*peer),
            (Key::Bootstrap(_), Some(peer)) => Self::Peer(peer),
            (Key::Bootstrap(address), None) => Self::Address(address.clone()),
        }
    }

    pub(super) const fn node(&self) -> Option<NodeId> {
        match self {
            Self::Node(node) => Some(*node),
            Self::Peer(_) | Self::Address(_) => None,
        }
    }
}

/// One failed attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt<'a> {
    /// Who was meant, or who showed a good ticket.
    pub(super) node: Option<NodeId>,
    pub(super) name: Option<&'a str>,
    pub(super) address: Option<&'a Multiaddr>,
    /// Set when one end refused the other.
    pub(super) refusal: Option<&'a Refusal>,
    pub(super) why: &'a str,
}

#[derive(Debug)]
struct Trouble {
    node: Option<NodeId>,
    name: Option<String>,
    address: Option<Multiaddr>,
    refused: bool,
    why: String,
    differs: Differences,
    timelines: Option<(TimelineId, TimelineId)>,
    since: Instant,
    last: Instant,
    times: u64,
}

/// All that is not linked.
#[derive(Debug, Default)]
pub(super) struct Troubles(BTreeMap<Whom, Trouble>);

impl Troubles {
    /// Notes an attempt; `false` when the last one failed in the same way, so that it need not be told again.
    pub(super) fn note(&mut self, whom: Whom, attempt: &Attempt<'_>, now: Instant) -> bool {
        let differs = match attempt.refusal {
            Some(Refusal::Differs(differences)) => differences.clone(),
            _ => Differences::default(),
        };
        let timelines = match attempt.refusal {
            Some(Refusal::OtherTimeline { here, there, .. } | Refusal::ForkedTimeline { here, there }) => {
                Some((*here, *there))
            }
            _ => None,
        };
        let (since, times) = self.0.get(&whom).map_or((now, 0), |known| (known.since, known.times));
        let known = Trouble {
            node: attempt.node.or_else(|| self.0.get(&whom)?.node),
            name: attempt.name.map(str::to_owned).or_else(|| self.0.get(&whom)?.name.clone()),
            address: attempt.address.cloned(),
            refused: attempt.refusal.is_some(),
            why: attempt.why.to_owned(),
            differs,
            timelines,
            since,
            last: now,
            times: times + 1,
        };
        if !self.0.contains_key(&whom) && self.0.len() >= TROUBLES_MAX {
            let oldest = self.0.iter().min_by_key(|(_, trouble)| trouble.last).map(|(whom, _)| whom.clone());
            oldest.map(|whom| self.0.remove(&whom));
        }
        let news = self.0.get(&whom).is_none_or(|before| before.why != known.why);
        self.0.insert(whom, known);
        news
    }

    /// This one was reached after all, or is known by a closer name.
    pub(super) fn over(&mut self, whom: &Whom) {
        self.0.remove(whom);
    }

    /// There is a link with this node.
    pub(super) fn linked(&mut self, node: NodeId, peer: PeerId) {
        self.0.retain(|whom, trouble| trouble.node != Some(node) && *whom != Whom::Peer(peer));
    }

    /// What is not over, refusals first, then by who was tried last.
    pub(super) fn list(&self, now: Instant) -> Vec<NotLinked> {
        let age = |at: Instant| now.saturating_duration_since(at);
        let mut troubles: Vec<&Trouble> = self.0.values().filter(|trouble| age(trouble.last) < KEPT).collect();
        troubles.sort_by_key(|trouble| (!trouble.refused, age(trouble.last)));
        troubles.into_iter().map(|trouble| trouble.told(age(trouble.since), age(trouble.last))).collect()
    }
}

impl Trouble {
    fn told(&self, since: Duration, last: Duration) -> NotLinked {
        NotLinked {
            node: self.node,
            name: self.name.clone(),
            address: self.address.as_ref().map(ToString::to_string),
            refused: self.refused,
            why: self.why.clone(),
            differs: self.differs.clone(),
            timelines: self.timelines,
            since_s: since.as_secs(),
            last_s: last.as_secs(),
            times: self.times,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::admission::key::SecretKey;

    const NODE: NodeId = NodeId::from_u128(1);

    fn peer() -> PeerId {
        SecretKey::mint().public().peer_id().unwrap()
    }

    fn unreachable(why: &str) -> Attempt<'_> {
        Attempt { node: Some(NODE), name: None, address: None, refusal: None, why }
    }

    #[test]
    fn the_same_failure_is_news_once_and_counted() {
        let (mut troubles, now) = (Troubles::default(), Instant::now());
        assert!(troubles.note(Whom::Node(NODE), &unreachable("no route"), now));
        assert!(!troubles.note(Whom::Node(NODE), &unreachable("no route"), now + Duration::from_secs(5)));
        assert!(troubles.note(Whom::Node(NODE), &unreachable("refused"), now + Duration::from_secs(6)));
        let told = &troubles.list(now + Duration::from_secs(10))[0];
        assert_eq!((told.node, told.why.as_str(), told.times), (Some(NODE), "refused", 3));
        assert_eq!((told.since_s, told.last_s), (10, 4));
    }

    #[test]
    fn a_link_ends_all_troubles_with_its_node() {
        let (mut troubles, now, peer_id) = (Troubles::default(), Instant::now(), peer());
        let refused = Attempt { refusal: Some(&Refusal::Full), ..unreachable("full") };
        troubles.note(Whom::Peer(peer_id), &refused, now);
        troubles.note(Whom::Node(NODE), &unreachable("no route"), now);
        troubles.note(Whom::Peer(peer()), &Attempt { node: None, ..unreachable("another") }, now);
        let told: Vec<(bool, String)> = troubles.list(now).into_iter().map(|told| (told.refused, told.why)).collect();
        assert_eq!(told[0], (true, "full".into()), "{told:?}");
        troubles.linked(NODE, peer_id);
        assert_eq!(troubles.list(now).len(), 1);
    }

    #[test]
    fn what_is_not_tried_any_more_is_over_and_the_table_is_bounded() {
        let (mut troubles, now) = (Troubles::default(), Instant::now());
        for raw in 0..300 {
            let whom = Whom::Node(NodeId::from_u128(raw));
            troubles.note(whom, &unreachable("no route"), now + Duration::from_secs(u64::try_from(raw).unwrap()));
        }
        assert_eq!(troubles.0.len(), TROUBLES_MAX);
        assert!(!troubles.0.contains_key(&Whom::Node(NodeId::from_u128(0))), "the oldest has gone");
        assert_eq!(troubles.list(now + Duration::from_secs(299) + KEPT).len(), 0);
    }
}

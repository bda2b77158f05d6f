//! Places at members that relay, for a peer that nobody can dial.
//!
//! A member that relays says so on each link. A peer without an address that the whole internet can reach keeps a place at up
//! to two of them, where others reach it through `/p2p-circuit`; where a hole can be punched, a direct connection takes the
//! link over (`peers`) and the one through the relay is given up. The library holds a place as a listener and lets go of it
//! when the relay restarts: it is taken again here.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use libp2p::Multiaddr;
use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;

use super::super::way::Way;
use super::{Hub, innermost};
use crate::types::NodeId;

/// Places that a peer keeps.
const PLACES: usize = 2;
/// Pauses after a place was lost or refused.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A place at a relay, or the wish for one.
#[derive(Debug)]
struct Place {
    listener: Option<ListenerId>,
    /// When it is asked for again, if there is no listener.
    due: Instant,
    failures: u32,
}

/// All places.
#[derive(Debug, Default)]
pub(super) struct Places(BTreeMap<NodeId, Place>);

impl Places {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.0.values().filter(|place| place.listener.is_none()).map(|place| place.due).min()
    }

    fn of(&mut self, listener: ListenerId) -> Option<&mut Place> {
        self.0.values_mut().find(|place| place.listener == Some(listener))
    }

    /// A place was given.
    pub(super) fn given(&mut self, listener: ListenerId) {
        if let Some(place) = self.of(listener) {
            place.failures = 0;
        }
    }

    /// A listener has closed; `true` when it was a place.
    pub(super) fn lost(&mut self, listener: ListenerId, now: Instant) -> bool {
        let Some(place) = self.of(listener) else { return false };
        place.listener = None;
        place.due = now + PAUSE.saturating_mul(1 << place.failures.min(5)).min(PAUSE_MAX);
        place.failures = place.failures.saturating_add(1);
        true
    }
}

impl Hub {
    /// Asks for places where there is need and room for one.
    pub(super) fn seek_places(&mut self) {
        if self.is_public() {
            return;
        }
        let peers = self.shared.peers.read().expect("nobody panics while holding it");
        let relays =
            peers.iter().filter(|(_, linked)| linked.relays.load(Ordering::Acquire) && linked.is_dialled_direct());
        let wanted: Vec<NodeId> = relays.map(|(node, _)| *node).collect();
        drop(peers);
        for node in wanted {
            if self.places.0.len() < PLACES {
                let place = Place { listener: None, due: Instant::now(), failures: 0 };
                self.places.0.entry(node).or_insert(place);
            }
        }
    }

    /// Asks for the places that are due.
    pub(super) fn take_places(&mut self) {
        let now = Instant::now();
        let due = self.places.0.iter().filter(|(_, place)| place.listener.is_none() && place.due <= now);
        for node in due.map(|(node, _)| *node).collect::<Vec<_>>() {
            let Some(address) = self.place_at(node) else {
                self.places.0.remove(&node);
                continue;
            };
            let listening = self.swarm.listen_on(address.clone());
            let Some(place) = self.places.0.get_mut(&node) else { continue };
            match listening {
                Ok(listener) => place.listener = Some(listener),
                Err(error) => {
                    tracing::warn!(%address, error = innermost(&error), "cannot ask for a place at a relay");
                    place.due = now + PAUSE_MAX;
                }
            }
        }
    }

    /// The link to this relay is gone, and the place with it.
    pub(super) fn leave_place(&mut self, node: NodeId) {
        if let Some(Place { listener: Some(listener), .. }) = self.places.0.remove(&node) {
            self.swarm.remove_listener(listener);
        }
    }

    /// Where to listen for those whom this relay sends.
    fn place_at(&self, node: NodeId) -> Option<Multiaddr> {
        let peers = self.shared.peers.read().expect("nobody panics while holding it");
        let linked = peers.get(&node)?;
        let address = linked.path.lock().expect("nobody panics while holding it").address.clone();
        let whole = address.with_p2p(linked.peer_id).ok()?;
        Some(whole.with(Protocol::P2pCircuit))
    }

    /// Whether this peer has an address that the whole internet can reach, as far as it knows. IPv6 does not count: at home
    /// it is mostly behind a firewall, and many have none.
    fn is_public(&self) -> bool {
        let direct = self.listening.iter().filter(|address| Way::of(address) != Way::Relayed);
        !self.announce.is_empty()
            || direct.flat_map(Multiaddr::iter).any(|part| matches!(part, Protocol::Ip4(ip) if is_global(ip)))
    }
}

/// The ranges of RFC 6890 that a host may have and the internet does not route.
fn is_global(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    let shared = first == 100 && (64..128).contains(&second);
    let benchmarks = first == 198 && (second == 18 || second == 19);
    let no_host = ip.is_unspecified() || ip.is_broadcast() || ip.is_multicast() || ip.is_documentation();
    !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || no_host || shared || benchmarks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_homes_and_providers_are_not_global() {
        for ip in ["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "127.0.0.1", "169.254.1.1", "198.18.0.1"] {
            assert!(!is_global(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["1.1.1.1", "100.128.0.1", "198.20.0.1", "172.32.0.1"] {
            assert!(is_global(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn a_place_that_is_lost_is_asked_for_again_after_growing_pauses() {
        let (mut places, now, node) = (Places::default(), Instant::now(), NodeId::from_u128(1));
        let listener = ListenerId::next();
        places.0.insert(node, Place { listener: Some(listener), due: now, failures: 0 });
        assert_eq!(places.deadline(), None);
        for pause in [1, 2, 4, 8, 16, 30, 30] {
            assert!(places.lost(listener, now));
            assert_eq!(places.deadline(), Some(now + Duration::from_secs(pause)));
            places.0.get_mut(&node).unwrap().listener = Some(listener);
        }
        places.given(listener);
        assert!(places.lost(listener, now) && !places.lost(ListenerId::next(), now));
        assert_eq!(places.deadline(), Some(now + PAUSE));
    }
}

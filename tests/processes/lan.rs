//! Peers on one LAN that know no address of each other: each in its own network namespace, found by multicast, over IPv4 and
//! over IPv6. Needs root and `ip netns`; says so and passes where they are missing.

use std::path::Path;

use crate::harness::{Peer, Place, wait_for};
use crate::lab::Lab;

/// A peer of host `n`, which listens on every address of one family.
fn place(lab: &Lab, dir: &Path, n: usize, listen: &str) -> Place {
    let place = Place::in_namespace(dir, &format!("edge-{n}"), lab.host(n)).with("NETWORK__MDNS", "true");
    Place { listen: listen.into(), ..place }
}

/// Three peers become a mesh by invites. Then all addresses change and nobody remembers any: they find each other.
fn found_again(test: &str, listen: &str, renumber: impl Fn(&Lab, usize)) {
    let Some(lab) = Lab::build(test, &[1, 1, 1, 1]) else { return };
    let dir = tempfile::tempdir().unwrap();
    let places: Vec<Place> = (1..=3).map(|n| place(&lab, dir.path(), n, listen)).collect();
    let founder = places[0].start(None);
    let mut peers = vec![founder];
    for place in &places[1..] {
        let invite = peers[0].invite();
        peers.push(place.start(Some(&invite)));
    }
    wait_for("everybody sees everybody", || peers.iter().all(|peer| peer.members("alive") == 3));
    drop(peers);
    (1..=4).for_each(|n| renumber(&lab, n));
    for place in &places {
        // Who was met in the earlier life, if it was written already.
        let _ = std::fs::remove_file(place.data.join("peers.json"));
    }
    let stranger = place(&lab, dir.path(), 4, listen).start(None);
    let peers: Vec<Peer> = places.iter().map(|place| place.start(None)).collect();
    wait_for("they find each other", || peers.iter().all(|peer| peer.members("alive") == 3));
    for peer in &peers {
        let links = peer.ask(&["status"])["network"]["links"].clone();
        assert_eq!(links.as_array().unwrap().len(), 2, "{links}");
    }
    // Another mesh on the same LAN is found, and stays another mesh.
    wait_for("the stranger was met", || !not_linked(&stranger).is_empty());
    assert_eq!(stranger.members("alive"), 1);
    assert!(not_linked(&stranger).contains("another cluster"), "{}", not_linked(&stranger));
}

fn not_linked(peer: &Peer) -> String {
    peer.ask(&["status"])["network"]["not_linked"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["why"].to_string())
        .collect()
}

#[test]
fn peers_find_each_other_over_ipv4() {
    found_again("four", "/ip4/0.0.0.0/tcp/4747", |lab, n| {
        lab.on_host(n, &["addr", "flush", "dev", "eth0"]);
        lab.on_host(n, &["addr", "add", &format!("10.77.1.{n}/24"), "dev", "eth0"]);
    });
}

#[test]
fn peers_find_each_other_over_ipv6_alone() {
    found_again("six", "/ip6/::/tcp/4747", |lab, n| {
        lab.on_host(n, &["addr", "flush", "dev", "eth0"]);
        lab.on_host(n, &["addr", "add", &format!("fd78::{n}/64"), "dev", "eth0", "nodad"]);
    });
}

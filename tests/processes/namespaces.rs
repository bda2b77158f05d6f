//! Five peers, each in its own network namespace, cut into {1,2} and {3,4,5} while both sides edit. Needs root and `ip
//! netns`; says so and passes where they are missing.

use std::path::Path;

use serde_json::json;

use crate::harness::{Peer, Place, read, wait_for};
use crate::lab::Lab;

/// On which side of the cut each peer is.
const SITES: [usize; 5] = [1, 1, 2, 2, 2];

fn start(lab: &Lab, dir: &Path) -> Vec<Peer> {
    let place = |n: usize| Place {
        listen: format!("/ip4/{}/tcp/4747", lab.ip4(n)),
        ..Place::in_namespace(dir, &format!("edge-{n}"), lab.host(n))
    };
    let mut peers = vec![place(1).start(None)];
    for n in 2..=SITES.len() {
        let invite = peers[0].invite();
        peers.push(place(n).start(Some(&invite)));
    }
    wait_for("everybody sees everybody", || peers.iter().all(|peer| peer.members("alive") == SITES.len()));
    peers
}

/// Sets one field of a document at a peer; acknowledged means durable there.
fn edit(peer: &Peer, doc: &str, field: &str, value: usize) {
    peer.ask(&["doc", "set", doc, field, &value.to_string()]);
}

fn content(peer: &Peer) -> String {
    peer.ask(&["status"])["content"].to_string()
}

fn agreed(peers: &[Peer]) -> bool {
    peers.iter().all(|peer| content(peer) == content(&peers[0]))
}

#[test]
fn both_sides_of_a_cut_edit_and_all_agree_after_the_heal() {
    let Some(lab) = Lab::build("cut", &SITES) else { return };
    let dir = tempfile::tempdir().unwrap();
    let peers = start(&lab, dir.path());
    let feature =
        json!({"type": "Feature", "geometry": {"type": "Point", "coordinates": [178.4, -18.1]}, "properties": {}});
    let docs: Vec<String> = (0..10).map(|n| format!("layers/sites/{n}")).collect();
    for doc in &docs {
        peers[0].ask(&["doc", "put", doc, &feature.to_string()]);
    }
    wait_for("the layer is everywhere", || agreed(&peers));

    lab.line("down");
    for (round, doc) in docs.iter().enumerate() {
        for (n, peer) in peers.iter().enumerate() {
            edit(peer, doc, &format!("properties/by{n}"), round);
            edit(peer, doc, "properties/contested", round * 10 + n);
        }
    }
    wait_for("each side sees the other as gone", || {
        peers.iter().zip(SITES).all(|(peer, site)| {
            let side = SITES.iter().filter(|other| **other == site).count();
            peer.members("alive") == side
        })
    });
    assert!(!agreed(&peers), "nothing crossed the cut");
    lab.line("up");

    wait_for("all agree again", || agreed(&peers));
    let exports: Vec<Vec<u8>> = peers
        .iter()
        .map(|peer| {
            let out = dir.path().join(format!("{}.geojson", peer.place.name));
            let output = peer.run(&["doc", "export", "layers/sites/", "--output", out.to_str().unwrap()]);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            read(&out)
        })
        .collect();
    assert!(exports.iter().all(|export| *export == exports[0]), "the exports are byte-identical");
    for (round, doc) in docs.iter().enumerate() {
        let value = peers[4].ask(&["doc", "get", doc]);
        let properties = value.pointer("/value/properties").or_else(|| value.pointer("/properties")).unwrap();
        for n in 0..peers.len() {
            assert_eq!(properties[format!("by{n}")], json!(round), "{doc}: the edit acknowledged by {}", n + 1);
        }
        assert_eq!(properties["contested"].as_u64().unwrap() / 10, round as u64, "{doc}: one of those written");
    }
}

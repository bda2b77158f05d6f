//! Five peers, each in its own network namespace, cut into {1,2} and {3,4,5} while both sides edit.
//!
//! Two bridges in a sixth namespace stand for two sites, a veth pair between them for the line that is cut. Needs root and
//! `ip netns`; says so and passes where they are missing.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::harness::{Peer, Place, read, wait_for};

const SITES: [usize; 5] = [1, 1, 2, 2, 2];

/// The namespaces of one test, removed when dropped.
struct Lab {
    tag: String,
}

impl Lab {
    /// `None` where namespaces cannot be made.
    fn build() -> Option<Self> {
        let lab = Self { tag: format!("oxha{}", std::process::id()) };
        let hub = lab.hub();
        if !ip(&["netns", "add", &hub]) {
            return None;
        }
        for site in [1, 2] {
            lab.in_hub(&["link", "add", &format!("br{site}"), "type", "bridge"]);
            lab.in_hub(&["link", "set", &format!("br{site}"), "up"]);
        }
        lab.in_hub(&["link", "add", "line1", "type", "veth", "peer", "name", "line2"]);
        for site in [1, 2] {
            lab.in_hub(&["link", "set", &format!("line{site}"), "master", &format!("br{site}")]);
            lab.in_hub(&["link", "set", &format!("line{site}"), "up"]);
        }
        (1..).zip(SITES).for_each(|(n, site)| lab.add_host(n, site));
        Some(lab)
    }

    fn add_host(&self, n: usize, site: usize) {
        let (name, hub) = (self.host(n), self.hub());
        assert!(ip(&["netns", "add", &name]));
        let port = format!("port{n}");
        self.in_hub(&["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &name]);
        self.in_hub(&["link", "set", &port, "master", &format!("br{site}")]);
        self.in_hub(&["link", "set", &port, "up"]);
        for args in [
            ["link", "set", "lo", "up"].as_slice(),
            &["addr", "add", &format!("10.77.0.{n}/24"), "dev", "eth0"],
            &["link", "set", "eth0", "up"],
        ] {
            assert!(ip(&[&["-n", &name], args].concat()), "{hub}: {args:?}");
        }
    }

    fn hub(&self) -> String {
        format!("{}hub", self.tag)
    }

    fn host(&self, n: usize) -> String {
        format!("{}n{n}", self.tag)
    }

    fn in_hub(&self, args: &[&str]) {
        assert!(ip(&[&["-n", &self.hub()], args].concat()), "{args:?}");
    }

    fn line(&self, state: &str) {
        self.in_hub(&["link", "set", "line1", state]);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        (1..=SITES.len()).for_each(|n| {
            ip(&["netns", "del", &self.host(n)]);
        });
        ip(&["netns", "del", &self.hub()]);
    }
}

fn ip(args: &[&str]) -> bool {
    Command::new("ip").args(args).output().is_ok_and(|output| output.status.success())
}

fn start(lab: &Lab, dir: &Path) -> Vec<Peer> {
    let place = |n: usize| Place {
        namespace: Some(lab.host(n)),
        name: format!("edge-{n}"),
        data: dir.join(format!("n{n}")),
        listen: format!("/ip4/10.77.0.{n}/tcp/4747"),
        api: "127.0.0.1:4748".into(),
        settings: Vec::new(),
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
    let Some(lab) = Lab::build() else {
        println!("skipped: network namespaces need root and `ip netns`");
        return;
    };
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

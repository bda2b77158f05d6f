//! Two peers, each behind a NAT of its own, and one in the middle that both can dial: `nft` translates addresses as a home
//! router does, and lets nothing in that nobody inside asked for. Needs root, `ip netns` and `nft` (Debian: iproute2,
//! nftables); says so and passes where they are missing.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{Peer, Place, wait_for};
use crate::lab::ip;

/// The namespaces of one test, removed when dropped.
struct Nat {
    tag: String,
}

const NAMES: [&str; 6] = ["wan", "relay", "router1", "router2", "home1", "home2"];

impl Nat {
    /// `mapping`: how a router chooses the outer port. `None` where this cannot be built.
    fn build(test: &str, mapping: &str) -> Option<Self> {
        let has_nft = Command::new("nft").arg("--version").output().is_ok_and(|output| output.status.success());
        let nat = Self { tag: format!("oxha{}{test}", std::process::id()) };
        if !has_nft || !ip(&["netns", "add", &nat.at("wan")]) {
            println!("skipped: NATs need root, `ip netns` and `nft`");
            return None;
        }
        NAMES[1..].iter().for_each(|name| assert!(ip(&["netns", "add", &nat.at(name)])));
        NAMES.iter().for_each(|name| nat.on(name, &["link", "set", "lo", "up"]));
        nat.on("wan", &["link", "add", "hub", "type", "bridge"]);
        nat.on("wan", &["link", "set", "hub", "up"]);
        for (n, name) in [(1, "relay"), (11, "router1"), (12, "router2")] {
            let port = format!("to-{name}");
            nat.wire("wan", &port, name, "wan", &format!("198.51.100.{n}/24"));
            nat.on("wan", &["link", "set", &port, "master", "hub"]);
        }
        for n in ["1", "2"] {
            let (router, home) = (format!("router{n}"), format!("home{n}"));
            nat.wire(&router, "lan", &home, "eth0", &format!("10.{n}.0.2/24"));
            nat.on(&router, &["addr", "add", &format!("10.{n}.0.1/24"), "dev", "lan"]);
            nat.on(&home, &["route", "add", "default", "via", &format!("10.{n}.0.1")]);
            nat.translate(&router, mapping);
        }
        Some(nat)
    }

    fn at(&self, name: &str) -> String {
        format!("{}{name}", self.tag)
    }

    fn on(&self, name: &str, args: &[&str]) {
        assert!(ip(&[&["-n", &self.at(name)], args].concat()), "{name}: {args:?}");
    }

    /// A cable between two namespaces; the far end has the address.
    fn wire(&self, near: &str, port: &str, far: &str, device: &str, address: &str) {
        self.on(near, &["link", "add", port, "type", "veth", "peer", "name", device, "netns", &self.at(far)]);
        self.on(near, &["link", "set", port, "up"]);
        self.on(far, &["addr", "add", address, "dev", device]);
        self.on(far, &["link", "set", device, "up"]);
    }

    fn translate(&self, router: &str, mapping: &str) {
        let rules = format!(
            "table ip home {{
                chain out {{ type nat hook postrouting priority srcnat; oifname wan masquerade {mapping}; }}
                chain inside {{ type filter hook forward priority 0; iifname wan ct state new drop; }}
                chain itself {{ type filter hook input priority 0; iifname wan ct state new drop; }}
            }}"
        );
        for args in [["sysctl", "-qw", "net.ipv4.ip_forward=1"], ["nft", &rules, ""]] {
            let args = args.iter().filter(|arg| !arg.is_empty());
            let inside = Command::new("ip").args(["netns", "exec", &self.at(router)]).args(args).output().unwrap();
            assert!(inside.status.success(), "{}", String::from_utf8_lossy(&inside.stderr));
        }
    }

    fn place(&self, dir: &Path, name: &str, listen: &str) -> Place {
        Place { listen: listen.into(), ..Place::in_namespace(dir, name, self.at(name)) }
    }
}

impl Drop for Nat {
    fn drop(&mut self) {
        for name in NAMES {
            // What a test built of it.
            let mut gone = Command::new("ip");
            let _ = gone.args(["netns", "del", &self.at(name)]).stderr(Stdio::null()).status();
        }
    }
}

fn link(peer: &Peer, to: &Peer) -> Option<Value> {
    let node = to.ask(&["status"])["node"].clone();
    let links = peer.ask(&["status"])["network"]["links"].clone();
    links.as_array().unwrap().iter().find(|link| link["node"] == node).cloned()
}

fn is_direct(peer: &Peer, to: &Peer) -> Option<bool> {
    link(peer, to)?["direct"].as_bool()
}

/// A document that each of both writes its part of is the same at both in the end.
fn converge(one: &Peer, two: &Peer, doc: &str) {
    one.ask(&["doc", "put", doc, "{}"]);
    let content = |peer: &Peer| peer.ask(&["status"])["content"].to_string();
    wait_for("the document is on the other side", || content(one) == content(two));
    one.ask(&["doc", "set", doc, "one", "1"]);
    two.ask(&["doc", "set", doc, "two", "2"]);
    wait_for("both have both edits", || {
        [one, two].iter().all(|peer| {
            let value = peer.ask(&["doc", "get", doc]).to_string();
            value.contains("\"one\"") && value.contains("\"two\"")
        })
    });
}

fn start(nat: &Nat, dir: &Path) -> [Peer; 3] {
    let relay = nat.place(dir, "relay", "/ip4/198.51.100.1/tcp/4747").with("NETWORK__RELAY", "true").start(None);
    let homes = ["home1", "home2"].map(|name| {
        let invite = relay.invite();
        nat.place(dir, name, "/ip4/0.0.0.0/tcp/4747").start(Some(&invite))
    });
    let [one, two] = homes;
    wait_for("everybody sees everybody", || [&relay, &one, &two].iter().all(|peer| peer.members("alive") == 3));
    [relay, one, two]
}

#[test]
fn peers_behind_nat_meet_at_a_relay_and_get_a_direct_link() {
    let Some(nat) = Nat::build("punch", "") else { return };
    let dir = tempfile::tempdir().unwrap();
    let [relay, one, two] = start(&nat, dir.path());
    wait_for("a hole is punched", || is_direct(&one, &two) == Some(true) && is_direct(&two, &one) == Some(true));
    println!("direct: {} and {}", link(&one, &two).unwrap()["address"], link(&two, &one).unwrap()["address"]);
    converge(&one, &two, "layers/sites/1");
    // It needs the relay no more.
    drop(relay);
    converge(&one, &two, "layers/sites/2");
    assert_eq!(is_direct(&one, &two), Some(true));
}

#[test]
fn where_no_hole_can_be_punched_the_relay_serves_on_and_after_its_restart() {
    // Another outer port for each connection: what one end learns of itself is of no use to the other.
    let Some(nat) = Nat::build("symm", "fully-random") else { return };
    let dir = tempfile::tempdir().unwrap();
    let [relay, one, two] = start(&nat, dir.path());
    wait_for("they are linked", || is_direct(&one, &two).is_some() && is_direct(&two, &one).is_some());
    converge(&one, &two, "layers/sites/1");
    assert_eq!((is_direct(&one, &two), is_direct(&two, &one)), (Some(false), Some(false)));
    let place = relay.kill();
    wait_for("they are cut off", || link(&one, &two).is_none() && link(&two, &one).is_none());
    let relay = place.start(None);
    wait_for("they are linked again", || link(&one, &two).is_some() && link(&two, &one).is_some());
    converge(&one, &two, "layers/sites/2");
    assert_eq!(relay.members("alive"), 3);
}

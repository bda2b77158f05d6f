//! A small internet of network namespaces: one host each, on two sites, with a line between the sites that can be cut.
//!
//! Two bridges in a namespace of their own stand for the sites, a veth pair between them for the line. Needs root and `ip
//! netns`; says so where they are missing.

use std::process::Command;

/// The namespaces of one test, removed when dropped.
pub(crate) struct Lab {
    tag: String,
    hosts: usize,
}

impl Lab {
    /// A host for each of `sites`, which are 1 and 2. `None` where namespaces cannot be made.
    pub(crate) fn build(test: &str, sites: &[usize]) -> Option<Self> {
        let lab = Self { tag: format!("oxha{}{test}", std::process::id()), hosts: sites.len() };
        let hub = lab.hub();
        if !ip(&["netns", "add", &hub]) {
            println!("skipped: network namespaces need root and `ip netns`");
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
        (1..).zip(sites).for_each(|(n, site)| lab.add_host(n, *site));
        Some(lab)
    }

    fn add_host(&self, n: usize, site: usize) {
        let name = self.host(n);
        assert!(ip(&["netns", "add", &name]));
        let port = format!("port{n}");
        self.in_hub(&["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &name]);
        self.in_hub(&["link", "set", &port, "master", &format!("br{site}")]);
        self.in_hub(&["link", "set", &port, "up"]);
        self.on_host(n, &["link", "set", "lo", "up"]);
        self.on_host(n, &["addr", "add", &format!("{}/24", self.ip4(n)), "dev", "eth0"]);
        // Without waiting for somebody else to claim the address.
        self.on_host(n, &["addr", "add", &format!("{}/64", self.ip6(n)), "dev", "eth0", "nodad"]);
        self.on_host(n, &["link", "set", "eth0", "up"]);
    }

    fn hub(&self) -> String {
        format!("{}hub", self.tag)
    }

    /// The namespace of a host, from 1.
    pub(crate) fn host(&self, n: usize) -> String {
        format!("{}n{n}", self.tag)
    }

    /// The IPv4 address of a host.
    pub(crate) fn ip4(&self, n: usize) -> String {
        format!("10.77.0.{n}")
    }

    /// The IPv6 address of a host.
    pub(crate) fn ip6(&self, n: usize) -> String {
        format!("fd77::{n}")
    }

    /// Runs `ip` on a host.
    pub(crate) fn on_host(&self, n: usize, args: &[&str]) {
        assert!(ip(&[&["-n", &self.host(n)], args].concat()), "host {n}: {args:?}");
    }

    fn in_hub(&self, args: &[&str]) {
        assert!(ip(&[&["-n", &self.hub()], args].concat()), "{args:?}");
    }

    /// Pulls the cable of a host, `down`, or plugs it in, `up`.
    pub(crate) fn cable(&self, n: usize, state: &str) {
        self.in_hub(&["link", "set", &format!("port{n}"), state]);
    }

    /// Sets the line between the sites `up` or `down`.
    pub(crate) fn line(&self, state: &str) {
        self.in_hub(&["link", "set", "line1", state]);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        (1..=self.hosts).for_each(|n| {
            ip(&["netns", "del", &self.host(n)]);
        });
        ip(&["netns", "del", &self.hub()]);
    }
}

pub(crate) fn ip(args: &[&str]) -> bool {
    Command::new("ip").args(args).output().is_ok_and(|output| output.status.success())
}

//! The checked types: from texts and numbers to what the peer runs with.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::cluster::Cluster;
use super::error::Error;
use super::values::{Value, Values};
use super::{Flags, Setting};
use crate::topology::Policy;
use crate::types::Address;

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Who this peer is.
    pub node: Node,
    /// How it is reached.
    pub network: Network,
    /// Its local HTTP interface.
    pub api: Api,
    /// What it logs. The driver installs nothing: this is for the host.
    pub log: Log,
    /// What all peers of the mesh must agree on.
    pub cluster: Cluster,
    values: Values,
}

/// Who this peer is, and where it keeps its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// A name for people; empty: made from the node's id.
    pub name: String,
    /// The region it is in.
    pub region: String,
    /// The zone within the region.
    pub zone: String,
    /// Higher is preferred as hub and root.
    pub priority: u16,
    /// Takes part in data but is never hub or root.
    pub observer: bool,
    /// Where identity, log and tokens are kept.
    pub data_dir: PathBuf,
}

/// How peers reach each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Where to listen, as multiaddrs.
    pub listen: Vec<Address>,
    /// What others are told to dial; empty: what is listened on.
    pub announce: Vec<Address>,
    /// Where to find the mesh: invites and multiaddrs, as they were given.
    pub join: Vec<String>,
    /// Addresses of others, each with the one that this peer dials in its place.
    pub dial_via: Vec<(Address, Address)>,
    /// Whether peers are looked for by multicast.
    pub mdns: bool,
}

/// The local HTTP interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// Where to serve; `None`: not at all.
    pub listen: Option<SocketAddr>,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The look of a line.
    pub format: LogFormat,
    /// A level, or directives by module.
    pub level: String,
}

/// The look of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Longest name, region or zone, in bytes: they travel with every member's metadata.
const LABEL_MAX: usize = 64;

/// Most entries of a list of addresses.
const ADDRESSES_MAX: usize = 16;

/// Most addresses that are dialled elsewhere.
const DIAL_VIA_MAX: usize = 256;

impl Config {
    /// Every value and where it came from, in the order of the file.
    pub fn settings(&self) -> impl Iterator<Item = Setting> {
        self.values.iter().map(|(key, entry)| Setting { key, value: entry.value.shown(), origin: entry.origin.clone() })
    }
}

impl Default for Config {
    fn default() -> Self {
        super::parse(None, [], &Flags::new()).expect("the defaults are tested")
    }
}

impl TryFrom<Values> for Config {
    type Error = Error;

    fn try_from(values: Values) -> Result<Self, Error> {
        let node = Node {
            name: values.label("node.name")?,
            region: values.label("node.region")?,
            zone: values.label("node.zone")?,
            priority: values.number("node.priority", 0, u16::MAX)?,
            observer: values.switch("node.observer"),
            data_dir: values.check("node.data-dir", |text| {
                if text.is_empty() { Err("a directory is needed") } else { Ok(PathBuf::from(text)) }
            })?,
        };
        let network = Network {
            listen: values.addresses("network.listen")?,
            announce: values.addresses("network.announce")?,
            join: values.texts("network.join").to_vec(),
            dial_via: values.dial_via()?,
            mdns: values.switch("network.mdns"),
        };
        if network.listen.is_empty() {
            return Err(values.refused("network.listen", "a peer that listens nowhere cannot be in a mesh"));
        }
        let api = Api {
            listen: values.check("api.listen", |text| match text {
                "" => Ok(None),
                text => text.parse().map(Some).map_err(|_| "expected an IP address and a port, such as 127.0.0.1:4748"),
            })?,
        };
        let log = Log {
            format: values.check("log.format", |text| match text {
                "auto" => Ok(LogFormat::Auto),
                "text" => Ok(LogFormat::Text),
                "json" => Ok(LogFormat::Json),
                _ => Err("expected auto, text or json"),
            })?,
            level: values.text("log.level").to_owned(),
        };
        let arity = values.number("overlay.arity", Policy::ARITY_MIN, Policy::ARITY_MAX)?;
        let overlay = values.check("overlay.kind", |text| match text {
            "star" => Ok(Policy::Star),
            "mesh" => Ok(Policy::Mesh),
            "tree" => Ok(Policy::Tree { arity }),
            _ => Err("expected star, mesh or tree"),
        })?;
        Ok(Self { node, network, api, log, cluster: Cluster { overlay }, values })
    }
}

impl Values {
    fn text(&self, key: &'static str) -> &str {
        match &self.entry(key).value {
            Value::Text(text) => text,
            other => unreachable!("{key} is {other:?}: the kind was checked when the value was laid"),
        }
    }

    fn texts(&self, key: &'static str) -> &[String] {
        match &self.entry(key).value {
            Value::Texts(texts) => texts,
            other => unreachable!("{key} is {other:?}: the kind was checked when the value was laid"),
        }
    }

    fn switch(&self, key: &'static str) -> bool {
        match self.entry(key).value {
            Value::Switch(on) => on,
            ref other => unreachable!("{key} is {other:?}: the kind was checked when the value was laid"),
        }
    }

    fn number<N: TryFrom<i64> + Into<i64> + Copy>(&self, key: &'static str, min: N, max: N) -> Result<N, Error> {
        let Value::Number(number) = self.entry(key).value else {
            unreachable!("{key} has a number: the kind was checked when the value was laid")
        };
        match N::try_from(number) {
            Ok(number) if (min.into()..=max.into()).contains(&number.into()) => Ok(number),
            _ => Err(self.refused(key, &format!("expected {} to {}", min.into(), max.into()))),
        }
    }

    fn check<T>(&self, key: &'static str, check: impl FnOnce(&str) -> Result<T, &'static str>) -> Result<T, Error> {
        check(self.text(key)).map_err(|why| self.refused(key, why))
    }

    fn label(&self, key: &'static str) -> Result<String, Error> {
        self.check(key, |text| {
            if text.len() > LABEL_MAX {
                Err("longer than 64 bytes")
            } else if text.chars().any(char::is_control) {
                Err("holds a control character")
            } else {
                Ok(text.to_owned())
            }
        })
    }

    fn addresses(&self, key: &'static str) -> Result<Vec<Address>, Error> {
        let texts = self.texts(key);
        if texts.len() > ADDRESSES_MAX {
            return Err(self.refused(key, &format!("{} addresses, at most {ADDRESSES_MAX} are used", texts.len())));
        }
        texts.iter().map(|text| address(text).map_err(|why| self.refused(key, &format!("{text:?}: {why}")))).collect()
    }

    fn dial_via(&self) -> Result<Vec<(Address, Address)>, Error> {
        const KEY: &str = "network.dial-via";
        let texts = self.texts(KEY);
        if texts.len() > DIAL_VIA_MAX {
            return Err(self.refused(KEY, &format!("{} entries, at most {DIAL_VIA_MAX} are used", texts.len())));
        }
        let pair = |text: &String| {
            let (target, via) = text.split_once("->").ok_or("expected \"ADDRESS -> ADDRESS\"")?;
            Ok((address(target.trim())?, address(via.trim())?))
        };
        texts
            .iter()
            .map(|text| pair(text).map_err(|why: String| self.refused(KEY, &format!("{text:?}: {why}"))))
            .collect()
    }

    /// That this value cannot be used, with where it stands.
    pub(super) fn refused(&self, key: &'static str, why: &str) -> Error {
        let entry = self.entry(key);
        Error::Value { origin: entry.origin.clone(), key, value: entry.value.shown(), why: why.into() }
    }
}

/// A multiaddr from itself or from `host:port`.
fn address(text: &str) -> Result<Address, String> {
    let multiaddr = if text.starts_with('/') {
        text.to_owned()
    } else if let Ok(socket) = text.parse::<SocketAddr>() {
        let kind = if socket.is_ipv4() { "ip4" } else { "ip6" };
        format!("/{kind}/{}/tcp/{}", socket.ip(), socket.port())
    } else {
        let port = |port: &str| port.parse::<u16>().is_ok();
        match text.rsplit_once(':') {
            Some((host, digits)) if is_host_name(host) && port(digits) => format!("/dns/{host}/tcp/{digits}"),
            _ => return Err("expected a multiaddr, such as /ip4/192.0.2.1/tcp/4747, or host:port".into()),
        }
    };
    Address::parse(&multiaddr).map_err(|error| error.to_string())
}

fn is_host_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
}

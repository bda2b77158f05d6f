//! The checked types: from texts and numbers to what the peer runs with.

use std::net::SocketAddr;
use std::num::NonZeroU8;
use std::path::PathBuf;
use std::time::Duration;

use super::cluster::Cluster;
use super::decisions::{Programs, Voters};
use super::error::{Error, Relation};
use super::values::{Value, Values};
use super::{Flags, Setting};
use crate::events::{self, Retention};
use crate::membership::{self, Profile, Service};
use crate::replication::{Ack, LagWarn, Retry};
use crate::roles;
use crate::topology::Policy;
use crate::types::Address;
use crate::wire::Packing;
use crate::{audit, consensus, documents, overlay, replication, wal};

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
    /// Who is alive.
    pub membership: membership::Config,
    /// Which links are kept.
    pub overlay: overlay::Config,
    /// How decisions are made.
    pub consensus: consensus::Config,
    /// Who votes.
    pub voters: Voters,
    /// Which roles there are, and how they change hands.
    pub roles: roles::Config,
    /// What runs when this peer is given a role, and when it loses one.
    pub programs: Programs,
    /// How edits spread.
    pub replication: replication::Config,
    /// How much of the documents is kept in memory.
    pub documents: documents::Config,
    /// How often documents are compared with a neighbour's.
    pub audit: audit::Config,
    /// How long events are kept, and how much of them in memory.
    pub streams: events::Config,
    /// The log on the disk.
    pub wal: wal::Config,
    /// Where the log is shipped to while the peer runs.
    pub archive: Archive,
    /// Backups that the peer takes by itself, each a line of text.
    pub schedules: Vec<String>,
    /// Snapshots of what it says.
    pub snapshots: wal::SnapshotConfig,
    values: Values,
}

/// Where the log is shipped to while the peer runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// The repository; empty: nowhere.
    pub repository: String,
    /// How often.
    pub every: Duration,
    /// So many bytes do not wait for that.
    pub bytes: u64,
    /// How ranges are compressed: a codec's name.
    pub compression: String,
    /// The file of the repository's key.
    pub key_file: Option<PathBuf>,
    /// The file of its passphrase.
    pub passphrase_file: Option<PathBuf>,
    /// How long a range is kept that another one stands for.
    pub grace: Duration,
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
    /// What clients find at its host, by names that a redirector is given.
    pub services: Vec<Service>,
    /// Where identity, log and tokens are kept.
    pub data_dir: PathBuf,
    /// Where its life is written down, if it is: see [`recording`](crate::recording).
    pub record: Option<PathBuf>,
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
    /// Whether members that nobody can dial may be reached through this peer.
    pub relay: bool,
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

/// Services of one member, at most, and the longest name of one, in bytes.
const SERVICES_MAX: usize = 8;
const SERVICE_MAX: usize = 32;
/// Longest name, region or zone, in bytes: they travel with every member's metadata.
const LABEL_MAX: usize = 64;

/// Most entries of a list of addresses.
const ADDRESSES_MAX: usize = 16;

/// Most prefixes of streams with a retention of their own.
const RETENTIONS_MAX: usize = 256;

/// Most schedules of backups.
const SCHEDULES_MAX: usize = 32;

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

    fn try_from(mut values: Values) -> Result<Self, Error> {
        let membership = values.membership()?;
        Ok(Self {
            node: values.node()?,
            network: values.network()?,
            api: values.api()?,
            log: values.log()?,
            cluster: values.cluster()?,
            overlay: values.overlay(membership.full_mesh_max),
            membership,
            consensus: values.consensus()?,
            voters: values.voters()?,
            roles: values.roles()?,
            programs: values.programs()?,
            replication: values.replication()?,
            documents: values.documents()?,
            audit: audit::Config { interval: Duration::from_secs(values.size("documents.audit-s", 5, 86_400)?) },
            streams: values.streams()?,
            archive: values.archive()?,
            schedules: values.schedules()?,
            wal: wal::Config { segment_bytes: values.number::<u32>("wal.segment-bytes", 64 << 10, 1 << 30)?.into() },
            snapshots: values.snapshots()?,
            values,
        })
    }
}

// One function a section.
impl Values {
    fn node(&self) -> Result<Node, Error> {
        Ok(Node {
            name: self.label("node.name")?,
            region: self.label("node.region")?,
            zone: self.label("node.zone")?,
            priority: self.number("node.priority", 0, u16::MAX)?,
            observer: self.switch("node.observer"),
            services: self.services()?,
            data_dir: self.check("node.data-dir", |text| {
                if text.is_empty() { Err("a directory is needed") } else { Ok(PathBuf::from(text)) }
            })?,
            record: Some(PathBuf::from(self.text("node.record"))).filter(|path| !path.as_os_str().is_empty()),
        })
    }

    fn services(&self) -> Result<Vec<Service>, Error> {
        const KEY: &str = "node.services";
        let service = |text: &String| {
            let (name, port) = text.split_once(':').ok_or("expected NAME:PORT")?;
            let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            if !(1..=SERVICE_MAX).contains(&name.len()) || !name.bytes().all(is_name) {
                return Err("a name is 1 to 32 of a to z, 0 to 9 and -");
            }
            if name.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err("a name of digits alone would be a port");
            }
            let port = port.parse().ok().filter(|port| *port != 0).ok_or("its port is a number from 1 to 65535")?;
            Ok(Service { name: name.to_owned(), port })
        };
        let texts = self.texts(KEY);
        if texts.len() > SERVICES_MAX {
            return Err(self.refused(KEY, &format!("{} entries, at most {SERVICES_MAX} are used", texts.len())));
        }
        let services: Result<Vec<Service>, Error> = texts
            .iter()
            .map(|text| service(text).map_err(|why| self.refused(KEY, &format!("{text:?}: {why}"))))
            .collect();
        let mut services = services?;
        services.sort();
        if let Some(twice) = services.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(self.refused(KEY, &format!("{} is named twice", twice[0].name)));
        }
        Ok(services)
    }

    fn network(&self) -> Result<Network, Error> {
        let network = Network {
            listen: self.addresses("network.listen")?,
            announce: self.addresses("network.announce")?,
            join: self.texts("network.join").to_vec(),
            dial_via: self.dial_via()?,
            mdns: self.switch("network.mdns"),
            relay: self.switch("network.relay"),
        };
        if network.listen.is_empty() {
            return Err(self.refused("network.listen", "a peer that listens nowhere cannot be in a mesh"));
        }
        // What begins otherwise may be an invite, which only the driver can read.
        if let Some((text, why)) =
            network.join.iter().filter(|text| text.starts_with('/')).find_map(|text| Some((text, address(text).err()?)))
        {
            return Err(self.refused("network.join", &format!("{text:?}: {why}")));
        }
        Ok(network)
    }

    fn api(&self) -> Result<Api, Error> {
        Ok(Api {
            listen: self.check("api.listen", |given| match given {
                "" => Ok(None),
                text => {
                    // The one name that needs no looking up.
                    let text = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
                    let text = text.as_deref().unwrap_or(given);
                    text.parse().map(Some).map_err(|_| "expected an IP address and a port, such as 127.0.0.1:4748")
                }
            })?,
        })
    }

    fn log(&self) -> Result<Log, Error> {
        Ok(Log {
            format: self.check("log.format", |text| match text {
                "auto" => Ok(LogFormat::Auto),
                "text" => Ok(LogFormat::Text),
                "json" => Ok(LogFormat::Json),
                _ => Err("expected auto, text or json"),
            })?,
            level: self.text("log.level").to_owned(),
        })
    }

    fn snapshots(&self) -> Result<wal::SnapshotConfig, Error> {
        Ok(wal::SnapshotConfig {
            every: self.span("snapshots.every", Duration::from_secs(1), Duration::from_secs(31_536_000))?,
            bytes: self.size("snapshots.bytes", 1 << 10, 1 << 40)?,
            records: self.size("snapshots.records", 1, 1 << 40)?,
            keep: self.number::<u32>("snapshots.keep", 0, 100)? as usize,
            codec: self
                .check("snapshots.codec", |text| text.parse().map_err(|_| "expected none, lz4, zstd or gzip"))?,
        })
    }

    fn cluster(&self) -> Result<Cluster, Error> {
        let arity = self.number("overlay.arity", Policy::ARITY_MIN, Policy::ARITY_MAX)?;
        let degree: u8 = self.number("overlay.degree", Policy::DEGREE_MIN, Policy::DEGREE_MAX)?;
        let mesh = Policy::mesh(degree).map_err(|error| self.refused("overlay.degree", &error.to_string()))?;
        let overlay = self.check("overlay.kind", |text| match text {
            "star" => Ok(Policy::Star),
            "mesh" => Ok(mesh),
            "tree" => Ok(Policy::Tree { arity }),
            _ => Err("expected star, mesh or tree"),
        })?;
        Ok(Cluster { overlay })
    }

    fn membership(&mut self) -> Result<membership::Config, Error> {
        let (name, profile) = self.check("membership.profile", |text| match text {
            "local" => Ok(("local", Profile::Local)),
            "lan" => Ok(("lan", Profile::Lan)),
            "wan" => Ok(("wan", Profile::Wan)),
            "edge" => Ok(("edge", Profile::Edge)),
            _ => Err("expected local, lan, wan or edge"),
        })?;
        let base = membership::Config::new(profile);
        let ms = |after: Duration| i64::try_from(after.as_millis()).expect("a profile's periods are short");
        let count = |count: usize| i64::try_from(count).expect("a profile's counts are small");
        for (key, number) in [
            ("membership.probe-period-ms", ms(base.probe_period)),
            ("membership.probe-timeout-ms", ms(base.probe_timeout)),
            ("membership.suspicion-floor-ms", ms(base.suspicion_floor)),
            ("membership.gossip-period-ms", ms(base.gossip_period)),
            ("membership.gossip-fanout", count(base.gossip_fanout)),
            ("membership.helpers", count(base.helpers)),
            ("membership.reconnect-period-ms", ms(base.reconnect_period)),
        ] {
            self.lay_profile(name, key, number);
        }
        let config = membership::Config {
            probe_period: self.millis("membership.probe-period-ms", 20, 600_000)?,
            probe_timeout: self.millis("membership.probe-timeout-ms", 10, 300_000)?,
            suspicion_floor: self.millis("membership.suspicion-floor-ms", 10, 600_000)?,
            gossip_period: self.millis("membership.gossip-period-ms", 10, 60_000)?,
            gossip_fanout: self.count("membership.gossip-fanout", 1, 32)?,
            helpers: self.count("membership.helpers", 0, 32)?,
            reconnect_period: self.millis("membership.reconnect-period-ms", 10, 3_600_000)?,
            full_mesh_max: self.count("overlay.links-max", 2, 1_024)?,
            ..base
        };
        if config.probe_period < 2 * config.probe_timeout {
            return Err(self.relation("membership.probe-period-ms", "at least twice", "membership.probe-timeout-ms"));
        }
        Ok(config)
    }

    fn overlay(&self, links_max: usize) -> overlay::Config {
        overlay::Config { links_max, ..overlay::Config::default() }
    }

    fn replication(&self) -> Result<replication::Config, Error> {
        let compress = self.check("replication.compression", |text| match text {
            "zstd" => Ok(true),
            "none" => Ok(false),
            _ => Err("expected zstd or none"),
        })?;
        let level = self.number("replication.compression-level", 1, 3)?;
        let copies = self.number("replication.copies", 1, u8::MAX)?;
        let ack = self.check("replication.mode", |text| match text {
            "asynchronous" => Ok(Ack::Local),
            "semi-synchronous" => Ok(NonZeroU8::new(copies).map_or(Ack::Local, Ack::Members)),
            "synchronous" => Ok(Ack::All),
            _ => Err("expected asynchronous, semi-synchronous or synchronous"),
        })?;
        let retry = Retry {
            first: self.millis("replication.retry-first-ms", 10, 600_000)?,
            min: self.millis("replication.retry-min-ms", 10, 600_000)?,
            max: self.millis("replication.retry-max-ms", 10, 600_000)?,
        };
        for (key, least) in [("replication.retry-first-ms", retry.first), ("replication.retry-min-ms", retry.min)] {
            if least > retry.max {
                return Err(self.relation(key, "at most", "replication.retry-max-ms"));
            }
        }
        Ok(replication::Config {
            packing: Packing {
                level: compress.then_some(level),
                above: self.count("replication.compress-above-bytes", 0, 16 << 20)?,
            },
            retry,
            ack,
            ack_timeout: self.millis("replication.ack-timeout-ms", 10, 600_000)?,
            batch_size: self.count("replication.batch-size", 1, 100_000)?,
            batch_bytes: self.count("replication.batch-bytes", 1 << 10, 8 << 20)?,
            batch_timeout: self.millis("replication.batch-timeout-ms", 0, 10_000)?,
            window_bytes: self.count("replication.window-bytes", 64 << 10, 256 << 20)?,
            cache_bytes: self.count("replication.cache-bytes", 64 << 10, 1 << 30)?,
            anti_entropy: self.millis("replication.anti-entropy-ms", 100, 600_000)?,
            lag_warn: LagWarn {
                changes: self.size("replication.lag-warn-changes", 0, 1_000_000_000_000)?,
                bytes: self.size("replication.lag-warn-bytes", 0, 1 << 40)?,
                lag_ms: self.size("replication.lag-warn-seconds", 0, 31_536_000)? * 1_000,
            },
            ..replication::Config::default()
        })
    }

    fn documents(&self) -> Result<documents::Config, Error> {
        let base = documents::Config::default();
        Ok(documents::Config {
            waiting_max: self.count("documents.waiting-max", 1, 1_000_000)?,
            inbox_bytes: self.count("documents.inbox-bytes", 1 << 20, 8 << 30)?,
            limits: documents::Limits {
                open_docs: self.count("documents.open-docs", 1, 10_000_000)?,
                open_ops: self.count("documents.open-ops", 1_000, 1_000_000_000)?,
                history: self.count("documents.history-changes", 0, 1_000_000)?,
            },
            memory_bytes: self.count("documents.memory-bytes", 1 << 10, 1 << 40)?,
            ..base
        })
    }

    fn streams(&self) -> Result<events::Config, Error> {
        let some = |number: u64| (number > 0).then_some(number);
        let retention = Retention {
            age: some(self.size("streams.retention-age-s", 0, 3_153_600_000)?).map(Duration::from_secs),
            bytes: some(self.size("streams.retention-bytes", 0, 1 << 40)?),
            count: some(self.size("streams.retention-count", 0, 1_000_000_000_000)?),
        };
        Ok(events::Config {
            retention,
            retention_of: self.retention_of(retention)?,
            total_bytes: self.size("streams.total-bytes", 1 << 20, 1 << 40)?,
            entries_max: self.size("streams.entries-max", 1_000, 100_000_000)?,
            cache_bytes: self.count("streams.cache-bytes", 0, 1 << 30)?,
            waiting_max: self.count("streams.waiting-max", 1, 1_000_000)?,
            ..events::Config::default()
        })
    }

    fn archive(&self) -> Result<Archive, Error> {
        let file = |key| Some(PathBuf::from(self.text(key))).filter(|path| !path.as_os_str().is_empty());
        let archive = Archive {
            repository: self.text("archive.repository").to_owned(),
            every: self.span("archive.every", Duration::from_millis(200), Duration::from_secs(3_600))?,
            bytes: self.size("archive.bytes", 4_096, 1 << 40)?,
            compression: self.check("archive.compression", |text| match text {
                "none" | "lz4" | "zstd" | "gzip" => Ok(text.to_owned()),
                _ => Err("expected none, lz4, zstd or gzip"),
            })?,
            key_file: file("archive.key-file"),
            passphrase_file: file("archive.passphrase-file"),
            grace: self.span("archive.grace", Duration::from_secs(1), Duration::from_secs(30 * 86_400))?,
        };
        if archive.key_file.is_some() && archive.passphrase_file.is_some() {
            return Err(self.relation("archive.key-file", "not together with", "archive.passphrase-file"));
        }
        Ok(archive)
    }

    /// What each says is checked where backups are known.
    fn schedules(&self) -> Result<Vec<String>, Error> {
        const KEY: &str = "backup.schedule";
        let texts = self.texts(KEY);
        if texts.len() > SCHEDULES_MAX {
            return Err(
                self.refused(KEY, &format!("{} schedules, at most {SCHEDULES_MAX} are looked after", texts.len()))
            );
        }
        Ok(texts.to_vec())
    }

    /// What differs from `base` for some streams.
    fn retention_of(&self, base: Retention) -> Result<Vec<(String, Retention)>, Error> {
        const KEY: &str = "streams.retention-for";
        let texts = self.texts(KEY);
        if texts.len() > RETENTIONS_MAX {
            return Err(self.refused(KEY, &format!("{} entries, at most {RETENTIONS_MAX} are used", texts.len())));
        }
        let refuse =
            |text: &String| self.refused(KEY, &format!("{text:?}: expected \"PREFIX age-s=N bytes=N count=N\""));
        texts.iter().map(|text| retention(text, base).ok_or_else(|| refuse(text))).collect()
    }
}

/// `PREFIX age-s=N bytes=N count=N`, of which some may be left out; 0 means that there is no such bound.
fn retention(text: &str, base: Retention) -> Option<(String, Retention)> {
    let mut words = text.split_whitespace();
    let prefix = words.next().filter(|prefix| !prefix.contains('='))?.to_owned();
    let mut retention = base;
    for word in words {
        let (name, number) = word.split_once('=')?;
        let number = Some(number.parse::<u64>().ok()?).filter(|number| *number > 0);
        match name {
            "age-s" => retention.age = number.map(Duration::from_secs),
            "bytes" => retention.bytes = number,
            "count" => retention.count = number,
            _ => return None,
        }
    }
    Some((prefix, retention))
}

// Reading single values.
impl Values {
    pub(super) fn text(&self, key: &'static str) -> &str {
        match &self.entry(key).value {
            Value::Text(text) => text,
            other => unreachable!("{key} is {other:?}: the kind was checked when the value was laid"),
        }
    }

    pub(super) fn texts(&self, key: &'static str) -> &[String] {
        match &self.entry(key).value {
            Value::Texts(texts) => texts,
            other => unreachable!("{key} is {other:?}: the kind was checked when the value was laid"),
        }
    }

    pub(super) fn switch(&self, key: &'static str) -> bool {
        match self.entry(key).value {
            Value::Switch(on) => on,
            ref other => unreachable!("{key} is {other:?}: the kind was checked when the value was laid"),
        }
    }

    pub(super) fn number<N: TryFrom<i64> + Into<i64> + Copy>(
        &self,
        key: &'static str,
        min: N,
        max: N,
    ) -> Result<N, Error> {
        let Value::Number(number) = self.entry(key).value else {
            unreachable!("{key} has a number: the kind was checked when the value was laid")
        };
        match N::try_from(number) {
            Ok(number) if (min.into()..=max.into()).contains(&number.into()) => Ok(number),
            _ => Err(self.refused(key, &format!("expected {} to {}", min.into(), max.into()))),
        }
    }

    pub(super) fn check<T>(
        &self,
        key: &'static str,
        check: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Result<T, Error> {
        check(self.text(key)).map_err(|why| self.refused(key, why))
    }

    /// A number with its unit.
    pub(super) fn span(&self, key: &'static str, min: Duration, max: Duration) -> Result<Duration, Error> {
        let span =
            self.check(key, |text| span(text).ok_or("expected a number with its unit: ms, s, m, h or d, such as 10s"))?;
        if (min..=max).contains(&span) {
            return Ok(span);
        }
        Err(self.refused(key, &format!("expected {min:?} to {} s", max.as_secs())))
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

    pub(super) fn count(&self, key: &'static str, min: i64, max: i64) -> Result<usize, Error> {
        let count = self.number(key, min, max)?;
        usize::try_from(count).map_err(|_| self.refused(key, "more than this machine can count"))
    }

    pub(super) fn size(&self, key: &'static str, min: i64, max: i64) -> Result<u64, Error> {
        Ok(self.number(key, min, max)?.unsigned_abs())
    }

    pub(super) fn millis(&self, key: &'static str, min: u32, max: u32) -> Result<Duration, Error> {
        Ok(Duration::from_millis(self.number(key, min, max)?.into()))
    }

    /// That two values do not fit together.
    fn relation(&self, one: &'static str, relation: &'static str, other: &'static str) -> Error {
        let setting = |key| {
            let entry = self.entry(key);
            Setting { key, value: entry.value.shown(), origin: entry.origin.clone() }
        };
        Error::Relation(Box::new(Relation { one: setting(one), relation, other: setting(other) }))
    }

    /// That this value cannot be used, with where it stands.
    pub(super) fn refused(&self, key: &'static str, why: &str) -> Error {
        let entry = self.entry(key);
        Error::Value { origin: entry.origin.clone(), key, value: entry.value.shown(), why: why.into() }
    }
}

/// A time that passes, from a number and its unit.
#[must_use]
pub fn span(text: &str) -> Option<Duration> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let count: u64 = text[..text.len() - unit.len()].parse().ok()?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    count.checked_mul(millis).map(Duration::from_millis)
}

/// A multiaddr from itself or from `host:port`.
///
/// # Errors
/// What was expected.
pub fn address(text: &str) -> Result<Address, String> {
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
    if !cfg!(feature = "quic") && multiaddr.split('/').any(|part| part == "quic-v1") {
        return Err("QUIC is not in this build: it needs the cargo feature `quic`".into());
    }
    Address::parse(&multiaddr).map_err(|error| error.to_string())
}

fn is_host_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
}

//! Scenarios: `simulations/*.toml`, read strictly.
//!
//! A scenario says what the mesh looks like, what is asked of it, what goes wrong, and what must hold. Together with a seed
//! it expands into an explicit [`Plan`](super::plan::Plan) before the run begins. This room opens no file: text in.

mod file;
mod kind;
mod place;
mod quantity;
mod swarm;
mod who;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

pub(super) use file::{Appends, Edits, Expect, File, Heal, Mode, Network, Often, Proposals, Scheduled, Wish};
pub(super) use kind::Kind;
pub use kind::{Family, FaultKind, faults};
pub(super) use quantity::{Rate, Span};
pub use swarm::Drawn;

use super::luck::Luck;
use super::{check, repro};
use crate::documents::Policies;
use crate::topology::Topology;
use crate::{config, node};

/// A scenario that can be run.
#[derive(Clone, Debug)]
pub struct Scenario {
    name: String,
    file: String,
    /// Part of the identity of a run: the same seed in another text is another run.
    text: String,
    pub(super) says: File,
    pub(super) mesh: Topology,
    /// How the machines of every node behave.
    pub(super) config: node::Config,
    /// How those of some behave, by their place.
    own: BTreeMap<u32, node::Config>,
    /// What a seed drew of a swarm.
    drawn: Option<Drawn>,
}

/// Why a text is not a scenario. Nothing was run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    file: String,
    /// Line and column, where known.
    place: Option<(usize, usize)>,
    why: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((line, column)) => write!(f, "{}:{line}:{column}: {}", self.file, self.why),
            None => write!(f, "{}: {}", self.file, self.why),
        }
    }
}

impl std::error::Error for Error {}

/// A topology file that a scenario names.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where it was found, for errors.
    pub file: String,
    /// What it says.
    pub text: String,
}

impl Scenario {
    /// The only schema so far.
    pub const SCHEMA: u32 = 1;
    /// Longest file, in bytes.
    pub const TEXT_MAX: usize = 64 << 20;
    /// Longest run: a day.
    pub const SPAN_MAX: u64 = 24 * 3_600_000_000_000;

    /// Reads a scenario. `file` is for the errors and the line that replays a failure; `topology` finds a topology by name.
    ///
    /// # Errors
    /// [`Error`] with file, place where known, key and reason of the first thing that is wrong.
    pub fn parse(
        file: &str,
        text: &str,
        topology: &mut dyn FnMut(&str) -> Result<Found, String>,
    ) -> Result<Self, Error> {
        let error = |place, why| Error { file: file.to_owned(), place, why };
        if text.len() > Self::TEXT_MAX {
            return Err(error(None, format!("the file has {} bytes, the limit is {}", text.len(), Self::TEXT_MAX)));
        }
        let whole = |why: String| error(place::of(text, &why), why);
        let says: File = toml::from_str(text).map_err(|bad| match repro::wrong_piece(text) {
            Some(why) => whole(why),
            None => error(bad.span().map(|span| line_column(text, span.start)), flat(bad.message())),
        })?;
        let (mesh, mesh_text) = mesh_of(&says, topology).map_err(whole)?;
        let config = config_of("config", &says.config, &mesh).map_err(whole)?;
        let own = own_of(&says, &mesh).map_err(whole)?;
        checked(&says).map_err(whole)?;
        broke(&says, text).map_err(whole)?;
        let stem = file.rsplit(['/', '\\']).next().unwrap_or(file);
        let name = stem.strip_suffix(".toml").unwrap_or(stem).to_owned();
        let text = format!("{text}\n{mesh_text}");
        let scenario = Self { name, file: file.to_owned(), text, says, mesh, config, own, drawn: None };
        // Whoever is named must exist, whatever the seed.
        scenario.tried().map_err(whole)?;
        if scenario.says.repro.is_some() {
            super::drawn(&scenario, 0).map_err(|why| whole(format!("repro.{why}")))?;
        }
        Ok(scenario)
    }

    /// Its file's name without the ending.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The seed of the run that its file holds, if it holds one.
    #[must_use]
    pub fn repro(&self) -> Option<u64> {
        self.says.repro.as_ref().map(|repro| repro.seed)
    }

    /// What the run that its file holds broke when it was found: an invariant, or an expectation.
    #[must_use]
    pub fn broke(&self) -> Option<&str> {
        self.says.repro.as_ref().map(|repro| repro.breaks.as_str())
    }

    /// Its file, as given.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// What it is about, for people.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.says.description
    }

    /// How many peers it has.
    #[must_use]
    pub fn peers(&self) -> usize {
        self.mesh.nodes().len()
    }

    /// The overlay that they form.
    #[must_use]
    pub fn overlay(&self) -> String {
        self.mesh.overlay().to_string()
    }

    /// How long a run is, in virtual nanoseconds.
    #[must_use]
    pub fn span_ns(&self) -> u64 {
        let phases = &self.says.phases;
        phases.warm_up.0 + phases.chaos.0 + phases.quiet.0 + phases.calm.0
    }

    /// Whether an invariant judges a run of it; see [`judged_only`].
    #[must_use]
    pub fn is_judged_by(&self, id: &str) -> bool {
        let says = &self.says;
        let edits = !says.edits.is_empty() || says.swarm.as_ref().is_some_and(|swarm| swarm.edits.is_some());
        id != "R2" || (edits && says.phases.calm.0 >= check::LAG_IS_JUDGED_AFTER)
    }

    /// Whether no link ever loses anything by itself.
    pub(super) fn is_lossless(&self) -> bool {
        let zero = crate::topology::Ppm::ZERO;
        let listed = self.mesh.wires().all(|(_, _, link)| link.loss == zero);
        self.says.network.loss.0 == 0 && listed && self.mesh.default_link().is_none_or(|link| link.loss == zero)
    }

    /// How the machines of the node at this place behave.
    pub(super) fn config_at(&self, place: u32) -> &node::Config {
        self.own.get(&place).unwrap_or(&self.config)
    }

    /// Whether policies decide what shows, from the start or later.
    pub(super) fn has_policies(&self) -> bool {
        !self.says.policies.is_empty() || self.says.proposals.iter().any(|says| !says.policies.is_empty())
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// When the warm-up is over.
    pub(super) fn chaos_at(&self) -> u64 {
        self.says.phases.warm_up.0
    }

    /// When the last fault has begun.
    pub(super) fn quiet_at(&self) -> u64 {
        self.chaos_at() + self.says.phases.chaos.0
    }

    /// From the end of the last fault until all may be expected to agree on who is there: a dial that hangs, or a link that is
    /// silent, until it is given up; two periods until whoever is gone is probed; the longest suspicion (Lifeguard's, six times the
    /// shortest); and two more periods.
    pub(super) fn calm_needed(&self) -> Span {
        const PERIODS: u32 = 4;
        const SUSPICION: u32 = 6;
        let (network, membership) = (&self.says.network, &self.config.membership);
        let shortest = membership.suspicion_floor.max(PERIODS * membership.probe_period);
        let seen = PERIODS * membership.probe_period + SUSPICION * shortest;
        let seen = u64::try_from(seen.as_nanos()).unwrap_or(u64::MAX);
        Span(network.dial_timeout.0.max(network.cut_detection.0).saturating_add(seen))
    }

    /// When faults end.
    pub(super) fn calm_at(&self) -> u64 {
        self.quiet_at() + self.says.phases.quiet.0
    }
}

/// Where an invariant does not judge every scenario: which it does, in words.
#[must_use]
pub fn judged_only(id: &str) -> Option<String> {
    let least = Span(check::LAG_IS_JUDGED_AFTER);
    (id == "R2").then(|| format!("only where documents are edited and the calm is {least} or longer"))
}

fn line_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

fn flat(message: &str) -> String {
    message.trim_end().replace('\n', " ")
}

fn mesh_of(says: &File, topology: &mut dyn FnMut(&str) -> Result<Found, String>) -> Result<(Topology, String), String> {
    let found = match (&says.topology, &says.mesh) {
        (Some(name), None) => topology(name).map_err(|why| format!("topology: {why}"))?,
        (None, Some(mesh)) => Found { file: "[mesh]".to_owned(), text: mesh_text(mesh) },
        (Some(_), Some(_)) => return Err("topology and [mesh] exclude each other".to_owned()),
        (None, None) => return Err("either topology = \"NAME\" or [mesh] is needed".to_owned()),
    };
    let mesh = Topology::parse(&found.file, &found.text).map_err(|error| {
        let why = error.to_string();
        if says.mesh.is_some() { in_mesh(&why) } else { why }
    })?;
    Ok((mesh, found.text))
}

/// The error of the topology that `[mesh]` stands for, whose lines nobody has written: said with the key of `[mesh]` that it comes of.
fn in_mesh(why: &str) -> String {
    let why =
        why.trim_start_matches("[mesh]").trim_start_matches(|c: char| c == ':' || c.is_ascii_digit()).trim_start();
    let Some((path, why)) = why.split_once(": ") else { return format!("mesh: {why}") };
    let key = match path.rsplit('.').next().unwrap_or(path) {
        "count" => "peers",
        "delay" if path.starts_with("link") => "apart",
        key => key,
    };
    format!("mesh.{key}: {why}")
}

/// `[config]` is a peer's configuration file, read as the production driver reads it.
fn config_of(table: &str, says: &toml::Table, mesh: &Topology) -> Result<node::Config, String> {
    let foreign = says.keys().find(|section| ["node", "network", "api", "log"].contains(&section.as_str()));
    if let Some(section) = foreign {
        return Err(format!("{table}.{section}: not in a simulation"));
    }
    let text = says.to_string();
    let read = config::parse(Some((Path::new("[config]"), &text)), [], &config::Flags::new());
    let config::Config {
        membership,
        overlay,
        replication,
        documents,
        audit,
        streams,
        wal,
        snapshots,
        consensus,
        voters,
        roles,
        ..
    } = read.map_err(|error| place::renamed(table, &text, &error.to_string()))?;
    let policy = mesh.overlay();
    Ok(node::Config {
        membership,
        policy,
        overlay,
        replication,
        documents,
        events: streams,
        audit,
        wal,
        snapshots,
        consensus,
        voters: voters.into(),
        roles,
    })
}

/// The whole configuration of each peer that has settings of its own.
fn own_of(says: &File, mesh: &Topology) -> Result<BTreeMap<u32, node::Config>, String> {
    let mut files: BTreeMap<u32, (usize, toml::Table)> = BTreeMap::new();
    let luck = Luck::new(0, "");
    for (n, own) in says.own.iter().enumerate() {
        let peers = own.peers.choose(mesh, luck.stream(&format!("own {n}")), 0);
        for peer in peers.map_err(|why| format!("own[{n}].peers: {why}"))? {
            let (last, file) = files.entry(peer).or_insert_with(|| (n, says.config.clone()));
            *last = n;
            for (section, keys) in &own.config {
                match (file.get_mut(section), keys) {
                    (Some(toml::Value::Table(known)), toml::Value::Table(keys)) => known.extend(keys.clone()),
                    _ => drop(file.insert(section.clone(), keys.clone())),
                }
            }
        }
    }
    let read = |(n, file): (usize, toml::Table)| config_of(&format!("own[{n}].config"), &file, mesh);
    files.into_iter().map(|(peer, file)| Ok((peer, read(file)?))).collect()
}

/// `[mesh]` as the topology file that it stands for.
fn mesh_text(mesh: &file::Mesh) -> String {
    let or = |value: &Option<String>, default: &str| value.clone().unwrap_or_else(|| default.to_owned());
    let bandwidth = mesh.bandwidth.as_ref().map(|text| format!(", bandwidth = {text:?}")).unwrap_or_default();
    let (jitter, loss) = (or(&mesh.jitter, "0.4ms"), or(&mesh.loss, "0ppm"));
    let rest = format!("jitter = {jitter:?}, loss = {loss:?}{bandwidth}");
    let (overlay, delay) = (mesh.overlay.to_string(), or(&mesh.delay, "0.4ms"));
    let head =
        format!("schema = 1\nname = \"mesh\"\noverlay = {overlay:?}\ndefault-link = {{ delay = {delay:?}, {rest} }}\n");
    if mesh.regions == 0 {
        return format!("{head}[[group]]\nname = \"p\"\ncount = {}\n", mesh.peers);
    }
    let names: Vec<String> = (1..=mesh.regions).map(|n| format!("region-{n}")).collect();
    let (each, apart) = (mesh.peers / mesh.regions, or(&mesh.apart, "40ms"));
    let regions = names.iter().map(|name| format!("[[region]]\nname = {name:?}\n"));
    let groups = (1..)
        .zip(&names)
        .map(|(n, region)| format!("[[group]]\nname = \"p{n}\"\ncount = {each}\nregion = {region:?}\n"));
    let pairs = names.iter().enumerate().flat_map(|(at, one)| names[at + 1..].iter().map(move |other| (one, other)));
    let links = pairs.map(|(one, other)| {
        let rest = rest.replace(", ", "\n");
        format!("[[link]]\nbetween = [{one:?}, {other:?}]\ndelay = {apart:?}\n{rest}\n")
    });
    head + &regions.chain(groups).chain(links).collect::<String>()
}

/// A peer that is much slower than this has not caught up when the calm begins, nor when it ends: that would read as a broken
/// invariant.
const FACTOR_MAX: u32 = 100;

fn factors(says: &File) -> Result<(), String> {
    let scheduled = says.faults.iter().enumerate().map(|(n, fault)| (format!("fault[{n}]"), fault.factor));
    let random = says.random.kinds.iter().map(|(kind, often)| (format!("random.{}", kind.about().name), often.factor));
    for (key, factor) in scheduled.chain(random) {
        if let Some(factor) = factor.filter(|factor| *factor > FACTOR_MAX) {
            return Err(format!("{key}.factor: {factor}, at most {FACTOR_MAX}"));
        }
    }
    for (kind, often) in &says.random.kinds {
        ordered(&format!("random.{}.for", kind.about().name), Some(often.lasts))?;
    }
    Ok(())
}

/// That a range is one.
fn ordered<T: PartialOrd + Copy>(key: &str, range: Option<[T; 2]>) -> Result<(), String> {
    match range {
        Some([low, high]) if low > high => Err(format!("{key}: the range is reversed: the lower end comes first")),
        _ => Ok(()),
    }
}

/// That a repro file says of something that there is that it broke it: else nobody could tell whether it is mended.
fn broke(says: &File, text: &str) -> Result<(), String> {
    let Some(breaks) = says.repro.as_ref().map(|repro| &repro.breaks) else { return Ok(()) };
    let file: toml::Table = text.parse().unwrap_or_default();
    let expects = file.get("expect").and_then(|expect| expect.get(breaks)).is_some();
    if expects || check::ids().any(|(known, _)| known == breaks.as_str()) {
        return Ok(());
    }
    Err(format!("repro.breaks: there is no invariant {breaks:?}, and [expect] has no such key"))
}

/// What each key says alone is right; this is about what they say together.
fn checked(says: &File) -> Result<(), String> {
    if says.schema != Scenario::SCHEMA {
        return Err(format!("schema: {} is unknown, this version reads {}", says.schema, Scenario::SCHEMA));
    }
    if let Some(mesh) = says.mesh.as_ref().filter(|mesh| mesh.regions > 0 && !mesh.peers.is_multiple_of(mesh.regions)) {
        return Err(format!("mesh: {} peers cannot be dealt to {} regions alike", mesh.peers, mesh.regions));
    }
    let phases = &says.phases;
    let span = [phases.chaos.0, phases.quiet.0, phases.calm.0].into_iter().fold(phases.warm_up.0, u64::saturating_add);
    if span > Scenario::SPAN_MAX {
        return Err(format!("phases: {} in all, at most {}", Span(span), Span(Scenario::SPAN_MAX)));
    }
    says.swarm.as_ref().map_or(Ok(()), swarm::checked)?;
    factors(says)?;
    if let Some((id, _)) = says.checks.except.iter().find(|(_, why)| why.trim().is_empty()) {
        return Err(format!(
            "checks.except.{id}: a reason is needed: what does the scenario do on purpose that breaks it?"
        ));
    }
    if let Some((id, _)) =
        says.checks.except.iter().find(|(id, _)| !check::ids().any(|(known, _)| known == id.as_str()))
    {
        return Err(format!("checks.except: there is no invariant {id:?}"));
    }
    let of_the_mesh = std::iter::once(("policies".to_owned(), &says.policies));
    let decided =
        says.proposals.iter().enumerate().map(|(n, says)| (format!("proposals[{n}].policies"), &says.policies));
    for (key, policies) in of_the_mesh.chain(decided) {
        Policies::new(policies.clone()).map_err(|error| format!("{key}: {error}"))?;
    }
    let nowhere = |says: &Appends| says.streams == 0 || says.events == 0;
    if let Some(n) = says.appends.iter().position(nowhere) {
        return Err(format!("appends[{n}]: at least 1 stream and 1 event"));
    }
    if let Some(n) = says.proposals.iter().position(|says| says.registers == 0) {
        return Err(format!("proposals[{n}].registers: at least 1"));
    }
    let of_the_moment = |says: &Proposals| !says.policies.is_empty() || !says.wish.is_empty();
    if let Some(n) = says.proposals.iter().position(|says| of_the_moment(says) && says.again.0 > 0) {
        return Err(format!("proposals[{n}].again: policies and wishes are of the moment they are asked for"));
    }
    if let Some(n) = says.proposals.iter().position(|says| !says.policies.is_empty() && !says.wish.is_empty()) {
        return Err(format!("proposals[{n}]: policies or a wish, not both"));
    }
    says.edits
        .iter()
        .enumerate()
        .try_for_each(|(n, edits)| if edits.docs == 0 { Err(format!("edits[{n}].docs: at least 1")) } else { Ok(()) })
}

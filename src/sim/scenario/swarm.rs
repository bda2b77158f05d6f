//! Swarm testing (Groce et al., ISSTA 2012): each seed leaves most features out and takes the others to extremes, so that seeds
//! differ in kind. What a seed draws is a scenario without a swarm; faults then expand from it as from any other.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;

use super::file::{Appends, Edits, File, Mesh, Mode, Often, Proposals, Ranges, Swarm, Wish};
use super::kind::{Family, Kind};
use super::quantity::{Rate, Share, Span};
use super::who::Who;
use super::{Scenario, config_of, mesh_of, ordered, own_of};
use crate::sim::luck::{Luck, Stream};
use crate::sim::plan::Plan;
use crate::topology::Policy;

/// So many seeds are tried when a swarm is read, and each value of each setting besides.
const TRIED: u64 = 16;

/// What a seed drew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Drawn {
    /// How many peers.
    pub peers: usize,
    /// Their overlay.
    pub overlay: String,
    /// The kinds of faults that were on, with the mean time between two in milliseconds.
    pub faults: BTreeMap<&'static str, u64>,
    /// Everything else, as a person would write it.
    pub settings: BTreeMap<String, String>,
}

impl Scenario {
    /// Whether each seed draws for itself.
    #[must_use]
    pub fn is_swarm(&self) -> bool {
        self.says.swarm.is_some()
    }

    /// What this scenario drew, if a seed drew it.
    #[must_use]
    pub fn drawn(&self) -> Option<&Drawn> {
        self.drawn.as_ref()
    }

    /// What this seed makes of it: itself, unless it is a swarm. Its text and so its luck stay.
    ///
    /// # Errors
    /// Which draw does not fit with which, and why.
    pub(in crate::sim) fn for_seed(&self, luck: &Luck) -> Result<Cow<'_, Self>, String> {
        match &self.says.swarm {
            // What was drawn is not drawn again.
            Some(_) if self.drawn.is_some() => Ok(Cow::Borrowed(self)),
            None => Ok(Cow::Borrowed(self)),
            Some(swarm) => self.drawn_by(swarm, luck).map(Cow::Owned),
        }
    }

    /// That it can be run: with seeds of any kind, and with each value of each setting.
    pub(super) fn tried(&self) -> Result<(), String> {
        for seed in 0..if self.is_swarm() { TRIED } else { 1 } {
            let luck = Luck::new(seed, "");
            Plan::expand(&*self.for_seed(&luck)?, &luck)?;
        }
        let Some(swarm) = &self.says.swarm else { return Ok(()) };
        for (key, values) in &swarm.config {
            if values.is_empty() {
                return Err(format!("swarm.config: {key} has no value to choose"));
            }
            for value in values {
                let mut config = self.says.config.clone();
                set(&mut config, key, value)?;
                config_of("swarm.config", &config, &self.mesh)?;
            }
        }
        Ok(())
    }

    fn drawn_by(&self, swarm: &Swarm, luck: &Luck) -> Result<Self, String> {
        let draw = Draw(luck.stream("swarm"));
        let mut says = self.says.clone();
        let mut drawn = Drawn::default();
        let random = says.random.kinds.clone();
        draw.mesh(swarm, &mut says, &mut drawn)?;
        draw.load(swarm, &mut says, &mut drawn);
        for (n, (key, values)) in (0..).zip(&swarm.config) {
            let value = draw.one_of(100 + n, values).ok_or_else(|| format!("swarm.config: {key} has no value"))?;
            set(&mut says.config, key, value)?;
            drawn.settings.insert(key.clone(), value.to_string());
        }
        says.random.kinds = draw.faults(swarm, &says, &mut drawn);
        says.random.kinds.extend(random);
        says.swarm = None;
        let mut none = |_: &str| Err("a swarm draws its mesh".to_owned());
        let mesh = if says.mesh.is_some() { mesh_of(&says, &mut none)?.0 } else { self.mesh.clone() };
        let config = config_of("config", &says.config, &mesh)?;
        let own = own_of(&says, &mesh)?;
        drawn.peers = mesh.nodes().len();
        drawn.overlay = mesh.overlay().to_string();
        let (name, file, text) = (self.name.clone(), self.file.clone(), self.text.clone());
        Ok(Self { name, file, text, says, mesh, config, own, drawn: Some(drawn) })
    }
}

/// That each range has a lower end, which comes first. Two rates are one range whichever comes first.
pub(super) fn checked(swarm: &Swarm) -> Result<(), String> {
    if let Some([0, _]) = swarm.peers {
        return Err("swarm.peers: at least 1 peer".to_owned());
    }
    ordered("swarm.peers", swarm.peers)?;
    ordered("swarm.regions", swarm.regions)?;
    ordered("swarm.delay", swarm.delay)?;
    ordered("swarm.apart", swarm.apart)?;
    ordered("swarm.loss", swarm.loss)?;
    ordered("swarm.sync", swarm.sync)?;
    ordered("swarm.docs", swarm.docs)?;
    ordered("swarm.padding", swarm.padding)?;
    swarm.faults.iter().try_for_each(|(kind, ranges)| {
        let key = format!("swarm.faults.{}", kind.about().name);
        ordered(&format!("{key}.every"), Some(ranges.every))?;
        ordered(&format!("{key}.for"), Some(ranges.lasts))
    })
}

/// Sets a setting by its whole name.
fn set(config: &mut toml::Table, key: &str, value: &toml::Value) -> Result<(), String> {
    let (section, name) = key.split_once('.').ok_or_else(|| format!("swarm.config: {key:?} is no SECTION.KEY"))?;
    let table = config.entry(section.to_owned()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
    let table = table.as_table_mut().ok_or_else(|| format!("config.{section}: not a table"))?;
    table.insert(name.to_owned(), value.clone());
    Ok(())
}

/// The draws of one seed: each has a number of its own, so that a key more shifts no other.
#[derive(Clone, Copy)]
struct Draw(Stream);

impl Draw {
    fn span(self, n: u64, [low, high]: [Span; 2]) -> Span {
        Span(self.0.log_between(n, 0, low.0, high.0))
    }

    fn even(self, n: u64, [low, high]: [usize; 2]) -> usize {
        usize::try_from(self.0.between(n, 0, low as u64, high as u64)).unwrap_or(low)
    }

    fn rate(self, n: u64, [one, other]: [Rate; 2]) -> Rate {
        let (low, high) = (one.every_ns.min(other.every_ns), one.every_ns.max(other.every_ns));
        Rate { every_ns: self.0.log_between(n, 0, low, high) }
    }

    fn count(self, n: u64, [low, high]: [u32; 2]) -> u32 {
        u32::try_from(self.0.log_between(n, 0, u64::from(low), u64::from(high))).unwrap_or(high)
    }

    fn one_of<T>(self, n: u64, some: &[T]) -> Option<&T> {
        some.get(usize::try_from(self.0.below(n, 0, some.len() as u64)).ok()?)
    }

    fn half(self, n: u64, counter: u64) -> bool {
        self.0.bits(n, counter) & 1 == 1
    }

    fn mesh(self, swarm: &Swarm, says: &mut File, drawn: &mut Drawn) -> Result<(), String> {
        if let Some(mode) = self.one_of(1, &swarm.modes) {
            says.network.mode = *mode;
            drawn.settings.insert("network.mode".to_owned(), format!("{mode:?}").to_lowercase());
        }
        if let Some(sync) = swarm.sync {
            (says.disk.sync, says.disk.jitter) = (self.span(2, sync), self.span(3, sync));
            drawn.settings.insert("disk.sync".to_owned(), says.disk.sync.to_string());
        }
        let Some(mesh) = &mut says.mesh else {
            let mesh = swarm.peers.is_some() || swarm.delay.is_some() || !swarm.overlays.is_empty();
            return if mesh {
                Err("swarm: peers, overlays and links are drawn of [mesh] only".to_owned())
            } else {
                Ok(())
            };
        };
        self.links(swarm, mesh, drawn);
        if let Some(peers) = swarm.peers {
            mesh.peers = self.even(4, peers);
        }
        if let Some(policy) = self.one_of::<Policy>(5, &swarm.overlays) {
            mesh.overlay = *policy;
        }
        if let Some(regions) = swarm.regions {
            let regions = self.even(6, regions);
            mesh.regions = if regions > 1 && mesh.peers.is_multiple_of(regions) { regions } else { 0 };
            drawn.settings.insert("mesh.regions".to_owned(), mesh.regions.to_string());
        }
        Ok(())
    }

    fn links(self, swarm: &Swarm, mesh: &mut Mesh, drawn: &mut Drawn) {
        let micros = |span: Span| format!("{}us", span.0 / 1_000);
        if let Some(delay) = swarm.delay {
            let delay = self.span(7, delay);
            (mesh.delay, mesh.jitter) = (Some(micros(delay)), Some(micros(Span(delay.0 / 2))));
            drawn.settings.insert("mesh.delay".to_owned(), delay.to_string());
        }
        if let Some(apart) = swarm.apart {
            mesh.apart = Some(micros(self.span(8, apart)));
        }
        if let Some([Share(low), Share(high)]) = swarm.loss {
            let loss = format!("{}ppm", self.0.log_between(9, 0, low, high));
            drawn.settings.insert("mesh.loss".to_owned(), loss.clone());
            mesh.loss = Some(loss);
        }
    }

    fn load(self, swarm: &Swarm, says: &mut File, drawn: &mut Drawn) {
        if let Some(edits) = swarm.edits {
            let rate = self.rate(20, edits);
            let docs = self.count(21, swarm.docs.unwrap_or([1, 30])).max(1);
            let padding = swarm.padding.map_or(0, |range| self.count(22, range));
            let shared = Share(self.0.below(23, 0, 500_000));
            drawn.settings.insert("edits".to_owned(), format!("every {} over {docs} docs", Span(rate.every_ns)));
            says.edits.push(Edits { peers: Who::All, docs, rate, from: None, until: None, shared, padding, ack: None });
        }
        if let Some(appends) = swarm.appends.filter(|_| self.half(24, 0)) {
            let rate = self.rate(25, appends);
            let (streams, events) = (self.count(26, [1, 4]), self.count(27, [1, 8]));
            drawn.settings.insert("appends".to_owned(), format!("every {} to {streams}", Span(rate.every_ns)));
            let (from, until, ack) = (None, None, None);
            says.appends.push(Appends { peers: Who::All, streams, rate, events, from, until, padding: 40, ack });
        }
        if let Some(proposals) = swarm.proposals.filter(|_| self.half(28, 0)) {
            let (rate, registers) = (self.rate(29, proposals), self.count(30, [1, 4]));
            drawn.settings.insert("proposals".to_owned(), format!("every {} of {registers}", Span(rate.every_ns)));
            let (peers, rate, at, from, until) = (Who::All, Some(rate), None, None, None);
            let (policies, wish, whom, padding, again) = (Vec::new(), Vec::new(), Who::All, 0, Share(200_000));
            says.proposals.push(Proposals {
                peers,
                registers,
                policies,
                wish,
                whom,
                padding,
                again,
                rate,
                at,
                from,
                until,
            });
        }
        if let Some(wishes) = swarm.wishes.filter(|_| self.half(31, 0)) {
            let rate = self.rate(32, wishes);
            drawn.settings.insert("wishes".to_owned(), format!("every {}", Span(rate.every_ns)));
            says.proposals.push(Proposals {
                peers: Who::All,
                registers: 1,
                policies: Vec::new(),
                wish: vec![Wish::Add, Wish::Remove, Wish::Clear],
                whom: Who::All,
                padding: 0,
                again: Share(0),
                rate: Some(rate),
                at: None,
                from: None,
                until: None,
            });
        }
    }

    /// Half of the families, and half of the kinds of each; at least one kind is off.
    fn faults(self, swarm: &Swarm, says: &File, drawn: &mut Drawn) -> BTreeMap<Kind, Often> {
        let regions = says.mesh.as_ref().is_none_or(|mesh| mesh.regions > 1);
        let fits = |kind: Kind| match kind {
            Kind::Duplicate | Kind::Reorder => says.network.mode == Mode::Datagram,
            Kind::RegionCut => regions,
            _ => true,
        };
        let number = |family: Family| 1_000 + family as u64;
        let on =
            |kind: Kind| fits(kind) && self.half(number(kind.about().family), 0) && self.half(2_000 + kind as u64, 0);
        let mut kinds: Vec<(Kind, Ranges)> = swarm.faults.iter().map(|(kind, often)| (*kind, *often)).collect();
        let all = kinds.len();
        kinds.retain(|(kind, _)| on(*kind));
        if all > 1 && kinds.len() == all {
            kinds.remove(self.even(3_000, [0, all - 1]));
        }
        let often = |(kind, ranges): (Kind, Ranges)| {
            let (every, longest) =
                (self.span(4_000 + kind as u64, ranges.every), self.span(5_000 + kind as u64, ranges.lasts));
            drawn.faults.insert(kind.about().name, every.0 / 1_000_000);
            (kind, Often { every, lasts: [ranges.lasts[0], longest], factor: None, share: None })
        };
        kinds.into_iter().map(often).collect()
    }
}

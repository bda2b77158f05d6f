//! From the file's shape to a valid topology: names, references, numbers, and that nobody is out of reach.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;

use super::error::Source;
use super::file::{File, GroupFile, LinkFile, NodeFile, Quality, RegionFile};
use super::link::{Belongs, End, Link, Links, Ppm};
use super::{Error, Node, Place, Region, Topology, quantity};
use crate::types::Address;

/// Checks everything, in the file's order where it can.
pub(super) fn check(file: File, source: &Source<'_>) -> Result<Topology, Error> {
    if *file.schema.as_ref() != Topology::SCHEMA {
        let why = format!("schema {} is unknown; this version reads {}", file.schema.as_ref(), Topology::SCHEMA);
        return Err(source.error(Some(file.schema.span()), why));
    }
    let mut checked =
        Checked { source, names: BTreeMap::new(), regions: Vec::new(), nodes: Vec::new(), belongs: Vec::new() };
    checked.name(&file.name)?;
    for region in file.regions {
        checked.region(region)?;
    }
    for node in file.nodes {
        checked.node(node)?;
    }
    for (at, group) in file.groups.into_iter().enumerate() {
        checked.group(at, group)?;
    }
    if checked.nodes.is_empty() {
        return Err(source.error(None, "there is no node: add [[node]] or [[group]]"));
    }
    let default = file.default_link.as_ref().map(|quality| checked.quality(quality)).transpose()?;
    let links = checked.links(default, &file.links)?;
    Ok(Topology {
        name: file.name.into_inner(),
        description: file.description,
        overlay: file.overlay,
        regions: checked.regions,
        nodes: checked.nodes,
        links,
    })
}

/// What is known so far.
struct Checked<'a> {
    source: &'a Source<'a>,
    names: BTreeMap<String, End>,
    regions: Vec<Region>,
    nodes: Vec<Node>,
    belongs: Vec<Belongs>,
}

impl Checked<'_> {
    fn region(&mut self, region: RegionFile) -> Result<(), Error> {
        self.claim(&region.name, region.name.as_ref().clone(), End::Region(self.regions.len()))?;
        let mut zones = Vec::with_capacity(region.zones.len());
        for zone in region.zones {
            self.name(&zone)?;
            if zones.contains(zone.as_ref()) {
                return Err(self.source.error(Some(zone.span()), format!("zone {:?} is named twice", zone.as_ref())));
            }
            zones.push(zone.into_inner());
        }
        let position = region.position.map(|place| self.place(&place)).transpose()?;
        self.regions.push(Region { name: region.name.into_inner(), zones, position });
        Ok(())
    }

    fn node(&mut self, file: NodeFile) -> Result<(), Error> {
        let span = file.name.span();
        self.claim(&file.name, file.name.as_ref().clone(), End::Node(self.nodes.len()))?;
        let region = self.in_region(file.region.as_ref(), &span)?;
        let zone = self.zone(region, file.zone)?;
        let mut addresses = Vec::with_capacity(file.addresses.len());
        for text in file.addresses {
            let address = Address::parse(text.as_ref());
            addresses.push(address.map_err(|error| self.source.error(Some(text.span()), error.to_string()))?);
        }
        let own = file.position.map(|place| self.place(&place)).transpose()?;
        self.push(
            Node {
                name: file.name.into_inner(),
                region: region.map(|at| self.regions[at].name.clone()),
                zone,
                priority: file.priority,
                role: file.role,
                addresses,
                position: own.or_else(|| region.and_then(|at| self.regions[at].position)),
                group: None,
            },
            Belongs { group: None, region },
            &span,
        )
    }

    fn group(&mut self, at: usize, file: GroupFile) -> Result<(), Error> {
        self.claim(&file.name, file.name.as_ref().clone(), End::Group(at))?;
        let count = *file.count.as_ref();
        if count == 0 || count > Topology::NODES_MAX {
            let why = format!("a group has 1 to {} nodes, not {count}", Topology::NODES_MAX);
            return Err(self.source.error(Some(file.count.span()), why));
        }
        let span = file.name.span();
        let region = self.in_region(file.region.as_ref(), &span)?;
        let zone = self.zone(region, file.zone)?;
        for nth in 0..count {
            let name = format!("{}-{}", file.name.as_ref(), nth + 1);
            self.claim(&file.name, name.clone(), End::Node(self.nodes.len()))?;
            let here = region.map(|at| &self.regions[at]);
            let dealt = here.filter(|region| !region.zones.is_empty()).map(|r| r.zones[nth % r.zones.len()].clone());
            self.push(
                Node {
                    name,
                    region: here.map(|region| region.name.clone()),
                    zone: zone.clone().or(dealt),
                    priority: file.priority,
                    role: file.role,
                    addresses: Vec::new(),
                    position: here.and_then(|region| region.position),
                    group: Some(file.name.as_ref().clone()),
                },
                Belongs { group: Some(at), region },
                &span,
            )?;
        }
        Ok(())
    }

    fn push(&mut self, node: Node, belongs: Belongs, span: &Range<usize>) -> Result<(), Error> {
        if self.nodes.len() == Topology::NODES_MAX {
            let why = format!("this is one more than the limit of {} nodes", Topology::NODES_MAX);
            return Err(self.source.error(Some(span.clone()), why));
        }
        self.nodes.push(node);
        self.belongs.push(belongs);
        Ok(())
    }

    fn links(&mut self, default: Option<Link>, files: &[LinkFile]) -> Result<Links, Error> {
        let mut links = Links::new(default, std::mem::take(&mut self.belongs));
        for file in files {
            let [a, b] = file.between.as_ref();
            let (from, to) = (self.end(a)?, self.end(b)?);
            if from == to && matches!(from, End::Node(_)) {
                return Err(self.source.error(Some(b.span()), format!("{:?} needs no link to itself", b.as_ref())));
            }
            let link = self.link(&file.delay, file.jitter.as_ref(), file.loss.as_ref(), file.bandwidth.as_ref())?;
            if !links.list(from, to, link) {
                let why = format!("a link between {:?} and {:?} is listed twice", a.as_ref(), b.as_ref());
                return Err(self.source.error(Some(file.between.span()), why));
            }
        }
        links.wire(Topology::PAIRS_MAX).map_err(|_| {
            let why =
                format!("the links connect more than {} pairs of nodes: give a default-link", Topology::PAIRS_MAX);
            self.source.error(None, why)
        })?;
        if let Some(node) = links.unreachable() {
            let (first, other) = (&self.nodes[0].name, &self.nodes[node].name);
            let why = format!("{other:?} cannot be reached from {first:?}: add a [[link]] or a default-link");
            return Err(self.source.error(None, why));
        }
        Ok(links)
    }

    fn quality(&self, file: &Quality) -> Result<Link, Error> {
        self.link(&file.delay, file.jitter.as_ref(), file.loss.as_ref(), file.bandwidth.as_ref())
    }

    fn link(
        &self,
        delay: &Spanned<String>,
        jitter: Option<&Spanned<String>>,
        loss: Option<&Spanned<String>>,
        bandwidth: Option<&Spanned<String>>,
    ) -> Result<Link, Error> {
        let bandwidth = bandwidth.map(|text| self.quantity(text, quantity::bandwidth).map(|bits| (bits, text.span())));
        let bandwidth = match bandwidth.transpose()? {
            Some((0, span)) => return Err(self.source.error(Some(span), "a link without bandwidth carries nothing")),
            Some((bits, _)) => Some(bits),
            None => None,
        };
        Ok(Link {
            delay: self.quantity(delay, quantity::duration)?,
            jitter: jitter.map(|text| self.quantity(text, quantity::duration)).transpose()?.unwrap_or_default(),
            loss: loss.map(|text| self.quantity(text, quantity::ppm)).transpose()?.unwrap_or(Ppm::ZERO),
            bandwidth,
        })
    }

    fn quantity<T>(
        &self,
        text: &Spanned<String>,
        read: impl FnOnce(&str) -> Result<T, quantity::QuantityError>,
    ) -> Result<T, Error> {
        read(text.as_ref()).map_err(|error| self.source.error(Some(text.span()), error.to_string()))
    }

    /// A name that people, shells and file names can bear.
    fn name(&self, name: &Spanned<String>) -> Result<(), Error> {
        let text = name.as_ref();
        let fits = (1..=Topology::NAME_MAX).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        if fits {
            return Ok(());
        }
        let why = format!(
            "{text:?} is no name: use 1 to {} of a-z, A-Z, 0-9, '-', '_' and '.', beginning with a letter or digit",
            Topology::NAME_MAX
        );
        Err(self.source.error(Some(name.span()), why))
    }

    /// Takes a name for one thing. Regions, nodes and groups share their names, so that a link's ends are clear.
    fn claim(&mut self, at: &Spanned<String>, name: String, end: End) -> Result<(), Error> {
        self.name(at)?;
        if let Some(first) = self.names.get(&name) {
            let why = format!("the name {name:?} is taken by a {}", kind(*first));
            return Err(self.source.error(Some(at.span()), why));
        }
        self.names.insert(name, end);
        Ok(())
    }

    fn end(&self, name: &Spanned<String>) -> Result<End, Error> {
        self.names.get(name.as_ref()).copied().ok_or_else(|| {
            let why =
                format!("there is no node, group or region {:?}{}", name.as_ref(), self.near(name.as_ref(), |_| true));
            self.source.error(Some(name.span()), why)
        })
    }

    fn in_region(&self, name: Option<&Spanned<String>>, node: &Range<usize>) -> Result<Option<usize>, Error> {
        let Some(name) = name else {
            if self.regions.is_empty() {
                return Ok(None);
            }
            let why = "the file has regions, so each node and group names one with `region`";
            return Err(self.source.error(Some(node.clone()), why));
        };
        if let Some(End::Region(at)) = self.names.get(name.as_ref()) {
            return Ok(Some(*at));
        }
        let near = self.near(name.as_ref(), |end| matches!(end, End::Region(_)));
        Err(self.source.error(Some(name.span()), format!("there is no region {:?}{near}", name.as_ref())))
    }

    fn zone(&self, region: Option<usize>, zone: Option<Spanned<String>>) -> Result<Option<String>, Error> {
        let Some(zone) = zone else { return Ok(None) };
        self.name(&zone)?;
        match region.map(|at| &self.regions[at]) {
            Some(region) if !region.zones.is_empty() && !region.zones.contains(zone.as_ref()) => {
                let zones = region.zones.join(", ");
                let why = format!("region {:?} has no zone {:?}; it has {zones}", region.name, zone.as_ref());
                Err(self.source.error(Some(zone.span()), why))
            }
            _ => Ok(Some(zone.into_inner())),
        }
    }

    fn place(&self, place: &Spanned<Place>) -> Result<Place, Error> {
        let Place { lon, lat } = *place.as_ref();
        if (-180.0..=180.0).contains(&lon) && (-90.0..=90.0).contains(&lat) {
            return Ok(Place { lon, lat });
        }
        let why = format!("lon is -180 to 180 and lat -90 to 90, not {lon} and {lat}");
        Err(self.source.error(Some(place.span()), why))
    }

    /// `; did you mean ..?`, if a known name is close.
    fn near(&self, name: &str, fits: impl Fn(End) -> bool) -> String {
        if name.len() > Topology::NAME_MAX {
            return String::new();
        }
        let known = self.names.iter().filter(|(_, end)| fits(**end)).map(|(known, _)| (distance(name, known), known));
        match known.min() {
            Some((off, known)) if off <= 2.min(name.len() / 2).max(1) => format!("; did you mean {known:?}?"),
            _ => String::new(),
        }
    }
}

const fn kind(end: End) -> &'static str {
    match end {
        End::Node(_) => "node",
        End::Group(_) => "group",
        End::Region(_) => "region",
    }
}

/// Levenshtein's distance, 1966: how many bytes to add, drop or change.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.bytes().enumerate() {
            let changed = corner + usize::from(from != to);
            corner = row[j + 1];
            row[j + 1] = changed.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

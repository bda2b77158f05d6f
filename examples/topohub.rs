//! Converts networks of TopoHub to topologies: `cargo run --example topohub -- NETWORK SOURCE > topologies/NETWORK.toml`.
//!
//! SOURCE is a file of TopoHub (`pip download topohub==1.5.1`, then `topohub/data/sndlib/abilene.json` of the wheel), or one
//! with the same members named `lon`, `lat`, `a` and `b`. TopoHub has names, places and links. What it does not have is ours,
//! and the head of each file says so: delays by great circle, regions, and priorities.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;

use oxigdal_ha::topology::{Place, Topology};
use serde::Deserialize;

/// Fibre follows roads and rails: how much longer than the great circle it is. An estimate.
const ROUTE_FACTOR: f64 = 1.5;
/// Light in fibre makes 2/3 of its speed in vacuum: km per ms.
const KM_PER_MS: f64 = 200.0;
/// The mean radius of the Earth, in km (IUGG).
const EARTH_KM: f64 = 6_371.008_8;
/// No link is faster: what two routers take on one site, in ms.
const DELAY_MIN_MS: f64 = 0.05;

/// What is ours about a network.
struct Network {
    name: &'static str,
    /// Which file of TopoHub.
    source: &'static str,
    /// Where TopoHub has it from.
    collection: &'static str,
    about: &'static str,
    overlay: &'static str,
    /// A node belongs to the nearest of these.
    regions: &'static [(&'static str, f64, f64)],
    /// Names of the source that say less than they could.
    renamed: &'static [(&'static str, &'static str)],
    /// Whether the source writes 48 degrees 51 minutes as 48.51. Known from its capitals.
    minutes: bool,
}

const ZOO: &str = "the Internet Topology Zoo (Knight et al., IEEE JSAC 29(9), 2011)";
const SNDLIB: &str = "SNDlib (Orlowski et al., Networks 55(3), 2010)";

const NETWORKS: [Network; 5] = [
    Network {
        name: "abilene",
        source: "sndlib/abilene",
        collection: SNDLIB,
        about: "Abilene, a research backbone of the United States.",
        overlay: "mesh",
        regions: &[("west", -119.0, 40.0), ("central", -97.0, 36.0), ("east", -80.0, 38.0)],
        renamed: &[
            ("ATLAM5", "atlanta-m5"),
            ("ATLAng", "atlanta"),
            ("CHINng", "chicago"),
            ("DNVRng", "denver"),
            ("HSTNng", "houston"),
            ("IPLSng", "indianapolis"),
            ("KSCYng", "kansas-city"),
            ("LOSAng", "los-angeles"),
            ("NYCMng", "new-york"),
            ("SNVAng", "sunnyvale"),
            ("STTLng", "seattle"),
            ("WASHng", "washington"),
        ],
        minutes: false,
    },
    Network {
        name: "nsfnet",
        source: "topozoo/Nsfnet",
        collection: ZOO,
        about: "NSFNET, the academic backbone of the United States around 1990.",
        overlay: "star",
        regions: &[("west", -117.0, 40.0), ("central", -95.0, 38.0), ("east", -78.0, 39.0)],
        renamed: &[
            ("SEQSUINET, Rice University, Houston", "houston"),
            ("Jon Von Neumann Center, Princeton, NJ", "princeton"),
            ("SURANET, Georgia Tech, Atlanta", "atlanta"),
            ("Pittsburgh Supercomputer Center", "pittsburgh"),
            ("Cornell Theory Center, Ithaca NY", "ithaca"),
            ("NorthWestNet, Seattle", "seattle"),
            ("BARRnet, Palo Alto", "palo-alto"),
            ("San Diego Supercomputer Center", "san-diego"),
            ("Westnet, Salt Lake City", "salt-lake-city"),
            ("NCAR, Boulder", "boulder"),
            ("MIDnet, Lincoln, NE", "lincoln"),
            ("NCSA, University of Illinois, Champaign", "champaign"),
            ("Merit Univ of Michigan, Ann Arbor", "ann-arbor"),
        ],
        minutes: false,
    },
    Network {
        name: "nobel-eu",
        source: "sndlib/nobel-eu",
        collection: SNDLIB,
        about: "The European reference network of the NOBEL project.",
        overlay: "tree:3",
        regions: &[
            ("isles", -3.0, 54.0),
            ("north", 13.0, 58.0),
            ("west", 3.0, 47.5),
            ("centre", 10.0, 50.0),
            ("south", 9.0, 42.0),
            ("east", 19.0, 47.0),
        ],
        renamed: &[],
        minutes: true,
    },
    Network {
        name: "geant2012",
        source: "topozoo/Geant2012",
        collection: ZOO,
        about: "GÉANT, the network between Europe's research networks, in 2012. A node is a country's.",
        overlay: "tree:3",
        regions: &[
            ("north", 15.0, 61.0),
            ("baltic", 26.0, 56.0),
            ("west", -1.0, 48.0),
            ("centre", 11.0, 50.0),
            ("balkans", 20.0, 44.0),
            ("levant", 33.0, 36.0),
        ],
        renamed: &[("SL", "si")],
        minutes: false,
    },
    Network {
        name: "germany50",
        source: "sndlib/germany50",
        collection: SNDLIB,
        about: "50 cities of Germany: a reference network of network planning.",
        overlay: "tree:3",
        regions: &[
            ("north", 9.5, 53.6),
            ("east", 12.6, 51.6),
            ("west", 7.2, 51.2),
            ("middle", 9.6, 50.6),
            ("south-west", 8.4, 48.8),
            ("south-east", 11.5, 48.9),
        ],
        renamed: &[],
        minutes: false,
    },
];

#[derive(Deserialize)]
struct Source {
    nodes: Vec<SourceNode>,
    #[serde(alias = "edges")]
    links: Vec<SourceLink>,
}

#[derive(Deserialize)]
struct SourceNode {
    id: Option<Id>,
    name: String,
    /// Longitude and latitude together.
    pos: Option<(f64, f64)>,
    lon: Option<f64>,
    lat: Option<f64>,
}

#[derive(Deserialize)]
struct SourceLink {
    #[serde(alias = "source")]
    a: Id,
    #[serde(alias = "target")]
    b: Id,
}

/// What links call a node: its `id`, or its place in the list if it has none.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(untagged)]
enum Id {
    Number(usize),
    Text(String),
}

impl Source {
    fn index(&self, id: &Id) -> Result<usize, String> {
        let called = |(at, node): (usize, &SourceNode)| node.id.clone().unwrap_or(Id::Number(at)) == *id;
        let found = self.nodes.iter().enumerate().position(called);
        found.ok_or_else(|| "a link names a node that is not there".into())
    }
}

struct Node {
    name: String,
    place: Place,
    region: &'static str,
    links: usize,
}

impl Network {
    /// The topology as TOML, checked.
    fn convert(&self, source: &str) -> Result<String, String> {
        let source: Source = serde_json::from_str(source).map_err(|error| error.to_string())?;
        let mut nodes = source.nodes.iter().map(|node| self.node(node)).collect::<Result<Vec<_>, _>>()?;
        let mut links = BTreeMap::new();
        for link in &source.links {
            let (a, b) = (source.index(&link.a)?, source.index(&link.b)?);
            if a != b && links.insert((a.min(b), a.max(b)), delay_ms(nodes[a].place, nodes[b].place)).is_none() {
                nodes[a].links += 1;
                nodes[b].links += 1;
            }
        }
        let text = self.toml(&nodes, &links);
        Topology::parse(&format!("{}.toml", self.name), &text).map_err(|error| error.to_string())?;
        Ok(text)
    }

    fn node(&self, node: &SourceNode) -> Result<Node, String> {
        let (lon, lat) = match (node.pos, node.lon, node.lat) {
            (Some(pos), None, None) => pos,
            (None, Some(lon), Some(lat)) => (lon, lat),
            _ => return Err(format!("{:?} has no place, or two", node.name)),
        };
        let degrees = |value: f64| if self.minutes { from_minutes(value) } else { value };
        let place = Place { lon: degrees(lon), lat: degrees(lat) };
        let renamed = self.renamed.iter().find(|(from, _)| *from == node.name);
        let name = renamed.map_or_else(|| plain(&node.name), |(_, to)| (*to).to_owned());
        let away = |(_, lon, lat): &&(&str, f64, f64)| kilometres(place, Place { lon: *lon, lat: *lat });
        let nearest = self.regions.iter().min_by(|a, b| away(a).total_cmp(&away(b)));
        let (region, ..) = nearest.ok_or("a network has regions")?;
        Ok(Node { name, place, region, links: 0 })
    }

    fn toml(&self, nodes: &[Node], links: &BTreeMap<(usize, usize), f64>) -> String {
        let mut out = format!(
            "# {about}\n#\n# Source: TopoHub 1.5.1, {source}, after\n# {collection}.\n\
             # Licence: MIT, Copyright (c) 2023 Piotr Jurkiewicz; README.md of this folder has its text.\n# Made by examples/topohub.rs: edit that, and not this. Names, places and links are the source's. Ours are:\n\
             # * delays: great-circle kilometres x {ROUTE_FACTOR} / {KM_PER_MS} km per ms, an estimate of what fibre gives and no measurement;\n\
             # * regions: each node is in the one whose position is nearest. Priorities: a node's number of links.\n",
            about = self.about,
            source = self.source,
            collection = self.collection
        );
        if self.minutes {
            out += "# * places: the source writes degrees and minutes (48.51 for 48 degrees 51 minutes); here they are degrees.\n";
        }
        let mut put = |line: std::fmt::Arguments<'_>| writeln!(out, "{line}").expect("a string takes everything");
        put(format_args!("# The source tells no bandwidth, jitter or loss, so links have none."));
        put(format_args!("schema = 1\nname = {:?}\ndescription = {:?}", self.name, self.about));
        put(format_args!("overlay = {:?}\n\nregion = [", self.overlay));
        for (name, lon, lat) in self.regions {
            put(format_args!("    {{ name = {name:?}, position = {{ lon = {lon}, lat = {lat} }} }},"));
        }
        put(format_args!("]\n\nnode = ["));
        for Node { name, place: Place { lon, lat }, region, links } in nodes {
            put(format_args!(
                "    {{ name = {name:?}, region = {region:?}, priority = {links}, position = {{ lon = {}, lat = {} }} }},",
                round(*lon),
                round(*lat)
            ));
        }
        put(format_args!("]\n\nlink = ["));
        for ((a, b), delay) in links {
            let (a, b) = (&nodes[*a].name, &nodes[*b].name);
            put(format_args!("    {{ between = [{a:?}, {b:?}], delay = \"{delay:.2}ms\" }},"));
        }
        put(format_args!("]"));
        out
    }
}

/// Letters and digits in lower case, joined by hyphens.
fn plain(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("-")
}

/// 48.51, meant as 48 degrees 51 minutes, in degrees.
fn from_minutes(value: f64) -> f64 {
    let whole = value.trunc();
    whole + (value - whole) / 0.6
}

/// To hundredths of a degree, about a kilometre.
fn round(degrees: f64) -> f64 {
    (degrees * 100.0).round() / 100.0
}

/// The great circle between two places (haversine).
fn kilometres(a: Place, b: Place) -> f64 {
    let half = |from: f64, to: f64| ((to - from).to_radians() / 2.0).sin().powi(2);
    let chord = half(a.lat, b.lat) + a.lat.to_radians().cos() * b.lat.to_radians().cos() * half(a.lon, b.lon);
    2.0 * EARTH_KM * chord.sqrt().min(1.0).asin()
}

fn delay_ms(a: Place, b: Place) -> f64 {
    (kilometres(a, b) * ROUTE_FACTOR / KM_PER_MS).max(DELAY_MIN_MS)
}

fn run() -> Result<String, String> {
    let known = || NETWORKS.iter().map(|network| network.name).collect::<Vec<_>>().join(", ");
    let usage = || format!("usage: topohub NETWORK SOURCE, where NETWORK is one of {}", known());
    let mut args = std::env::args().skip(1);
    let (Some(name), Some(file), None) = (args.next(), args.next(), args.next()) else { return Err(usage()) };
    let network = NETWORKS.iter().find(|network| network.name == name).ok_or_else(usage)?;
    let source = std::fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;
    network.convert(&source).map_err(|error| format!("{file}: {error}"))
}

fn main() -> ExitCode {
    match run() {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_ships_is_what_the_sources_give() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let sources = root.join("../shared/data/topologies");
        if !sources.is_dir() {
            println!("skipped: there are no sources at {}", sources.display());
            return;
        }
        for network in &NETWORKS {
            let source = std::fs::read_to_string(sources.join(format!("{}.json", network.name))).unwrap();
            let shipped = std::fs::read_to_string(root.join(format!("topologies/{}.toml", network.name))).unwrap();
            assert_eq!(network.convert(&source).as_deref(), Ok(shipped.as_str()), "{}", network.name);
        }
    }

    #[test]
    fn both_forms_of_a_source_give_the_same() {
        let topohub = r#"{"graph": {}, "nodes": [{"name": "Aachen", "pos": [6.04, 50.76], "id": "7"},
            {"name": "Bad Ems", "pos": [7.7, 50.3], "id": "9"}], "edges": [{"source": "7", "target": "9", "dist": 127.4}]}"#;
        let other = r#"{"nodes": [{"name": "Aachen", "lon": 6.04, "lat": 50.76}, {"name": "Bad Ems", "lon": 7.7, "lat": 50.3}],
            "links": [{"a": 0, "b": 1}, {"a": 1, "b": 0}]}"#;
        let network = &NETWORKS[4];
        let text = network.convert(topohub).unwrap();
        assert_eq!(network.convert(other), Ok(text.clone()));
        assert!(text.contains("{ between = [\"aachen\", \"bad-ems\"], delay = \"0.96ms\" },"), "{text}");
        assert!(text.contains(
            "{ name = \"aachen\", region = \"west\", priority = 1, position = { lon = 6.04, lat = 50.76 } }"
        ));
    }

    #[test]
    fn a_source_that_makes_no_sense_is_refused() {
        for (source, why) in [
            ("[", "EOF"),
            (r#"{"nodes": [], "links": []}"#, "there is no node"),
            (r#"{"nodes": [{"name": "a"}], "links": []}"#, "has no place"),
            (r#"{"nodes": [{"name": "a", "lon": 0, "lat": 0}], "links": [{"a": 0, "b": 1}]}"#, "not there"),
            (r#"{"nodes": [{"name": "a", "lon": 0, "lat": 95}], "links": []}"#, "lat -90 to 90"),
        ] {
            let error = NETWORKS[0].convert(source).unwrap_err();
            assert!(error.contains(why), "{source} gave {error}");
        }
    }

    #[test]
    fn places_and_delays_are_those_of_the_earth() {
        let (paris, berlin) = (Place { lon: 2.35, lat: 48.86 }, Place { lon: 13.4, lat: 52.52 });
        assert!((kilometres(paris, berlin) - 878.0).abs() < 2.0, "{}", kilometres(paris, berlin));
        assert!((from_minutes(48.51) - 48.85).abs() < 1e-9 && (from_minutes(-0.3) + 0.5).abs() < 1e-9);
        assert_eq!(delay_ms(paris, paris), DELAY_MIN_MS);
    }
}

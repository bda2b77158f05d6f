//! What a mesh looks like: `topologies/*.toml`, read strictly.
//!
//! One file names the regions, the nodes, the links between them and the overlay. A real peer takes its own name,
//! region, zone, priority and the overlay from it; the simulator takes the links too. Both read the same text with this
//! room, which opens no file itself: text in, [`Topology`] out.
//!
//! # The file
//! ```toml
//! schema = 1
//! name = "two-sites"
//! overlay = "tree:3"                      # star, mesh, mesh:DEGREE, tree or tree:ARITY
//! default-link = { delay = "0.4ms", jitter = "0.1ms", loss = "100ppm", bandwidth = "1Gbit" }
//!
//! [[region]]
//! name = "eu"
//! zones = ["a", "b"]                      # optional; nodes of a group are dealt to them in turn
//! position = { lon = 8.68, lat = 50.11 }  # optional, as are those of nodes
//!
//! [[node]]
//! name = "gateway"
//! region = "eu"
//! zone = "a"
//! priority = 10                           # higher is preferred as hub and root
//! addresses = ["/ip4/192.0.2.1/tcp/4747"]
//!
//! [[group]]                               # expands to edge-1, edge-2, edge-3
//! name = "edge"
//! count = 3
//! region = "eu"
//! role = "observer"                       # or "voter", which is the default
//!
//! [[link]]                                # between nodes, groups or regions; the narrowest that fits a pair counts
//! between = ["gateway", "edge"]
//! delay = "35ms"
//! ```
//! Where all nodes have a position, their own or their region's, the drawing is a map.
//!
//! # Invariants
//! * A [`Topology`] is valid: holding one is the proof that names are unique, references resolve, numbers are in range,
//!   and every node can reach every other one.
//! * Without `default-link` only the links that are listed exist, and what lies between two nodes is the path of least
//!   delay. With it every pair has a direct link.
//! * The same text gives the same value, and the same value the same drawing, on every machine.
//!
//! * Who exchanges with whom is a pure function of the members and the overlay ([`graph`]), here and in every peer.
//!
//! What it leaves to others: which peers are alive (`membership`), what is done about links (`overlay`), and how a delay
//! becomes an event (`sim`).

mod check;
mod draw;
mod error;
mod file;
pub mod graph;
mod link;
mod policy;
mod quantity;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;

#[cfg(feature = "sim")]
pub(crate) use draw::escape;
pub use draw::{Edge, svg, text};
pub use error::Error;
pub use link::{Link, Ppm};
pub use policy::{Policy, PolicyError};
pub use quantity::{QuantityError, bandwidth, duration, ppm};

use crate::types::Address;

/// A valid mesh.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Topology {
    name: String,
    description: String,
    overlay: Policy,
    regions: Vec<Region>,
    nodes: Vec<Node>,
    #[serde(flatten)]
    links: link::Links,
}

/// A part of the world, within which links are short.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Region {
    /// Unique among regions, nodes and groups.
    pub name: String,
    /// Parts that fail apart from each other; may be none.
    pub zones: Vec<String>,
    /// Where to draw it.
    pub position: Option<Place>,
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Node {
    /// Unique among regions, nodes and groups.
    pub name: String,
    /// Its region; none if the file has no regions.
    pub region: Option<String>,
    /// Its zone.
    pub zone: Option<String>,
    /// Higher is preferred as hub and root.
    pub priority: u16,
    /// What it may become.
    pub role: Role,
    /// Where it listens; may be none.
    pub addresses: Vec<Address>,
    /// Where to draw it: its own place, else its region's.
    pub position: Option<Place>,
    /// The group that it was expanded from.
    pub group: Option<String>,
}

/// What a node may become.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Hub, root and voter, if the others agree.
    #[default]
    Voter,
    /// Takes part in data only.
    Observer,
}

/// A place on Earth, in degrees (WGS 84).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// East of Greenwich, -180 to 180.
    pub lon: f64,
    /// North of the equator, -90 to 90.
    pub lat: f64,
}

impl fmt::Display for Place {
    /// As people write it, to hundredths of a degree: `50.11°N 8.68°E`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |value: f64, [minus, plus]: [char; 2]| if value < 0.0 { minus } else { plus };
        let (north, east) = (side(self.lat, ['S', 'N']), side(self.lon, ['W', 'E']));
        write!(f, "{:.2}°{north} {:.2}°{east}", self.lat.abs(), self.lon.abs())
    }
}

impl Topology {
    /// The only schema so far.
    pub const SCHEMA: u32 = 1;
    /// Most nodes, after groups are expanded.
    pub const NODES_MAX: usize = 10_000;
    /// Most pairs of nodes that listed links may connect where there is no `default-link`.
    pub const PAIRS_MAX: usize = 100_000;
    /// Longest file, in bytes.
    pub const TEXT_MAX: usize = 4 << 20;
    /// Longest name, in bytes.
    pub const NAME_MAX: usize = 63;

    /// Reads a topology. `file` is only for the errors.
    ///
    /// # Errors
    /// [`Error`] with file, line, column, key and reason of the first thing that is wrong. Nothing is kept.
    pub fn parse(file: &str, text: &str) -> Result<Self, Error> {
        check::check(file::File::parse(file, text)?, &error::Source::new(file, text))
    }

    /// The mesh's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the file says of it, for people.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Which overlay its peers form.
    #[must_use]
    pub const fn overlay(&self) -> Policy {
        self.overlay
    }

    /// The regions, in the file's order.
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// The nodes: single ones first, then those of groups, each in the file's order. At least one.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node with this name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// What every pair has that no listed link fits.
    #[must_use]
    pub const fn default_link(&self) -> Option<Link> {
        self.links.default
    }

    /// The direct link between two nodes, by their places in [`nodes`](Self::nodes). None if there is none, or if both
    /// are the same.
    ///
    /// # Panics
    /// When there is no such node.
    #[must_use]
    pub fn link(&self, a: usize, b: usize) -> Option<Link> {
        self.links.direct(a, b)
    }

    /// What lies between two nodes: their link, or the path of least delay. The whole path has the sum of its delays and
    /// jitters, its narrowest bandwidth, and the loss of all its links together. For a node and itself, nothing:
    /// [`Link::NONE`].
    ///
    /// # Panics
    /// When there is no such node.
    #[must_use]
    pub fn path(&self, a: usize, b: usize) -> Link {
        self.links.path(a, b)
    }

    /// The listed pairs with their links where there is no `default-link`; else nothing, since every pair has one.
    pub fn wires(&self) -> impl Iterator<Item = (usize, usize, Link)> + '_ {
        self.links.wires()
    }
}

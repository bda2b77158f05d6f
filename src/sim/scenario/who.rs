//! Who a line of a scenario is about.

use std::fmt;

use serde::Deserialize;
use serde::de::Error as _;

use super::quantity::Share;
use crate::sim::luck::{MILLION, Stream};
use crate::topology::{Role, Topology};

/// A choice of peers: `all`, `first 3`, `top 1`, `random 2`, `5%`, `region eu`, a name, or a list of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Who {
    /// Everybody.
    #[default]
    All,
    /// The first of the topology file.
    First(usize),
    /// Those that are preferred as hub and root: by (priority, id), highest first, observers excluded.
    Top(usize),
    /// Drawn anew for each fault.
    Random(usize),
    /// So many of a million, drawn anew for each fault, at least one.
    Part(u64),
    /// Those of one region.
    Region(String),
    /// These.
    Named(Vec<String>),
}

impl Who {
    /// The peers' places in the topology, in order; of random choices those of `draw`.
    ///
    /// # Errors
    /// Which name is not in the topology.
    pub(crate) fn choose(&self, mesh: &Topology, luck: Stream, draw: u64) -> Result<Vec<u32>, String> {
        let nodes = mesh.nodes();
        let all = || (0..nodes.len()).map(place);
        let mut chosen: Vec<u32> = match self {
            Self::All => all().collect(),
            Self::First(count) => all().take(*count).collect(),
            Self::Top(count) => {
                let mut voters: Vec<_> = (0..nodes.len()).filter(|at| nodes[*at].role == Role::Voter).collect();
                // Ids of simulated peers rise with their place.
                voters.sort_by_key(|at| std::cmp::Reverse((nodes[*at].priority, *at)));
                voters.into_iter().take(*count).map(place).collect()
            }
            Self::Random(count) => drawn(nodes.len(), *count, luck, draw),
            Self::Part(ppm) => {
                let count = (nodes.len() as u64 * ppm).div_ceil(MILLION);
                drawn(nodes.len(), usize::try_from(count).expect("at most all of them"), luck, draw)
            }
            Self::Region(name) => {
                all().filter(|at| nodes[*at as usize].region.as_deref() == Some(name.as_str())).collect()
            }
            Self::Named(names) => names
                .iter()
                .map(|name| {
                    let found = nodes.iter().position(|node| node.name == *name);
                    found.map(place).ok_or_else(|| format!("the topology has no node {name:?}"))
                })
                .collect::<Result<_, _>>()?,
        };
        if chosen.is_empty() {
            return Err(format!("{self} is nobody of this mesh"));
        }
        if !matches!(self, Self::Named(_)) {
            chosen.sort_unstable();
        }
        Ok(chosen)
    }

    fn parse(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        if text.ends_with('%') || text.ends_with("ppm") {
            return text.parse::<Share>().map(|share| Self::Part(share.0));
        }
        let Some((word, rest)) = text.split_once(' ') else { return Ok(Self::Named(vec![text.to_owned()])) };
        let count = || rest.parse().map_err(|_| format!("{rest:?} is not a number, in {text:?}"));
        match word {
            "first" => count().map(Self::First),
            "top" => count().map(Self::Top),
            "random" => count().map(Self::Random),
            "region" => Ok(Self::Region(rest.to_owned())),
            _ => Err(format!(
                "{text:?} names nobody; expected \"all\", \"first 3\", \"top 1\", \"random 2\", \"5%\", \"region eu\", a name or a list of names"
            )),
        }
    }
}

impl fmt::Display for Who {
    /// As it is written in a scenario.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("\"all\""),
            Self::First(count) => write!(f, "\"first {count}\""),
            Self::Top(count) => write!(f, "\"top {count}\""),
            Self::Random(count) => write!(f, "\"random {count}\""),
            Self::Part(ppm) => write!(f, "\"{ppm}ppm\""),
            Self::Region(name) => write!(f, "\"region {name}\""),
            Self::Named(names) => write!(f, "{names:?}"),
        }
    }
}

fn place(at: usize) -> u32 {
    u32::try_from(at).expect("a topology has at most 10,000 nodes")
}

/// `count` of `len`, each set equally likely (the first of a shuffle by draws that depend on the place only).
fn drawn(len: usize, count: usize, luck: Stream, draw: u64) -> Vec<u32> {
    let mut keyed: Vec<_> = (0..len).map(|at| (luck.bits(draw, at as u64), place(at))).collect();
    keyed.sort_unstable();
    keyed.into_iter().take(count).map(|(_, at)| at).collect()
}

impl<'de> Deserialize<'de> for Who {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a text such as \"all\", \"top 1\", \"random 2\", \"5%\", or a list of names")]
        enum Raw {
            One(String),
            Many(Vec<String>),
        }
        match Raw::deserialize(deserializer)? {
            Raw::One(text) => Self::parse(&text).map_err(D::Error::custom),
            Raw::Many(names) => Ok(Self::Named(names)),
        }
    }
}

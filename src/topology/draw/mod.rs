//! Drawings of a topology, for terminals and as SVG: pure functions, the same bytes for the same mesh everywhere.
//!
//! They show the overlay as it forms when everybody is alive and, among nodes of equal priority, ids fall in the file's order. Which peer is hub or
//! parent at another time is for the `overlay` room to say, from who is alive then.

mod geometry;
mod labels;
mod layout;
mod map;
mod shape;
mod svg;
mod text;

use std::fmt;
use std::time::Duration;

pub use shape::Edge;
#[cfg(feature = "sim")]
pub(crate) use svg::escape;
pub use svg::svg;
pub use text::text;

use super::{Link, Topology, graph};

/// A length of time as people read it.
struct Short(Duration);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let (unit, name) = match nanos {
            0..1_000 => (1, "ns"),
            1_000..100_000 => (1_000, "us"),
            100_000..10_000_000_000 => (1_000_000, "ms"),
            _ => (1_000_000_000, "s"),
        };
        let hundredths = nanos * 100 / unit;
        match (hundredths / 100, hundredths % 100) {
            (whole, 0) => write!(f, "{whole} {name}"),
            (whole, part) if part % 10 == 0 => write!(f, "{whole}.{} {name}", part / 10),
            (whole, part) => write!(f, "{whole}.{part:02} {name}"),
        }
    }
}

/// A link in a line: `0.4 ms +0.1 ms, 100 ppm lost, 1 Gbit/s`.
struct Quality(Link);

impl fmt::Display for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Link { delay, jitter, loss, bandwidth } = self.0;
        write!(f, "{}", Short(delay))?;
        if !jitter.is_zero() {
            write!(f, " +{}", Short(jitter))?;
        }
        if loss.value() > 0 {
            write!(f, ", {loss} lost")?;
        }
        match bandwidth {
            None => Ok(()),
            Some(bits) => {
                let (unit, name) = match bits {
                    0..1_000 => (1, "bit/s"),
                    1_000..1_000_000 => (1_000, "kbit/s"),
                    1_000_000..1_000_000_000 => (1_000_000, "Mbit/s"),
                    _ => (1_000_000_000, "Gbit/s"),
                };
                match (bits / unit, bits % unit * 10 / unit) {
                    (whole, 0) => write!(f, ", {whole} {name}"),
                    (whole, tenths) => write!(f, ", {whole}.{tenths} {name}"),
                }
            }
        }
    }
}

/// What the overlay's kind means, in a line.
fn meaning(topology: &Topology) -> String {
    match topology.overlay() {
        super::Policy::Star => "star: everybody exchanges with the hub, which relays".into(),
        super::Policy::Mesh { degree } if graph::is_full(topology.nodes().len(), degree) => {
            "mesh: everybody exchanges with everybody".into()
        }
        super::Policy::Mesh { degree } => format!("mesh: everybody exchanges with {degree} others or a few more"),
        super::Policy::Tree { arity } => format!("tree: a parent and at most {arity} children each"),
    }
}

/// `5 nodes in 2 regions, 1 of them an observer`.
fn population(topology: &Topology) -> String {
    let observers = topology.nodes().iter().filter(|node| node.role == super::Role::Observer).count();
    let count = |n: usize, what: &str| if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") };
    let mut line = count(topology.nodes().len(), "node");
    if !topology.regions().is_empty() {
        line += &format!(" in {}", count(topology.regions().len(), "region"));
    }
    match observers {
        0 => line,
        1 => line + ", 1 of them an observer",
        n => line + &format!(", {n} of them observers"),
    }
}

//! Links: how long a message takes between two nodes, how often it is lost, how wide the wire is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// Parts in a million, up to all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Ppm(u32);

impl Ppm {
    /// None.
    pub const ZERO: Self = Self(0);
    /// All.
    pub const ONE: Self = Self(1_000_000);

    /// So many in a million; none if that is more than all.
    #[must_use]
    pub const fn new(value: u32) -> Option<Self> {
        if value <= Self::ONE.0 { Some(Self(value)) } else { None }
    }

    /// In a million.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }

    /// The share that at least one of two independent events takes, rounded up.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let one = u64::from(Self::ONE.0);
        let neither = (one - u64::from(self.0)) * (one - u64::from(other.0)) / one;
        Self(u32::try_from(one - neither).expect("a share of a million"))
    }
}

impl fmt::Display for Ppm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 >= 10_000 { write!(f, "{} %", f64::from(self.0) / 10_000.0) } else { write!(f, "{} ppm", self.0) }
    }
}

/// One way of a link; the other way is alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    /// Least time from one end to the other, without what the bandwidth adds.
    #[serde(rename = "delay_us", serialize_with = "micros")]
    pub delay: Duration,
    /// Most time that may come on top of it.
    #[serde(rename = "jitter_us", serialize_with = "micros")]
    pub jitter: Duration,
    /// How many messages are lost.
    #[serde(rename = "loss_ppm")]
    pub loss: Ppm,
    /// Bits a second; none if nothing limits it.
    #[serde(rename = "bandwidth_bps")]
    pub bandwidth: Option<u64>,
}

impl Link {
    /// A link that costs nothing: from a node to itself.
    pub const NONE: Self = Self { delay: Duration::ZERO, jitter: Duration::ZERO, loss: Ppm::ZERO, bandwidth: None };

    /// This link, followed by another.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        Self {
            delay: self.delay + next.delay,
            jitter: self.jitter + next.jitter,
            loss: self.loss.or(next.loss),
            bandwidth: self.bandwidth.into_iter().chain(next.bandwidth).min(),
        }
    }
}

fn micros<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(value.as_secs_f64() * 1e6)
}

/// What a link's end may name. In order of width: the narrowest that fits counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    Node(usize),
    Group(usize),
    Region(usize),
}

/// Where a node belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Belongs {
    pub(super) group: Option<usize>,
    pub(super) region: Option<usize>,
}

/// All links of a topology.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Links {
    #[serde(rename = "default_link")]
    pub(super) default: Option<Link>,
    /// By their ends, the lower first.
    #[serde(skip)]
    listed: BTreeMap<(End, End), Link>,
    /// For each node.
    #[serde(skip)]
    belongs: Vec<Belongs>,
    /// Who is wired to whom, for each node; empty if everybody is.
    #[serde(skip)]
    wires: Vec<BTreeSet<usize>>,
}

/// The listed links connect too many pairs to keep them one by one.
pub(super) struct TooManyPairs;

impl Links {
    pub(super) fn new(default: Option<Link>, belongs: Vec<Belongs>) -> Self {
        Self { default, listed: BTreeMap::new(), belongs, wires: Vec::new() }
    }

    /// Adds a link. Returns whether these ends had none yet.
    pub(super) fn list(&mut self, a: End, b: End, link: Link) -> bool {
        self.listed.insert((a.min(b), a.max(b)), link).is_none()
    }

    /// Works out who is wired to whom where there is no default link.
    pub(super) fn wire(&mut self, pairs_max: usize) -> Result<(), TooManyPairs> {
        if self.default.is_some() {
            return Ok(());
        }
        self.wires = vec![BTreeSet::new(); self.belongs.len()];
        let mut pairs = 0;
        for (a, b) in self.listed.keys() {
            for from in members(&self.belongs, *a) {
                for to in members(&self.belongs, *b).filter(|to| *to != from) {
                    pairs += usize::from(self.wires[from].insert(to));
                    self.wires[to].insert(from);
                    if pairs > pairs_max {
                        return Err(TooManyPairs);
                    }
                }
            }
        }
        Ok(())
    }

    /// A node that the first one cannot reach.
    pub(super) fn unreachable(&self) -> Option<usize> {
        if self.default.is_some() {
            return None;
        }
        let mut seen = vec![false; self.belongs.len()];
        let mut open = vec![0];
        while let Some(node) = open.pop() {
            if !std::mem::replace(&mut seen[node], true) {
                open.extend(self.wires[node].iter().copied().filter(|next| !seen[*next]));
            }
        }
        seen.iter().position(|seen| !seen)
    }

    pub(super) fn direct(&self, a: usize, b: usize) -> Option<Link> {
        if a == b {
            return None;
        }
        // Both ends as narrow as they can be, then one of them wider, and so on: nine pairs at most.
        let mut found: Option<(usize, Link)> = None;
        for (width_a, end_a) in self.ends(a) {
            for (width_b, end_b) in self.ends(b) {
                let width = width_a + width_b;
                if found.is_none_or(|(best, _)| width < best)
                    && let Some(link) = self.listed.get(&(end_a.min(end_b), end_a.max(end_b)))
                {
                    found = Some((width, *link));
                }
            }
        }
        found.map(|(_, link)| link).or(self.default)
    }

    pub(super) fn path(&self, a: usize, b: usize) -> Link {
        if a == b { Link::NONE } else { self.direct(a, b).unwrap_or_else(|| self.shortest(a, b)) }
    }

    pub(super) fn wires(&self) -> impl Iterator<Item = (usize, usize, Link)> + '_ {
        self.wires.iter().enumerate().flat_map(move |(a, ends)| {
            ends.range(a + 1..).filter_map(move |b| self.direct(a, *b).map(|link| (a, *b, link)))
        })
    }

    /// Dijkstra, 1959. Equal delays are decided by the places of the nodes.
    fn shortest(&self, a: usize, b: usize) -> Link {
        let mut best = BTreeMap::from([(a, Link::NONE)]);
        let mut open = BTreeSet::from([(Duration::ZERO, a)]);
        let mut done = BTreeSet::new();
        while let Some((_, node)) = open.pop_first() {
            if node == b {
                break;
            }
            done.insert(node);
            for next in self.wires[node].iter().filter(|next| !done.contains(next)) {
                let hop = self.direct(node, *next).expect("wires are listed links");
                let whole = best[&node].then(hop);
                if best.get(next).is_none_or(|held| whole.delay < held.delay) {
                    best.insert(*next, whole);
                    open.insert((whole.delay, *next));
                }
            }
        }
        best.get(&b).copied().expect("a checked topology has no unreachable part")
    }

    /// What may name this node, with how wide it is.
    fn ends(&self, node: usize) -> impl Iterator<Item = (usize, End)> {
        let Belongs { group, region } = self.belongs[node];
        let ends = [Some(End::Node(node)), group.map(End::Group), region.map(End::Region)];
        ends.into_iter().enumerate().filter_map(|(width, end)| end.map(|end| (width, end)))
    }
}

/// The nodes that an end names.
fn members(belongs: &[Belongs], end: End) -> impl Iterator<Item = usize> + '_ {
    belongs.iter().enumerate().filter_map(move |(node, belongs)| {
        let named = match end {
            End::Node(only) => only == node,
            End::Group(group) => belongs.group == Some(group),
            End::Region(region) => belongs.region == Some(region),
        };
        named.then_some(node)
    })
}

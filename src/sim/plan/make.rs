//! From a kind of fault to faults: whatever a scenario does not say of one is drawn for it.

use super::fault::{Fault, Item};
use crate::sim::disk::Model;
use crate::sim::luck::{MILLION, Stream};
use crate::sim::scenario::{Kind, Scenario};

const MILLIS: u64 = 1_000_000;
/// Draws that go into a plan fit a TOML integer, and a number of JavaScript.
const SPARE_BITS: u32 = 11;

/// What a scenario says of a fault; the rest is drawn.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Says {
    pub(super) factor: Option<u32>,
    pub(super) ppm: Option<u64>,
    /// In nanoseconds.
    pub(super) by: Option<u64>,
    pub(super) back: bool,
    pub(super) age: Option<u64>,
    pub(super) groups: Option<u64>,
    pub(super) down: Option<u64>,
    pub(super) up: Option<u64>,
    pub(super) bits: Option<u64>,
    pub(super) queue: Option<u64>,
}

/// The luck of one fault.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draw {
    pub(super) luck: Stream,
    pub(super) entity: u64,
    pub(super) counter: u64,
}

impl Draw {
    fn between(self, n: u64, low: u64, high: u64) -> u64 {
        self.luck.between(self.entity.wrapping_add(n << 40), self.counter, low, high)
    }

    fn bits(self, n: u64) -> u64 {
        self.luck.bits(self.entity.wrapping_add(n << 40), self.counter) >> SPARE_BITS
    }

    /// Whether this peer is on the first of two sides.
    fn side(self, peer: u32, sides: u64) -> u64 {
        self.luck.below(self.entity ^ u64::from(peer).wrapping_add(1) << 48, self.counter, sides)
    }

    /// Peers in an order of luck.
    fn shuffled(self, peers: &[u32]) -> Vec<u32> {
        let mut keyed: Vec<(u64, u32)> = peers.iter().map(|peer| (self.side(*peer, u64::MAX), *peer)).collect();
        keyed.sort_unstable();
        keyed.into_iter().map(|(_, peer)| peer).collect()
    }
}

/// Whether it happens to sets of peers, not to one.
pub(super) const fn is_of_many(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Cut
            | Kind::OneWay
            | Kind::Partition
            | Kind::Split
            | Kind::Bridge
            | Kind::Ring
            | Kind::RegionCut
            | Kind::Flap
            | Kind::Clog
            | Kind::Swizzle
            | Kind::Loss
            | Kind::BurstLoss
            | Kind::Duplicate
            | Kind::Reorder
            | Kind::Corrupt
    )
}

/// A fault that happens to one peer.
///
/// # Errors
/// That the kind happens to sets of peers, or to two.
pub(super) fn of_one(kind: Kind, peer: u32, says: Says, draw: Draw) -> Result<Fault, String> {
    if let Some(fault) = of_node(kind, peer, says, draw).or_else(|| of_disk(kind, peer, says, draw)) {
        return Ok(fault);
    }
    let factor = says.factor.unwrap_or_else(|| u32::try_from(draw.between(0, 2, 20)).expect("a small number"));
    let drift = || {
        let ppm = says.ppm.unwrap_or_else(|| draw.between(0, 100, 50_000));
        let ppm = i32::try_from(ppm).unwrap_or(i32::MAX);
        let back = if says.ppm.is_some() { says.back } else { draw.bits(1) & 1 == 1 };
        if back { -ppm } else { ppm }
    };
    Ok(match kind {
        Kind::Delay => Fault::Delay { peer, by: says.by.unwrap_or_else(|| draw.between(0, 20, 1_500) * MILLIS) },
        Kind::SlowLink => Fault::SlowLink { peer, factor },
        Kind::Throttle => Fault::Throttle {
            peer,
            bits: says.bits.unwrap_or_else(|| draw.between(0, 200_000, 5_000_000)),
            queue: says.queue.unwrap_or_else(|| draw.between(1, 16 << 10, 256 << 10)),
        },
        Kind::Reset => Fault::Reset { peer },
        Kind::RefuseDials => Fault::RefuseDials { peer },
        Kind::HangDials => Fault::HangDials { peer },
        Kind::Nat => Fault::Nat { peer },
        Kind::NewAddress => Fault::NewAddress { peer },
        Kind::ClockStep => {
            let by_us = match says.by {
                Some(by) => i64::try_from(by / 1_000).map_err(|_| "by: too long")?,
                None => i64::try_from(draw.bits(0) % (120 * MILLION)).expect("two minutes") - 60_000_000,
            };
            Fault::ClockStep { peer, by_us: if says.back { -by_us } else { by_us } }
        }
        Kind::WallDrift => Fault::WallDrift { peer, ppm: drift() },
        Kind::WallFreeze => Fault::WallFreeze { peer },
        Kind::ClockDrift => Fault::ClockDrift { peer, ppm: drift() },
        Kind::ClockFreeze => Fault::ClockFreeze { peer },
        other => return Err(format!("{} does not happen to one peer alone", other.about().name)),
    })
}

fn of_node(kind: Kind, peer: u32, says: Says, draw: Draw) -> Option<Fault> {
    let factor = says.factor.unwrap_or_else(|| u32::try_from(draw.between(0, 2, 20)).expect("a small number"));
    let ppm = |low, high| says.ppm.unwrap_or_else(|| draw.between(0, low, high));
    Some(match kind {
        Kind::Crash => Fault::Crash { peer },
        Kind::CrashWriting => Fault::CrashWriting { peer },
        Kind::PowerLoss => Fault::PowerLoss { peer, model: None },
        Kind::TornPages => Fault::PowerLoss { peer, model: Some(Model::Page) },
        Kind::ReorderedWrites => Fault::PowerLoss { peer, model: Some(Model::Subset) },
        Kind::Pause => Fault::Pause { peer },
        Kind::Slow => Fault::Slow { peer, factor },
        Kind::Wipe => Fault::Wipe { peer },
        Kind::Replace => Fault::Replace { peer },
        Kind::RollBack => Fault::RollBack { peer, age: says.age.unwrap_or_else(|| draw.bits(0) % (30_000 * MILLION)) },
        Kind::Leave => Fault::Leave { peer },
        Kind::Garble => Fault::Garble { peer, ppm: ppm(100, 20_000) },
        Kind::LoseChange => Fault::LoseChange { peer },
        Kind::NextVersion => Fault::NextVersion { peer, ppm: ppm(10_000, 500_000), writes: draw.bits(1) & 1 == 1 },
        _ => return None,
    })
}

fn of_disk(kind: Kind, peer: u32, says: Says, draw: Draw) -> Option<Fault> {
    Some(match kind {
        Kind::SlowDisk => {
            let factor = says.factor.unwrap_or_else(|| u32::try_from(draw.between(0, 2, 20)).expect("a small number"));
            Fault::SlowDisk { peer, factor }
        }
        Kind::StallDisk => Fault::StallDisk { peer },
        Kind::FullDisk => Fault::FullDisk { peer },
        Kind::FailingDisk => Fault::FailingDisk { peer },
        Kind::UnreadableDisk => Fault::UnreadableDisk { peer },
        Kind::MisreadDisk => {
            Fault::MisreadDisk { peer, ppm: says.ppm.unwrap_or_else(|| draw.between(0, 10_000, 500_000)) }
        }
        Kind::BitRot => Fault::BitRot { peer, bits: draw.bits(0) },
        Kind::MisdirectedWrite => Fault::MisdirectedWrite { peer, bits: draw.bits(0) },
        Kind::LostWrite => Fault::LostWrite { peer },
        _ => return None,
    })
}

/// What happens to many at once, from `at` to `until`. `side` is who was chosen, `other` whom it is cut from: all the rest,
/// if nobody was named. A peer was drawn if only `from` is there.
///
/// # Errors
/// That nobody is on the other side.
pub(super) fn of_many(
    kind: Kind,
    scenario: &Scenario,
    (side, other): (Vec<u32>, Option<Vec<u32>>),
    (at, until): (u64, Option<u64>),
    says: Says,
    draw: Draw,
) -> Result<Vec<Item>, String> {
    let ppm = |n, low, high| says.ppm.unwrap_or_else(|| draw.between(n, low, high));
    let (from, to) = sides(kind, scenario, side, other, draw)?;
    let fault = match kind {
        Kind::Cut | Kind::Partition | Kind::Bridge | Kind::RegionCut => Fault::Cut { from, to, one_way: says.back },
        Kind::OneWay => Fault::Cut { from, to, one_way: true },
        Kind::Split => {
            let sides = says.groups.unwrap_or_else(|| draw.between(0, 2, 4)).clamp(2, 64);
            let mut groups = vec![Vec::new(); usize::try_from(sides).expect("at most 64")];
            (0..).take(scenario.peers()).for_each(|peer: u32| {
                let group = usize::try_from(draw.side(peer, sides)).expect("at most 64");
                groups[group].push(peer);
            });
            groups.retain(|group| !group.is_empty());
            Fault::Split { groups }
        }
        Kind::Ring => Fault::Ring { peers: draw.shuffled(&from) },
        Kind::Flap => {
            let drawn = |n| draw.between(n, 200, 5_000) * MILLIS;
            let (down, up) = (says.down.unwrap_or_else(|| drawn(0)), says.up.unwrap_or_else(|| drawn(1)));
            Fault::Flap { from, to, down: down.max(MILLIS), up: up.max(MILLIS) }
        }
        Kind::Clog => Fault::Clog { from, to, one_way: says.back },
        Kind::Swizzle => return Ok(swizzle(scenario, &from, (at, until), draw)),
        Kind::Loss => Fault::Loss { ppm: ppm(0, 1_000, 100_000) },
        Kind::BurstLoss => Fault::BurstLoss {
            to_bad: draw.between(1, 500, 20_000),
            to_good: draw.between(2, 20_000, 300_000),
            ppm: ppm(0, 100_000, 900_000),
        },
        Kind::Duplicate => Fault::Duplicate { ppm: ppm(0, 1_000, 300_000) },
        Kind::Reorder => Fault::Reorder { ppm: ppm(0, 1_000, 300_000) },
        Kind::Corrupt => Fault::Corrupt { ppm: ppm(0, 50, 5_000) },
        other => return Err(format!("{} happens to one peer alone", other.about().name)),
    };
    Ok(vec![Item { at, until, permanent: false, fault, drawn: None }.drawn_as(kind)])
}

/// Who is on which side.
fn sides(
    kind: Kind,
    scenario: &Scenario,
    side: Vec<u32>,
    other: Option<Vec<u32>>,
    draw: Draw,
) -> Result<(Vec<u32>, Vec<u32>), String> {
    let all: Vec<u32> = (0..).take(scenario.peers()).collect();
    let from = match kind {
        Kind::Partition => side.into_iter().filter(|peer| draw.side(*peer, 2) == 0).collect(),
        Kind::Bridge => all.iter().copied().filter(|peer| draw.side(*peer, 2) == 0).collect(),
        _ => side,
    };
    let mut to = other.unwrap_or(all);
    to.retain(|peer| !from.contains(peer));
    let mut from = from;
    if kind == Kind::Bridge {
        // One peer is on neither side.
        let larger = if from.len() > to.len() { &mut from } else { &mut to };
        larger.pop();
    }
    let two = matches!(kind, Kind::Cut | Kind::OneWay | Kind::RegionCut | Kind::Flap | Kind::Clog);
    if two && to.is_empty() {
        return Err(format!("{}: nobody is left on the other side", kind.about().name));
    }
    Ok((from, to))
}

/// Each of these is clogged at a moment of the first half and freed at one of the second half (FoundationDB's swizzle).
fn swizzle(scenario: &Scenario, peers: &[u32], (at, until): (u64, Option<u64>), draw: Draw) -> Vec<Item> {
    let end = until.unwrap_or_else(|| scenario.calm_at()).max(at + 2);
    let half = (end - at) / 2;
    let some = peers.iter().filter(|peer| peers.len() < 3 || draw.side(**peer, 2) == 0);
    some.filter_map(|peer| {
        let to: Vec<u32> = (0..).take(scenario.peers()).filter(|other| other != peer).collect();
        let luck = |n: u64| draw.luck.below(draw.entity ^ u64::from(*peer) << 32 | n, draw.counter, half.max(1));
        let (begins, ends) = (at + luck(1), at + half + luck(2));
        let fault = Fault::Clog { from: vec![*peer], to, one_way: false };
        (!matches!(&fault, Fault::Clog { to, .. } if to.is_empty())).then_some(Item {
            at: begins,
            until: Some(ends),
            permanent: false,
            fault,
            drawn: Some(Kind::Swizzle),
        })
    })
    .collect()
}

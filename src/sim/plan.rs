//! The plan of a run as a value: every fault and every edit with its time, expanded from scenario and seed before the run
//! begins. A smaller plan is a subset of its items; the luck of what stays does not change.

use serde::{Deserialize, Serialize};

use super::luck::{Luck, MILLION, Stream};
use super::part::Part;
use super::scenario::{Appends, Edits, Kind, Often, Rate, Scenario, Scheduled, Span};
use crate::replication::Ack;
use crate::topology::Policy;

/// Most items and most edits of a plan.
pub(super) const PLAN_MAX: usize = 200_000;

/// Everything that the run does to the mesh.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Plan {
    /// When each peer starts, by its place.
    pub(super) starts: Vec<u64>,
    /// What goes wrong, in order of time.
    pub(super) items: Vec<Item>,
    /// What is asked, in order of time.
    pub(super) edits: Vec<Edit>,
    /// Which overlay is set for the mesh when and where, in order of time.
    pub(super) turns: Vec<Turn>,
    /// What is appended to streams, in order of time.
    pub(super) appends: Vec<Append>,
    /// If it is a part of a plan: which part.
    #[serde(skip)]
    pub(super) part: Option<Part>,
}

/// An overlay is set for the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Turn {
    /// In nanoseconds of true time.
    pub(super) at: u64,
    /// At the first of these that is up.
    pub(super) peers: Vec<u32>,
    pub(super) policy: Policy,
}

/// One fault with its end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Item {
    /// When it begins, in nanoseconds of true time.
    pub(super) at: u64,
    /// When it ends; `None` is when the calm begins, or never if it is permanent.
    pub(super) until: Option<u64>,
    pub(super) permanent: bool,
    pub(super) fault: Fault,
}

/// What goes wrong. Peers are named by their place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(super) enum Fault {
    /// `kill -9`; starts again at the end.
    Crash { peer: u32 },
    /// The machine goes dark; starts again at the end.
    PowerLoss { peer: u32 },
    /// The machine is replaced by an empty one with the same identity, which starts at the end.
    Wipe { peer: u32 },
    /// The machine goes dark, and its disk is put back to the image that was taken of it so many nanoseconds ago; starts
    /// again at the end.
    RollBack { peer: u32, age: u64 },
    /// Says goodbye and stops; starts again at the end.
    Leave { peer: u32 },
    /// Does nothing; its links look alive until the watchdogs of others bark.
    Pause { peer: u32 },
    /// Every input costs so many times more.
    Slow { peer: u32, factor: u32 },
    /// Every disk operation takes so many times longer.
    SlowDisk { peer: u32, factor: u32 },
    /// No byte more fits.
    FullDisk { peer: u32 },
    /// The next sync fails.
    FailingDisk { peer: u32 },
    /// What the first send to the second is lost; the other way too unless it is one-way.
    Cut { from: Vec<u32>, to: Vec<u32>, one_way: bool },
    /// The operator of a peer pauses another as a replica.
    Hold { peer: u32, whom: u32 },
    /// So many more of a million are lost everywhere.
    Loss { ppm: u64 },
    /// The wall clock jumps, and back at the end.
    ClockStep { peer: u32, by_us: i64 },
    /// Of a million frames that it sends so many say something else than it meant.
    Garble { peer: u32, ppm: u64 },
    /// Of the next changes that its engine is to apply it loses one, and says nothing.
    LoseChange { peer: u32 },
}

/// One edit: sets the document's place `e<n>` to n, and the place `shared` too if it is shared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Edit {
    pub(super) at: u64,
    pub(super) peer: u32,
    pub(super) doc: u32,
    pub(super) shared: bool,
    pub(super) padding: u32,
    pub(super) ack: Option<Level>,
}

/// How many other members must hold a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Level(pub(super) Ack);

impl Level {
    fn of(text: Option<&String>) -> Result<Option<Self>, String> {
        text.map(|text| text.parse().map(Self).map_err(|error| format!("ack: {error}"))).transpose()
    }
}

impl Serialize for Level {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(|error| serde::de::Error::custom(format_args!("ack: {error}")))
    }
}

/// One append of the plan: its events are told apart by its number and their places in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Append {
    pub(super) at: u64,
    pub(super) peer: u32,
    pub(super) stream: u32,
    pub(super) events: u32,
    pub(super) padding: u32,
    pub(super) ack: Option<Level>,
}

/// Makes a fault of a family for a peer, with a factor and some bits of luck.
type Make<'a> = &'a dyn Fn(u32, u32, u64) -> Fault;

impl Fault {
    /// The peer that it happens to, if it is one.
    pub(super) const fn peer(&self) -> Option<u32> {
        match self {
            Self::Crash { peer }
            | Self::PowerLoss { peer }
            | Self::Wipe { peer }
            | Self::RollBack { peer, .. }
            | Self::Leave { peer }
            | Self::Pause { peer }
            | Self::Slow { peer, .. }
            | Self::SlowDisk { peer, .. }
            | Self::FullDisk { peer }
            | Self::FailingDisk { peer }
            | Self::Hold { peer, .. }
            | Self::ClockStep { peer, .. }
            | Self::Garble { peer, .. }
            | Self::LoseChange { peer } => Some(*peer),
            Self::Cut { .. } | Self::Loss { .. } => None,
        }
    }
}

impl Item {
    /// When an image is taken for it, if it puts one back.
    pub(super) const fn image_at(&self) -> Option<u64> {
        match self.fault {
            Fault::RollBack { age, .. } => Some(self.at.saturating_sub(age)),
            _ => None,
        }
    }
}

impl Plan {
    /// The plan of a scenario under this luck.
    ///
    /// # Errors
    /// Which key of the scenario cannot be expanded, and why.
    pub(super) fn expand(scenario: &Scenario, luck: &Luck) -> Result<Self, String> {
        let mut plan = Self { starts: starts(scenario, luck), ..Self::default() };
        for (n, scheduled) in scenario.says.faults.iter().enumerate() {
            let stream = luck.stream(&format!("fault {n}"));
            plan.schedule(scenario, scheduled, stream).map_err(|why| format!("fault[{n}]: {why}"))?;
        }
        plan.random(scenario, luck).map_err(|why| format!("random: {why}"))?;
        for (n, edits) in scenario.says.edits.iter().enumerate() {
            let stream = luck.stream(&format!("edits {n}"));
            plan.load(scenario, edits, stream).map_err(|why| format!("edits[{n}]: {why}"))?;
        }
        for (n, says) in scenario.says.turns.iter().enumerate() {
            let stream = luck.stream(&format!("turn {n}"));
            let peers = before_the_calm(scenario, says.at.0)
                .and_then(|()| says.peers.choose(&scenario.mesh, stream, 0).map_err(|why| format!("peers: {why}")))
                .map_err(|why| format!("turn[{n}]: {why}"))?;
            plan.turns.push(Turn { at: says.at.0, peers, policy: says.overlay });
        }
        plan.turns.sort_by_key(|turn| turn.at);
        for (n, appends) in scenario.says.appends.iter().enumerate() {
            let stream = luck.stream(&format!("appends {n}"));
            plan.events(scenario, appends, stream).map_err(|why| format!("appends[{n}]: {why}"))?;
        }
        plan.appends.sort();
        if plan.items.len() > PLAN_MAX || plan.edits.len() > PLAN_MAX {
            let (faults, edits) = (plan.items.len(), plan.edits.len());
            return Err(format!("{faults} faults and {edits} edits, at most {PLAN_MAX} of each"));
        }
        plan.items.sort();
        plan.edits.sort();
        Ok(plan)
    }

    fn schedule(&mut self, scenario: &Scenario, says: &Scheduled, luck: Stream) -> Result<(), String> {
        before_the_calm(scenario, says.at.0)?;
        if says.permanent && says.lasts.is_some() {
            return Err("permanent and for exclude each other".to_owned());
        }
        let times = match (says.times, says.every) {
            (None, None) => 1,
            (Some(times), Some(_)) if times <= 10_000 => times,
            (Some(_), Some(_)) => return Err("times: at most 10000".to_owned()),
            _ => return Err("times and every need each other".to_owned()),
        };
        for time in 0..times {
            let at = says.at.0 + says.every.unwrap_or_default().0 * u64::from(time);
            let draw = u64::from(time) << 32;
            let peers = says.peers.choose(&scenario.mesh, luck, draw).map_err(|why| format!("peers: {why}"))?;
            if matches!(says.kind, Kind::Cut | Kind::Loss) {
                let fault = mesh_fault(scenario, says, peers, luck, draw)?;
                self.add(scenario, says, at, fault);
                continue;
            }
            if says.kind == Kind::Hold {
                let whom = says.from.as_ref().ok_or("from: who is paused is needed")?;
                let whom = whom.choose(&scenario.mesh, luck, draw + 1).map_err(|why| format!("from: {why}"))?;
                for (peer, whom) in peers.iter().flat_map(|peer| whom.iter().map(|whom| (*peer, *whom))) {
                    self.add(scenario, says, at, Fault::Hold { peer, whom });
                }
                continue;
            }
            for (n, peer) in (0..).zip(peers) {
                self.add(scenario, says, at + says.stagger.0 * n, peer_fault(says, peer)?);
            }
        }
        Ok(())
    }

    fn add(&mut self, scenario: &Scenario, says: &Scheduled, at: u64, fault: Fault) {
        // What would begin when all must be healed does not begin.
        if at < scenario.calm_at() {
            let until = says.lasts.map(|lasts| (at + lasts.0).min(scenario.calm_at()));
            self.items.push(Item { at, until, permanent: says.permanent, fault });
        }
    }

    fn random(&mut self, scenario: &Scenario, luck: &Luck) -> Result<(), String> {
        let random = &scenario.says.random;
        let peers = random.peers.choose(&scenario.mesh, luck.stream("random peers"), 0)?;
        let all: Vec<u32> = (0..).take(scenario.peers()).collect();
        let rest = |some: &[u32]| all.iter().copied().filter(|peer| !some.contains(peer)).collect::<Vec<_>>();
        let crash = |peer, _, _| Fault::Crash { peer };
        let power = |peer, _, _| Fault::PowerLoss { peer };
        let roll_back = |peer, _, bits: u64| Fault::RollBack { peer, age: bits % (30_000 * MILLION) };
        let pause = |peer, _, _| Fault::Pause { peer };
        let slow = |peer, factor, _| Fault::Slow { peer, factor };
        let slow_disk = |peer, factor, _| Fault::SlowDisk { peer, factor };
        let isolate = |peer, _, _| Fault::Cut { from: vec![peer], to: rest(&[peer]), one_way: false };
        let one_way = |peer, _, _| Fault::Cut { from: vec![peer], to: rest(&[peer]), one_way: true };
        let halves = |_, _, bits: u64| {
            let half: Vec<u32> = peers
                .iter()
                .copied()
                .filter(|peer| luck.stream("halves").bits(bits, u64::from(*peer)) & 1 == 0)
                .collect();
            let other = rest(&half);
            Fault::Cut { from: half, to: other, one_way: false }
        };
        let step = |peer, _, bits: u64| {
            let by_us = i64::try_from(bits % (120 * MILLION)).expect("two minutes") - 60_000_000;
            Fault::ClockStep { peer, by_us }
        };
        let families: [(&str, Option<Often>, Make<'_>); 10] = [
            ("crash", random.crash, &crash),
            ("power-loss", random.power_loss, &power),
            ("roll-back", random.roll_back, &roll_back),
            ("pause", random.pause, &pause),
            ("slow", random.slow, &slow),
            ("slow-disk", random.slow_disk, &slow_disk),
            ("partition", random.partition, &halves),
            ("isolate", random.isolate, &isolate),
            ("one-way", random.one_way, &one_way),
            ("clock-step", random.clock_step, &step),
        ];
        for (name, often, fault) in families {
            if let Some(often) = often {
                self.family(scenario, &peers, often, luck.stream(&format!("random {name}")), fault)
                    .map_err(|why| format!("{name}: {why}"))?;
            }
        }
        Ok(())
    }

    /// One draw a peer and tenth of a second, so that neither a peer nor a family less shifts the luck of the rest.
    fn family(
        &mut self,
        scenario: &Scenario,
        peers: &[u32],
        often: Often,
        luck: Stream,
        fault: Make<'_>,
    ) -> Result<(), String> {
        const SLOT: u64 = 100_000_000;
        let [shortest, longest] = often.lasts;
        if shortest > longest || often.every.0 < SLOT {
            return Err("for is [shortest, longest], and every at least 100ms".to_owned());
        }
        let (from, to) = (scenario.chaos_at(), scenario.calm_at());
        let mean = u128::from(often.every.0) * peers.len() as u128;
        for slot in 0..(to - from) / SLOT {
            for peer in peers.iter().copied() {
                if !luck.happens(u64::from(peer), slot << 2, SLOT, mean) {
                    continue;
                }
                let draw = |n, low, high| luck.between(u64::from(peer), slot << 2 | n, low, high);
                let at = from + slot * SLOT + draw(1, 0, SLOT - 1);
                let until = Some((at + draw(2, shortest.0, longest.0)).min(to));
                let factor = u32::try_from(draw(3, 2, u64::from(often.factor.unwrap_or(20).max(2)))).expect("a u32");
                let fault = fault(peer, factor, luck.bits(u64::from(peer), slot << 2 | 3));
                self.items.push(Item { at, until, permanent: false, fault });
            }
        }
        Ok(())
    }

    fn load(&mut self, scenario: &Scenario, says: &Edits, luck: Stream) -> Result<(), String> {
        let (peers, ack) = (says.peers.choose(&scenario.mesh, luck, u64::MAX)?, Level::of(says.ack.as_ref())?);
        for (n, at, peer) in moments(scenario, &peers, says.rate, (says.from, says.until), luck)? {
            let doc = u32::try_from(luck.below(2, n, u64::from(says.docs))).expect("below a u32");
            let shared = luck.chance(3, n, says.shared.0);
            self.edits.push(Edit { at, peer, doc, shared, padding: says.padding, ack });
        }
        Ok(())
    }

    fn events(&mut self, scenario: &Scenario, says: &Appends, luck: Stream) -> Result<(), String> {
        let (peers, ack) = (says.peers.choose(&scenario.mesh, luck, u64::MAX)?, Level::of(says.ack.as_ref())?);
        for (n, at, peer) in moments(scenario, &peers, says.rate, (says.from, says.until), luck)? {
            let stream = u32::try_from(luck.below(2, n, u64::from(says.streams))).expect("below a u32");
            self.appends.push(Append { at, peer, stream, events: says.events, padding: says.padding, ack });
        }
        Ok(())
    }
}

/// When something is asked of whom, by its number.
fn moments(
    scenario: &Scenario,
    peers: &[u32],
    rate: Rate,
    (from, until): (Option<Span>, Option<Span>),
    luck: Stream,
) -> Result<Vec<(u64, u64, u32)>, String> {
    let from = from.map_or_else(|| scenario.chaos_at(), |from| from.0);
    let until = until.map_or_else(|| scenario.calm_at(), |until| until.0).min(scenario.calm_at());
    let count = until.saturating_sub(from) / rate.every_ns;
    if count > PLAN_MAX as u64 {
        return Err(format!("{count} times, at most {PLAN_MAX}"));
    }
    let moment = |n| {
        let at = from + n * rate.every_ns + luck.below(0, n, rate.every_ns);
        (n, at, peers[usize::try_from(luck.below(1, n, peers.len() as u64)).expect("a usize")])
    };
    Ok((0..count).map(moment).collect())
}

fn starts(scenario: &Scenario, luck: &Luck) -> Vec<u64> {
    let stream = luck.stream("starts");
    let within = scenario.says.join.within.0;
    (0..scenario.peers() as u64).map(|peer| if peer == 0 { 0 } else { stream.below(peer, 0, within.max(1)) }).collect()
}

fn peer_fault(says: &Scheduled, peer: u32) -> Result<Fault, String> {
    let factor = || match says.factor {
        Some(factor) if factor >= 2 => Ok(factor),
        _ => Err("factor: at least 2 is needed".to_owned()),
    };
    Ok(match says.kind {
        Kind::Crash => Fault::Crash { peer },
        Kind::PowerLoss => Fault::PowerLoss { peer },
        Kind::Wipe => Fault::Wipe { peer },
        Kind::RollBack => {
            Fault::RollBack { peer, age: says.image.ok_or("image: how old the image is that is put back is needed")?.0 }
        }
        Kind::Leave => Fault::Leave { peer },
        Kind::Pause => Fault::Pause { peer },
        Kind::Slow => Fault::Slow { peer, factor: factor()? },
        Kind::SlowDisk => Fault::SlowDisk { peer, factor: factor()? },
        Kind::FullDisk => Fault::FullDisk { peer },
        Kind::FailingDisk => Fault::FailingDisk { peer },
        Kind::ClockStep => {
            let by = says.by.ok_or("by: a duration is needed")?.0 / 1_000;
            let by_us = i64::try_from(by).map_err(|_| "by: too long")?;
            Fault::ClockStep { peer, by_us: if says.back { -by_us } else { by_us } }
        }
        Kind::Garble => Fault::Garble { peer, ppm: says.share.ok_or("share: how much is garbled is needed")?.0 },
        Kind::LoseChange => Fault::LoseChange { peer },
        Kind::Cut | Kind::Loss | Kind::Hold => unreachable!("a fault of the mesh, not of one peer"),
    })
}

/// What is to happen must begin while faults may.
///
/// # Errors
/// When it does not: it would never happen, and whoever wrote it would not know.
fn before_the_calm(scenario: &Scenario, at: u64) -> Result<(), String> {
    let calm = scenario.calm_at();
    if at < calm {
        return Ok(());
    }
    let seconds = |ns: u64| ns / 1_000_000_000;
    Err(format!("at: {} s is too late: the calm begins at {} s", seconds(at), seconds(calm)))
}

fn mesh_fault(
    scenario: &Scenario,
    says: &Scheduled,
    peers: Vec<u32>,
    luck: Stream,
    draw: u64,
) -> Result<Fault, String> {
    if says.kind == Kind::Loss {
        return Ok(Fault::Loss { ppm: says.share.ok_or("share: how much is lost is needed")?.0 });
    }
    let mut to = match &says.from {
        Some(who) => who.choose(&scenario.mesh, luck, draw + 1).map_err(|why| format!("from: {why}"))?,
        None => (0..).take(scenario.peers()).collect(),
    };
    to.retain(|peer| !peers.contains(peer));
    if to.is_empty() {
        return Err("cut: nobody is left on the other side".to_owned());
    }
    Ok(Fault::Cut { from: peers, to, one_way: says.one_way })
}

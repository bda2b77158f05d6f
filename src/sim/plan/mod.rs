//! The plan of a run as a value: every fault and every edit with its time, expanded from scenario and seed before the run
//! begins. A smaller plan is a subset of its items; the luck of what stays does not change.

mod fault;
mod load;
mod make;
mod random;
mod schedule;

use serde::{Deserialize, Serialize};

pub(super) use fault::{Fault, Item};

use super::luck::Luck;
use super::part::Part;
use super::scenario::{Heal, Scenario, Wish};
use crate::replication::Ack;
use crate::topology::Policy;

/// Most items and most edits of a plan.
pub(super) const PLAN_MAX: usize = 200_000;

/// Everything that the run does to the mesh.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
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
    /// What the voters are to decide, in order of time.
    pub(super) proposals: Vec<Proposal>,
    /// Who is healed when the calm begins, in order; nobody named is everybody. What is wrong with the others stays.
    pub(super) core: Vec<u32>,
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
        String::deserialize(deserializer)?.parse().map(Self).map_err(serde::de::Error::custom)
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

/// One proposal of the plan: sets the register of this number to the proposal's own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Proposal {
    pub(super) at: u64,
    pub(super) peer: u32,
    pub(super) register: u32,
    /// Bytes of the value, about.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) padding: u32,
    /// The name under which it is asked, which another one may have too; zero: the peer names it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) request: u32,
    /// If above zero: instead the policies of that one of the scenario's proposals are set.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) policies: u32,
    /// Or this is wished, of whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) wish: Option<(Wish, u32)>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
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
        for n in 0..scenario.says.proposals.len() {
            let stream = luck.stream(&format!("proposals {n}"));
            plan.decisions(scenario, n, stream).map_err(|why| format!("proposals[{n}]: {why}"))?;
        }
        plan.proposals.sort();
        if plan.items.len() > PLAN_MAX || plan.edits.len() > PLAN_MAX {
            let (faults, edits) = (plan.items.len(), plan.edits.len());
            return Err(format!("{faults} faults and {edits} edits, at most {PLAN_MAX} of each"));
        }
        plan.items.sort();
        plan.edits.sort();
        plan.core = core(scenario, luck);
        Ok(plan)
    }
}

fn starts(scenario: &Scenario, luck: &Luck) -> Vec<u64> {
    let stream = luck.stream("starts");
    let within = scenario.says.join.within.0;
    (0..scenario.peers() as u64).map(|peer| if peer == 0 { 0 } else { stream.below(peer, 0, within.max(1)) }).collect()
}

/// At least half of all, drawn; nobody if everybody is healed.
fn core(scenario: &Scenario, luck: &Luck) -> Vec<u32> {
    if scenario.says.phases.heal == Heal::All {
        return Vec::new();
    }
    let (stream, peers) = (luck.stream("core"), scenario.peers() as u64);
    let count = stream.between(0, 0, peers.div_ceil(2), peers);
    let mut drawn: Vec<(u64, u32)> =
        (0..).take(scenario.peers()).map(|peer| (stream.bits(1, u64::from(peer)), peer)).collect();
    drawn.sort_unstable();
    let mut core: Vec<u32> = (0..count).zip(drawn).map(|(_, (_, peer))| peer).collect();
    core.sort_unstable();
    core
}

/// What is to happen must begin while faults may.
///
/// # Errors
/// When it does not: it would never happen, and whoever wrote it would not know.
fn before_the_calm(scenario: &Scenario, at: u64) -> Result<(), String> {
    let (quiet, calm) = (scenario.quiet_at(), scenario.calm_at());
    if at < quiet {
        return Ok(());
    }
    let seconds = |ns: u64| ns / 1_000_000_000;
    let what = if quiet < calm { "quiet" } else { "calm" };
    Err(format!("at: {} s is too late: the {what} begins at {} s", seconds(at), seconds(quiet)))
}

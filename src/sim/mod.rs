//! A mesh in one thread, under virtual time.
//!
//! The second driver of the node: the same [`Boot`](crate::node::Boot) and [`Node`](crate::node::Node), the same encoded
//! frames and log bytes, with an event queue in place of sockets, files and clocks. A [`Scenario`] and a seed expand into a
//! plan, an explicit value, before the run begins; whatever is drawn for each message and each disk operation is a function
//! of (seed, scenario text, entity, counter). So a run is a function of its scenario and its seed, its hash proves it, and a
//! smaller plan leaves the luck of what stays alone. Of a swarm each seed first draws a scenario for itself.
//!
//! Parts: `queue` and `luck` (what happens next), `net`, `disk`, `clock`, `host` (what is imitated), `scenario` and `plan`
//! (what is wanted), `replay` (what was really written once), [`guest`] (a program that embeds nodes), `world` (the run), `check` (what must hold), `spread`, `trace` and `outcome` (what it came to).
//!
//! The models are those of TigerBeetle's VOPR, FoundationDB's simulator and turmoil where they are best; see each part.
//!
//! **Invariants.** No clock, no entropy, no hash map, no float on the way from seed to hash. Nothing a check does is seen by
//! a node. Every event names the event that caused it.

mod check;
mod clock;
mod compare;
mod cost;
mod disk;
mod garble;
pub mod guest;
mod host;
#[cfg(feature = "planted-bugs")]
mod hunt;
mod luck;
mod net;
mod orders;
mod outcome;
mod part;
mod peers;
mod picture;
mod plan;
mod queue;
mod replay;
mod repro;
mod scenario;
mod shrink;
mod speech;
mod spread;
mod story;
mod trace;
mod witness;
mod words;
mod world;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use check::{Violation, ids as invariants};
pub use compare::{Did, Difference, compare};
pub use guest::{Guest, GuestAt, GuestCx, Program};
pub use net::NetStats;
pub use outcome::{Faults, Figures, Judgement, Line, Outcome};
pub use picture::Picture;
pub use replay::{Replay, ReplayError, ReplayStep};
pub use scenario::{Drawn, Error, Family, FaultKind, Found, Scenario, faults, judged_only};
pub use shrink::{NotShrunk, Progress, Shrunk, Size, shrink, size};
pub use spread::Spread;
pub use story::{Step, Story, Why, explain};
pub use trace::{CHECKPOINT_EVERY, TraceHash};

#[cfg(feature = "planted-bugs")]
pub use crate::probe::{BUGS, Bug};
pub use crate::probe::{Coverage, Kind, MARKS, Mark};
#[cfg(feature = "planted-bugs")]
pub use hunt::{Hunt, Kill, hunt, run_with_bug, shrink_with_bug};
use luck::Luck;
use orders::Orders;
use plan::Plan;
use world::World;

/// Runs a scenario with a seed; `sink` is told of each step.
///
/// A panic inside the mesh is an outcome too: it breaks invariant G2.
#[must_use]
pub fn run<'a>(scenario: &'a Scenario, seed: u64, sink: Option<&'a mut (dyn FnMut(Line) + 'a)>) -> Outcome {
    ran(scenario, seed, &replay::NONE, sink)
}

/// Runs a scenario with a seed and a replay besides its own workload, from the end of the warm-up on. All of the replay must be
/// made when the run ends: T1. A run is a function of all three; [`Outcome::replay`] knows only the scenario and the seed.
///
/// # Errors
/// [`ReplayError`] if these peers cannot run it.
pub fn run_replay<'a>(
    scenario: &'a Scenario,
    seed: u64,
    replay: &'a Replay,
    sink: Option<&'a mut (dyn FnMut(Line) + 'a)>,
) -> Result<Outcome, ReplayError> {
    replay.checked(scenario.peers())?;
    Ok(ran(scenario, seed, replay, sink))
}

/// Runs a scenario with a seed, and beside each node a guest of `program`, which judges the run too: H1. A run is a function of all
/// three; [`Outcome::replay`] knows only the scenario and the seed. See [`guest`], and `examples/own_nodes.rs` for a whole host.
///
/// ```
/// use oxigdal_ha::sim::{Found, Guest, GuestAt, GuestCx, Program, Scenario, run_hosting};
///
/// /// Counts how often it was started.
/// #[derive(Default)]
/// struct Starts(u32);
/// struct Witness;
///
/// impl Guest for Witness {
///     fn started(&mut self, cx: &mut GuestCx<'_>) {
///         assert_eq!(cx.node.documents().count(), 0, "the node has read its log");
///     }
/// }
///
/// impl Program for Starts {
///     type At = Witness;
///     fn start(&mut self, _peer: u32) -> Witness {
///         self.0 += 1;
///         Witness
///     }
///     fn at_rest(&self, up: &[GuestAt<'_, Witness>]) -> Result<(), String> {
///         if up.len() == 2 { Ok(()) } else { Err(format!("{} are up", up.len())) }
///     }
/// }
///
/// let text = r#"
///     schema = 1
///     description = "One of two is killed once."
///     mesh = { peers = 2, delay = "5ms" }
///     phases = { warm-up = "5s", chaos = "5s", calm = "15s" }
///     fault = [{ at = "6s", kind = "crash", peers = "p-2", for = "1s" }]
/// "#;
/// let mut none = |name: &str| -> Result<Found, String> { Err(format!("no topology {name}")) };
/// let scenario = Scenario::parse("two.toml", text, &mut none).unwrap();
/// let mut starts = Starts::default();
/// let outcome = run_hosting(&scenario, 1, &mut starts, None);
/// assert!(outcome.passed() && starts.0 == 3, "{outcome}");
/// ```
#[must_use]
pub fn run_hosting<'a, P: Program>(
    scenario: &'a Scenario,
    seed: u64,
    program: &'a mut P,
    sink: Option<&'a mut (dyn FnMut(Line) + 'a)>,
) -> Outcome {
    let mut hosted = guest::Hosted::new(program);
    let sink = sink.map(|sink| sink as &mut dyn FnMut(Line));
    let orders = Orders { guests: Some(&mut hosted), sink, ..Orders::default() };
    follow(scenario, seed, orders).expect("nobody calls it off")
}

/// Runs a scenario with a seed unless `stop` says, now and then, that it is not wanted any more: then there is no outcome.
#[must_use]
pub fn run_unless(scenario: &Scenario, seed: u64, stop: &dyn Fn() -> bool) -> Option<Outcome> {
    follow(scenario, seed, Orders { stop: Some(stop), ..Orders::default() })
}

/// As [`run_unless`], and `sink` is told of each step.
#[must_use]
pub fn run_told_unless(
    scenario: &Scenario,
    seed: u64,
    sink: &mut dyn FnMut(Line),
    stop: &dyn Fn() -> bool,
) -> Option<Outcome> {
    follow(scenario, seed, Orders { sink: Some(sink), stop: Some(stop), ..Orders::default() })
}

fn ran<'a>(
    scenario: &'a Scenario,
    seed: u64,
    replay: &'a Replay,
    sink: Option<&'a mut (dyn FnMut(Line) + 'a)>,
) -> Outcome {
    follow(scenario, seed, Orders { replay, sink, ..Orders::default() }).expect("nobody calls it off")
}

/// The luck of a run, what its seed makes of its scenario, and its plan: that of the seed, or the one that its file holds.
fn drawn(scenario: &Scenario, seed: u64) -> Result<(Luck, Cow<'_, Scenario>, Plan), String> {
    let repro = scenario.says.repro.as_ref();
    let luck = repro.map_or_else(|| Luck::new(seed, scenario.text()), repro::Repro::luck);
    let of_seed = scenario.for_seed(&luck).map_err(|why| format!("what seed {seed} draws does not fit: {why}"))?;
    let plan = repro.map_or_else(|| Plan::expand(&of_seed, &luck), |repro| repro.plan(&of_seed))?;
    Ok((luck, of_seed, plan))
}

/// A run; nothing if it was called off.
fn follow(scenario: &Scenario, seed: u64, orders: Orders<'_>) -> Option<Outcome> {
    let drew = catch_unwind(AssertUnwindSafe(|| drawn(scenario, seed).unwrap_or_else(|why| panic!("{why}"))));
    let (luck, of_seed, plan) = match drew {
        Ok(drawn) => drawn,
        Err(panic) => return Some(outcome_of(scenario, seed, scenario, Err(panic))),
    };
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let plan = orders.plan.cloned().unwrap_or(plan);
        World::new(&of_seed, luck, plan, orders.shorter()).run()
    }));
    if ran.as_ref().is_ok_and(|ran| ran.called_off) {
        return None;
    }
    Some(outcome_of(scenario, seed, &of_seed, ran))
}

type Panic = Box<dyn std::any::Any + Send>;

/// What a run came to, or its panic.
fn outcome_of(scenario: &Scenario, seed: u64, of_seed: &Scenario, ran: Result<world::Ran, Panic>) -> Outcome {
    let (judgement, hash, checkpoints, figures) = match ran {
        Ok(mut ran) => {
            if let Some((violation, ..)) = &mut ran.failure {
                let name = |place: usize| of_seed.mesh.nodes().get(place).map(|node| node.name.clone());
                violation.what = words::named(&violation.what, &name);
            }
            (outcome::judge(of_seed, &ran.figures, ran.failure), ran.hash, ran.checkpoints, ran.figures)
        }
        Err(panic) => {
            let what = panic.downcast_ref::<String>().cloned();
            let what = what.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let violation = Violation { check: "G2", what: what.unwrap_or_else(|| "a panic without words".to_owned()) };
            let judgement = Judgement::Violated { violation, at_ns: 0, event: 0 };
            (judgement, TraceHash::default(), Vec::new(), Figures::default())
        }
    };
    Outcome {
        scenario: scenario.name().to_owned(),
        file: scenario.file().to_owned(),
        seed: scenario.repro().unwrap_or(seed),
        explicit: scenario.repro().is_some(),
        peers: of_seed.peers(),
        drawn: of_seed.drawn().cloned(),
        hash,
        checkpoints,
        judgement,
        figures,
    }
}

/// Runs it twice and compares the traces: a difference breaks invariant G1.
#[must_use]
pub fn run_twice(scenario: &Scenario, seed: u64) -> Outcome {
    run(scenario, seed, None).compared(&run(scenario, seed, None))
}

//! A mesh in one thread, under virtual time.
//!
//! The second driver of the node: the same [`Boot`](crate::node::Boot) and [`Node`](crate::node::Node), the same encoded
//! frames and log bytes, with an event queue in place of sockets, files and clocks. A [`Scenario`] and a seed expand into a
//! plan, an explicit value, before the run begins; whatever is drawn for each message and each disk operation is a function
//! of (seed, scenario text, entity, counter). So a run is a function of its scenario and its seed, its hash proves it, and a
//! smaller plan leaves the luck of what stays alone. Of a swarm each seed first draws a scenario for itself.
//!
//! Parts: `queue` and `luck` (what happens next), `net`, `disk`, `clock`, `host` (what is imitated), `scenario` and `plan`
//! (what is wanted), `replay` (what was really written once), `world` (the run), `check` (what must hold), `spread`, `trace` and `outcome` (what it came to).
//!
//! The models are those of TigerBeetle's VOPR, FoundationDB's simulator and turmoil where they are best; see each part.
//!
//! **Invariants.** No clock, no entropy, no hash map, no float on the way from seed to hash. Nothing a check does is seen by
//! a node. Every event names the event that caused it.

mod check;
mod clock;
mod cost;
mod disk;
mod garble;
mod host;
mod luck;
mod net;
mod outcome;
mod peers;
mod plan;
mod queue;
mod replay;
mod scenario;
mod spread;
mod trace;
mod world;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use check::{Violation, ids as invariants};
pub use net::NetStats;
pub use outcome::{Faults, Figures, Judgement, Line, Outcome};
pub use replay::{Replay, ReplayError, ReplayStep};
pub use scenario::{Drawn, Error, Family, FaultKind, Found, Scenario, faults};
pub use spread::Spread;
pub use trace::{CHECKPOINT_EVERY, TraceHash};

use luck::Luck;
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

fn ran<'a>(
    scenario: &'a Scenario,
    seed: u64,
    replay: &'a Replay,
    sink: Option<&'a mut (dyn FnMut(Line) + 'a)>,
) -> Outcome {
    let luck = Luck::new(seed, scenario.text());
    let swarm = catch_unwind(AssertUnwindSafe(|| {
        scenario.for_seed(&luck).unwrap_or_else(|why| panic!("what seed {seed} draws does not fit: {why}"))
    }));
    let (of_seed, unfit) = match swarm {
        Ok(scenario) => (scenario, None),
        Err(panic) => (Cow::Borrowed(scenario), Some(panic)),
    };
    let ran = unfit.map_or_else(
        || {
            catch_unwind(AssertUnwindSafe(|| {
                let plan = Plan::expand(&of_seed, &luck).expect("the scenario was expanded when it was read");
                let sink = sink.map(|sink| sink as &mut dyn FnMut(Line));
                World::new(&of_seed, luck, plan, replay, sink).run()
            }))
        },
        Err,
    );
    let (judgement, hash, checkpoints, figures) = match ran {
        Ok(ran) => (outcome::judge(&of_seed, &ran.figures, ran.failure), ran.hash, ran.checkpoints, ran.figures),
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
        seed,
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
    let (mut first, second) = (run(scenario, seed, None), run(scenario, seed, None));
    if first.hash != second.hash {
        let what = format!(
            "two runs differ after {} events at the latest: {} and {}",
            first.common_events(&second) + CHECKPOINT_EVERY,
            first.hash,
            second.hash
        );
        first.judgement = Judgement::Violated { violation: Violation { check: "G1", what }, at_ns: 0, event: 0 };
    }
    first
}

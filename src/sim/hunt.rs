//! The hunt for a planted bug: seed after seed, each of its scenarios, until an invariant or an expectation sees it.

use std::ops::RangeInclusive;

use serde::Serialize;

use super::{Judgement, NotShrunk, Outcome, Progress, Scenario, Shrunk, run, shrink};
use crate::probe::{Bug, Switched};

/// What a hunt came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hunt {
    /// The bug's id.
    pub bug: &'static str,
    /// How many seeds were looked at.
    pub seeds: u64,
    /// Runs that fail without the bug too: they say nothing of it, and something of the mesh.
    pub false_alarms: Vec<String>,
    /// What saw it; none if it survived.
    pub kill: Option<Kill>,
}

/// A run that saw a planted bug.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kill {
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// The invariant that did not hold; `expect` if none of them saw it, but an expectation was missed.
    pub check: &'static str,
    /// What was seen.
    pub what: String,
    /// When, in nanoseconds of virtual time.
    pub at_ns: u64,
}

impl Hunt {
    /// Whether it was seen by an invariant that has to see it.
    #[must_use]
    pub fn as_listed(&self, bug: &Bug) -> bool {
        self.kill.as_ref().is_some_and(|kill| bug.caught_by.contains(&kill.check))
    }
}

impl Kill {
    /// What a run saw, if it saw anything.
    fn of(outcome: &Outcome) -> Option<Self> {
        let (check, what, at_ns) = match &outcome.judgement {
            Judgement::Passed => return None,
            Judgement::Violated { violation, at_ns, .. } => (violation.check, violation.what.clone(), *at_ns),
            Judgement::Missed { what } => ("expect", what.join("; "), outcome.figures.virtual_ns),
        };
        Some(Self { scenario: outcome.scenario.clone(), seed: outcome.seed, check, what, at_ns })
    }
}

/// Runs a scenario with a seed and a planted bug, which is switched on in this thread until the run ends.
#[must_use]
pub fn run_with_bug(scenario: &Scenario, seed: u64, bug: &Bug) -> Outcome {
    let _on = Switched::on(bug);
    run(scenario, seed, None)
}

/// Makes the run in which a planted bug was seen smaller, as [`shrink`] does; the bug is switched on in this thread meanwhile.
///
/// # Errors
/// [`NotShrunk`]
pub fn shrink_with_bug(
    scenario: &Scenario,
    text: &str,
    seed: u64,
    bug: &Bug,
    watch: &mut dyn FnMut(Progress),
    stop: &dyn Fn() -> bool,
) -> Result<Shrunk, NotShrunk> {
    let _on = Switched::on(bug);
    shrink(scenario, text, seed, watch, stop)
}

/// Runs these scenarios with one seed after the other until one sees the bug.
#[must_use]
pub fn hunt(bug: &Bug, scenarios: &[&Scenario], seeds: RangeInclusive<u64>) -> Hunt {
    let mut hunt = Hunt { bug: bug.id, seeds: 0, false_alarms: Vec::new(), kill: None };
    for seed in seeds {
        hunt.seeds += 1;
        for scenario in scenarios {
            let Some(kill) = Kill::of(&run_with_bug(scenario, seed, bug)) else { continue };
            let without = run(scenario, seed, None);
            if without.passed() {
                return Hunt { kill: Some(kill), ..hunt };
            }
            hunt.false_alarms.push(without.to_string());
        }
    }
    hunt
}

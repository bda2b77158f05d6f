//! Making a failing run smaller: of its plan the pieces without which the same thing does not fail.
//!
//! A candidate is a part of the plan under the same luck; it counts if it breaks the same invariant, or misses the same
//! expectation. First what would begin after the failure goes, then faults, overlays that are set, edits, appends, and peers,
//! each kind by `ddmin`; again, until a whole round spares nothing, so that the result is minimal in every single piece.

mod ddmin;

#[cfg(test)]
mod tests;

use ddmin::{Says, ddmin};

use super::orders::Orders;
use super::outcome::{Judgement, Outcome};
use super::part::{NEVER, Piece};
use super::plan::Plan;
use super::scenario::Scenario;
use super::{drawn, follow, repro};

/// How many pieces of each kind a plan has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Size {
    /// Faults.
    pub faults: usize,
    /// Overlays that are set for the mesh.
    pub turns: usize,
    /// Edits of documents.
    pub edits: usize,
    /// Appends to streams.
    pub appends: usize,
    /// What the voters are asked to decide.
    pub proposals: usize,
    /// Peers that start.
    pub peers: usize,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Runs so far.
    pub runs: u64,
    /// The smallest plan so far.
    pub size: Size,
    /// Of which kind pieces are taken away.
    pub phase: &'static str,
}

/// A failing run, made smaller.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The text of its repro file.
    pub text: String,
    /// What it comes to.
    pub outcome: Outcome,
    /// What the whole plan had.
    pub before: Size,
    /// What is left of it.
    pub after: Size,
    /// How many runs it took.
    pub runs: u64,
    /// Whether without any single piece the same does not fail. If not, it was called off before.
    pub minimal: bool,
}

impl Size {
    fn of(plan: &Plan) -> Self {
        Self {
            faults: plan.items.len(),
            turns: plan.turns.len(),
            edits: plan.edits.len(),
            appends: plan.appends.len(),
            proposals: plan.proposals.len(),
            peers: plan.starts.iter().filter(|at| **at != NEVER).count(),
        }
    }

    /// All pieces together.
    #[must_use]
    pub const fn pieces(self) -> usize {
        self.faults + self.turns + self.edits + self.appends + self.proposals + self.peers
    }
}

/// How many pieces the plan of a run has; nothing if there is none.
#[must_use]
pub fn size(scenario: &Scenario, seed: u64) -> Option<Size> {
    drawn(scenario, seed).ok().map(|(_, _, plan)| Size::of(&plan))
}

/// Why a run was not made smaller.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotShrunk {
    /// Nothing fails: so the run ended.
    #[error("{0}: there is nothing to make smaller")]
    Passes(Box<Outcome>),
    /// It was stopped before the run itself had ended, so that nobody knows what fails.
    #[error("there was no time to see what fails: the run itself takes longer")]
    NoTime,
}

/// Makes the failing run of this seed smaller; `text` is the scenario's file. `watch` is told before each run how far it is; when
/// `stop` says so, which is asked during runs too, the smallest failing run so far is the result.
///
/// # Errors
/// [`NotShrunk`]
pub fn shrink(
    scenario: &Scenario,
    text: &str,
    seed: u64,
    watch: &mut dyn FnMut(Progress),
    stop: &dyn Fn() -> bool,
) -> Result<Shrunk, NotShrunk> {
    let (luck, of_seed, plan) = drawn(scenario, seed).expect("it was tried when it was read");
    let scenario = &*of_seed;
    let orders = Orders { stop: Some(stop), ..Orders::default() };
    let first = follow(scenario, seed, orders).ok_or(NotShrunk::NoTime)?;
    let Some(key) = likeness(&first.judgement) else { return Err(NotShrunk::Passes(Box::new(first))) };
    let before = Size::of(&plan);
    let mut search = Search { scenario, seed, key, best: plan, outcome: first, runs: 1, watch, stop };
    let minimal = search.whole();
    let Search { best, outcome, runs, .. } = search;
    // A part of everything is written as such, with its numbers.
    let best = best.keep(&best.pieces());
    let text = repro::write(scenario, text, &luck, &best, &outcome);
    Ok(Shrunk { text, after: Size::of(&best), outcome, before, runs, minimal })
}

/// What two failures must have in common to be the same one. One invariant may be broken in several ways.
fn likeness(judgement: &Judgement) -> Option<(String, String)> {
    let words = match judgement {
        Judgement::Violated { violation, .. } => {
            let words = violation.what.split_whitespace().filter(|word| !word.contains(|c: char| c.is_ascii_digit()));
            words.collect::<Vec<_>>().join(" ")
        }
        Judgement::Passed | Judgement::Missed { .. } => String::new(),
    };
    Some((judgement.key()?, words))
}

struct Search<'a> {
    scenario: &'a Scenario,
    seed: u64,
    /// What must fail: the invariant or expectation, and its words without what tells one peer or entry from another.
    key: (String, String),
    best: Plan,
    outcome: Outcome,
    runs: u64,
    watch: &'a mut dyn FnMut(Progress),
    stop: &'a dyn Fn() -> bool,
}

/// A name for people, and which pieces it is of.
type Kind = (&'static str, fn(Piece) -> bool);

/// The kinds of pieces, in the order in which they go.
const KINDS: [Kind; 6] = [
    ("faults", |piece| matches!(piece, Piece::Fault(_))),
    ("overlays", |piece| matches!(piece, Piece::Turn(_))),
    ("edits", |piece| matches!(piece, Piece::Edit(_))),
    ("appends", |piece| matches!(piece, Piece::Append(_))),
    ("proposals", |piece| matches!(piece, Piece::Proposal(_))),
    ("peers", |piece| matches!(piece, Piece::Peer(_))),
];

impl Search<'_> {
    /// Says whether the result is minimal.
    fn whole(&mut self) -> bool {
        if let Judgement::Violated { at_ns, .. } = self.outcome.judgement {
            let plan = self.best.clone();
            let kept: Vec<Piece> = plan.pieces().into_iter().filter(|piece| plan.at(*piece) <= at_ns).collect();
            if kept.len() < plan.pieces().len() && self.test(&plan, &kept, "the end") == Says::Enough {
                return false;
            }
        }
        loop {
            let size = Size::of(&self.best);
            for (phase, of) in KINDS {
                if !self.kind(phase, of) {
                    return false;
                }
            }
            if Size::of(&self.best) == size {
                return true;
            }
        }
    }

    fn kind(&mut self, phase: &'static str, of: fn(Piece) -> bool) -> bool {
        let plan = self.best.clone();
        let (some, rest): (Vec<Piece>, Vec<Piece>) = plan.pieces().into_iter().partition(|piece| of(*piece));
        let (_, minimal) = ddmin(&some, &mut |part| self.test(&plan, &[part, &rest].concat(), phase));
        minimal
    }

    /// Runs a part of a plan, and remembers it if it fails as it should.
    fn test(&mut self, plan: &Plan, kept: &[Piece], phase: &'static str) -> Says {
        (self.watch)(Progress { runs: self.runs, size: Size::of(&self.best), phase });
        let smaller = plan.keep(kept);
        let orders = Orders { plan: Some(&smaller), stop: Some(self.stop), ..Orders::default() };
        let Some(outcome) = follow(self.scenario, self.seed, orders) else { return Says::Enough };
        self.runs += 1;
        if likeness(&outcome.judgement).as_ref() != Some(&self.key) {
            return if (self.stop)() { Says::Enough } else { Says::Passes };
        }
        (self.best, self.outcome) = (smaller, outcome);
        Says::Fails
    }
}

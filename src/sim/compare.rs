//! Where two runs part: the first event that is not the same, and what is around it on either side.
//!
//! The hash of a run at every checkpoint is kept anyway, so the checkpoint before the difference is found without keeping
//! either run; only the events between it and the next are then put into words.

use std::collections::VecDeque;
use std::fmt;

use super::follow;
use super::orders::Orders;
use super::outcome::Outcome;
use super::scenario::Scenario;
use super::speech::Speech;
use super::trace::CHECKPOINT_EVERY;
use super::witness::{Happened, Seen, Witness};
use super::words::seconds;

/// How many steps before the first difference are told, and how many from it on.
const BEFORE: usize = 8;
const AFTER: usize = 12;

/// One thing that a run did.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Did {
    /// When, in nanoseconds of virtual time.
    pub at: u64,
    /// At which peer.
    pub peer: String,
    /// What, in words, or as it prints.
    pub what: String,
}

/// How two runs differ.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Difference {
    /// The two runs.
    pub runs: [Outcome; 2],
    /// How many inputs were handled before the first difference; none if there is no difference.
    pub after: Option<u64>,
    /// What both did last.
    pub common: Vec<Did>,
    /// What each did then.
    pub then: [Vec<Did>; 2],
}

/// Compares two runs: each a scenario and a seed.
#[must_use]
pub fn compare(one: (&Scenario, u64), other: (&Scenario, u64)) -> Difference {
    let (first, second) = (ran(one, None), ran(other, None));
    if first.hash == second.hash && first.checkpoints == second.checkpoints {
        return Difference { runs: [first, second], after: None, common: Vec::new(), then: [Vec::new(), Vec::new()] };
    }
    let from = first.common_events(&second);
    let (mut a, mut b) = (Part::new(one.0, from), Part::new(other.0, from));
    ran(one, Some(&mut a));
    ran(other, Some(&mut b));
    let same = a.did.iter().zip(&b.did).take_while(|((x, _), (y, _))| x == y).count();
    let inputs = a.did.iter().take(same).filter(|((_, input), _)| *input).count() as u64;
    let told = |part: &Part<'_>, from: usize, most: usize| -> Vec<Did> {
        part.did.iter().skip(from).take(most).map(|(_, did)| did.clone()).collect()
    };
    let common = told(&a, same.saturating_sub(BEFORE), same.min(BEFORE));
    let then = [told(&a, same, AFTER), told(&b, same, AFTER)];
    Difference { runs: [first, second], after: Some(a.before + inputs), common, then }
}

fn ran((scenario, seed): (&Scenario, u64), part: Option<&mut Part<'_>>) -> Outcome {
    let witness = part.map(|part| part as &mut dyn Witness);
    follow(scenario, seed, Orders { witness, ..Orders::default() }).expect("nobody calls it off")
}

/// A digest of a step, and whether it is an input.
type Mark = (u64, bool);

/// What a run does from a checkpoint on, up to a little after the next one.
struct Part<'a> {
    speech: Speech<'a>,
    from: u64,
    inputs: u64,
    before: u64,
    did: VecDeque<(Mark, Did)>,
}

impl<'a> Part<'a> {
    fn new(scenario: &'a Scenario, from: u64) -> Self {
        // A checkpoint is taken before its event.
        Self { speech: Speech::new(scenario), from, inputs: 0, before: from.saturating_sub(1), did: VecDeque::new() }
    }
}

impl Witness for Part<'_> {
    fn seen(&mut self, event: Happened, place: u32, what: &Seen<'_>) {
        let input = matches!(what, Seen::Input(_) | Seen::Start);
        self.inputs += u64::from(input);
        if self.inputs < self.from || self.inputs > self.from + 2 * CHECKPOINT_EVERY {
            return;
        }
        let plain = format!("{what:?}");
        let digest = xxhash_rust::xxh3::xxh3_64(format!("{} {place} {plain}", event.at).as_bytes());
        let what = self.speech.of(what).map_or_else(|| self.speech.plain(&plain), |(_, words)| words);
        let peer = self.speech.name(place);
        self.did.push_back(((digest, input), Did { at: event.at, peer, what }));
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = &self.runs;
        writeln!(f, "A  {first}\nB  {second}")?;
        let Some(after) = self.after else {
            return writeln!(f, "They are the same, in all of {} inputs.", first.figures.events);
        };
        writeln!(f, "They are the same for {after} inputs.\n")?;
        let mut side = |mark: &str, all: &[Did]| {
            all.iter().try_for_each(|did| writeln!(f, "{mark} {:>14}  {:<12} {}", seconds(did.at), did.peer, did.what))
        };
        side("   ", &self.common)?;
        side("A >", &self.then[0])?;
        side("B >", &self.then[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::scenario::Found;

    const TEXT: &str = r#"schema = 1
description = "a few edits"
mesh = { peers = 3 }
phases = { warm-up = "4s", chaos = "6s", calm = "4s" }

[[edits]]
docs = 2
rate = "4/s"

[[fault]]
at = "8s"
for = "1s"
kind = "slow"
factor = 9
peers = "p-2"
"#;

    fn scenario(text: &str) -> Scenario {
        let mut none = |name: &str| -> Result<Found, String> { Err(format!("no topology {name:?}")) };
        Scenario::parse("test.toml", text, &mut none).unwrap()
    }

    #[test]
    fn a_run_is_the_same_as_itself() {
        let scenario = scenario(TEXT);
        let found = compare((&scenario, 1), (&scenario, 1));
        assert_eq!(found.after, None);
        assert!(found.to_string().contains("They are the same, in all of"), "{found}");
    }

    #[test]
    fn two_runs_part_where_the_first_thing_is_not_the_same() {
        // The same luck: the second one is what is left of the first one without its fault.
        let one = scenario(TEXT);
        let luck: String =
            crate::sim::luck::Luck::new(1, one.text()).root().iter().map(|byte| format!("{byte:02x}")).collect();
        let (_, _, plan) = crate::sim::drawn(&one, 1).unwrap();
        let starts: String = (1..).zip(&plan.starts).map(|(n, at)| format!("\"p-{n}\" = {at}\n")).collect();
        let edits: String = (0..)
            .zip(&plan.edits)
            .map(|(n, edit)| {
                let crate::sim::plan::Edit { at, peer, doc, .. } = edit;
                format!("{{ n = {n}, at = {at}, peer = {peer}, doc = {doc}, shared = false, padding = 0 }},\n")
            })
            .collect();
        let whole = format!("faults = 1, turns = 0, edits = {}, appends = 0", plan.edits.len());
        let repro = format!(
            "{TEXT}[repro]\nof = \"x\"\nseed = 1\nluck = \"{luck}\"\nbreaks = \"M4\"\nwhole = {{ {whole} }}\nedits = [\n{edits}]\n[repro.starts]\n{starts}"
        );
        let found = compare((&one, 1), (&scenario(&repro), 1));
        assert!(found.after.is_some_and(|after| after > 100), "{found}");
        let [with, without] = &found.then;
        assert_eq!(with[0].what, "fault begins: p-2 slow 9 times", "{found}");
        assert!(with[0].at == 8_000_000_000 && without[0].at > with[0].at, "{found}");
        assert!(found.common.iter().all(|did| did.at < 8_000_000_000) && !found.common.is_empty());
        let other = compare((&one, 1), (&one, 2));
        assert!(other.after.is_some_and(|after| after < 20), "{other}");
    }
}

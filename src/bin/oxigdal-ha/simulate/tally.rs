//! What a sweep came to: counted while it runs, told at its end, however it ends.

use std::collections::BTreeMap;
use std::time::Duration;

use comfy_table::Cell;
use oxigdal_ha::sim::{Coverage, Outcome, Scenario};
use serde_json::{Value, json};

use super::families::{self, Families};
use super::sweep::Done;
use crate::failure::Result;
use crate::output::{self, Output, Tone, cell, number};

/// No run has ended: nothing was judged.
pub(super) const NOTHING_RUN: u8 = 5;

/// Most runs of which each is told how entries spread.
const SPREAD_MAX: usize = 20;
/// Most runs that are told one by one.
const RUNS_TOLD_MAX: usize = 1_000;
/// Most detections that are kept of a scenario for their median.
const DETECTIONS_MAX: usize = 100_000;

/// All scenarios.
pub(super) struct Tally<'a> {
    rows: Vec<Row<'a>>,
    told: Vec<Done>,
    untold: u64,
    faults: Families,
    coverage: Coverage,
}

/// One scenario.
struct Row<'a> {
    scenario: &'a Scenario,
    runs: u64,
    /// Runs that were begun and did not end.
    cut_off: u64,
    failed: u64,
    /// Runs whose end was not judged.
    excused: u64,
    took: Duration,
    virtual_ns: u64,
    /// Of all peers together; a swarm has fewer or more of them in each run.
    node_ms: u128,
    events: u64,
    bytes: u64,
    detections_ns: Vec<u64>,
    converged_ns: Option<u64>,
    faults: Families,
    /// For each invariant or expectation that failed: how often, and the run with the smallest seed.
    failures: BTreeMap<String, (u64, Outcome)>,
}

impl<'a> Tally<'a> {
    pub(super) fn new(scenarios: &'a [Scenario]) -> Self {
        let row = |scenario| Row {
            scenario,
            runs: 0,
            cut_off: 0,
            failed: 0,
            excused: 0,
            took: Duration::ZERO,
            virtual_ns: 0,
            node_ms: 0,
            events: 0,
            bytes: 0,
            detections_ns: Vec::new(),
            converged_ns: None,
            faults: Families::default(),
            failures: BTreeMap::new(),
        };
        let (faults, coverage) = (Families::default(), Coverage::default());
        Self { rows: scenarios.iter().map(row).collect(), told: Vec::new(), untold: 0, faults, coverage }
    }

    /// A run is done.
    pub(super) fn add(&mut self, done: Done) {
        let Some(row) = self.rows.iter_mut().find(|row| row.scenario.file() == done.outcome.file) else { return };
        row.add(&done);
        self.faults.add(&done.outcome.figures.kinds);
        self.coverage.add(&done.coverage);
        if self.told.len() < RUNS_TOLD_MAX {
            self.told.push(done);
        } else {
            self.untold += 1;
        }
    }

    /// A run was begun and did not end: time was over.
    pub(super) fn cut_off(&mut self, scenario: &Scenario) {
        let row = self.rows.iter_mut().find(|row| row.scenario.file() == scenario.file());
        row.into_iter().for_each(|row| row.cut_off += 1);
    }

    /// A broken proof of determinism makes every other result doubtful; a broken invariant outweighs a missed expectation.
    pub(super) fn exit_code(&self) -> u8 {
        if self.rows.iter().all(|row| row.runs == 0) {
            return NOTHING_RUN;
        }
        let codes: Vec<u8> = self.failures().map(|(_, outcome)| outcome.exit_code()).collect();
        [3, 1, 2].into_iter().find(|code| codes.contains(code)).unwrap_or(0)
    }

    /// How many runs failed.
    pub(super) fn failed(&self) -> u64 {
        self.rows.iter().map(|row| row.failed).sum()
    }

    /// What failed, each once a scenario, with how often.
    fn failures(&self) -> impl Iterator<Item = (u64, &Outcome)> {
        self.rows.iter().flat_map(|row| row.failures.values().map(|(count, outcome)| (*count, outcome)))
    }

    pub(super) fn tell(&mut self, output: Output) -> Result {
        // In the order in which they were asked for, whichever core was faster.
        let place = |file: &str| self.rows.iter().position(|row| row.scenario.file() == file);
        self.told.sort_by_cached_key(|done| (place(&done.outcome.file), done.outcome.seed));
        if output.json {
            return output.value(&self.value());
        }
        if self.rows.iter().all(|row| row.runs == 0) {
            output.line("no run has ended")?;
            return self.unreached(output);
        }
        self.table(output)?;
        self.unreached(output)?;
        self.faults.tell(output)?;
        output.line(families::marks(&self.coverage))?;
        self.excused(output)?;
        let spread = |done: &&Done| done.outcome.figures.spread.deliveries > 0;
        for done in self.told.iter().filter(spread).filter(|_| self.told.len() <= SPREAD_MAX) {
            let Outcome { scenario, seed, figures, .. } = &done.outcome;
            output.line(format_args!("{scenario} {seed}: {}", figures.spread))?;
        }
        for (count, outcome) in self.failures() {
            output.line(output.paint(Tone::Bad, outcome))?;
            let more = if count > 1 { format!("  and {} seeds more; ", count - 1) } else { "  ".to_owned() };
            let (explain, minimize) = (outcome.command("explain"), outcome.command("minimize"));
            output.line(output.paint(Tone::Dim, format_args!("{more}{explain}\n  {minimize}")))?;
        }
        Ok(())
    }

    fn value(&self) -> Value {
        let runs: Vec<_> = self
            .told
            .iter()
            .map(|done| json!({ "took_ms": u64::try_from(done.took.as_millis()).unwrap_or(u64::MAX), "run": done.outcome }))
            .collect();
        let failures: Vec<_> = self
            .failures()
            .map(|(count, outcome)| {
                json!({
                    "scenario": outcome.scenario,
                    "what": outcome.judgement.key(),
                    "runs": count,
                    "smallest_seed": outcome.seed,
                    "replay": outcome.replay(),
                    "line": outcome.to_string(),
                })
            })
            .collect();
        let summary: Vec<_> = self.rows.iter().map(Row::value).collect();
        let of = |reached| self.rows.iter().filter(|row| row.reached() == reached).count();
        json!({
            "runs": runs,
            "runs_left_off": self.untold,
            "files": self.rows.len(),
            "files_not_run": of(Reached::NotRun),
            "files_cut_off": of(Reached::CutOff),
            "summary": summary,
            "faults": self.faults.value(),
            "marks": families::marks_value(&self.coverage),
            "failures": failures,
        })
    }

    fn table(&self, output: Output) -> Result {
        let mut table = output.table(&[
            "SCENARIO",
            "PEERS",
            "RUNS",
            "RESULT",
            "FAILS AT",
            "VIRTUAL",
            "EVENTS",
            "NODE-S/CORE-S",
            "FAULTS",
            "ACTED",
            "DETECT P50",
            "CONVERGE",
            "SENT",
        ]);
        for row in &self.rows {
            table.add_row(row.cells());
        }
        output.rows(&table)
    }

    /// How often the judge had nothing to say of a run's end.
    fn excused(&self, output: Output) -> Result {
        let (excused, runs) = self.rows.iter().fold((0, 0), |(a, b), row| (a + row.excused, b + row.runs));
        if excused == 0 {
            return Ok(());
        }
        output.line(format_args!(
            "{excused} of {runs} runs stayed split over links that are broken for good: their end was not judged"
        ))
    }

    /// What a sweep that ended early says nothing of.
    fn unreached(&self, output: Output) -> Result {
        let of = |reached| self.rows.iter().filter(|row| row.reached() == reached).count();
        let (not_run, cut_off, all) = (of(Reached::NotRun), of(Reached::CutOff), self.rows.len());
        let told = match (not_run, cut_off) {
            (0, 0) => return Ok(()),
            (not_run, 0) => format!("{not_run} of {all} files were not reached"),
            (0, cut_off) => format!("of {cut_off} of {all} files no run has ended"),
            (not_run, cut_off) => format!("{not_run} of {all} files were not reached, of {cut_off} no run has ended"),
        };
        output.line(output.paint(Tone::Warn, format_args!("{told}: nothing is known of them")))
    }
}

/// How far a sweep came with a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reached {
    NotRun,
    CutOff,
    Run,
}

impl Row<'_> {
    fn reached(&self) -> Reached {
        match (self.runs, self.cut_off) {
            (0, 0) => Reached::NotRun,
            (0, _) => Reached::CutOff,
            _ => Reached::Run,
        }
    }

    /// The result in a word or two.
    fn result(&self) -> &'static str {
        match self.reached() {
            Reached::NotRun => "not run",
            Reached::CutOff => "cut off",
            Reached::Run if self.failed > 0 => "failed",
            Reached::Run => "pass",
        }
    }

    fn add(&mut self, done: &Done) {
        let Outcome { figures, seed, .. } = &done.outcome;
        self.runs += 1;
        self.took += done.took;
        self.virtual_ns += figures.virtual_ns;
        self.node_ms += u128::from(figures.virtual_ns / 1_000_000) * done.outcome.peers as u128;
        self.events += figures.events;
        self.bytes += figures.net.bytes;
        self.excused += u64::from(figures.excused);
        self.converged_ns = self.converged_ns.max(figures.converged_ns);
        let left = DETECTIONS_MAX.saturating_sub(self.detections_ns.len());
        self.detections_ns.extend(figures.detections_ns.iter().take(left));
        self.faults.add(&figures.kinds);
        let Some(key) = done.outcome.judgement.key() else { return };
        self.failed += 1;
        let (count, smallest) = self.failures.entry(key).or_insert_with(|| (0, done.outcome.clone()));
        *count += 1;
        if *seed < smallest.seed {
            *smallest = done.outcome.clone();
        }
    }

    fn smallest_seed(&self) -> Option<u64> {
        self.failures.values().map(|(_, outcome)| outcome.seed).min()
    }

    /// Node-seconds that one second of a core simulates.
    fn speed(&self) -> Option<u64> {
        self.node_ms.checked_div(self.took.as_millis()).and_then(|speed| u64::try_from(speed).ok())
    }

    fn detection_p50_ns(&self) -> Option<u64> {
        let mut sorted = self.detections_ns.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }

    fn cells(&self) -> Vec<Cell> {
        let result = match (self.reached(), self.failed) {
            (Reached::NotRun | Reached::CutOff, _) => cell(Tone::Warn, self.result()),
            (Reached::Run, 0) => cell(Tone::Good, self.result()),
            (Reached::Run, failed) => cell(Tone::Bad, format!("{failed} failed")),
        };
        let or_none = |text: Option<String>| number(text.unwrap_or_else(|| "-".to_owned()));
        let span = |ns: Option<u64>| or_none(ns.map(|ns| output::millis(ns / 1_000_000)));
        vec![
            cell(Tone::Name, self.scenario.name()),
            number(self.scenario.peers()),
            number(self.runs),
            result,
            or_none(self.smallest_seed().map(|seed| seed.to_string())),
            number(output::millis(self.virtual_ns / 1_000_000)),
            number(self.events),
            or_none(self.speed().map(|speed| speed.to_string())),
            number(self.faults.all().began),
            number(self.faults.all().acted),
            span(self.detection_p50_ns()),
            span(self.converged_ns),
            number(output::bytes(self.bytes)),
        ]
    }

    fn value(&self) -> Value {
        json!({
            "scenario": self.scenario.name(),
            "file": self.scenario.file(),
            "peers": self.scenario.peers(),
            "result": self.result(),
            "runs": self.runs,
            "cut_off": self.cut_off,
            "failed": self.failed,
            "excused": self.excused,
            "smallest_failing_seed": self.smallest_seed(),
            "virtual_ms": self.virtual_ns / 1_000_000,
            "took_ms": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
            "events": self.events,
            "node_seconds_a_core_second": self.speed(),
            "faults": self.faults.value(),
            "detect_p50_ms": self.detection_p50_ns().map(|ns| ns / 1_000_000),
            "converge_ms": self.converged_ns.map(|ns| ns / 1_000_000),
            "sent_bytes": self.bytes,
        })
    }
}

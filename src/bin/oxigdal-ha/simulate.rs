//! `simulate`: runs scenarios, lists them, says which seeds fail.
//!
//! Exit codes: 0 all passed, 1 an invariant did not hold, 2 an expectation was missed, 3 two runs of one seed differ, 4 a
//! file cannot be used.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::{Args as ClapArgs, Subcommand};
use comfy_table::Cell;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use oxigdal_ha::sim::{self, Found, Outcome, Scenario};
use serde_json::json;

use crate::failure::{Failure, Result};
use crate::output::{self, Output, Tone, cell, number};

/// Most seeds of one run of the command.
const SEEDS_MAX: u64 = 1_000_000;
/// Most runs of which each is told how entries spread.
const SPREAD_MAX: usize = 20;
/// A file cannot be used.
const BAD_FILE: u8 = 4;

/// Run whole meshes under virtual time, with faults, and judge them.
#[derive(ClapArgs, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run scenarios. Exit code 1: an invariant did not hold; 2: an expectation was missed; 3: not deterministic; 4: bad file.
    Run(Run),
    /// List the scenarios of a directory, the invariants, or the kinds of faults.
    List(List),
}

#[derive(ClapArgs, Debug)]
struct Run {
    /// Scenario files, or directories of them.
    #[arg(required = true, value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
    /// The seed; the same seed gives the same run.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Many seeds, the last one excluded.
    #[arg(long, value_name = "A..B", conflicts_with = "seed")]
    seeds: Option<Seeds>,
    /// Tell every input and effect on standard output.
    #[arg(long)]
    trace: bool,
    /// Run every seed twice and compare the traces.
    #[arg(long)]
    twice: bool,
    /// So many runs at a time; by default as many as there are cores.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
}

#[derive(ClapArgs, Debug)]
struct List {
    /// A scenario file, or a directory of them.
    #[arg(value_name = "FILE|DIR", default_value = "simulations")]
    path: PathBuf,
    /// The invariants, with what they say.
    #[arg(long)]
    invariants: bool,
    /// The kinds of faults, with what they do.
    #[arg(long, conflicts_with = "invariants")]
    faults: bool,
}

/// `A..B`.
#[derive(Clone, Debug)]
struct Seeds(RangeInclusive<u64>);

impl FromStr for Seeds {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let range = text.split_once("..").and_then(|(from, to)| {
            let (from, to): (u64, u64) = (from.parse().ok()?, to.parse().ok()?);
            (from < to && to - from <= SEEDS_MAX).then(|| Self(from..=to - 1))
        });
        range.ok_or_else(|| format!("expected A..B with A below B and at most {SEEDS_MAX} seeds"))
    }
}

/// A run with what it cost.
struct Done {
    outcome: Outcome,
    took: Duration,
}

pub(crate) fn run(args: Args, output: Output) -> Result<ExitCode> {
    match args.command {
        Command::Run(run) => match scenarios(&run.paths) {
            Ok(scenarios) => run_all(&run, &scenarios, output),
            Err(failure) => Ok(bad_file(&failure, output)),
        },
        Command::List(list) if list.invariants => invariants(output),
        Command::List(list) if list.faults => faults(output),
        Command::List(list) => match scenarios(&[list.path]) {
            Ok(scenarios) => list_all(&scenarios, output),
            Err(failure) => Ok(bad_file(&failure, output)),
        },
    }
}

fn bad_file(failure: &Failure, output: Output) -> ExitCode {
    failure.report(output.json, std::io::stderr().is_terminal() && output.colour);
    ExitCode::from(BAD_FILE)
}

fn scenarios(paths: &[PathBuf]) -> Result<Vec<Scenario>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let entries = std::fs::read_dir(path).map_err(|error| Failure::file("read", path, &error))?;
            let mut found: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
            found.retain(|file| file.extension().is_some_and(|ending| ending == "toml"));
            found.sort();
            if found.is_empty() {
                return Err(Failure::usage(format_args!("{} holds no scenario", path.display())));
            }
            files.extend(found);
        } else {
            files.push(path.clone());
        }
    }
    files.iter().map(|file| read(file)).collect()
}

fn read(file: &Path) -> Result<Scenario> {
    let text = std::fs::read_to_string(file).map_err(|error| Failure::file("read", file, &error))?;
    let directory = file.parent().unwrap_or_else(|| Path::new("."));
    let mut topology = |name: &str| find_topology(directory, name);
    Scenario::parse(&file.display().to_string(), &text, &mut topology).map_err(Failure::usage)
}

/// Topologies stand beside the scenarios, or in the working directory.
fn find_topology(directory: &Path, name: &str) -> std::result::Result<Found, String> {
    let stem = format!("{}.toml", name.strip_suffix(".toml").unwrap_or(name));
    let places =
        [directory.join("../topologies").join(&stem), directory.join(&stem), Path::new("topologies").join(&stem)];
    let Some(file) = places.iter().find(|place| place.is_file()) else {
        return Err(format!("no {stem} in {}", places.map(|place| place.display().to_string()).join(", ")));
    };
    let text = std::fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    Ok(Found { file: file.display().to_string(), text })
}

fn run_all(args: &Run, scenarios: &[Scenario], output: Output) -> Result<ExitCode> {
    let seeds = args.seeds.as_ref().map_or(args.seed..=args.seed, |seeds| seeds.0.clone());
    let work: Vec<(&Scenario, u64)> =
        scenarios.iter().flat_map(|scenario| seeds.clone().map(move |seed| (scenario, seed))).collect();
    let done = if args.trace { traced(&work, output)? } else { parallel(args, &work, output) };
    if output.json {
        let runs: Vec<_> =
            done.iter().map(|done| json!({ "took_ms": done.took.as_millis(), "run": done.outcome })).collect();
        output.value(&json!({ "runs": runs }))?;
    } else {
        table(scenarios, &done, output)?;
        let spread = |done: &&Done| done.outcome.figures.spread.deliveries > 0;
        for done in done.iter().filter(spread).filter(|_| done.len() <= SPREAD_MAX) {
            let Outcome { scenario, seed, figures, .. } = &done.outcome;
            output.line(format_args!("{scenario} {seed}: {}", figures.spread))?;
        }
        for failed in done.iter().filter(|done| !done.outcome.passed()) {
            output.line(output.paint(Tone::Bad, &failed.outcome))?;
        }
    }
    // A broken proof of determinism makes every other result doubtful; a broken invariant outweighs a missed expectation.
    let codes: Vec<u8> = done.iter().map(|done| done.outcome.exit_code()).collect();
    Ok(ExitCode::from([3, 1, 2].into_iter().find(|code| codes.contains(code)).unwrap_or(0)))
}

/// One after the other, with every step told.
fn traced(work: &[(&Scenario, u64)], output: Output) -> Result<Vec<Done>> {
    let mut done = Vec::new();
    let mut stdout = std::io::BufWriter::new(std::io::stdout().lock());
    for (scenario, seed) in work {
        let (mut failed, began) = (None, Instant::now());
        let mut sink = |line: sim::Line| {
            let written = if output.json {
                let value = serde_json::to_string(&line).expect("a line has text keys and whole numbers");
                writeln!(stdout, "{value}")
            } else {
                writeln!(stdout, "{line}")
            };
            failed = failed.take().or_else(|| written.err());
        };
        let outcome = sim::run(scenario, *seed, Some(&mut sink));
        if let Some(error) = failed {
            return Err(error.into());
        }
        done.push(Done { outcome, took: began.elapsed() });
    }
    stdout.flush()?;
    Ok(done)
}

/// On several cores; each run is on one.
fn parallel(args: &Run, work: &[(&Scenario, u64)], output: Output) -> Vec<Done> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let jobs = args.jobs.unwrap_or(cores).clamp(1, work.len().max(1));
    let (next, done) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let bar = progress(work.len(), output);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some((scenario, seed)) = work.get(at) else { return };
                    bar.set_message(format!("{} seed {seed}", scenario.name()));
                    let began = Instant::now();
                    let outcome =
                        if args.twice { sim::run_twice(scenario, *seed) } else { sim::run(scenario, *seed, None) };
                    let runs = if args.twice { 2 } else { 1 };
                    let took = began.elapsed() / runs;
                    if !outcome.passed() && !output.json {
                        bar.suspend(|| eprintln!("{}", output.paint(Tone::Bad, &outcome)));
                    }
                    done.lock().expect("no holder of this lock panics").insert(at, Done { outcome, took });
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    done.into_inner().expect("no holder of this lock panics").into_values().collect()
}

fn progress(runs: usize, output: Output) -> ProgressBar {
    let target = if output.json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} runs, {elapsed} ({eta} left)  {msg}");
    ProgressBar::with_draw_target(Some(runs as u64), target).with_style(style.expect("the template is fixed"))
}

fn table(scenarios: &[Scenario], done: &[Done], output: Output) -> Result {
    let mut table = output.table(&[
        "SCENARIO",
        "PEERS",
        "RUNS",
        "RESULT",
        "VIRTUAL",
        "EVENTS",
        "NODE-S/CORE-S",
        "DETECT P50",
        "CONVERGE",
        "SENT",
    ]);
    for scenario in scenarios {
        let of: Vec<&Done> = done.iter().filter(|done| done.outcome.file == scenario.file()).collect();
        table.add_row(row(scenario, &of));
    }
    output.rows(&table)
}

fn row(scenario: &Scenario, done: &[&Done]) -> Vec<Cell> {
    let sum = |figure: &dyn Fn(&Outcome) -> u64| done.iter().map(|done| figure(&done.outcome)).sum::<u64>();
    let failed = done.iter().filter(|done| !done.outcome.passed()).count();
    let result = if failed == 0 { cell(Tone::Good, "pass") } else { cell(Tone::Bad, format!("{failed} failed")) };
    let virtual_ms = sum(&|outcome| outcome.figures.virtual_ns / 1_000_000);
    let took: Duration = done.iter().map(|done| done.took).sum();
    let node_ms = done.iter().map(|done| &done.outcome);
    let node_ms: u128 = node_ms.map(|run| u128::from(run.figures.virtual_ns / 1_000_000) * run.peers as u128).sum();
    let speed = node_ms.checked_div(took.as_millis()).map_or_else(|| "-".to_owned(), |speed| speed.to_string());
    let mut detections: Vec<u64> = done.iter().flat_map(|done| done.outcome.figures.detections_ns.clone()).collect();
    detections.sort_unstable();
    let slowest = done.iter().filter_map(|done| done.outcome.figures.converged_ns).max();
    let span = |ns: Option<u64>| ns.map_or_else(|| "-".to_owned(), |ns| output::millis(ns / 1_000_000));
    vec![
        cell(Tone::Name, scenario.name()),
        number(scenario.peers()),
        number(done.len()),
        result,
        number(output::millis(virtual_ms)),
        number(sum(&|outcome| outcome.figures.events)),
        number(speed),
        number(span(detections.get(detections.len() / 2).copied())),
        number(span(slowest)),
        number(output::bytes(sum(&|outcome| outcome.figures.net.bytes))),
    ]
}

fn list_all(scenarios: &[Scenario], output: Output) -> Result<ExitCode> {
    if output.json {
        let listed: Vec<_> = scenarios
            .iter()
            .map(|scenario| {
                json!({
                    "name": scenario.name(),
                    "file": scenario.file(),
                    "peers": scenario.peers(),
                    "overlay": scenario.overlay(),
                    "virtual_ms": scenario.span_ns() / 1_000_000,
                    "description": scenario.description(),
                })
            })
            .collect();
        output.value(&listed)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = output.table(&["SCENARIO", "PEERS", "OVERLAY", "VIRTUAL", "ABOUT"]);
    for scenario in scenarios {
        table.add_row([
            cell(Tone::Name, scenario.name()),
            number(scenario.peers()),
            Cell::new(scenario.overlay()),
            number(output::millis(scenario.span_ns() / 1_000_000)),
            Cell::new(scenario.description()),
        ]);
    }
    output.rows(&table)?;
    Ok(ExitCode::SUCCESS)
}

fn invariants(output: Output) -> Result<ExitCode> {
    if output.json {
        let listed: Vec<_> = sim::invariants().map(|(id, says)| json!({ "id": id, "says": says })).collect();
        output.value(&listed)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = output.table(&["ID", "SAYS"]);
    for (id, says) in sim::invariants() {
        table.add_row([cell(Tone::Name, id), Cell::new(says)]);
    }
    output.rows(&table)?;
    Ok(ExitCode::SUCCESS)
}

fn faults(output: Output) -> Result<ExitCode> {
    if output.json {
        output.value(&sim::faults().collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = output.table(&["KIND", "FAMILY", "SAYS"]);
    for kind in sim::faults() {
        let family = format!("{:?}", kind.family).to_lowercase();
        table.add_row([cell(Tone::Name, kind.name), Cell::new(family), Cell::new(kind.says)]);
    }
    output.rows(&table)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_a_range_that_is_not_empty() {
        assert_eq!("3..5".parse::<Seeds>().map(|seeds| seeds.0), Ok(3..=4));
        for bad in ["", "3", "5..3", "3..3", "a..b", "0..9999999"] {
            assert!(bad.parse::<Seeds>().is_err(), "{bad:?}");
        }
    }
}

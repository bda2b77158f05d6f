//! `simulate`: runs scenarios, lists them, says which seeds fail, and why.
//!
//! Exit codes: 0 all passed, 1 an invariant did not hold, 2 an expectation was missed, 3 two runs of one seed differ, 4 a
//! file cannot be used, 5 no run has ended within its time, 64 the arguments cannot be used, 130 Ctrl-C or SIGTERM before anything
//! failed.

#[cfg(feature = "planted-bugs")]
mod bugs;
mod coverage;
mod each;
mod families;
mod list;
mod meter;
mod minimize;
mod stop;
mod sweep;
mod tally;
mod tell;

use std::io::IsTerminal as _;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand};
use oxigdal_ha::sim::{Found, Scenario};

use crate::failure::{Failure, Result};
use crate::output::{Output, Tone};
use crate::recorded;

/// Most seeds of one run of the command.
const SEEDS_MAX: u64 = 1_000_000;
/// A file cannot be used.
const BAD_FILE: u8 = 4;
/// What the exit codes of `run` say.
const EXIT_CODES: &str = "Exit codes:
  0    all runs passed
  1    an invariant did not hold
  2    an expectation was missed
  3    two runs of one seed differ
  4    a file cannot be used
  5    no run has ended within its time
  64   the arguments cannot be used
  130  Ctrl-C or SIGTERM before anything failed";

/// Run whole meshes under virtual time, with faults, and judge them.
#[derive(ClapArgs, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run scenarios over seeds, and judge each run.
    #[command(after_help = EXIT_CODES)]
    Run(Run),
    /// Make a failing run smaller, and write it as a file that replays it.
    Minimize(minimize::Minimize),
    /// Tell every step of one run, then what it came to.
    Replay(tell::One),
    /// Say in plain words why a run fails: the chain of causes, and what the peers in question did last.
    Explain(tell::One),
    /// Find where two runs part: the first event that is not the same, and what is around it.
    Diff(tell::Diff),
    /// Draw a run: a page with everything in it, or a still overview.
    Picture(tell::Draw),
    /// List the scenarios of a directory, the invariants, or the kinds of faults.
    List(List),
    /// Live the recorded life of a real peer again (`run --record`). Exit code 1: it is another one; 4: bad file.
    ReplayInputs(recorded::Args),
    Coverage(coverage::Args),
    #[cfg(feature = "planted-bugs")]
    Bugs(bugs::Args),
    /// Hunt the bugs that are planted in the core: a build with `--features planted-bugs` does.
    #[cfg(not(feature = "planted-bugs"))]
    Bugs(NoBugs),
}

/// Whatever is asked of a build without planted bugs.
#[cfg(not(feature = "planted-bugs"))]
#[derive(ClapArgs, Debug)]
struct NoBugs {
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    _asked: Vec<String>,
}

#[derive(ClapArgs, Debug)]
struct Run {
    /// Scenario files, or directories of them.
    #[arg(required = true, value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
    /// The seed; the same seed gives the same run.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Many seeds, the last one excluded.
    #[arg(long, value_name = "A..B", conflicts_with = "seed")]
    seeds: Option<Seeds>,
    /// Tell every input and effect on standard output.
    #[arg(long)]
    trace: bool,
    /// Run every seed twice, or such a share of the runs (`--twice=2%`), and compare the traces.
    #[arg(long, value_name = "SHARE", num_args = 0..=1, require_equals = true, default_value = "0%", default_missing_value = "100%", hide_default_value = true)]
    twice: Twice,
    /// No run begins after this, and those that have not ended are dropped: `8m`.
    #[arg(long, value_name = "TIME", value_parser = stop::duration)]
    time_budget: Option<Duration>,
    /// Draw the run into this file, a page with everything in it; one scenario and one seed only.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seeds", "trace", "twice", "time_budget"])]
    html: Option<PathBuf>,
    /// Draw a still overview of the run into this file; one scenario and one seed only.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seeds", "trace", "twice", "time_budget"])]
    svg: Option<PathBuf>,
    /// So many runs at a time; by default as many as there are cores.
    #[arg(long, value_name = "N", value_parser = each::jobs)]
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

/// Which of the runs are made twice.
#[derive(Clone, Copy, Debug)]
struct Twice {
    /// Of a million.
    ppm: u64,
}

impl FromStr for Twice {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let share = oxigdal_ha::topology::ppm(text).map_err(|error| error.to_string())?;
        Ok(Self { ppm: share.value().into() })
    }
}

impl Twice {
    /// Evenly over all of them.
    fn doubles(self, at: u64) -> bool {
        (at + 1).saturating_mul(self.ppm) / 1_000_000 > at.saturating_mul(self.ppm) / 1_000_000
    }
}

pub(crate) fn run(args: Args, output: Output) -> Result<ExitCode> {
    match args.command {
        Command::Run(run) => match scenarios(&run.paths, output) {
            Ok(scenarios) => sweep::run(&run, &scenarios, output),
            Err(failure) => Ok(bad_file(&failure, output)),
        },
        Command::Minimize(args) => minimize::run(&args, output),
        Command::Replay(one) => tell::replay(&one, output),
        Command::Explain(one) => tell::explain(&one, output),
        Command::Diff(diff) => tell::diff(&diff, output),
        Command::Picture(draw) => tell::picture(&draw, output),
        Command::Coverage(args) => match scenarios(&args.paths, output) {
            Ok(scenarios) => coverage::run(&args, &scenarios, output),
            Err(failure) => Ok(bad_file(&failure, output)),
        },
        #[cfg(feature = "planted-bugs")]
        Command::Bugs(args) => bugs::run(&args, output),
        #[cfg(not(feature = "planted-bugs"))]
        Command::Bugs(_) => {
            Err(Failure::usage("this build holds no planted bugs: build it with --features planted-bugs"))
        }
        Command::ReplayInputs(args) => recorded::replay_inputs(&args, output),
        // Where no scenarios are at hand the invariants are listed without them.
        Command::List(list) if list.invariants => {
            list::invariants(&scenarios(&[list.path], output).unwrap_or_default(), output)
        }
        Command::List(list) if list.faults => list::faults(output),
        Command::List(list) => match scenarios(&[list.path], output) {
            Ok(scenarios) => list::list_all(&scenarios, output),
            Err(failure) => Ok(bad_file(&failure, output)),
        },
    }
}

/// The seed that was asked for, else the first. A repro file is one run, whatever the seed: who asked for one is told so.
fn seed_of<'a>(scenarios: impl IntoIterator<Item = &'a Scenario>, asked: Option<u64>, output: Output) -> u64 {
    if asked.is_some() {
        for (scenario, own) in scenarios.into_iter().filter_map(|scenario| Some((scenario, scenario.repro()?))) {
            let told =
                format_args!("{} is one run, that of its seed {own}: no other is run", scenario.file()).to_string();
            // It matters to people only: what was run is in the outcome.
            if !output.json {
                eprintln!("{}", output.paint(Tone::Warn, told));
            }
        }
    }
    asked.unwrap_or(1)
}

fn bad_file(failure: &Failure, output: Output) -> ExitCode {
    failure.report(output.json, std::io::stderr().is_terminal() && output.colour);
    ExitCode::from(BAD_FILE)
}

/// The scenarios of files and folders, each once.
fn scenarios(paths: &[PathBuf], output: Output) -> Result<Vec<Scenario>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let found = scenarios_in(path)?;
            if found.is_empty() {
                return Err(Failure::usage(format_args!("{} holds no scenario", path.display())));
            }
            files.extend(found);
        } else {
            files.push(path.clone());
        }
    }
    let mut once: Vec<PathBuf> = Vec::new();
    for file in files {
        if !once.iter().any(|known| *known == file || tell::is_same(known, &file)) {
            once.push(file);
        } else if !output.json {
            let told = format_args!("{} is named twice: it is run once", file.display()).to_string();
            eprintln!("{}", output.paint(Tone::Warn, told));
        }
    }
    once.iter().map(|file| read(file)).collect()
}

/// The scenarios of a folder, and of `regressions` in it.
fn scenarios_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|error| Failure::file("read", folder, &error))?;
    let mut found: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let regressions: Vec<PathBuf> =
        found.extract_if(.., |path| path.is_dir() && path.ends_with("regressions")).collect();
    found.retain(|file| file.extension().is_some_and(|ending| ending == "toml"));
    found.sort();
    for folder in regressions {
        found.extend(scenarios_in(&folder)?);
    }
    Ok(found)
}

fn read(file: &Path) -> Result<Scenario> {
    read_with_text(file).map(|(scenario, _)| scenario)
}

fn read_with_text(file: &Path) -> Result<(Scenario, String)> {
    let text = std::fs::read_to_string(file).map_err(|error| Failure::file("read", file, &error))?;
    let directory = file.parent().unwrap_or_else(|| Path::new("."));
    let mut topology = |name: &str| find_topology(directory, name);
    let scenario = Scenario::parse(&file.display().to_string(), &text, &mut topology).map_err(Failure::usage)?;
    Ok((scenario, text))
}

/// Topologies stand beside the scenarios, or in the working directory.
fn find_topology(directory: &Path, name: &str) -> std::result::Result<Found, String> {
    let stem = format!("{}.toml", name.strip_suffix(".toml").unwrap_or(name));
    let places = [
        directory.join("../topologies").join(&stem),
        directory.join("../../topologies").join(&stem),
        directory.join(&stem),
        Path::new("topologies").join(&stem),
    ];
    let Some(file) = places.iter().find(|place| place.is_file()) else {
        return Err(format!("no {stem} in {}", places.map(|place| place.display().to_string()).join(", ")));
    };
    let text = std::fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    Ok(Found { file: file.display().to_string(), text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_runs_is_made_twice() {
        let doubled = |share: &str| {
            let twice: Twice = share.parse().unwrap();
            (0..1_000).filter(|at| twice.doubles(*at)).count()
        };
        assert_eq!([doubled("0%"), doubled("2%"), doubled("100%")], [0, 20, 1_000]);
    }

    #[test]
    fn seeds_are_a_range_that_is_not_empty() {
        assert_eq!("3..5".parse::<Seeds>().map(|seeds| seeds.0), Ok(3..=4));
        for bad in ["", "3", "5..3", "3..3", "a..b", "0..9999999"] {
            assert!(bad.parse::<Seeds>().is_err(), "{bad:?}");
        }
    }
}

//! `simulate replay`, `simulate explain`, `simulate picture`: one run, told and shown.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args as ClapArgs;
use oxigdal_ha::sim::{self, Picture, Scenario};

use super::{bad_file, read, seed_of, sweep};
use crate::failure::{Failure, Result};
use crate::output::Output;

/// One run.
#[derive(ClapArgs, Debug)]
pub(super) struct One {
    /// A scenario, or a repro file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The seed; a repro file has its own.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

#[derive(ClapArgs, Debug)]
pub(super) struct Draw {
    #[command(flatten)]
    one: One,
    /// A page that needs nothing else.
    #[arg(long, value_name = "FILE", required_unless_present = "svg")]
    html: Option<PathBuf>,
    /// A still overview.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

#[derive(ClapArgs, Debug)]
#[command(group = clap::ArgGroup::new("second").required(true).multiple(false))]
pub(super) struct Diff {
    #[command(flatten)]
    one: One,
    /// With another seed.
    #[arg(long, value_name = "M", group = "second")]
    against_seed: Option<u64>,
    /// With another scenario, or a repro file.
    #[arg(long, value_name = "FILE", group = "second")]
    against: Option<PathBuf>,
    /// With itself: whether it is deterministic.
    #[arg(long, group = "second")]
    twice: bool,
}

/// Where two runs part. Exit code 0: nowhere; 1: somewhere; 3: two runs of one seed differ.
pub(super) fn diff(args: &Diff, output: Output) -> Result<ExitCode> {
    let other = args.against.as_ref().unwrap_or(&args.one.file);
    let (first, second) = match read(&args.one.file).and_then(|first| Ok((first, read(other)?))) {
        Ok(both) => both,
        Err(failure) => return Ok(bad_file(&failure, output)),
    };
    let seed = seed_of([&first], args.one.seed, output);
    let seeds = (seed, seed_of([&second], args.against_seed, output));
    let seeds = if args.against_seed.is_some() { seeds } else { (seed, seed) };
    let found = sim::compare((&first, seeds.0), (&second, seeds.1));
    let told = if output.json { output.value(&found) } else { output.line(found.to_string().trim_end()) };
    let code = match found.after {
        None => 0,
        Some(_) if args.twice => 3,
        Some(_) => 1,
    };
    Failure::unless_gone(told, code)
}

/// Every step of a run on standard output, then what it came to.
pub(super) fn replay(one: &One, output: Output) -> Result<ExitCode> {
    match read(&one.file) {
        Ok(scenario) => sweep::traced_one(&scenario, seed_of([&scenario], one.seed, output), output),
        Err(failure) => Ok(bad_file(&failure, output)),
    }
}

/// Why a run fails. The exit code says whether it does.
pub(super) fn explain(one: &One, output: Output) -> Result<ExitCode> {
    let scenario = match read(&one.file) {
        Ok(scenario) => scenario,
        Err(failure) => return Ok(bad_file(&failure, output)),
    };
    let story = sim::explain(&scenario, seed_of([&scenario], one.seed, output));
    if output.json {
        output.value(&story)?;
    } else {
        output.line(story.to_string().trim_end())?;
        if story.outcome.passed() && scenario.broke().is_some() {
            output.line(format_args!("It broke {} when it was found.", scenario.broke().unwrap_or_default()))?;
        }
    }
    Ok(ExitCode::from(story.outcome.exit_code()))
}

pub(super) fn picture(args: &Draw, output: Output) -> Result<ExitCode> {
    match read(&args.one.file) {
        Ok(scenario) => {
            let seed = seed_of([&scenario], args.one.seed, output);
            draw(&scenario, seed, args.html.as_deref(), args.svg.as_deref(), output)
        }
        Err(failure) => Ok(bad_file(&failure, output)),
    }
}

/// Draws a run into files. The exit code says whether it fails.
pub(super) fn draw(
    scenario: &Scenario,
    seed: u64,
    html: Option<&Path>,
    svg: Option<&Path>,
    output: Output,
) -> Result<ExitCode> {
    let source = Path::new(scenario.file());
    for file in [html, svg].into_iter().flatten() {
        if is_same(file, source) || (html == svg) {
            let why = format_args!("{} would be written over", file.display());
            return Err(Failure::usage(why).hint("give each drawing a file of its own"));
        }
    }
    let picture = Picture::of(scenario, seed);
    for (file, text) in [(html, picture.html()), (svg, picture.svg().to_owned())] {
        let Some(file) = file else { continue };
        std::fs::write(file, text).map_err(|error| Failure::file("write", file, &error))?;
    }
    let outcome = &picture.story().outcome;
    if output.json {
        output.value(outcome)?;
    } else {
        output.line(outcome)?;
        for file in [html, svg].into_iter().flatten() {
            output.line(format_args!("drawn to {}", file.display()))?;
        }
    }
    Ok(ExitCode::from(outcome.exit_code()))
}

/// Whether both name one file that is there.
pub(super) fn is_same(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

//! `simulate coverage`: which marks in the core a sweep reaches, and which it never does.
//!
//! Exit codes: 0 every mark was reached and every run passed, 1 a mark was not or an invariant did not hold, 2 an expectation was
//! missed, 4 a file cannot be used.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args as ClapArgs;
use oxigdal_ha::sim::{self, Coverage, Kind, Scenario};
use serde_json::json;

use super::each::{self, each};
use crate::failure::{Failure, Result};
use crate::output::{Output, Tone, cell, number};

/// Run scenarios and print which marks in the core were reached. Exit code 1: one was never, or a run failed; 2: an expectation was
/// missed.
#[derive(ClapArgs, Debug)]
pub(crate) struct Args {
    /// Scenario files, or directories of them.
    #[arg(value_name = "FILE|DIR", default_value = "simulations")]
    pub(crate) paths: Vec<PathBuf>,
    /// So many seeds of each, from 1 on.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seeds: u64,
    /// No larger meshes than this.
    #[arg(long, value_name = "N", default_value_t = 20)]
    peers: usize,
    /// So many runs at a time; by default as many as there are cores.
    #[arg(long, value_name = "N", value_parser = each::jobs)]
    jobs: Option<usize>,
}

pub(crate) fn run(args: &Args, scenarios: &[Scenario], output: Output) -> Result<ExitCode> {
    if !Coverage::IS_COUNTED {
        let why = "this build counts no marks: build it with --features assertions";
        return Err(Failure::usage(why));
    }
    let small = || scenarios.iter().filter(|scenario| scenario.peers() <= args.peers);
    let work: Vec<(&Scenario, u64)> = small().flat_map(|it| (1..=args.seeds).map(move |seed| (it, seed))).collect();
    if work.is_empty() {
        return Err(Failure::usage(format_args!("no scenario has at most {} peers: nothing is to be run", args.peers)));
    }
    let covered = each(&work, args.jobs, |(scenario, seed)| {
        drop(Coverage::take());
        let outcome = sim::run(scenario, *seed, None);
        (outcome, Coverage::take())
    });
    let mut coverage = Coverage::default();
    for (outcome, of_one) in &covered {
        coverage.add(of_one);
        if !outcome.passed() && !output.json {
            eprintln!("{}", output.paint(Tone::Bad, outcome));
        }
    }
    let never = coverage.never().count();
    let failed = covered.iter().filter(|(outcome, _)| !outcome.passed()).count();
    if output.json {
        let marks: Vec<_> = coverage.iter().map(|(mark, hits)| json!({ "mark": mark, "hits": hits })).collect();
        output.value(&json!({ "runs": covered.len(), "failed": failed, "never": never, "marks": marks }))?;
    } else {
        let mut table = output.table(&["MARK", "KIND", "HITS"]);
        for (mark, hits) in coverage.iter() {
            let kind = if mark.kind == Kind::Always { "always" } else { "sometimes" };
            let tone = if hits == 0 { Tone::Bad } else { Tone::Name };
            table.add_row([cell(tone, mark.id), cell(Tone::Dim, kind), number(hits)]);
        }
        output.rows(&table)?;
        let failed = if failed == 0 { String::new() } else { format!(", {failed} failed") };
        output.line(format_args!("{} runs{failed}; never reached: {never}", covered.len()))?;
    }
    let codes: Vec<u8> = covered.iter().map(|(outcome, _)| outcome.exit_code()).collect();
    let worst = [3, 1, 2].into_iter().find(|code| codes.contains(code) || (*code == 1 && never > 0));
    Ok(ExitCode::from(worst.unwrap_or(0)))
}

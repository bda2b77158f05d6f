//! `simulate bugs`: hunts the bugs that are planted in the core, and says what saw each; and how runs are dealt to threads.
//!
//! With `--minimize` the run in which a bug was seen is made smaller too, within a time of its own for each.
//!
//! Exit codes: 0 every bug was seen by an invariant that is to see it, 1 one was not, or a run fails without a bug too, 4 a file
//! cannot be used.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args as ClapArgs;
use comfy_table::Cell;
use oxigdal_ha::sim::{BUGS, Bug, Hunt, Scenario, Size, hunt, shrink_with_bug};
use serde_json::json;

use super::each::{self, each};
use super::stop::{self, Stop};
use super::{minimize, read_with_text};
use crate::failure::{Failure, Result};
use crate::output::{self, Output, Tone, cell, number};

/// Hunt the bugs that are planted in the core. Exit code 1: one survives.
#[derive(ClapArgs, Debug)]
pub(crate) struct Args {
    /// Which ones; all by default.
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// A bug that so many seeds have not seen survives.
    #[arg(long, value_name = "N", default_value_t = 20)]
    seeds: u64,
    /// So many hunts at a time; by default as many as there are cores.
    #[arg(long, value_name = "N", value_parser = each::jobs)]
    jobs: Option<usize>,
    /// Where the scenarios are.
    #[arg(long, value_name = "DIR", default_value = "simulations")]
    scenarios: PathBuf,
    /// Make the run in which each was seen smaller, and say what is left of it.
    #[arg(long)]
    minimize: bool,
    /// For each run that is made smaller; what is left by then counts.
    #[arg(long, value_name = "TIME", default_value = "60s", requires = "minimize", value_parser = stop::duration)]
    time: Duration,
}

/// Goal: as few faults say what matters at a glance.
const FEW_FAULTS: usize = 6;

/// What became of one bug.
struct Done<'a> {
    bug: &'a Bug,
    hunt: Hunt,
    /// What was left of the run, in which time, and whether nothing more of it can be spared.
    small: Option<Small>,
}

#[derive(serde::Serialize)]
struct Small {
    before: Size,
    after: Size,
    took_ms: u64,
    minimal: bool,
}

pub(crate) fn run(args: &Args, output: Output) -> Result<ExitCode> {
    let named = |id: &String| Bug::find(id).ok_or_else(|| Failure::usage(format_args!("no bug {id} is planted")));
    let bugs: Vec<&Bug> = if args.ids.is_empty() {
        BUGS.iter().filter(|bug| !bug.scenarios.is_empty()).collect()
    } else {
        args.ids.iter().map(named).collect::<Result<_>>()?
    };
    let work = bugs.into_iter().map(|bug| Ok((bug, wanted(bug, &args.scenarios)?))).collect::<Result<Vec<_>>>()?;
    let within = args.minimize.then_some(args.time);
    let hunts = each(&work, args.jobs, |(bug, scenarios)| {
        let all: Vec<&Scenario> = scenarios.iter().map(|(scenario, _)| scenario).collect();
        let hunt = hunt(bug, &all, 1..=args.seeds);
        if hunt.kill.is_none() && !output.json {
            eprintln!("{}", output.paint(Tone::Bad, format_args!("{} survives: {}", bug.id, bug.says)));
        }
        let small = within.and_then(|within| smaller(bug, scenarios, &hunt, within));
        Done { bug, hunt, small }
    });
    let well = |done: &&Done<'_>| done.hunt.as_listed(done.bug) && done.hunt.false_alarms.is_empty();
    let survive = hunts.len() - hunts.iter().filter(well).count();
    if output.json {
        let told: Vec<_> = hunts
            .iter()
            .map(|done| json!({ "says": done.bug.says, "hunt": done.hunt, "smallest": done.small }))
            .collect();
        output.value(&json!({ "survive": survive, "bugs": told }))?;
    } else {
        table(&hunts, output)?;
    }
    Ok(ExitCode::from(u8::from(survive > 0)))
}

/// The scenarios in which a bug is hunted, with their texts.
fn wanted(bug: &Bug, folder: &Path) -> Result<Vec<(Scenario, String)>> {
    bug.scenarios.iter().map(|name| read_with_text(&folder.join(name).with_extension("toml"))).collect()
}

/// The run in which a bug was seen, made smaller; nothing if it survives, or if one run alone takes longer than there is time.
fn smaller(bug: &Bug, scenarios: &[(Scenario, String)], hunt: &Hunt, within: Duration) -> Option<Small> {
    let kill = hunt.kill.as_ref()?;
    let (scenario, text) = scenarios.iter().find(|(scenario, _)| scenario.name() == kill.scenario)?;
    let (began, stop) = (Instant::now(), Stop::after(within));
    let small = shrink_with_bug(scenario, text, kill.seed, bug, &mut |_| (), &|| stop.now()).ok()?;
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Some(Small { before: small.before, after: small.after, took_ms, minimal: small.minimal })
}

/// What is left of a run, and in which time.
fn left(small: &Small) -> String {
    let Small { before, after, took_ms, minimal } = small;
    let more = if *minimal { "" } else { ", or less" };
    format!("{}{more}, of {}, in {}", minimize::told(*after), minimize::told(*before), output::millis(*took_ms))
}

fn table(hunts: &[Done<'_>], output: Output) -> Result {
    let mut table = output.table(&["BUG", "SCENARIO", "SEEDS", "SEEN BY", "SMALLEST", "ABOUT"]);
    for Done { bug, hunt, small } in hunts {
        let (scenario, by) = match &hunt.kill {
            Some(kill) if bug.caught_by.contains(&kill.check) => (&*kill.scenario, cell(Tone::Good, kill.check)),
            Some(kill) => (&*kill.scenario, cell(Tone::Warn, format!("{}, not {}", kill.check, bug.caught_by[0]))),
            None => (bug.scenarios[0], cell(Tone::Bad, "survives")),
        };
        let few = |small: &Small| if small.after.faults <= FEW_FAULTS { Tone::Good } else { Tone::Warn };
        let smallest = small.as_ref().map_or_else(|| cell(Tone::Dim, "-"), |small| cell(few(small), left(small)));
        table.add_row([
            cell(Tone::Name, bug.id),
            Cell::new(scenario),
            number(hunt.seeds),
            by,
            smallest,
            Cell::new(bug.says),
        ]);
    }
    output.rows(&table)?;
    for alarm in hunts.iter().flat_map(|done| &done.hunt.false_alarms) {
        output.line(output.paint(Tone::Bad, format_args!("fails without a bug too: {alarm}")))?;
    }
    let mut seeds: Vec<u64> =
        hunts.iter().filter(|done| done.hunt.kill.is_some()).map(|done| done.hunt.seeds).collect();
    seeds.sort_unstable();
    let killed = seeds.len();
    let (median, most) = (seeds.get(killed / 2).copied().unwrap_or(0), seeds.last().copied().unwrap_or(0));
    output.line(format_args!("{killed} of {} killed; seeds: median {median}, at most {most}", hunts.len()))?;
    let smaller: Vec<&Small> = hunts.iter().filter_map(|done| done.small.as_ref()).collect();
    if smaller.is_empty() {
        return Ok(());
    }
    let few = smaller.iter().filter(|small| small.after.faults <= FEW_FAULTS).count();
    output.line(format_args!("{few} of {killed} shrink to {FEW_FAULTS} faults or fewer"))
}

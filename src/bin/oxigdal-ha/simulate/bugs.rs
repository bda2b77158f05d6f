//! `simulate bugs`: hunts the bugs that are planted in the core, and says what saw each; and how runs are dealt to threads.
//!
//! Exit codes: 0 every bug was seen by an invariant that is to see it, 1 one was not, or a run fails without a bug too, 4 a file
//! cannot be used.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args as ClapArgs;
use comfy_table::Cell;
use oxigdal_ha::sim::{BUGS, Bug, Hunt, Scenario, hunt};
use serde_json::json;

use super::each::each;
use super::scenarios;
use crate::failure::{Failure, Result};
use crate::output::{Output, Tone, cell, number};

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
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Where the scenarios are.
    #[arg(long, value_name = "DIR", default_value = "simulations")]
    scenarios: PathBuf,
}

pub(crate) fn run(args: &Args, output: Output) -> Result<ExitCode> {
    let named = |id: &String| Bug::find(id).ok_or_else(|| Failure::usage(format_args!("no bug {id} is planted")));
    let bugs: Vec<&Bug> =
        if args.ids.is_empty() { BUGS.iter().collect() } else { args.ids.iter().map(named).collect::<Result<_>>()? };
    let work = bugs.into_iter().map(|bug| Ok((bug, wanted(bug, &args.scenarios)?))).collect::<Result<Vec<_>>>()?;
    let hunts = each(&work, args.jobs, |(bug, scenarios)| {
        let hunted = hunt(bug, &scenarios.iter().collect::<Vec<_>>(), 1..=args.seeds);
        if hunted.kill.is_none() && !output.json {
            eprintln!("{}", output.paint(Tone::Bad, format_args!("{} survives: {}", bug.id, bug.says)));
        }
        (*bug, hunted)
    });
    let well = |(bug, hunt): &(&Bug, Hunt)| hunt.as_listed(bug) && hunt.false_alarms.is_empty();
    let survive = hunts.iter().filter(|hunt| !well(hunt)).count();
    if output.json {
        let told: Vec<_> = hunts.iter().map(|(bug, hunt)| json!({ "says": bug.says, "hunt": hunt })).collect();
        output.value(&json!({ "survive": survive, "bugs": told }))?;
    } else {
        table(&hunts, output)?;
    }
    Ok(ExitCode::from(u8::from(survive > 0)))
}

/// The scenarios in which a bug is hunted.
fn wanted(bug: &Bug, folder: &Path) -> Result<Vec<Scenario>> {
    let files: Vec<PathBuf> = bug.scenarios.iter().map(|name| folder.join(name).with_extension("toml")).collect();
    scenarios(&files)
}

fn table(hunts: &[(&Bug, Hunt)], output: Output) -> Result {
    let mut table = output.table(&["BUG", "SCENARIO", "SEEDS", "SEEN BY", "SMALLEST", "ABOUT"]);
    for (bug, hunt) in hunts {
        let (scenario, by) = match &hunt.kill {
            Some(kill) if bug.caught_by.contains(&kill.check) => (&*kill.scenario, cell(Tone::Good, kill.check)),
            Some(kill) => (&*kill.scenario, cell(Tone::Warn, format!("{}, not {}", kill.check, bug.caught_by[0]))),
            None => (bug.scenarios[0], cell(Tone::Bad, "survives")),
        };
        // How many faults, peers and edits are left when the run is made smaller: `simulate minimize` tells.
        let smallest = cell(Tone::Dim, "-");
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
    for alarm in hunts.iter().flat_map(|(_, hunt)| &hunt.false_alarms) {
        output.line(output.paint(Tone::Bad, format_args!("fails without a bug too: {alarm}")))?;
    }
    let mut seeds: Vec<u64> =
        hunts.iter().filter(|(_, hunt)| hunt.kill.is_some()).map(|(_, hunt)| hunt.seeds).collect();
    seeds.sort_unstable();
    let killed = seeds.len();
    let (median, most) = (seeds.get(killed / 2).copied().unwrap_or(0), seeds.last().copied().unwrap_or(0));
    output.line(format_args!("{killed} of {} killed; seeds: median {median}, at most {most}", hunts.len()))
}

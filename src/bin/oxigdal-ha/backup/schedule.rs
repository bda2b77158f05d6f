//! `backup schedule`: when a running peer takes backups by itself.

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Subcommand, ValueHint};
use oxigdal_ha::backup::{Outcome, SCHEDULES_MAX, Schedule, check_built, check_outside};
use serde_json::json;

use super::{Place, ago, failed, roles};
use crate::args::Target;
use crate::failure::{Failure, Result};
use crate::output::{Output, Tone, bytes, cell, millis};

const AFTER: &str = "\
Schedules are kept in the data directory; its peer looks after them while it runs, and takes up what is set within seconds. Those of
the configuration, `backup.schedule`, are looked after too and are listed by `status`.

  oxigdal-ha backup schedule set nightly kind=full at=03:00 repository=/srv/backups keep-daily=7 keep-weekly=4
  oxigdal-ha backup schedule set hourly kind=incremental every=1h repository=/srv/backups verify=list
  oxigdal-ha backup schedule list

What may be said: kind=full|incremental|differential, every=6h or at=03:00 or at=fri,sun/03:00 (UTC), repository=URL,
compression=CODEC, keep-last|hourly|daily|weekly|monthly=N, grace=24h, verify=list|checksums|content, key-file=FILE,
passphrase-file=FILE, role=primary (only the peer that holds the role). A role that the running peer of the directory, asked at --api, does not know is
warned of; without a running peer OXIGDAL_HA_CONFIG and OXIGDAL_HA_ROLES__NAMES say which there are.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    /// The data directory
    #[arg(long = "data-dir", alias = "data", global = true, value_name = "DIR", default_value = "oxigdal-ha-data")]
    #[arg(value_hint = ValueHint::DirPath)]
    data: PathBuf,
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Set a schedule, or change it
    Set {
        /// Its name
        name: String,
        /// What it says: KEY=VALUE, and so on
        #[arg(required = true, value_name = "KEY=VALUE")]
        says: Vec<String>,
    },
    /// List schedules and what came of them
    List {
        /// Show so many of the last runs of each
        #[arg(long, value_name = "N", default_value_t = 1)]
        last: usize,
    },
    /// Remove a schedule; what it has made stays
    Remove {
        /// Its name
        name: String,
    },
}

pub(crate) fn run(place: &Place, arguments: &Args, output: Output) -> Result {
    let dir = &arguments.data;
    if !dir.is_dir() {
        return Err(
            Failure::usage(format_args!("{} is no directory", dir.display())).hint("--data-dir DIR names a peer's")
        );
    }
    let mut schedules = Schedule::read(dir).map_err(Failure::new)?;
    let write = |schedules: &[Schedule]| {
        Schedule::write(dir, schedules).map_err(|error| Failure::file("write to", dir, &error))
    };
    match &arguments.command {
        Command::Set { name, says } => {
            let repository = place.repo.iter().map(|url| format!("repository={url}"));
            let text: Vec<String> = [name.clone()].into_iter().chain(says.iter().cloned()).chain(repository).collect();
            let schedule: Schedule = text.join(" ").parse().map_err(Failure::usage)?;
            let schedule = schedule.made_absolute().map_err(Failure::usage)?;
            check_built(&schedule.repository).map_err(Failure::usage)?;
            check_outside(&schedule.repository, dir).map_err(failed)?;
            schedules.retain(|known| known.name != schedule.name);
            if schedules.len() >= SCHEDULES_MAX {
                return Err(Failure::usage(format_args!("a peer looks after {SCHEDULES_MAX} schedules at most")));
            }
            schedules.push(schedule.clone());
            write(&schedules)?;
            let odd = schedule.role.as_ref().and_then(|role| roles::Known::of(dir, &arguments.target).odd(role));
            if let Some(odd) = &odd {
                // Who does not read it does not want it.
                let _ = writeln!(std::io::stderr(), "warning: {odd}\n  hint: {}", roles::HINT);
            }
            match output.json {
                true => output.value(&json!({ "set": schedule.to_string(), "warning": odd })),
                false => output.line(schedule),
            }
        }
        Command::Remove { name } => {
            let before = schedules.len();
            schedules.retain(|known| known.name != *name);
            if schedules.len() == before {
                return Err(Failure::new(format_args!("there is no schedule {name:?} in {}", dir.display()))
                    .kind(Some("not_found")));
            }
            write(&schedules)?;
            if output.json {
                output.value(&json!({ "removed": name }))
            } else {
                output.line(format_args!("{name} removed"))
            }
        }
        Command::List { last } => {
            let known = schedules.iter().any(|it| it.role.is_some()).then(|| roles::Known::of(dir, &arguments.target));
            let odd = |name: &str| {
                let role = schedules.iter().find(|it| it.name == name)?.role.as_ref()?;
                known.as_ref()?.unknown(role)
            };
            list(dir, &schedules, *last, &odd, output)
        }
    }
}

/// Schedules, with what came of them, and what is odd about any.
fn list(
    dir: &std::path::Path,
    schedules: &[Schedule],
    last: usize,
    odd: &dyn Fn(&str) -> Option<String>,
    output: Output,
) -> Result {
    let outcomes = Outcome::read(dir).map_err(|error| Failure::file("read", dir, &error))?;
    let of = |name: &str| -> Vec<Outcome> {
        outcomes.iter().rev().filter(|outcome| outcome.schedule == name).take(last).cloned().collect()
    };
    // Those of the configuration have left results; what is left of one that was removed is of no schedule any more.
    let mut names: Vec<&str> = schedules.iter().map(|schedule| schedule.name.as_str()).collect();
    for outcome in outcomes.iter().filter(|outcome| outcome.configured) {
        if !names.contains(&outcome.schedule.as_str()) {
            names.push(&outcome.schedule);
        }
    }
    let says = |name: &str| schedules.iter().find(|schedule| schedule.name == name).map(ToString::to_string);
    if output.json {
        let all = names
            .iter()
            .map(|name| json!({ "name": name, "says": says(name), "last": of(name), "warning": odd(name) }));
        return output.value(&json!({ "schedules": all.collect::<Vec<_>>() }));
    }
    let now = oxigdal_ha::driver::Clock::start().now().wall;
    let mut table = output.table(&["name", "", "ago", "took", "records", "stored", "what"]);
    for &name in &names {
        let runs = of(name);
        if runs.is_empty() {
            let says = says(name).unwrap_or_default();
            table.add_row(vec![
                cell(Tone::Bold, name),
                cell(Tone::Dim, "not run yet"),
                cell(Tone::Dim, ""),
                cell(Tone::Dim, ""),
                cell(Tone::Dim, ""),
                cell(Tone::Dim, ""),
                cell(Tone::Dim, says),
            ]);
        }
        for run in runs {
            let (tone, word) = if run.ok { (Tone::Good, "good") } else { (Tone::Bad, "failed") };
            let what = run.error.clone().or_else(|| says(name)).unwrap_or_else(|| "of the configuration".into());
            table.add_row(vec![
                cell(Tone::Bold, name),
                cell(tone, word),
                cell(Tone::Dim, ago(run.finished, now)),
                cell(Tone::Dim, millis(run.finished.as_millis().saturating_sub(run.started.as_millis()))),
                cell(Tone::Dim, run.records),
                cell(Tone::Dim, bytes(run.stored_bytes)),
                cell(Tone::Dim, what),
            ]);
        }
    }
    output.rows(&table)?;
    for (name, odd) in names.iter().filter_map(|name| Some((name, odd(name)?))) {
        let hint = output.paint(Tone::Dim, roles::HINT);
        output.line(format_args!("{} {name} never runs: {odd}\n  {hint}", output.paint(Tone::Bad, "!")))?;
    }
    Ok(())
}

//! `backup prune`.

use std::time::Duration;

use oxigdal_ha::backup::{BackupId, Fate, Host as _, Pruned, Pruning, Retention};
use serde_json::json;

use super::progress::Ear;
use super::{Place, ago, failed};
use crate::failure::Result;
use crate::output::{Output, Tone, bytes, cell};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Keep the last N
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep_last: u32,
    /// Keep the newest of each of the last N hours that have one
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep_hourly: u32,
    /// The same of days, in UTC
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep_daily: u32,
    /// The same of weeks, from Monday
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep_weekly: u32,
    /// The same of months
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep_monthly: u32,
    /// How long a marked backup is kept before it is deleted, such as 24h or 7d: longer than any backup takes
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = crate::args::seconds)]
    grace: u64,
    /// Give this backup up, whatever the rules say and though its manifest cannot be read; may be given several times
    #[arg(long, value_name = "ID")]
    give_up: Vec<BackupId>,
    /// Do it; without this it is only said
    #[arg(long)]
    yes: bool,
}

pub(crate) async fn run(place: &Place, arguments: &Args, output: Output) -> Result {
    let repository = place.open().await?;
    let catalogue = place.catalogue(&repository).await?;
    let ear = Ear::new(output);
    let policy = Retention {
        last: arguments.keep_last,
        hourly: arguments.keep_hourly,
        daily: arguments.keep_daily,
        weekly: arguments.keep_weekly,
        monthly: arguments.keep_monthly,
    };
    let (grace, given_up) = (Duration::from_secs(arguments.grace), arguments.give_up.iter().copied().collect());
    let plan = Pruning::plan(catalogue, policy, &given_up, grace, ear.wall());
    let plan = plan.and_then(|plan| plan.with_left_over(&repository, grace, ear.wall())).map_err(failed)?;
    let pruned = if arguments.yes { Some(plan.run(&repository, &ear).await.map_err(failed)?) } else { None };
    ear.done();
    if output.json {
        let fates: Vec<_> = plan.fates.iter().map(|(id, fate)| json!({ "id": id, "fate": fate })).collect();
        return output
            .value(&json!({ "dry_run": pruned.is_none(), "policy": policy, "backups": fates, "left_over": plan.left_over, "pruned": pruned }));
    }
    let mut table = output.table(&["id", "", "why"]);
    for (id, fate) in &plan.fates {
        let (what, why) = told(fate, &ear);
        table.add_row(vec![cell(Tone::Bold, id), what, cell(Tone::Dim, why)]);
    }
    output.rows(&table)?;
    for file in &plan.left_over {
        output.line(format_args!("{}, {}: a killed backup left it", file.path.display(), bytes(file.len)))?;
    }
    match pruned {
        None => output.line("a dry run: give --yes to do it"),
        Some(Pruned { marked, unmarked, deleted, objects, bytes: freed, left_over, contended }) => {
            output.line(format_args!(
                "{marked} marked, {unmarked} unmarked, {deleted} deleted: {objects} objects, {}; {left_over} files of killed backups removed",
                bytes(freed)
            ))?;
            match contended {
                0 => Ok(()),
                n => output.line(format_args!("{n} were left to another prune that runs at the same time")),
            }
        }
    }
}

fn told(fate: &Fate, ear: &Ear) -> (comfy_table::Cell, String) {
    match fate {
        Fate::Keep { why, unmark: false } => (cell(Tone::Good, "keep"), why.join(", ")),
        Fate::Keep { why, unmark: true } => (cell(Tone::Good, "keep, unmark"), why.join(", ")),
        Fate::Mark => (cell(Tone::Warn, "mark"), "no rule keeps it".into()),
        Fate::Wait { marked } => {
            (cell(Tone::Warn, "wait"), format!("marked {} ago: grace is not over", ago(*marked, ear.wall())))
        }
        Fate::Delete { marked } => (cell(Tone::Bad, "delete"), format!("marked {} ago", ago(*marked, ear.wall()))),
        Fate::Sweep { begun } => (cell(Tone::Bad, "sweep"), format!("broken off {} ago", ago(*begun, ear.wall()))),
    }
}

//! Membership beside foca 2.0: the same world, the same members, the same deaths at the same moments.
//!
//! `cargo bench --bench swim` prints the tables of `benches/README.md`, `.. -- 100` those of meshes of that size. Times are
//! virtual, so all but the CPU column is a function of the seeds. Without `--bench`, as `cargo test --all-targets` runs it, a small world shows that it works.

mod deaths;
mod ours;
mod theirs;
mod world;

use std::time::Duration;

use deaths::{Case, Found, quantile};
use oxigdal_ha::membership::Config;

/// How long the last death may take to become known.
const TAIL: Duration = Duration::from_secs(120);

const CASES: [Case; 4] = [
    Case { members: 100, loss_percent: 0, deaths: 20, seeds: 5, tail: TAIL },
    Case { members: 100, loss_percent: 5, deaths: 20, seeds: 5, tail: TAIL },
    Case { members: 1_000, loss_percent: 0, deaths: 20, seeds: 3, tail: TAIL },
    Case { members: 1_000, loss_percent: 5, deaths: 20, seeds: 3, tail: TAIL },
];
const SMALL: Case = Case { members: 12, loss_percent: 0, deaths: 2, seeds: 1, tail: TAIL };

fn row(name: &str, found: &Found) {
    let [first, everybody] = [&found.first, &found.everybody];
    println!(
        "| {name} | {:.1} / {:.1} s | {:.1} / {:.1} s | {} of {} | {} | {:.2} | {:.0} | {:.2} us |",
        quantile(first, 50),
        quantile(first, 99),
        quantile(everybody, 50),
        quantile(everybody, 99),
        everybody.len(),
        found.deaths,
        found.false_deaths,
        found.per_period(found.quiet.messages),
        found.per_period(found.quiet.bytes),
        found.cpu_micros(),
    );
}

fn ratios(ours: &Found, theirs: &Found) {
    let times = |theirs: f64, ours: f64| format!("{:.1}x", theirs / ours);
    let at =
        |of: fn(&Found) -> &Vec<Duration>, percent| times(quantile(of(theirs), percent), quantile(of(ours), percent));
    println!(
        "| **foca / ours** | {} / {} | {} / {} | | | {} | {} | {} |",
        at(|found| &found.first, 50),
        at(|found| &found.first, 99),
        at(|found| &found.everybody, 50),
        at(|found| &found.everybody, 99),
        times(theirs.per_period(theirs.quiet.messages), ours.per_period(ours.quiet.messages)),
        times(theirs.per_period(theirs.quiet.bytes), ours.per_period(ours.quiet.bytes)),
        times(theirs.cpu_micros(), ours.cpu_micros()),
    );
}

fn run(case: &Case) {
    let (mut ours, mut theirs) = (Found::default(), Found::default());
    for seed in 1..=case.seeds {
        ours.add(case, seed, ours::settled(seed, case.members, &Config::default()));
        theirs.add(case, seed, theirs::settled(seed, case.members));
    }
    println!("\n{} members, {} % of messages lost, {} deaths", case.members, case.loss_percent, ours.deaths);
    println!(
        "| | first who knows, p50 / p99 | everybody knows, p50 / p99 | known to all | declared dead alive | messages | bytes | CPU |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    ratios(&ours, &theirs);
    row("ours", &ours);
    row("foca 2.0", &theirs);
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        return run(&SMALL);
    }
    let sizes: Vec<usize> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    let wanted = |case: &&Case| sizes.is_empty() || sizes.contains(&case.members);
    CASES.iter().filter(wanted).for_each(run);
}

//! Membership beside foca 2.0: the same world, the same members, the same deaths at the same moments.
//!
//! `cargo bench --bench swim` prints the tables of `benches/README.md`, `.. -- 100` those of meshes of that size. Times are
//! virtual, so all but the CPU column is a function of the seeds. Without `--bench`, as `cargo test --all-targets` runs it, a small world shows that it works.

mod ours;
mod theirs;
mod world;

use std::time::Duration;

use cpu_time::ThreadTime;
use oxigdal_ha::machine::Rng;
use world::{Counts, Protocol, World};

/// The mesh is watched so long before anybody dies.
const QUIET: Duration = Duration::from_secs(60);
/// From one death to the next.
const BETWEEN: Duration = Duration::from_secs(20);
/// How long the last death may take to become known.
const TAIL: Duration = Duration::from_secs(120);

/// One line of the table.
struct Case {
    members: usize,
    loss_percent: u64,
    deaths: usize,
    seeds: u8,
}

const CASES: [Case; 4] = [
    Case { members: 100, loss_percent: 0, deaths: 20, seeds: 5 },
    Case { members: 100, loss_percent: 5, deaths: 20, seeds: 5 },
    Case { members: 1_000, loss_percent: 0, deaths: 20, seeds: 3 },
    Case { members: 1_000, loss_percent: 5, deaths: 20, seeds: 3 },
];
const SMALL: Case = Case { members: 12, loss_percent: 0, deaths: 2, seeds: 1 };

/// What became of one protocol in one case, over all seeds.
#[derive(Default)]
struct Found {
    first: Vec<Duration>,
    everybody: Vec<Duration>,
    deaths: usize,
    quiet: Counts,
    /// Members times seconds of the quiet time.
    periods: u64,
    false_deaths: u64,
    cpu: Duration,
}

impl Found {
    fn add<P: Protocol>(&mut self, case: &Case, seed: u8, mut world: World<P>) {
        world.loss_percent = case.loss_percent;
        let began = ThreadTime::now();
        world.run(QUIET);
        self.cpu += began.elapsed();
        let quiet = world.count();
        self.quiet.messages += quiet.messages;
        self.quiet.bytes += quiet.bytes;
        self.periods += QUIET.as_secs() * case.members as u64;
        // Who dies, and within which part of a period, is the same for both.
        let mut luck = Rng::fork(&[seed; 32], "deaths");
        let mut victims: Vec<usize> = (1..case.members).collect();
        luck.shuffle(&mut victims);
        for victim in victims.into_iter().take(case.deaths) {
            let phase = Duration::from_millis(luck.below(1_000));
            world.run(phase);
            world.crash(victim);
            world.run(BETWEEN - phase);
        }
        world.run(TAIL);
        self.false_deaths += quiet.false_deaths + world.count().false_deaths;
        self.deaths += world.deaths.len();
        self.first.extend(world.deaths.values().filter_map(|death| death.first));
        self.everybody.extend(world.deaths.values().filter_map(|death| death.everybody));
    }

    fn per_period(&self, count: u64) -> f64 {
        count as f64 / self.periods as f64
    }

    fn cpu_micros(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.periods as f64
    }
}

fn quantile(all: &[Duration], percent: usize) -> f64 {
    let mut sorted = all.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map_or(f64::NAN, Duration::as_secs_f64)
}

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
        ours.add(case, seed, ours::settled(seed, case.members));
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

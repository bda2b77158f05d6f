//! The same deaths for each protocol, at the same moments, and what became of them.

use std::time::Duration;

use cpu_time::ThreadTime;
use oxigdal_ha::machine::Rng;

use crate::world::{Counts, Protocol, World};

/// The mesh is watched so long before anybody dies.
const QUIET: Duration = Duration::from_secs(60);
/// From one death to the next.
const BETWEEN: Duration = Duration::from_secs(20);

/// One line of the table.
pub(crate) struct Case {
    pub(crate) members: usize,
    pub(crate) loss_percent: u64,
    pub(crate) deaths: usize,
    pub(crate) seeds: u8,
    /// How long the last death may take to become known.
    pub(crate) tail: Duration,
}

/// What became of one protocol in one case, over all seeds.
#[derive(Default)]
pub(crate) struct Found {
    /// From each death to the first who knew.
    pub(crate) first: Vec<Duration>,
    pub(crate) everybody: Vec<Duration>,
    pub(crate) deaths: usize,
    pub(crate) quiet: Counts,
    /// Members times seconds of the quiet time.
    periods: u64,
    pub(crate) false_deaths: u64,
    cpu: Duration,
}

impl Found {
    pub(crate) fn add<P: Protocol>(&mut self, case: &Case, seed: u8, mut world: World<P>) {
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
        world.run(case.tail);
        self.false_deaths += quiet.false_deaths + world.count().false_deaths;
        self.deaths += world.deaths.len();
        self.first.extend(world.deaths.values().filter_map(|death| death.first));
        self.everybody.extend(world.deaths.values().filter_map(|death| death.everybody));
    }

    /// A count of the quiet time, for each member and second.
    pub(crate) fn per_period(&self, count: u64) -> f64 {
        count as f64 / self.periods as f64
    }

    /// Of each member and second.
    pub(crate) fn cpu_micros(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.periods as f64
    }
}

/// In seconds.
pub(crate) fn quantile(all: &[Duration], percent: usize) -> f64 {
    let mut sorted = all.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map_or(f64::NAN, Duration::as_secs_f64)
}

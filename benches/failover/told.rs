//! How figures are told.

use std::time::Duration;

use crate::trials::Trio;
use crate::{Blow, Cost, Etcd, Ours};

/// What was found, beside what is aimed at, and beside etcd where that was struck too.
pub(crate) fn table(blow: Blow, ours: &[Cost], theirs: Option<(&str, &[Cost])>) {
    println!("| ms | n | min | p50 | p90 | p99 | max | one after the other: p50 | p99 | max |");
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let [p50, p99, max] = blow.goals().map(|goal| goal.map_or(String::new(), |ms| format!("{ms}")));
    println!("| goal | | | {p50} | | {p99} | {max} | | | |");
    row(Ours::NAME, ours);
    let Some((version, theirs)) = theirs.filter(|(_, costs)| !costs.is_empty()) else { return };
    row(&format!("{} {version}, 50/250 ms", Etcd::NAME), theirs);
    let ratio = |percent, of: fn(&Cost) -> Duration| {
        quantile(&sorted(theirs, of), percent) / quantile(&sorted(ours, of), percent)
    };
    let [open, closed]: [fn(&Cost) -> Duration; 2] = [|cost| cost.open, |cost| cost.closed];
    println!(
        "| **etcd / ours** | | | {:.1}x | {:.1}x | {:.1}x | {:.1}x | {:.1}x | {:.1}x | {:.1}x |",
        ratio(50, open),
        ratio(90, open),
        ratio(99, open),
        ratio(100, open),
        ratio(50, closed),
        ratio(99, closed),
        ratio(100, closed)
    );
}

/// Times of one kind.
pub(crate) fn gaps(times: &[Duration], goals: [Option<u64>; 3]) {
    let sorted = sorted_times(times.to_vec());
    let Some(first) = sorted.first() else { return println!("nothing was seen") };
    let [p50, p99, max] = goals.map(|goal| goal.map_or(String::new(), |ms| format!("{ms}")));
    println!("| ms | n | min | p50 | p90 | p99 | max |");
    println!("|---|---|---|---|---|---|---|");
    println!("| goal | | | {p50} | | {p99} | {max} |");
    let [p50, p90, p99, max] = [50, 90, 99, 100].map(|percent| quantile(&sorted, percent));
    let (n, min) = (sorted.len(), first.as_secs_f64() * 1e3);
    println!("| {} | {n} | {min:.0} | {p50:.0} | {p90:.0} | {p99:.0} | {max:.0} |", Ours::NAME);
}

fn row(name: &str, costs: &[Cost]) {
    let (open, closed) = (sorted(costs, |cost| cost.open), sorted(costs, |cost| cost.closed));
    let [p50, p90, p99, max] = [50, 90, 99, 100].map(|percent| quantile(&open, percent));
    let [closed50, closed99, closed_max] = [50, 99, 100].map(|percent| quantile(&closed, percent));
    println!(
        "| {name} | {} | {:.0} | {p50:.0} | {p90:.0} | {p99:.0} | {max:.0} | {closed50:.0} | {closed99:.0} | {closed_max:.0} |",
        open.len(),
        open[0].as_secs_f64() * 1e3
    );
}

fn sorted(costs: &[Cost], of: impl Fn(&Cost) -> Duration) -> Vec<Duration> {
    sorted_times(costs.iter().map(of).collect())
}

fn sorted_times(mut times: Vec<Duration>) -> Vec<Duration> {
    times.sort_unstable();
    times
}

/// The part of a hundred of sorted times, in milliseconds.
pub(crate) fn quantile(sorted: &[Duration], percent: usize) -> f64 {
    let at = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted[at].as_secs_f64() * 1e3
}

pub(crate) fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap();
    text.split(' ').next().unwrap().to_owned()
}

/// Moments that go by no clock of those who are struck.
pub(crate) struct Luck(u64);

impl Default for Luck {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl Luck {
    /// Marsaglia, "Xorshift RNGs", Journal of Statistical Software 8, 2003.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 8
    }
}

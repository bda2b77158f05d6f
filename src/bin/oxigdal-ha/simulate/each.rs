//! Work on as many threads as there are cores.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many runs at a time: at least one.
pub(super) fn jobs(text: &str) -> Result<usize, String> {
    let jobs = text.parse().map_err(|error| format!("{error}"))?;
    if jobs == 0 { Err("at least 1: nothing would be run".to_owned()) } else { Ok(jobs) }
}

/// Does this for all of the work on so many threads, by default as many as there are cores; the results keep the order.
pub(super) fn each<W: Sync, R: Send>(work: &[W], jobs: Option<usize>, one: impl Fn(&W) -> R + Sync) -> Vec<R> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (next, done) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..jobs.unwrap_or(cores).clamp(1, work.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(part) = work.get(at) else { return };
                    let result = one(part);
                    done.lock().expect("no holder of this lock panics").insert(at, result);
                }
            });
        }
    });
    done.into_inner().expect("no holder of this lock panics").into_values().collect()
}

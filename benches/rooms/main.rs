//! The hot path of each room, alone on one core: `cargo bench --bench rooms`, or `.. -- wal` for one room.
//!
//! What the figures were, and on what machine, is told in `benches/README.md`. None of them is a test: nothing here fails
//! because a machine is slow.
#![expect(clippy::unwrap_used, reason = "a bench may stop where it stands")]
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "a measurement reads the clock")]

mod cpu;
mod disk;
mod documents;
mod geojson;
mod membership;
mod merge;
mod overlay;
mod replication;
mod sim;
mod wal;
mod wire;

// The little world of the bench `swim`, for a whole mesh of membership machines.
#[path = "../swim/ours.rs"]
mod ours;
#[path = "../swim/world.rs"]
#[expect(dead_code, reason = "nobody dies here")]
mod world;

use std::time::Duration;

use cpu::Cpu;
use criterion::{Criterion, criterion_group, criterion_main};

/// Two seconds a figure keep the whole within a few minutes; on shared cores more samples would not make it truer.
fn brief() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(30)
}

fn of_one_core() -> Criterion<Cpu> {
    brief().with_measurement(Cpu)
}

criterion_group! {
    name = rooms;
    config = of_one_core();
    targets = wire::bench, wal::bench, membership::bench, overlay::bench, replication::bench, documents::bench,
        merge::bench, geojson::bench, sim::bench
}
// A disk is waited for: that is the wall's time.
criterion_group! {
    name = files;
    config = brief();
    targets = disk::bench
}
criterion_main!(rooms, files);

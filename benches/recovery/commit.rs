//! Records a second that are durable, by how many write at once, beside what the disk syncs in the same directory.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use oxigdal_ha::driver::Peer;
use oxigdal_ha::events;
use oxigdal_ha::node::Command;
use tokio::runtime::Runtime;

use crate::{Plan, median, peer};

/// How often both are measured, of each round.
const TURNS: usize = 7;

pub(crate) fn run(runtime: &Runtime, plan: Plan) {
    let dir = tempfile::tempdir().unwrap();
    let peer = Arc::new(runtime.block_on(peer(dir.path())));
    for writers in [1, 8, 64] {
        let mut ratios = Vec::new();
        let (mut records, mut syncs) = (Vec::new(), Vec::new());
        // Short turns, since a disk that others use too is fast in one second and slow in the next.
        for _ in 0..TURNS * plan.rounds {
            let disk = disk(dir.path(), (plan.records / 500).max(20));
            let ours = runtime.block_on(durable(&peer, writers, plan.records * writers / 640));
            ratios.push(ours / disk);
            records.push(ours);
            syncs.push(disk);
        }
        println!(
            "  {writers:>2} writers: {:>7.0} records/s, the disk alone {:>6.0} syncs/s: {:.1} x",
            median(records),
            median(syncs),
            median(ratios),
        );
    }
    runtime.block_on(async { drop(Arc::into_inner(peer).unwrap().halt().await) });
}

/// Syncs a second of small writes, one behind the other.
fn disk(dir: &Path, count: u64) -> f64 {
    let path = dir.join("probe");
    let mut file = File::create(&path).unwrap();
    let began = Instant::now();
    for _ in 0..count {
        file.write_all(&[7; 256]).unwrap();
        file.sync_data().unwrap();
    }
    let rate = count as f64 / began.elapsed().as_secs_f64();
    std::fs::remove_file(path).unwrap();
    rate
}

/// Acknowledged appends of 100 bytes a second, each durable before its writer goes on.
async fn durable(peer: &Arc<Peer>, writers: u64, count: u64) -> f64 {
    let left = Arc::new(AtomicU64::new(count.max(writers)));
    let (began, all) = (Instant::now(), left.load(Ordering::Relaxed));
    let tasks: Vec<_> =
        (0..writers).map(|writer| tokio::spawn(write(Arc::clone(peer), writer, Arc::clone(&left)))).collect();
    for task in tasks {
        task.await.unwrap();
    }
    all as f64 / began.elapsed().as_secs_f64()
}

async fn write(peer: Arc<Peer>, writer: u64, left: Arc<AtomicU64>) {
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
        let stream = format!("load/{writer}").parse().unwrap();
        let events = vec![Bytes::from_static(&[b'7'; 100])];
        peer.command(Command::Events(events::Command::Append { stream, events })).await.unwrap();
    }
}

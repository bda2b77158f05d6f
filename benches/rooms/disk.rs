//! Group commit on real files: durable writes of 200 B, with so many under way at any time.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use oxigdal_ha::driver::disk::{Disk, Request};
use oxigdal_ha::types::{PersistId, SegmentId};
use tempfile::TempDir;

/// How long so many durable writes take.
fn write(writes: u64, under_way: u64) -> Duration {
    let dir = TempDir::new_in("target").unwrap();
    let (answers, received) = mpsc::channel();
    let disk = Disk::open(dir.path(), move |input| answers.send(input).unwrap()).unwrap();
    let bytes = Bytes::from_static(&[7; 200]);
    let began = Instant::now();
    let mut submitted = 0;
    for answered in 0..writes {
        while submitted < writes.min(answered + under_way) {
            let (id, offset) = (PersistId::new(submitted), submitted * bytes.len() as u64);
            disk.submit(Request::Persist { id, segment: SegmentId::new(1), offset, bytes: bytes.clone() }).unwrap();
            submitted += 1;
        }
        received.recv().unwrap();
    }
    began.elapsed()
}

pub(crate) fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("disk: durable writes of 200 B");
    group.sample_size(10).throughput(Throughput::Elements(1));
    for under_way in [1, 16, 256, 4_096] {
        group.bench_function(BenchmarkId::new("under way", under_way), |b| {
            b.iter_custom(|writes| write(writes, under_way));
        });
    }
    group.finish();
}

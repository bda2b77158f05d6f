//! The log: framing a record, and what a boot does with a million of them.

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use oxigdal_ha::types::{Hlc, NodeId, SegmentId};
use oxigdal_ha::wal::{Config, Scanner, Writer};

use crate::cpu::Cpu;

const ME: NodeId = NodeId::from_u128(7);
const APPENDS: u64 = 10_000;
const RECORDS: u64 = 1_000_000;

fn writer() -> Writer {
    Writer::new(Config::default(), Scanner::new(ME).finish().end, 1)
}

/// A log of a million records, in segments of 16 MiB.
fn log(len: usize) -> Vec<(SegmentId, Bytes)> {
    let (mut writer, payload) = (writer(), vec![7; len]);
    let mut files = BTreeMap::<_, Vec<u8>>::new();
    for _ in 0..RECORDS {
        let appended = writer.append(1, Hlc::default(), &payload).unwrap();
        files.entry(appended.segment).or_default().extend_from_slice(&appended.bytes);
    }
    files.into_iter().map(|(segment, bytes)| (segment, Bytes::from(bytes))).collect()
}

pub(crate) fn bench(c: &mut Criterion<Cpu>) {
    let mut group = c.benchmark_group("wal");
    for len in [100, 300] {
        let payload = vec![7; len];
        group.throughput(Throughput::Elements(APPENDS));
        group.bench_function(BenchmarkId::new("append 10,000 records", format!("{len} B")), |b| {
            let append = |mut writer: Writer| {
                for _ in 0..APPENDS {
                    black_box(writer.append(1, Hlc::default(), &payload).unwrap());
                }
                writer
            };
            b.iter_batched(writer, append, BatchSize::SmallInput);
        });
    }
    group.sample_size(10);
    for len in [100, 300] {
        let files = LazyCell::new(|| log(len));
        group.throughput(Throughput::Elements(RECORDS));
        group.bench_function(BenchmarkId::new("scan 1,000,000 records", format!("{len} B")), |b| {
            b.iter(|| {
                let mut scanner = Scanner::new(ME);
                let found = files.iter().map(|(segment, bytes)| scanner.segment(*segment, bytes).unwrap().len());
                assert_eq!(found.sum::<usize>() as u64, RECORDS);
                scanner.finish()
            });
        });
    }
    group.finish();
}

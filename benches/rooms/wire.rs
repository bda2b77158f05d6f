//! Frames: a quiet probe, and a full batch of entries.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use oxigdal_ha::machine::Rng;
use oxigdal_ha::membership;
use oxigdal_ha::replication::{self, Batch, Entry, Name, Run};
use oxigdal_ha::types::{Actor, Digest, Hlc, Lane, LogId, Mint, NodeId, Seq, Topic, WallTime};
use oxigdal_ha::wire::{self, Kind};

use crate::cpu::Cpu;

/// Entries of a full batch, as the default configuration has it.
const ENTRIES: u64 = 512;

/// A body as documents write them: half of it is alike from one to the next.
pub(crate) fn body(number: u64, len: usize) -> Bytes {
    let mut rng = Rng::fork(&[9; 32], &number.to_string());
    (0..len).map(|at| if at % 16 < 8 { b'x' } else { rng.bits().to_le_bytes()[0] }).collect()
}

fn batch() -> replication::Message {
    let log = LogId { actor: Actor { node: NodeId::from_u128(1), mint: Mint::new(1) }, topic: Topic::DOCUMENTS };
    let entries = (0..ENTRIES).map(|number| {
        let hlc = Hlc { wall: WallTime::from_micros(1_700_000_000_000_000 + number), logical: 0 };
        Entry { hlc, body: body(number, 100) }
    });
    let run = Run { log: Name::Id(log), first: Seq::new(1), before: Default::default(), entries: entries.collect() };
    replication::Message::Push(Batch { number: 1, runs: vec![run] })
}

pub(crate) fn bench(c: &mut Criterion<Cpu>) {
    let mut group = c.benchmark_group("wire");
    let ping = membership::Message::Ping { probe: 7, digest: Digest::new(u64::MAX), gossip: Default::default() };
    let frame = wire::seal(Kind::Membership, Lane::Control, &ping);
    group.throughput(Throughput::Elements(1));
    group.bench_function("seal a ping", |b| b.iter(|| wire::seal(Kind::Membership, Lane::Control, black_box(&ping))));
    group.bench_function("open a ping", |b| {
        b.iter(|| {
            let payload = wire::open(black_box(&frame), Lane::Control).unwrap().unwrap();
            payload.decode::<membership::Message>().unwrap()
        });
    });
    let batch = batch();
    let frame = wire::seal(Kind::Replication, Lane::Sync, &batch);
    group.throughput(Throughput::Elements(ENTRIES));
    group.bench_function("seal 512 entries of 100 B", |b| {
        b.iter(|| wire::seal(Kind::Replication, Lane::Sync, black_box(&batch)));
    });
    group.bench_function("open 512 entries of 100 B", |b| {
        b.iter(|| {
            let payload = wire::open(black_box(&frame), Lane::Sync).unwrap().unwrap();
            payload.decode::<replication::Message>().unwrap()
        });
    });
    group.finish();
}

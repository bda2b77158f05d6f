//! Membership at 1,000 members: single messages, and whole periods.

use std::cell::LazyCell;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use oxigdal_ha::membership::{Config, Message};

use crate::cpu::Cpu;
use crate::ours::settled;
use crate::world::{Out, Protocol as _};

const MEMBERS: usize = 1_000;

pub(crate) fn bench(c: &mut Criterion<Cpu>) {
    // Made when it is asked for: it takes a while.
    let mut world = LazyCell::new(|| settled(1, MEMBERS, &Config::default()));
    let mut group = c.benchmark_group("membership of 1,000");
    group.throughput(Throughput::Elements(1));
    group.bench_function("answer a ping", |b| {
        let (now, digest) = (world.now, world.members[1].machine.view().digest());
        let member = &mut LazyCell::force_mut(&mut world).members[0];
        b.iter(|| {
            let mut out = Out::default();
            member.on_message(now, 1, Message::Ping { probe: 7, digest, gossip: Default::default() }, &mut out);
            assert_eq!(out.sends.len(), 1);
            out.sends
        });
    });
    // Everybody probes somebody once: with the acks, two messages for each member, and the queue of the little world.
    group.throughput(Throughput::Elements(MEMBERS as u64));
    group.sample_size(20);
    group.bench_function("a second of a quiet mesh, in node-seconds", |b| {
        let world = LazyCell::force_mut(&mut world);
        b.iter(|| world.run(Duration::from_secs(1)));
    });
    group.finish();
}

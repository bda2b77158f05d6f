//! Whose neighbour one is among 1,000 members: worked out at each change of the membership.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion};
use oxigdal_ha::membership::{Member, Meta, State};
use oxigdal_ha::overlay::neighbors;
use oxigdal_ha::topology::Policy;
use oxigdal_ha::types::{Boot, Incarnation, Time};

use crate::cpu::Cpu;
use crate::world::id;

const MEMBERS: usize = 1_000;
const REGIONS: usize = 8;

fn members() -> Vec<Member> {
    let member = |at: usize| Member {
        id: id(at),
        boot: Boot::new(1),
        incarnation: Incarnation::ZERO,
        state: State::Alive,
        meta: Arc::new(Meta { region: format!("region-{}", at % REGIONS), ..Meta::default() }),
        since: Time::ZERO,
    };
    (0..MEMBERS).map(member).collect()
}

pub(crate) fn bench(c: &mut Criterion<Cpu>) {
    let members = members();
    let mut group = c.benchmark_group("overlay: neighbours among 1,000");
    for policy in [Policy::Star, Policy::Tree { arity: 3 }, Policy::Mesh { degree: 8 }] {
        group.bench_function(BenchmarkId::from_parameter(policy), |b| {
            b.iter(|| neighbors(black_box(&members), policy, id(500)));
        });
    }
    group.finish();
}

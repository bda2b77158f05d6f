//! GeoJSON in and out: the countries of the world at 1:110 million.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use oxigdal_ha::documents::geojson::{export, import};

use crate::cpu::Cpu;

pub(crate) fn bench(c: &mut Criterion<Cpu>) {
    let text = include_str!("../../examples/data/naturalearth_lowres.geojson");
    let countries = import(text, "layers/countries", None).unwrap();
    let mut group = c.benchmark_group("geojson: 177 countries");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("import", |b| b.iter(|| import(black_box(text), "layers/countries", None).unwrap()));
    group.bench_function("export", |b| {
        b.iter(|| export(black_box(&countries.features).iter().map(|(doc, value)| (doc, value))));
    });
    group.finish();
}

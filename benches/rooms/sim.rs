//! The simulator: node-seconds a second of one core, the mesh forming included.

use criterion::{BenchmarkId, Criterion, Throughput};
use oxigdal_ha::sim::{Scenario, run};

use crate::cpu::Cpu;

fn scenario(peers: usize, overlay: &str, seconds: u64, edits: &str) -> Scenario {
    let text = format!(
        "schema = 1\ndescription = \"a bench\"\n[mesh]\npeers = {peers}\noverlay = \"{overlay}\"\n\
         [phases]\nwarm-up = \"20s\"\nchaos = \"{}s\"\ncalm = \"20s\"\n[join]\nwithin = \"3s\"\n{edits}",
        seconds - 40
    );
    Scenario::parse("bench.toml", &text, &mut |name| Err(format!("no topology {name}"))).unwrap()
}

pub(crate) fn bench(c: &mut Criterion<Cpu>) {
    let mut group = c.benchmark_group("sim");
    group.sample_size(10);
    let edits = "[[edits]]\ndocs = 20\nrate = \"10/s\"\nshared = \"50%\"\n";
    let cases = [
        // The difference between the two is what a formed and quiet mesh costs.
        ("200 quiet peers form and live for 60 s", scenario(200, "tree:8", 60, ""), false),
        ("200 quiet peers form and live for 180 s", scenario(200, "tree:8", 180, ""), false),
        ("5 peers, edits for 60 of 100 s, full mesh", scenario(5, "mesh", 100, edits), true),
        ("20 peers, edits for 60 of 100 s, star", scenario(20, "star", 100, edits), true),
    ];
    for (name, scenario, edited) in &cases {
        let node_seconds = scenario.span_ns() / 1_000_000_000 * scenario.peers() as u64;
        group.throughput(Throughput::Elements(node_seconds));
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| {
                let outcome = run(scenario, 1, None);
                assert!(outcome.passed(), "{outcome}");
                assert_eq!(outcome.figures.acknowledged > 0, *edited);
                outcome.hash
            });
        });
    }
    group.finish();
}

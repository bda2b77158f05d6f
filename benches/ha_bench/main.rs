//! The bench of the published crate of this name, by its ids, doing the work that they name: `cargo bench --bench ha_bench`.
//!
//! Real peers in this process, with their sockets on loopback, encryption, logs and syncs; `benches/README.md` says what the other side
//! of each id does. The wall's time is measured: waiting for the disk and for the other peer is what it costs.

#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "real peers are measured in real time")]
#![expect(clippy::unwrap_used, reason = "a bench may stop where it stands")]

#[path = "../../examples/peers/mod.rs"]
mod peers;

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use oxigdal_ha::Mesh;
use oxigdal_ha::failover::FailoverConfig;
use oxigdal_ha::failover::election::LeaderElection;
use oxigdal_ha::node::{Command, Outcome};
use oxigdal_ha::recovery::pitr::PitrManager;
use oxigdal_ha::recovery::{RecoveryConfig, RecoveryTarget};
use oxigdal_ha::replication::{
    ActiveActiveReplication, ReplicaNode, ReplicationConfig, ReplicationEvent, ReplicationManager as _,
    ReplicationState,
};
use serde_json::json;
use tokio::runtime::Runtime;

use peers::Peers;

/// Bytes of an event, as in the published bench.
const EVENT: usize = 100;

/// So many, each linked with all.
async fn started(count: usize) -> Peers {
    let peers = peers::start(count, |_, config| Mesh::builder(config)).await.unwrap();
    for peer in &peers.mesh {
        let all_linked = async || Ok(peer.members().await?.iter().filter(|it| it.linked).count() == count - 1);
        peers::until("each is linked with all", all_linked).await.unwrap();
    }
    peers
}

/// From the call until all events have been read at the other peer: on both disks then.
fn replication(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let (_peers, here, there) = runtime.block_on(async {
        let peers = started(2).await;
        let manager = |peer: &Mesh| ActiveActiveReplication::new(peer.id().uuid(), ReplicationConfig::default());
        let (here, there) = (manager(&peers.mesh[0]), manager(&peers.mesh[1]));
        here.start().await.unwrap();
        there.start().await.unwrap();
        let replica = ReplicaNode {
            id: there.node_id(),
            name: "there".into(),
            address: String::new(),
            priority: 100,
            state: ReplicationState::Active,
            last_replicated_at: None,
            lag_ms: None,
        };
        here.add_replica(replica).await.unwrap();
        (peers, here, there)
    });
    let mut received = there.received(None).unwrap();
    let mut group = c.benchmark_group("replication_throughput");
    group.sample_size(10);
    for count in [100_u64, 1_000, 10_000] {
        group.throughput(Throughput::Elements(count));
        group.bench_with_input(BenchmarkId::from_parameter(count), &count, |b, count| {
            b.iter_custom(|rounds| {
                runtime.block_on(async {
                    let mut took = Duration::ZERO;
                    for _ in 0..rounds {
                        let event = |n| ReplicationEvent::new(here.node_id(), there.node_id(), vec![7; EVENT], n);
                        let events: Vec<_> = (0..*count).map(event).collect();
                        let began = Instant::now();
                        here.replicate_batch(events).await.unwrap();
                        for _ in 0..*count {
                            received.next().await.unwrap();
                        }
                        took += began.elapsed();
                    }
                    took
                })
            });
        });
    }
    group.finish();
}

/// From a leader that hands over until a majority of three voters has decided something under the next one.
fn election(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let peers = runtime.block_on(async {
        let peers = started(3).await;
        for peer in &peers.mesh {
            let all_vote = async || match peer.peer().command(Command::Deciders).await? {
                Outcome::Deciders(deciders) => Ok(deciders.members.iter().filter(|it| it.voter).count() == 3),
                other => unreachable!("a question about voters was answered by {other:?}"),
            };
            peers::until("all three vote", all_vote).await.unwrap();
        }
        peers
    });
    let patient = FailoverConfig { election_timeout_ms: 60_000, ..FailoverConfig::default() };
    let of = |id, priority| LeaderElection::new(id, priority, patient.clone());
    let mut leader = runtime.block_on(of(peers.mesh[0].id().uuid(), 100).start_election()).unwrap().winner_id;
    let mut group = c.benchmark_group("leader_election");
    group.sample_size(10);
    group.bench_function("leader_election", |b| {
        b.iter_custom(|rounds| {
            runtime.block_on(async {
                let began = Instant::now();
                for _ in 0..rounds {
                    // With priority 0 the leader does not want to lead: it hands over, and waits for the next.
                    leader = of(leader, 0).start_election().await.unwrap().winner_id;
                }
                began.elapsed()
            })
        });
    });
    group.finish();
}

/// The log of a peer with 1,000 edits, written anew into a directory that is synced and in place at the end.
fn recovery(c: &mut Criterion) {
    let (runtime, dir) = (Runtime::new().unwrap(), tempfile::tempdir().unwrap());
    let peers = runtime.block_on(async {
        let peers = started(1).await;
        for nth in 0..1_000 {
            peers.mesh[0].put(&format!("layers/{nth}"), &json!({ "nth": nth })).await.unwrap();
        }
        peers.mesh[0].shutdown(peers::PATIENCE).await;
        peers
    });
    let data = peers.mesh[0].data_dir().to_owned();
    let mut group = c.benchmark_group("pitr_recovery");
    group.sample_size(10);
    let mut nth = 0;
    group.bench_function("pitr_recovery", |b| {
        b.iter_custom(|rounds| {
            runtime.block_on(async {
                let mut took = Duration::ZERO;
                for _ in 0..rounds {
                    nth += 1;
                    let into = dir.path().join(format!("into-{nth}"));
                    let config = RecoveryConfig { into: Some(into.clone()), ..RecoveryConfig::default() };
                    let began = Instant::now();
                    let result = PitrManager::new(config, &data).recover(RecoveryTarget::Latest).await.unwrap();
                    took += began.elapsed();
                    assert!(result.transactions_replayed >= 1_000, "{result:?}");
                    std::fs::remove_dir_all(into).unwrap();
                }
                took
            })
        });
    });
    group.finish();
}

criterion_group!(benches, replication, election, recovery);
criterion_main!(benches);

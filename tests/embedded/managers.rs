//! The calls of the user's documents, bound to real nodes, and refused where there is nothing behind them.

use std::time::Duration;

use oxigdal_ha::driver::Clock;
use oxigdal_ha::events::Begin;
use oxigdal_ha::failover::FailoverConfig;
use oxigdal_ha::failover::detection::{FailureDetector, HealthStatus};
use oxigdal_ha::failover::election::{LeaderElection, NodeRole};
use oxigdal_ha::failover::promotion::{PromotionResult, PromotionStrategy, ReplicaPromotion};
use oxigdal_ha::node::{Command, Outcome};
use oxigdal_ha::replication::lag_monitor::LagMonitorConfig;
use oxigdal_ha::replication::{
    ActiveActiveReplication, ReplicaNode, ReplicationConfig, ReplicationEvent, ReplicationManager as _,
    ReplicationMode, ReplicationState,
};
use oxigdal_ha::types::Time;
use oxigdal_ha::{HaError, Mesh};
use uuid::Uuid;

use super::{WAIT, bounded, nodes, until};

fn replica(of: &Mesh) -> ReplicaNode {
    ReplicaNode {
        id: of.id().uuid(),
        name: "replica".into(),
        address: of.listening()[0].to_string(),
        priority: 100,
        state: ReplicationState::Active,
        last_replicated_at: None,
        lag_ms: None,
    }
}

fn manager(of: &Mesh, change: impl FnOnce(&mut ReplicationConfig)) -> ActiveActiveReplication {
    let mut config = ReplicationConfig::default();
    change(&mut config);
    ActiveActiveReplication::new(of.id().uuid(), config)
}

/// Every node knows where the others listen.
async fn known(mesh: &[Mesh]) {
    for node in mesh {
        until("all are known with their addresses", || async {
            let members = node.members().await.unwrap();
            members.iter().filter(|it| it.linked && !it.meta.addresses.is_empty()).count() == mesh.len() - 1
        })
        .await;
    }
}

#[test]
fn events_arrive_at_whom_they_are_for_in_order_and_what_does_not_fit_is_refused() {
    bounded(async {
        let dir = tempfile::tempdir().unwrap();
        let mesh = nodes(dir.path(), 3, |_, config| Mesh::builder(config)).await;
        known(&mesh).await;
        let [here, there, other] = &mesh[..] else { panic!() };
        let sender = manager(here, |config| (config.mode, config.batch_size) = (ReplicationMode::SemiSynchronous, 7));
        let event =
            |to: &Mesh, nth: u8| ReplicationEvent::new(here.id().uuid(), to.id().uuid(), vec![nth], u64::from(nth));
        assert!(matches!(sender.replicate(event(there, 0)).await, Err(HaError::NotStarted)));
        sender.start().await.unwrap();
        let stranger = sender.replicate(event(there, 0)).await.unwrap_err();
        assert!(matches!(stranger, HaError::UnknownReplica { .. }), "it was not added: {stranger}");
        let elsewhere = ReplicaNode { address: "replica1.example.com:5000".into(), ..replica(there) };
        let elsewhere = sender.add_replica(elsewhere).await.unwrap_err();
        assert!(matches!(elsewhere, HaError::OtherAddress { .. }), "{elsewhere}");
        let nobody = ReplicaNode { id: Uuid::from_u128(9), ..replica(there) };
        assert!(matches!(sender.add_replica(nobody).await, Err(HaError::UnknownReplica { .. })));
        assert!(matches!(sender.add_replica(replica(here)).await, Err(HaError::Itself { .. })));
        sender.add_replica(replica(there)).await.unwrap();
        // By the place alone, and by it with whose it is; the one that is preferred is told first.
        let members = here.members().await.unwrap();
        let told = members.iter().find(|it| it.node == other.id()).unwrap().meta.addresses[0].to_string();
        let (place, _) = told.rsplit_once("/p2p/").unwrap();
        let port = place.rsplit_once('/').unwrap().1;
        for address in [format!("127.0.0.1:{port}"), place.to_owned(), told.clone()] {
            sender.add_replica(ReplicaNode { address, priority: 900, ..replica(other) }).await.unwrap();
        }
        let foreign = told.replace(&other.id().to_string(), "x") + "x";
        assert!(sender.add_replica(ReplicaNode { address: foreign, ..replica(other) }).await.is_err());
        let preferred = sender.get_replicas().await.unwrap();
        assert_eq!(preferred.iter().map(|it| it.priority).collect::<Vec<_>>(), [900, 100]);
        let events: Vec<_> = (0..20).flat_map(|nth| [event(there, nth), event(other, 100 + nth)]).collect();
        sender.replicate_batch(events.clone()).await.unwrap();
        let forged = ReplicationEvent { data: vec![9], ..event(there, 1) };
        assert!(matches!(sender.replicate(forged).await, Err(HaError::Checksum { .. })));
        let foreign = ReplicationEvent { source_node_id: other.id().uuid(), ..event(there, 1) };
        assert!(matches!(sender.replicate(foreign).await, Err(HaError::OtherSource { .. })));

        let receiver = manager(there, |_| ());
        receiver.start().await.unwrap();
        let mut received = receiver.received(None).unwrap();
        for nth in 0..20 {
            let arrived = tokio::time::timeout(WAIT, received.next()).await.unwrap().unwrap();
            assert_eq!(arrived, events[2 * nth], "in order, and not what is for the other one");
        }
        let cursor = received.cursor().cloned();
        sender.replicate(event(there, 50)).await.unwrap();
        let mut behind = receiver.received(cursor).unwrap();
        assert_eq!(tokio::time::timeout(WAIT, behind.next()).await.unwrap().unwrap().data, [50]);

        let stats = sender.get_stats().await.unwrap();
        assert_eq!((stats.events_replicated, stats.bytes_replicated, stats.events_failed), (41, 41, 0), "{stats:?}");
        assert!(stats.throughput_eps > 0.0 && stats.bandwidth_bps > 0.0);
        sender.stop().await.unwrap();
        assert!(matches!(sender.get_stats().await, Err(HaError::NotStarted)));
        sender.start().await.unwrap();
    });
}

/// How many events went together, each time, to a node.
async fn batches(to: &Mesh) -> Vec<usize> {
    let stream = format!("replication/{}", to.id().uuid());
    let events = to.read(&stream, Begin::Start, 1_000).await.unwrap().events;
    events.chunk_by(|one, next| one.id.seq == next.id.seq).map(<[_]>::len).collect()
}

#[test]
fn events_go_so_many_together_as_the_batch_size_says() {
    bounded(async {
        let dir = tempfile::tempdir().unwrap();
        let mesh = nodes(dir.path(), 2, |_, config| Mesh::builder(config)).await;
        known(&mesh).await;
        let (here, there) = (&mesh[0], &mesh[1]);
        let mut expected = Vec::new();
        for (batch_size, went) in [(7, vec![7, 7, 6]), (1, vec![1; 20]), (1_000, vec![20])] {
            let sender = manager(here, |config| config.batch_size = batch_size);
            sender.start().await.unwrap();
            sender.add_replica(replica(there)).await.unwrap();
            let event = |nth: u8| ReplicationEvent::new(here.id().uuid(), there.id().uuid(), vec![nth], nth.into());
            sender.replicate_batch((0..20).map(event).collect()).await.unwrap();
            expected.extend(went);
            until("all are there", || async {
                batches(there).await.iter().sum::<usize>() == expected.iter().sum::<usize>()
            })
            .await;
            assert_eq!(batches(there).await, expected, "20 events by {batch_size}");
            sender.stop().await.unwrap();
        }
    });
}

#[test]
fn a_busy_node_is_asked_again_as_often_as_it_was_wished() {
    bounded(async {
        let dir = tempfile::tempdir().unwrap();
        // The first has no room for any append: it is busy as long as it runs.
        let mesh = nodes(dir.path(), 2, |at, mut config| {
            config.streams.waiting_max *= at;
            Mesh::builder(config)
        })
        .await;
        known(&mesh).await;
        let (busy, other) = (&mesh[0], &mesh[1]);
        // Nothing is waited for where it is not tried again, and each further try waits twice as long as the one before. Nobody waits
        // an hour in this test.
        for (max_retries, retry_backoff_ms, waited_ms) in [(0, 3_600_000, 0), (1, 30, 30), (4, 30, 30 + 60 + 120 + 240)]
        {
            let wish = |config: &mut ReplicationConfig| {
                (config.max_retries, config.retry_backoff_ms) = (max_retries, retry_backoff_ms);
            };
            let sender = manager(busy, wish);
            sender.start().await.unwrap();
            sender.add_replica(replica(other)).await.unwrap();
            let event = ReplicationEvent::new(busy.id().uuid(), other.id().uuid(), vec![1], 1);
            let clock = Clock::start();
            let refused = sender.replicate(event).await.unwrap_err();
            assert!(refused.is_passing(), "{refused}");
            let waited = clock.now().mono.since(Time::ZERO);
            assert!(waited >= Duration::from_millis(waited_ms), "{waited:?} for {max_retries}");
            assert_eq!(sender.get_stats().await.unwrap().events_failed, 1);
        }
    });
}

#[test]
fn a_paused_replica_lags_and_its_lag_is_measured_told_and_bounded() {
    bounded(async {
        let dir = tempfile::tempdir().unwrap();
        let mesh = nodes(dir.path(), 2, |_, config| Mesh::builder(config)).await;
        known(&mesh).await;
        let (config, thresholds) = (
            ReplicationConfig { max_lag_ms: 100, ..ReplicationConfig::default() },
            LagMonitorConfig { interval_ms: 20, warning_threshold_ms: 100, ..LagMonitorConfig::default() },
        );
        let sender = ActiveActiveReplication::with_monitor(mesh[0].id().uuid(), config, thresholds);
        sender.start().await.unwrap();
        sender.add_replica(replica(&mesh[1])).await.unwrap();
        let (id, mut changes) = (mesh[1].id().uuid(), sender.lag_changes());
        sender.pause_replica(id).await.unwrap();
        let event = ReplicationEvent::new(mesh[0].id().uuid(), id, vec![1], 1);
        assert!(matches!(sender.replicate(event.clone()).await, Err(HaError::Paused { .. })));
        mesh[0].put("meanwhile", &serde_json::json!({})).await.unwrap();
        let change = tokio::time::timeout(WAIT, changes.recv()).await.unwrap().unwrap();
        assert!(change.now.lag_ms >= 100, "{change:?}");
        // The threshold is reached; what is said of health is that it is passed.
        until("it lags more than it may", || async { sender.check_health().await.is_err() }).await;
        let exceeded = sender.check_health().await.unwrap_err();
        assert!(matches!(exceeded, HaError::ReplicationLagExceeded { threshold_ms: 100, .. }), "{exceeded}");
        let replicas = sender.get_replicas().await.unwrap();
        assert_eq!((replicas.len(), replicas[0].state), (1, ReplicationState::Paused));
        assert!(sender.lag_stats(id).unwrap().max_ms >= 100 && sender.get_stats().await.unwrap().peak_lag_ms >= 100);
        sender.resume_replica(id).await.unwrap();
        until("it is well again", || async { sender.check_health().await.is_ok() }).await;
        sender.replicate(event).await.unwrap();
        sender.remove_replica(id).await.unwrap();
        assert!(matches!(sender.pause_replica(id).await, Err(HaError::UnknownReplica { .. })));
    });
}

#[test]
fn what_has_no_node_behind_it_says_so() {
    bounded(async {
        let nobody = Uuid::from_u128(7);
        let refused = ActiveActiveReplication::new(nobody, ReplicationConfig::default()).start().await.unwrap_err();
        // Other tests of this process may have nodes.
        assert!(matches!(refused, HaError::NoPeer | HaError::OtherPeer { .. }), "{refused}");
        let election = LeaderElection::new(nobody, 100, FailoverConfig::default());
        let refused = election.start_election().await.unwrap_err();
        assert!(matches!(refused, HaError::NoPeer | HaError::OtherPeer { .. }), "{refused}");
    });
}

/// The role may be on its way already, from one that is gone.
async fn handed_over(promotion: &ReplicaPromotion) -> PromotionResult {
    loop {
        match promotion.graceful_handover().await {
            Err(error) if error.to_string().contains("busy") => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            handed => return handed.unwrap(),
        }
    }
}

#[test]
fn voters_elect_another_leader_and_who_is_gone_is_found() {
    bounded(async {
        let dir = tempfile::tempdir().unwrap();
        let mut mesh = nodes(dir.path(), 3, |_, mut config| {
            config.roles.roles.push(oxigdal_ha::roles::RoleName::primary());
            Mesh::builder(config)
        })
        .await;
        for node in &mesh {
            until("all three vote", || async {
                match node.peer().command(Command::Deciders).await.unwrap() {
                    Outcome::Deciders(deciders) => deciders.members.iter().filter(|it| it.voter).count() == 3,
                    other => panic!("{other:?}"),
                }
            })
            .await;
        }
        let config = FailoverConfig {
            health_check_interval_ms: 20,
            election_timeout_ms: 30_000,
            max_failover_time_ms: 30_000,
            ..FailoverConfig::default()
        };
        let id = |mesh: &Mesh| mesh.id().uuid();
        let election = LeaderElection::new(id(&mesh[0]), 100, config.clone());
        let result = election.start_election().await.unwrap();
        assert_eq!((result.total_votes, result.quorum), (3, 2));
        assert_eq!(election.get_leader().await.unwrap(), Some(result.winner_id));
        let at = mesh.iter().position(|it| id(it) == result.winner_id).unwrap();
        let leader = LeaderElection::new(id(&mesh[at]), 0, config.clone());
        assert_eq!(leader.get_role().await.unwrap(), NodeRole::Leader);
        let other = leader.start_election().await.unwrap();
        assert!(other.winner_id != result.winner_id && other.term > result.term, "who has priority 0 does not lead");

        let at = mesh.iter().position(|it| id(it) == other.winner_id).unwrap();
        let lost = mesh.remove(at);
        let asks = id(&mesh[0]);
        let detector = FailureDetector::of_node(asks, config.clone());
        detector.start().await.unwrap();
        assert_eq!(detector.get_detection(id(&lost)).unwrap().health_status, HealthStatus::Healthy);
        let mut failures = detector.get_failure_receiver();
        lost.peer().clone().halt().await;
        let after = LeaderElection::new(asks, 100, config.clone()).start_election().await.unwrap();
        assert!(after.winner_id != other.winner_id && after.term > other.term, "{after:?}");
        let failed = tokio::time::timeout(WAIT, failures.recv()).await.unwrap().unwrap();
        assert!(failed.node_id == id(&lost) && failed.is_failed, "{failed:?}");

        let promotion = ReplicaPromotion::new(PromotionStrategy::Priority, config).through(asks);
        until("the role is held by one that is there", || async {
            let roles = mesh[0].roles().await.unwrap();
            roles.iter().any(|role| role.holder.is_some_and(|holder| mesh.iter().any(|it| it.id() == holder)))
        })
        .await;
        let candidates = promotion.candidates().await.unwrap();
        assert!(candidates.iter().any(|it| it.node_id == id(&lost) && it.ineligible.is_some()), "{candidates:?}");
        let handed = handed_over(&promotion).await;
        assert_ne!(Some(handed.new_leader_id), handed.old_leader_id);
        let unknown = promotion.promote_replica(Uuid::from_u128(7)).await.unwrap_err();
        assert!(unknown.code().is_some(), "the voters refuse it: {unknown}");
        // With one of two voters gone nobody is elected, and that is said in time.
        let quick = FailoverConfig { election_timeout_ms: 500, ..FailoverConfig::default() };
        let alone = mesh.remove(0);
        for gone in mesh.drain(..) {
            gone.peer().clone().halt().await;
        }
        until("the others are missed", || async { alone.members().await.unwrap().iter().all(|it| !it.linked) }).await;
        let nobody = LeaderElection::new(id(&alone), 100, quick).start_election().await.unwrap_err();
        assert!(matches!(nobody, HaError::NoLeader { waited_ms: 500.., .. }), "{nobody}");
    });
}

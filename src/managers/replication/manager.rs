//! The manager: replicas that were named, events that are appended for them, and how far they are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::batches::batches;
use super::config::ReplicationConfig;
use super::event::{ReplicaNode, ReplicationEvent, ReplicationStats};
use super::received::Received;
use crate::config::address;
use crate::driver::Clock;
use crate::error::ErrorKind;
use crate::events::{Begin, Cursor, Name};
use crate::managers::bound::{Bound, Question};
use crate::managers::error::{HaError, HaResult};
use crate::replication::lag_monitor::{LagChange, LagMonitor, LagMonitorConfig, LagStats};
use crate::replication::{Pause, ReplicationState};
use crate::types::{NodeId, WallTime};

/// Replicas that may be named.
const REPLICAS_MAX: usize = crate::replication::REPLICAS_MAX;
/// Changes of lag that a slow listener may be behind.
const CHANGES_MAX: usize = 256;

/// What replicates events. The one implementer is [`ActiveActiveReplication`]. All but [`start`](Self::start) give
/// [`HaError::NotStarted`] before it, and [`HaError::Peer`] or [`HaError::Api`] where the node refuses, has stopped or does not answer.
pub trait ReplicationManager {
    /// Binds to the node, and begins to watch the lag of replicas.
    ///
    /// # Errors
    /// [`HaError::NoPeer`], [`HaError::OtherPeer`], [`HaError::Token`]: there is no such node to bind to.
    fn start(&self) -> impl Future<Output = HaResult<()>> + Send;
    /// Ends that. It may be started again.
    ///
    /// # Errors
    /// [`HaError::NotStarted`].
    fn stop(&self) -> impl Future<Output = HaResult<()>> + Send;
    /// Replicates an event: it is acknowledged as the mode wants when this returns.
    ///
    /// # Errors
    /// [`HaError::Checksum`], [`HaError::OtherSource`], [`HaError::UnknownReplica`] (it was not added), [`HaError::Paused`]; too long by
    /// [`ReplicationEvent::DATA_MAX`]: nothing was written. What a node refuses may be written all the same where
    /// [`may_be_done`](HaError::may_be_done) says so: it is durable here if copies are not known in time, and who sends the event again
    /// sends it twice.
    fn replicate(&self, event: ReplicationEvent) -> impl Future<Output = HaResult<()>> + Send;
    /// Replicates events, those for replicas of the highest priority first, up to `batch_size` at once, and no more than one append takes (65,536 events and 8 MiB): at a node of this
    /// process all that go together are done or none; at one behind its interface each goes by itself. Those before the one that
    /// fails stay done.
    ///
    /// # Errors
    /// As [`replicate`](Self::replicate). All are checked before the first is written; how many were done when a node refused is in
    /// [`get_stats`](Self::get_stats).
    fn replicate_batch(&self, events: Vec<ReplicationEvent>) -> impl Future<Output = HaResult<()>> + Send;
    /// How it goes.
    ///
    /// # Errors
    /// Those of all: see [`ReplicationManager`].
    fn get_stats(&self) -> impl Future<Output = HaResult<ReplicationStats>> + Send;
    /// The replicas that were added, as they stand, those of the highest priority first. One that the node knows no more is failed, and its lag unknown.
    ///
    /// # Errors
    /// Those of all: see [`ReplicationManager`].
    fn get_replicas(&self) -> impl Future<Output = HaResult<Vec<ReplicaNode>>> + Send;
    /// Adds a member of the mesh as a replica.
    ///
    /// # Errors
    /// [`HaError::Itself`], [`HaError::UnknownReplica`] (no member), [`HaError::OtherAddress`]; too many are watched already.
    fn add_replica(&self, replica: ReplicaNode) -> impl Future<Output = HaResult<()>> + Send;
    /// Takes a replica away. The member stays a member, and gets what others send it.
    ///
    /// # Errors
    /// [`HaError::UnknownReplica`].
    fn remove_replica(&self, id: Uuid) -> impl Future<Output = HaResult<()>> + Send;
    /// Has the node exchange nothing with a replica, until it is resumed; that survives a restart.
    ///
    /// # Errors
    /// [`HaError::UnknownReplica`].
    fn pause_replica(&self, id: Uuid) -> impl Future<Output = HaResult<()>> + Send;
    /// Has the node exchange with it again.
    ///
    /// # Errors
    /// [`HaError::UnknownReplica`].
    fn resume_replica(&self, id: Uuid) -> impl Future<Output = HaResult<()>> + Send;
}

/// Replicates events from one node to others.
///
/// ```no_run
/// use oxigdal_ha::replication::{ActiveActiveReplication, ReplicationConfig, ReplicationEvent, ReplicationManager as _};
///
/// # async fn replicate(mesh: oxigdal_ha::Mesh, replica: uuid::Uuid) -> oxigdal_ha::HaResult<()> {
/// let node_id = mesh.id().uuid();
/// let replication = ActiveActiveReplication::new(node_id, ReplicationConfig::default());
/// replication.start().await?;
/// replication.replicate(ReplicationEvent::new(node_id, replica, vec![1, 2, 3, 4, 5], 1)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ActiveActiveReplication {
    node: Uuid,
    config: ReplicationConfig,
    shared: Arc<Shared>,
    changes: broadcast::Sender<LagChange>,
}

#[derive(Debug)]
struct Shared(Mutex<State>);

#[derive(Debug)]
struct State {
    started: Option<Started>,
    replicas: BTreeMap<Uuid, ReplicaNode>,
    monitor: LagMonitor,
    stats: ReplicationStats,
    sequence: u64,
}

#[derive(Debug)]
struct Started {
    bound: Bound,
    at: Instant,
    sampler: JoinHandle<()>,
}

impl Drop for Started {
    fn drop(&mut self) {
        self.sampler.abort();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a node says of a replica.
#[derive(Deserialize)]
struct Known {
    id: NodeId,
    state: String,
    last_replicated_at: Option<WallTime>,
    lag_ms: u64,
    known: bool,
}

impl Known {
    fn state(&self) -> ReplicationState {
        match self.state.as_str() {
            "catching_up" => ReplicationState::CatchingUp,
            "active" => ReplicationState::Active,
            "paused" => ReplicationState::Paused,
            "failed" => ReplicationState::Failed,
            _ => ReplicationState::Initializing,
        }
    }
}

/// What of a node's status says who is a member.
#[derive(Deserialize)]
struct Members {
    members: Vec<Member>,
}

#[derive(Deserialize)]
struct Member {
    node: NodeId,
    addresses: Vec<String>,
}

impl ActiveActiveReplication {
    /// For the node of this id. Nothing is asked before [`start`](ReplicationManager::start).
    #[must_use]
    pub fn new(node_id: Uuid, config: ReplicationConfig) -> Self {
        let thresholds = LagMonitorConfig {
            warning_threshold_ms: config.max_lag_ms,
            critical_threshold_ms: config.max_lag_ms.saturating_mul(2),
            ..LagMonitorConfig::default()
        };
        Self::with_monitor(node_id, config, thresholds)
    }

    /// The same, with thresholds of its own for lag.
    #[must_use]
    pub fn with_monitor(node_id: Uuid, config: ReplicationConfig, monitor: LagMonitorConfig) -> Self {
        let state = State {
            started: None,
            replicas: BTreeMap::new(),
            monitor: LagMonitor::new(monitor),
            stats: ReplicationStats::default(),
            sequence: 0,
        };
        let changes = broadcast::channel(CHANGES_MAX).0;
        Self { node: node_id, config, shared: Arc::new(Shared(Mutex::new(state))), changes }
    }

    /// The node.
    #[must_use]
    pub fn node_id(&self) -> Uuid {
        self.node
    }

    /// As it was made.
    #[must_use]
    pub fn config(&self) -> &ReplicationConfig {
        &self.config
    }

    /// The next number for an event, from 1 on. It is remembered nowhere.
    pub fn next_sequence(&self) -> u64 {
        let mut state = self.shared.lock();
        state.sequence += 1;
        state.sequence
    }

    /// Events for this node, from the beginning of what is kept, or behind a place.
    ///
    /// # Errors
    /// [`HaError::NotStarted`].
    pub fn received(&self, behind: Option<Cursor>) -> HaResult<Received> {
        let from = behind.map_or(Begin::Start, Begin::Cursor);
        Ok(Received::new(self.bound()?, stream(self.node), from))
    }

    /// What passes a threshold of lag from now on.
    #[must_use]
    pub fn lag_changes(&self) -> broadcast::Receiver<LagChange> {
        self.changes.subscribe()
    }

    /// What is remembered of a replica's lag; nothing of one that was not measured yet.
    #[must_use]
    pub fn lag_stats(&self, id: Uuid) -> Option<LagStats> {
        self.shared.lock().monitor.get_stats(NodeId::from_uuid(id))
    }

    /// Whether all replicas are within `max_lag_ms`.
    ///
    /// # Errors
    /// [`HaError::ReplicationLagExceeded`] for the one that lags most; [`HaError::ReplicationLagUnknown`] if none is known to lag too
    /// much, and of one it is not known; else as [`get_replicas`](ReplicationManager::get_replicas).
    pub async fn check_health(&self) -> HaResult<()> {
        health(&self.get_replicas().await?, self.config.max_lag_ms)
    }

    fn bound(&self) -> HaResult<Bound> {
        self.shared.lock().started.as_ref().map(|started| started.bound.clone()).ok_or(HaError::NotStarted)
    }

    /// Whether an event may go, before anything is written.
    fn check(&self, event: &ReplicationEvent) -> HaResult<()> {
        event.check()?;
        if event.source_node_id != self.node {
            return Err(HaError::OtherSource { found: event.source_node_id, node: self.node });
        }
        let id = event.target_node_id;
        let state = self.shared.lock();
        let replica = state.replicas.get(&id).ok_or(HaError::UnknownReplica { id })?;
        if replica.state == ReplicationState::Paused { Err(HaError::Paused { id }) } else { Ok(()) }
    }

    /// Appends what goes together, and tries again where the node is only busy: from the one on that it was too busy for. Gives how
    /// many were done, and why the others were not.
    async fn append(&self, bound: &Bound, target: Uuid, events: &[ReplicationEvent]) -> (usize, HaResult<()>) {
        let (stream, ack) = (stream(target), self.config.mode.ack());
        let bodies: Vec<Bytes> = events.iter().map(|event| event.encode().into()).collect();
        let first = (self.config.max_retries, Duration::from_millis(self.config.retry_backoff_ms));
        let (mut done, (mut retries, mut pause)) = (0, first);
        loop {
            let (more, result) = bound.append(&stream, &bodies[done..], ack).await;
            done += more;
            if more > 0 {
                // What is refused now was not refused before.
                (retries, pause) = first;
            }
            match result {
                Err(error) if error.is_passing() && retries > 0 => tracing::debug!(%error, "an event is tried again"),
                result => return (done, result),
            }
            tokio::time::sleep(pause).await;
            (retries, pause) = (retries - 1, pause.saturating_mul(2));
        }
    }

    async fn send(&self, bound: &Bound, target: Uuid, events: &[ReplicationEvent]) -> HaResult<()> {
        let (done, result) = self.append(bound, target, events).await;
        let (done, failed) = events.split_at(done);
        let mut state = self.shared.lock();
        state.stats.events_replicated += done.len() as u64;
        state.stats.bytes_replicated += done.iter().map(|event| event.data.len() as u64).sum::<u64>();
        state.stats.events_failed += failed.len() as u64;
        result
    }

    /// Sends what was checked.
    pub(super) async fn send_all(&self, events: Vec<ReplicationEvent>) -> HaResult<()> {
        let bound = self.bound()?;
        let mut targets: BTreeMap<Uuid, Vec<ReplicationEvent>> = BTreeMap::new();
        events.into_iter().for_each(|event| targets.entry(event.target_node_id).or_default().push(event));
        let mut targets: Vec<(Uuid, Vec<ReplicationEvent>)> = targets.into_iter().collect();
        let preference = |id: &Uuid| self.shared.lock().replicas.get(id).map_or(0, |replica| replica.priority);
        targets.sort_by_cached_key(|(id, _)| std::cmp::Reverse(preference(id)));
        for (target, events) in targets {
            for batch in batches(&events, self.config.batch_size()) {
                self.send(&bound, target, batch).await?;
            }
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn stats(&self) -> ReplicationStats {
        self.shared.lock().stats
    }

    /// Begins with a node, and watches the lag of replicas there.
    pub(super) fn begin(&self, bound: Bound) {
        let every = Duration::from_millis(self.shared.lock().monitor.config().interval_ms.max(10));
        let (shared, changes) = (Arc::downgrade(&self.shared), self.changes.clone());
        let watched = bound.clone();
        let sampler = tokio::spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                let Some(shared) = shared.upgrade() else { return };
                if let Err(error) = look(&watched, &shared, &changes).await {
                    // It is looked again.
                    tracing::debug!(%error, "the lag of replicas is not known");
                }
            }
        });
        self.shared.lock().started = Some(Started { bound, at: Instant::now(), sampler });
    }

    async fn set_paused(&self, id: Uuid, paused: bool) -> HaResult<()> {
        let bound = self.bound()?;
        if !self.shared.lock().replicas.contains_key(&id) {
            return Err(HaError::UnknownReplica { id });
        }
        let question = Question::Pause(Pause { peer: NodeId::from_uuid(id), paused });
        let _: serde_json::Value = bound.ask(question).await?;
        look(&bound, &self.shared, &self.changes).await
    }
}

impl ReplicationManager for ActiveActiveReplication {
    async fn start(&self) -> HaResult<()> {
        self.begin(Bound::to(Some(self.node)).await?);
        Ok(())
    }

    async fn stop(&self) -> HaResult<()> {
        self.shared.lock().started.take().map(drop).ok_or(HaError::NotStarted)
    }

    async fn replicate(&self, event: ReplicationEvent) -> HaResult<()> {
        self.bound()?;
        self.check(&event)?;
        self.send_all(vec![event]).await
    }

    async fn replicate_batch(&self, events: Vec<ReplicationEvent>) -> HaResult<()> {
        self.bound()?;
        events.iter().try_for_each(|event| self.check(event))?;
        self.send_all(events).await
    }

    async fn get_stats(&self) -> HaResult<ReplicationStats> {
        look(&self.bound()?, &self.shared, &self.changes).await?;
        let state = self.shared.lock();
        let mut stats = state.stats;
        let lags: Vec<LagStats> =
            state.replicas.keys().filter_map(|id| state.monitor.get_stats(NodeId::from_uuid(*id))).collect();
        stats.current_lag_ms = lags.iter().map(|lag| lag.current_ms).max().unwrap_or(0);
        stats.peak_lag_ms = lags.iter().map(|lag| lag.max_ms).max().unwrap_or(0);
        if !lags.is_empty() {
            stats.average_lag_ms = lags.iter().map(|lag| lag.average_ms).sum::<f64>() / lags.len() as f64;
        }
        let seconds = state.started.as_ref().map_or(0.0, |started| started.at.elapsed().as_secs_f64());
        if seconds > 0.0 {
            stats.throughput_eps = stats.events_replicated as f64 / seconds;
            stats.bandwidth_bps = 8.0 * stats.bytes_replicated as f64 / seconds;
        }
        Ok(stats)
    }

    async fn get_replicas(&self) -> HaResult<Vec<ReplicaNode>> {
        look(&self.bound()?, &self.shared, &self.changes).await?;
        let mut replicas: Vec<ReplicaNode> = self.shared.lock().replicas.values().cloned().collect();
        replicas.sort_by_key(|replica| std::cmp::Reverse(replica.priority));
        Ok(replicas)
    }

    async fn add_replica(&self, replica: ReplicaNode) -> HaResult<()> {
        let (bound, id) = (self.bound()?, replica.id);
        if id == bound.node().uuid() {
            return Err(HaError::Itself { id });
        }
        let Members { members } = bound.ask(Question::Status).await?;
        let member = members.into_iter().find(|member| member.node.uuid() == id);
        let member = member.ok_or(HaError::UnknownReplica { id })?;
        let given = address(&replica.address).ok();
        let is_there = given.is_some_and(|given| member.addresses.iter().any(|known| is_at(known, given.as_str())));
        if !replica.address.is_empty() && !is_there {
            return Err(HaError::OtherAddress { id, given: replica.address, known: member.addresses.join(", ") });
        }
        {
            let mut state = self.shared.lock();
            if state.replicas.len() >= REPLICAS_MAX && !state.replicas.contains_key(&id) {
                let why = format!("{REPLICAS_MAX} replicas are watched already");
                return Err(crate::error::Error::new(ErrorKind::TooLarge, why).into());
            }
            let unknown = ReplicationState::Initializing;
            let replica = ReplicaNode { state: unknown, last_replicated_at: None, lag_ms: None, ..replica };
            state.replicas.insert(id, replica);
        }
        look(&bound, &self.shared, &self.changes).await
    }

    async fn remove_replica(&self, id: Uuid) -> HaResult<()> {
        self.bound()?;
        let mut state = self.shared.lock();
        state.monitor.forget(NodeId::from_uuid(id));
        state.replicas.remove(&id).map(drop).ok_or(HaError::UnknownReplica { id })
    }

    async fn pause_replica(&self, id: Uuid) -> HaResult<()> {
        self.set_paused(id, true).await
    }

    async fn resume_replica(&self, id: Uuid) -> HaResult<()> {
        self.set_paused(id, false).await
    }
}

/// Looks how far the replicas are, and remembers it.
async fn look(bound: &Bound, shared: &Shared, changes: &broadcast::Sender<LagChange>) -> HaResult<()> {
    let known: Vec<Known> = bound.ask(Question::Replicas).await?;
    let told = shared.lock().take_in(&known, Clock::start().now().wall);
    for change in told {
        // Nobody may listen.
        let _ = changes.send(change);
    }
    Ok(())
}

impl State {
    /// Remembers what a node says of all replicas that it knows; gives what passed a threshold.
    fn take_in(&mut self, known: &[Known], now: WallTime) -> Vec<LagChange> {
        let known: BTreeMap<Uuid, &Known> = known.iter().map(|it| (it.id.uuid(), it)).collect();
        let mut changes = Vec::new();
        for (id, replica) in &mut self.replicas {
            let Some(it) = known.get(id) else {
                // It is no member any more: what was measured is of one that there is not.
                (replica.state, replica.lag_ms) = (ReplicationState::Failed, None);
                self.monitor.forget(NodeId::from_uuid(*id));
                continue;
            };
            (replica.state, replica.last_replicated_at) = (it.state(), it.last_replicated_at);
            replica.lag_ms = it.known.then_some(it.lag_ms);
            if it.known {
                changes.extend(self.monitor.record_lag(it.id, it.lag_ms, now));
            }
        }
        changes
    }
}

/// As [`check_health`](ActiveActiveReplication::check_health).
fn health(replicas: &[ReplicaNode], threshold_ms: u64) -> HaResult<()> {
    let worst = replicas.iter().filter_map(|replica| Some((replica.lag_ms?, replica.id))).max();
    let unknown = replicas.iter().find(|replica| replica.lag_ms.is_none());
    match (worst, unknown) {
        (Some((lag_ms, id)), _) if lag_ms > threshold_ms => {
            Err(HaError::ReplicationLagExceeded { id, lag_ms, threshold_ms })
        }
        (_, Some(ReplicaNode { id, state, .. })) => Err(HaError::ReplicationLagUnknown { id: *id, state: *state }),
        _ => Ok(()),
    }
}

/// Whether a member that tells `known` is at `given`: who gives no peer's id means whoever is there.
fn is_at(known: &str, given: &str) -> bool {
    let end = known.rsplit_once("/p2p/");
    known == given || end.is_some_and(|(place, _)| place == given && !place.contains("/p2p-circuit"))
}

/// The stream of events for a node.
fn stream(target: Uuid) -> Name {
    Name::parse(&format!("replication/{target}")).expect("a UUID is a segment of a path")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(id: u128, lag_ms: u64, known: bool) -> Known {
        Known { id: NodeId::from_u128(id), state: "active".to_owned(), last_replicated_at: None, lag_ms, known }
    }

    #[test]
    fn a_member_is_at_an_address_without_its_id_and_with_no_other() {
        let given = |text: &str| address(text).unwrap();
        let known = "/ip4/127.0.0.1/tcp/4747/p2p/12D3KooWA";
        for text in ["127.0.0.1:4747", "/ip4/127.0.0.1/tcp/4747", known] {
            assert!(is_at(known, given(text).as_str()), "{text}");
        }
        for text in ["127.0.0.1:4748", "/ip4/127.0.0.1/tcp/4747/p2p/12D3KooWB", "127.0.0.1:474"] {
            assert!(!is_at(known, given(text).as_str()), "{text}");
        }
        assert!(is_at("/ip4/127.0.0.1/tcp/4747", "/ip4/127.0.0.1/tcp/4747"));
    }

    #[test]
    fn a_replica_of_which_nothing_is_known_is_not_well() {
        let manager = ActiveActiveReplication::new(Uuid::from_u128(1), ReplicationConfig::default());
        let mut state = manager.shared.lock();
        for id in [2, 3] {
            let id = Uuid::from_u128(id);
            let (name, address, state_of) = (String::new(), String::new(), ReplicationState::Initializing);
            let (last_replicated_at, lag_ms) = (None, None);
            let replica = ReplicaNode { id, name, address, priority: 0, state: state_of, last_replicated_at, lag_ms };
            state.replicas.insert(id, replica);
        }
        let mut asked = |known: &[Known]| {
            state.take_in(known, WallTime::from_micros(1));
            let replicas: Vec<_> = state.replicas.values().cloned().collect();
            let measured = state.monitor.get_stats(NodeId::from_u128(3)).is_some();
            (health(&replicas, 100), replicas, measured)
        };
        let (well, _, measured) = asked(&[known(2, 0, true), known(3, 100, true), known(4, 900, true)]);
        assert!(well.is_ok() && measured, "{well:?}; what was not added does not count");
        let third = Uuid::from_u128(3);
        let (unsure, ..) = asked(&[known(2, 0, true), known(3, 0, false)]);
        assert!(matches!(unsure, Err(HaError::ReplicationLagUnknown { id, .. }) if id == third), "{unsure:?}");
        let (lags, ..) = asked(&[known(2, 101, true), known(3, 0, false)]);
        assert!(matches!(lags, Err(HaError::ReplicationLagExceeded { lag_ms: 101, .. })), "{lags:?}");
        let (gone, replicas, measured) = asked(&[known(2, 0, true)]);
        assert!(matches!(gone, Err(HaError::ReplicationLagUnknown { id, .. }) if id == third), "{gone:?}");
        assert_eq!((replicas[1].state, replicas[1].lag_ms, measured), (ReplicationState::Failed, None, false));
    }
}

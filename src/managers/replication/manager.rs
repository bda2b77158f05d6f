//! The manager: replicas that were named, events that are appended for them, and how far they are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use uuid::Uuid;

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

/// What replicates events. The one implementer is [`ActiveActiveReplication`].
pub trait ReplicationManager {
    /// Binds to the node, and begins to watch the lag of replicas.
    fn start(&self) -> impl Future<Output = HaResult<()>> + Send;
    /// Ends that. It may be started again.
    fn stop(&self) -> impl Future<Output = HaResult<()>> + Send;
    /// Replicates an event: it is acknowledged as the mode wants when this returns.
    fn replicate(&self, event: ReplicationEvent) -> impl Future<Output = HaResult<()>> + Send;
    /// Replicates events, up to `batch_size` at once: at a node of this process all that go together are done or none; at one behind its
    /// interface each goes by itself. Those before the one that fails stay done.
    fn replicate_batch(&self, events: Vec<ReplicationEvent>) -> impl Future<Output = HaResult<()>> + Send;
    /// How it goes.
    fn get_stats(&self) -> impl Future<Output = HaResult<ReplicationStats>> + Send;
    /// The replicas that were added, as they stand.
    fn get_replicas(&self) -> impl Future<Output = HaResult<Vec<ReplicaNode>>> + Send;
    /// Adds a member of the mesh as a replica.
    fn add_replica(&self, replica: ReplicaNode) -> impl Future<Output = HaResult<()>> + Send;
    /// Takes a replica away. The member stays a member, and gets what others send it.
    fn remove_replica(&self, id: Uuid) -> impl Future<Output = HaResult<()>> + Send;
    /// Has the node exchange nothing with a replica, until it is resumed; that survives a restart.
    fn pause_replica(&self, id: Uuid) -> impl Future<Output = HaResult<()>> + Send;
    /// Has the node exchange with it again.
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
    /// [`HaError::ReplicationLagExceeded`] for the one that lags most, or why that is not known.
    pub async fn check_health(&self) -> HaResult<()> {
        let replicas = self.get_replicas().await?;
        let worst = replicas.iter().filter_map(|replica| Some((replica.lag_ms?, replica.id))).max();
        match worst {
            Some((lag_ms, id)) if lag_ms > self.config.max_lag_ms => {
                Err(HaError::ReplicationLagExceeded { id, lag_ms, threshold_ms: self.config.max_lag_ms })
            }
            _ => Ok(()),
        }
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

    /// Appends what goes together, and tries again where the node is only busy.
    async fn append(&self, target: Uuid, events: &[ReplicationEvent]) -> HaResult<()> {
        let (bound, stream, ack) = (self.bound()?, stream(target), self.config.mode.ack());
        let bodies: Vec<Bytes> = events.iter().map(|event| event.encode().into()).collect();
        let mut pause = Duration::from_millis(self.config.retry_backoff_ms);
        for _ in 0..self.config.max_retries {
            match bound.append(&stream, bodies.clone(), ack).await {
                Err(error) if error.is_passing() => tracing::debug!(%error, "an event is tried again"),
                done => return done,
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2);
        }
        bound.append(&stream, bodies, ack).await
    }

    async fn send(&self, target: Uuid, events: &[ReplicationEvent]) -> HaResult<()> {
        let done = self.append(target, events).await;
        let (count, bytes) = (events.len() as u64, events.iter().map(|event| event.data.len() as u64).sum::<u64>());
        let mut state = self.shared.lock();
        match &done {
            Ok(()) => {
                (state.stats.events_replicated, state.stats.bytes_replicated) =
                    (state.stats.events_replicated + count, state.stats.bytes_replicated + bytes)
            }
            Err(_) => state.stats.events_failed += count,
        }
        done
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
        let bound = Bound::to(Some(self.node)).await?;
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
        Ok(())
    }

    async fn stop(&self) -> HaResult<()> {
        self.shared.lock().started.take().map(drop).ok_or(HaError::NotStarted)
    }

    async fn replicate(&self, event: ReplicationEvent) -> HaResult<()> {
        self.bound()?;
        self.check(&event)?;
        self.send(event.target_node_id, &[event]).await
    }

    async fn replicate_batch(&self, events: Vec<ReplicationEvent>) -> HaResult<()> {
        self.bound()?;
        events.iter().try_for_each(|event| self.check(event))?;
        let mut targets: BTreeMap<Uuid, Vec<ReplicationEvent>> = BTreeMap::new();
        events.into_iter().for_each(|event| targets.entry(event.target_node_id).or_default().push(event));
        for (target, events) in targets {
            for batch in events.chunks(self.config.batch_size()) {
                self.send(target, batch).await?;
            }
        }
        Ok(())
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
        Ok(self.shared.lock().replicas.values().cloned().collect())
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
        let is_there = given.is_some_and(|given| member.addresses.iter().any(|known| known == given.as_str()));
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
    let now = Clock::start().now().wall;
    let mut state = shared.lock();
    for it in known {
        let Some(replica) = state.replicas.get_mut(&it.id.uuid()) else { continue };
        (replica.state, replica.last_replicated_at) = (it.state(), it.last_replicated_at);
        replica.lag_ms = it.known.then_some(it.lag_ms);
        if it.known
            && let Some(change) = state.monitor.record_lag(it.id, it.lag_ms, now)
        {
            // Nobody may listen.
            let _ = changes.send(change);
        }
    }
    Ok(())
}

/// The stream of events for a node.
fn stream(target: Uuid) -> Name {
    Name::parse(&format!("replication/{target}")).expect("a UUID is a segment of a path")
}

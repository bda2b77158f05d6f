//! Who has failed, as a node sees it: SWIM finds that, and this listens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::config::FailoverConfig;
use crate::managers::bound::{Bound, Question};
use crate::managers::error::{HaError, HaResult};
use crate::types::NodeId;

/// Failures that a slow listener may be behind.
const FAILURES_MAX: usize = 256;

/// How a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// It answers.
    Healthy,
    /// Somebody could not reach it; or it takes no writes.
    Degraded,
    /// It is taken for dead, or has left.
    Unhealthy,
    /// The node did not say in time.
    Unknown,
}

/// What is known of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FailureDetection {
    /// Who.
    pub node_id: Uuid,
    /// Whether it is taken for failed: dead by the word of the mesh, or suspect for longer than `heartbeat_timeout_ms`. One that said
    /// goodbye has not failed.
    pub is_failed: bool,
    /// For how long it has been as it is, in milliseconds; of one that is not healthy, since it was missed.
    pub since_ms: u64,
    /// Round trip of the last probe that it answered, in microseconds.
    pub rtt_us: Option<u64>,
    /// How it is.
    pub health_status: HealthStatus,
}

/// Listens to what a node says of the others. Heartbeats are the node's probes: nobody has to send any.
#[derive(Debug)]
pub struct FailureDetector {
    node: Option<Uuid>,
    config: FailoverConfig,
    known: Arc<Known>,
    failures: broadcast::Sender<FailureDetection>,
    running: Mutex<Option<Running>>,
}

type Known = Mutex<BTreeMap<Uuid, FailureDetection>>;

#[derive(Debug)]
struct Running(JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Deserialize)]
struct Members {
    node: NodeId,
    members: Vec<Member>,
}

#[derive(Deserialize)]
struct Member {
    node: NodeId,
    state: String,
    since_ms: u64,
    rtt_us: Option<u64>,
    read_only: bool,
}

impl FailureDetector {
    /// Of the node of this process that was started first, or the one that the environment names.
    #[must_use]
    pub fn new(config: FailoverConfig) -> Self {
        let failures = broadcast::channel(FAILURES_MAX).0;
        Self { node: None, config, known: Arc::default(), failures, running: Mutex::default() }
    }

    /// Of this node.
    ///
    /// ```no_run
    /// # async fn example(node: uuid::Uuid) -> oxigdal_ha::HaResult<()> {
    /// use oxigdal_ha::failover::{FailoverConfig, detection::FailureDetector};
    ///
    /// let detector = FailureDetector::of_node(node, FailoverConfig::default());
    /// let mut failures = detector.get_failure_receiver();
    /// detector.start().await?;
    /// while let Ok(failure) = failures.recv().await {
    ///     println!("{failure:?}");
    /// }
    /// detector.stop().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn of_node(node_id: Uuid, config: FailoverConfig) -> Self {
        Self { node: Some(node_id), ..Self::new(config) }
    }

    /// Binds to the node and begins to listen: what it knows now is known when this returns.
    ///
    /// # Errors
    /// [`HaError::NoPeer`], [`HaError::OtherPeer`], or why the node does not answer. Nothing runs then.
    pub async fn start(&self) -> HaResult<()> {
        self.listen(Bound::to(self.node).await?).await
    }

    async fn listen(&self, bound: Bound) -> HaResult<()> {
        look(&bound, &self.config, &self.known, &self.failures).await?;
        let (config, known, failures) = (self.config.clone(), Arc::clone(&self.known), self.failures.clone());
        let patience = Duration::from_millis(self.config.health_check_timeout_ms.max(1));
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(config.interval()).await;
                let looked = tokio::time::timeout(patience, look(&bound, &config, &known, &failures)).await;
                if !matches!(looked, Ok(Ok(()))) {
                    lock(&known).values_mut().for_each(|it| it.health_status = HealthStatus::Unknown);
                }
            }
        });
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(Running(task));
        Ok(())
    }

    /// Ends that. What was known stays known.
    ///
    /// # Errors
    /// [`HaError::NotStarted`].
    pub async fn stop(&self) -> HaResult<()> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        running.map(drop).ok_or(HaError::NotStarted)
    }

    /// What is known of a member; nothing of one that is none.
    ///
    /// ```no_run
    /// # async fn example(node: uuid::Uuid) -> oxigdal_ha::HaResult<()> {
    /// use oxigdal_ha::failover::{FailoverConfig, detection::FailureDetector};
    ///
    /// let detector = FailureDetector::new(FailoverConfig::default());
    /// detector.start().await?;
    /// for node in detector.get_monitored_nodes() {
    ///     println!("{node}: {:?}", detector.get_detection(node));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn get_detection(&self, node_id: Uuid) -> Option<FailureDetection> {
        lock(&self.known).get(&node_id).copied()
    }

    /// The other members, in order.
    #[must_use]
    pub fn get_monitored_nodes(&self) -> Vec<Uuid> {
        lock(&self.known).keys().copied().collect()
    }

    /// Members that fail from now on, each once until it is well again.
    #[must_use]
    pub fn get_failure_receiver(&self) -> broadcast::Receiver<FailureDetection> {
        self.failures.subscribe()
    }
}

fn lock(known: &Known) -> MutexGuard<'_, BTreeMap<Uuid, FailureDetection>> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn look(
    bound: &Bound,
    config: &FailoverConfig,
    known: &Known,
    failures: &broadcast::Sender<FailureDetection>,
) -> HaResult<()> {
    let Members { node, members } = bound.ask(Question::Status).await?;
    let others = members.iter().filter(|member| member.node != node);
    let found: BTreeMap<_, _> = others.map(|member| (member.node.uuid(), detection(member, config))).collect();
    let mut known = lock(known);
    for (id, now) in &found {
        if now.is_failed && !known.get(id).is_some_and(|before| before.is_failed) {
            // Nobody may listen.
            let _ = failures.send(*now);
        }
    }
    *known = found;
    Ok(())
}

fn detection(member: &Member, config: &FailoverConfig) -> FailureDetection {
    let health_status = match member.state.as_str() {
        "alive" if member.read_only => HealthStatus::Degraded,
        "alive" => HealthStatus::Healthy,
        "suspect" => HealthStatus::Degraded,
        _ => HealthStatus::Unhealthy,
    };
    let is_failed =
        member.state == "dead" || (member.state == "suspect" && member.since_ms > config.heartbeat_timeout_ms);
    let Member { node, since_ms, rtt_us, .. } = *member;
    FailureDetection { node_id: node.uuid(), is_failed, since_ms, rtt_us, health_status }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::path::Path;

    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::watch;

    use super::*;
    use crate::config::{Config, Flags, parse};
    use crate::driver::mesh::Mesh;
    use crate::managers::api::Api;

    const WAIT: Duration = Duration::from_secs(60);

    fn node(dir: &Path, name: &str, join: Option<&str>) -> Config {
        let flags = Flags::new()
            .set("test", "node.name", name)
            .set("test", "node.data-dir", dir.join(name).to_str().unwrap())
            .set("test", "api.listen", "127.0.0.1:0")
            .set("test", "membership.profile", "local")
            .list("test", "network.listen", ["127.0.0.1:0"])
            .list("test", "network.join", join);
        parse(None, [], &flags).unwrap()
    }

    /// Passes connections on to an address, and nothing any more once it is cut: nobody is told.
    async fn relay(to: SocketAddr) -> (SocketAddr, watch::Sender<bool>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (at, (cut, is_cut)) = (listener.local_addr().unwrap(), watch::channel(false));
        tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut is_cut = is_cut.clone();
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(to).await.unwrap();
                    tokio::select! {
                        biased;
                        () = async { is_cut.wait_for(|cut| *cut).await.map(drop).unwrap() } => std::future::pending().await,
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                    }
                });
            }
        });
        (at, cut)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_node_that_does_not_answer_within_the_timeout_leaves_its_members_unknown() {
        let test = async {
            let dir = tempfile::tempdir().unwrap();
            let one = Mesh::builder(node(dir.path(), "one", None)).start().await.unwrap();
            let invite = one.invite(WAIT).unwrap();
            let two = Mesh::builder(node(dir.path(), "two", Some(&invite))).start().await.unwrap();
            let (at, cut) = relay(one.peer().api().unwrap()).await;
            // Neither is told when the way is cut. One is patient for longer than this test.
            let detectors = [20, 3_600_000].map(|health_check_timeout_ms| {
                let config = FailoverConfig {
                    health_check_timeout_ms,
                    health_check_interval_ms: 20,
                    ..FailoverConfig::default()
                };
                FailureDetector::new(config)
            });
            let is = |detector: &FailureDetector, status| {
                detector.get_detection(two.id().uuid()).is_some_and(|it| it.health_status == status)
            };
            for detector in &detectors {
                detector.listen(Bound::behind(one.id(), Api::at(&at.to_string(), None))).await.unwrap();
                while !is(detector, HealthStatus::Healthy) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
            cut.send(true).unwrap();
            while !is(&detectors[0], HealthStatus::Unknown) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            // The other one began to look not much later: with the same patience it would have lost it by then.
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert!(is(&detectors[1], HealthStatus::Healthy), "it is waited for still");
        };
        tokio::time::timeout(WAIT, test).await.unwrap();
    }

    #[test]
    fn a_suspect_has_failed_after_the_timeout_and_who_left_has_not() {
        let detection = |state: &str, since_ms, timeout| {
            let config = FailoverConfig { heartbeat_timeout_ms: timeout, ..FailoverConfig::default() };
            let node = NodeId::from_u128(1);
            let member = Member { node, state: state.into(), since_ms, rtt_us: None, read_only: false };
            let found = detection(&member, &config);
            (found.is_failed, found.health_status)
        };
        assert_eq!(detection("alive", 9_000, 5_000), (false, HealthStatus::Healthy));
        assert_eq!(detection("suspect", 5_000, 5_000), (false, HealthStatus::Degraded));
        assert_eq!(detection("suspect", 5_001, 5_000), (true, HealthStatus::Degraded));
        assert_eq!(detection("suspect", 5_001, 6_000), (false, HealthStatus::Degraded));
        assert_eq!(detection("dead", 0, 5_000), (true, HealthStatus::Unhealthy));
        assert_eq!(detection("left", 9_000, 5_000), (false, HealthStatus::Unhealthy));
    }
}

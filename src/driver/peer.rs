//! The handle that an embedding program holds: commands, events, status, shutdown.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, oneshot, watch};
use tokio::time::Instant;

use super::admission::{Admission, Papers};
use super::archive::{self, ArchiveStatus};
use super::clock::Clock;
use super::errands::Errands;
use super::history::History;
use super::network::{LinkStatus, NetworkView, NotLinked, Totals};
use super::recorder::{Fate, Recording};
use super::revert::{Revert, Reverted};
use super::rules::RoleRules;
use super::schedule::{self, Schedules};
use super::scrub::ScrubStatus;
use super::workers;
use crate::config::{Cluster, Terms};
use crate::documents::{self, Checks, Edit};
use crate::error::{Error, ErrorKind};
use crate::events;
use crate::node::{Command, CommandError, Copies, Event, Outcome, Status};
use crate::replication::Ack;
use crate::types::{Address, Digest, DocId, NodeId};

/// Commands that wait for the loop at most; who asks then waits too.
pub(super) const ASKS_MAX: usize = 1_024;

/// Bytes of edits that are not answered yet at most; one edit is taken whatever its size, and who comes after it waits.
pub(super) const EDIT_BYTES_MAX: usize = 32 << 20;

/// What edits are counted in.
const EDIT_UNIT: usize = 1 << 10;

/// For so long at least is waited for work for clients that is to end.
const ERRANDS_MIN: Duration = Duration::from_secs(1);

/// Events that a slow subscriber may be behind before it loses some and is told how many.
pub(super) const EVENTS_MAX: usize = 4_096;

/// A running peer. Cheap to clone; when the last clone is dropped, the peer stops without saying goodbye.
#[derive(Clone)]
pub struct Peer {
    link: Link,
    stop: Arc<StopOnDrop>,
}

/// How far a peer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Phase {
    /// It reads its log.
    Booting,
    /// It serves.
    Ready,
    /// It said goodbye and is about to stop.
    Leaving,
    /// It stopped; nothing of it runs any more.
    Stopped,
}

/// Why a peer has stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// It said goodbye to the mesh.
    Left,
    /// It was told to, without a goodbye.
    Halted,
    /// It could not go on.
    Failed(String),
}

/// How a peer stands: the node's own knowledge, and its host's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The node.
    #[serde(flatten)]
    pub node: Status,
    /// Its host.
    pub host: Host,
    /// Its links.
    pub network: Links,
    /// Its papers.
    pub admission: Papers,
}

/// With whom a peer is linked, and with whom it is not and why.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Links {
    /// The links, in order of node id.
    pub links: Vec<LinkStatus>,
    /// Those that were tried in vain lately, refusals first.
    pub not_linked: Vec<NotLinked>,
    /// Counted since the start.
    pub totals: Totals,
}

/// What the driver knows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Host {
    /// How far it has come.
    pub phase: Phase,
    /// Milliseconds since the start.
    pub uptime_ms: u64,
    /// Where it listens for peers.
    pub listen: Vec<Address>,
    /// Where the HTTP interface is served.
    pub api: Option<SocketAddr>,
    /// Where it keeps its data.
    pub data_dir: PathBuf,
    /// What its configuration says of what all peers must have alike.
    pub terms: Terms,
    /// Equal on two peers if and only if their terms are.
    pub fingerprint: Digest,
    /// What its configuration says of roles.
    pub roles: RoleRules,
    /// Inputs handled.
    pub turns: u64,
    /// The longest that a due timer had to wait for the loop, in microseconds.
    pub lag_max_us: u64,
    /// The longest that one input and its effects took, in microseconds.
    pub turn_max_us: u64,
    /// The longest task of a merge worker, in microseconds.
    pub task_max_us: u64,
    /// Tasks that panicked; each was contained and its command failed.
    pub task_panics: u64,
    /// What is recorded of it, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recording: Option<Recording>,
    /// How its archive stands, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive: Option<ArchiveStatus>,
    /// The backups that it takes by schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backups: Option<Schedules>,
    /// How its log stands before the snapshot that its start went on from, if it did not read that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scrub: Option<ScrubStatus>,
    /// It began with nothing, or out of a recovery, and does not have all yet that its neighbours hold.
    pub filling: bool,
}

/// Events, from the moment of subscribing.
#[derive(Debug)]
pub struct Events(broadcast::Receiver<Arc<Event>>);

impl Events {
    /// The next event; `Err` says how many were lost because this subscriber was too slow. `None` when the peer stopped.
    pub async fn next(&mut self) -> Option<Result<Arc<Event>, u64>> {
        match self.0.recv().await {
            Ok(event) => Some(Ok(event)),
            Err(broadcast::error::RecvError::Lagged(lost)) => Some(Err(lost)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

impl Peer {
    pub(super) fn new(link: Link, stop: watch::Sender<bool>) -> Self {
        Self { link, stop: Arc::new(StopOnDrop(stop)) }
    }

    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    /// Who it is.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.link.facts.admission.node()
    }

    /// Gives a command to the node and waits for its answer.
    ///
    /// # Errors
    /// [`Error`] of the command, or [`ErrorKind::Leaving`] when the peer stopped before it was answered.
    pub async fn command(&self, command: Command) -> Result<Outcome, Error> {
        self.link.command(command).await
    }

    /// Edits one document: all edits or none. Durable here when it returns; the others follow.
    ///
    /// # Errors
    /// As [`command`](Self::command). Nothing was changed, unless the kind is [`ErrorKind::Disk`].
    pub async fn edit(&self, doc: DocId, edits: Vec<Edit>) -> Result<documents::Outcome, Error> {
        self.link.documents(documents::Command::Edit { doc, edits, create: false }).await
    }

    /// Does it as [`command`](Self::command), and waits until as many other members as `ack` says hold it durably. Gives who they
    /// are, if any were wanted.
    ///
    /// # Errors
    /// As [`command`](Self::command); [`ErrorKind::NotReplicated`] if it is done and durable here, but not known in time to be so on
    /// as many others. It is not undone.
    pub async fn write(&self, command: Command, ack: Ack) -> Result<(Outcome, Option<Copies>), Error> {
        self.link.write(command, Some(ack)).await
    }

    /// Makes a document have exactly this content: a JSON object.
    ///
    /// # Errors
    /// As [`edit`](Self::edit).
    pub async fn put(&self, doc: DocId, value: Value) -> Result<documents::Outcome, Error> {
        self.edit(doc, vec![Edit::Put { value }]).await
    }

    /// The whole content of a document.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none.
    pub async fn get(&self, doc: DocId) -> Result<Value, Error> {
        match self.link.documents(documents::Command::Get { doc, path: String::new() }).await? {
            documents::Outcome::Value { value, .. } => Ok(value),
            other => unreachable!("a Get was answered by {other:?}"),
        }
    }

    /// How it stands.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    pub async fn status(&self) -> Result<Report, Error> {
        self.link.report().await
    }

    /// Its membership: invites and revocations, if it is an issuer.
    #[must_use]
    pub fn admission(&self) -> &Admission {
        &self.link.facts.admission
    }

    /// Everything that the node tells, from now on.
    #[must_use]
    pub fn events(&self) -> Events {
        self.link.events()
    }

    /// Where it listens for peers, once the sockets are open.
    #[must_use]
    pub fn listening(&self) -> Vec<Address> {
        self.link.facts.listening()
    }

    /// Where the HTTP interface is served.
    #[must_use]
    pub fn api(&self) -> Option<SocketAddr> {
        self.link.facts.api
    }

    /// Brings documents back to how they were, by ordinary new changes: see [`Revert`].
    ///
    /// # Errors
    /// [`ErrorKind::Unreachable`] when the moment cannot be had: nothing was changed. Else an edit failed; those before it were
    /// made, and the same revert goes on with the rest.
    pub async fn revert(&self, revert: Revert) -> Result<Reverted, Error> {
        super::revert::revert(&self.link, revert).await
    }

    /// Where it keeps its data.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.link.facts.data_dir
    }

    /// Says goodbye to the mesh, makes what was acknowledged durable and stops. After the deadline it stops all the same. What reads the
    /// log or a repository for a client is told to end, and waited for until the deadline, and for a second at least; then the log tells
    /// how much of that is left.
    pub async fn shutdown(self, deadline: Duration) -> Stop {
        let begun = Instant::now();
        // A failure here means that it is leaving or has stopped already, which is what is wanted.
        let _ = tokio::time::timeout(deadline, self.link.command(Command::Leave)).await;
        if tokio::time::timeout(deadline, self.stopped()).await.is_err() {
            self.stop.0.send_replace(true);
        }
        self.ended(|| deadline.saturating_sub(begun.elapsed())).await
    }

    /// Stops without a goodbye, as a crash would, except that running writes are finished. What reads the log or a repository for a client is
    /// waited for for a second at most.
    pub async fn halt(self) -> Stop {
        self.stop.0.send_replace(true);
        self.ended(|| Duration::ZERO).await
    }

    /// It has stopped, and nothing is left of what it did for clients beside its loop, or nothing that ends in the time that is left.
    async fn ended(&self, left: impl Fn() -> Duration) -> Stop {
        let why = self.stopped().await;
        match self.link.facts.errands.over(left().max(ERRANDS_MIN)).await {
            0 => {}
            left => tracing::warn!(left, "it has stopped, and work for clients goes on that does not end"),
        }
        why
    }

    /// Waits until the peer has stopped: after [`shutdown`](Self::shutdown), after a `POST /v1/leave`, or because it had to.
    pub async fn stopped(&self) -> Stop {
        let mut phase = self.link.phase.clone();
        // An error means that the loop has gone, which is the same.
        let _ = phase.wait_for(|phase| *phase == Phase::Stopped).await;
        self.link.facts.stop.get().cloned().unwrap_or_else(|| Stop::Failed("its loop panicked".into()))
    }
}

impl Peer {
    /// How its archive stands, if it has one.
    #[must_use]
    pub fn archive(&self) -> Option<ArchiveStatus> {
        self.link.facts.archive.get().map(|archive| archive.told())
    }

    /// After it has stopped: waits until its archive holds what was written last, or could not be made to.
    pub async fn archived(&self) -> Option<ArchiveStatus> {
        let archive = self.link.facts.archive.get()?;
        archive.ended().await;
        Some(archive.told())
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("id", &self.id()).field("phase", &self.link.phase()).finish_non_exhaustive()
    }
}

struct StopOnDrop(watch::Sender<bool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

/// What a client asks of the loop.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) command: Command,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// What the loop answers.
pub(super) type Answer = Result<Outcome, CommandError>;

/// The way to the loop, without keeping the peer alive: for the HTTP interface.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) asks: mpsc::Sender<Ask>,
    pub(super) events: broadcast::WeakSender<Arc<Event>>,
    pub(super) phase: watch::Receiver<Phase>,
    pub(super) facts: Arc<Facts>,
    edits: Arc<Semaphore>,
}

impl Link {
    pub(super) fn new(
        asks: mpsc::Sender<Ask>,
        events: broadcast::WeakSender<Arc<Event>>,
        phase: watch::Receiver<Phase>,
        facts: Arc<Facts>,
    ) -> Self {
        Self { asks, events, phase, facts, edits: Arc::new(Semaphore::new(EDIT_BYTES_MAX / EDIT_UNIT)) }
    }

    pub(super) fn phase(&self) -> Phase {
        // The loop's end of the channel sets `Stopped`; if it was dropped without, that says the same.
        if self.phase.has_changed().is_err() { Phase::Stopped } else { *self.phase.borrow() }
    }

    pub(super) async fn command(&self, command: Command) -> Result<Outcome, Error> {
        self.submit(command).await.await
    }

    /// Hands a command to the loop, and gives the wait for its answer: who submits one after the other, without waiting
    /// for answers between, has them done in that order.
    pub(super) async fn submit(&self, command: Command) -> impl Future<Output = Result<Outcome, Error>> + use<> {
        let handed = self.hand(command).await;
        async move {
            // The room is held until the answer: an edit that is answered is on the disk, or refused.
            let (_room, answer) = handed?;
            answer.await.map_err(|_| stopped())?.map_err(Error::from)
        }
    }

    async fn hand(&self, command: Command) -> Result<(OwnedSemaphorePermit, oneshot::Receiver<Answer>), Error> {
        match self.phase() {
            Phase::Booting => return Err(Error::new(ErrorKind::Booting, "this peer reads its log still")),
            Phase::Stopped => return Err(stopped()),
            Phase::Ready | Phase::Leaving => {}
        }
        let units = (weight(&command) / EDIT_UNIT).min(EDIT_BYTES_MAX / EDIT_UNIT);
        let units = u32::try_from(units).expect("the bound is far below");
        let room = Arc::clone(&self.edits).acquire_many_owned(units).await.expect("nobody closes it");
        let (answer, result) = oneshot::channel();
        self.asks.send(Ask { command, answer }).await.map_err(|_| stopped())?;
        Ok((room, result))
    }

    /// A write that is answered when so many other members hold it, or as many as are configured; gives who holds it, if any
    /// were wanted.
    pub(super) async fn write(&self, command: Command, ack: Option<Ack>) -> Result<(Outcome, Option<Copies>), Error> {
        self.submit_write(command, ack).await.await
    }

    /// As [`submit`](Self::submit) and [`write`](Self::write).
    pub(super) async fn submit_write(
        &self,
        command: Command,
        ack: Option<Ack>,
    ) -> impl Future<Output = Result<(Outcome, Option<Copies>), Error>> + use<> {
        let command = match ack {
            Some(ack) => Command::Acknowledged { command: Box::new(command), ack },
            None => command,
        };
        let answer = self.submit(command).await;
        async move {
            Ok(match answer.await? {
                Outcome::Copied { outcome, copies } => (*outcome, Some(copies)),
                outcome => (outcome, None),
            })
        }
    }

    pub(super) async fn documents(&self, command: documents::Command) -> Result<documents::Outcome, Error> {
        match self.command(Command::Documents(command)).await?.without_copies() {
            Outcome::Documents(outcome) => Ok(outcome),
            other => unreachable!("a command on documents was answered by {other:?}"),
        }
    }

    pub(super) async fn report(&self) -> Result<Report, Error> {
        match self.command(Command::Status).await? {
            Outcome::Status(node) => {
                let (host, mut network) = (self.facts.host(self.phase()), self.facts.links());
                for one in network.not_linked.iter_mut().filter(|one| one.name.is_none()) {
                    let known = node.members.iter().find(|member| Some(member.node) == one.node);
                    one.name = known.map(|member| member.meta.name.clone());
                }
                Ok(Report { node: *node, host, network, admission: self.facts.admission.papers() })
            }
            other => unreachable!("Status was answered by {other:?}"),
        }
    }

    /// What watchers are told; kept from the first time on.
    pub(super) fn history(&self) -> Arc<History> {
        Arc::clone(self.facts.history.get_or_init(|| History::begin(self)))
    }

    pub(super) fn events(&self) -> Events {
        // After the end the channel is closed: a subscriber then hears its end at once.
        Events(self.events.upgrade().map_or_else(|| broadcast::channel(1).1, |events| events.subscribe()))
    }
}

/// About how many bytes a command holds on to.
fn weight(command: &Command) -> usize {
    let edits = match command {
        Command::Documents(documents::Command::Edit { edits, .. } | documents::Command::EditAt { edits, .. }) => edits,
        Command::Events(events::Command::Append { events, .. }) => {
            return events.iter().map(|event| size_of::<Bytes>() + event.len()).sum();
        }
        Command::Acknowledged { command, .. } => return weight(command),
        _ => return 0,
    };
    let bytes = |edit: &Edit| match edit {
        Edit::Put { value } => size(value),
        Edit::Set { path, value } | Edit::Insert { path, value } => path.len() + size(value),
        Edit::Resolve { path, value, .. } => path.len() + value.as_ref().map_or(0, size),
        Edit::Choose { path, change, seen } => path.len() + change.len() + seen.as_ref().map_or(0, String::len),
        Edit::Remove { path } | Edit::Increment { path, .. } => path.len(),
        Edit::Splice { path, insert, .. } => path.len() + insert.len(),
        Edit::Delete => 0,
    };
    edits.iter().map(|edit| size_of::<Edit>() + bytes(edit)).sum()
}

/// About how many bytes a value takes. Values are as deep as JSON is read, so the stack holds.
fn size(value: &Value) -> usize {
    let inner: usize = match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(fields) => fields.iter().map(|(key, value)| key.len() + size(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    };
    size_of::<Value>() + inner
}

fn stopped() -> Error {
    Error::new(ErrorKind::Leaving, "this peer has stopped")
}

/// What the loop tells about itself without being asked.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) admission: Admission,
    pub(super) clock: Clock,
    pub(super) api: Option<SocketAddr>,
    pub(super) data_dir: PathBuf,
    pub(super) workers: Arc<workers::Counters>,
    pub(super) checks: Checks,
    cluster: Cluster,
    roles: RoleRules,
    network: OnceLock<NetworkView>,
    stop: OnceLock<Stop>,
    recording: OnceLock<Arc<Fate>>,
    archive: OnceLock<Arc<archive::Shared>>,
    schedules: OnceLock<Arc<schedule::Shared>>,
    scrub: OnceLock<watch::Receiver<ScrubStatus>>,
    /// From the first watcher on, so that one who comes back goes on where it was.
    history: OnceLock<Arc<History>>,
    filling: AtomicBool,
    pub(super) errands: Errands,
    listen: RwLock<Vec<Address>>,
    turns: AtomicU64,
    lag_max_us: AtomicU64,
    turn_max_us: AtomicU64,
}

impl Facts {
    /// With these checks of documents.
    pub(super) fn with_checks(self, checks: Checks) -> Self {
        Self { checks, ..self }
    }

    /// With these rules for roles.
    pub(super) fn with_roles(self, roles: RoleRules) -> Self {
        Self { roles, ..self }
    }

    pub(super) fn new(
        admission: Admission,
        clock: Clock,
        api: Option<SocketAddr>,
        data_dir: PathBuf,
        workers: Arc<workers::Counters>,
        cluster: Cluster,
    ) -> Self {
        let (turns, lag_max_us, turn_max_us) = Default::default();
        let (network, stop, listen) = (OnceLock::new(), OnceLock::new(), RwLock::default());
        let (recording, archive, schedules, scrub, history, filling, errands) = Default::default();
        Self {
            admission,
            clock,
            api,
            data_dir,
            workers,
            checks: Checks::new(),
            cluster,
            roles: RoleRules::default(),
            network,
            stop,
            recording,
            archive,
            schedules,
            scrub,
            history,
            filling,
            errands,
            listen,
            turns,
            lag_max_us,
            turn_max_us,
        }
    }

    /// One turn of the loop: how late it was for its deadline, and how long it took.
    pub(super) fn turned(&self, late: Duration, took: Duration) {
        self.turns.fetch_add(1, Ordering::Relaxed);
        self.lag_max_us.fetch_max(micros(late), Ordering::Relaxed);
        self.turn_max_us.fetch_max(micros(took), Ordering::Relaxed);
    }

    /// The network is up: once.
    pub(super) fn set_network(&self, view: NetworkView) {
        let _ = self.network.set(view);
    }

    /// It is recorded: once.
    pub(super) fn set_recording(&self, fate: Arc<Fate>) {
        let _ = self.recording.set(fate);
    }

    /// It is archived: once.
    pub(super) fn set_archive(&self, archive: Arc<archive::Shared>) {
        let _ = self.archive.set(archive);
    }

    /// Backups are taken by schedule: once.
    pub(super) fn set_schedules(&self, schedules: Arc<schedule::Shared>) {
        let _ = self.schedules.set(schedules);
    }

    /// What its start did not read is read: once.
    pub(super) fn set_scrub(&self, scrub: watch::Receiver<ScrubStatus>) {
        let _ = self.scrub.set(scrub);
    }

    /// It begins with less than its neighbours may hold.
    pub(super) fn set_filling(&self) {
        self.filling.store(true, Ordering::Relaxed);
    }

    /// It has what they hold.
    pub(super) fn set_filled(&self) {
        self.filling.store(false, Ordering::Relaxed);
    }

    pub(super) fn links(&self) -> Links {
        let of =
            |view: &NetworkView| Links { links: view.links(), not_linked: view.not_linked(), totals: view.totals() };
        self.network.get().map(of).unwrap_or_default()
    }

    /// Only the first reason counts.
    pub(super) fn set_stop(&self, why: Stop) {
        let _ = self.stop.set(why);
    }

    pub(super) fn set_listening(&self, addresses: Vec<Address>) {
        *self.listen.write().unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    fn listening(&self) -> Vec<Address> {
        self.listen.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn host(&self, phase: Phase) -> Host {
        Host {
            phase,
            uptime_ms: self.clock.now().mono.as_nanos() / 1_000_000,
            listen: self.listening(),
            api: self.api,
            data_dir: self.data_dir.clone(),
            terms: self.cluster.terms(),
            fingerprint: self.cluster.fingerprint(),
            roles: self.roles.clone(),
            turns: self.turns.load(Ordering::Relaxed),
            lag_max_us: self.lag_max_us.load(Ordering::Relaxed),
            turn_max_us: self.turn_max_us.load(Ordering::Relaxed),
            task_max_us: micros(self.workers.longest()),
            task_panics: self.workers.panics(),
            recording: self.recording.get().map(|fate| fate.told()),
            archive: self.archive.get().map(|archive| archive.told()),
            backups: self
                .schedules
                .get()
                .map(|schedules| schedules.told())
                .filter(|told| *told != Schedules::default()),
            scrub: self.scrub.get().map(|scrub| scrub.borrow().clone()),
            filling: self.filling.load(Ordering::Relaxed),
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

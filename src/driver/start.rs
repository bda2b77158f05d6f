//! From a configuration to a running peer: lock, identity, interface, log, network, loop, in this order.
//!
//! The lock comes first, so that a second process on the same directory changes nothing. The HTTP interface comes before the
//! log is read, so that probes are answered while a long log boots; its port is taken, and those for peers are looked at, before
//! an invite is used up. The network comes last: a peer that is heard has read
//! its log and has written down that a new life begins.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::{JoinError, spawn_blocking};

use super::admission::{self, Admission};
use super::aftermath::Aftermath;
use super::archive;
use super::clock::Clock;
use super::disk::Disk;
use super::failure::StartError;
use super::filling;
use super::hooks::{self, Hooks};
use super::http::{Interface, Token};
use super::keeper::Keeper;
use super::load;
use super::log::Log;
use super::network::Network;
use super::packing::Packing;
use super::peer::{ASKS_MAX, EVENTS_MAX, Facts, Link, Peer, Phase};
use super::recorder::Recorder;
use super::remembered::Remembered;
use super::routes::Routes;
use super::schedule;
use super::scrub;
use super::switch::{self, SwitchError};
use super::together;
use super::turn::{Open, Turn};
use super::workers::{self, Workers};
use crate::backup::standby::STANDBY_FILE;
use crate::config::Config;
use crate::membership::Meta;
use crate::node::{self, Boot, BootReport, Identity, Input, Node, Progress, Setup, SnapshotFile, SnapshotState};
use crate::recording::Header;
use crate::recovery::LOG_DIR;
use crate::roles;
use crate::types::NodeId;
use crate::wire;

/// Network events that wait for the loop at most; peers wait then.
const HEARD_MAX: usize = 256;

impl Peer {
    /// Starts a peer on the tokio runtime of the caller and returns when it serves.
    ///
    /// # Errors
    /// [`StartError`]; nothing of it runs then.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        Self::start_with(config, Hooks::new()).await
    }

    /// The same, with what is to run when this peer is given a role, and when it loses one. Programs of the configuration run first.
    ///
    /// # Errors
    /// [`StartError`]; nothing of it runs then.
    pub async fn start_with(config: Config, hooks: Hooks) -> Result<Self, StartError> {
        tokio::runtime::Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        let clock = Clock::start();
        let dir = config.node.data_dir.clone();
        let aftermath = Aftermath { dir: dir.clone(), began: Instant::now(), started: clock.now().wall };
        let (log, token) = {
            let dir = dir.clone();
            blocking(move || open(&dir)).await??
        };
        check(&config, &hooks, &dir)?;
        let routes = Routes::of(&config.network)?;
        routes.check()?;
        let bound = bind(config.api.listen).await?;
        let admission = routes.admit(&dir, config.cluster.terms()).await?;
        switch::mark_first(&dir, admission.node(), admission.timeline_id(), clock.now().wall)?;
        let api = bound.as_ref().map(|(_, address)| *address);
        let workers = Workers::start(workers::threads(), &config.documents).map_err(StartError::Workers)?;
        let facts =
            Facts::new(admission.clone(), clock.clone(), api, dir.clone(), workers.counters(), config.cluster.clone());
        let facts = Arc::new(facts.with_checks(config.documents.checks.clone()).with_roles((&config.roles).into()));
        let (phase, phases) = watch::channel(Phase::Booting);
        let ((asks, asked), (events, _)) = (mpsc::channel(ASKS_MAX), broadcast::channel(EVENTS_MAX));
        let link = Link::new(asks, events.downgrade(), phases, Arc::clone(&facts));
        if let Some((listener, address)) = bound {
            let interface = Interface::new(link.clone(), admission.clone(), token, address);
            tokio::spawn(interface.serve(listener));
        }
        let mut remembered = Remembered::open(&dir, admission.node());
        routes.remember_issuer(&admission, &mut remembered, clock.now().wall);
        // Whoever minted the mesh is its first peer; one that was told of others, or remembers some, is not the only one.
        let knows_somebody = routes.knows_somebody() || !remembered.peers().is_empty();
        let founds = admission::has_root(&dir) && !knows_somebody;
        let setup = setup(&config, &hooks, &admission, founds)?;
        let booting = clock.clone();
        let recorder = recorder(config.node.record.as_deref(), &setup, &facts)?;
        let (node, report, log, recorder) = blocking(move || boot(setup, &booting, log, recorder)).await??;
        tell(&report);
        check_line(&node, &admission)?;
        let (told, heard) = mpsc::channel(HEARD_MAX);
        fill(&link, &node, knows_somebody).await?;
        let setup = routes.setup(admission.clone(), report.boot, config.cluster.terms(), &remembered);
        let network = Network::start(setup, told)?;
        facts.set_network(network.view());
        let (stop, stopping) = watch::channel(false);
        phase.send_replace(Phase::Ready);
        tokio::spawn(aftermath.watch(link.clone()));
        look_after(&config, &dir, &report, &link, &phase)?;
        let turn = Turn {
            node,
            clock,
            log,
            workers,
            packing: Packing::start().map_err(StartError::Workers)?,
            network,
            heard,
            asks: asked,
            events,
            phase,
            stop: stopping,
            facts,
            remembered,
            routes,
            works: hooks.works().clone(),
            hooks: hooks::start(config.programs.clone(), hooks, admission.node(), link.clone()),
            keeper: Keeper::start(admission),
            recorder,
            open: Open::default(),
        };
        tokio::spawn(turn.run());
        Ok(Self::new(link, stop))
    }
}

/// Whether what is to be shipped elsewhere can be, and hooks have time; before anything runs.
fn check(config: &Config, hooks: &Hooks, dir: &Path) -> Result<(), StartError> {
    if hooks.end_something() && config.roles.failover.hook_limit.is_zero() {
        return Err(StartError::NoTimeForHooks);
    }
    schedule::check(&config.schedules, dir)?;
    if !config.archive.repository.is_empty() {
        archive::check(&config.archive, dir)?;
    }
    Ok(())
}

/// Whoever begins with nothing, or out of a recovery, is not ready before it has what its neighbours hold.
async fn fill(link: &Link, node: &Node, knows_somebody: bool) -> Result<(), StartError> {
    let (dir, entries) = (link.facts.data_dir.clone(), node.status(link.facts.clock.now()).entries);
    if blocking(move || filling::begins(&dir, entries, knows_somebody)).await? {
        link.facts.set_filling();
        tokio::spawn(filling::watch(link.clone()));
    }
    Ok(())
}

/// Backups by schedule, the archive, and what of the log the start left out, each on a thread of its own.
fn look_after(
    config: &Config,
    dir: &Path,
    report: &BootReport,
    link: &Link,
    phase: &watch::Sender<Phase>,
) -> Result<(), StartError> {
    let facts = &link.facts;
    let (mesh, clock) = (facts.admission.cluster().to_string(), &facts.clock);
    let dir = dir.to_owned();
    scrub::start(&dir, report, phase.subscribe())?.into_iter().for_each(|scrub| facts.set_scrub(scrub));
    facts.set_schedules(schedule::start(&config.schedules, dir.clone(), mesh.clone(), link)?);
    together::start(dir.clone(), mesh.clone(), link)?;
    tokio::spawn(load::watch(link.clone()));
    if !config.archive.repository.is_empty() {
        facts.set_archive(archive::start(&config.archive, &dir, mesh, clock, phase.subscribe())?);
    }
    Ok(())
}

/// Takes the directory for this process alone.
fn open(dir: &Path) -> Result<(Log, Token), StartError> {
    // Before the log is made or touched: the one that is to come may not be in place.
    let (_away, begun) = switch::keep_away(dir).map_err(|error| match error {
        SwitchError::Directory(error) => error.into(),
        error => StartError::from(error),
    })?;
    if let Some(command) = begun {
        return Err(StartError::Unfinished { dir: dir.to_owned(), command });
    }
    let (answer, answers) = mpsc::unbounded_channel();
    // Bounded by what the disk takes in (`disk::QUEUE_MAX`). An error means that the loop is gone, and with it who asked.
    let disk = Disk::open(&dir.join(LOG_DIR), move |input: Input| drop(answer.send(input)))?;
    if dir.join(STANDBY_FILE).exists() {
        return Err(StartError::Standby { dir: dir.to_owned() });
    }
    let token = Token::open_or_mint(dir)?;
    Ok((Log::new(disk, answers), token))
}

/// What the log holds must be of the history that this peer tells others.
fn check_line(node: &Node, admission: &Admission) -> Result<(), StartError> {
    let (log, papers) = (node.timeline(), admission.timeline_id());
    if log == papers { Ok(()) } else { Err(StartError::OtherTimeline { log, papers }) }
}

async fn bind(address: Option<SocketAddr>) -> Result<Option<(TcpListener, SocketAddr)>, StartError> {
    let Some(address) = address else { return Ok(None) };
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        if !address.ip().is_loopback() {
            tracing::warn!(%address, "the HTTP interface is within reach of other machines, and is not encrypted");
        }
        Ok(Some((listener, address)))
    };
    bound.await.map_err(|error| StartError::Api { address, error })
}

fn setup(config: &Config, hooks: &Hooks, admission: &Admission, founds: bool) -> Result<Setup, StartError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(StartError::Entropy)?;
    let meta = Meta {
        name: name(&config.node.name, admission.node()),
        region: config.node.region.clone(),
        zone: config.node.zone.clone(),
        priority: config.node.priority,
        observer: config.node.observer,
        addresses: Vec::new(),
        protocol: wire::VERSION.into(),
        read_only: false,
        services: config.node.services.clone(),
        load: None,
    };
    meta.check()?;
    Ok(Setup {
        identity: Identity { node: admission.node(), cluster: admission.cluster() },
        seed,
        meta,
        config: node::Config {
            membership: config.membership.clone(),
            policy: config.cluster.overlay,
            overlay: config.overlay.clone(),
            replication: config.replication.clone(),
            documents: config.documents.clone(),
            events: config.streams.clone(),
            audit: config.audit.clone(),
            wal: config.wal.clone(),
            snapshots: config.snapshots.clone(),
            consensus: config.consensus.clone(),
            voters: config.voters.clone().into(),
            roles: roles::Config { hooks: hooks::are_there(&config.programs, hooks), ..config.roles.clone() },
        },
        founds,
    })
}

fn recorder(path: Option<&Path>, setup: &Setup, facts: &Facts) -> Result<Recorder, StartError> {
    let Some(path) = path else { return Ok(Recorder::none()) };
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    if folder.is_some_and(|folder| facts.data_dir.join(LOG_DIR).canonicalize().is_ok_and(|log| folder.starts_with(log)))
    {
        // It would be taken for a part of the log, and the next start refused.
        let error = io::Error::new(io::ErrorKind::InvalidInput, "only the log's own files may be in its directory");
        return Err(StartError::Record { path: path.to_owned(), error });
    }
    let begun = Recorder::begin(path, &Header::new(setup, workers::threads()), facts.clock.now());
    let begun = begun.map_err(|error| StartError::Record { path: path.to_owned(), error })?;
    begun.fate().into_iter().for_each(|fate| facts.set_recording(fate));
    Ok(begun)
}

/// The given name, or one made from the last digits of the id.
fn name(given: &str, id: NodeId) -> String {
    let [.., a, b, c, d] = *id.as_bytes();
    if given.is_empty() { format!("peer-{a:02x}{b:02x}{c:02x}{d:02x}") } else { given.to_owned() }
}

type Booted = (Box<Node>, BootReport, Log, Recorder);

/// Reads the log, on a thread that may wait.
fn boot(setup: Setup, clock: &Clock, mut log: Log, mut recorder: Recorder) -> Result<Booted, StartError> {
    let mut boot = Box::new(Boot::start(setup));
    loop {
        while let Some(effect) = boot.poll_effect() {
            recorder.effect(&effect);
            if let Some(other) = log.perform(effect) {
                unreachable!("a boot asks for the log only, not for {other:?}");
            }
        }
        let answer = log.wait().ok_or_else(|| StartError::BrokenOff("the disk's thread has ended".into()))?;
        let now = clock.now();
        recorder.input(now, &answer);
        match boot.handle(now, answer) {
            Progress::Booting(more) => boot = more,
            Progress::Ready(node, report) => return Ok((node, report, log, recorder)),
            Progress::Refused(error) => {
                recorder.end();
                return Err(error.into());
            }
        }
    }
}

fn tell(report: &BootReport) {
    let BootReport { boot, actor, segments, records, .. } = report;
    tracing::info!(%boot, mint = %actor.mint, segments, records, "the log is read");
    if let Some(SnapshotFile { file, state: SnapshotState::Good(taken), .. }) = report.snapshot.as_deref() {
        tracing::info!(%file, lsn = %taken.lsn, records, "the start went on from a snapshot, with the records behind it");
    }
    if let Some(cut) = &report.cut {
        tracing::warn!(%cut, "a damaged last write was cut off; this peer writes as a new actor");
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StartError> {
    spawn_blocking(work).await.map_err(|error: JoinError| StartError::BrokenOff(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::super::disk::OpenError;
    use super::super::switch::{Call, Switch};
    use super::*;

    #[test]
    fn no_log_is_made_while_a_command_has_moved_the_one_that_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("data");
        let by = || Call { name: "rebuild".into(), line: "rebuild".into() };
        let switch = Switch::begin(&dir, by()).unwrap();
        // Its lock has moved with it.
        std::fs::rename(dir.join(LOG_DIR), dir.join("aside")).unwrap();
        assert!(matches!(open(&dir), Err(StartError::Directory(OpenError::Locked { .. }))));
        assert!(!dir.join(LOG_DIR).exists());
        std::fs::rename(dir.join("aside"), dir.join(LOG_DIR)).unwrap();
        drop(switch);
        let taken = open(&dir).unwrap();
        assert!(Switch::begin(&dir, by()).is_err(), "the log is in use");
        drop(taken);
    }
}

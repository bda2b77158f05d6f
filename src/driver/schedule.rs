//! Backups that a running peer takes by schedule: a thread of its own, one backup at a time.
//!
//! The schedules of the configuration and those of the data directory's file are looked after alike; the file is read again from time
//! to time, so that what the command line sets holds without a restart. What came of each run is written down before the next begins.

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;

use super::archive::Here;
use super::failure::StartError;
use super::peer::{Link, Phase};
use crate::backup::{
    Catalogue, Created, Directory, Error, Host as _, Outcome, Pruning, Repository, Retention, Schedule, Secret,
    Stretch, check_built, check_outside, locate, verify,
};
use crate::node::{self, Command};
use crate::types::WallTime;

/// How often it is looked whether something is due, and what the file says.
const GLANCE: Duration = Duration::from_secs(2);

/// A schedule, and how it stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScheduleStatus {
    /// Its name.
    pub name: String,
    /// All that it says.
    pub says: String,
    /// Whether it is from the configuration; else from the data directory.
    pub configured: bool,
    /// After how long a run that failed is tried again, in milliseconds.
    pub retry_ms: u64,
    /// Whether it runs now.
    pub running: bool,
    /// What came of it last.
    pub last: Option<Outcome>,
}

/// What the thread tells.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Schedules {
    /// Each of them.
    pub schedules: Vec<ScheduleStatus>,
    /// Why those of the data directory, or what came of runs, cannot be read or written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Shared(Mutex<Schedules>);

impl Shared {
    pub(super) fn told(&self) -> Schedules {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Schedules) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The schedules of the configuration.
///
/// # Errors
/// [`StartError::Archive`]: one of them cannot be run.
pub(super) fn check(texts: &[String], dir: &std::path::Path) -> Result<Vec<Schedule>, StartError> {
    let refuse = |repository: String, why: String| StartError::Archive { repository, why };
    let configured = texts.iter().map(|text| text.parse::<Schedule>()).collect::<Result<Vec<_>, _>>();
    let configured = configured.map_err(|why| refuse("`backup.schedule`".into(), why))?;
    for schedule in &configured {
        not_relative(schedule).map_err(|why| refuse(schedule.repository.clone(), why))?;
        let outside = check_outside(&schedule.repository, dir);
        let outside = outside.and_then(|()| check_built(&schedule.repository));
        outside.map_err(|error| refuse(schedule.repository.clone(), error.to_string()))?;
    }
    Ok(configured)
}

/// Where a peer is started from may differ from one start to the next.
fn not_relative(schedule: &Schedule) -> Result<(), String> {
    let said = |path| format!("the schedule {} names {path:?}: give the path from the root on", schedule.name);
    schedule.relative().map_or(Ok(()), |path| Err(said(path)))
}

/// Starts it.
///
/// # Errors
/// [`StartError::Archive`]: a schedule of the configuration cannot be run.
pub(super) fn start(texts: &[String], dir: PathBuf, mesh: String, link: &Link) -> Result<Arc<Shared>, StartError> {
    let configured = check(texts, &dir)?;
    let shared = Arc::new(Shared::default());
    let here = Here::new(link.facts.clock.clone());
    let since = here.wall();
    let (link, phase) = (link.clone(), link.phase.clone());
    let work = Work { configured, dir, mesh, here, since, link, phase, shared: Arc::clone(&shared) };
    let failed = |error: std::io::Error| StartError::Archive {
        repository: "`backup.schedule`".into(),
        why: format!("cannot start a thread: {error}"),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let spawned = std::thread::Builder::new().name("backups".into()).spawn(move || runtime.block_on(work.run()));
    spawned.map_err(failed)?;
    Ok(shared)
}

/// What the thread works with.
struct Work {
    configured: Vec<Schedule>,
    dir: PathBuf,
    mesh: String,
    here: Here,
    since: WallTime,
    link: Link,
    phase: watch::Receiver<Phase>,
    shared: Arc<Shared>,
}

impl Work {
    async fn run(mut self) {
        loop {
            for schedule in self.look() {
                if !self.is_ours(&schedule).await {
                    continue;
                }
                let last = self.shared.change(|told| {
                    let status = told.schedules.iter_mut().find(|status| status.name == schedule.name)?;
                    status.running = true;
                    Some((status.last.clone(), status.configured))
                });
                let (last, configured) = last.unwrap_or_default();
                let run = attempt(&schedule, &self.dir, &self.mesh, last.as_ref(), &self.here);
                // What is broken off is taken over by the next run.
                let Some(mut outcome) = until_stopped(&mut self.phase, run).await else { return };
                outcome.configured = configured;
                match outcome.error.as_deref() {
                    Some(why) => {
                        tracing::warn!(schedule = %schedule.name, why, "a backup was not taken as it should be")
                    }
                    None => tracing::info!(schedule = %schedule.name, records = outcome.records, "a backup was taken"),
                }
                if let Err(error) = outcome.keep(&self.dir) {
                    tracing::warn!(%error, "what came of a backup cannot be written down");
                }
                self.shared.change(|told| {
                    let found = told.schedules.iter_mut().find(|status| status.name == schedule.name);
                    found.into_iter().for_each(|status| (status.running, status.last) = (false, Some(outcome.clone())));
                });
            }
            if until_stopped(&mut self.phase, tokio::time::sleep(GLANCE)).await.is_none() {
                return;
            }
        }
    }

    /// Whether a schedule is this peer's at the moment: one of a role is its holder's.
    async fn is_ours(&self, schedule: &Schedule) -> bool {
        let Some(role) = &schedule.role else { return true };
        match self.link.command(Command::Roles).await {
            Ok(node::Outcome::Roles(roles)) => roles.iter().any(|status| status.role == *role && status.acts),
            _ => false,
        }
    }

    /// Reads the file again, and gives what is due.
    fn look(&self) -> Vec<Schedule> {
        let (stored, mut error) = match Schedule::read_good(&self.dir) {
            Ok(read) => read,
            Err(why) => (Vec::new(), Some(why)),
        };
        let outcomes = Outcome::read(&self.dir).unwrap_or_else(|why| {
            error = Some(why.to_string());
            Vec::new()
        });
        let now = self.here.wall();
        // Runs of many peers are spread by what differs between them: since when each runs.
        let luck = self.since.as_micros();
        let all = self.configured.iter().map(|one| (one, true)).chain(stored.iter().map(|one| (one, false)));
        let (mut due, mut schedules) = (Vec::new(), Vec::<ScheduleStatus>::new());
        for (schedule, configured) in all {
            if schedules.iter().any(|known| known.name == schedule.name) {
                // What the configuration says wins.
                continue;
            }
            let last = outcomes.iter().rfind(|outcome| outcome.schedule == schedule.name).cloned();
            if schedule.is_due(last.as_ref(), self.since, luck, now) {
                due.push(schedule.clone());
            }
            let (name, says) = (schedule.name.clone(), schedule.to_string());
            let retry_ms = u64::try_from(schedule.retry().as_millis()).unwrap_or(u64::MAX);
            schedules.push(ScheduleStatus { name, says, configured, retry_ms, running: false, last });
        }
        self.shared.change(|told| *told = Schedules { schedules, error });
        due
    }
}

/// What the work gives, unless the peer stops before.
pub(super) async fn until_stopped<T>(phase: &mut watch::Receiver<Phase>, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        // An error means that the loop is gone, which is the same.
        _ = phase.wait_for(|phase| *phase == Phase::Stopped) => None,
        done = work => Some(done),
    }
}

/// One run, and what came of it.
pub(super) async fn attempt(
    schedule: &Schedule,
    dir: &std::path::Path,
    mesh: &str,
    last: Option<&Outcome>,
    here: &Here,
) -> Outcome {
    let mut outcome = Outcome::begun(&schedule.name, here.wall());
    let done = run(schedule, dir, mesh, &mut outcome, here).await;
    outcome.error = done.err().map(|error| error.to_string());
    outcome.ok = outcome.error.is_none();
    outcome.finished = here.wall();
    let before = last.filter(|last| last.ok).map(|last| last.started);
    outcome.rpo_ms = before.map(|before| outcome.started.as_millis().saturating_sub(before.as_millis()));
    outcome
}

async fn run(
    schedule: &Schedule,
    dir: &std::path::Path,
    mesh: &str,
    outcome: &mut Outcome,
    here: &Here,
) -> Result<(), Error> {
    if let Err(why) = not_relative(schedule) {
        return Err(Error::Location { url: schedule.repository.clone(), why });
    }
    check_outside(&schedule.repository, dir)?;
    let secret = Secret::given(schedule.key_file.as_deref(), schedule.passphrase_file.as_deref())?;
    let location = locate(&schedule.repository, true)?;
    let url = &schedule.repository;
    let repository = Repository::open_or_make(location, url, secret.as_ref(), Stretch::default(), here).await?;
    let Created { metadata, is_new, beside, .. } = back_up(schedule, dir, mesh, &repository, here).await?;
    outcome.backup = Some(metadata.id);
    outcome.kind = Some(metadata.kind);
    if is_new {
        outcome.records = metadata.statistics.records;
        outcome.stored_bytes = metadata.statistics.stored_bytes;
    }
    outcome.upto = Some((metadata.main.last.value(), metadata.events.last.value()));
    if schedule.keep != Retention::default() {
        let catalogue = Catalogue::read(&repository, metadata.node).await?;
        let plan =
            Pruning::plan(catalogue, schedule.keep, &std::collections::BTreeSet::new(), schedule.grace, here.wall())?;
        let plan = plan.with_left_over(&repository, schedule.grace, here.wall())?;
        let pruned = plan.run(&repository, here).await?;
        outcome.pruned = (pruned.marked, pruned.deleted);
    }
    if let Some(level) = schedule.verify {
        let catalogue = Catalogue::read(&repository, metadata.node).await?;
        let verified = verify(&repository, catalogue, None, level, here).await?;
        outcome.verified = verified.objects;
        if let Some(fault) = verified.faults.into_iter().next() {
            return Err(fault);
        }
    }
    if !beside.is_empty() {
        // It is stored, and nobody is to believe that all is well.
        Catalogue::read(&repository, metadata.node).await?.check_alone(metadata.id, here.wall())?;
    }
    Ok(())
}

async fn back_up(
    schedule: &Schedule,
    dir: &std::path::Path,
    mesh: &str,
    repository: &Repository,
    here: &Here,
) -> Result<Created, Error> {
    let unreadable = |error: crate::recovery::SourceError| Error::Source(error.into());
    let mut directory = Directory::open(dir, Some(mesh.to_owned()), here.wall()).map_err(unreadable)?;
    directory.back_up(repository, schedule.kind, schedule.codec, here).await
}

//! Backups of the whole mesh: each peer takes its share of the job that was decided, and whoever leads gives the shares of the dead to others.
//!
//! The job is in a register (`backup::job`). What a peer changes in it, it changes only if it still holds what was read: so of two that change it
//! at once one looks again. Where no majority is in reach a share is taken all the same, and told when one is.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;

use super::admission::key::random;
use super::archive::Here;
use super::failure::StartError;
use super::peer::{Link, Phase, Report};
use super::schedule::{attempt, until_stopped};
use crate::backup::{
    Begun, Crew, Duty, EVERY_MIN, Host as _, JOB_REGISTER, Job, JobError, Outcome, Retention, Schedule, Taker, Takers,
    Task, When,
};
use crate::consensus::{self, Expect, Standing, Token};
use crate::error::{Error, ErrorKind};
use crate::membership::State;
use crate::node::{self, Command, Proposal};
use crate::roles::RoleName;
use crate::types::{NodeId, WallTime};

/// How often it is looked whether there is something to do.
const GLANCE: Duration = Duration::from_millis(500);
/// After something could not be decided.
const AGAIN: Duration = Duration::from_secs(1);
/// After somebody else had changed the job meanwhile.
const BEHIND: Duration = Duration::from_millis(50);
/// What was decided is known here after a short while; for so long, and so often, it is waited for.
const HEARD_WITHIN: Duration = Duration::from_secs(2);
const HEARD_EVERY: Duration = Duration::from_millis(10);
/// Two that change the job at once are one behind the other after a few times.
const TRIES: u32 = 8;

/// Starts it: what takes a share on a thread of its own, since it waits for disks; who watches over all on the loop's.
pub(super) fn start(dir: PathBuf, mesh: String, link: &Link) -> Result<(), StartError> {
    tokio::spawn(watch(link.clone()));
    let link = link.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Workers)?;
    let spawned = std::thread::Builder::new().name("mesh backup".into()).spawn(move || {
        let (here, phase) = (Arc::new(Here::new(link.facts.clock.clone())), link.phase.clone());
        let work = Work { dir, mesh, here, link, phase, crew: None, taking: None, behind: 0 };
        runtime.block_on(work.run());
    });
    spawned.map(drop).map_err(StartError::Workers)
}

/// A backup that was begun, and who takes no share of it though all were to.
#[derive(Debug, Serialize)]
pub(super) struct Asked {
    #[serde(flatten)]
    job: Job,
    left_out: Vec<LeftOut>,
}

/// A member that cannot take a backup now.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct LeftOut {
    node: NodeId,
    name: String,
    why: &'static str,
}

/// Has a backup of the mesh begun.
pub(super) async fn begin(link: &Link, task: Task, takers: &Takers, by: &str) -> Result<Asked, Error> {
    let invalid = |error: JobError| {
        let kind = if matches!(error, JobError::Busy { .. }) { ErrorKind::Busy } else { ErrorKind::Invalid };
        Error::new(kind, error.to_string())
    };
    let Report { node, .. } = link.report().await?;
    let shares = takers.choose(&well(link, &node.members).await?).map_err(invalid)?;
    let left_out = if *takers == Takers::All { left_out(&node.members) } else { Vec::new() };
    let job = Job::new(uuid::Builder::from_random_bytes(random()).into_uuid(), task, by, wall(link), shares);
    for _ in 0..TRIES {
        let expect = match read(link).await? {
            Some((_, running)) if !running.is_over() => return Err(invalid(JobError::Busy { id: running.id })),
            Some((token, _)) => Expect::Set(token),
            // Of two that ask at once one is the first.
            None => Expect::Absent,
        };
        if set(link, expect, &job).await? {
            heard(link, |now| now.id == job.id).await;
            return Ok(Asked { job, left_out });
        }
        tokio::time::sleep(BEHIND).await;
    }
    Err(Error::new(ErrorKind::Busy, "the job changes too often: try again"))
}

/// Ends the job that goes on, whatever its peers are at. The job as it was decided then; nothing, if it was over by itself.
pub(super) async fn give_up(link: &Link, by: &str) -> Result<Option<Job>, Error> {
    let now = wall(link);
    let given_up = change(link, |job| {
        let goes_on = !job.is_over();
        job.give_up(by, now);
        goes_on
    })
    .await?;
    if let Some(job) = &given_up {
        heard(link, |now| now.id != job.id || now.is_over()).await;
    }
    Ok(given_up)
}

/// Waits a while until this peer knows what was decided: whoever is told so, and asks here how it stands, is not to be told of before.
async fn heard(link: &Link, is_known: impl Fn(&Job) -> bool) {
    let known = async {
        while !matches!(read(link).await, Ok(Some((_, job))) if is_known(&job)) {
            tokio::time::sleep(HEARD_EVERY).await;
        }
    };
    // It is decided all the same.
    _ = tokio::time::timeout(HEARD_WITHIN, known).await;
}

/// The job, if there ever was one, and by which decision it is as it is.
pub(super) async fn read(link: &Link) -> Result<Option<(Token, Job)>, Error> {
    match link.command(Command::Register { name: JOB_REGISTER.to_owned() }).await? {
        node::Outcome::Register(None) => Ok(None),
        node::Outcome::Register(Some(held)) => match Job::read(&held.value) {
            Some(job) => Ok(Some((held.token, job))),
            None => Err(Error::new(ErrorKind::Invalid, "the job's register holds what this version cannot read")),
        },
        other => unreachable!("a question about a register was answered by {other:?}"),
    }
}

/// Whether the job is this now; else something else was decided meanwhile.
async fn set(link: &Link, expect: Expect, job: &Job) -> Result<bool, Error> {
    let value = Some(job.bytes().into());
    let proposal = Proposal { register: JOB_REGISTER.to_owned(), expect, value, request: None };
    match link.command(Command::Propose(proposal)).await? {
        node::Outcome::Decided(made) => Ok(made.outcome == consensus::Outcome::Done),
        other => unreachable!("Propose was answered by {other:?}"),
    }
}

/// Changes the job, if there is something to change. The job as it was decided then.
async fn change(link: &Link, change: impl Fn(&mut Job) -> bool) -> Result<Option<Job>, Error> {
    for _ in 0..TRIES {
        let Some((token, mut job)) = read(link).await? else { return Ok(None) };
        if !change(&mut job) {
            return Ok(None);
        }
        if set(link, Expect::Set(token), &job).await? {
            return Ok(Some(job));
        }
        tokio::time::sleep(BEHIND).await;
    }
    Err(Error::new(ErrorKind::Busy, "the job changes too often"))
}

fn wall(link: &Link) -> WallTime {
    link.facts.clock.now().wall
}

/// Why a member takes no backup now, though one like it could. One that said goodbye is no member, and observers never take any.
fn unwell(member: &node::MemberStatus) -> Option<&'static str> {
    match member.state {
        State::Left => None,
        _ if member.meta.observer => None,
        State::Dead => Some("it is dead"),
        State::Suspect => Some("it is suspect"),
        State::Alive => member.meta.read_only.then_some("it is read-only"),
    }
}

fn left_out(members: &[node::MemberStatus]) -> Vec<LeftOut> {
    let one = |member: &node::MemberStatus| {
        Some(LeftOut { node: member.node, name: member.meta.name.clone(), why: unwell(member)? })
    };
    members.iter().filter_map(one).collect()
}

/// Who of these can take a backup, as far as this peer knows.
async fn well(link: &Link, members: &[node::MemberStatus]) -> Result<Vec<Taker>, Error> {
    let lags: BTreeMap<NodeId, u64> = match link.command(Command::Replicas).await? {
        node::Outcome::Replicas(replicas) => {
            replicas.replicas.into_iter().map(|replica| (replica.id, replica.lag.changes)).collect()
        }
        other => unreachable!("a question about replicas was answered by {other:?}"),
    };
    let primary = match link.command(Command::Roles).await? {
        node::Outcome::Roles(roles) => {
            let primary = roles.into_iter().find(|status| status.role == RoleName::primary());
            primary.and_then(|status| status.holder)
        }
        other => unreachable!("a question about roles was answered by {other:?}"),
    };
    let is_well =
        |member: &&node::MemberStatus| member.state == State::Alive && !member.meta.read_only && !member.meta.observer;
    let taker = |member: &node::MemberStatus| Taker {
        node: member.node,
        lag: lags.get(&member.node).copied().unwrap_or(0),
        priority: member.meta.priority,
        is_primary: primary == Some(member.node),
    };
    Ok(members.iter().filter(is_well).map(taker).collect())
}

/// Gives the shares of peers that are dead to others, while this peer leads.
async fn watch(link: Link) {
    let mut phase = link.phase.clone();
    while until_stopped(&mut phase, tokio::time::sleep(GLANCE)).await.is_some() {
        if let Err(error) = look(&link).await {
            // It is looked again.
            tracing::debug!(%error, "the backup of the mesh could not be looked after");
        }
    }
}

async fn look(link: &Link) -> Result<(), Error> {
    let Some((_, job)) = read(link).await?.filter(|(_, job)| !job.is_over()) else { return Ok(()) };
    let leads = match link.command(Command::Deciders).await? {
        node::Outcome::Deciders(deciders) => deciders.standing == Standing::Leader,
        other => unreachable!("a question about voters was answered by {other:?}"),
    };
    if !leads {
        return Ok(());
    }
    let Report { node, .. } = link.report().await?;
    let is_there = |who: NodeId| {
        node.members.iter().any(|member| member.node == who && matches!(member.state, State::Alive | State::Suspect))
    };
    if job.shares.iter().all(|share| share.done.is_some() || is_there(share.node)) {
        return Ok(());
    }
    let (well, now) = (well(link, &node.members).await?, wall(link));
    change(link, |job| job.pass_on(|who| !is_there(who), &well, now)).await.map(drop)
}

/// What takes this peer's share.
struct Work {
    dir: PathBuf,
    mesh: String,
    here: Arc<Here>,
    link: Link,
    phase: watch::Receiver<Phase>,
    /// What is known to be begun, once that could be read.
    crew: Option<Crew>,
    taking: Option<Pin<Box<dyn Future<Output = Outcome>>>>,
    /// How often in a row somebody else had changed the job.
    behind: u32,
}

impl Work {
    async fn run(mut self) {
        loop {
            let wait = self.see().await;
            let next = async {
                tokio::select! {
                    outcome = taken(&mut self.taking) => Some(outcome),
                    () = tokio::time::sleep(wait) => None,
                }
            };
            // What is broken off is gone on with in the next life.
            let Some(outcome) = until_stopped(&mut self.phase, next).await else { return };
            if let Some(outcome) = outcome {
                self.ended(outcome);
            }
        }
    }

    /// Does what is to be done, and says after how long to look again.
    async fn see(&mut self) -> Duration {
        // What cannot be read now says nothing about what is wanted.
        let Ok(read) = read(&self.link).await else { return GLANCE };
        let now = wall(&self.link);
        let Some(crew) = self.crew() else { return AGAIN };
        match crew.duty(read.as_ref().map(|(token, job)| (*token, job)), now) {
            Duty::Rest => GLANCE,
            Duty::BreakOff => {
                tracing::info!("this peer's share of a backup is not wanted any more: it is broken off");
                crew.broke_off();
                self.taking = None;
                Duration::ZERO
            }
            Duty::Take { task, begun, is_kept } => {
                self.begin(&task, begun, is_kept);
                GLANCE
            }
            Duty::Tell(job) => self.tell(read.map_or(Expect::Absent, |(token, _)| Expect::Set(token)), &job).await,
        }
    }

    /// What this peer has begun. While its file cannot be read nothing is begun: it may say what came of it.
    fn crew(&mut self) -> Option<&mut Crew> {
        if self.crew.is_none() {
            match Begun::read(&self.dir) {
                Ok(kept) => self.crew = Some(Crew::new(self.link.facts.admission.node(), kept)),
                Err(error) => tracing::warn!(%error, "which backup of the mesh was begun cannot be read"),
            }
        }
        self.crew.as_mut()
    }

    /// Has it decided what came of this peer's share.
    async fn tell(&mut self, expect: Expect, job: &Job) -> Duration {
        let me = self.link.facts.admission.node();
        let mine = job.shares.iter().filter(|share| share.node == me);
        let why = mine.filter_map(|share| share.done.as_ref()?.error.as_deref()).next_back();
        tracing::info!(job = %job.id, why, "what came of this peer's share of a backup is told");
        let told = set(&self.link, expect, job).await;
        self.behind = if matches!(told, Ok(false)) { self.behind + 1 } else { 0 };
        match told {
            Ok(true) => GLANCE,
            Ok(false) if self.behind < TRIES => BEHIND,
            Ok(false) => AGAIN,
            Err(error) => {
                tracing::debug!(%error, "what came of a backup is not decided yet");
                AGAIN
            }
        }
    }

    fn begin(&mut self, task: &Task, begun: Begun, is_kept: bool) {
        let kept = if is_kept { Ok(()) } else { begun.keep(&self.dir) };
        self.crew.as_mut().into_iter().for_each(|crew| crew.begins(begun.clone()));
        if let Err(error) = kept {
            let why = format!("that it is begun cannot be written down: {error}");
            return self.ended(Outcome { error: Some(why), ..Outcome::begun("mesh", self.here.wall()) });
        }
        let (schedule, dir, mesh) = (schedule(task), self.dir.clone(), self.mesh.clone());
        let here = Arc::clone(&self.here);
        self.taking = Some(Box::pin(async move { attempt(&schedule, &dir, &mesh, None, &here).await }));
    }

    fn ended(&mut self, outcome: Outcome) {
        self.taking = None;
        match &outcome.error {
            Some(why) => tracing::warn!(why, "this peer's share of a backup was not taken"),
            None => tracing::info!(records = outcome.records, "this peer's share of a backup"),
        }
        let kept = self.crew.as_mut().and_then(|crew| crew.ended(outcome));
        if let Some(Err(error)) = kept.map(|begun| begun.keep(&self.dir)) {
            tracing::warn!(%error, "what came of this peer's share of a backup cannot be written down");
        }
    }
}

/// What came of what is being taken, if anything is.
async fn taken(taking: &mut Option<Pin<Box<dyn Future<Output = Outcome>>>>) -> Outcome {
    match taking {
        Some(taking) => taking.await,
        None => std::future::pending().await,
    }
}

/// The task, as what runs backups takes it.
fn schedule(task: &Task) -> Schedule {
    let Task { kind, repository, codec, key_file, passphrase_file } = task.clone();
    Schedule {
        name: "mesh".to_owned(),
        kind,
        when: When::Every(EVERY_MIN),
        repository,
        codec,
        keep: Retention::default(),
        grace: Duration::ZERO,
        verify: None,
        key_file,
        passphrase_file,
        role: None,
    }
}

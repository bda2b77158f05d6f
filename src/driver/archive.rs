//! The live archive of a running peer: a thread of its own, which reads the log's files as any other process might.
//!
//! The loop knows nothing of it and never waits for it. A repository that is away is tried again, less and less often up to once a
//! minute; what came meanwhile is shipped when it is back, since each range begins where the last one that is there ends. When the
//! peer has stopped, what is left is shipped within [`FLUSH_MAX`].

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::clock::Clock;
use super::failure::StartError;
use super::life;
use super::peer::Phase;
use crate::backup::{
    Archive, Archiving, BackupCompression, Behind, Covered, Error, Host, Progress, Repository, Secret, Stretch, Ticked,
    check_outside, draw_holder, locate,
};
use crate::config;
use crate::types::WallTime;

/// How long the last range may take when the peer has stopped.
pub(super) const FLUSH_MAX: Duration = Duration::from_secs(10);
/// A repository that is away is tried again at least so often.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// A range may go so long without getting on by one object: a store that does not answer is one that is away. How long it takes in
/// all has no bound: a first one holds the whole log.
const STUCK_MAX: Duration = Duration::from_secs(300);
/// How often it is looked whether so much has come that it is not waited any longer.
const GLANCE: Duration = Duration::from_secs(1);
/// Lives before this one whose words in the repository are known to be of this directory.
const LIVES_MAX: usize = 64;
/// The file of these, in the data directory.
const LIVES: &str = "archive-lives";

/// What an archive does just now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ArchiveState {
    /// It has not reached the repository yet.
    #[default]
    Starting,
    /// What the log held at the last look is in the repository.
    Current,
    /// The repository cannot be reached, or refuses: it is tried again.
    Retrying,
    /// Another peer archives as this node: nothing is written until that one is gone.
    Refused,
    /// The repository that it was writing to is not there any more. It goes on if that comes back; another one is made by a start alone,
    /// since a share that is not mounted looks the same.
    Gone,
    /// The log is damaged: what stands behind that is never archived, however long it is waited.
    LogDamaged,
    /// The peer has stopped.
    Stopped,
}

/// How a peer's archive stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ArchiveStatus {
    /// Where it is.
    pub repository: String,
    /// What it does.
    pub state: ArchiveState,
    /// What of the log is in the repository, and up to when that is all that the log held.
    pub covered: Option<Covered>,
    /// For how long that has not been known to be so, in milliseconds: what would be lost with this peer just now, at most. It stays
    /// small also while nothing is written.
    pub lag_ms: Option<u64>,
    /// The longest that was since the start.
    pub lag_worst_ms: u64,
    /// What is known to be missing in the repository.
    pub behind: Behind,
    /// When the repository last took something.
    pub last_contact: Option<WallTime>,
    /// Backups in the chain that would be restored.
    pub links: usize,
    /// Ranges shipped since the start.
    pub ranges: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Attempts in a row that failed.
    pub failures: u64,
    /// Why the last one did.
    pub last_error: Option<String>,
    /// How often it ships, in milliseconds.
    pub every_ms: u64,
}

/// What the thread tells.
#[derive(Debug)]
pub(super) struct Shared {
    status: Mutex<ArchiveStatus>,
    clock: Clock,
    ended: watch::Receiver<bool>,
}

impl Shared {
    pub(super) fn told(&self) -> ArchiveStatus {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let now = self.clock.now().wall.as_millis();
        status.lag_ms = status.covered.map(|covered| now.saturating_sub(covered.until.as_millis()));
        status.lag_worst_ms = status.lag_worst_ms.max(status.lag_ms.unwrap_or_default());
        status
    }

    fn change(&self, change: impl FnOnce(&mut ArchiveStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits until what was left at the end is shipped, or could not be.
    pub(super) async fn ended(&self) {
        let mut ended = self.ended.clone();
        // An error means that the thread is gone, which is the same.
        let _ = ended.wait_for(|ended| *ended).await;
    }
}

/// The clock and the luck of this process.
pub(super) struct Here {
    clock: Clock,
    /// How often it was heard that something gets on.
    steps: AtomicU64,
}

impl Here {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, steps: AtomicU64::new(0) }
    }
}

impl Host for Here {
    fn wall(&self) -> WallTime {
        self.clock.now().wall
    }

    fn mono(&self) -> u64 {
        self.clock.now().mono.as_nanos() / 1_000
    }

    fn progress(&self, _: &Progress) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    fn life(&self) -> String {
        life::name().to_owned()
    }

    fn has_ended(&self, life: &str) -> bool {
        life::has_ended(life)
    }

    fn random(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("a system without entropy cannot name or encrypt anything");
    }
}

/// Whether it can be kept; its key and its codec.
///
/// # Errors
/// As [`start`].
pub(super) fn check(settings: &config::Archive, dir: &Path) -> Result<(Option<Secret>, BackupCompression), StartError> {
    let url = settings.repository.clone();
    let refuse = |why: String| StartError::Archive { repository: url.clone(), why };
    let told = |error: Error| refuse(error.to_string());
    check_outside(&url, dir).map_err(told)?;
    let secret = Secret::given(settings.key_file.as_deref(), settings.passphrase_file.as_deref()).map_err(told)?;
    let codec: BackupCompression = settings.compression.parse().map_err(refuse)?;
    if url.contains("://") {
        // What is no location is said now; a directory may be on a disk that is not there yet.
        locate(&url, false)
            .or_else(|error| if url.starts_with("file:") { locate(&url, true) } else { Err(error) })
            .map_err(told)?;
    }
    Ok((secret, codec))
}

/// Starts it.
///
/// # Errors
/// [`StartError::Archive`] for what will not be better later: the location, the key, the data directory. A repository that is away
/// is none.
pub(super) fn start(
    settings: &config::Archive,
    dir: &Path,
    mesh: String,
    clock: &Clock,
    phase: watch::Receiver<Phase>,
) -> Result<Arc<Shared>, StartError> {
    let (secret, codec) = check(settings, dir)?;
    let url = settings.repository.clone();
    let refuse = |why: String| StartError::Archive { repository: url.clone(), why };
    let here = Here::new(clock.clone());
    let holder = draw_holder(&here);
    let lives = lives(dir, &holder).map_err(|error| refuse(format!("{LIVES} in the data directory: {error}")))?;
    let how = Archiving {
        dir: dir.to_owned(),
        mesh: Some(mesh),
        every_micros: u64::try_from(settings.every.as_micros()).unwrap_or(u64::MAX),
        codec,
        grace_micros: u64::try_from(settings.grace.as_micros()).unwrap_or(u64::MAX),
        holder,
        before: lives.before,
        ended: lives.ended,
    };
    let (ends, ended) = watch::channel(false);
    let every_ms = how.every_micros / 1_000;
    let status = ArchiveStatus { repository: url.clone(), every_ms, ..ArchiveStatus::default() };
    let shared = Arc::new(Shared { status: Mutex::new(status), clock: clock.clone(), ended });
    let work = Work {
        url: url.clone(),
        secret,
        how,
        bytes: settings.bytes,
        every: settings.every,
        here,
        phase,
        shared: Arc::clone(&shared),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| refuse(format!("cannot start a thread: {error}")))?;
    let thread = std::thread::Builder::new().name("archive".into());
    let spawned = thread.spawn(move || {
        runtime.block_on(work.run());
        // Nobody may wait for it any more.
        ends.send_replace(true);
    });
    spawned.map_err(|error| refuse(format!("cannot start a thread: {error}")))?;
    Ok(shared)
}

/// The names of lives before this one.
#[derive(Debug, Default, PartialEq)]
struct Lives {
    before: Vec<String>,
    /// Those of this very directory since this machine was started. They have ended, since one process at a time has the directory.
    ended: Vec<String>,
}

/// The names of the lives before, and this one written down with them before anybody else hears of it.
fn lives(dir: &Path, holder: &str) -> std::io::Result<Lives> {
    let path = dir.join(LIVES);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    let place = place(dir)?;
    let known: Vec<&str> = text.lines().collect();
    let known = &known[known.len().saturating_sub(LIVES_MAX - 1)..];
    let mut lives = Lives::default();
    for (life, at) in known.iter().map(|line| line.split_once(' ').unwrap_or((line, ""))) {
        lives.before.push(life.to_owned());
        if place.as_deref() == Some(at) {
            lives.ended.push(life.to_owned());
        }
    }
    let fresh = path.with_extension("new");
    let mut file = fs::File::create(&fresh)?;
    let mine = format!("{holder} {}", place.unwrap_or_default());
    known.iter().copied().chain([mine.trim_end()]).try_for_each(|life| writeln!(file, "{life}"))?;
    file.sync_all()?;
    fs::rename(&fresh, &path)?;
    fs::File::open(dir)?.sync_all()?;
    Ok(lives)
}

/// By which this directory is told from every copy of it: the kernel's name for it, and for its own run. None where it has none for
/// that.
fn place(dir: &Path) -> std::io::Result<Option<String>> {
    let about = fs::metadata(dir)?;
    Ok(life::kernel_run().ok().map(|run| format!("{run}/{}/{}", about.dev(), about.ino())))
}

/// What the thread works with.
struct Work {
    url: String,
    secret: Option<Secret>,
    how: Archiving,
    bytes: u64,
    every: Duration,
    here: Here,
    phase: watch::Receiver<Phase>,
    shared: Arc<Shared>,
}

impl Work {
    async fn run(mut self) {
        let mut archive = None;
        let mut failures = 0_u32;
        while !self.is_stopped() {
            let done = self.step_while_it_gets_on(&mut archive).await;
            let wait = match self.tell(archive.as_ref(), done) {
                true => {
                    failures = 0;
                    self.every
                }
                false => {
                    failures += 1;
                    let doubled = self.every.saturating_mul(1 << failures.min(10));
                    doubled.min(RETRY_MAX.max(self.every))
                }
            };
            self.wait(wait, archive.as_mut(), failures == 0).await;
        }
        if let Some(archive) = &mut archive {
            let ended = timeout(FLUSH_MAX, archive.end(&self.here)).await;
            let done = ended.unwrap_or_else(|_| Err(Error::Source("the repository did not answer in time".into())));
            if let Err(error) = &done {
                tracing::warn!(%error, repository = %self.url, "what came last is not in the archive");
            }
            self.tell(Some(archive), done.map_err(Into::into));
        }
        self.shared.change(|status| {
            if status.state != ArchiveState::LogDamaged {
                status.state = ArchiveState::Stopped;
            }
        });
    }

    fn is_stopped(&self) -> bool {
        self.phase.has_changed().is_err() || *self.phase.borrow() == Phase::Stopped
    }

    /// A step, unless it gets nowhere. When the peer has stopped, it gets as long as what is left at the end.
    async fn step_while_it_gets_on(&self, archive: &mut Option<Archive>) -> Result<Ticked, Failed> {
        let mut phase = self.phase.clone();
        let stopped = async move {
            // An error means that the peer is gone, which is the same.
            let _ = phase.wait_for(|phase| *phase == Phase::Stopped).await;
            sleep(FLUSH_MAX).await;
        };
        let (mut step, mut stopped) = (pin!(self.step(archive)), pin!(stopped));
        loop {
            let steps = self.here.steps.load(Ordering::Relaxed);
            tokio::select! {
                biased;
                done = &mut step => return done,
                () = &mut stopped => return Err("the peer has stopped".to_owned().into()),
                () = sleep(STUCK_MAX) => if self.here.steps.load(Ordering::Relaxed) == steps {
                    return Err(format!("it has not got on for {} s", STUCK_MAX.as_secs()).into());
                },
            }
        }
    }

    async fn step(&self, archive: &mut Option<Archive>) -> Result<Ticked, Failed> {
        let archive = match archive {
            Some(archive) => archive,
            None => {
                let location = locate(&self.url, true)?;
                let stretch = Stretch::default();
                let repository =
                    Repository::open_or_make(location, &self.url, self.secret.as_ref(), stretch, &self.here).await?;
                archive.insert(Archive::begin(repository, self.how.clone(), &self.here)?)
            }
        };
        Ok(archive.tick(&self.here).await?)
    }

    /// Keeps what came of it; whether it was well.
    fn tell(&self, archive: Option<&Archive>, done: Result<Ticked, Failed>) -> bool {
        let good = done.is_ok();
        self.shared.change(|status| {
            let lag =
                status.covered.map(|covered| self.here.wall().as_millis().saturating_sub(covered.until.as_millis()));
            status.lag_worst_ms = status.lag_worst_ms.max(lag.unwrap_or_default());
            if let Some(archive) = archive {
                status.covered = archive.covered();
                status.behind = archive.behind();
                status.last_contact = archive.last_contact();
                status.links = archive.links();
            }
            match done {
                Ok(ticked) => {
                    if status.failures > 0 {
                        tracing::info!(repository = %self.url, "the archive goes on");
                    }
                    (status.state, status.failures, status.last_error) = (ArchiveState::Current, 0, None);
                    if let Ticked::Shipped(range) = ticked {
                        status.ranges += 1;
                        status.bytes += range.statistics.stored_bytes;
                    }
                }
                Err(Failed { why, state }) => {
                    if status.last_error.as_ref() != Some(&why) {
                        let hope = match state {
                            ArchiveState::Gone => {
                                "the archive cannot go on: its repository is gone; unless it comes back, restart the peer"
                            }
                            ArchiveState::LogDamaged => "the archive cannot go on, and will not: the log is damaged",
                            _ => "the archive cannot go on; it is tried again",
                        };
                        tracing::warn!(repository = %self.url, %why, "{hope}");
                    }
                    status.state = state;
                    status.failures += 1;
                    status.last_error = Some(why);
                }
            }
        });
        good
    }

    /// Waits so long, or until much has come, or until the peer has stopped.
    async fn wait(&mut self, wait: Duration, mut archive: Option<&mut Archive>, good: bool) {
        let until = Instant::now() + wait;
        while Instant::now() < until {
            let glance = until.min(Instant::now() + GLANCE);
            let stopped = self.phase.wait_for(|phase| *phase == Phase::Stopped);
            if timeout(glance - Instant::now(), stopped).await.is_ok() {
                return;
            }
            if let Some(archive) = archive.as_deref_mut().filter(|_| wait > GLANCE) {
                let Ok(behind) = archive.look(&self.here) else { continue };
                self.shared.change(|status| status.behind = behind);
                if good && behind.bytes >= self.bytes {
                    return;
                }
            }
        }
        sleep_until(until).await;
    }
}

/// Why a step failed.
struct Failed {
    why: String,
    state: ArchiveState,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        let state = match error {
            Error::Claimed { .. } => ArchiveState::Refused,
            Error::NoRepository { .. } => ArchiveState::Gone,
            _ if error.is_log_damaged() => ArchiveState::LogDamaged,
            _ => ArchiveState::Retrying,
        };
        Self { why: error.to_string(), state }
    }
}

impl From<String> for Failed {
    fn from(why: String) -> Self {
        Self { why, state: ArchiveState::Retrying }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A share that is not mounted looks like a repository that was removed, so none is made in its place while the peer runs.
    #[test]
    fn a_repository_that_is_gone_is_told_as_such() {
        let state = |error: Error| Failed::from(error).state;
        assert_eq!(state(Error::NoRepository { at: "/srv".into() }), ArchiveState::Gone);
        assert_eq!(state(Error::NoKey), ArchiveState::Retrying);
    }

    #[test]
    fn former_lives_are_known_and_few_are_kept() {
        let dir = tempfile::TempDir::new().unwrap();
        assert_eq!(lives(dir.path(), "a").unwrap(), Lives::default());
        let second = lives(dir.path(), "b").unwrap();
        assert_eq!(second.before, ["a"]);
        // A copy does not take them for ended: the original may live.
        let copy = tempfile::TempDir::new().unwrap();
        fs::copy(dir.path().join(LIVES), copy.path().join(LIVES)).unwrap();
        let copied = lives(copy.path(), "c").unwrap();
        assert_eq!((copied.before, copied.ended), (vec!["a".into(), "b".into()], Vec::<String>::new()));
        if place(dir.path()).unwrap().is_some() {
            assert_eq!(second.ended, ["a"]);
        }
        (0..200).for_each(|n| drop(lives(dir.path(), &n.to_string()).unwrap()));
        let kept = lives(dir.path(), "c").unwrap().before;
        assert_eq!((kept.len(), kept.last().map(String::as_str)), (LIVES_MAX - 1, Some("199")));
    }
}

//! Schedules of backups: one line of text each, in the configuration and in a file of the data directory, and what came of them.
//!
//! `NAME kind=full at=03:00 repository=/srv/backups keep-daily=7`: a run is due when its time has come since the run before, so that
//! one that was missed while the peer was down is made up for once, and not as often as it was missed. Times of day are in UTC.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::codec::BackupCompression;
use super::id::BackupId;
use super::manifest::BackupType;
use super::retention::Retention;
use super::verify::Level;
use crate::config::span;
use crate::roles::RoleName;
use crate::types::WallTime;

/// Most schedules of a peer.
pub const SCHEDULES_MAX: usize = 32;
/// Results that are kept; twice as many may be in the file for a while.
pub const RESULTS_MAX: usize = 1_000;
/// The shortest time between two runs. For less there are archives.
pub const EVERY_MIN: Duration = Duration::from_secs(60);
/// Runs that failed are tried again after so long at most.
const RETRY_MICROS: u64 = 300_000_000;
/// No run comes later than this for spreading's sake.
const JITTER_MICROS_MAX: u64 = 300_000_000;
/// The longest file of either kind, in bytes.
const FILE_MAX: u64 = 16 << 20;
/// The file of schedules, in the data directory.
const SCHEDULES: &str = "backup-schedules";
/// The file of results.
const RESULTS: &str = "backup-results.jsonl";
const DAY_MICROS: u64 = 86_400_000_000;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// When a backup is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// So long after the run before.
    Every(Duration),
    /// At this minute of the day, in UTC, on these days of the week; Monday is the first.
    At {
        /// Whether it is one of the days.
        days: [bool; 7],
        /// Minutes since midnight.
        minute: u16,
    },
}

/// A schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// By what it is known: letters, digits and dashes.
    pub name: String,
    /// What is backed up.
    pub kind: BackupType,
    /// When.
    pub when: When,
    /// Where to.
    pub repository: String,
    /// How it is compressed.
    pub codec: BackupCompression,
    /// What is kept afterwards; nothing of it said: all.
    pub keep: Retention,
    /// How long what is not kept waits to be deleted.
    pub grace: Duration,
    /// How closely the repository is looked at afterwards.
    pub verify: Option<Level>,
    /// The file of the repository's key.
    pub key_file: Option<PathBuf>,
    /// The file of its passphrase.
    pub passphrase_file: Option<PathBuf>,
    /// Only while this peer holds that role.
    pub role: Option<RoleName>,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Of which schedule.
    pub schedule: String,
    /// It is one of the configuration, which the data directory's file does not name.
    #[serde(default)]
    pub configured: bool,
    /// When it was begun.
    pub started: WallTime,
    /// When it ended.
    pub finished: WallTime,
    /// Whether all of it was done.
    pub ok: bool,
    /// Why not.
    pub error: Option<String>,
    /// The backup, if it was made.
    pub backup: Option<BackupId>,
    /// What it holds, beside others.
    pub kind: Option<BackupType>,
    /// Records in it.
    pub records: u64,
    /// Bytes of its objects.
    pub stored_bytes: u64,
    /// The last record of the main chain and of the events' chain.
    pub upto: Option<(u64, u64)>,
    /// For how long what came after the backup before was in no backup of this schedule, in milliseconds: what would have been lost.
    pub rpo_ms: Option<u64>,
    /// Backups that were marked and deleted afterwards.
    pub pruned: (u64, u64),
    /// Objects that were looked at afterwards.
    pub verified: u64,
}

impl When {
    /// The last time up to now at which a run was due, after one at `last`.
    fn due(&self, last: WallTime, now: WallTime) -> Option<WallTime> {
        match self {
            Self::Every(every) => {
                let every = u64::try_from(every.as_micros()).unwrap_or(u64::MAX);
                let due = last.as_micros().saturating_add(every);
                (due <= now.as_micros()).then(|| WallTime::from_micros(due))
            }
            Self::At { days, minute } => {
                let today = now.as_micros() / DAY_MICROS;
                let at = |day: u64| day * DAY_MICROS + u64::from(*minute) * 60_000_000;
                let of_week = |day: u64| usize::try_from((day + 3) % 7).expect("there are seven");
                let past = (0..=7).filter_map(|ago| today.checked_sub(ago)).filter(|day| days[of_week(*day)]).map(at);
                let due = past.filter(|at| *at <= now.as_micros()).max()?;
                (due > last.as_micros()).then(|| WallTime::from_micros(due))
            }
        }
    }
}

impl Schedule {
    /// Whether it is to be run now. `last` is what came of it last, `since` when this peer began to look after it. Runs are spread, by
    /// up to a tenth of their period and five minutes, by name and `luck`.
    #[must_use]
    pub fn is_due(&self, last: Option<&Outcome>, since: WallTime, luck: u64, now: WallTime) -> bool {
        let Some(last) = last else {
            return match &self.when {
                // Of what was never backed up there is no reason to wait.
                When::Every(_) => true,
                When::At { .. } => self.when.due(since, now).is_some_and(|due| self.is_spread(due, luck, now)),
            };
        };
        if !last.ok && last.finished.as_micros().saturating_add(RETRY_MICROS) <= now.as_micros() {
            return true;
        }
        self.when.due(last.started, now).is_some_and(|due| self.is_spread(due, luck, now))
    }

    /// After how long a run that failed is tried again.
    #[must_use]
    pub fn retry(&self) -> Duration {
        let most = Duration::from_micros(RETRY_MICROS);
        match self.when {
            When::Every(every) => every.min(most),
            When::At { .. } => most,
        }
    }

    /// The first of its places that is a path from nowhere in particular: a peer's own directory may be another at each start.
    #[must_use]
    pub fn relative(&self) -> Option<String> {
        let repository = Some(self.repository.as_str()).filter(|url| !url.contains("://")).map(Path::new);
        let places = [repository, self.key_file.as_deref(), self.passphrase_file.as_deref()];
        places.into_iter().flatten().find(|place| place.is_relative()).map(|place| place.display().to_string())
    }

    /// The same with paths as they are from here.
    ///
    /// # Errors
    /// What the system refuses, and a path that does not fit in a line of words.
    pub fn made_absolute(mut self) -> Result<Self, String> {
        let from_here = |path: &Path| std::path::absolute(path).map_err(|error| format!("{}: {error}", path.display()));
        if !self.repository.contains("://") {
            self.repository = from_here(Path::new(&self.repository))?.display().to_string();
        }
        for file in [&mut self.key_file, &mut self.passphrase_file] {
            *file = file.as_deref().map(from_here).transpose()?;
        }
        match self.to_string().parse::<Self>() {
            Ok(read) if read == self => Ok(self),
            _ => Err(format!("{self:?}: a path with blanks in it cannot be written down in a schedule")),
        }
    }

    fn is_spread(&self, due: WallTime, luck: u64, now: WallTime) -> bool {
        let most = match self.when {
            When::Every(every) => u64::try_from(every.as_micros() / 10).unwrap_or(u64::MAX).min(JITTER_MICROS_MAX),
            When::At { .. } => JITTER_MICROS_MAX,
        };
        let name = blake3::hash(format!("{}{luck}{}", self.name, due.as_micros()).as_bytes());
        let drawn = u64::from_le_bytes(*name.as_bytes().first_chunk().expect("a hash is longer"));
        due.as_micros().saturating_add(drawn % most.max(1)) <= now.as_micros()
    }

    /// The schedules in the file of a data directory; none if there is no file.
    ///
    /// # Errors
    /// The file cannot be read, or a line of it is no schedule.
    pub fn read(dir: &Path) -> Result<Vec<Self>, String> {
        match Self::read_good(dir)? {
            (schedules, None) => Ok(schedules),
            (_, Some(why)) => Err(why),
        }
    }

    /// The same, without the lines that are no schedules: these are told in words. One that another version wrote, or a hand, does not
    /// keep the others from running.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read_good(dir: &Path) -> Result<(Vec<Self>, Option<String>), String> {
        let path = dir.join(SCHEDULES);
        let fail = |what: String| format!("{}: {what}", path.display());
        let text = read(&path).map_err(|error| fail(error.to_string()))?;
        let (mut schedules, mut wrong) = (Vec::new(), Vec::new());
        for (at, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
            match line.parse() {
                Ok(_) if schedules.len() == SCHEDULES_MAX => {
                    wrong.push(format!("line {at}: at most {SCHEDULES_MAX} schedules are looked after"));
                }
                Ok(schedule) => schedules.push(schedule),
                Err(why) => wrong.push(format!("line {at}: {why}")),
            }
        }
        let more = if wrong.len() > 1 { format!("; and {} more lines", wrong.len() - 1) } else { String::new() };
        let wrong = wrong.into_iter().next().map(|first| fail(format!("{first}{more}")));
        Ok((schedules, wrong))
    }

    /// Writes the file anew: all of it is there, or what was.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn write(dir: &Path, schedules: &[Self]) -> io::Result<()> {
        let text: String = schedules.iter().map(|schedule| format!("{schedule}\n")).collect();
        replace(&dir.join(SCHEDULES), &text)
    }
}

impl Outcome {
    /// Of a run that begins, of which nothing is known yet.
    #[must_use]
    pub fn begun(schedule: &str, at: WallTime) -> Self {
        Self {
            schedule: schedule.to_owned(),
            configured: false,
            started: at,
            finished: at,
            ok: false,
            error: None,
            backup: None,
            kind: None,
            records: 0,
            stored_bytes: 0,
            upto: None,
            rpo_ms: None,
            pruned: (0, 0),
            verified: 0,
        }
    }

    /// What is kept of a data directory's runs, oldest first. A line that is not whole was being written when its peer was killed.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn read(dir: &Path) -> io::Result<Vec<Self>> {
        let text = read(&dir.join(RESULTS))?;
        let all: Vec<Self> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        Ok(all[all.len().saturating_sub(RESULTS_MAX)..].to_vec())
    }

    /// Writes it down behind the others, durably.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn keep(&self, dir: &Path) -> io::Result<()> {
        let path = dir.join(RESULTS);
        let line = serde_json::to_string(self).expect("these values have text keys and finite numbers") + "\n";
        let text = read(&path)?;
        if text.lines().count() >= 2 * RESULTS_MAX || (!text.is_empty() && !text.ends_with('\n')) {
            let kept = Self::read(dir)?;
            let lines = kept.iter().map(|outcome| serde_json::to_string(outcome).expect("it was read") + "\n");
            return replace(&path, &(lines.collect::<String>() + &line));
        }
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        file.write_all(line.as_bytes())?;
        file.sync_all()
    }
}

pub(super) fn read(path: &Path) -> io::Result<String> {
    match fs::metadata(path) {
        Ok(meta) if meta.len() > FILE_MAX => {
            Err(io::Error::other(format!("{} bytes, {FILE_MAX} are the most", meta.len())))
        }
        Ok(_) => fs::read_to_string(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
    }
}

pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(every) => write!(f, "every={}", Span(*every)),
            Self::At { days, minute } => {
                f.write_str("at=")?;
                if *days != [true; 7] {
                    let named = DAYS.iter().zip(days).filter(|(_, is)| **is).map(|(name, _)| *name);
                    write!(f, "{}/", named.collect::<Vec<_>>().join(","))?;
                }
                write!(f, "{:02}:{:02}", minute / 60, minute % 60)
            }
        }
    }
}

/// A time that passes, as [`span`] reads it.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
        let unit = units.into_iter().find(|(unit, _)| millis >= *unit && millis.is_multiple_of(*unit));
        let (unit, name) = unit.unwrap_or((1, "ms"));
        write!(f, "{}{name}", millis / unit)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, kind, when, repository, codec, keep, grace, verify, key_file, passphrase_file, role } = self;
        write!(f, "{name} kind={kind} {when} repository={repository} compression={codec}")?;
        for (rule, count) in [
            ("last", keep.last),
            ("hourly", keep.hourly),
            ("daily", keep.daily),
            ("weekly", keep.weekly),
            ("monthly", keep.monthly),
        ] {
            if count > 0 {
                write!(f, " keep-{rule}={count}")?;
            }
        }
        write!(f, " grace={}", Span(*grace))?;
        if let Some(level) = verify {
            write!(f, " verify={}", level.name())?;
        }
        for (key, path) in [("key-file", key_file), ("passphrase-file", passphrase_file)] {
            if let Some(path) = path {
                write!(f, " {key}={}", path.display())?;
            }
        }
        if let Some(role) = role {
            write!(f, " role={role}")?;
        }
        Ok(())
    }
}

/// `fri,sun/03:00`, or a time alone for every day.
fn at(text: &str) -> Option<When> {
    let (days, time) = match text.split_once('/') {
        None => ([true; 7], text),
        Some((named, time)) => {
            let mut days = [false; 7];
            for name in named.split(',') {
                days[DAYS.iter().position(|day| *day == name.to_ascii_lowercase())?] = true;
            }
            (days, time)
        }
    };
    let (hour, minute) = time.split_once(':')?;
    let number = |text: &str, most: u16| {
        let number = (text.len() == 2).then(|| text.parse::<u16>().ok()).flatten();
        number.filter(|number| *number < most)
    };
    Some(When::At { days, minute: number(hour, 24)? * 60 + number(minute, 60)? })
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let name = words.next().filter(|name| !name.contains('=')).ok_or("a schedule begins with its name")?;
        if name.len() > 64 || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            return Err(format!("{name:?}: a name is letters, digits and dashes, 64 at most"));
        }
        let (mut kind, mut when, mut repository) = (BackupType::Incremental, None, None);
        let mut schedule = Self {
            name: name.to_owned(),
            kind,
            when: When::Every(Duration::ZERO),
            repository: String::new(),
            codec: BackupCompression::default(),
            keep: Retention::default(),
            grace: Duration::from_secs(86_400),
            verify: None,
            key_file: None,
            passphrase_file: None,
            role: None,
        };
        for word in words {
            let (key, value) = word.split_once('=').ok_or_else(|| format!("{word:?}: expected KEY=VALUE"))?;
            let bad = |expected: &str| format!("{word:?}: expected {expected}");
            let count = || value.parse::<u32>().map_err(|_| bad("a number"));
            let time = || span(value).ok_or_else(|| bad("a number with its unit: s, m, h or d"));
            if matches!(key, "every" | "at") && when.is_some() {
                return Err(format!("{word:?}: when is said already: one of every= and at="));
            }
            match key {
                "kind" => {
                    kind = match value {
                        "full" => BackupType::Full,
                        "incremental" => BackupType::Incremental,
                        "differential" => BackupType::Differential,
                        _ => return Err(bad("full, incremental or differential")),
                    }
                }
                "every" if time()? >= EVERY_MIN => when = Some(When::Every(time()?)),
                "every" => {
                    return Err(bad(
                        "a minute at least; what is to be saved sooner is for a live archive: `archive.repository`",
                    ));
                }
                "at" => when = Some(at(value).ok_or_else(|| bad("HH:MM in UTC, or days before it: fri,sun/03:00"))?),
                "repository" => repository = Some(value.to_owned()),
                "compression" => schedule.codec = value.parse()?,
                "keep-last" => schedule.keep.last = count()?,
                "keep-hourly" => schedule.keep.hourly = count()?,
                "keep-daily" => schedule.keep.daily = count()?,
                "keep-weekly" => schedule.keep.weekly = count()?,
                "keep-monthly" => schedule.keep.monthly = count()?,
                "grace" => schedule.grace = time()?,
                "verify" => {
                    schedule.verify = Some(Level::named(value).ok_or_else(|| bad("list, checksums or content"))?)
                }
                "key-file" => schedule.key_file = Some(value.into()),
                "passphrase-file" => schedule.passphrase_file = Some(value.into()),
                "role" => schedule.role = Some(RoleName::new(value).map_err(|why| why.to_string())?),
                _ => return Err(format!("{key:?} is not known")),
            }
        }
        schedule.kind = kind;
        schedule.when = when.ok_or("when is missing: every=6h, at=03:00 or at=fri,sun/03:00")?;
        schedule.repository = repository.filter(|url| !url.is_empty()).ok_or("repository=URL is missing")?;
        Ok(schedule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_made_absolute_and_failed_runs_come_again_within_their_period() {
        let schedule: Schedule = "x every=2m repository=y key-file=k".parse().unwrap();
        assert_eq!((schedule.relative().as_deref(), schedule.retry()), (Some("y"), Duration::from_secs(120)));
        let made = schedule.made_absolute().unwrap();
        assert!(made.relative().is_none() && made.repository.ends_with("/y"), "{made}");
        let url: Schedule = "x at=03:00 repository=s3://b/y".parse().unwrap();
        assert_eq!((url.relative(), url.retry()), (None, Duration::from_secs(300)));
        assert_eq!(url.clone().made_absolute(), Ok(url));
        let mut blank: Schedule = "x at=03:00 repository=/y".parse().unwrap();
        blank.repository = "/a b".into();
        assert!(blank.made_absolute().unwrap_err().contains("blanks"));
    }

    /// 2026-11-25T12:00:00Z, a Wednesday.
    const NOON: u64 = 1_795_608_000_000_000;
    const HOUR: u64 = 3_600_000_000;

    fn at(micros: u64) -> WallTime {
        WallTime::from_micros(micros)
    }

    fn outcome(started: u64, ok: bool) -> Outcome {
        Outcome { finished: at(started + 1), ok, ..Outcome::begun("x", at(started)) }
    }

    #[test]
    fn a_schedule_is_one_line_and_what_is_none_is_refused_in_words() {
        for text in [
            "nightly kind=full at=03:00 repository=/srv/b compression=zstd keep-daily=7 grace=1d",
            "x kind=incremental every=90m repository=s3://b/x compression=none grace=2h verify=content key-file=/k",
            "w kind=differential at=fri,sun/23:59 repository=b compression=lz4 keep-last=1 keep-monthly=3 grace=1d",
        ] {
            let schedule: Schedule = text.parse().unwrap();
            assert_eq!(schedule.to_string(), text);
        }
        let why = |text: &str| text.parse::<Schedule>().unwrap_err();
        assert!(why("").contains("name") && why("kind=full").contains("name"));
        assert!(why("x every=1h").contains("repository") && why("x repository=y").contains("every=6h"));
        assert!(why("x every=59s repository=y").contains("a minute") && why("x at=24:00").contains("HH:MM"));
        assert!(why("x at=fry/03:00").contains("HH:MM") && why("x keep-last=many").contains("a number"));
        assert!(why("x every=1h at=03:00 repository=y").contains("one of every= and at="));
        assert!(why("x when=now").contains("not known") && why("a/b every=1h").contains("letters"));
    }

    #[test]
    fn what_was_missed_is_made_up_for_once_and_runs_are_spread() {
        let due = |text: &str, last: Option<Outcome>, now: u64| {
            let schedule: Schedule = format!("x repository=y {text}").parse().unwrap();
            schedule.is_due(last.as_ref(), at(NOON - HOUR), 7, at(now))
        };
        let ran = |hours_ago: u64| Some(outcome(NOON - hours_ago * HOUR, true));
        assert!(due("every=2h", None, NOON) && due("every=2h", ran(50), NOON) && !due("every=2h", ran(1), NOON));
        // A tenth of the period later it is due for certain.
        assert!(due("every=2h", ran(2), NOON + HOUR / 5));
        assert!(!due("at=03:00", None, NOON), "it was not looked after then");
        assert!(due("at=11:30", None, NOON) && !due("at=12:30", None, NOON));
        assert!(due("at=03:00", ran(20), NOON) && !due("at=03:00", ran(8), NOON));
        assert!(due("at=tue/03:00", ran(24 * 9), NOON) && !due("at=tue/03:00", ran(24), NOON));
        // One that failed is tried again, not at once.
        let failed = Some(outcome(NOON - HOUR, false));
        assert!(due("at=03:00", failed.clone(), NOON) && !due("at=03:00", failed, NOON - HOUR + 1_000_000));
    }

    #[test]
    fn schedules_and_results_outlive_a_kill_and_are_bounded() {
        let dir = tempfile::TempDir::new().unwrap();
        assert_eq!(Schedule::read(dir.path()), Ok(Vec::new()));
        let schedules: Vec<Schedule> = vec!["x every=1h repository=y".parse().unwrap()];
        Schedule::write(dir.path(), &schedules).unwrap();
        assert_eq!(Schedule::read(dir.path()), Ok(schedules));
        fs::write(dir.path().join(SCHEDULES), "\nx every=never repository=y\n").unwrap();
        assert!(Schedule::read(dir.path()).unwrap_err().contains("line 2"));
        let good = "good at=03:00 repository=/y";
        fs::write(dir.path().join(SCHEDULES), format!("x every=30s repository=/y\n{good}\n?\n")).unwrap();
        let (schedules, wrong) = Schedule::read_good(dir.path()).unwrap();
        assert_eq!(schedules, [good.parse().unwrap()]);
        assert!(
            wrong.as_ref().is_some_and(|why| why.contains("line 1") && why.ends_with("and 1 more lines")),
            "{wrong:?}"
        );
        outcome(1, true).keep(dir.path()).unwrap();
        let path = dir.path().join(RESULTS);
        fs::write(&path, fs::read_to_string(&path).unwrap() + "{\"schedule\":\"ha").unwrap();
        outcome(2, true).keep(dir.path()).unwrap();
        let started =
            |dir: &Path| Outcome::read(dir).unwrap().iter().map(|it| it.started.as_micros()).collect::<Vec<_>>();
        assert_eq!(started(dir.path()), [1, 2]);
        let many: String =
            (0..2 * RESULTS_MAX as u64 + 5).map(|n| serde_json::to_string(&outcome(n, true)).unwrap() + "\n").collect();
        fs::write(&path, many).unwrap();
        outcome(9_999, false).keep(dir.path()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), RESULTS_MAX + 1);
        assert_eq!(started(dir.path()).last(), Some(&9_999));
    }
}

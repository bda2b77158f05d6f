//! Point-in-time recovery for whoever embeds this library: one value, one call.
//!
//! It does what `oxigdal-ha restore` does: the log of a data directory, whose peer may be running, is written anew up to a moment
//! into a directory beside it. What else there is, backups, a new timeline, rebuilding a lost peer, is explained there.
//!
//! ```no_run
//! use oxigdal_ha::recovery::{RecoveryConfig, RecoveryTarget, pitr::PitrManager};
//!
//! # async fn recover() -> Result<(), Box<dyn std::error::Error>> {
//! let manager = PitrManager::new(RecoveryConfig::default(), "/var/lib/oxigdal/data");
//! let result = manager.recover(RecoveryTarget::Latest).await?;
//! println!("{} transactions replayed in {} ms", result.transactions_replayed, result.duration_ms);
//! # Ok(())
//! # }
//! ```

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::history::{self, Entry};
use super::image::ImageError;
use super::side::{self, Lost};
use super::target::{Mark, Stamp, Target};
use super::{LocateError, Source, SourceError, Survey};
use crate::config::Config;
use crate::types::{Lsn, WallTime};
use crate::wal;

/// How a recovery is done, and how a node is run that is to be recovered: the fields of the user's documents are kept with their
/// defaults, and [`configure`](Self::configure) lays them on a node's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryConfig {
    /// A node takes a snapshot after so long, in seconds, if nothing else has it take one sooner.
    pub snapshot_interval_secs: u64,
    /// How long a node keeps events of streams, in seconds. What its log says of documents is never given up: any moment of it can be
    /// recovered.
    pub wal_retention_secs: u64,
    /// Whether a node's snapshots are compressed, by zstd.
    pub enable_snapshot_compression: bool,
    /// Whether what is shipped of the log into an archive is compressed, by zstd. The log itself is not: record by record that saves 2 %.
    pub enable_wal_compression: bool,
    /// Where the log of that moment goes: a directory that is not there, or is empty. Without one: beside the data directory,
    /// `DATA.recovered`.
    pub into: Option<PathBuf>,
    /// How long the segments of the new log are, in bytes.
    pub wal_segment_size: u64,
    /// Whether what stands at the target itself is left out.
    pub exclusive: bool,
    /// Whether it is only said what would be done.
    pub dry_run: bool,
}

impl Default for RecoveryConfig {
    /// Beside the data directory, in segments as a peer writes them.
    fn default() -> Self {
        Self {
            snapshot_interval_secs: 3_600,
            wal_retention_secs: 604_800,
            enable_snapshot_compression: true,
            enable_wal_compression: true,
            into: None,
            wal_segment_size: wal::Config::default().segment_bytes,
            exclusive: false,
            dry_run: false,
        }
    }
}

impl RecoveryConfig {
    /// The configuration of a node that is to be recovered so: for [`Mesh::builder`](crate::driver::mesh::Mesh::builder). What is outside of a value's bounds
    /// is brought inside.
    #[must_use]
    pub fn configure(&self, mut config: Config) -> Config {
        let codec = |on: bool| if on { wal::Codec::Zstd } else { wal::Codec::None };
        config.snapshots.every = Duration::from_secs(self.snapshot_interval_secs.clamp(1, 31_536_000));
        config.snapshots.codec = codec(self.enable_snapshot_compression);
        config.streams.retention.age = Some(Duration::from_secs(self.wal_retention_secs)).filter(|age| !age.is_zero());
        config.wal.segment_bytes = self.wal_segment_size.clamp(64 << 10, 1 << 30);
        config.archive.compression = codec(self.enable_wal_compression).to_string();
        config
    }
}

/// To which moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoveryTarget {
    /// All that there is.
    Latest,
    /// The state at a time, by the log's own stamps.
    Timestamp(SystemTime),
    /// The record of the main chain with this number, its LSN.
    TransactionId(u64),
    /// A named restore point.
    RestorePoint(String),
    /// The moment of the snapshot with this number, one of those that [`beside`](super::snapshot::beside) finds.
    Snapshot(u64),
}

impl RecoveryTarget {
    fn target(&self) -> Target {
        match self {
            Self::Latest => Target::Latest,
            Self::Timestamp(at) => Target::Time(wall(*at)),
            Self::TransactionId(id) => Target::Lsn(Lsn::new(*id)),
            Self::RestorePoint(name) => Target::Point(name.clone()),
            Self::Snapshot(id) => Target::Snapshot(id.to_string()),
        }
    }
}

/// Before 1970 there is no log.
fn wall(at: SystemTime) -> WallTime {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    WallTime::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// What was recovered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryResult {
    /// What was asked for.
    pub target: RecoveryTarget,
    /// The last record of the main chain that was taken, and when it became part of the log.
    pub recovered_to: Mark,
    /// Records that are in the new log and were in the old one.
    pub transactions_replayed: u64,
    /// What the log holds beyond.
    pub lost: Lost,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Where the new log is; nothing after a dry run.
    pub into: Option<PathBuf>,
}

/// Why nothing was recovered. Nothing was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoveryError {
    /// The moment cannot be had, or the log not be read.
    #[error(transparent)]
    Locate(#[from] LocateError),
    /// The log could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The new one could not be written.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The task that did it was broken off.
    #[error("the recovery was broken off: {0}")]
    BrokenOff(String),
}

/// Recovers moments of one data directory.
#[derive(Clone, Debug)]
pub struct PitrManager {
    config: RecoveryConfig,
    data_dir: PathBuf,
}

impl PitrManager {
    /// For the log in this directory.
    pub fn new(config: RecoveryConfig, data_dir: impl Into<PathBuf>) -> Self {
        Self { config, data_dir: data_dir.into() }
    }

    /// Recovers a moment, on a thread of the tokio runtime that may wait. Its figures are kept, as [`history`] says.
    ///
    /// # Errors
    /// [`RecoveryError`]; nothing was written then. A moment that cannot be had names what can.
    pub async fn recover(&self, target: RecoveryTarget) -> Result<RecoveryResult, RecoveryError> {
        let manager = self.clone();
        let done = tokio::task::spawn_blocking(move || manager.recover_now(target)).await;
        done.map_err(|error| RecoveryError::BrokenOff(error.to_string()))?
    }

    fn recover_now(&self, target: RecoveryTarget) -> Result<RecoveryResult, RecoveryError> {
        let (began, now) = (Instant::now(), wall(SystemTime::now()));
        let source = Source::open(&self.data_dir)?;
        let survey = Survey::of(&source)?;
        let wanted = target.target();
        let located = survey.locate(&source, &wanted, self.config.exclusive, now)?;
        let found = began.elapsed();
        let into = (!self.config.dry_run).then(|| self.into());
        let mut written = None;
        if let Some(into) = &into {
            let exclusive = if self.config.exclusive { ", exclusive" } else { "" };
            let wal = wal::Config { segment_bytes: self.config.wal_segment_size };
            let how = side::How { line: survey.line(), why: format!("{wanted}{exclusive}"), wal, now };
            written = Some(side::restore_as(&source, &survey, &located, into, how)?);
        }
        let whole = began.elapsed();
        let lost = side::lost(&source, &survey, &located)?;
        if let (Some(into), Some(written)) = (&into, &written) {
            let seconds = [("find", found), ("write", whole.saturating_sub(found))];
            let newest = lost.to.unwrap_or(located.last).at.wall;
            let entry = Entry {
                what: "restore".into(),
                target: wanted.to_string(),
                from: source.dir().display().to_string(),
                started: Stamp(now).to_string(),
                seconds: seconds.map(|(phase, took)| (phase.to_owned(), took.as_secs_f64())).into(),
                bytes: written.bytes,
                records: written.records,
                lost_ms: Some(newest.as_millis().saturating_sub(located.last.at.wall.as_millis())),
                error: None,
            };
            // What it took is for people: that it cannot be kept is no reason to call the recovery a failure.
            let _ = history::append(into, &entry);
        }
        let events = located.upto.events.value().saturating_add(1).saturating_sub(survey.begins().lsn.value());
        Ok(RecoveryResult {
            target,
            recovered_to: located.last,
            transactions_replayed: located.upto.main.value() + events,
            lost,
            duration_ms: millis(whole),
            into,
        })
    }

    fn into(&self) -> PathBuf {
        let beside = |dir: &Path| {
            let mut path = dir.components().as_path().as_os_str().to_owned();
            path.push(".recovered");
            PathBuf::from(path)
        };
        self.config.into.clone().unwrap_or_else(|| beside(&self.data_dir))
    }
}

fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(change: impl FnOnce(&mut RecoveryConfig)) -> Config {
        let mut config = RecoveryConfig::default();
        change(&mut config);
        config.configure(Config::default())
    }

    #[test]
    fn the_documented_defaults_are_those_of_a_node() {
        let config = RecoveryConfig::default();
        assert_eq!(
            (config.snapshot_interval_secs, config.wal_segment_size, config.wal_retention_secs),
            (3_600, 16 << 20, 604_800)
        );
        assert!(config.enable_snapshot_compression && config.enable_wal_compression);
        let (node, default) = (configured(|_| ()), Config::default());
        assert_eq!(
            (node.snapshots, node.wal, node.streams.retention),
            (default.snapshots, default.wal, default.streams.retention)
        );
    }

    #[test]
    fn each_field_is_laid_on_a_nodes_configuration() {
        assert_eq!(configured(|config| config.snapshot_interval_secs = 60).snapshots.every.as_secs(), 60);
        assert_eq!(configured(|config| config.snapshot_interval_secs = 0).snapshots.every.as_secs(), 1);
        assert_eq!(configured(|config| config.wal_segment_size = 1 << 20).wal.segment_bytes, 1 << 20);
        let age = |secs| configured(|config| config.wal_retention_secs = secs).streams.retention.age;
        assert_eq!([age(60), age(0)], [Some(Duration::from_secs(60)), None]);
        let codec = |on| configured(|config| config.enable_snapshot_compression = on).snapshots.codec;
        assert_eq!([codec(true), codec(false)], [wal::Codec::Zstd, wal::Codec::None]);
        let archive = |on| configured(|config| config.enable_wal_compression = on).archive.compression;
        assert_eq!([archive(true), archive(false)], ["zstd", "none"]);
    }
}

//! A directory that is kept up to date out of a repository, by applying what is new since the last time, and that can become a peer's.
//!
//! It holds the log's records as they were, in a log of its own (its own store, so that none of its segments passes for one of the
//! peer's), and a file, `standby.json`, that says how much of that counts. Records are appended and synced, then the file is
//! replaced: whoever is killed in between has the last whole state, and what stands behind it is cut off the next time.
//!
//! **What it goes on with continues it.** A backup that is chained to the one that was applied last does. Of another one, such as a new full
//! one after the old ones were pruned, the last [`OVERLAP`] records that are here are read again and compared, since a log that was
//! put back may say other things under the same numbers. What does not continue it is refused: another log, another timeline, or one that
//! lost its end. It is begun afresh then, by whoever says so.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::catalogue::Catalogue;
use super::error::Error;
use super::host::Host;
use super::id::BackupId;
use super::manifest::BackupMetadata;
use super::repository::Repository;
use super::restore::Plan;
use crate::node::Restored;
use crate::recovery::image::{self, ImageError, Line, Written};
use crate::recovery::{Frames, LOG_DIR, Source, SourceError, Upto};
use crate::types::{Chain, Hlc, Lsn, NodeId, SegmentId, WallTime};
use crate::wal::{self, End, Frame, Writer};

/// What of a directory's log counts.
pub const STANDBY_FILE: &str = "standby.json";

/// Records at the end of each chain that are compared where a backup is not chained to the one applied last.
pub const OVERLAP: u64 = 1_024;

const VERSION: u32 = 1;

/// Why a standby does not go on. It is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StandbyError {
    /// What the repository refuses, or what is damaged in it.
    #[error(transparent)]
    Repository(#[from] Error),
    /// The directory is no standby.
    #[error("{} is no standby: there is no {STANDBY_FILE} in it", dir.display())]
    NotOne {
        /// The directory.
        dir: PathBuf,
    },
    /// There is another log in the directory.
    #[error("{} holds a log that is no standby's: name a directory of its own", dir.display())]
    Taken {
        /// The directory.
        dir: PathBuf,
    },
    /// There is something else in the directory.
    #[error("{} holds {name}, which is neither a standby's nor a peer's: name a directory of its own", dir.display())]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
        /// The first of it.
        name: String,
    },
    /// Its file cannot be read, or what it says is not there.
    #[error("{}: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// It follows another repository, or another node.
    #[error("the standby follows {followed}, and {given} is given")]
    Other {
        /// Which.
        followed: String,
        /// Which.
        given: String,
    },
    /// The mesh is on another timeline.
    #[error("the standby is of timeline {here}, and backup {backup} is of timeline {there}")]
    OtherTimeline {
        /// Its own.
        here: u32,
        /// The newest backup's.
        there: u32,
        /// That backup.
        backup: BackupId,
    },
    /// The log is not the one that was followed.
    #[error("backup {backup} does not continue the standby: {why}")]
    Replaced {
        /// The newest backup.
        backup: BackupId,
        /// How that shows.
        why: String,
    },
    /// The system refused.
    #[error("cannot {what} {}: {error}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's own words.
        #[source]
        error: io::Error,
    },
    /// Its own log cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// No image could be made of it.
    #[error(transparent)]
    Image(#[from] ImageError),
}

impl StandbyError {
    /// Whether nothing helps but to begin afresh.
    #[must_use]
    pub const fn needs_afresh(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. }
                | Self::Other { .. }
                | Self::OtherTimeline { .. }
                | Self::Replaced { .. }
                | Self::Source(_)
        )
    }
}

/// How far one chain is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tail {
    /// The next record.
    next: Lsn,
    /// The segment that is written, and its length so far.
    segment: SegmentId,
    offset: u64,
    /// The segments that count, each with its first record.
    segments: Vec<(SegmentId, Lsn)>,
}

impl Tail {
    fn begin(chain: Chain, after: Option<SegmentId>, next: Lsn) -> Self {
        Self { next, segment: after.unwrap_or_else(|| chain.origin()).next(), offset: 0, segments: Vec::new() }
    }

    fn last(&self) -> Lsn {
        Lsn::new(self.next.value() - 1)
    }
}

/// What a standby holds: its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standby {
    version: u32,
    /// The repository that it follows, by its id.
    repository: String,
    /// Whose log it is.
    pub node: NodeId,
    /// Of which timeline.
    pub timeline: u32,
    /// The log's store, as manifests spell it.
    store: String,
    /// Its own log's.
    own_store: String,
    /// The backup that was applied last.
    pub backup: BackupId,
    /// When the last record of the main chain became part of the log.
    pub at: Hlc,
    /// Up to when all that there was is here.
    pub seen: WallTime,
    main: Tail,
    events: Tail,
}

/// What one look at the repository brought.
#[derive(Clone, Debug, Serialize)]
pub struct Applied {
    /// The backup that the standby is up to now.
    pub backup: BackupId,
    /// Up to where that is.
    pub upto: Upto,
    /// When the last record of the main chain became part of the log.
    pub at: Hlc,
    /// Up to when all that there was is here: what the peer wrote since would be lost with it now.
    pub seen: WallTime,
    /// Records that were appended.
    pub records: u64,
    /// Bytes that were read for them.
    pub stored_bytes: u64,
}

impl Standby {
    /// What a directory says of itself; nothing if it is no standby.
    ///
    /// # Errors
    /// [`StandbyError`].
    pub fn read(dir: &Path) -> Result<Option<Self>, StandbyError> {
        let path = dir.join(STANDBY_FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fail("read", &path, error)),
        };
        let read: Self = serde_json::from_str(&text).map_err(|error| damaged(dir, error))?;
        if read.version != VERSION {
            return Err(damaged(dir, format!("version {} is unknown", read.version)));
        }
        Ok(Some(read))
    }

    /// Up to where both chains are here.
    #[must_use]
    pub fn upto(&self) -> Upto {
        Upto { main: self.main.last(), events: self.events.last() }
    }

    fn tail(&mut self, chain: Chain) -> &mut Tail {
        match chain {
            Chain::Main => &mut self.main,
            Chain::Events => &mut self.events,
        }
    }

    fn begin(repository: &Repository, newest: &BackupMetadata, events: Lsn, host: &dyn Host) -> Self {
        let mut store = [0; 8];
        host.random(&mut store);
        Self {
            version: VERSION,
            repository: repository.id().to_owned(),
            node: newest.node,
            timeline: newest.timeline,
            store: newest.store.clone(),
            own_store: super::create::store_name(u64::from_le_bytes(store)),
            backup: newest.id,
            at: Hlc::default(),
            seen: WallTime::EPOCH,
            main: Tail::begin(Chain::Main, None, Lsn::ZERO.next()),
            events: Tail::begin(Chain::Events, None, events),
        }
    }

    fn own_store(&self, dir: &Path) -> Result<u64, StandbyError> {
        u64::from_str_radix(&self.own_store, 16).map_err(|error| damaged(dir, error))
    }

    /// Whether a backup is of the log that is followed.
    fn check(&self, repository: &Repository, newest: &BackupMetadata) -> Result<(), StandbyError> {
        if (self.repository.as_str(), self.node) != (repository.id(), newest.node) {
            return Err(StandbyError::Other {
                followed: format!("node {} in repository {}", self.node, self.repository),
                given: format!("node {} in repository {}", newest.node, repository.id()),
            });
        }
        let backup = newest.id;
        if newest.timeline != self.timeline {
            let (here, there) = (self.timeline, newest.timeline);
            return Err(StandbyError::OtherTimeline { here, there, backup });
        }
        if newest.store != self.store {
            let why = "the log was restored or begun anew since".into();
            return Err(StandbyError::Replaced { backup, why });
        }
        for chain in Chain::ALL {
            let (here, there) = (self.upto().of(chain), newest.run(chain).last);
            if there < here {
                let why = format!("it ends with record {there} of {chain:?}, and {here} is here: the log lost its end");
                return Err(StandbyError::Replaced { backup, why });
            }
        }
        Ok(())
    }

    /// The records that are here, from this one on.
    fn frames(&self, source: &Source, chain: Chain, from: Lsn) -> Option<Frames> {
        let tail = match chain {
            Chain::Main => &self.main,
            Chain::Events => &self.events,
        };
        let (segment, first) = tail.segments.iter().rfind(|(_, first)| *first <= from)?;
        Some(source.from(*segment, *first, tail.last()))
    }

    fn write(&self, dir: &Path) -> Result<(), StandbyError> {
        let (path, new) = (dir.join(STANDBY_FILE), dir.join(format!("{STANDBY_FILE}.new")));
        let text = serde_json::to_vec_pretty(self).map_err(|error| damaged(dir, error))?;
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new);
        let written = file.and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()));
        written.and_then(|()| fs::rename(&new, &path)).map_err(|error| fail("write", &path, error))?;
        sync(dir)
    }
}

/// Applies what the repository has that is not here yet. A directory that is empty, or not there, is begun. Whoever calls it
/// holds the directory's lock.
///
/// # Errors
/// [`StandbyError`]; the standby is as it was.
pub async fn follow(
    repository: &Repository,
    catalogue: &mut Catalogue,
    dir: &Path,
    host: &dyn Host,
) -> Result<Applied, StandbyError> {
    let id = catalogue.newest_or_fault(host.wall())?;
    catalogue.check_alone(id, host.wall())?;
    let plan = Plan::of(repository, catalogue, id)?;
    let (newest, oldest) = (plan.backup(), plan.first(Chain::Events));
    let mut standby = match Standby::read(dir)? {
        Some(standby) => {
            standby.check(repository, newest)?;
            standby
        }
        None => {
            check_place(dir)?;
            Standby::begin(repository, newest, oldest, host)
        }
    };
    let log = dir.join(LOG_DIR);
    fs::create_dir_all(&log).map_err(|error| fail("create", &log, error))?;
    standby.write(dir)?;
    standby.cut(dir)?;
    let chained = plan.links().iter().any(|link| link.id == standby.backup);
    if standby.upto() == plan.all() && chained {
        (standby.backup, standby.seen) = (newest.id, newest.started);
        standby.write(dir)?;
        return Ok(standby.applied(0, 0));
    }
    if oldest > standby.events.next {
        // What came between has expired, and is in no backup.
        standby.events = Tail::begin(Chain::Events, Some(standby.events.segment), oldest);
    }
    let mut behind = standby.upto();
    if !chained {
        let back = |last: Lsn| Lsn::new(last.value().saturating_sub(OVERLAP));
        behind = Upto { main: back(behind.main), events: back(behind.events) };
    }
    let mut applying = Applying::begin(&mut standby, dir, newest.id)?;
    let mut reading = plan.read_behind(plan.all(), behind).await?;
    while let Some((chain, frames)) = reading.next(host).await? {
        frames.iter().try_for_each(|frame| applying.take(chain, frame))?;
    }
    let records = applying.finish()?;
    (standby.backup, standby.seen, standby.at) = (newest.id, newest.started, newest.main.stamp);
    standby.give_up(oldest);
    standby.write(dir)?;
    standby.cut(dir)?;
    Ok(standby.applied(records, reading.restored().stored_bytes))
}

impl Standby {
    fn applied(&self, records: u64, stored_bytes: u64) -> Applied {
        let Self { backup, at, seen, .. } = *self;
        Applied { backup, upto: self.upto(), at, seen, records, stored_bytes }
    }

    /// Segments of events that hold nothing from this record on do not count any more.
    fn give_up(&mut self, oldest: Lsn) {
        let segments = &mut self.events.segments;
        let last = segments.iter().rposition(|(_, first)| *first <= oldest).unwrap_or_default();
        segments.drain(..last);
    }

    /// Takes away what does not count: what was written by a call that was broken off, and what has expired.
    fn cut(&self, dir: &Path) -> Result<(), StandbyError> {
        let log = dir.join(LOG_DIR);
        for entry in fs::read_dir(&log).map_err(|error| fail("list", &log, error))? {
            let path = entry.map_err(|error| fail("list", &log, error))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Some(segment) = wal::segment_of(&name) else { continue };
            let tail = if segment.chain() == Chain::Main { &self.main } else { &self.events };
            if !tail.segments.iter().any(|(counts, _)| *counts == segment) {
                fs::remove_file(&path).map_err(|error| fail("remove", &path, error))?;
            } else if segment == tail.segment {
                let file = OpenOptions::new().write(true).open(&path).map_err(|error| fail("open", &path, error))?;
                let there = file.metadata().map_err(|error| fail("look at", &path, error))?.len();
                if there < tail.offset {
                    return Err(damaged(dir, format!("{name} has {there} bytes of {}", tail.offset)));
                }
                let cut = file.set_len(tail.offset).and_then(|()| file.sync_all());
                cut.map_err(|error| fail("shorten", &path, error))?;
            }
        }
        sync(&log)
    }

    /// Makes a data directory of what is here, for this node and, if one is named, of this timeline alone. Whoever boots from it writes
    /// as a new actor.
    ///
    /// # Errors
    /// [`StandbyError`]; there is nothing at `into` then.
    pub fn image(
        &self,
        dir: &Path,
        into: &Path,
        node: NodeId,
        line: Line,
        now: WallTime,
    ) -> Result<Written, StandbyError> {
        let source = Source::open(&dir.join(LOG_DIR))?;
        let from = format!("the standby {}, backup {}", dir.display(), self.backup);
        let (lsn, at, why) = (self.main.last(), self.at, "a standby that was activated".to_owned());
        let plan = image::Plan {
            node,
            wal: wal::Config::default(),
            upto: self.upto(),
            later: Vec::new(),
            restored: Restored { from, lsn, at, timeline: 0, fork: 0, why },
            line,
            now,
        };
        let first = |tail: &Tail| tail.segments.first().map_or(tail.next, |(_, first)| *first);
        let [main, events] = [(Chain::Main, &self.main), (Chain::Events, &self.events)]
            .map(|(chain, tail)| self.frames(&source, chain, first(tail)).into_iter().flatten());
        Ok(image::write(into, &plan, main, events)?)
    }

    /// Whether the log in the directory is still the standby's own, and not the one that was made of it.
    ///
    /// # Errors
    /// [`StandbyError`] when it cannot be read.
    pub fn is_own_log(&self, dir: &Path) -> Result<bool, StandbyError> {
        Ok(Source::open(&dir.join(LOG_DIR))?.store() == self.own_store(dir)?)
    }
}

/// Records on their way into a standby's log.
struct Applying<'a> {
    standby: &'a mut Standby,
    backup: BackupId,
    log: PathBuf,
    writers: [Writer; 2],
    open: Option<(SegmentId, PathBuf, File)>,
    /// What is here already, for those that come again.
    here: [Option<Frames>; 2],
    records: u64,
}

impl<'a> Applying<'a> {
    fn begin(standby: &'a mut Standby, dir: &Path, backup: BackupId) -> Result<Self, StandbyError> {
        let (node, store) = (standby.node, standby.own_store(dir)?);
        let writers = Chain::ALL.map(|chain| {
            let Tail { next, segment, offset, .. } = *standby.tail(chain);
            let end = End { node, store: Some(store), next, segment, offset, cut: None, last_hlc: Hlc::default() };
            Writer::new(wal::Config::default(), end, store)
        });
        Ok(Self { standby, backup, log: dir.join(LOG_DIR), writers, open: None, here: [None, None], records: 0 })
    }

    fn take(&mut self, chain: Chain, frame: &Frame) -> Result<(), StandbyError> {
        let at = usize::from(chain == Chain::Events);
        let next = self.writers[at].next_lsn();
        if frame.lsn < next {
            return self.compare(chain, frame);
        }
        if frame.lsn > next {
            let why = format!("record {} of {chain:?} comes in the place of {next}", frame.lsn);
            return Err(StandbyError::Replaced { backup: self.backup, why });
        }
        let appended = self.writers[at].append(frame.kind, frame.hlc, &frame.payload);
        let appended = appended.map_err(|error| damaged(&self.log, error))?;
        // All of it is durable before the file says that it counts.
        self.writers[at].on_persisted(frame.lsn, appended.position);
        if self.open.as_ref().is_none_or(|(segment, ..)| *segment != appended.segment) {
            self.close()?;
            let path = self.log.join(wal::file_name(appended.segment));
            let mut options = OpenOptions::new();
            let file = options.append(true).create_new(appended.offset == 0).mode(0o600).open(&path);
            let file = file.map_err(|error| fail("open", &path, error))?;
            self.open = Some((appended.segment, path, file));
        }
        if appended.offset == 0 {
            self.standby.tail(chain).segments.push((appended.segment, frame.lsn));
        }
        let (_, path, file) = self.open.as_mut().expect("it was opened");
        file.write_all(&appended.bytes).map_err(|error| fail("write", path, error))?;
        self.records += 1;
        Ok(())
    }

    /// A record that is here already must be the same one.
    fn compare(&mut self, chain: Chain, frame: &Frame) -> Result<(), StandbyError> {
        let at = usize::from(chain == Chain::Events);
        if self.here[at].is_none() {
            let source = Source::open(&self.log)?;
            self.here[at] = self.standby.frames(&source, chain, frame.lsn);
        }
        let here = loop {
            match self.here[at].as_mut().and_then(Iterator::next).transpose()? {
                Some(here) if here.lsn < frame.lsn => {}
                here => break here,
            }
        };
        let same = here.as_ref().is_none_or(|here| {
            (here.lsn, here.kind, here.hlc, &here.payload) == (frame.lsn, frame.kind, frame.hlc, &frame.payload)
        });
        if same {
            return Ok(());
        }
        let why = format!("record {} of {chain:?} is another one there: the log was put back", frame.lsn);
        Err(StandbyError::Replaced { backup: self.backup, why })
    }

    fn close(&mut self) -> Result<(), StandbyError> {
        let Some((_, path, file)) = self.open.take() else { return Ok(()) };
        file.sync_all().map_err(|error| fail("sync", &path, error))
    }

    /// All that was taken is durable. Gives how many records that was.
    fn finish(mut self) -> Result<u64, StandbyError> {
        self.close()?;
        sync(&self.log)?;
        for (chain, writer) in Chain::ALL.into_iter().zip(&self.writers) {
            let tail = self.standby.tail(chain);
            tail.next = writer.next_lsn();
            (tail.segment, tail.offset) = writer.durable_end();
        }
        Ok(self.records)
    }
}

fn holds_log(dir: &Path) -> bool {
    let is_segment = |file: fs::DirEntry| file.path().extension().is_some_and(|end| end == "wal");
    fs::read_dir(dir.join(LOG_DIR)).is_ok_and(|files| files.flatten().any(is_segment))
}

/// What names begin with that a peer, a recovery or a standby puts into a data directory.
const PAPERS: [&str; 16] = [
    "identity.key",
    "ticket",
    "timeline",
    "peers.json",
    "revoked",
    "issuer.",
    "root.key",
    "invites",
    "overlay",
    "api-token",
    "node",
    "recoveries.jsonl",
    "standby",
    "switch",
    "next",
    "lock",
];

/// Refuses a directory that is no standby and cannot become one: there is a log in it, or somebody's files. A peer's papers may be put there
/// before. Changes nothing.
///
/// # Errors
/// [`StandbyError::Taken`], [`StandbyError::NotEmpty`], and what [`check_apart`](super::check_apart) refuses.
pub fn check_place(dir: &Path) -> Result<(), StandbyError> {
    if Standby::read(dir)?.is_some() {
        return Ok(());
    }
    if holds_log(dir) {
        return Err(StandbyError::Taken { dir: dir.to_owned() });
    }
    super::check_apart(dir)?;
    let mut names: Vec<String> = match fs::read_dir(dir) {
        Ok(entries) => entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(fail("list", dir, error)),
    };
    names.sort_unstable();
    let is_own = |name: &str| name == LOG_DIR || PAPERS.iter().any(|paper| name.starts_with(paper));
    let foreign = names.into_iter().find(|name| !is_own(name));
    foreign.map_or(Ok(()), |name| Err(StandbyError::NotEmpty { dir: dir.to_owned(), name }))
}

fn sync(dir: &Path) -> Result<(), StandbyError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| fail("sync", dir, error))
}

fn fail(what: &'static str, path: &Path, error: io::Error) -> StandbyError {
    StandbyError::Io { what, path: path.to_owned(), error }
}

fn damaged(dir: &Path, why: impl ToString) -> StandbyError {
    StandbyError::Damaged { path: dir.join(STANDBY_FILE), why: why.to_string() }
}

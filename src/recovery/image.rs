//! A data directory made from frames: whole, or not there.
//!
//! It holds the log, [`LOG_DIR`], and the node's name, [`NODE_FILE`]; no key and no ticket: a
//! copy of a peer that could join its mesh while the peer lives would be two of one name. Whoever puts the log in the place of
//! the peer's own, or joins with an invite, starts it.
//!
//! The main chain is taken verbatim up to its limit. Where the events' chain begins follows from the trims in it; if what is at
//! hand begins later, since it was trimmed since, those later trims are given and written as one. Then a record says from what
//! this was restored.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::{Beginning, LOG_DIR, NODE_FILE, Upto};
use crate::node::{Own, Restored};
use crate::probe::planted;
use crate::replication::Trim;
use crate::types::{Chain, Hlc, HlcClock, Lsn, NodeId, SegmentId, TimelineId, WallTime};
use crate::wal::{self, Appended, End, Frame, Writer};

/// Gathered into one system call.
const BUFFER_BYTES: usize = 256 << 10;

/// What an image is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Whose log.
    pub node: NodeId,
    /// How long its segments are.
    pub wal: wal::Config,
    /// Up to where.
    pub upto: Upto,
    /// Trims that stand behind `upto` in the main chain, in order, if the frames of the events' chain are those that are left
    /// after them.
    pub later: Vec<Trim>,
    /// What the last record says; but the timeline, which is `line`'s.
    pub restored: Restored,
    /// Of which timeline the image is.
    pub line: Line,
    /// The wall clock, for that record's stamp.
    pub now: WallTime,
}

/// Of which timeline an image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Of this one, whatever the records are of.
    New(TimelineId),
    /// Of the one that the records are of; of none other than this, if one is named.
    Kept(Option<TimelineId>),
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Written {
    /// Segment files.
    pub segments: usize,
    /// Records, those of the recovery included.
    pub records: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Which record of the events' chain is the first.
    pub events_from: Lsn,
}

/// Why there is no image. What was begun is removed; if that fails too, the next attempt removes it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// There is something where it should be made.
    #[error("{} is not empty: a log is restored into a directory of its own", dir.display())]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
    },
    /// Another recovery into the same place is under way.
    #[error("{} is being written by another recovery", dir.display())]
    Busy {
        /// Where it is made before it is renamed.
        dir: PathBuf,
    },
    /// Where it would be made before it is renamed there is something that no recovery of this user has made.
    #[error("{} is in the way: it is no directory that this user alone may write to; it is left as it is", dir.display())]
    NotOurs {
        /// What is in the way.
        dir: PathBuf,
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
    /// Where the frames come from failed.
    #[error(transparent)]
    Source(Box<dyn std::error::Error + Send + Sync>),
    /// Records are missing: those at hand do not reach so far, or leave one out.
    #[error("{}: record {expected} is missing{}", name(*chain), found.map_or_else(String::new, |found| format!(": record {found} comes in its place")))]
    Missing {
        /// In which chain.
        chain: Chain,
        /// The record that should come.
        expected: Lsn,
        /// What came; nothing, if they ended.
        found: Option<Lsn>,
    },
    /// The records are of another history of the mesh.
    #[error("the records are of timeline {found}, and what is to be made is of timeline {wanted}")]
    OtherTimeline {
        /// That of the records.
        found: TimelineId,
        /// That which was wanted.
        wanted: TimelineId,
    },
    /// A record says what this version cannot read, or what cannot stand there.
    #[error("{}: record {lsn}: {why}", name(*chain))]
    Record {
        /// In which chain.
        chain: Chain,
        /// Which.
        lsn: Lsn,
        /// What is wrong.
        why: String,
    },
}

fn name(chain: Chain) -> &'static str {
    match chain {
        Chain::Main => "the main chain",
        Chain::Events => "the events' chain",
    }
}

/// Makes a data directory from the frames of both chains, in order. Those of the main chain begin with the first of all. Frames
/// behind the limits, and of events that were trimmed, are passed over.
///
/// # Errors
/// [`ImageError`]; then there is nothing at `dir` that was not there before.
pub fn write<E: std::error::Error + Send + Sync + 'static>(
    dir: &Path,
    plan: &Plan,
    main: impl IntoIterator<Item = Result<Frame, E>>,
    events: impl IntoIterator<Item = Result<Frame, E>>,
) -> Result<Written, ImageError> {
    let staging = Staging::begin(dir)?;
    staging.file(NODE_FILE, format!("{}\n", plan.node).as_bytes())?;
    let log = staging.path.join(LOG_DIR);
    make_dir(&log)?;
    let mut making = Making::new(plan, log);
    making.main(plan, main)?;
    making.events(plan, events)?;
    let written = making.finish(plan)?;
    staging.publish(dir)?;
    Ok(written)
}

/// The files under way.
struct Making {
    main: Writer,
    sink: Sink,
    store: u64,
    begins: Beginning,
    clock: Hlc,
    records: u64,
    line: TimelineId,
}

impl Making {
    fn new(plan: &Plan, log: PathBuf) -> Self {
        let mut store = [0; 8];
        getrandom::fill(&mut store).expect("the system gives entropy");
        let store = u64::from_le_bytes(store);
        let (first, next) = (Chain::Main.origin().next(), Lsn::ZERO.next());
        Self {
            main: writer(plan, store, first, next),
            sink: Sink { dir: log, open: None, segments: 0, bytes: 0 },
            store,
            begins: Beginning::default(),
            clock: Hlc::default(),
            records: 0,
            line: TimelineId::FIRST,
        }
    }

    fn main<E: std::error::Error + Send + Sync + 'static>(
        &mut self,
        plan: &Plan,
        frames: impl IntoIterator<Item = Result<Frame, E>>,
    ) -> Result<(), ImageError> {
        let until = plan.upto.main;
        for frame in frames {
            let frame = frame.map_err(|error| ImageError::Source(error.into()))?;
            if self.main.next_lsn() > until {
                break;
            }
            match own(Chain::Main, &frame)? {
                Own::Trim(trim) => self.begins.trim(trim),
                Own::Restored(restored) => self.line = restored.line(),
                _ => {}
            }
            take(Chain::Main, &mut self.main, &mut self.sink, &frame)?;
            self.clock = self.clock.max(frame.hlc);
            self.records += 1;
        }
        ended(Chain::Main, &self.main, until)
    }

    fn events<E: std::error::Error + Send + Sync + 'static>(
        &mut self,
        plan: &Plan,
        frames: impl IntoIterator<Item = Result<Frame, E>>,
    ) -> Result<(), ImageError> {
        plan.later.iter().cloned().for_each(|trim| self.begins.trim(trim));
        let Beginning { segment, lsn: first, .. } = self.begins;
        let mut writer = writer(plan, self.store, segment, first);
        let until = plan.upto.events;
        let mut sink = Sink { dir: self.sink.dir.clone(), open: None, segments: 0, bytes: 0 };
        for frame in frames {
            let frame = frame.map_err(|error| ImageError::Source(error.into()))?;
            if writer.next_lsn() > until {
                break;
            }
            if frame.lsn < first {
                continue;
            }
            own(Chain::Events, &frame)?;
            take(Chain::Events, &mut writer, &mut sink, &frame)?;
            self.clock = self.clock.max(frame.hlc);
            self.records += 1;
        }
        ended(Chain::Events, &writer, until)?;
        sink.close()?;
        self.sink.segments += sink.segments;
        self.sink.bytes += sink.bytes;
        Ok(())
    }

    /// What is known of the recovery itself, behind all else.
    fn finish(mut self, plan: &Plan) -> Result<Written, ImageError> {
        let mut clock = HlcClock::resume(self.clock);
        let mut restored = plan.restored.clone();
        let line = match (plan.line, self.line) {
            (Line::New(line), _) => line,
            (Line::Kept(Some(wanted)), found) if found != wanted => {
                return Err(ImageError::OtherTimeline { found, wanted });
            }
            (Line::Kept(_), found) => found,
        };
        (restored.timeline, restored.fork) = (line.number, line.fork);
        let later = Some(self.begins.as_trim()).filter(|_| !plan.later.is_empty()).map(Own::Trim);
        let restored = Some(restored).filter(|_| !planted!("backup/actor-kept"));
        for own in later.into_iter().chain(restored.map(Own::Restored)) {
            let (kind, payload) = own.encode();
            let lsn = self.main.next_lsn();
            let refused = |error: wal::Error| ImageError::Record { chain: Chain::Main, lsn, why: error.to_string() };
            let appended = self.main.append(kind, clock.tick(plan.now), &payload).map_err(refused)?;
            self.sink.put(&appended)?;
            self.main.on_persisted(lsn, appended.position);
            self.records += 1;
        }
        self.sink.close()?;
        sync_dir(&self.sink.dir)?;
        let Sink { segments, bytes, .. } = self.sink;
        Ok(Written { segments, records: self.records, bytes, events_from: self.begins.lsn })
    }
}

fn writer(plan: &Plan, store: u64, segment: SegmentId, next: Lsn) -> Writer {
    let end = End { node: plan.node, store: None, next, segment, offset: 0, cut: None, last_hlc: Hlc::default() };
    Writer::new(plan.wal.clone(), end, store)
}

fn own(chain: Chain, frame: &Frame) -> Result<Own, ImageError> {
    let refused = |why| ImageError::Record { chain, lsn: frame.lsn, why };
    Own::decode(frame.kind, &frame.payload).map_err(refused)
}

/// Writes a frame as it was, but where it stands.
fn take(chain: Chain, writer: &mut Writer, sink: &mut Sink, frame: &Frame) -> Result<(), ImageError> {
    let expected = writer.next_lsn();
    if frame.lsn != expected {
        return Err(ImageError::Missing { chain, expected, found: Some(frame.lsn) });
    }
    let refused = |error: wal::Error| ImageError::Record { chain, lsn: expected, why: error.to_string() };
    let appended = writer.append(frame.kind, frame.hlc, &frame.payload).map_err(refused)?;
    // All is durable before any of it has its name.
    writer.on_persisted(expected, appended.position);
    sink.put(&appended)
}

fn ended(chain: Chain, writer: &Writer, until: Lsn) -> Result<(), ImageError> {
    match writer.next_lsn() {
        expected if expected <= until => Err(ImageError::Missing { chain, expected, found: None }),
        _ => Ok(()),
    }
}

/// Where one chain's bytes go: one file after the other, each synced before the next is made.
struct Sink {
    dir: PathBuf,
    open: Option<(PathBuf, BufWriter<File>)>,
    segments: usize,
    bytes: u64,
}

impl Sink {
    fn put(&mut self, appended: &Appended) -> Result<(), ImageError> {
        if appended.offset == 0 {
            self.close()?;
            let path = self.dir.join(wal::file_name(appended.segment));
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
            let file = file.map_err(|error| fail("create", &path, error))?;
            self.open = Some((path, BufWriter::with_capacity(BUFFER_BYTES, file)));
            self.segments += 1;
        }
        let (path, file) = self.open.as_mut().expect("a chain begins with a new segment");
        self.bytes += appended.bytes.len() as u64;
        file.write_all(&appended.bytes).map_err(|error| fail("write", path, error))
    }

    fn close(&mut self) -> Result<(), ImageError> {
        let Some((path, mut file)) = self.open.take() else { return Ok(()) };
        file.flush().and_then(|()| file.get_ref().sync_all()).map_err(|error| fail("write", &path, error))
    }
}

/// The directory under its working name, locked. Removed when this is dropped, unless it was published.
struct Staging {
    path: PathBuf,
    _lock: File,
    published: bool,
}

impl Staging {
    fn begin(dir: &Path) -> Result<Self, ImageError> {
        check_empty(dir)?;
        let name = dir.file_name().ok_or_else(|| ImageError::NotEmpty { dir: dir.to_owned() })?;
        let parent = parent(dir);
        fs::create_dir_all(parent).map_err(|error| fail("create", parent, error))?;
        let mut working = OsString::from(".");
        working.push(name);
        working.push(".restoring");
        let path = parent.join(working);
        match make_dir(&path) {
            Err(ImageError::Io { error, .. }) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        // Not what somebody else has put there, or made of it: all in it is going to be removed.
        let there = fs::symlink_metadata(&path).map_err(|error| fail("look at", &path, error))?;
        if !there.is_dir() || there.uid() != rustix::process::geteuid().as_raw() || there.mode() & 0o077 != 0 {
            return Err(ImageError::NotOurs { dir: path });
        }
        let lock = File::open(&path).map_err(|error| fail("open", &path, error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ImageError::Busy { dir: path }),
            Err(TryLockError::Error(error)) => return Err(fail("lock", &path, error)),
        }
        // Who held it may have published it between our two looks: then this is no working name any more.
        let same = |there: &fs::Metadata, ours: &fs::Metadata| (there.dev(), there.ino()) == (ours.dev(), ours.ino());
        match (fs::metadata(&path), lock.metadata()) {
            (Ok(there), Ok(ours)) if same(&there, &ours) => {}
            _ => return Err(ImageError::Busy { dir: path }),
        }
        let staging = Self { path, _lock: lock, published: false };
        staging.sweep()?;
        Ok(staging)
    }

    /// Removes what a recovery that was broken off has left.
    fn sweep(&self) -> Result<(), ImageError> {
        let entries = fs::read_dir(&self.path).map_err(|error| fail("list", &self.path, error))?;
        for entry in entries {
            let path = entry.map_err(|error| fail("list", &self.path, error))?.path();
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(|error| fail("remove", &path, error))?;
        }
        Ok(())
    }

    fn file(&self, name: &str, bytes: &[u8]) -> Result<(), ImageError> {
        let path = self.path.join(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let written = file.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
        written.map_err(|error| fail("write", &path, error))
    }

    /// Gives it its name, durably.
    fn publish(mut self, dir: &Path) -> Result<(), ImageError> {
        sync_dir(&self.path)?;
        check_empty(dir)?;
        // Over an empty directory too; one that was filled meanwhile is refused by the system.
        fs::rename(&self.path, dir).map_err(|error| fail("rename to", dir, error))?;
        self.published = true;
        sync_dir(parent(dir))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.published {
            // If this fails, the next attempt sweeps it.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

fn check_empty(dir: &Path) -> Result<(), ImageError> {
    match fs::read_dir(dir) {
        Ok(mut entries) => {
            let empty = entries.next().is_none();
            empty.then_some(()).ok_or_else(|| ImageError::NotEmpty { dir: dir.to_owned() })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(fail("list", dir, error)),
    }
}

fn parent(dir: &Path) -> &Path {
    dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

fn make_dir(dir: &Path) -> Result<(), ImageError> {
    DirBuilder::new().mode(0o700).create(dir).map_err(|error| fail("create", dir, error))
}

fn sync_dir(dir: &Path) -> Result<(), ImageError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| fail("sync", dir, error))
}

fn fail(what: &'static str, path: &Path, error: io::Error) -> ImageError {
    ImageError::Io { what, path: path.to_owned(), error }
}

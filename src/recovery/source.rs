//! A log directory, read as it is: it may be a running peer's.
//!
//! A writer may be at work meanwhile. It only appends, so what was whole stays whole; a last write that is seen half is read
//! again when the file has grown. Segments of the events' chain may be removed at any time: that is told as what it is.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::{Beginning, LOG_DIR};
use crate::node::Own;
use crate::types::{Chain, Lsn, NodeId, SegmentId, TimelineId};
use crate::wal;

/// How often a last write that looks torn is read again while its file grows.
const LOOKS_MAX: usize = 16;

/// Files of the events' chain that are held open at most: 4 GiB of segments as they are by default.
const HELD_MAX: usize = 256;

/// Why a log could not be read. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
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
    /// There is no segment in it.
    #[error("{} holds no log: there is no segment file in it, nor in its `{LOG_DIR}`", dir.display())]
    NoLog {
        /// The directory.
        dir: PathBuf,
    },
    /// A file that ends as a segment does and is none.
    #[error("{}: not the name of a segment: sixteen hexadecimal digits", path.display())]
    Misnamed {
        /// The file.
        path: PathBuf,
    },
    /// The main chain has no record, and a node writes to it before all else.
    #[error("{}: the log has no record in its main chain, which a node writes to before all else: its files are lost", dir.display())]
    LostMain {
        /// The directory of its segments.
        dir: PathBuf,
    },
    /// The log is damaged, or no log.
    #[error("{}: {error}", dir.display())]
    Log {
        /// The directory of its segments.
        dir: PathBuf,
        /// What is wrong, with file and byte.
        #[source]
        error: wal::Error,
    },
    /// An intact record says what this version cannot read.
    #[error("{}, byte {offset}: record {lsn}: {why}", path.display())]
    Record {
        /// The segment.
        path: PathBuf,
        /// From where on.
        offset: u64,
        /// Its number.
        lsn: Lsn,
        /// What is wrong.
        why: String,
    },
    /// A segment was removed between two looks: its peer trims. Try again.
    #[error("{} was removed while the log was being read: its events have expired; read it again", path.display())]
    Removed {
        /// The segment.
        path: PathBuf,
    },
}

/// A directory of segments.
#[derive(Clone, Debug)]
pub struct Source {
    dir: PathBuf,
    segments: BTreeMap<SegmentId, u64>,
    node: NodeId,
    store: u64,
    held: Arc<BTreeMap<SegmentId, fs::File>>,
}

impl Source {
    /// Looks at a directory: of segments, or a data directory that has one. Reads headers only.
    ///
    /// # Errors
    /// [`SourceError`]: there is no log, or no header of it can be read.
    pub fn open(dir: &Path) -> Result<Self, SourceError> {
        let inner = dir.join(LOG_DIR);
        let log = if inner.is_dir() { inner } else { dir.to_owned() };
        let segments = list(&log)?;
        let mut damage = None;
        for segment in segments.keys() {
            let path = log.join(wal::file_name(*segment));
            let head = read(&path, 4096)?;
            let told = wal::owner(*segment, &head).map_err(|error| SourceError::Log { dir: log.clone(), error });
            match told {
                Ok(Some((node, store))) => return Ok(Self { dir: log, segments, node, store, held: Arc::default() }),
                Ok(None) => {}
                Err(error) => damage = damage.or(Some(error)),
            }
        }
        Err(damage.unwrap_or_else(|| SourceError::NoLog { dir: dir.to_owned() }))
    }

    /// Holds the oldest files of the events' chain open, so that they are read to their end though their peer removes them
    /// meanwhile. One that is gone already, or that the system does not open, is told of when it is read.
    pub fn hold_events(&mut self) {
        let events = self.segments.keys().filter(|segment| segment.chain() == Chain::Events).take(HELD_MAX);
        let open =
            |segment: &SegmentId| Some((*segment, fs::File::open(self.dir.join(wal::file_name(*segment))).ok()?));
        self.held = Arc::new(events.filter_map(open).collect());
    }

    /// The directory of the segments.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whose log it is.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Its store: the number that its checksums are masked with.
    #[must_use]
    pub fn store(&self) -> u64 {
        self.store
    }

    /// For whoever found no record in the main chain.
    pub(crate) fn lost_main(&self) -> SourceError {
        SourceError::LostMain { dir: self.dir.clone() }
    }

    /// The segments and their lengths in bytes, as they were when it was opened.
    #[must_use]
    pub fn segments(&self) -> &BTreeMap<SegmentId, u64> {
        &self.segments
    }

    /// The main chain, from its beginning; up to a record, or to its end.
    #[must_use]
    pub fn main(&self, until: Option<Lsn>) -> Frames {
        let scanner = wal::Scanner::at(self.node, Chain::Main.origin().next(), Lsn::ZERO.next(), Some(self.store));
        self.frames(scanner, Chain::Main.origin(), until)
    }

    /// The events' chain from where it begins, up to a record, or to its end.
    #[must_use]
    pub fn events(&self, begins: &Beginning, until: Option<Lsn>) -> Frames {
        let scanner = wal::Scanner::at(self.node, begins.segment, begins.lsn, Some(self.store));
        self.frames(scanner, SegmentId::new(begins.segment.value() - 1), until)
    }

    /// The rest of a chain from the first record of a segment on.
    #[must_use]
    pub fn from(&self, segment: SegmentId, first: Lsn, until: Lsn) -> Frames {
        let scanner = wal::Scanner::at(self.node, segment, first, Some(self.store));
        self.frames(scanner, SegmentId::new(segment.value() - 1), Some(until))
    }

    fn frames(&self, scanner: wal::Scanner, after: SegmentId, until: Option<Lsn>) -> Frames {
        let next = scanner.next_lsn();
        let of = |segment: &SegmentId| *segment > after && segment.chain() == after.next().chain();
        Frames {
            dir: self.dir.clone(),
            held: Arc::clone(&self.held),
            rest: self.segments.keys().copied().filter(of).collect(),
            scanner: match until {
                Some(last) => scanner.until(last),
                None => scanner,
            },
            until,
            next,
            ready: Vec::new().into_iter(),
            broken: None,
            failed: false,
        }
    }

    /// Where the events' chain begins, as the main chain says up to this record, or to its end.
    ///
    /// # Errors
    /// As [`Frames`].
    pub fn beginning(&self, until: Option<Lsn>) -> Result<Beginning, SourceError> {
        let mut begins = Beginning::default();
        for frame in self.main(until) {
            let frame = frame?;
            if let Own::Trim(trim) = self.own(&frame)? {
                begins.trim(trim);
            }
        }
        Ok(begins)
    }

    /// What a record says.
    ///
    /// # Errors
    /// [`SourceError::Record`] with its place.
    pub fn own(&self, frame: &wal::Frame) -> Result<Own, SourceError> {
        Own::decode(frame.kind, &frame.payload).map_err(|why| SourceError::Record {
            path: self.dir.join(wal::file_name(frame.position.segment)),
            offset: frame.position.offset,
            lsn: frame.lsn,
            why,
        })
    }
}

/// Of which timeline the log in a data directory is; nothing if there is no log.
///
/// # Errors
/// [`SourceError`] when it cannot be read to its end.
pub fn line_of(dir: &Path) -> Result<Option<TimelineId>, SourceError> {
    let source = match Source::open(&dir.join(LOG_DIR)) {
        Ok(source) => source,
        Err(SourceError::NoLog { .. }) => return Ok(None),
        Err(SourceError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut line = TimelineId::FIRST;
    for frame in source.main(None) {
        if let Own::Restored(restored) = source.own(&frame?)? {
            line = restored.line();
        }
    }
    Ok(Some(line))
}

/// The records of one chain, in order. Holds one segment in memory. Ends after the first error.
#[derive(Debug)]
pub struct Frames {
    dir: PathBuf,
    held: Arc<BTreeMap<SegmentId, fs::File>>,
    rest: VecDeque<SegmentId>,
    scanner: wal::Scanner,
    until: Option<Lsn>,
    /// The record after the last that was read.
    next: Lsn,
    ready: std::vec::IntoIter<wal::Frame>,
    /// What comes after those that are ready.
    broken: Option<SourceError>,
    failed: bool,
}

impl Frames {
    /// How the chain ended: what of its last write is damaged. To be asked when there are no more.
    #[must_use]
    pub fn finish(self) -> wal::Scanned {
        self.scanner.finish()
    }

    fn before(&self, segment: SegmentId, bytes: &Bytes, error: &wal::Error) -> Vec<wal::Frame> {
        let bad = match error {
            wal::Error::Corrupt { lsn, .. } | wal::Error::FutureRecord { lsn, .. } => *lsn,
            wal::Error::LsnGap { expected, .. } | wal::Error::LsnRepeated { expected, .. } => *expected,
            _ => return Vec::new(),
        };
        let scanner = self.scanner.clone().until(Lsn::new(bad.value().saturating_sub(1)));
        scanner.clone().segment(segment, bytes).unwrap_or_default()
    }

    fn read_next(&mut self, segment: SegmentId) -> Result<Vec<wal::Frame>, SourceError> {
        let path = self.dir.join(wal::file_name(segment));
        let last = self.rest.is_empty();
        let mut looks = 0;
        loop {
            let bytes = match self.held.get(&segment) {
                Some(file) => read_held(file, &path)?,
                None => read(&path, u64::MAX)?,
            };
            let len = bytes.len() as u64;
            let mut scanner = self.scanner.clone();
            let frames = match scanner.segment(segment, &bytes) {
                Ok(frames) => frames,
                Err(error) => {
                    // What is intact before it is given first.
                    let frames = self.before(segment, &bytes, &error);
                    self.broken = Some(SourceError::Log { dir: self.dir.clone(), error });
                    return Ok(frames);
                }
            };
            looks += 1;
            // Somebody is writing it: what looks torn is not there yet.
            let growing = || fs::metadata(&path).is_ok_and(|now| now.len() > len);
            if last && looks < LOOKS_MAX && scanner.clone().finish().cut.is_some() && growing() {
                continue;
            }
            self.scanner = scanner;
            return Ok(frames);
        }
    }
}

impl Iterator for Frames {
    type Item = Result<wal::Frame, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(frame) = self.ready.next() {
                self.next = frame.lsn.next();
                return Some(Ok(frame));
            }
            if let Some(error) = self.broken.take() {
                self.failed = true;
                return Some(Err(error));
            }
            if self.failed || self.until.is_some_and(|last| self.next > last) {
                return None;
            }
            let segment = self.rest.pop_front()?;
            match self.read_next(segment) {
                Ok(frames) => self.ready = frames.into_iter(),
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

fn list(dir: &Path) -> Result<BTreeMap<SegmentId, u64>, SourceError> {
    let fail = |error| SourceError::Io { what: "list", path: dir.to_owned(), error };
    let mut segments = BTreeMap::new();
    for entry in fs::read_dir(dir).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        match wal::segment_of(&name) {
            Some(segment) => match fs::metadata(entry.path()) {
                Ok(meta) => drop(segments.insert(segment, meta.len())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(SourceError::Io { what: "look at", path: entry.path(), error }),
            },
            None if name.ends_with(wal::SUFFIX) => return Err(SourceError::Misnamed { path: entry.path() }),
            None => {}
        }
    }
    if segments.is_empty() { Err(SourceError::NoLog { dir: dir.to_owned() }) } else { Ok(segments) }
}

/// All of a file that is open, from its beginning.
fn read_held(file: &fs::File, path: &Path) -> Result<Bytes, SourceError> {
    let all = || {
        let mut bytes = vec![0; usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes.into())
    };
    all().map_err(|error| SourceError::Io { what: "read", path: path.to_owned(), error })
}

fn read(path: &Path, most: u64) -> Result<Bytes, SourceError> {
    use io::Read as _;
    let mut bytes = Vec::new();
    let done = fs::File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes));
    match done {
        Ok(_) => Ok(bytes.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(SourceError::Removed { path: path.to_owned() }),
        Err(error) => Err(SourceError::Io { what: "read", path: path.to_owned(), error }),
    }
}

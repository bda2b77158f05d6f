//! The segment files of one directory. Every fault names the operation and the file.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::OpenError;
use crate::types::{DiskFault, DiskFaultKind, Family, PersistId, SegmentId};
use crate::wal;

/// Segments kept open for reading.
const READERS_MAX: usize = 64;

/// Small writes are gathered into one system call of at most this many bytes.
const GATHER_BYTES: usize = 256 << 10;

/// So much stays free beside a snapshot: a segment of the log as it is by default.
const SNAPSHOT_SPARE: u64 = 16 << 20;

#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    readers: BTreeMap<SegmentId, File>,
}

/// The segment that is written.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) segment: SegmentId,
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) len: u64,
    /// Its directory entry is not durable yet.
    pub(super) fresh: bool,
}

impl Files {
    /// Makes the directory if it is not there, durably, readable for its owner only.
    pub(super) fn make(dir: &Path) -> Result<Self, OpenError> {
        let missing: Vec<_> = dir.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).collect();
        let fail = |what, path: &Path, error| OpenError::Io { what, path: path.into(), error };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|error| fail("create", dir, error))?;
        for made in missing {
            let parent =
                made.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
            sync_dir(parent).map_err(|error| fail("sync", parent, error))?;
        }
        Ok(Self { dir: dir.into(), readers: BTreeMap::new() })
    }

    /// Makes durable what an earlier process may have left in memory, and forgets what memory holds of it.
    pub(super) fn settle(&self) -> Result<(), OpenError> {
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |error| OpenError::Io { what: "sync", path, error }
        };
        let segments = self.segments().map_err(fail(&self.dir))?;
        let last = |family| segments.keys().rfind(|segment| segment.family() == family);
        for segment in Family::ALL.into_iter().filter_map(last) {
            let path = self.path(*segment);
            File::open(&path).and_then(|file| sync_and_forget(&file)).map_err(fail(&path))?;
        }
        sync_dir(&self.dir).map_err(fail(&self.dir))
    }

    /// The segments and their lengths.
    pub(super) fn list(&self) -> Result<Vec<(SegmentId, u64)>, DiskFault> {
        Ok(self.segments().map_err(|error| fault("list", &self.dir, &error))?.into_iter().collect())
    }

    fn segments(&self) -> io::Result<BTreeMap<SegmentId, u64>> {
        let mut segments = BTreeMap::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            match wal::segment_of(&name).or_else(|| wal::snapshot_of(&name)) {
                Some(segment) => segments.insert(segment, fs::metadata(entry.path())?.len()),
                // A copy or a renamed segment must not be passed over in silence.
                None if name.ends_with(wal::SUFFIX) => {
                    let why = format!("{name} is not the name of a segment: sixteen hexadecimal digits");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, why));
                }
                None => continue,
            };
        }
        Ok(segments)
    }

    /// Up to `len` bytes of a segment; fewer if the file ends before.
    pub(super) fn read(&mut self, segment: SegmentId, offset: u64, len: u64) -> Result<Bytes, DiskFault> {
        let path = self.path(segment);
        self.read_bytes(segment, offset, len).map_err(|error| fault("read", &path, &error))
    }

    fn read_bytes(&mut self, segment: SegmentId, offset: u64, len: u64) -> io::Result<Bytes> {
        if !self.readers.contains_key(&segment) {
            let file = File::open(self.path(segment))?;
            if self.readers.len() >= READERS_MAX {
                self.readers.pop_first();
            }
            self.readers.insert(segment, file);
        }
        let file = &self.readers[&segment];
        // The file's length bounds what is allocated, whatever was asked for.
        let there = file.metadata()?.len().saturating_sub(offset).min(len);
        let mut bytes = vec![0; usize::try_from(there).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes.into())
    }

    /// Shortens a segment, durably; 0 removes it.
    pub(super) fn truncate(&mut self, segment: SegmentId, len: u64) -> Result<(), DiskFault> {
        self.readers.remove(&segment);
        let path = self.path(segment);
        let done = if len == 0 { self.remove(&path) } else { shorten(&path, len) };
        done.map_err(|error| fault("truncate", &path, &error))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)?;
        sync_dir(&self.dir)
    }

    /// Whether so many bytes more would fit, as far as the file system says.
    pub(super) fn has_room(&self, bytes: u64) -> Result<(), DiskFault> {
        let there = rustix::fs::statvfs(&self.dir).map_err(|error| fault("look at", &self.dir, &error.into()))?;
        let free = there.f_bavail.saturating_mul(there.f_frsize);
        if free >= bytes {
            return Ok(());
        }
        let why = format!("{free} bytes are free, and {bytes} are needed");
        Err(fault("write to", &self.dir, &io::Error::new(io::ErrorKind::StorageFull, why)))
    }

    /// Whether a snapshot would fit that is as long as the longest there is, and the log beside it for a while.
    pub(super) fn has_room_for_snapshot(&self) -> Result<(), DiskFault> {
        let there = self.list()?.into_iter().filter(|(segment, _)| segment.family() == Family::Snapshot);
        self.has_room(there.map(|(_, len)| len).max().unwrap_or_default() + SNAPSHOT_SPARE)
    }

    /// The segment's chain ends there: what is behind it is removed, durably.
    pub(super) fn end_at(&mut self, segment: SegmentId, len: u64) -> Result<(), DiskFault> {
        let behind = self.list()?.into_iter().filter(|(there, _)| there.family() == segment.family());
        // The last first, so that no gap is ever left.
        for (there, length) in behind.rev() {
            if there > segment || (there == segment && len == 0) {
                self.truncate(there, 0)?;
            } else if there == segment && length != len {
                self.truncate(there, len)?;
            }
        }
        Ok(())
    }

    /// The segment, to be written from `offset` on, which must be its length. At 0 it is made and must not be there.
    pub(super) fn tail(&self, segment: SegmentId, offset: u64) -> Result<Tail, DiskFault> {
        let path = self.path(segment);
        let (fresh, mut options) = (offset == 0, OpenOptions::new());
        let file = options.write(true).create_new(fresh).mode(0o600).open(&path);
        let file = file.map_err(|error| fault(if fresh { "create" } else { "open" }, &path, &error))?;
        let tail = Tail { segment, file, path, len: offset, fresh };
        tail.check(offset)?;
        Ok(tail)
    }

    /// Takes back a file that was made and not written.
    pub(super) fn discard(&self, tail: &Tail) {
        // If this fails too, the next boot finds an empty segment and cuts it.
        let _ = self.remove(&tail.path);
    }

    /// Makes the tail durable, with its directory entry if that is new.
    pub(super) fn sync(&self, tail: &mut Tail) -> Result<(), DiskFault> {
        tail.file.sync_data().map_err(|error| fault("sync", &tail.path, &error))?;
        if tail.fresh {
            sync_dir(&self.dir).map_err(|error| fault("sync", &self.dir, &error))?;
            tail.fresh = false;
        }
        Ok(())
    }

    pub(super) fn path(&self, segment: SegmentId) -> PathBuf {
        self.dir.join(wal::file_name(segment))
    }
}

impl Tail {
    /// Nobody but us may have changed its length.
    pub(super) fn check(&self, offset: u64) -> Result<(), DiskFault> {
        let there = self.file.metadata().map_err(|error| fault("look at", &self.path, &error))?.len();
        if there == offset {
            return Ok(());
        }
        let why = format!("the file is {there} bytes long and the write begins at byte {offset}");
        Err(fault("write", &self.path, &io::Error::new(io::ErrorKind::InvalidInput, why)))
    }

    /// Appends these writes. On failure: how many are there as a whole; the file ends behind the last of them.
    pub(super) fn append(&mut self, writes: &[(PersistId, Bytes)]) -> Result<(), (usize, DiskFault)> {
        let start = self.len;
        let Err(error) = self.write(writes) else { return Ok(()) };
        let (mut whole, mut end) = (0, start);
        for (_, bytes) in writes {
            let next = end + bytes.len() as u64;
            if next > self.len {
                break;
            }
            (whole, end) = (whole + 1, next);
        }
        let fault = fault("write", &self.path, &error);
        // If this fails too, the next boot finds a torn write and cuts it.
        let _ = self.file.set_len(end);
        self.len = end;
        Err((whole, fault))
    }

    fn write(&mut self, writes: &[(PersistId, Bytes)]) -> io::Result<()> {
        let mut gathered = Vec::new();
        for (_, bytes) in writes {
            if gathered.len() + bytes.len() > GATHER_BYTES {
                self.write_all(&gathered)?;
                gathered.clear();
            }
            if bytes.len() > GATHER_BYTES { self.write_all(bytes)? } else { gathered.extend_from_slice(bytes) }
        }
        self.write_all(&gathered)
    }

    /// As the library's, but `len` tells how far it came.
    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.file.write_at(bytes, self.len) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.len += written as u64;
                    bytes = &bytes[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn shorten(path: &Path, len: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    let there = file.metadata()?.len();
    if len > there {
        let why = format!("the file is {there} bytes long and cannot be shortened to {len}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    file.set_len(len)?;
    file.sync_all()
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn sync_and_forget(file: &File) -> io::Result<()> {
    file.sync_all()?;
    #[cfg(target_os = "linux")]
    rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed)?;
    Ok(())
}

/// The fault of an operation on a file.
pub(super) fn fault(what: &str, path: &Path, error: &io::Error) -> DiskFault {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DiskFaultKind::Full,
        io::ErrorKind::NotFound => DiskFaultKind::Missing,
        _ => DiskFaultKind::Failed,
    };
    DiskFault { kind, what: format!("{what} {}", path.display()).into(), why: Arc::from(error.to_string()) }
}

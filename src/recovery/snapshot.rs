//! The snapshots beside a log, looked at as files: which of them a start would take, and which moments they are of. When a peer takes
//! one, how it is compressed and how many are kept says [`SnapshotConfig`].

use std::fs;
use std::io::{self, Read as _, Seek as _};
use std::path::Path;

use super::source::{Source, SourceError};
use super::survey::LocateError;
use super::target::{Restorable, Target, Unreachable};
use crate::node;
pub use crate::node::{SnapshotFile, SnapshotState, Taken};
use crate::types::{Position, SegmentId};
use crate::wal;
pub use crate::wal::{Codec, SnapshotConfig};

/// All snapshots beside a log, oldest first.
///
/// # Errors
/// When the directory cannot be read; a snapshot that cannot is told as refused.
pub fn beside(source: &Source) -> Result<Vec<SnapshotFile>, SourceError> {
    let dir = source.dir();
    let fail = |error| SourceError::Io { what: "list", path: dir.to_owned(), error };
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name();
        numbers.extend(wal::snapshot_of(&name.to_string_lossy()));
    }
    numbers.sort_unstable();
    let segments: Vec<(SegmentId, u64)> = source.segments().iter().map(|(segment, len)| (*segment, *len)).collect();
    let look = |number: SegmentId| {
        let file = wal::file_name(number);
        let read = |position: Position| read_at(dir, position).map_err(|error| error.to_string());
        let bytes = fs::read(dir.join(&file)).map_err(|error| error.to_string());
        let looked = bytes.and_then(|bytes| node::look_at_snapshot(source.node(), number, &bytes, &segments, read));
        let state = looked.map_or_else(SnapshotState::Refused, SnapshotState::Good);
        SnapshotFile { id: node::id_of_snapshot(number), file, state }
    };
    Ok(numbers.into_iter().map(look).collect())
}

/// Which moment a snapshot is of. Good ones are among the restorable from now on.
pub(super) fn end_of(source: &Source, id: &str, restorable: &mut Restorable) -> Result<Taken, LocateError> {
    let mut found = None;
    for file in beside(source)? {
        if let SnapshotState::Good(taken) = &file.state {
            restorable.ids.push(format!("{} (lsn:{})", Target::Snapshot(file.id.to_string()), taken.lsn));
        }
        if file.id.to_string() == id {
            found = Some(file.state);
        }
    }
    let target = Target::Snapshot(id.to_owned()).to_string();
    let why = match found {
        Some(SnapshotState::Good(taken)) => return Ok(taken),
        Some(SnapshotState::Refused(why)) => Unreachable::BadSnapshot { target, why },
        Some(SnapshotState::Unread) | None => Unreachable::UnknownSnapshot { target },
    };
    Err(restorable.refuse(why).into())
}

fn read_at(dir: &Path, position: Position) -> io::Result<Vec<u8>> {
    let mut file = fs::File::open(dir.join(wal::file_name(position.segment)))?;
    file.seek(io::SeekFrom::Start(position.offset))?;
    let mut bytes = Vec::new();
    file.take(u64::from(position.len)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

//! Private files: readable by their owner alone, and on the disk whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Why a file of the data directory could not be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {why}", path = path.display())]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// The system's words, or what is wrong with its content.
    pub why: io::Error,
}

impl FileError {
    pub(crate) fn content(path: &Path, why: impl Into<String>) -> Self {
        Self { path: path.to_owned(), why: io::Error::new(io::ErrorKind::InvalidData, why.into()) }
    }
}

/// The content, `None` if there is no such file. A file longer than `max` is refused before it is read, and so is one
/// that others may read: a key that was lying open may be known to them.
pub(crate) fn read(path: &Path, max: usize) -> Result<Option<Vec<u8>>, FileError> {
    let fail = |why| FileError { path: path.to_owned(), why };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    let meta = file.metadata().map_err(fail)?;
    if meta.permissions().mode() & 0o077 != 0 {
        let mode = meta.permissions().mode() & 0o777;
        return Err(FileError::content(path, format!("mode {mode:o}, must be 600: others may have read it")));
    }
    let mut bytes = Vec::new();
    let bound = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(bound).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() > max {
        return Err(FileError::content(path, format!("longer than {max} bytes")));
    }
    Ok(Some(bytes))
}

/// Replaces the content, durably: after it returns, a crash at any moment leaves these bytes; before, the old ones.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let fail = |why| FileError { path: path.to_owned(), why };
    let mut name = path.file_name().expect("every private file has a name").to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new).map_err(fail)?;
    // A leftover of a crash keeps the mode it was made with.
    file.set_permissions(fs::Permissions::from_mode(0o600)).map_err(fail)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(fail)?;
    fs::rename(&new, path).map_err(fail)?;
    let dir = path.parent().expect("every private file lies in a directory");
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(fail)
}

/// Makes the data directory, with mode 0700 if it is new.
pub(crate) fn make_dir(dir: &Path) -> Result<(), FileError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|why| FileError { path: dir.to_owned(), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_private_bounded_and_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        assert!(read(&path, 10).unwrap().is_none());
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(read(&path, 10).unwrap().unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(read(&path, 2).unwrap_err().to_string().contains("longer than 2 bytes"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(read(&path, 10).unwrap_err().to_string().contains("mode 640"));
    }
}

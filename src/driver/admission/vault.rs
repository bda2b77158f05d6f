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
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(FileError { path: path.to_owned(), why }),
    };
    let mode = mode(&file, path)?;
    if mode & 0o077 != 0 {
        let why = format!(
            "mode {mode:o}, must be 600: others may have read it; if nobody has, `chmod 600 {}`",
            path.display()
        );
        return Err(FileError::content(path, why));
    }
    read_all(file, path, max).map(Some)
}

/// As [`read`], of a file that must be there and may be anybody's to read: a medium that is carried about may keep no
/// modes. Gives whether others may read it.
pub(super) fn read_anywhere(path: &Path, max: usize) -> Result<(Vec<u8>, bool), FileError> {
    let file = File::open(path).map_err(|why| FileError { path: path.to_owned(), why })?;
    let mode = mode(&file, path)?;
    Ok((read_all(file, path, max)?, mode & 0o077 != 0))
}

fn mode(file: &File, path: &Path) -> Result<u32, FileError> {
    let meta = file.metadata().map_err(|why| FileError { path: path.to_owned(), why })?;
    Ok(meta.permissions().mode() & 0o777)
}

fn read_all(file: File, path: &Path, max: usize) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    let bound = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    let read = file.take(bound).read_to_end(&mut bytes);
    read.map_err(|why| FileError { path: path.to_owned(), why })?;
    if bytes.len() > max {
        return Err(FileError::content(path, format!("longer than {max} bytes")));
    }
    Ok(bytes)
}

/// Writes a file that must not be there yet, durably; private where the medium keeps modes.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let fail = |why| FileError { path: path.to_owned(), why };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(fail)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(fail)?;
    sync_dir(path).map_err(fail)
}

/// Removes a file, durably.
pub(crate) fn remove(path: &Path) -> Result<(), FileError> {
    let removed = fs::remove_file(path).and_then(|()| sync_dir(path));
    removed.map_err(|why| FileError { path: path.to_owned(), why })
}

fn sync_dir(path: &Path) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(dir)?.sync_all()
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
    sync_dir(path).map_err(fail)
}

/// Makes the data directory, with mode 0700 if it is new.
pub(crate) fn make_dir(dir: &Path) -> Result<(), FileError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|why| {
        let what = match why.kind() {
            io::ErrorKind::AlreadyExists => "it is no directory".to_owned(),
            _ => format!("the directory cannot be made: {why}"),
        };
        FileError { path: dir.to_owned(), why: io::Error::new(why.kind(), what) }
    })
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

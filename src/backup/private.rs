//! A repository in a directory: what is made in it is for its owner alone, and what killed processes left is found again.
//!
//! The store itself makes folders and files as the umask says. Folders are made here before it needs them, for their owner
//! alone and durably, so that nobody else reads a file in them at any time; each file is closed to others when it is there.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The folders of a repository.
const FOLDERS: [&str; 8] = ["archive", "backups", "data", "deleting", "keys", "pending", "probe", "tombs"];

/// A file that a killed process had not finished. No list of the store shows it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LeftOver {
    /// Where it is.
    pub path: PathBuf,
    /// Its bytes.
    pub len: u64,
}

/// Makes a directory, and those above it that are not there, durably and for its owner alone.
pub(super) fn make(dir: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = dir.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    for made in missing {
        let parent = made.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

/// Before an object is written: its folder.
pub(super) fn prepare(root: &Path, name: &str) -> io::Result<()> {
    root.join(name).parent().map_or(Ok(()), make)
}

/// After it was written.
pub(super) fn close(root: &Path, name: &str) -> io::Result<()> {
    fs::set_permissions(root.join(name), Permissions::from_mode(0o600))
}

/// What was begun and not finished, and not touched since this second: `NAME#N`, as the store calls them.
pub(super) fn left_over(root: &Path, before_secs: u64) -> io::Result<Vec<LeftOver>> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = FOLDERS.iter().map(|folder| root.join(folder)).collect();
    let mut look = |path: PathBuf, open: &mut Vec<PathBuf>| {
        // What is gone meanwhile was somebody's who works on.
        let Ok(meta) = fs::symlink_metadata(&path) else { return };
        if meta.is_dir() {
            open.push(path);
        } else if is_staging(&path) && u64::try_from(meta.mtime()).is_ok_and(|touched| touched <= before_secs) {
            found.push(LeftOver { path, len: meta.len() });
        }
    };
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        if path.is_file() {
            look(path, &mut open);
        }
    }
    while let Some(folder) = open.pop() {
        match fs::read_dir(&folder) {
            Ok(entries) => entries.filter_map(Result::ok).for_each(|entry| look(entry.path(), &mut open)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn is_staging(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.rsplit_once('#').is_some_and(|(name, number)| {
        let ours = name.ends_with(".json")
            || name.ends_with(".oxb")
            || path.parent().is_some_and(|dir| dir.ends_with("probe"));
        ours && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

//! Writes what a command gives into the place that it was told: a regular file is replaced whole, and anything else, such as a
//! pipe or a device, is written through. A link leads to what it names, and stays.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// A new file's mode before the umask takes its part.
const MODE: u32 = 0o666;

/// Writes all of it. Nobody ever sees half a regular file, and one that is there keeps its mode.
pub(crate) fn write(place: &Path, bytes: &[u8]) -> io::Result<()> {
    let place = target(place)?;
    match fs::metadata(&place) {
        Ok(meta) if meta.is_file() => replace(&place, Some(meta.permissions()), bytes),
        Ok(_) => OpenOptions::new().write(true).open(&place)?.write_all(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => replace(&place, None, bytes),
        Err(error) => Err(error),
    }
}

/// Where a path leads, also when what a link names is not there yet.
fn target(place: &Path) -> io::Result<PathBuf> {
    match fs::read_link(place) {
        Ok(_) if place.exists() => fs::canonicalize(place),
        Ok(link) => Ok(place.parent().unwrap_or_else(|| Path::new("")).join(link)),
        Err(_) => Ok(place.to_owned()),
    }
}

fn replace(place: &Path, mode: Option<Permissions>, bytes: &[u8]) -> io::Result<()> {
    let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    // With the umask's mode, as any program makes a file.
    let mut partial = tempfile::Builder::new().permissions(Permissions::from_mode(MODE)).tempfile_in(folder)?;
    partial.write_all(bytes)?;
    if let Some(mode) = mode {
        partial.as_file().set_permissions(mode)?;
    }
    partial.as_file().sync_all()?;
    partial.persist(place)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_new_file_has_the_mode_of_any_new_file_and_an_old_one_keeps_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        File::create(at("any")).unwrap();
        write(&at("new"), b"1").unwrap();
        assert_eq!(mode(&at("new")), mode(&at("any")));
        fs::set_permissions(at("new"), Permissions::from_mode(0o640)).unwrap();
        write(&at("new"), b"2").unwrap();
        assert_eq!((mode(&at("new")), fs::read(at("new")).unwrap()), (0o640, b"2".to_vec()));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is left over");
    }

    #[test]
    fn a_link_is_followed_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        symlink("real", at("link")).unwrap();
        for text in [b"1", b"2"] {
            write(&at("link"), text).unwrap();
            assert!(fs::symlink_metadata(at("link")).unwrap().is_symlink());
            assert_eq!(fs::read(at("real")).unwrap(), text);
        }
    }

    #[test]
    fn what_is_no_regular_file_is_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read(pipe).unwrap()
        });
        write(&pipe, b"through").unwrap();
        assert_eq!(reader.join().unwrap(), b"through");
        write(Path::new("/dev/null"), b"gone").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file() && pipe.exists());
    }
}

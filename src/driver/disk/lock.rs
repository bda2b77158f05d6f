//! One process a directory: two logs under one name would both be wrong.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

use super::OpenError;

/// The file that is locked; it holds the process id of who locks it, for people.
pub(in crate::driver) const LOCK_FILE: &str = "lock";

/// The lock, held as long as this lives. The system takes it back when the process dies, however it dies.
#[derive(Debug)]
pub(in crate::driver) struct Lock(File);

impl Lock {
    pub(in crate::driver) fn take(dir: &Path) -> Result<Self, OpenError> {
        Self::of(dir, LOCK_FILE)
    }

    /// Another lock than that of the log in it, of this name.
    pub(in crate::driver) fn of(dir: &Path, name: &str) -> Result<Self, OpenError> {
        let path = dir.join(name);
        let fail = |what, error| OpenError::Io { what, path: path.clone(), error };
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(|error| fail("open", error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let read = Read::by_ref(&mut file).take(16).read_to_string(&mut text);
                let holder = read.ok().and_then(|_| text.trim().parse().ok());
                return Err(OpenError::Locked { dir: dir.into(), holder });
            }
            Err(TryLockError::Error(error)) => return Err(fail("lock", error)),
        }
        let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        // The text is a courtesy; a full disk must not keep a node from reading.
        drop(written);
        Ok(Self(file))
    }
}

impl Drop for Lock {
    /// Closing the file is not enough: a child that is just being started by another thread has it open too, until it becomes
    /// another program.
    fn drop(&mut self) {
        // Closing is what is left.
        let _ = self.0.unlock();
    }
}

//! Which share of a mesh's backup this data directory has begun: what was begun is gone on with after a restart, however late; what was not, is not begun
//! after its time.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::schedule::{read, replace};

const FILE: &str = "backup-begun.json";

/// A share of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// Of which job.
    pub job: Uuid,
    /// Which attempt.
    pub attempt: u32,
}

impl Begun {
    /// The one that was begun last in a data directory. Of a file that cannot be read there is none.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn read(dir: &Path) -> io::Result<Option<Self>> {
        Ok(serde_json::from_str(&read(&dir.join(FILE))?).ok())
    }

    /// Writes it down, durably, before it is begun.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn keep(self, dir: &Path) -> io::Result<()> {
        replace(&dir.join(FILE), &serde_json::to_string(&self).expect("plain data"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_begun_is_known_in_the_next_life() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Begun::read(dir.path()).unwrap(), None);
        for attempt in 1..=2 {
            let begun = Begun { job: Uuid::from_u128(7), attempt };
            begun.keep(dir.path()).unwrap();
            assert_eq!(Begun::read(dir.path()).unwrap(), Some(begun));
        }
        std::fs::write(dir.path().join(FILE), "{\"job\"").unwrap();
        assert_eq!(Begun::read(dir.path()).unwrap(), None);
    }
}

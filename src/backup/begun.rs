//! Which share of a mesh's backup this data directory has begun, and what came of it: what was begun is gone on with after a restart, however
//! late; what was not, is not begun after its time; and what was taken is told, and not taken again.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::schedule::{Outcome, read, replace};
use crate::consensus::Token;

const FILE: &str = "backup-begun.json";

/// A share of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// Of which job.
    pub job: Uuid,
    /// Which attempt.
    pub attempt: u32,
    /// By which decision about the job: what an earlier one says does not hold any more.
    #[serde(default)]
    pub seen: Token,
    /// What came of it; nothing yet, or the peer was killed before it was written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub came: Option<Outcome>,
}

impl Begun {
    /// The one that was begun last in a data directory. Of a file that cannot be read there is none.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn read(dir: &Path) -> io::Result<Option<Self>> {
        Ok(serde_json::from_str(&read(&dir.join(FILE))?).ok())
    }

    /// Writes it down, durably: before it is begun, and before what came of it is told.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn keep(&self, dir: &Path) -> io::Result<()> {
        replace(&dir.join(FILE), &serde_json::to_string(self).expect("plain data"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::WallTime;

    #[test]
    fn what_was_begun_is_known_in_the_next_life() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Begun::read(dir.path()).unwrap(), None);
        for came in [None, Some(Outcome::begun("mesh", WallTime::default()))] {
            let begun = Begun { job: Uuid::from_u128(7), attempt: 1, seen: Token::default(), came };
            begun.keep(dir.path()).unwrap();
            assert_eq!(Begun::read(dir.path()).unwrap(), Some(begun));
        }
        std::fs::write(dir.path().join(FILE), "{\"job\"").unwrap();
        assert_eq!(Begun::read(dir.path()).unwrap(), None);
    }
}

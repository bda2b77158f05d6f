//! What the room gets from its host: the time, chance, and an ear for progress. It reads no clock and draws nothing by
//! itself.

use crate::types::WallTime;

/// The host's side.
pub trait Host: Send + Sync {
    /// The wall clock.
    fn wall(&self) -> WallTime;

    /// Time since some moment, by a clock that nobody sets, in microseconds. Where there is none, the wall clock.
    fn mono(&self) -> u64 {
        self.wall().as_micros()
    }

    /// Fills the bytes with luck that nobody can guess.
    fn random(&self, bytes: &mut [u8]);

    /// The name of this life: of the process, by luck that no other process has had.
    fn life(&self) -> String;

    /// Whether the process of that life has ended for certain. Where that is not known, it has not.
    fn has_ended(&self, life: &str) -> bool;

    /// Hears how far it is. Must not block.
    fn progress(&self, progress: &Progress) {
        let _ = progress;
    }
}

/// How far it is. `done` never falls within a phase.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// Bytes done: of the log's records while backing up and restoring, of objects while checking.
    pub done: u64,
    /// Bytes in all, where that is known.
    pub total: Option<u64>,
    /// Objects written or read.
    pub objects: u64,
    /// Records of the log.
    pub records: u64,
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Records are packed and stored.
    BackUp,
    /// Objects are read and records given out.
    Restore,
    /// Objects are read and judged.
    Verify,
    /// Objects are removed.
    Prune,
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// A host whose time is set and whose luck is a sequence.
    pub(in crate::backup) struct Fixed {
        pub(in crate::backup) micros: AtomicU64,
        seed: Mutex<u64>,
        pub(in crate::backup) life: &'static str,
        /// Lives that have ended for certain.
        pub(in crate::backup) ended: Vec<&'static str>,
    }

    impl Fixed {
        pub(in crate::backup) fn new(seed: u64) -> Self {
            let micros = AtomicU64::new(1_800_000_000_000_000);
            Self { micros, seed: Mutex::new(seed), life: "a life", ended: Vec::new() }
        }
    }

    impl Host for Fixed {
        fn wall(&self) -> WallTime {
            WallTime::from_micros(self.micros.load(Ordering::Relaxed))
        }

        fn random(&self, bytes: &mut [u8]) {
            let mut seed = self.seed.lock().unwrap();
            *seed += 1;
            blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(bytes);
        }

        fn life(&self) -> String {
            self.life.into()
        }

        fn has_ended(&self, life: &str) -> bool {
            self.ended.contains(&life)
        }
    }
}

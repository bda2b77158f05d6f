//! Digests of what a node wants done and of what its workers answer, so that two lives can be compared without keeping either.
//!
//! xxh3 over every part, in order. Bytes that can be long go in as they are; the rest goes in as it prints, which is the same
//! in every build.

use std::fmt;

use bincode::{Decode, Encode};
use xxhash_rust::xxh3::Xxh3;

use crate::documents::{Arrived, Done, Task};
use crate::node::Effect;

/// What is kept of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Mark {
    kind: u8,
    digest: u64,
}

const KINDS: [&str; 10] = ["send", "persist", "io", "task", "dial", "close", "keep-policy", "reply", "notify", "pack"];

impl Mark {
    /// That of an effect.
    #[must_use]
    pub fn of(effect: &Effect) -> Self {
        let mut sum = Sum::new();
        let kind = match effect {
            Effect::Send { to, lane, frame } => {
                sum.print(&(to, lane));
                sum.bytes(frame);
                0
            }
            Effect::Persist { id, segment, offset, bytes } => {
                sum.print(&(id, segment, offset));
                sum.bytes(bytes);
                1
            }
            Effect::Io { id, op } => {
                sum.print(&(id, op));
                2
            }
            Effect::Task { id, task } => {
                sum.print(id);
                sum.task(task);
                3
            }
            Effect::Dial { .. } => sum.other(effect, 4),
            Effect::Close { .. } => sum.other(effect, 5),
            Effect::KeepPolicy { .. } => sum.other(effect, 6),
            Effect::Reply { .. } => sum.other(effect, 7),
            Effect::Notify(_) => sum.other(effect, 8),
            Effect::Pack { .. } => sum.other(effect, 9),
        };
        Self { kind, digest: sum.0.digest() }
    }

    /// What kind of effect it is of.
    #[must_use]
    pub fn kind(self) -> &'static str {
        KINDS.get(usize::from(self.kind)).copied().unwrap_or("unknown")
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:016x}", self.kind(), self.digest)
    }
}

/// That of a worker's answer.
pub(super) fn of_done(done: &Done) -> u64 {
    let mut sum = Sum::new();
    match done {
        Done::Edited { doc, change, results, state } => {
            sum.print(&(doc, results, state));
            sum.bytes(change.as_deref().unwrap_or_default());
        }
        Done::Applied { doc, applied, orphans, refused, known, older, state } => {
            sum.print(&(doc, orphans, refused, known, state));
            sum.changes(applied);
            sum.changes(older);
        }
        other => sum.print(other),
    }
    sum.0.digest()
}

/// That of a piece of a snapshot.
pub(super) fn of_packed(bytes: &[u8]) -> u64 {
    let mut sum = Sum::new();
    sum.bytes(bytes);
    sum.0.digest()
}

struct Sum(Xxh3);

impl Sum {
    fn new() -> Self {
        Self(Xxh3::new())
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    fn print(&mut self, value: &dyn fmt::Debug) {
        fmt::write(self, format_args!("{value:?}\0")).expect("a hasher takes everything");
    }

    fn other(&mut self, effect: &Effect, kind: u8) -> u8 {
        self.print(effect);
        kind
    }

    fn changes(&mut self, changes: &[Arrived]) {
        self.0.update(&(changes.len() as u64).to_le_bytes());
        for Arrived { log, seq, change } in changes {
            self.print(&(log, seq));
            self.bytes(change);
        }
    }

    fn task(&mut self, task: &Task) {
        match task {
            Task::Apply { doc, changes } => {
                self.print(&("apply", doc));
                self.changes(changes);
            }
            Task::Rebuild { doc, changes } => {
                self.print(&("rebuild", doc));
                self.changes(changes);
            }
            Task::Restore { doc, changes, whole } => {
                self.print(&("restore", doc, whole));
                self.changes(changes);
            }
            other => self.print(other),
        }
    }
}

impl fmt::Write for Sum {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}

//! The trace of a run as a hash: equal for equal runs, in another process, in debug and release.
//!
//! Rolling xxh3-128 over (time, node, input bytes, effects) with a checkpoint every 4,096 events, so that the first
//! difference of two runs is found by comparing checkpoints, without keeping either trace.

use std::fmt;

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

/// Events between two checkpoints.
pub const CHECKPOINT_EVERY: u64 = 4_096;

/// Bytes that are hashed at once.
const PIECE: usize = 4 << 10;

/// What a run came to, in 128 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceHash(pub u128);

impl fmt::Display for TraceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl serde::Serialize for TraceHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Hashes a run while it happens.
pub(super) struct Trace {
    hasher: Xxh3,
    /// What it has not been given yet: it likes long pieces better than many short ones.
    waits: Vec<u8>,
    events: u64,
    checkpoints: Vec<TraceHash>,
}

impl Trace {
    pub(super) fn new() -> Self {
        Self { hasher: Xxh3::new(), waits: Vec::with_capacity(PIECE), events: 0, checkpoints: Vec::new() }
    }

    fn add(&mut self, bytes: &[u8]) {
        if self.waits.len() + bytes.len() > PIECE {
            self.hasher.update(&self.waits);
            self.waits.clear();
        }
        if bytes.len() > PIECE {
            self.hasher.update(bytes);
        } else {
            self.waits.extend_from_slice(bytes);
        }
    }

    /// An event begins: when, at which node, of which kind.
    pub(super) fn event(&mut self, at: u64, node: u32, kind: u8) {
        self.events += 1;
        if self.events.is_multiple_of(CHECKPOINT_EVERY) {
            self.checkpoints.push(self.hash());
        }
        let mut head = [0; 13];
        head[..8].copy_from_slice(&at.to_le_bytes());
        head[8..12].copy_from_slice(&node.to_le_bytes());
        head[12] = kind;
        self.add(&head);
    }

    /// A part of the event: a tag that names the part, a number.
    pub(super) fn word(&mut self, tag: u8, word: u64) {
        let mut bytes = [tag; 9];
        bytes[1..].copy_from_slice(&word.to_le_bytes());
        self.add(&bytes);
    }

    /// A part of the event: bytes, with their length.
    pub(super) fn bytes(&mut self, tag: u8, bytes: &Bytes) {
        self.word(tag, bytes.len() as u64);
        self.add(bytes);
    }

    /// A part of the event: a text, with its length.
    pub(super) fn text(&mut self, tag: u8, text: &str) {
        self.word(tag, text.len() as u64);
        self.add(text.as_bytes());
    }

    /// A part of the event whose length is always the same, or was told.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.add(bytes);
    }

    /// A part of the event that has no bytes of its own, as it prints: the same in every build.
    pub(super) fn debug(&mut self, tag: u8, value: &dyn fmt::Debug) {
        self.add(&[tag]);
        fmt::write(&mut Sink(self), format_args!("{value:?}")).expect("a hasher takes everything");
    }

    /// The hash so far.
    pub(super) fn hash(&self) -> TraceHash {
        let mut hasher = self.hasher.clone();
        hasher.update(&self.waits);
        TraceHash(hasher.digest128())
    }

    /// Events so far.
    pub(super) fn events(&self) -> u64 {
        self.events
    }

    /// The hash at each checkpoint.
    pub(super) fn into_checkpoints(self) -> Vec<TraceHash> {
        self.checkpoints
    }
}

struct Sink<'a>(&'a mut Trace);

impl fmt::Write for Sink<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.add(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same everywhere: a golden value, so that hashes of two builds can be compared.
    #[test]
    fn the_hash_of_a_known_trace_is_known() {
        let mut trace = Trace::new();
        for n in 0..CHECKPOINT_EVERY + 1 {
            trace.event(n, 7, 1);
            trace.bytes(2, &Bytes::from_static(b"frame"));
            trace.debug(3, &("a", 5));
        }
        let checkpoint = trace.checkpoints[0];
        assert_ne!(checkpoint, trace.hash());
        assert_eq!(trace.checkpoints.len(), 1);
        assert_eq!(trace.hash().to_string(), "3baa9acb54768254da3bbd810b546372");
    }

    #[test]
    fn moving_a_byte_between_parts_changes_the_hash() {
        let hash = |a: &'static [u8], b: &'static [u8]| {
            let mut trace = Trace::new();
            trace.bytes(1, &Bytes::from_static(a));
            trace.bytes(1, &Bytes::from_static(b));
            trace.hash()
        };
        assert_ne!(hash(b"ab", b"c"), hash(b"a", b"bc"));
    }
}

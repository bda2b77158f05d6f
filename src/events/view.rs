//! What others may read of streams.

use super::Events;

/// The streams as they stand. Reading changes nothing.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub(super) events: &'a Events,
}

impl View<'_> {
    /// How many streams there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.events.index.names().count()
    }

    /// How many events are kept.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events.index.events()
    }

    /// Bytes on the disk of the segments' entries.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.events.index.bytes()
    }

    /// Entries that could not be taken in, since the start.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.events.refused
    }
}

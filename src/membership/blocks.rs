//! Entries in blocks that copies of a table share until one of them writes.
//!
//! A mesh of thousands in one process holds a row for each pair of members, and nearly all rows of one member are alike. Members
//! that begin with one agreed table then cost what they write. To a process with one table a block is a step more on the way to an
//! entry.

use std::ops::{Index, IndexMut};
use std::sync::Arc;

use super::table::Entry;

/// Entries in a block.
const BLOCK: usize = 32;

/// A vector of entries.
#[derive(Clone, Debug, Default)]
pub(super) struct Blocks(Vec<Arc<Vec<Entry>>>);

impl Blocks {
    pub(super) fn len(&self) -> usize {
        self.0.last().map_or(0, |last| (self.0.len() - 1) * BLOCK + last.len())
    }

    pub(super) fn push(&mut self, entry: Entry) {
        match self.0.last_mut().filter(|last| last.len() < BLOCK) {
            Some(last) => Arc::make_mut(last).push(entry),
            None => self.0.push(Arc::new(vec![entry])),
        }
    }
}

impl Index<usize> for Blocks {
    type Output = Entry;

    fn index(&self, at: usize) -> &Entry {
        &self.0[at / BLOCK][at % BLOCK]
    }
}

impl IndexMut<usize> for Blocks {
    fn index_mut(&mut self, at: usize) -> &mut Entry {
        &mut Arc::make_mut(&mut self.0[at / BLOCK])[at % BLOCK]
    }
}

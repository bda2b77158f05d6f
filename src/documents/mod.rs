//! Automerge documents by path id.
//!
//! This room owns what the documents say. [`Documents`] is the machine: the index of all documents with their heads, the
//! order of work on each, the changes that wait for others. [`Engine`] is the worker's side: it merges, and it decides
//! which changes are fit to be merged. [`geojson`] brings features in and out.
//!
//! **Invariants**
//! - A change that the log refused is in no document, and nobody was told that it was.
//! - Two nodes that were delivered the same entries hold the same heads, whatever the order and in whichever logs: whether
//!   a change is admitted depends on its bytes and its causal past only.
//! - A document that is not in memory can be read back: the index knows a place in the log of each of its changes.
//! - Nothing is lost silently: a change is applied, waits, or is refused by name. Of two changes with which a writer used one
//!   number twice, because its store was rolled back, both are applied.
//! - What shows where several values stand is a function of the changes and of the [`Policies`]; the trail of what met is one of the
//!   changes and of the [`PolicyHistory`]. Nothing is written to decide it, and nothing kept: the trail is read off the history.
//! - [`Checks`] flag what shows, whenever somebody reads; they refuse nothing and write nothing.
//!
//! Left to others: durability and spreading (`replication`), threads (the driver).

mod change;
mod checkpoint;
mod checks;
mod config;
mod conflicts;
mod delivery;
mod edits;
mod engine;
pub mod geojson;
mod index;
mod memory;
mod met;
mod orphans;
mod places;
mod policy;
mod quarantine;
mod reads;
mod rebuild;
mod returning;
mod size;
mod trie;
mod view;
mod vocabulary;

#[cfg(test)]
pub(crate) use change::tamper::tampered;
pub use checkpoint::Kept;
pub use checks::{Check, Checks, FLAG_MAX, FLAGS_MAX};
pub use config::{Config, Limits};
pub use conflicts::{ChangeStamp, Found, Look, Meeting, OpenConflict, Side, Standing, Wish, Wrote};
pub use engine::Engine;
pub use index::Documents;
pub use memory::Usage;
pub use policy::{POLICIES_MAX, POLICY_SETS_MAX, Policies, Policy, PolicyError, PolicyHistory, PolicySet};
pub use quarantine::{QUARANTINE_MAX, Quarantined};
pub use rebuild::REBUILDS_MAX;
pub use trie::{Prefix, Trie};
pub use view::View;
pub use vocabulary::{
    Arrived, ChangeInfo, Command, DocState, Done, Edit, Error, Event, Listed, Orphan, Outcome, Stamp, Task, Timer,
    Token, Wanted,
};

use bincode::{Decode, Encode};

use crate::types::DocId;

/// What an entry of [`Topic::DOCUMENTS`](crate::types::Topic::DOCUMENTS) says.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Body {
    /// Which document.
    pub doc: DocId,
    /// The encoded Automerge change.
    pub change: Vec<u8>,
}

#[cfg(test)]
mod tests;

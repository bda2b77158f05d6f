//! Automerge documents by path id.

mod vocabulary;

pub use vocabulary::{
    Arrived, ChangeInfo, Command, DocState, Done, Edit, Error, Event, Listed, Orphan, Outcome, Stamp, Task, Token,
    Wanted,
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

/// Limits of this room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Documents in one page of a scan.
    pub page_max: usize,
}

//! A trace: who wrote what, and what they had read when they wrote it.

use std::collections::BTreeMap;

use oxigdal_ha::documents::Edit;
use oxigdal_ha::types::DocId;
use serde_json::Value;

/// One edit.
pub(crate) struct Step {
    /// Which peer makes it.
    pub(crate) writer: usize,
    pub(crate) doc: DocId,
    pub(crate) edits: Vec<Edit>,
    /// The steps that made the version on which it was made. A writer's own steps on a document follow each other.
    pub(crate) after: Vec<usize>,
}

pub(crate) struct Trace {
    pub(crate) writers: usize,
    pub(crate) steps: Vec<Step>,
    /// What documents must read in the end. Of others it is only known that all peers read the same.
    pub(crate) end: BTreeMap<DocId, Value>,
}

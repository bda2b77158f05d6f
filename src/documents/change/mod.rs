//! Encoded Automerge changes, read by ourselves: before a peer's bytes reach the merge engine they are checked here.
//!
//! The format is Automerge's change chunk (<https://automerge.org/automerge-binary-format-spec>): a header with a
//! checksum, then who, when and after what, then the operations in columns of run-length and delta codes. This reader is
//! strict where the merge engine is lenient: it takes only the one encoding that the engine itself would write, so that a
//! change which passes hashes alike wherever it is saved and loaded again, and it counts before it allocates, so that a
//! run of 2^60 nulls costs nothing.
//!
//! It takes only what this program writes: maps, lists, texts, counters and JSON's scalars. Marks, times and tables are refused.

mod column;
mod decode;
mod reader;
#[cfg(test)]
pub(super) mod tamper;

use sha2::{Digest as _, Sha256};

use self::reader::Reader;
use crate::types::NodeId;

/// Operations in one change at most.
pub(super) const OPS_MAX: usize = 10_000;
/// Predecessors named in one change at most.
pub(super) const PREDS_MAX: usize = 10 * OPS_MAX;
/// Bytes of one change at most: with its envelope it fits into one frame of the sync lane.
pub(super) const CHANGE_MAX: usize = (16 << 20) - (64 << 10);
/// Bytes of one change at most, its largest value not counted.
pub(super) const PLAIN_MAX: usize = 1 << 20;
/// Changes that one change may directly follow: as many as writers can have been at work at the same time.
pub(super) const DEPS_MAX: usize = 1_024;
/// Bytes of one map key at most.
pub(super) const KEY_MAX: usize = 4 << 10;
/// How deep objects nest at most, the root counted.
pub(super) const DEPTH_MAX: u8 = 64;
/// How deep the JSON inside one atomic value nests at most: with [`DEPTH_MAX`] still below the 128 of common readers.
pub(super) const ATOMIC_DEPTH_MAX: usize = 32;
/// Highest operation counter: half of what the merge engine can count to.
pub(super) const COUNTER_MAX: u32 = 1 << 31;
/// A counter begins that far from 0 at most: as far as JSON's readers count exactly.
pub(super) const START_MAX: i64 = 1 << 53;
/// One increment at most, up or down. A document holds fewer than [`COUNTER_MAX`] of them, so no counter overflows.
pub(super) const STEP_MAX: i64 = 1 << 31;
/// The message of a change without operations that deletes its document.
pub(super) const DELETE: &str = "delete";
/// The message of a change without operations that makes its document exist.
pub(super) const CREATE: &str = "create";

const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
const CHUNK_CHANGE: u8 = 1;
const ACTOR_LEN: usize = 24;
const HASH_LEN: usize = 32;

/// The hash that names a change.
pub(super) type Hash = [u8; HASH_LEN];

/// How operations are named that one writer made: by its actor, and where its changes part (see the engine's `branches`)
/// by the first change of the branch too. In order of its bytes, which is the merge engine's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) actor: [u8; ACTOR_LEN],
    pub(super) branch: Option<Hash>,
}

impl Name {
    /// The whole of a writer, or what comes before its branches.
    pub(super) const fn plain(actor: [u8; ACTOR_LEN]) -> Self {
        Self { actor, branch: None }
    }

    /// As it stands in a change: 24 bytes of actor, then nothing or 32 bytes of hash.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = self.actor.to_vec();
        bytes.extend(self.branch.iter().flatten());
        bytes
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (actor, rest) = bytes.split_first_chunk()?;
        let branch = if rest.is_empty() { None } else { Some(rest.try_into().ok()?) };
        Some(Self { actor: *actor, branch })
    }
}

/// Why a change is not admitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("not a change: {0}")]
    NotAChange(&'static str),
    #[error("not in its one canonical encoding: {0}")]
    Encoding(&'static str),
    #[error("{what}: {found}, the limit is {max}")]
    TooLarge { what: &'static str, found: usize, max: usize },
    #[error("written in the name of another than the log's owner")]
    Impostor,
    #[error("its sequence number is {found}, by its writer's changes in its past it is {expected}")]
    Sequence { found: u64, expected: u64 },
    #[error("follows two changes of its writer that do not follow each other")]
    OwnPast,
    #[error("its operations start at {found}, {expected} is next")]
    StartOp { found: u64, expected: u64 },
    #[error("operation {index}: {fault}")]
    Op { index: usize, fault: OpFault },
    #[error("follows a change that was refused")]
    Descends,
    #[error("the merge engine failed on it: {0}")]
    Engine(String),
}

/// What is wrong with an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OpFault {
    #[error("its object does not exist in the change's past")]
    Object,
    #[error("its key does not fit the kind of its object")]
    Key,
    #[error("its list element does not exist in the change's past")]
    Element,
    #[error("an insertion must set a value in a list and replace none")]
    Insertion,
    #[error("a text is made of characters that are inserted and removed")]
    Text,
    #[error("it replaces what does not exist in the change's past")]
    Pred,
    #[error("it replaces a value of another place")]
    PredPlace,
    #[error("what it replaces is not in order")]
    PredOrder,
    #[error("it removes or updates nothing")]
    NoPred,
    #[error("it increments what is no counter")]
    NoCounter,
    #[error("a counter begins or moves further than counters may")]
    Count,
    #[error("objects nest too deeply")]
    Depth,
    #[error("its kind is not one that documents use")]
    Action,
    #[error("its value is not one of JSON")]
    Value,
}

/// A change whose bytes are sound; whether it fits the document is the table's question.
#[derive(Debug)]
pub(super) struct Change<'a> {
    pub(super) hash: Hash,
    pub(super) deps: Vec<Hash>,
    /// The writer, then the others that operations refer to.
    pub(super) names: Vec<Name>,
    pub(super) seq: u64,
    pub(super) start_op: u64,
    /// Whether it deletes the document.
    pub(super) deletes: bool,
    /// Milliseconds since 1970, as the writer's clock had it.
    pub(super) millis: i64,
    pub(super) ops: Vec<Op<'a>>,
    /// Of all operations, one after the other.
    pub(super) preds: Vec<Id>,
}

/// An operation's name within a change: its counter, and an index into [`Change::names`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id {
    pub(super) counter: u32,
    pub(super) actor: u32,
}

/// One operation as it stands in a change.
#[derive(Debug, PartialEq)]
pub(super) struct Op<'a> {
    /// In which object; absent for the root.
    pub(super) object: Option<Id>,
    pub(super) key: Key<'a>,
    pub(super) insert: bool,
    pub(super) action: Action,
    /// How many of [`Change::preds`] are its own.
    pub(super) preds: usize,
}

/// Where in an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key<'a> {
    Map(&'a str),
    Head,
    Element(Id),
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    MakeMap,
    MakeList,
    MakeText,
    Put,
    /// Puts a text of one character, as a text is made of.
    PutChar,
    /// Puts a counter that begins with this number.
    PutCounter(i64),
    /// Adds to counters.
    Increment(i64),
    Delete,
}

/// A change's outside: enough to name it and to know whose it is.
pub(super) struct Header<'a> {
    pub(super) hash: Hash,
    body: &'a [u8],
}

impl<'a> Header<'a> {
    /// Checks size, kind and checksum.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Refusal> {
        if bytes.len() > CHANGE_MAX {
            return Err(Refusal::TooLarge { what: "bytes of a change", found: bytes.len(), max: CHANGE_MAX });
        }
        let mut reader = Reader::new(bytes);
        let end = Refusal::NotAChange("it ends too early");
        if reader.take(MAGIC.len()) != Some(&MAGIC) {
            return Err(Refusal::NotAChange("it begins otherwise"));
        }
        let checksum = reader.take(4).ok_or_else(|| end.clone())?;
        if reader.take(1) != Some(&[CHUNK_CHANGE]) {
            return Err(Refusal::NotAChange("it is a chunk of another kind"));
        }
        let len = reader.unsigned()?;
        let body = reader.rest();
        if usize::try_from(len) != Ok(body.len()) {
            return Err(Refusal::NotAChange("its length is not the one it states"));
        }
        // The hash covers the kind, the length and the body; the checksum is its beginning.
        let hash: Hash = Sha256::digest(&bytes[8..]).into();
        if !hash.starts_with(checksum) {
            return Err(Refusal::NotAChange("its checksum fails"));
        }
        Ok(Self { hash, body })
    }

    /// Whether this change was written by an actor of this node.
    pub(super) fn is_of(&self, node: NodeId) -> bool {
        let mut reader = Reader::new(self.body);
        let skipped = reader.unsigned().ok().and_then(|deps| usize::try_from(deps).ok()?.checked_mul(HASH_LEN));
        let found = skipped.and_then(|len| reader.take(len)).and_then(|_| reader.prefixed().ok());
        found.is_some_and(|actor| actor.len() == ACTOR_LEN && actor.starts_with(node.as_bytes()))
    }
}

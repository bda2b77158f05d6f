//! The words of this room: what clients ask, what workers do, what is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::conflicts::{Found, Look, Meeting, OpenConflict, Wish};
use super::policy::{Policies, PolicyHistory};
use crate::types::{Actor, CommandId, DiskFault, DocId, Hlc, LogId, Seq, WallTime};

/// One edit of one document, applied in the order given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Edit {
    /// Make the document have exactly this content: a JSON object. Only what differs is written, so that concurrent edits
    /// of other fields survive. Creates the document, and brings a removed one back.
    Put {
        /// The content.
        value: Value,
    },
    /// Set one place, creating objects on the way.
    Set {
        /// Where: a JSON Pointer (RFC 6901); the leading slash may be left out.
        path: String,
        /// The new value.
        value: Value,
    },
    /// Insert an element into a list: before the one of this index, or behind the last. What several insert at the same time all stays.
    Insert {
        /// Where: a JSON Pointer (RFC 6901) whose last step is an index, or `-` for the end; the leading slash may be left out.
        path: String,
        /// The element.
        value: Value,
    },
    /// Remove one place: of a list the element that has this index.
    Remove {
        /// Where: a JSON Pointer (RFC 6901); the leading slash may be left out.
        path: String,
    },
    /// Change a part of a text that people write together: what several write at once at different places all stays. A text
    /// that was set as a whole becomes such a text first, and where there is nothing an empty one is made; two peers that do
    /// so at the same time make two, of which the newer shows.
    Splice {
        /// Where the text is: a JSON Pointer (RFC 6901); the leading slash may be left out.
        path: String,
        /// Before which character, counted in Unicode code points from 0.
        at: usize,
        /// How many characters to remove.
        #[serde(default)]
        remove: usize,
        /// What to insert there.
        #[serde(default)]
        insert: String,
    },
    /// Add to a counter: what is added at the same time all counts. Where nothing is, a counter of 0 is made first, and objects on
    /// the way; a whole number becomes a counter that begins with it. Two peers that make a counter of one place at the same time make
    /// one: it begins with what the newer of them began with, and all increments count. It reads as a number. Setting another whole
    /// number there begins it anew: what was added without having seen that is not counted.
    Increment {
        /// Where: a JSON Pointer (RFC 6901); the leading slash may be left out.
        path: String,
        /// How much, up or down: 2^31 at most.
        #[serde(default = "one")]
        by: i64,
    },
    /// Write a place at which several values stand, or a removal beside what others wrote, so that this supersedes all of them: also if
    /// it is what shows already. Where nothing is open it is refused ([`Error::NotOpen`]), unless it reads so already: then it is settled,
    /// and nothing is written.
    Resolve {
        /// Where: a JSON Pointer (RFC 6901); the leading slash may be left out. Empty where the document was deleted while others wrote:
        /// to have it stay as this value, or be deleted.
        path: String,
        /// The value; absent to remove what is there, if anything is. A `null` is a value.
        #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
        value: Option<Value>,
        /// Where nothing is open, edit all the same: a plain [`Set`](Self::Set) where one value stands, or a removal of what is there, if
        /// anything is.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        force: bool,
    },
    /// Settle a place by what one change stands for there: its value, however long, or its removal. As [`Resolve`](Self::Resolve), without
    /// the value having to be read before.
    Choose {
        /// Where: a JSON Pointer (RFC 6901); the leading slash may be left out. Empty where the document was deleted while others wrote.
        path: String,
        /// The change, as hex: its hash, or the first eight digits of it or more.
        change: String,
        /// What was seen there: [`OpenConflict::seen`]. Where something else stands by now nothing is done ([`Error::NotSeen`]). Absent: all
        /// that stands there is superseded, seen or not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seen: Option<String>,
    },
    /// Remove the document: its content goes, its history stays. An edit elsewhere that had not seen this brings the document
    /// back whole. Stands alone in its command.
    Delete,
}

const fn one() -> i64 {
    1
}

impl Edit {
    /// Where it edits; empty for the whole.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::Put { .. } | Self::Delete => "",
            Self::Set { path, .. }
            | Self::Insert { path, .. }
            | Self::Remove { path }
            | Self::Splice { path, .. }
            | Self::Increment { path, .. }
            | Self::Choose { path, .. }
            | Self::Resolve { path, .. } => path,
        }
    }
}

/// What is there is a value, also a `null`.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// What a client asks of documents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Command {
    /// Edit one document: all edits or none. Answered by [`Outcome::Edited`] once durable here.
    Edit {
        /// Which.
        doc: DocId,
        /// What to do, in order.
        edits: Vec<Edit>,
        /// Fail with [`Error::Exists`] if the document exists.
        create: bool,
    },
    /// Edit one document as it was at a version that the writer had read: what others wrote since is concurrent, and merged
    /// as if the edit had been made elsewhere, without having seen it. Answered as [`Command::Edit`].
    EditAt {
        /// Which.
        doc: DocId,
        /// What to do, in order.
        edits: Vec<Edit>,
        /// The heads of the version. None: before the document was written.
        heads: Vec<[u8; 32]>,
    },
    /// Read one document, or one place in it. Answered by [`Outcome::Value`].
    Get {
        /// Which.
        doc: DocId,
        /// A JSON Pointer (RFC 6901); empty for the whole.
        path: String,
    },
    /// Read many documents in order of id. Answered by [`Outcome::Page`].
    Scan {
        /// Only ids that begin with this.
        prefix: String,
        /// Only ids above this.
        after: Option<DocId>,
        /// How many at most; bounded by [`Config::page_max`](super::Config::page_max).
        limit: usize,
        /// Whether to read the contents too.
        values: bool,
    },
    /// Read what one change stands for at a place that is open, however long. Answered by [`Outcome::Value`].
    Standing {
        /// Which document.
        doc: DocId,
        /// A JSON Pointer (RFC 6901) of a place that is open.
        path: String,
        /// The change, as hex: its hash, or the first eight digits of it or more.
        change: String,
    },
    /// The changes of one document, oldest first. Answered by [`Outcome::History`].
    History {
        /// Which.
        doc: DocId,
    },
    /// What met in many documents, in order of id. Answered by [`Outcome::Met`].
    Met {
        /// Only in documents whose ids begin with this.
        prefix: String,
        /// Only in documents with ids above this.
        after: Option<DocId>,
        /// In how many documents at most; bounded by [`Config::page_max`](super::Config::page_max).
        limit: usize,
        /// Open conflicts, or the trail.
        look: Look,
        /// Which entries of the trail.
        wish: Wish,
    },
    /// The places of one document where several values stand. Answered by [`Outcome::Met`].
    Open {
        /// Which.
        doc: DocId,
    },
}

/// What a command came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Outcome {
    /// The edit is durable on this node. Without a stamp nothing differed and nothing was written.
    Edited {
        /// Which document.
        doc: DocId,
        /// The document's heads with this edit, as hex, sorted.
        heads: Vec<String>,
        /// The change, as hex: alone it names the version that it made. Without it nothing was written.
        change: Option<String>,
        /// Where the change stands in this node's origin log.
        stamp: Option<Stamp>,
    },
    /// The value at the asked place.
    Value {
        /// Which document.
        doc: DocId,
        /// Its content there.
        value: Value,
        /// The document's heads, as hex, sorted.
        heads: Vec<String>,
    },
    /// Documents in order of id.
    Page {
        /// The documents.
        docs: Vec<Listed>,
        /// Whether more follow after the last one.
        more: bool,
    },
    /// What met.
    Met {
        /// Places where several values stand.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        open: Vec<OpenConflict>,
        /// What met, of each document the newest first.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        trail: Vec<Meeting>,
        /// Documents of which more met than is told.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        cut: Vec<DocId>,
        /// The versions of which open conflicts are told: the heads of these documents, as hex, sorted. To be named by who chooses what
        /// stood then.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        versions: BTreeMap<DocId, Vec<String>>,
        /// Behind which document to go on, if there are more.
        next: Option<DocId>,
    },
    /// Changes in causal order.
    History {
        /// Which document.
        doc: DocId,
        /// Its changes.
        changes: Vec<ChangeInfo>,
    },
}

/// Where and when an entry was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Stamp {
    /// The origin log.
    pub log: LogId,
    /// Its place there.
    pub seq: Seq,
    /// When.
    pub hlc: Hlc,
}

/// One document of a page.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listed {
    /// Which.
    pub doc: DocId,
    /// Its heads, as hex, sorted.
    pub heads: Vec<String>,
    /// Its content, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
}

/// One change of a document's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChangeInfo {
    /// Its hash, as hex.
    pub hash: String,
    /// Who made it; absent if a foreign tool wrote the actor.
    pub actor: Option<Actor>,
    /// When, by the writer's wall clock.
    pub at: WallTime,
    /// How many operations it holds.
    pub ops: usize,
    /// Whether it deletes the document.
    pub deletes: bool,
    /// The changes that it follows, as hex.
    pub deps: Vec<String>,
}

/// Why a command on documents was not done. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such document.
    #[error("there is no document {doc}")]
    NotFound {
        /// Which.
        doc: DocId,
    },
    /// The document exists already.
    #[error("document {doc} exists already")]
    Exists {
        /// Which.
        doc: DocId,
    },
    /// There is nothing at that place.
    #[error("document {doc} has nothing at {path:?}")]
    NoSuchPath {
        /// Which document.
        doc: DocId,
        /// Where.
        path: String,
    },
    /// The version on which the edit was made is not here, or not yet.
    #[error("document {doc} has no change {head} here")]
    Unseen {
        /// Which document.
        doc: DocId,
        /// The head that is not here, as hex.
        head: String,
    },
    /// This node has written to the document since the version on which the edit was made: its own changes follow each other.
    #[error("this peer has written to document {doc} since the version that was named; read it again")]
    Outdated {
        /// Which document.
        doc: DocId,
    },
    /// No conflict is open at that place, so there is nothing to settle.
    #[error("no conflict is open in document {doc} at {path:?}")]
    NotOpen {
        /// Which document.
        doc: DocId,
        /// Where.
        path: String,
    },
    /// What stands at that place is not what the client had seen.
    #[error("document {doc}, at {path:?}: {why}")]
    NotSeen {
        /// Which document.
        doc: DocId,
        /// Where.
        path: String,
        /// What is different.
        why: String,
    },
    /// The path or the value cannot be used.
    #[error("document {doc}, at {path:?}: {why}")]
    Invalid {
        /// Which document.
        doc: DocId,
        /// Where.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// A limit would be passed.
    #[error("document {doc}: {what} is {found}, the limit is {max}")]
    TooLarge {
        /// Which document.
        doc: DocId,
        /// What is too large.
        what: &'static str,
        /// How large it is.
        found: usize,
        /// How large it may be.
        max: usize,
    },
    /// Too many commands wait already; try again shortly.
    #[error("{waiting} commands wait already, the limit is {max}")]
    Busy {
        /// How many wait.
        waiting: usize,
        /// How many may.
        max: usize,
    },
    /// The log did not take it, so it is not durable and not acknowledged. It may or may not be there after a restart.
    #[error("not durable: {0}")]
    Disk(#[from] DiskFault),
    /// The document is not in memory and cannot be read back from the log. It is tried again when it is asked for.
    #[error("document {doc} cannot be read back from the log: {why}")]
    Unreadable {
        /// Which document.
        doc: DocId,
        /// What stands against it.
        why: String,
    },
    /// The merge engine failed on this document; it was rebuilt from its changes.
    #[error("document {doc}: the merge engine failed: {why}")]
    Engine {
        /// Which document.
        doc: DocId,
        /// Its words.
        why: String,
    },
}

/// Names an edit batch between the engine and the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub u64);

/// Work on one document for a worker. A worker keeps the documents of its shard; tasks of one document keep their order.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Task {
    /// Make one change of these edits. Each command's edits succeed or fail as a whole.
    Edit {
        /// Which document.
        doc: DocId,
        /// The writer.
        actor: Actor,
        /// The commit's time.
        at: WallTime,
        /// The commands, in order.
        batch: Vec<Wanted>,
        /// By what it is decided what shows, and so what differs.
        policies: Policies,
    },
    /// Check and apply changes of others, or of our own log at boot. They may come in any order and more than once.
    Apply {
        /// Which document.
        doc: DocId,
        /// The changes.
        changes: Vec<Arrived>,
    },
    /// Make the document anew from these changes, which the log holds, and from what it has besides. Answered by
    /// [`Done::Applied`].
    Rebuild {
        /// Which document.
        doc: DocId,
        /// The changes.
        changes: Vec<Arrived>,
    },
    /// Read a place.
    Get {
        /// Which document.
        doc: DocId,
        /// Who asks.
        command: CommandId,
        /// A JSON Pointer.
        path: String,
        /// By what it is decided what shows.
        policies: Policies,
    },
    /// Read what one change stands for at a place that is open. Answered by [`Done::Got`].
    Standing {
        /// Which document.
        doc: DocId,
        /// Who asks.
        command: CommandId,
        /// A JSON Pointer.
        path: String,
        /// The change, as hex.
        change: String,
        /// By what it is decided what shows.
        policies: Policies,
    },
    /// Find what met.
    Met {
        /// Which document.
        doc: DocId,
        /// Who asks.
        command: CommandId,
        /// Open conflicts, or the trail. For that all of the document must be in memory.
        look: Look,
        /// By what it is decided what shows, and was when values met.
        policies: PolicyHistory,
    },
    /// Read the history.
    History {
        /// Which document.
        doc: DocId,
        /// Who asks.
        command: CommandId,
    },
    /// Build a document that was given up again, from its changes in the log.
    Restore {
        /// Which document.
        doc: DocId,
        /// All of its changes; some may be there twice.
        changes: Vec<Arrived>,
        /// Whether all of them are needed: then none is folded for a while.
        whole: bool,
    },
    /// Give a document up: nothing of it stays with the worker.
    Evict {
        /// Which document.
        doc: DocId,
    },
    /// Forget a change that was just made here, because the log refused it. The document is rebuilt from the others.
    Forget {
        /// Which document.
        doc: DocId,
        /// The change's hash.
        change: [u8; 32],
    },
}

impl Task {
    /// Which document it is about: tasks of one document keep their order.
    #[must_use]
    pub const fn doc(&self) -> &DocId {
        match self {
            Self::Edit { doc, .. }
            | Self::Apply { doc, .. }
            | Self::Rebuild { doc, .. }
            | Self::Get { doc, .. }
            | Self::Standing { doc, .. }
            | Self::Met { doc, .. }
            | Self::History { doc, .. }
            | Self::Restore { doc, .. }
            | Self::Evict { doc }
            | Self::Forget { doc, .. } => doc,
        }
    }

    /// Which of `count` workers does it, from 0: the same one for every task of a document, on every machine.
    #[must_use]
    pub fn worker(&self, count: usize) -> usize {
        let slot = xxhash_rust::xxh3::xxh3_64(self.doc().as_str().as_bytes()) % (count.max(1) as u64);
        usize::try_from(slot).expect("it is below the number of workers")
    }
}

/// One client's edits.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Who asks.
    pub command: CommandId,
    /// What to do, in order.
    pub edits: Vec<Edit>,
    /// Whether the document must not exist yet.
    pub create: bool,
    /// The heads of the version that is edited, if it is not the newest.
    pub at: Option<Vec<[u8; 32]>>,
}

/// A change that came through the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Whose log brought it.
    pub log: LogId,
    /// Its place there.
    pub seq: Seq,
    /// The encoded Automerge change.
    pub change: Bytes,
}

/// What a worker answers.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Done {
    /// To [`Task::Edit`].
    Edited {
        /// Which document.
        doc: DocId,
        /// The change; absent if nothing differed or every command failed.
        change: Option<Bytes>,
        /// For each command whether it is in the change. A command that is not named here did not fit into this change any
        /// more and is to be asked again.
        results: Vec<(CommandId, Result<(), Error>)>,
        /// How the document stands now.
        state: DocState,
    },
    /// To [`Task::Edit`]: nothing was written, because this writer's changes part in the document. Its store was rolled back.
    Parted {
        /// Which document.
        doc: DocId,
        /// The writer.
        actor: Actor,
    },
    /// To [`Task::Apply`] and [`Task::Rebuild`].
    Applied {
        /// Which document.
        doc: DocId,
        /// Changes that were applied, in order.
        applied: Vec<Arrived>,
        /// Changes whose dependencies are not here yet; the worker does not keep them.
        orphans: Vec<Orphan>,
        /// Changes that were refused, with the reason. They are never applied.
        refused: Vec<(Arrived, String)>,
        /// Where changes stand that were here already.
        known: Vec<(LogId, Seq)>,
        /// Changes that cannot be judged by what is in memory of the document: build it from all of its changes, then ask
        /// again.
        older: Vec<Arrived>,
        /// How the document stands now.
        state: DocState,
    },
    /// To [`Task::Get`] and [`Task::Standing`].
    Got {
        /// Which document.
        doc: DocId,
        /// Who asked.
        command: CommandId,
        /// The value there.
        value: Result<Value, Error>,
        /// How the document stands.
        state: DocState,
    },
    /// To [`Task::Met`].
    Met {
        /// Which document.
        doc: DocId,
        /// Who asked.
        command: CommandId,
        /// What met.
        found: Result<Found, Error>,
        /// How the document stands.
        state: DocState,
    },
    /// To [`Task::History`].
    Told {
        /// Which document.
        doc: DocId,
        /// Who asked.
        command: CommandId,
        /// Its changes.
        changes: Result<Vec<ChangeInfo>, Error>,
    },
    /// To [`Task::Restore`].
    Restored {
        /// Which document.
        doc: DocId,
        /// Changes that follow others which were not given; the worker does not keep them.
        orphans: Vec<Orphan>,
        /// How the document stands now.
        state: DocState,
    },
    /// To [`Task::Evict`].
    Evicted {
        /// Which document.
        doc: DocId,
    },
    /// To [`Task::Forget`].
    Forgotten {
        /// Which document.
        doc: DocId,
        /// How the document stands now.
        state: DocState,
    },
}

impl Done {
    /// Which document it is about.
    #[must_use]
    pub const fn doc(&self) -> &DocId {
        match self {
            Self::Edited { doc, .. }
            | Self::Parted { doc, .. }
            | Self::Applied { doc, .. }
            | Self::Got { doc, .. }
            | Self::Met { doc, .. }
            | Self::Told { doc, .. }
            | Self::Restored { doc, .. }
            | Self::Evicted { doc }
            | Self::Forgotten { doc, .. } => doc,
        }
    }
}

/// A change that waits for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// The change.
    pub arrived: Arrived,
    /// Hashes of changes that it follows and that are not here.
    pub missing: Vec<[u8; 32]>,
}

/// How a document stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DocState {
    /// Hashes of its newest changes, sorted. Empty: the document was never written.
    pub heads: Arc<[[u8; 32]]>,
    /// Whether it has content: written and not deleted.
    pub exists: bool,
    /// How many changes it has.
    pub changes: usize,
    /// Bytes of memory that it takes while it is closed, about.
    pub bytes: usize,
    /// Whether some of its changes are not in memory, but folded into its state.
    pub folded: bool,
    /// Whether changes of it stand side by side, so that something may have met. Not known of a document that was taken from a
    /// snapshot and not built since.
    pub met: Option<bool>,
}

/// What documents tell.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A change of ours wants to become durable and to spread.
    Originate {
        /// Names it until the log has answered.
        token: Token,
        /// What to log: see [`Body`](super::Body).
        body: Bytes,
    },
    /// A command is answered.
    Replied {
        /// Which command.
        command: CommandId,
        /// With what.
        result: Result<Outcome, Error>,
    },
    /// A document changed.
    Changed {
        /// Which.
        doc: DocId,
        /// Its heads now.
        heads: Arc<[[u8; 32]]>,
        /// Whether it has content.
        exists: bool,
        /// Whose changes these were.
        origins: Vec<Actor>,
    },
    /// A change was refused by the admission check; it is in the log and in no document.
    Refused {
        /// Which document; absent if the entry does not even say that.
        doc: Option<DocId>,
        /// Whose log brought it.
        log: LogId,
        /// Its place there.
        seq: Seq,
        /// Why.
        why: String,
    },
    /// Two branches of what this node wrote as `actor` are in a document, so it cannot go on under that name: its store was
    /// rolled back. A new actor must be minted; edits wait for it.
    Parted {
        /// As whom it must not write any more.
        actor: Actor,
    },
    /// An entry had to be dropped from memory before it could be applied, because too many wait. It is in the log: read it
    /// there and deliver it again.
    Reread {
        /// Whose log holds it.
        log: LogId,
        /// Its place there.
        seq: Seq,
    },
    /// An entry that was applied is needed once more, since its document was given up: read it in the log and give it to
    /// [`on_recalled`](super::Documents::on_recalled).
    Recall {
        /// Whose log holds it.
        log: LogId,
        /// Its place there.
        seq: Seq,
    },
}

/// What this room waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Timer {
    /// Ask again for what was dropped, and give up what waited too long.
    Orphans,
}

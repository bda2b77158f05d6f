//! Why something about a repository was not done. Whatever concerns an object names it.

use super::id::BackupId;
use crate::types::{Chain, Lsn};

/// An error of another room, in its own words.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why it was not done. Reading never changes a repository; an interrupted write leaves no backup that looks whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no repository there.
    #[error("there is no repository at {at}: `repo.json` is missing")]
    NoRepository {
        /// Where.
        at: String,
    },
    /// The location of a repository cannot be used.
    #[error("{url}: {why}")]
    Location {
        /// As given.
        url: String,
        /// Why.
        why: String,
    },
    /// An object that a repository says it holds is not there.
    #[error("{name} is missing: {needed_by}")]
    Missing {
        /// The object.
        name: String,
        /// Who says that it is there.
        needed_by: String,
    },
    /// An object is not as it was written.
    #[error("{name} is damaged: {what}")]
    Damaged {
        /// The object.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// An object was written by a later version of this program.
    #[error("{name} is of format version {found}, this program knows {known}")]
    FutureFormat {
        /// The object.
        name: String,
        /// Its version.
        found: u32,
        /// The highest version known.
        known: u32,
    },
    /// Somebody else wrote another object of this name.
    #[error("{name} is there already, with other content: does another process back this node up?")]
    Conflict {
        /// The object.
        name: String,
    },
    /// The store refused.
    #[error("cannot {what} {name}: {}", plain(error))]
    Store {
        /// What was tried.
        what: &'static str,
        /// On which object.
        name: String,
        /// The store's own words.
        #[source]
        error: object_store::Error,
    },
    /// A key or passphrase cannot be read.
    #[error("{from}: {why}")]
    Secret {
        /// From where.
        from: String,
        /// Why.
        why: String,
    },
    /// The repository is encrypted, and no key was given.
    #[error("the repository is encrypted: give its passphrase or key file")]
    NoKey,
    /// A key was given, and the repository is not encrypted: nothing is written to it in clear by mistake.
    #[error("the repository at {at} is not encrypted: leave the key away, or make another one with it")]
    NotEncrypted {
        /// Where.
        at: String,
    },
    /// The key or passphrase opens none of the repository's locks.
    #[error("neither of the repository's keys opens with what was given ({name})")]
    WrongKey {
        /// The last lock that was tried.
        name: String,
    },
    /// The cipher refused, which it does for reasons of length only.
    #[error("cannot encrypt: {0}")]
    Cipher(String),
    /// A compressed batch did not give back what went in. Nothing of it was stored.
    #[error("a batch of {chain:?} from record {first} on, compressed by {codec}, does not give back what went in")]
    Codec {
        /// Which chain.
        chain: Chain,
        /// Its first record.
        first: Lsn,
        /// The codec.
        codec: &'static str,
    },
    /// There is no such backup.
    #[error("there is no backup {wanted}")]
    NoBackup {
        /// What was asked for.
        wanted: String,
    },
    /// An id is abbreviated too much.
    #[error("{beginning} is the beginning of {count} backups")]
    ManyBackups {
        /// What was given.
        beginning: String,
        /// How many begin so.
        count: usize,
    },
    /// Backups of several nodes are there, and none was named.
    #[error("the repository holds backups of several nodes ({nodes}): name one")]
    ManyNodes {
        /// Which.
        nodes: String,
    },
    /// A backup's parent is not the one it was made on.
    #[error("backup {id} does not continue its parent {parent}: {why}")]
    Chain {
        /// The backup.
        id: BackupId,
        /// Its parent.
        parent: BackupId,
        /// What does not fit.
        why: String,
    },
    /// The records of a chain are not one run.
    #[error("{name}: record {found} of {chain:?} in the place of record {expected}")]
    Gap {
        /// The object.
        name: String,
        /// Which chain.
        chain: Chain,
        /// What should come.
        expected: Lsn,
        /// What came.
        found: Lsn,
    },
    /// The record asked for is in no backup.
    #[error("record {wanted} of {chain:?} cannot be restored: backup {id} holds records {first} to {last}")]
    OutOfRange {
        /// Which chain.
        chain: Chain,
        /// What was asked for.
        wanted: Lsn,
        /// The backup.
        id: BackupId,
        /// The first that can be had.
        first: Lsn,
        /// The last.
        last: Lsn,
    },
    /// The backup that this one was to continue is marked for deletion.
    #[error("backup {id} is marked for deletion: start again, it will not be built on")]
    Marked {
        /// Which.
        id: BackupId,
    },
    /// A backup whose mark was taken back is being deleted.
    #[error("backup {id} is wanted again, but another prune has begun to delete it: look whether it is still there")]
    Going {
        /// Which.
        id: BackupId,
    },
    /// Another peer archives as the same node.
    #[error(
        "another peer archives as node {node} into this repository (as {holder}; heard of it {silent_ms} ms ago): two peers of one \
         identity are two histories under one name; stop one of them"
    )]
    Claimed {
        /// Which node.
        node: crate::types::NodeId,
        /// The name of the other's life.
        holder: String,
        /// For how long it has been silent, in milliseconds.
        silent_ms: u64,
    },
    /// A former life of this data directory, or of what it was copied from, archived as the same node, and it is not known that it
    /// has ended.
    #[error(
        "a former life of this data directory archived as node {node} (as {holder}): if it stays silent, this one goes on in \
         {wait_ms} ms; if it does not, the directory is a copy of one that is in use: stop one of them"
    )]
    FormerLife {
        /// Which node.
        node: crate::types::NodeId,
        /// The name of that life.
        holder: String,
        /// How much longer it is waited for, in milliseconds.
        wait_ms: u64,
    },
    /// The backup took longer than the repository holds open what is being written.
    #[error("the backup took more than {days} days: what it builds on may be gone; start again")]
    TooLong {
        /// The bound.
        days: u64,
    },
    /// Several histories hold what was asked for, and not the same.
    #[error("{target} is in several histories of this log, and not the same in each: name one by --backup: {backups}")]
    Ambiguous {
        /// What was asked for.
        target: String,
        /// The newest backup of each.
        backups: String,
    },
    /// Two histories of one log stand beside each other, and neither continues the other.
    #[error(
        "the log of node {node} has several histories here, and none continues another: they end with backup {backups}. It was put back or \
         lost its end, or two peers have one identity: then stop one of them"
    )]
    Branches {
        /// Which node.
        node: crate::types::NodeId,
        /// The end of each.
        backups: String,
    },
    /// The moment that was asked for cannot be had.
    #[error(transparent)]
    Target(#[from] crate::recovery::target::TargetError),
    /// The policy would keep nothing.
    #[error("a policy must keep something: give one of last, hourly, daily, weekly, monthly")]
    EmptyPolicy,
    /// The log could not be read.
    #[error("cannot read the log: {0}")]
    Source(#[source] Cause),
    /// What is restored could not be written.
    #[error("cannot write what is restored: {0}")]
    Sink(#[source] Cause),
}

/// What a store says, without the name of the library's part that says it.
fn plain(error: &object_store::Error) -> String {
    match error {
        object_store::Error::Generic { source, .. } => source.to_string(),
        error => error.to_string(),
    }
}

impl Error {
    pub(super) fn damaged(name: &str, what: impl Into<String>) -> Self {
        Self::Damaged { name: name.into(), what: what.into() }
    }

    /// Whether events expired while they were read: another look at the log finds what is left.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        let removed =
            |cause: &Cause| matches!(cause.downcast_ref(), Some(crate::recovery::SourceError::Removed { .. }));
        matches!(self, Self::Source(cause) if removed(cause))
    }

    /// Whether the log itself is damaged, or lost: trying again does not mend it.
    #[must_use]
    pub fn is_log_damaged(&self) -> bool {
        use crate::recovery::SourceError as S;
        let damaged = |cause: &Cause| {
            let error = cause.downcast_ref();
            matches!(error, Some(S::Log { .. } | S::Record { .. } | S::LostMain { .. } | S::Misnamed { .. }))
        };
        matches!(self, Self::Source(cause) if damaged(cause))
    }

    /// The object that it is about, if it is about one.
    #[must_use]
    pub fn object(&self) -> Option<&str> {
        match self {
            Self::Missing { name, .. }
            | Self::Damaged { name, .. }
            | Self::FutureFormat { name, .. }
            | Self::Conflict { name }
            | Self::Store { name, .. }
            | Self::Gap { name, .. }
            | Self::WrongKey { name } => Some(name),
            _ => None,
        }
    }
}

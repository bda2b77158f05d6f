//! Why a peer did not start, and how rooms' errors become the one that an embedder meets.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::admission::{AdmissionError, FileError, Refusal};
use super::disk::OpenError;
use super::http::TokenError;
use super::network::{JoinError, NetworkError};
use super::switch::SwitchError;
use crate::config;
use crate::error::{Error, ErrorKind};
use crate::membership::ForgetError;
use crate::node::{BootError, CommandError, PointError};
use crate::roles::{OrderError, Refused};
use crate::types::TimelineId;
use crate::{documents, events, membership};

/// Why a peer did not start. Nothing of it runs; the data directory is as it was, unless a damaged last write was cut.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// There is no tokio runtime to run on.
    #[error("a peer runs on the tokio runtime that it is started from, and there is none here")]
    NoRuntime,
    /// The data directory cannot be used.
    #[error(transparent)]
    Directory(#[from] OpenError),
    /// A file of the data directory cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The token of the HTTP interface cannot be read or made.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The HTTP interface cannot listen.
    #[error("the HTTP interface cannot listen on {address}: {error}")]
    Api {
        /// Where.
        address: SocketAddr,
        /// The system's words.
        #[source]
        error: io::Error,
    },
    /// The file of the recording cannot be made; one that is there is not written over.
    #[error("cannot record to {}: {error}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// The system's words.
        #[source]
        error: io::Error,
    },
    /// The archive cannot be kept, and waiting would not mend it.
    #[error("cannot archive into {repository}: {why}")]
    Archive {
        /// The repository.
        repository: String,
        /// Why.
        why: String,
    },
    /// The mesh did not let this peer in.
    #[error("cannot join: {0}")]
    Join(#[from] JoinError),
    /// A fresh directory and addresses to join, but no invite.
    #[error("{} belongs to no mesh yet, and an address alone lets nobody in", dir.display())]
    NoInvite {
        /// The data directory.
        dir: PathBuf,
    },
    /// The directory of the log cannot be listed, so nobody knows whether it holds one.
    #[error("cannot list {}: {error}", dir.display())]
    List {
        /// The directory.
        dir: PathBuf,
        /// The system's words.
        #[source]
        error: io::Error,
    },
    /// The log is of a mesh, and what says of which is gone.
    #[error("{} holds the log of a peer, and its ticket is gone: put `ticket` back, or join with an invite", dir.display())]
    TicketGone {
        /// The data directory.
        dir: PathBuf,
    },
    /// Another log was being put into the directory, and that was broken off.
    #[error("{}: a recovery was broken off before its log was in place: `{command}`", dir.display())]
    Unfinished {
        /// The data directory.
        dir: PathBuf,
        /// The command that was broken off.
        command: String,
    },
    /// The directory follows a repository and is nobody's yet.
    #[error("{} is a standby, and follows a repository", dir.display())]
    Standby {
        /// The data directory.
        dir: PathBuf,
    },
    /// The log could not be made one of the timeline that was joined.
    #[error(transparent)]
    Switch(#[from] SwitchError),
    /// The log in the directory is of another history of the mesh than its papers.
    #[error(
        "the log is of timeline {log}, and this peer's papers are of timeline {papers}: what the log holds may not come back through it"
    )]
    OtherTimeline {
        /// That of the log.
        log: TimelineId,
        /// That of the directory.
        papers: TimelineId,
    },
    /// A hook ends the work of a role, and has no time for it.
    #[error("a hook that ends the work of a role needs time: `roles.hook-limit-ms` is 0")]
    NoTimeForHooks,
    /// An entry of the configuration's `network` section cannot be used.
    #[error("`{key}`: {text:?}: {why}")]
    Address {
        /// The key.
        key: &'static str,
        /// The entry.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// What this peer says of itself cannot be gossiped.
    #[error("this peer's description: {0}")]
    Meta(#[from] membership::MetaError),
    /// The log cannot be used.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The network cannot be set up.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The system gives no threads.
    #[error("cannot start the merge workers: {0}")]
    Workers(io::Error),
    /// The system gives no entropy.
    #[error("the system gives no entropy: {0}")]
    Entropy(getrandom::Error),
    /// The task that started it was cancelled, or panicked.
    #[error("the start was broken off: {0}")]
    BrokenOff(String),
}

impl From<StartError> for Error {
    fn from(error: StartError) -> Self {
        let kind = match &error {
            StartError::Directory(OpenError::Locked { .. })
            | StartError::Switch(SwitchError::Directory(OpenError::Locked { .. })) => ErrorKind::InUse,
            StartError::Directory(_) | StartError::List { .. } => ErrorKind::Disk,
            StartError::Api { error, .. } if error.kind() == io::ErrorKind::AddrInUse => ErrorKind::InUse,
            StartError::Network(NetworkError::Listen { taken: true, .. }) => ErrorKind::InUse,
            StartError::Api { .. } | StartError::Network(_) => ErrorKind::Network,
            StartError::File(_) | StartError::Token(_) | StartError::TicketGone { .. } => ErrorKind::Damaged,
            StartError::Boot(BootError::Disk(_)) => ErrorKind::Disk,
            StartError::Boot(_)
            | StartError::Unfinished { .. }
            | StartError::Standby { .. }
            | StartError::OtherTimeline { .. } => ErrorKind::Damaged,
            StartError::Join(JoinError::Refused(Refusal::Differs(_))) => ErrorKind::Config,
            StartError::Join(JoinError::Unreachable { .. } | JoinError::Network(_)) => ErrorKind::Network,
            StartError::Join(JoinError::Admission(AdmissionError::File(_))) => ErrorKind::Damaged,
            StartError::Join(_) | StartError::NoInvite { .. } => ErrorKind::NotAdmitted,
            StartError::Address { .. }
            | StartError::Meta(_)
            | StartError::Record { .. }
            | StartError::Archive { .. } => ErrorKind::Config,
            _ => ErrorKind::Disk,
        };
        Self::new(kind, error)
    }
}

impl From<config::Error> for Error {
    fn from(error: config::Error) -> Self {
        Self::new(ErrorKind::Config, error)
    }
}

impl From<AdmissionError> for Error {
    fn from(error: AdmissionError) -> Self {
        let kind = match &error {
            AdmissionError::NoInvite { .. } => ErrorKind::NotFound,
            AdmissionError::InviteUsed { .. } => ErrorKind::Exists,
            AdmissionError::NoIssuer => ErrorKind::Network,
            AdmissionError::File(_) => ErrorKind::Disk,
            AdmissionError::TooManyInvites | AdmissionError::TooManyRevocations => ErrorKind::TooLarge,
            AdmissionError::NotAnIssuer | AdmissionError::Refused(_) => ErrorKind::NotAdmitted,
            _ => ErrorKind::Invalid,
        };
        Self::new(kind, error)
    }
}

impl From<CommandError> for Error {
    fn from(error: CommandError) -> Self {
        use documents::Error as E;
        use events::Error as S;
        let kind = match &error {
            CommandError::Documents(E::NotFound { .. } | E::NoSuchPath { .. }) => ErrorKind::NotFound,
            CommandError::Documents(E::Exists { .. }) => ErrorKind::Exists,
            CommandError::Documents(E::Unseen { .. }) => ErrorKind::Unseen,
            CommandError::Documents(E::Outdated { .. } | E::NotSeen { .. }) => ErrorKind::Outdated,
            CommandError::Documents(E::NotOpen { .. }) => ErrorKind::NotOpen,
            CommandError::Documents(E::TooLarge { .. }) => ErrorKind::TooLarge,
            CommandError::Documents(E::Busy { .. }) => ErrorKind::Busy,
            CommandError::Documents(E::Disk(_) | E::Unreadable { .. }) => ErrorKind::Disk,
            CommandError::Documents(E::Engine { .. }) => ErrorKind::Engine,
            CommandError::Documents(_) => ErrorKind::Invalid,
            CommandError::Events(S::TooLarge { .. } | S::TooMany { .. }) => ErrorKind::TooLarge,
            CommandError::Events(S::Busy { .. }) => ErrorKind::Busy,
            CommandError::Events(S::Disk(_)) => ErrorKind::Disk,
            CommandError::Events(_) => ErrorKind::Invalid,
            CommandError::Leaving => ErrorKind::Leaving,
            CommandError::NotReplicated { .. } => ErrorKind::NotReplicated,
            CommandError::NotLeader { .. } => ErrorKind::NotLeader,
            CommandError::Role(OrderError::NoRole { .. }) => ErrorKind::NotFound,
            CommandError::Role(OrderError::Busy | OrderError::NotSettled) => ErrorKind::Busy,
            CommandError::Role(OrderError::Unknown) => ErrorKind::OutcomeUnknown,
            CommandError::RoleRefused(Refused::Stale { .. }) => ErrorKind::Outdated,
            CommandError::RoleRefused(Refused::Disk(_)) => ErrorKind::Disk,
            CommandError::Role(_) | CommandError::RoleRefused(_) => ErrorKind::Invalid,
            CommandError::NoQuorum => ErrorKind::NoQuorum,
            CommandError::OutcomeUnknown { .. } => ErrorKind::OutcomeUnknown,
            CommandError::Proposal { .. } => ErrorKind::Invalid,
            CommandError::UnknownMember { .. } => ErrorKind::NotFound,
            CommandError::Forget(ForgetError::Present { .. }) => ErrorKind::InUse,
            CommandError::Forget(_) => ErrorKind::NotFound,
            CommandError::PauseSelf | CommandError::Point(PointError::Name { .. }) => ErrorKind::Invalid,
            CommandError::Point(PointError::Exists { .. }) => ErrorKind::Exists,
            CommandError::Point(_) => ErrorKind::TooLarge,
            CommandError::Disk(_) | CommandError::Snapshot { .. } => ErrorKind::Disk,
        };
        Self::new(kind, error)
    }
}

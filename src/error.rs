//! The one error type that an embedder meets: a kind for decisions, words for people, and the cause for both.
//!
//! Rooms have their own error types, which say what became of the state; the driver turns each into this one where it
//! leaves the crate. The kinds are also the codes of the HTTP interface.

use std::error::Error as StdError;
use std::fmt;

/// What went wrong, for decisions. Each kind has a stable code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The configuration was refused.
    Config,
    /// Another process uses the data directory, or the address.
    InUse,
    /// What the data directory holds is damaged, or is not what was expected. Nothing was changed.
    Damaged,
    /// The disk failed, or is full.
    Disk,
    /// The network could not be set up.
    Network,
    /// The mesh, or the token's bearer, was not let in.
    NotAdmitted,
    /// What was asked for is not there.
    NotFound,
    /// What was to be made is there already.
    Exists,
    /// It was made on a version that is not here, or not yet.
    Unseen,
    /// It was made on a version that this peer has gone beyond; read again.
    Outdated,
    /// No conflict is open there: there is nothing to settle.
    NotOpen,
    /// What was given cannot be used.
    Invalid,
    /// A limit would be passed.
    TooLarge,
    /// Too much is waiting; try again shortly.
    Busy,
    /// The peer reads its log still; try again shortly.
    Booting,
    /// The peer is saying goodbye, or has stopped.
    Leaving,
    /// The merge engine failed on this document.
    Engine,
    /// A moment of the past cannot be had; the words say which can.
    Unreachable,
    /// It is done and durable here, but not known to be so on as many others as were wanted.
    NotReplicated,
    /// Somebody else leads the voters, or nobody did in time; nothing was decided, and nothing of it will be.
    NotLeader,
    /// No majority of the voters is in reach; nothing was decided, and nothing of it will be.
    NoQuorum,
    /// It may be decided or not: asking again under the same name tells.
    OutcomeUnknown,
}

impl ErrorKind {
    /// The code, as the HTTP interface gives it.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::InUse => "in_use",
            Self::Damaged => "damaged",
            Self::Disk => "disk",
            Self::Network => "network",
            Self::NotAdmitted => "not_admitted",
            Self::NotFound => "not_found",
            Self::Exists => "exists",
            Self::Unseen => "unseen",
            Self::Outdated => "outdated",
            Self::NotOpen => "not_open",
            Self::Invalid => "invalid",
            Self::TooLarge => "too_large",
            Self::Busy => "busy",
            Self::Booting => "booting",
            Self::Leaving => "leaving",
            Self::Engine => "engine",
            Self::Unreachable => "unreachable",
            Self::NotReplicated => "not_replicated",
            Self::NotLeader => "not_leader",
            Self::NoQuorum => "no_quorum",
            Self::OutcomeUnknown => "outcome_unknown",
        }
    }
}

/// Why something was not done.
pub struct Error {
    kind: ErrorKind,
    cause: Box<dyn StdError + Send + Sync>,
}

impl Error {
    /// Made where an error leaves the crate.
    pub(crate) fn new(kind: ErrorKind, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { kind, cause: cause.into() }
    }

    /// The kind, for decisions.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The room's own error, to be downcast by who knows it.
    #[must_use]
    pub fn cause(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.cause
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl fmt::Debug for Error {
    /// As `main` prints it: the code and the words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.code(), self.cause)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        // The cause's words are ours, so the chain goes on with what is behind it.
        self.cause.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_speaks_with_its_causes_words_and_keeps_the_cause() {
        let error = Error::new(ErrorKind::NotFound, crate::types::IdError::Length { len: 0 });
        assert_eq!(error.to_string(), "a document id is 1 to 255 bytes, this one has 0");
        assert_eq!(format!("{error:?}"), "not_found: a document id is 1 to 255 bytes, this one has 0");
        assert!(error.cause().is::<crate::types::IdError>());
    }
}

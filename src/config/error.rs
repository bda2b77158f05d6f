//! Why a configuration was refused. Nothing was started and nothing was written.

use std::fmt;
use std::path::PathBuf;

use super::Setting;

/// Where a value came from. A later source wins over an earlier one, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Built in.
    #[default]
    Default,
    /// Decided by the profile.
    Profile {
        /// Its name.
        name: &'static str,
    },
    /// A line of the file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A variable of the environment.
    Environment {
        /// Its name.
        variable: String,
    },
    /// An argument, or a call of the embedding program.
    Flag {
        /// Its name.
        flag: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Profile { name } => write!(f, "profile {name}"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment { variable } => write!(f, "environment {variable}"),
            Self::Flag { flag } => f.write_str(flag),
        }
    }
}

/// Why a configuration was refused. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{}:{line}:{column}: {why}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column, from 1, in characters.
        column: usize,
        /// What is wrong there.
        why: String,
    },
    /// There is no such key.
    #[error("{origin}: there is no key `{key}`{}", meant.map(|key| format!("; did you mean `{key}`?")).unwrap_or_default())]
    UnknownKey {
        /// Where it stands.
        origin: Origin,
        /// The key.
        key: String,
        /// The key that was probably meant.
        meant: Option<&'static str>,
    },
    /// The value has the wrong type.
    #[error("{origin}: `{key}` is {expected}, found {found}")]
    Type {
        /// Where it stands.
        origin: Origin,
        /// The key.
        key: String,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// The value cannot be used.
    #[error("{origin}: `{key}` = {value}: {why}")]
    Value {
        /// Where it stands.
        origin: Origin,
        /// The key.
        key: &'static str,
        /// The value, as TOML.
        value: String,
        /// Why not.
        why: String,
    },
    /// Two values do not fit together.
    #[error(transparent)]
    Relation(Box<Relation>),
}

/// Two values that do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` = {} ({}) must be {relation} `{}` = {} ({})", one.key, one.value, one.origin, other.key, other.value, other.origin)]
pub struct Relation {
    /// One of them.
    pub one: Setting,
    /// How they should stand to each other: `below`, `at least`.
    pub relation: &'static str,
    /// The other.
    pub other: Setting,
}

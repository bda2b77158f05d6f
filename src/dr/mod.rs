//! Disaster recovery between regions: not built yet, and said so.
//!
//! The names are those of the user's documents, so that programs are written against them; what they would do is asked for and refused
//! with [`DrError::Unsupported`]. What there is for a lost site today: archives and backups in a repository elsewhere
//! (`[archive]`, `backup`), `restore` and `rebuild`, and standbys that follow a repository.

pub mod orchestration;

use serde::{Deserialize, Serialize};

/// Two regions, and what may be lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DrConfig {
    /// The region that serves.
    pub primary_region: String,
    /// The region that takes over.
    pub dr_region: String,
    /// How long that may take, in seconds.
    pub rto_seconds: u64,
    /// How much of the past may be lost, in seconds.
    pub rpo_seconds: u64,
    /// Whether it is done without an operator.
    pub enable_auto_failover: bool,
}

impl Default for DrConfig {
    fn default() -> Self {
        Self {
            primary_region: "us-east-1".to_owned(),
            dr_region: "us-west-2".to_owned(),
            rto_seconds: 300,
            rpo_seconds: 60,
            enable_auto_failover: false,
        }
    }
}

/// What a failover to another region came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DrFailoverResult {
    /// The region that served.
    pub old_primary: String,
    /// The region that serves.
    pub new_primary: String,
    /// How long it took, in seconds.
    pub rto_achieved_seconds: u64,
}

/// Why it was not done. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DrError {
    /// A region cannot take over from itself, and has a name.
    #[error("{primary:?} and {dr:?} are no two regions")]
    Regions {
        /// The one that serves.
        primary: String,
        /// The one that would take over.
        dr: String,
    },
    /// This version has no disaster recovery between regions.
    #[error(
        "failing over from {from} to {to} is not supported by this version: it orchestrates no regions yet; `restore` and `rebuild` bring a lost \
         site back from a repository of backups"
    )]
    Unsupported {
        /// From where.
        from: String,
        /// To where.
        to: String,
    },
}

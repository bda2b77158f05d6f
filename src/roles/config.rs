//! What an operator may turn.

use serde::{Deserialize, Serialize};

use super::vocabulary::{ROLES_MAX, RoleName};
use crate::failover::{FailoverConfigError, FailoverLimits};

/// Which roles there are, and how they change hands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The roles that are granted; none by default. Others that were decided are tended too, until they are released.
    pub roles: Vec<RoleName>,
    /// How.
    pub failover: FailoverLimits,
    /// The host runs hooks, and tells their end; else they are done at once.
    pub hooks: bool,
}

impl Config {
    /// The role that every mesh can have, and no hooks.
    #[must_use]
    pub fn primary() -> Self {
        Self { roles: vec![RoleName::primary()], ..Self::default() }
    }

    /// Checks what the protocol relies on.
    ///
    /// # Errors
    /// [`ConfigError`] names the field. Nothing was changed.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.roles.len() > ROLES_MAX {
            return Err(ConfigError::TooMany { count: self.roles.len() });
        }
        Ok(self.failover.check()?)
    }
}

/// Why a configuration cannot work. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// There are too many roles.
    #[error("there are {count} roles, the limit is {ROLES_MAX}")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// A duration or limit.
    #[error(transparent)]
    Failover(#[from] FailoverConfigError),
}

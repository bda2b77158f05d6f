//! What a peer's configuration says of roles, for whoever asks it: clients have no file of it, and say what a role does by itself.

use std::time::Duration;

use serde::Serialize;

use crate::failover::{Failback, PromotionStrategy};
use crate::roles::{self, RoleName};

/// What the configuration says of roles. All peers should agree on it, and who grants them goes by its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RoleRules {
    /// Which are granted.
    pub names: Vec<RoleName>,
    /// Whether without an operator.
    pub automatic: bool,
    /// To whom.
    pub strategy: PromotionStrategy,
    /// After how long a role goes back to a peer of higher priority by itself, in milliseconds; 0: it does not.
    pub failback_after_ms: u64,
}

impl From<&roles::Config> for RoleRules {
    fn from(config: &roles::Config) -> Self {
        let limits = &config.failover;
        let hold = if let Failback::Automatic { hold } = limits.failback { hold } else { Duration::ZERO };
        Self {
            names: config.roles.clone(),
            automatic: limits.automatic,
            strategy: limits.strategy,
            failback_after_ms: u64::try_from(hold.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

//! The rules of failover, as functions of what is known: who is silent, who may take over, who does, and what it came to.
//!
//! Nothing here sends, waits or decides for the mesh: room `roles` does, with these. They are a room of their own so that a drill can ask
//! what would happen, and so that each rule is tried alone.
//!
//! * [`detection`]: whether a holder is alive, by its renewals and by hints. A hint (a closed link, a suspicion of membership) makes
//!   a successor be looked for sooner; it never makes anybody start sooner than the old lease is over.
//! * [`promotion`]: who is eligible and who is best, by the strategy of the operator.
//! * [`election`]: the same asked by one candidate, with its rank and the reasons why others are out.
//! * [`FailoverLimits`]: all durations and limits, with what they must be to each other.

mod config;
pub mod detection;
pub mod election;
pub mod promotion;
mod statistics;

#[cfg(feature = "net")]
pub use crate::managers::failover::FailoverConfig;
pub use config::{Failback, FailoverConfigError, FailoverLimits, LEASE_MAX};
pub use detection::{HolderWatch, Verdict};
pub use election::{RoleElected, RoleElection};
pub use promotion::{Candidate, Ineligible, PromotionRules, PromotionStrategy};
pub use statistics::{FailoverState, FailoverStatistics};

//! What an operator may turn, with the source of every default.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::promotion::PromotionStrategy;

/// Longest lease, and longest time for a hook.
pub const LEASE_MAX: Duration = Duration::from_secs(60);

/// The durations and limits of failover. All members should agree on them. What two that differ could hurt each other with, the lease
/// and the limit of hooks, stands in every grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct FailoverLimits {
    /// A holder renews its lease this often.
    pub heartbeat: Duration,
    /// How long a holder may act after the leader last heard from a majority. The holder stops at four fifths of it.
    pub lease: Duration,
    /// How much faster than another one a clock may run, in percent: a lease is waited out for so much longer.
    pub drift_percent: u32,
    /// Hooks that end the holder's work are stopped after this; a lease is waited out for so much longer.
    pub hook_limit: Duration,
    /// Hooks that begin the holder's work are stopped after this, and the role goes to somebody else.
    pub promote_limit: Duration,
    /// A holder that was silent for so long is taken for dead.
    pub dead_after: Duration,
    /// Whoever was granted a role and did not begin within this is passed over.
    pub promotion_timeout: Duration,
    /// Who gave a role up, or did not begin, is passed over for so long.
    pub shun: Duration,
    /// A leader that is new in office grants a role that nobody ever held only after so long: until then it may not know all candidates.
    pub gather: Duration,
    /// Who is chosen.
    pub strategy: PromotionStrategy,
    /// Nobody takes over who is more entries behind than this.
    pub max_lag: u64,
    /// Whether roles are granted without an operator.
    pub automatic: bool,
    /// Whether a role goes back to who is preferred.
    pub failback: Failback,
    /// No more promotions without an operator than this within [`promotions_window`](Self::promotions_window).
    pub promotions_max: u32,
    /// See [`promotions_max`](Self::promotions_max).
    pub promotions_window: Duration,
}

/// Whether a role goes back to a peer of higher priority that is there again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "failback", rename_all = "kebab-case")]
pub enum Failback {
    /// When an operator says so.
    #[default]
    Manual,
    /// When it was eligible, and nothing behind, for so long without a break.
    Automatic {
        /// How long.
        hold: Duration,
    },
}

impl Default for FailoverLimits {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(50), // As consensus: a lease counts from its rounds.
            lease: Duration::from_millis(150),    // Three heartbeats, and as long as voters are loyal to a leader.
            drift_percent: 10,                    // Clocks that are each 5 % wrong; quartz is wrong by 0.01 %.
            hook_limit: Duration::from_millis(50),
            promote_limit: Duration::from_secs(10), // A database server takes seconds to be promoted.
            dead_after: Duration::from_millis(150), // Three renewals. The lease has to be waited out anyway.
            promotion_timeout: Duration::from_secs(1),
            shun: Duration::from_secs(10), // Consul's ServerStabilizationTime.
            gather: Duration::from_millis(500),
            strategy: PromotionStrategy::Priority,
            max_lag: 64,
            automatic: true,
            failback: Failback::Manual,
            promotions_max: 3, // A primary that dies of what it is asked kills the next one too (patroni#1663).
            promotions_window: Duration::from_secs(600),
        }
    }
}

impl FailoverLimits {
    /// For members between continents, 30 to 60 ms apart.
    #[must_use]
    pub fn wan() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            lease: Duration::from_millis(400),
            dead_after: Duration::from_millis(400),
            promotion_timeout: Duration::from_secs(2),
            ..Self::default()
        }
    }

    /// A lease is over for everybody so long after it began, by whatever clock: lease and drift, then the hooks with the drift of the
    /// clock that stops them.
    #[must_use]
    pub fn wait(&self, lease: Duration, hook_limit: Duration) -> Duration {
        lease * (100 + self.drift_percent) / 100 + hook_limit * (100 + 2 * self.drift_percent) / 100
    }

    /// So much of a lease its holder leaves unused.
    #[must_use]
    pub fn margin(lease: Duration) -> Duration {
        lease / 5
    }

    /// Checks what the protocol relies on.
    ///
    /// # Errors
    /// [`FailoverConfigError`] names the field and both values. Nothing was changed.
    pub fn check(&self) -> Result<(), FailoverConfigError> {
        let least = [
            ("heartbeat", Duration::from_millis(1), self.heartbeat),
            ("lease, and so two and a half heartbeats,", self.heartbeat * 5 / 2, self.lease),
            ("dead_after, and so two heartbeats,", 2 * self.heartbeat, self.dead_after),
            ("promotion_timeout, and so the lease,", self.lease, self.promotion_timeout),
            ("promote_limit", Duration::from_millis(1), self.promote_limit),
            ("promotions_window", Duration::from_secs(1), self.promotions_window),
        ];
        if let Some((what, least, value)) = least.into_iter().find(|(_, least, value)| value < least) {
            return Err(FailoverConfigError::TooShort { what, least, value });
        }
        let most = [("lease", self.lease), ("hook_limit", self.hook_limit)];
        if let Some((what, value)) = most.into_iter().find(|(_, value)| *value > LEASE_MAX) {
            return Err(FailoverConfigError::TooLong { what, value });
        }
        if !(1..=100).contains(&self.drift_percent) {
            return Err(FailoverConfigError::Drift { percent: self.drift_percent });
        }
        if self.promotions_max == 0 {
            return Err(FailoverConfigError::NoPromotions);
        }
        Ok(())
    }
}

/// Why a configuration cannot work. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FailoverConfigError {
    /// A duration is too short beside another one.
    #[error("{what} must be at least {least:?}, it is {value:?}")]
    TooShort {
        /// Which, and why.
        what: &'static str,
        /// What it must be.
        least: Duration,
        /// What it is.
        value: Duration,
    },
    /// A duration that others have to wait for.
    #[error("{what} is {value:?}, the limit is {LEASE_MAX:?}")]
    TooLong {
        /// Which.
        what: &'static str,
        /// What it is.
        value: Duration,
    },
    /// Clocks that are never wrong, or always.
    #[error("drift_percent is {percent}, it must be 1 to 100")]
    Drift {
        /// Its value.
        percent: u32,
    },
    /// Nobody could ever be promoted.
    #[error("promotions_max is 0; set automatic = false where nobody is to be promoted without an operator")]
    NoPromotions,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ships_can_work() {
        assert_eq!((FailoverLimits::default().check(), FailoverLimits::wan().check()), (Ok(()), Ok(())));
    }

    #[test]
    fn what_cannot_work_is_named() {
        let error = |change: fn(&mut FailoverLimits)| {
            let mut config = FailoverLimits::default();
            change(&mut config);
            config.check().unwrap_err().to_string()
        };
        let short = error(|config| config.lease = Duration::from_millis(100));
        assert_eq!(short, "lease, and so two and a half heartbeats, must be at least 125ms, it is 100ms");
        assert_eq!(error(|config| config.hook_limit = LEASE_MAX * 2), "hook_limit is 120s, the limit is 60s");
        assert_eq!(error(|config| config.drift_percent = 0), "drift_percent is 0, it must be 1 to 100");
        assert!(error(|config| config.promotions_max = 0).contains("automatic = false"));
    }

    quickcheck::quickcheck! {
        /// The sum that the whole room rests on, for clocks that are each up to 5 % wrong: what a holder uses of its lease, and its
        /// hooks after it, take less real time than the granter waits.
        fn a_lease_is_over_before_it_is_given_anew(lease: u16, hook: u16, granter: u8, holder: u8) -> bool {
            let config = FailoverLimits::default();
            let (lease, hook) = (Duration::from_millis(lease.into()), Duration::from_millis(hook.into()));
            let rate = |n: u8| 0.95 + 0.1 * f64::from(n) / 255.0;
            let used = (lease - FailoverLimits::margin(lease) + hook).as_secs_f64() / rate(holder);
            let waited = config.wait(lease, hook).as_secs_f64() / rate(granter);
            used <= waited
        }
    }
}

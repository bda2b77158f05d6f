//! What is configured, and what of that is a node's.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::failover::{Failback, LEASE_MAX};

/// How failures are found and what follows, with the fields and defaults of the user's documents.
///
/// The documents promise a failover in less than a second and give five seconds of silence as a default; a node by its own defaults
/// is missed after 150 ms. [`configure`](Self::configure) lays these fields on a node's configuration as they are, and whoever wants the
/// second leaves that out, or sets `heartbeat_timeout_ms` lower.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FailoverConfig {
    /// How often the holder of a role renews its lease, in milliseconds; brought down to two fifths of `heartbeat_timeout_ms`.
    pub heartbeat_interval_ms: u64,
    /// After so long a silence a holder is taken for dead, and its lease is over, in milliseconds: 125 to 60,000; what is outside is brought
    /// inside. A [`FailureDetector`](super::detection::FailureDetector) takes a suspect for failed after it.
    pub heartbeat_timeout_ms: u64,
    /// How often a [`FailureDetector`](super::detection::FailureDetector) asks its node, in milliseconds; 10 at least.
    pub health_check_interval_ms: u64,
    /// How long the node may take to answer it; then nothing is known of anybody.
    pub health_check_timeout_ms: u64,
    /// How long a promotion is waited for, in milliseconds. To a node: whoever was granted a role and does not begin within this is
    /// passed over; never less than `heartbeat_timeout_ms`.
    pub max_failover_time_ms: u64,
    /// Whether a role goes back to a node of higher priority that is there again.
    pub enable_failback: bool,
    /// For how long that node must have been there and lacked nothing, in milliseconds.
    pub failback_delay_ms: u64,
    /// How long an election is waited for, in milliseconds.
    pub election_timeout_ms: u64,
}

impl Default for FailoverConfig {
    fn default() -> Self {
        Self {
            heartbeat_interval_ms: 1_000,
            heartbeat_timeout_ms: 5_000,
            health_check_interval_ms: 2_000,
            health_check_timeout_ms: 5_000,
            max_failover_time_ms: 1_000,
            enable_failback: true,
            failback_delay_ms: 60_000,
            election_timeout_ms: 3_000,
        }
    }
}

impl FailoverConfig {
    /// The configuration of a node that fails over so: for [`Mesh::builder`](crate::Mesh::builder). How elections are held, and checks,
    /// is not a node's to be told: those fields stay this side's.
    #[must_use]
    pub fn configure(&self, mut config: Config) -> Config {
        let limits = &mut config.roles.failover;
        let lease = Duration::from_millis(self.heartbeat_timeout_ms.max(125)).min(LEASE_MAX);
        (limits.lease, limits.dead_after) = (lease, lease);
        limits.heartbeat = Duration::from_millis(self.heartbeat_interval_ms.max(1)).min(lease * 2 / 5);
        limits.promotion_timeout = Duration::from_millis(self.max_failover_time_ms).max(lease);
        limits.failback = if self.enable_failback {
            Failback::Automatic { hold: Duration::from_millis(self.failback_delay_ms) }
        } else {
            Failback::Manual
        };
        config
    }

    pub(super) fn interval(&self) -> Duration {
        Duration::from_millis(self.health_check_interval_ms.max(10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failover::FailoverLimits;

    fn limits(change: impl FnOnce(&mut FailoverConfig)) -> FailoverLimits {
        let mut config = FailoverConfig::default();
        change(&mut config);
        let limits = config.configure(Config::default()).roles.failover;
        assert_eq!(limits.check(), Ok(()), "{config:?}");
        limits
    }

    #[test]
    fn the_documented_defaults_are_kept() {
        let text = serde_json::to_string(&FailoverConfig::default()).unwrap();
        let documented = r#"{"heartbeat_interval_ms":1000,"heartbeat_timeout_ms":5000,"health_check_interval_ms":2000,"health_check_timeout_ms":5000,"max_failover_time_ms":1000,"enable_failback":true,"failback_delay_ms":60000,"election_timeout_ms":3000}"#;
        assert_eq!(text, documented);
    }

    #[test]
    fn heartbeats_are_renewals_and_their_timeout_is_the_lease() {
        let ms = |limits: FailoverLimits| {
            [limits.heartbeat, limits.lease, limits.dead_after].map(|duration| duration.as_millis())
        };
        assert_eq!(ms(limits(|_| ())), [1_000, 5_000, 5_000]);
        assert_eq!(ms(limits(|config| config.heartbeat_interval_ms = 50)), [50, 5_000, 5_000]);
        assert_eq!(ms(limits(|config| config.heartbeat_timeout_ms = 1_000)), [400, 1_000, 1_000]);
        assert_eq!(ms(limits(|config| config.heartbeat_timeout_ms = 0)), [50, 125, 125]);
        assert_eq!(ms(limits(|config| config.heartbeat_timeout_ms = u64::MAX)), [1_000, 60_000, 60_000]);
    }

    #[test]
    fn the_time_of_a_failover_is_what_a_promotion_has() {
        let promotion = |ms| limits(|config| config.max_failover_time_ms = ms).promotion_timeout.as_millis();
        assert_eq!([promotion(1_000), promotion(9_000)], [5_000, 9_000]);
    }

    #[test]
    fn failback_is_on_with_its_delay_or_off() {
        let failback = |on, ms| limits(|config| (config.enable_failback, config.failback_delay_ms) = (on, ms)).failback;
        assert_eq!(failback(true, 7_000), Failback::Automatic { hold: Duration::from_secs(7) });
        assert_eq!(failback(false, 7_000), Failback::Manual);
    }

    #[test]
    fn checks_are_made_as_often_as_it_says() {
        let interval = |ms| FailoverConfig { health_check_interval_ms: ms, ..FailoverConfig::default() }.interval();
        assert_eq!([interval(2_000), interval(0)], [Duration::from_secs(2), Duration::from_millis(10)]);
    }
}

//! What an operator may turn, with the source of every default.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A set of defaults for a kind of network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// One machine: the demo and the tests.
    Local,
    /// One site, or sites with round trips well below 100 ms.
    #[default]
    Lan,
    /// Between continents, and mobile networks.
    Wan,
    /// Metered and often stalling lines: some bytes a second, and patience.
    Edge,
}

/// The periods and bounds of membership. All members of a mesh should agree on the profile; nothing breaks when they differ
/// for a while, the slower ones are only suspected more often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// One probe is begun each period (SWIM's T'). At least twice [`probe_timeout`](Self::probe_timeout).
    pub probe_period: Duration,
    /// A direct probe is repeated after half of this and goes through helpers after all of it. Above the 99th percentile of
    /// round trips.
    pub probe_timeout: Duration,
    /// How many members are asked to probe for us (SWIM's k).
    pub helpers: usize,
    /// No suspicion ends sooner than this, nor than four periods.
    pub suspicion_floor: Duration,
    /// What is fresh is told this often.
    pub gossip_period: Duration,
    /// To this many members at a time.
    pub gossip_fanout: usize,
    /// One dead member is pinged this often, so that a healed cut is seen.
    pub reconnect_period: Duration,
    /// A dead member is remembered this long.
    pub dead_kept: Duration,
    /// A member that said goodbye is remembered this long.
    pub left_kept: Duration,
    /// Up to this many present members every pair is expected to be linked, so that a missing link counts as a lost probe.
    /// Above it a missing link alone says nothing. Keep it equal to the overlay's own bound.
    pub full_mesh_max: usize,
    /// Where links are few, one probe in so many goes to a member without one, over a link made for it; the others to those
    /// linked, whose turn comes far more often. A handshake is some kilobytes.
    pub far_every: u32,
    /// Most links at a time that are made only to probe members with whom the overlay makes none.
    pub pool_max: usize,
    /// Most members known at a time, dead and left ones included.
    pub members_max: usize,
}

impl Config {
    /// The defaults of a profile.
    #[must_use]
    pub const fn new(profile: Profile) -> Self {
        let lan = Self {
            probe_period: Duration::from_secs(1), // SWIM, section 5; memberlist's LAN profile.
            probe_timeout: Duration::from_millis(500), // memberlist's LAN profile.
            helpers: 3,                           // memberlist's and foca's default.
            suspicion_floor: Duration::from_secs(4), // Measured: 3 s costs false positives about 3 s stalls.
            gossip_period: Duration::from_millis(200), // memberlist's LAN profile.
            gossip_fanout: 3,                     // memberlist's LAN profile.
            reconnect_period: Duration::from_secs(5), // Measured: a cut of 100 members heals in 3.5 s.
            dead_kept: Duration::from_secs(24 * 3_600), // serf's tombstones.
            left_kept: Duration::from_secs(600),  // memberlist#253: members that left and are kept fill every exchange.
            full_mesh_max: 64,                    // The overlay's default.
            far_every: 4, // Each member is probed over a new link every four periods, by somebody.
            pool_max: 8,  // One is sought every four periods; the rest is for suspects.
            members_max: 65_536,
        };
        match profile {
            Profile::Lan => lan,
            // Round trips of microseconds; the scheduler is the only source of delay.
            Profile::Local => Self {
                probe_period: Duration::from_millis(500),
                probe_timeout: Duration::from_millis(200), // memberlist's local profile.
                suspicion_floor: Duration::from_secs(2),   // Four periods.
                gossip_period: Duration::from_millis(100), // memberlist's local profile.
                reconnect_period: Duration::from_secs(2),
                ..lan
            },
            // Satellite and mobile round trips stay below 1.5 s at p99.
            Profile::Wan => Self {
                probe_period: Duration::from_secs(3),
                probe_timeout: Duration::from_millis(1_500),
                suspicion_floor: Duration::from_secs(6),
                gossip_period: Duration::from_millis(500), // memberlist's WAN profile.
                gossip_fanout: 4,                          // memberlist's WAN profile.
                far_every: 16,                             // About 100 B/s on a metered link.
                reconnect_period: Duration::from_secs(10),
                ..lan
            },
            // Modems sleep, cells are handed over, and each byte is paid for: 7 B/s when nothing happens.
            Profile::Edge => Self {
                probe_period: Duration::from_secs(5),
                probe_timeout: Duration::from_secs(2),
                suspicion_floor: Duration::from_secs(20), // Four periods.
                gossip_period: Duration::from_secs(1),
                gossip_fanout: 4,
                far_every: 32, // A handshake takes as much as minutes of probes.
                reconnect_period: Duration::from_secs(30),
                ..lan
            },
        }
    }

    /// Checks what the protocol relies on.
    ///
    /// # Errors
    /// [`ConfigError`] names the field and both values. Nothing was changed.
    pub fn check(&self) -> Result<(), ConfigError> {
        let positive = [
            ("probe_timeout", self.probe_timeout),
            ("suspicion_floor", self.suspicion_floor),
            ("gossip_period", self.gossip_period),
            ("reconnect_period", self.reconnect_period),
        ];
        for (field, value) in positive {
            if value < Duration::from_millis(10) {
                return Err(ConfigError::TooShort { field, value });
            }
        }
        if self.probe_period < 2 * self.probe_timeout {
            return Err(ConfigError::Period { period: self.probe_period, timeout: self.probe_timeout });
        }
        if self.members_max < 2 {
            return Err(ConfigError::Members { members_max: self.members_max });
        }
        Ok(())
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new(Profile::default())
    }
}

/// Why a configuration cannot work. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A duration that must not vanish.
    #[error("{field} is {value:?}, less than 10 ms")]
    TooShort {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: Duration,
    },
    /// Helpers need as long as the direct probe.
    #[error("probe_period is {period:?}, less than twice the probe_timeout of {timeout:?}")]
    Period {
        /// The period.
        period: Duration,
        /// The timeout.
        timeout: Duration,
    },
    /// A mesh has at least two members.
    #[error("members_max is {members_max}, less than 2")]
    Members {
        /// The bound.
        members_max: usize,
    },
}

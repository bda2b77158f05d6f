//! What an operator may turn, with the source of every default.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The periods and bounds of consensus. All members of a group should agree on the durations; nothing is unsafe when they
/// differ, elections only take longer or come more often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// A leader lets everybody hear from it this often.
    pub heartbeat: Duration,
    /// Whoever heard from a leader within this time helps nobody to depose it (Ongaro's dissertation, section 4.2.3). Longer than two
    /// heartbeats, so that one may be late.
    pub lease: Duration,
    /// The first in rank seeks office when nothing was heard from the leader for so long. Longer than the lease: else the others, still
    /// bound by theirs, refuse it.
    pub election: Duration,
    /// Each rank after the first waits for so long more. Above a pre-vote's round trip and two syncs of the log: with half of it
    /// measured elections collided.
    pub slot: Duration,
    /// No timeout of an election is longer; where no rank is known it is drawn between [`election`](Self::election) and this.
    pub election_max: Duration,
    /// When the link to the leader closes, the first in rank seeks office after so long, and each further one a slot later.
    pub hint: Duration,
    /// A leader that did not hear from a majority for so long gives up its office.
    pub quorum_timeout: Duration,
    /// Whoever has known no leader for so long answers that there is no quorum, and does not ask to try again.
    pub leaderless: Duration,
    /// What was appended and is not known to be committed after so long is answered with "unknown".
    pub patience: Duration,
    /// What was sent and not acknowledged for so long is sent again.
    pub resend: Duration,
    /// A hand-over of the office that takes longer is given up.
    pub transfer: Duration,
    /// A leader whose disk did not answer a write for so long hands its office to somebody else.
    pub disk_slow: Duration,
    /// And gives it up without a successor after so long.
    pub disk_dead: Duration,
    /// Frames of entries under way to one member at most. What comes meanwhile is gathered into the next.
    pub inflight_max: usize,
    /// Bytes of entries in one frame, about. One entry always fits.
    pub batch_bytes: usize,
    /// The state is written down after so many entries.
    pub snapshot_every: u64,
    /// Entries that are kept behind the last snapshot, for members that lag a little.
    pub entries_kept: u64,
    /// A group with nothing to do lets hear from it this often; zero: as often as one that has.
    pub rest: Duration,
    /// After so long without anything to do. Each decision costs a beat for each heartbeat until then.
    pub rest_after: Duration,
    /// Who is no member asks one this often whether it has missed a decision.
    pub refresh: Duration,
    /// A learner may become a voter when it is at most so many entries behind (Consul's autopilot: 250).
    pub promote_lag: u64,
}

impl Default for Config {
    /// Measured on real processes with synced logs: the leader killed, the next action committed after 141 ms (median) by the timeout
    /// alone, and after 23 ms by the closed link.
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(50),
            lease: Duration::from_millis(150),
            election: Duration::from_millis(160),
            slot: Duration::from_millis(60),
            election_max: Duration::from_millis(400),
            hint: Duration::from_millis(20),
            quorum_timeout: Duration::from_millis(200),
            leaderless: Duration::from_millis(300),
            patience: Duration::from_secs(2),
            resend: Duration::from_millis(200),
            transfer: Duration::from_secs(1),
            disk_slow: Duration::from_millis(500),
            disk_dead: Duration::from_secs(5),
            inflight_max: 8,
            batch_bytes: 32 << 10,
            snapshot_every: 1_024,
            entries_kept: 256,
            rest: Duration::from_secs(5),
            rest_after: Duration::from_millis(100),
            refresh: Duration::from_secs(20),
            promote_lag: 250,
        }
    }
}

impl Config {
    /// For members between continents, 30 to 60 ms apart.
    #[must_use]
    pub fn wan() -> Self {
        Self {
            heartbeat: Duration::from_millis(120),
            lease: Duration::from_millis(400),
            election: Duration::from_millis(420),
            slot: Duration::from_millis(120),
            election_max: Duration::from_millis(900),
            hint: Duration::from_millis(60),
            quorum_timeout: Duration::from_millis(500),
            leaderless: Duration::from_millis(800),
            resend: Duration::from_millis(500),
            rest_after: Duration::from_millis(250),
            ..Self::default()
        }
    }

    /// The same with another heartbeat: all times that go by it become longer or shorter alike.
    #[must_use]
    pub fn paced(self, heartbeat: Duration) -> Self {
        let of = |time: Duration| {
            let nanos = time.as_nanos() * heartbeat.as_nanos() / self.heartbeat.as_nanos().max(1);
            Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
        };
        Self {
            lease: of(self.lease),
            election: of(self.election),
            slot: of(self.slot),
            election_max: of(self.election_max),
            hint: of(self.hint),
            quorum_timeout: of(self.quorum_timeout),
            leaderless: of(self.leaderless),
            resend: of(self.resend),
            heartbeat,
            ..self
        }
    }

    /// Checks what the protocol relies on.
    ///
    /// # Errors
    /// [`ConfigError`] names both fields and their values. Nothing was changed.
    pub fn check(&self) -> Result<(), ConfigError> {
        let ordered = [
            ("heartbeat", Duration::from_millis(1), self.heartbeat),
            ("slot", Duration::from_millis(1), self.slot),
            ("lease, and so twice the heartbeat,", 2 * self.heartbeat, self.lease),
            ("election, and so the lease,", self.lease + Duration::from_millis(1), self.election),
            ("election_max, and so election and slot together,", self.election + self.slot, self.election_max),
            ("quorum_timeout, and so the lease,", self.lease, self.quorum_timeout),
            ("disk_dead, and so disk_slow,", self.disk_slow, self.disk_dead),
        ];
        for (what, least, value) in ordered {
            if value < least {
                return Err(ConfigError::Short { what, least, value });
            }
        }
        for (what, value) in [("inflight_max", self.inflight_max as u64), ("snapshot_every", self.snapshot_every)] {
            if value == 0 {
                return Err(ConfigError::Zero { what });
            }
        }
        if self.batch_bytes > Self::BATCH_BYTES_MAX {
            return Err(ConfigError::Batch { value: self.batch_bytes });
        }
        Ok(())
    }

    /// Largest [`batch_bytes`](Self::batch_bytes): with one entry more it still is a control frame.
    pub const BATCH_BYTES_MAX: usize = 40 << 10;
}

/// Why a configuration cannot work. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A duration is too short for another one.
    #[error("{what} must be at least {least:?}, it is {value:?}")]
    Short {
        /// Which, and why.
        what: &'static str,
        /// What it must be.
        least: Duration,
        /// What it is.
        value: Duration,
    },
    /// A number that must not vanish.
    #[error("{what} is 0")]
    Zero {
        /// Which.
        what: &'static str,
    },
    /// A frame could become too long.
    #[error("batch_bytes is {value}, the limit is {max}", max = Config::BATCH_BYTES_MAX)]
    Batch {
        /// Its value.
        value: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ships_can_work() {
        assert_eq!((Config::default().check(), Config::wan().check()), (Ok(()), Ok(())));
        for ms in [10, 20, 50, 333, 10_000] {
            assert_eq!(Config::default().paced(Duration::from_millis(ms)).check(), Ok(()), "{ms}");
        }
        assert_eq!(Config::default().paced(Duration::from_millis(50)), Config::default());
    }

    #[test]
    fn what_cannot_work_is_named() {
        let lease = Duration::from_millis(200);
        let error = Config { lease, ..Config::default() }.check().unwrap_err();
        assert_eq!(error.to_string(), "election, and so the lease, must be at least 201ms, it is 160ms");
        let error = Config { inflight_max: 0, ..Config::default() }.check().unwrap_err();
        assert_eq!(error.to_string(), "inflight_max is 0");
        let error = Config { batch_bytes: 1 << 20, ..Config::default() }.check().unwrap_err();
        assert!(error.to_string().contains("the limit is 40960"), "{error}");
    }
}

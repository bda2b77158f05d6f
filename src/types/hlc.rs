//! Hybrid logical clock (Kulkarni et al., "Logical Physical Clocks", OPODIS 2014): wall time that never goes back and that
//! respects causality.

use std::time::Duration;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::WallTime;

/// A stamp: wall time in microseconds, then a counter among equals. Ties between nodes are broken by node id, by the reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
pub struct Hlc {
    /// The highest wall time that the writer had seen.
    pub wall: WallTime,
    /// Counts stamps of the same wall time.
    pub logical: u32,
}

/// A remote stamp lies too far in the future to be followed. The clock is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stamp of {stamp} is more than {max:?} ahead of our {wall}")]
pub struct HlcDrift {
    /// The stamp's wall time.
    pub stamp: WallTime,
    /// Ours.
    pub wall: WallTime,
    /// How far ahead is still followed.
    pub max: Duration,
}

/// Issues stamps for one node.
#[derive(Clone, Debug, Default)]
pub struct HlcClock {
    last: Hlc,
}

impl HlcClock {
    /// How far ahead of our own wall clock a remote stamp may be and still be followed.
    pub const DRIFT_MAX: Duration = Duration::from_secs(60);

    /// A clock that goes on after `last`, as found in the log.
    #[must_use]
    pub const fn resume(last: Hlc) -> Self {
        Self { last }
    }

    /// The next stamp: above every stamp issued or followed before.
    pub fn tick(&mut self, wall: WallTime) -> Hlc {
        self.last = if wall > self.last.wall { Hlc { wall, logical: 0 } } else { self.after_last() };
        self.last
    }

    /// Follows a remote stamp, so that what we issue next is above it.
    ///
    /// # Errors
    /// [`HlcDrift`] when the stamp is more than [`Self::DRIFT_MAX`] ahead of `wall`: one wrong clock must not drag the mesh
    /// along. The clock is unchanged.
    pub fn follow(&mut self, remote: Hlc, wall: WallTime) -> Result<(), HlcDrift> {
        let ahead = remote.wall.as_micros().saturating_sub(wall.as_micros());
        if Duration::from_micros(ahead) > Self::DRIFT_MAX {
            return Err(HlcDrift { stamp: remote.wall, wall, max: Self::DRIFT_MAX });
        }
        self.last = self.last.max(remote);
        Ok(())
    }

    fn after_last(&self) -> Hlc {
        match self.last.logical.checked_add(1) {
            Some(logical) => Hlc { wall: self.last.wall, logical },
            None => Hlc { wall: WallTime::from_micros(self.last.wall.as_micros() + 1), logical: 0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    quickcheck::quickcheck! {
        fn stamps_only_rise(walls: Vec<u32>, remotes: Vec<u32>) -> bool {
            let mut clock = HlcClock::default();
            let mut last = Hlc::default();
            walls.iter().zip(remotes.iter().chain(std::iter::repeat(&0))).all(|(wall, remote)| {
                let wall = WallTime::from_micros(u64::from(*wall));
                let _ = clock.follow(Hlc { wall: WallTime::from_micros(u64::from(*remote)), logical: 3 }, wall);
                let stamp = clock.tick(wall);
                std::mem::replace(&mut last, stamp) < stamp
            })
        }
    }

    #[test]
    fn a_stamp_from_the_far_future_is_not_followed() {
        let mut clock = HlcClock::default();
        let wall = WallTime::from_micros(1);
        assert!(clock.follow(Hlc { wall: WallTime::from_micros(61_000_001), logical: 0 }, wall).is_err());
        assert_eq!(clock.tick(wall), Hlc { wall, logical: 0 });
    }
}

//! The numbers of this room.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How eagerly links are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Up to so many other present members, links to all of them are wanted; beyond, only to neighbours and the next hub or
    /// parent.
    pub links_max: usize,
    /// Beyond that, neighbours are computed at most once in so long for each member that is present: computing them takes time
    /// in proportion, and while a mesh forms each member is news.
    pub compute_spacing: Duration,
    /// A neighbour that cannot be reached for so long gets a stand-in.
    pub patience: Duration,
    /// A neighbour that is not computed to be one any more is held so much longer, until others have computed it too.
    pub linger: Duration,
    /// Before the first dial of the member with the higher id, so that both do not dial at once.
    pub courtesy: Duration,
    /// Before the second attempt, at most; doubles with each failure. The wait is uniform between nothing and that ("full
    /// jitter", M. Brooker, "Exponential Backoff And Jitter", 2015).
    pub backoff: Duration,
    /// Between two attempts, at most.
    pub backoff_max: Duration,
    /// A link that lasted so long was good: its failures are forgotten.
    pub settled: Duration,
    /// Between two attempts to reach the dead, who may only have been cut off; jittered by a quarter.
    pub redial_dead: Duration,
    /// How many of the dead are tried at a time.
    pub redial_dead_max: usize,
    /// Between two comparisons of policies with a peer, once one was set for the mesh.
    pub retell: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            links_max: 64,
            compute_spacing: Duration::from_micros(50), // 50 ms for 1,000, where a death takes seconds to be certain.
            patience: Duration::from_millis(500),       // A courtesy, a dial between two continents, and a little.
            linger: Duration::from_secs(3),             // News are everywhere after 1.5 s (99th percentile).
            courtesy: Duration::from_millis(300),       // A round trip and a handshake between two continents.
            backoff: Duration::from_millis(250),
            backoff_max: Duration::from_secs(30),
            settled: Duration::from_secs(10),
            redial_dead: Duration::from_secs(30),
            redial_dead_max: 64,
            retell: Duration::from_secs(20), // Only what a full outbox dropped waits for it.
        }
    }
}

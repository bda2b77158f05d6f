//! G3: queues are bounded: a peer that is well keeps up with its inputs, and its disk with its writes.

use super::{Check, Sight, Verdict};

/// Inputs that may wait at a peer that is well.
const INBOX_MAX: usize = 20_000;
/// Writes that may wait for a sync.
const WRITES_MAX: usize = 100_000;
/// A peer that was slow or paused needs time to catch up.
const WELL: u64 = 10_000_000_000;

/// Looks at inboxes and waiting writes.
pub(super) struct BoundedQueues;

impl Check for BoundedQueues {
    fn id(&self) -> &'static str {
        "G3"
    }

    fn on_tick(&mut self, sight: &Sight<'_>) -> Verdict {
        for (place, host, _) in sight.live() {
            let (inputs, writes) = (host.inbox.len(), host.disk.open_writes());
            if inputs > INBOX_MAX && host.well_for(sight.now, WELL) {
                return Err(format!("{inputs} inputs wait at {}, which is well", sight.name(place)));
            }
            if writes > WRITES_MAX {
                return Err(format!("{writes} writes wait for a sync at {}", sight.name(place)));
            }
        }
        Ok(())
    }
}

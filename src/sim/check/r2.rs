//! R2: after the calm, what is known of replicas is what is so: nobody is said to lack anything, nor to be beyond a threshold still.
//!
//! What is known of a replica over others is asked for again when it is a minute old and says that something is lacking: nothing is
//! judged after a shorter calm.

use super::{Check, Sight, Verdict};
use crate::documents::Listed;

/// After so long everybody has been asked again.
pub(in crate::sim) const CALM: u64 = 100_000_000_000;

/// Looks at what each peer thinks of the others.
pub(super) struct LagIsTrue;

impl Check for LagIsTrue {
    fn id(&self) -> &'static str {
        "R2"
    }

    fn on_content(&mut self, sight: &Sight<'_>, who: u32, _: &[Listed]) -> Verdict {
        let Some(node) = sight.node(who).filter(|_| sight.now - sight.scenario.calm_at() >= CALM) else {
            return Ok(());
        };
        let now = sight.hosts[who as usize].clock.read(sight.now).mono;
        for (place, host, _) in sight.live() {
            let Some(known) = node.replication().known(host.id, now) else { continue };
            let (who, whom, changes) = (sight.name(who), sight.name(place), known.lag.changes);
            if changes > 0 {
                return Err(format!("{who} says that {whom} lacks {changes} changes, and all have everything"));
            }
            if known.lagging {
                return Err(format!("{who} says that {whom} lags beyond a threshold, and lacks nothing"));
            }
        }
        Ok(())
    }
}

//! R2: after the calm, what is known of replicas is what is so: nobody is said to lag.

use super::{Check, Sight, Verdict};
use crate::documents::Listed;

/// Looks at what each peer thinks of the others.
pub(super) struct LagIsTrue;

impl Check for LagIsTrue {
    fn id(&self) -> &'static str {
        "R2"
    }

    fn on_content(&mut self, sight: &Sight<'_>, who: u32, _: &[Listed]) -> Verdict {
        let Some(node) = sight.node(who) else { return Ok(()) };
        let now = sight.hosts[who as usize].clock.read(sight.now).mono;
        for (place, host, _) in sight.live() {
            let Some(known) = node.replication().known(host.id, now).filter(|known| known.lag.changes > 0) else {
                continue;
            };
            let (who, whom, changes) = (sight.name(who), sight.name(place), known.lag.changes);
            return Err(format!("{who} says that {whom} lacks {changes} changes, and all have everything"));
        }
        Ok(())
    }
}

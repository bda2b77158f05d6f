//! M14: who said goodbye is not suspected: nobody has to find out by probes.

use super::{Check, Sight, Verdict};
use crate::membership;
use crate::node::Event;
use crate::sim::plan::Fault;

/// A goodbye reaches everybody who was linked and well within so long.
const BOUND: u64 = 2_000_000_000;

/// Looks at each suspicion whether its subject has left.
pub(super) struct GoodbyesAreHeard;

impl Check for GoodbyesAreHeard {
    fn id(&self) -> &'static str {
        "M14"
    }

    fn on_event(&mut self, sight: &Sight<'_>, who: u32, event: &Event) -> Verdict {
        let Event::Membership(membership::Event::Suspected { member, .. }) = event else { return Ok(()) };
        let Some(place) = sight.place(*member) else { return Ok(()) };
        let (subject, observer) = (&sight.hosts[place as usize], &sight.hosts[who as usize]);
        let left = subject.down_by.map(|item| &sight.plan.items[item].fault);
        let only = || sight.plan.items.iter().all(|item| matches!(item.fault, Fault::Leave { .. }));
        if matches!(left, Some(Fault::Leave { .. })) && only() && observer.well_for(sight.now, BOUND) {
            return Err(format!("{} suspects {}, which said goodbye", sight.name(who), sight.name(place)));
        }
        Ok(())
    }
}

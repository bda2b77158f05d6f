//! M5, strong completeness: who is down is not thought present for longer than a minute by any peer that is well.
//!
//! The round-robin bound of SWIM (section 4.3) is 2n - 1 periods for one given prober; with infection the first accuser
//! counts, which is a few periods at any size, then a suspicion and the spreading of the news.

use super::{Check, Sight, Verdict};
use crate::membership::Member;

/// Detection, suspicion and spreading together, at any size.
const BOUND: u64 = 60_000_000_000;

/// For each peer the stop that was looked into.
pub(super) struct Completeness {
    seen: Vec<Option<u64>>,
}

impl Completeness {
    pub(super) fn new(peers: usize) -> Self {
        Self { seen: vec![None; peers] }
    }
}

impl Check for Completeness {
    fn id(&self) -> &'static str {
        "M5"
    }

    fn on_tick(&mut self, sight: &Sight<'_>) -> Verdict {
        for (place, host) in (0..).zip(sight.hosts) {
            let expired = |since: &u64| *since > 0 && sight.now - since >= BOUND;
            let Some(since) = host.down_since.filter(expired) else { continue };
            if self.seen[place as usize].replace(since) == Some(since) {
                continue;
            }
            for (observer, _, node) in sight.live().filter(|(_, other, _)| other.well_for(sight.now, BOUND)) {
                // Who is isolated declares nobody dead.
                let view = node.membership();
                if !view.is_isolated() && view.member(host.id).is_some_and(Member::is_present) {
                    let (down, who) = (sight.name(place), sight.name(observer));
                    return Err(format!("{down} is down for a minute, and {who} thinks it present"));
                }
            }
        }
        Ok(())
    }
}

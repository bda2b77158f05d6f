//! M12: how often a healthy peer is declared dead. A figure, held against the scenario's expectation.
//!
//! Counted once for each time that it dies in the eyes of a healthy peer, and only if nothing was wrong with either for
//! a while: a peer that was just cut off, paused or slow may rightly be thought dead.

use std::collections::BTreeSet;

use super::{Check, Sight, Verdict};
use crate::membership;
use crate::node::Event;
use crate::sim::outcome::Figures;

/// How long both must have been well.
const WELL: u64 = 30_000_000_000;

/// Deaths of the healthy, and how long those of the others took to be seen.
#[derive(Default)]
pub(super) struct FalseDeaths {
    /// Subject and its incarnation: many hear of one death.
    deaths: BTreeSet<(u32, u64)>,
    /// From each stop to the first peer that declares it dead.
    detections: Vec<u64>,
    detected: BTreeSet<(u32, u64)>,
}

impl Check for FalseDeaths {
    fn id(&self) -> &'static str {
        "M12"
    }

    fn on_event(&mut self, sight: &Sight<'_>, who: u32, event: &Event) -> Verdict {
        let Event::Membership(membership::Event::Died { member, .. }) = event else { return Ok(()) };
        let Some(place) = sight.place(*member) else { return Ok(()) };
        let (subject, observer) = (&sight.hosts[place as usize], &sight.hosts[who as usize]);
        if let Some(since) = subject.down_since {
            if self.detected.insert((place, since)) {
                self.detections.push(sight.now - since);
            }
        } else if subject.well_for(sight.now, WELL) && observer.well_for(sight.now, WELL) {
            let seen = observer.node().and_then(|node| node.membership().member(*member));
            self.deaths.insert((place, seen.map_or(0, |member| u64::from(member.incarnation.value()))));
        }
        Ok(())
    }

    fn figures(&self, figures: &mut Figures) {
        figures.false_deaths = self.deaths.len() as u64;
        figures.detections_ns.clone_from(&self.detections);
        figures.detections_ns.sort_unstable();
    }
}

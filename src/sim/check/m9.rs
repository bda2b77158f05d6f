//! M9: news are told a bounded number of times: where membership has not changed anywhere for a while, nobody keeps news to tell.

use std::collections::BTreeMap;

use super::m2::subject_of;
use super::{Check, Sight, Verdict};
use crate::node::Event;

/// After the last change anywhere.
const BOUND: u64 = 30_000_000_000;

/// When something last changed.
#[derive(Default)]
pub(super) struct NewsEnd {
    changed_at: u64,
    /// Since when each member has had news at every tick. An incarnation that rises is news too, and no event tells of it.
    telling_since: BTreeMap<u32, u64>,
}

impl Check for NewsEnd {
    fn id(&self) -> &'static str {
        "M9"
    }

    fn on_event(&mut self, sight: &Sight<'_>, _: u32, event: &Event) -> Verdict {
        if let Event::Membership(event) = event
            && subject_of(event).is_some()
        {
            self.changed_at = sight.now;
        }
        Ok(())
    }

    fn on_tick(&mut self, sight: &Sight<'_>) -> Verdict {
        let news = |node: &crate::node::Node| match node.membership().is_isolated() {
            true => 0,
            false => node.membership().queue_len(),
        };
        let telling: BTreeMap<u32, usize> = sight
            .live()
            .filter(|(_, host, _)| host.well_for(sight.now, BOUND))
            .map(|(place, _, node)| (place, news(node)))
            .filter(|(_, news)| *news > 0)
            .collect();
        self.telling_since.retain(|place, _| telling.contains_key(place));
        for (place, news) in telling {
            let since = *self.telling_since.entry(place).or_insert(sight.now);
            if sight.now - since.max(self.changed_at) >= BOUND {
                return Err(format!("{} has {news} news to tell, and nothing has changed", sight.name(place)));
            }
        }
        Ok(())
    }
}

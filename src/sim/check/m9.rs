//! M9: news are told a bounded number of times: where membership has not changed anywhere for a while, none wait to be told.

use super::m2::subject_of;
use super::{Check, Sight, Verdict};
use crate::node::Event;

/// After the last change anywhere.
const BOUND: u64 = 30_000_000_000;

/// When something last changed.
#[derive(Default)]
pub(super) struct NewsEnd {
    changed_at: u64,
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
        if sight.now - self.changed_at < BOUND {
            return Ok(());
        }
        let tells = |host: &super::Host| host.well_for(sight.now, BOUND);
        for (place, _, node) in sight.live().filter(|(_, host, _)| tells(host)) {
            let news = node.membership().queue_len();
            if news > 0 && !node.membership().is_isolated() {
                return Err(format!("{} has {news} news to tell, and nothing has changed", sight.name(place)));
            }
        }
        Ok(())
    }
}

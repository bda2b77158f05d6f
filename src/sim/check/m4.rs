//! M4: where nothing is wrong nobody is suspected.

use super::{Check, Sight, Verdict};
use crate::membership;
use crate::node::Event;
use crate::sim::outcome::Figures;
use crate::sim::plan::Plan;
use crate::sim::scenario::Scenario;

/// Counts suspicions; where nothing is wrong the first is one too many.
pub(super) struct NoFalseAlarm {
    quiet: bool,
    suspicions: u64,
}

impl NoFalseAlarm {
    pub(super) fn new(scenario: &Scenario, plan: &Plan) -> Self {
        Self { quiet: plan.items.is_empty() && scenario.is_lossless(), suspicions: 0 }
    }
}

impl Check for NoFalseAlarm {
    fn id(&self) -> &'static str {
        "M4"
    }

    fn on_event(&mut self, sight: &Sight<'_>, who: u32, event: &Event) -> Verdict {
        let Event::Membership(membership::Event::Suspected { member, by, .. }) = event else { return Ok(()) };
        self.suspicions += 1;
        if self.quiet {
            let (member, by) = (sight.name_of(*member), sight.name_of(*by));
            return Err(format!("{} suspects {member} (accused by {by}), and nothing is wrong", sight.name(who)));
        }
        Ok(())
    }

    fn figures(&self, figures: &mut Figures) {
        figures.suspicions = self.suspicions;
    }
}

//! M13: who has no link, or hears nobody, declares nobody dead: it may be the one that is cut off.

use super::{Check, Sight, Verdict};
use crate::membership;
use crate::node::Event;

/// Looks at each death whether who declares it is in a state to know.
pub(super) struct TheLoneDoNotBury;

impl Check for TheLoneDoNotBury {
    fn id(&self) -> &'static str {
        "M13"
    }

    fn on_event(&mut self, sight: &Sight<'_>, who: u32, event: &Event) -> Verdict {
        let Event::Membership(membership::Event::Died { member, .. }) = event else { return Ok(()) };
        if sight.node(who).is_some_and(|node| node.membership().is_isolated()) {
            let (who, member) = (sight.name(who), sight.name_of(*member));
            return Err(format!("{who} hears nobody and declares {member} dead"));
        }
        Ok(())
    }
}

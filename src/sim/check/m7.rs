//! M7: after the calm every live peer sees exactly the live peers.

use super::{Check, Sight, Verdict};
use crate::membership::Member;
use crate::types::NodeId;

/// Compares every view with the truth.
pub(super) struct SameViews;

impl Check for SameViews {
    fn id(&self) -> &'static str {
        "M7"
    }

    fn settled(&mut self, sight: &Sight<'_>) -> Verdict {
        let mut truth: Vec<NodeId> = sight.live().map(|(_, host, _)| host.id).collect();
        truth.sort_unstable();
        // Who was not healed may be there or not; who is down is not.
        let ill = |id: NodeId| {
            sight.place(id).is_some_and(|place| !sight.is_healed(place) && sight.hosts[place as usize].node().is_some())
        };
        for (place, _, node) in sight.live() {
            let view = node.membership();
            if view.present().map(|member| member.id).filter(|id| !ill(*id)).eq(truth.iter().copied()) {
                continue;
            }
            let who = sight.name(place);
            if let Some(ghost) =
                view.present().find(|member| truth.binary_search(&member.id).is_err() && !ill(member.id))
            {
                return Err(format!("{who} sees {} present, which is not", sight.name_of(ghost.id)));
            }
            let missed: Vec<_> = truth.iter().filter(|id| !view.member(**id).is_some_and(Member::is_present)).collect();
            let name = missed.first().map(|id| sight.name_of(**id)).unwrap_or_default();
            return Err(format!("{who} does not see {} of {}, among them {name}", missed.len(), truth.len()));
        }
        Ok(())
    }
}

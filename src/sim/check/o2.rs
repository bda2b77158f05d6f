//! O2: after the calm nobody has more neighbours than its overlay allows.

use super::{Check, Sight, Verdict};
use crate::topology::graph;

/// Counts each neighbourhood.
pub(super) struct BoundedDegree;

impl Check for BoundedDegree {
    fn id(&self) -> &'static str {
        "O2"
    }

    fn settled(&mut self, sight: &Sight<'_>) -> Verdict {
        for (place, _, node) in sight.live() {
            let (found, policy) = (node.overlay().neighbors().len(), node.overlay().policy());
            if graph::degree_max(policy).is_some_and(|most| found > most) {
                return Err(format!("{} has {found} neighbours in a {policy}", sight.name(place)));
            }
        }
        Ok(())
    }
}

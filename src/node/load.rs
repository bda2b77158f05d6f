//! How busy the host of this node is, as the host says, told to the mesh.
//!
//! It is gossiped, and every change of what a member says of itself is: so only what differs by much is told. Roles are granted by it
//! where the operator wants that ([`PromotionStrategy::LeastLoad`](crate::failover::PromotionStrategy::LeastLoad)).

use super::Node;
use crate::types::Now;

/// A load that differs by less from what was told, in percent of the host's cores, is not told.
const STEP: u16 = 20;

impl Node {
    /// The host's load is this, in percent of its cores; nothing if it does not know.
    pub(super) fn set_load(&mut self, now: Now, load: Option<u16>) {
        if differs(self.meta.load, load) {
            self.meta.load = load;
            self.describe(now);
        }
    }
}

/// By a step at least, and by a quarter where there is much: a host of 900 percent is no busier with 950.
fn differs(told: Option<u16>, load: Option<u16>) -> bool {
    match (told, load) {
        (Some(told), Some(load)) => told.abs_diff(load) >= STEP.max(told / 4),
        (told, load) => told != load,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_by_little_is_not_told() {
        assert!(differs(None, Some(0)) && differs(Some(3), None));
        assert!(!differs(None, None) && !differs(Some(100), Some(119)) && !differs(Some(100), Some(81)));
        assert!(differs(Some(100), Some(125)) && differs(Some(100), Some(75)) && differs(Some(0), Some(20)));
        assert!(!differs(Some(900), Some(1_000)) && differs(Some(900), Some(600)));
    }
}

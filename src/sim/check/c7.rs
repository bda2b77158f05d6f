//! C7: after the calm no change waits for another, and none was refused.
//!
//! In a core that was healed a change may wait for what only peers outside of it hold.

use super::{Check, Sight, Verdict};
use crate::types::{Seq, VersionVector};

/// Looks at each peer's orphans and refusals.
pub(super) struct NothingWaits {
    /// What each peer held when its process ended.
    held: Vec<VersionVector>,
}

impl NothingWaits {
    pub(super) fn new(peers: usize) -> Self {
        Self { held: vec![VersionVector::new(); peers] }
    }

    /// Whether peers that were not healed hold what nobody holds who was.
    fn is_stranded(&self, sight: &Sight<'_>) -> bool {
        let core: Vec<VersionVector> = sight.live().map(|(_, _, node)| node.replication().vector()).collect();
        let highest = |log| core.iter().map(|vector| vector.of(log)).max().unwrap_or(Seq::ZERO);
        (0..).zip(&self.held).filter(|(place, _)| !sight.is_healed(*place)).any(|(place, held)| {
            let now = sight.node(place).map(|node| node.replication().vector());
            now.as_ref().unwrap_or(held).iter().any(|(log, seq)| seq > highest(log))
        })
    }
}

impl Check for NothingWaits {
    fn id(&self) -> &'static str {
        "C7"
    }

    fn on_stopping(&mut self, sight: &Sight<'_>, who: u32) -> Verdict {
        if let Some(node) = sight.node(who) {
            self.held[who as usize] = node.replication().vector();
        }
        Ok(())
    }

    fn on_wiped(&mut self, who: u32) {
        self.held[who as usize] = VersionVector::new();
    }

    fn settled(&mut self, sight: &Sight<'_>) -> Verdict {
        for (place, _, node) in sight.live() {
            let (orphans, refused) = (node.documents().orphans(), node.documents().refused());
            if refused > 0 || (orphans > 0 && !(sight.core.is_some() && self.is_stranded(sight))) {
                return Err(format!("at {} {orphans} changes wait and {refused} were refused", sight.name(place)));
            }
        }
        Ok(())
    }
}

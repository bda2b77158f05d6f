//! C7: after the calm no change waits for another, and none was refused.

use super::{Check, Sight, Verdict};

/// Looks at each peer's orphans and refusals.
pub(super) struct NothingWaits;

impl Check for NothingWaits {
    fn id(&self) -> &'static str {
        "C7"
    }

    fn settled(&mut self, sight: &Sight<'_>) -> Verdict {
        for (place, _, node) in sight.live() {
            let (orphans, refused) = (node.documents().orphans(), node.documents().refused());
            if orphans > 0 || refused > 0 {
                return Err(format!("at {} {orphans} changes wait and {refused} were refused", sight.name(place)));
            }
        }
        Ok(())
    }
}

//! G4: no peer handles more inputs a second than it ever needs: a wake-up that causes itself, or messages that cause each
//! other, show here first.

use super::{Check, Sight, Verdict};

/// Far above every load of the scenarios, far below what a loop makes of a second.
const INPUTS_MAX: u32 = 60_000;

/// Looks at how much each peer did.
pub(super) struct BoundedWork;

impl Check for BoundedWork {
    fn id(&self) -> &'static str {
        "G4"
    }

    fn on_tick(&mut self, sight: &Sight<'_>) -> Verdict {
        for (place, host, _) in sight.live() {
            if host.inputs > INPUTS_MAX {
                return Err(format!("{} handled {} inputs in a second", sight.name(place), host.inputs));
            }
        }
        Ok(())
    }
}

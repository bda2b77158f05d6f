//! O6: after the calm all live peers follow the same overlay, and it is the highest that was set and kept.

use super::{Check, Sight, Verdict};

/// Compares what is followed with what any disk holds.
pub(super) struct OneOverlay;

impl Check for OneOverlay {
    fn id(&self) -> &'static str {
        "O6"
    }

    fn settled(&mut self, sight: &Sight<'_>) -> Verdict {
        let kept = (0..).zip(sight.hosts).filter(|(place, _)| sight.is_healed(*place));
        let kept = kept.flat_map(|(_, host)| host.policies.iter());
        let Some(highest) = kept.max() else { return Ok(()) };
        for (place, _, node) in sight.live() {
            let (followed, policy) = (node.overlay().policies().in_force(), node.overlay().policy());
            if followed != Some(highest) || policy != highest.policy {
                let (name, version) = (sight.name(place), highest.version);
                return Err(format!("{name} follows {policy}, and version {version} is {}", highest.policy));
            }
        }
        Ok(())
    }
}

//! O5: after the calm neighbourhood is mutual.

use super::{Check, Sight, Verdict};

/// Looks at each neighbourhood from the other side.
pub(super) struct Mutual;

impl Check for Mutual {
    fn id(&self) -> &'static str {
        "O5"
    }

    fn settled(&mut self, sight: &Sight<'_>) -> Verdict {
        for (place, host, node) in sight.live() {
            for peer in node.overlay().neighbors() {
                if sight.place(*peer).is_some_and(|place| !sight.is_healed(place)) {
                    continue;
                }
                let other = sight.place(*peer).and_then(|place| sight.node(place));
                if !other.is_some_and(|other| other.overlay().neighbors().contains(&host.id)) {
                    let (one, other) = (sight.name(place), sight.name_of(*peer));
                    return Err(format!("{one} exchanges deltas with {other}, and {other} not with {one}"));
                }
            }
        }
        Ok(())
    }
}

//! C2: after the calm all live peers hold the same changes of the same documents.

use super::{Check, Sight, Verdict};

/// Compares every peer with the first.
pub(super) struct SameChanges;

impl Check for SameChanges {
    fn id(&self) -> &'static str {
        "C2"
    }

    fn settled(&mut self, sight: &Sight<'_>) -> Verdict {
        let Some((first, _, reference)) = sight.live().next() else { return Ok(()) };
        for (place, _, node) in sight.live().skip(1) {
            let (ours, theirs) = (reference.documents(), node.documents());
            if ours.content() == theirs.content() {
                continue;
            }
            let (one, other) = (sight.name(first), sight.name(place));
            let differs = ours.docs().find(|(doc, state)| theirs.heads(doc) != &*state.heads).map(|(doc, _)| doc);
            let differs = differs.or_else(|| theirs.docs().map(|(doc, _)| doc).find(|doc| ours.state(doc).is_none()));
            let what = differs.map_or_else(|| "their digests".to_owned(), ToString::to_string);
            let (held, other_held) = (reference.replication().entries(), node.replication().entries());
            return Err(format!("{one} and {other} differ in {what}; they hold {held} and {other_held} entries"));
        }
        Ok(())
    }
}

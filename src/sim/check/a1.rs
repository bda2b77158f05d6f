//! A1: no audit finds documents that differ, unless an engine lost a change: equal logs make equal documents.

use super::{Check, Sight, Verdict};
use crate::audit;
use crate::node::Event;
use crate::sim::plan::Fault;

/// Hears what audits find.
pub(super) struct NothingDiffers;

impl Check for NothingDiffers {
    fn id(&self) -> &'static str {
        "A1"
    }

    fn on_event(&mut self, sight: &Sight<'_>, who: u32, event: &Event) -> Verdict {
        let Event::Audit(audit::Event::Differs { peer, docs, .. }) = event else { return Ok(()) };
        let lost =
            |item: &crate::sim::plan::Item| matches!(item.fault, Fault::LoseChange { .. }) && item.at <= sight.now;
        if sight.plan.items.iter().any(lost) {
            return Ok(());
        }
        let docs: Vec<&str> = docs.iter().map(|doc| doc.as_str()).collect();
        let (who, peer) = (sight.name(who), sight.name_of(*peer));
        Err(format!("{who} and {peer} hold the same logs and different documents: {}", docs.join(", ")))
    }
}

//! U4: what was written is read back: no entry is unreadable, as no medium is ever damaged here.

use super::{Check, Sight, Verdict};
use crate::node::Event;
use crate::replication;

/// Hears of entries that cannot be read.
pub(super) struct ReadBack;

impl Check for ReadBack {
    fn id(&self) -> &'static str {
        "U4"
    }

    fn on_event(&mut self, sight: &Sight<'_>, who: u32, event: &Event) -> Verdict {
        let Event::Replication(replication::Event::Unreadable { log, seq, fault }) = event else { return Ok(()) };
        Err(format!("{} cannot read {}: {fault}", sight.name(who), log.at(*seq)))
    }
}

//! C14: stamps rise along each log, over restarts and whatever the wall clock does, but for a peer whose disk was put back.

use std::collections::BTreeMap;

use super::{Check, Sight, Verdict};
use crate::node::Event;
use crate::replication;
use crate::types::{Hlc, LogId};

/// The last stamp that the origin of each log gave.
#[derive(Default)]
pub(super) struct StampsRise {
    last: BTreeMap<LogId, (u32, Hlc)>,
}

impl Check for StampsRise {
    fn id(&self) -> &'static str {
        "C14"
    }

    fn on_put_back(&mut self, who: u32, _: usize) {
        self.last.retain(|_, (origin, _)| *origin != who);
    }

    fn on_event(&mut self, sight: &Sight<'_>, who: u32, event: &Event) -> Verdict {
        let Event::Replication(replication::Event::Originated { log, seq, hlc, .. }) = event else { return Ok(()) };
        match self.last.insert(*log, (who, *hlc)) {
            Some((_, before)) if before >= *hlc => {
                Err(format!("{} stamps {} with {hlc:?}, after {before:?}", sight.name(who), log.at(*seq)))
            }
            _ => Ok(()),
        }
    }
}

//! U4: what was written is read back from every medium that no fault has damaged and that reads as it should. Of a peer whose disk
//! was put back, another branch of its log may come to stand there while one is read.

use std::collections::BTreeSet;

use super::super::plan::{Fault, Item};
use super::{Check, Sight, Verdict};
use crate::node::Event;
use crate::replication;

/// Hears of entries that cannot be read.
#[derive(Default)]
pub(super) struct ReadBack {
    put_back: BTreeSet<u32>,
    damaged: BTreeSet<u32>,
}

impl Check for ReadBack {
    fn id(&self) -> &'static str {
        "U4"
    }

    fn on_put_back(&mut self, who: u32, _: usize) {
        self.put_back.insert(who);
    }

    fn on_damaged(&mut self, who: u32) {
        self.damaged.insert(who);
    }

    fn on_event(&mut self, sight: &Sight<'_>, who: u32, event: &Event) -> Verdict {
        let Event::Replication(replication::Event::Unreadable { log, seq, fault }) = event else { return Ok(()) };
        if sight.place(log.actor.node).is_some_and(|origin| self.put_back.contains(&origin)) {
            return Ok(());
        }
        let fails_to_read = |item: &Item| {
            let reads = matches!(item.fault, Fault::MisreadDisk { .. } | Fault::UnreadableDisk { .. });
            reads && item.fault.peer() == Some(who) && item.at <= sight.now
        };
        if self.damaged.contains(&who) || sight.plan.items.iter().any(fails_to_read) {
            return Ok(());
        }
        Err(format!("{} cannot read {}: {fault}", sight.name(who), log.at(*seq)))
    }
}

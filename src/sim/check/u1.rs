//! U1: what was durable is there after a crash and after a power loss: own acknowledged edits, and entries of others that
//! were told as delivered.

use std::collections::BTreeMap;

use super::{Check, Sight, Verdict};
use crate::documents::Stamp;
use crate::node::{BootReport, Event};
use crate::replication;
use crate::types::{LogId, Seq};

/// For each peer how far each log must be found.
pub(super) struct Recoverable {
    durable: Vec<BTreeMap<LogId, Seq>>,
    /// The same, as it was when an image was taken.
    images: BTreeMap<usize, BTreeMap<LogId, Seq>>,
}

impl Recoverable {
    pub(super) fn new(peers: usize) -> Self {
        Self { durable: vec![BTreeMap::new(); peers], images: BTreeMap::new() }
    }

    fn raise(&mut self, who: u32, log: LogId, seq: Seq) {
        let held = self.durable[who as usize].entry(log).or_default();
        *held = seq.max(*held);
    }
}

impl Check for Recoverable {
    fn id(&self) -> &'static str {
        "U1"
    }

    fn on_acknowledged(&mut self, _: &Sight<'_>, who: u32, _: usize, stamp: Option<Stamp>) -> Verdict {
        if let Some(stamp) = stamp {
            self.raise(who, stamp.log, stamp.seq);
        }
        Ok(())
    }

    fn on_event(&mut self, _: &Sight<'_>, who: u32, event: &Event) -> Verdict {
        use replication::Event as E;
        if let Event::Replication(E::Delivered { log, seq, .. } | E::Originated { log, seq, .. }) = event {
            self.raise(who, *log, *seq);
        }
        if let Event::Replication(E::GaveWay { log, from, .. }) = event {
            self.durable[who as usize].insert(*log, Seq::new(from.value() - 1));
        }
        Ok(())
    }

    fn on_wiped(&mut self, who: u32) {
        self.durable[who as usize].clear();
    }

    fn on_imaged(&mut self, who: u32, image: usize) {
        self.images.insert(image, self.durable[who as usize].clone());
    }

    fn on_put_back(&mut self, who: u32, image: usize) {
        self.durable[who as usize] = self.images.remove(&image).unwrap_or_default();
    }

    fn on_ready(&mut self, sight: &Sight<'_>, who: u32, report: &BootReport) -> Verdict {
        let Some(node) = sight.node(who) else { return Ok(()) };
        let held = node.replication().vector();
        for (log, seq) in &self.durable[who as usize] {
            let found = held.of(*log);
            if found < *seq {
                let name = sight.name(who);
                return Err(format!("{name} lost {}: found up to {found} in {} records", log.at(*seq), report.records));
            }
        }
        Ok(())
    }
}

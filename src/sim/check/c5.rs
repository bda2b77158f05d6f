//! C5: what a peer holds only grows within a boot, and each log is delivered in order, each entry once. A branch of a log
//! that gives way to another one does not vanish: it stands in a log of its own.

use std::collections::BTreeMap;

use super::{Check, Sight, Verdict};
use crate::node::{BootReport, Event};
use crate::replication;
use crate::types::{LogId, Seq, VersionVector};

/// So many vectors are looked at each second, in turn.
const PEERS_A_TICK: usize = 50;

/// For each peer what it held when it was last looked at, and how far each log was delivered.
pub(super) struct OnlyGrows {
    held: Vec<VersionVector>,
    delivered: Vec<BTreeMap<LogId, Seq>>,
    turn: u32,
}

impl OnlyGrows {
    pub(super) fn new(peers: usize) -> Self {
        Self { held: vec![VersionVector::new(); peers], delivered: vec![BTreeMap::new(); peers], turn: 0 }
    }
}

impl Check for OnlyGrows {
    fn id(&self) -> &'static str {
        "C5"
    }

    fn on_ready(&mut self, sight: &Sight<'_>, who: u32, _: &BootReport) -> Verdict {
        let vector = sight.node(who).map(|node| node.replication().vector()).unwrap_or_default();
        self.delivered[who as usize] = vector.iter().collect();
        self.held[who as usize] = vector;
        Ok(())
    }

    fn on_event(&mut self, sight: &Sight<'_>, who: u32, event: &Event) -> Verdict {
        if let Event::Replication(replication::Event::GaveWay { log, from, last, to, at }) = event {
            let before = Seq::new(from.value() - 1);
            self.delivered[who as usize].insert(*log, before);
            let held = &mut self.held[who as usize];
            *held = held.iter().map(|(of, seq)| (of, if of == *log { seq.min(before) } else { seq })).collect();
            let here = sight.node(who).map(|node| node.replication().vector().of(*to)).unwrap_or_default();
            if here < *at {
                let name = sight.name(who);
                return Err(format!("{name} gave {} to {last} up and lacks {}: {here}", log.at(*from), to.at(*at)));
            }
        }
        if let Event::Replication(replication::Event::Skipped { log, upto, .. }) = event {
            self.delivered[who as usize].insert(*log, *upto);
        }
        let Event::Replication(replication::Event::Delivered { log, seq, .. }) = event else { return Ok(()) };
        let last = self.delivered[who as usize].insert(*log, *seq).unwrap_or_default();
        if last.next() != *seq {
            return Err(format!("{} was delivered {} after {last}", sight.name(who), log.at(*seq)));
        }
        Ok(())
    }

    fn on_tick(&mut self, sight: &Sight<'_>) -> Verdict {
        for _ in 0..PEERS_A_TICK.min(sight.hosts.len()) {
            self.turn = if self.turn as usize + 1 < sight.hosts.len() { self.turn + 1 } else { 0 };
            let Some(node) = sight.node(self.turn) else { continue };
            let (view, held) = (node.replication(), &mut self.held[self.turn as usize]);
            // Most often nothing has changed.
            if view.logs().eq(held.iter()) {
                continue;
            }
            let vector = view.vector();
            if !vector.covers(held) {
                return Err(format!("{} held {held:?} and holds {vector:?}", sight.name(self.turn)));
            }
            *held = vector;
        }
        Ok(())
    }
}

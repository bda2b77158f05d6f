//! C5: what a peer holds only grows within a boot, and each log is delivered in order, each entry once. A branch of a log
//! that gives way to another one does not vanish: it stands in a log of its own.

use std::collections::BTreeMap;

use super::{Check, Sight, Verdict};
use crate::node::{BootReport, Event};
use crate::replication;
use crate::types::{LogId, Seq};

/// So many vectors are looked at each second, in turn.
const PEERS_A_TICK: usize = 50;

/// What a peer holds, in order of the logs.
type Holds = Vec<(LogId, Seq)>;

/// For each peer what it held when it was last looked at, and how far each log was delivered.
pub(super) struct OnlyGrows {
    held: Vec<Holds>,
    delivered: Vec<BTreeMap<LogId, Seq>>,
    turn: u32,
}

impl OnlyGrows {
    pub(super) fn new(peers: usize) -> Self {
        Self { held: vec![Vec::new(); peers], delivered: vec![BTreeMap::new(); peers], turn: 0 }
    }
}

/// Whether all that was held is held, as far at least. Both are in order, so one walk through the two tells.
fn covers(holds: &Holds, held: &Holds) -> bool {
    let mut holds = holds.iter().peekable();
    held.iter().filter(|(_, before)| *before > Seq::ZERO).all(|(log, before)| {
        while holds.next_if(|(of, _)| of < log).is_some() {}
        holds.peek().is_some_and(|(of, seq)| of == log && seq >= before)
    })
}

impl Check for OnlyGrows {
    fn id(&self) -> &'static str {
        "C5"
    }

    fn on_ready(&mut self, sight: &Sight<'_>, who: u32, _: &BootReport) -> Verdict {
        let holds: Holds = sight.node(who).map(|node| node.replication().logs().collect()).unwrap_or_default();
        self.delivered[who as usize] = holds.iter().copied().collect();
        self.held[who as usize] = holds;
        Ok(())
    }

    fn on_event(&mut self, sight: &Sight<'_>, who: u32, event: &Event) -> Verdict {
        if let Event::Replication(replication::Event::GaveWay { log, from, last, to, at }) = event {
            let before = Seq::new(from.value() - 1);
            self.delivered[who as usize].insert(*log, before);
            for (_, seq) in self.held[who as usize].iter_mut().filter(|(of, _)| of == log) {
                *seq = before.min(*seq);
            }
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
            let mut holds = Vec::with_capacity(held.len() + 1);
            holds.extend(view.logs());
            if !covers(&holds, held) {
                return Err(format!("{} held {held:?} and holds {holds:?}", sight.name(self.turn)));
            }
            *held = holds;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Actor, Mint, NodeId, Topic};

    quickcheck::quickcheck! {
        fn what_covers_is_what_a_vector_says(holds: Vec<(u8, u8)>, held: Vec<(u8, u8)>) -> bool {
            let log = |n: u8| LogId {
                actor: Actor { node: NodeId::from_u128(u128::from(n % 6)), mint: Mint::new(1) },
                topic: Topic::DOCUMENTS,
            };
            let vector = |pairs: &[(u8, u8)]| -> crate::types::VersionVector {
                pairs.iter().map(|(n, seq)| (log(*n), Seq::new(u64::from(*seq % 3)))).collect()
            };
            let (holds, held) = (vector(&holds), vector(&held));
            covers(&holds.iter().collect(), &held.iter().collect()) == holds.covers(&held)
        }
    }
}

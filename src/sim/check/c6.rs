//! C6: a place in an origin log is used once: no two entries ever claim (actor, sequence), whatever was lost.
//!
//! A peer whose disk was put back to an earlier image cannot know that it used places before. What is still forbidden:
//! - a peer whose disk was not put back uses no place twice, and nobody uses one twice without being put back in between;
//! - two entries are seen at one place, or neighbours find two branches, only in logs of peers that were put back;
//! - in the end all live peers hold the same entry at every place, and nobody disputes anything.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64;

use super::{Check, Sight, Verdict};
use crate::node::Event;
use crate::replication;
use crate::types::{LogId, Seq};

/// What was seen at each place, and whose it is.
#[derive(Default)]
pub(super) struct PlacesAreUnique {
    bodies: BTreeMap<(LogId, Seq), u64>,
    /// Who originated it, in which life, and how often its disk had been put back by then.
    origins: BTreeMap<(LogId, Seq), (u32, u32, u32)>,
    /// How often each peer's disk was put back.
    put_back: Vec<u32>,
}

impl PlacesAreUnique {
    pub(super) fn new(peers: usize) -> Self {
        Self { put_back: vec![0; peers], ..Self::default() }
    }

    /// Whether this log's origin may have used its places twice.
    fn is_reused(&self, sight: &Sight<'_>, log: LogId) -> bool {
        sight.place(log.actor.node).is_none_or(|place| self.put_back[place as usize] > 0)
    }
}

impl Check for PlacesAreUnique {
    fn id(&self) -> &'static str {
        "C6"
    }

    fn on_put_back(&mut self, who: u32, _: usize) {
        self.put_back[who as usize] += 1;
    }

    fn on_damaged(&mut self, who: u32) {
        self.put_back[who as usize] += 1;
    }

    fn on_event(&mut self, sight: &Sight<'_>, who: u32, event: &Event) -> Verdict {
        use replication::Event as E;
        let Event::Replication(event) = event else { return Ok(()) };
        let (name, host) = (sight.name(who), &sight.hosts[who as usize]);
        match event {
            E::Originated { log, .. } if log.actor.node != host.id => {
                Err(format!("{name} originated an entry of {log:?}, which is not its log"))
            }
            E::Originated { log, seq, .. } => {
                let life = (who, host.epoch, self.put_back[who as usize]);
                let before = self.origins.insert((*log, *seq), life);
                before.filter(|before| before.2 == life.2).map_or(Ok(()), |before| {
                    Err(format!("{} was originated twice, in lives {before:?} and {life:?}", log.at(*seq)))
                })
            }
            E::Delivered { log, seq, body, .. } => {
                let hash = xxh3_64(body);
                if *self.bodies.entry((*log, *seq)).or_insert(hash) == hash || self.is_reused(sight, *log) {
                    Ok(())
                } else {
                    Err(format!("{name} was delivered another {} than somebody before", log.at(*seq)))
                }
            }
            E::Forked { log, seq, peer } if !self.is_reused(sight, *log) => {
                Err(format!("{name} and {} hold different entries {}", sight.name_of(*peer), log.at(*seq)))
            }
            E::Unsettled { log, seq, why } => Err(format!("{name} cannot settle {}: {why}", log.at(*seq))),
            E::PeerFault { peer, why } => Err(format!("{name} says that {} is faulty: {why}", sight.name_of(*peer))),
            _ => Ok(()),
        }
    }

    fn settled(&mut self, sight: &Sight<'_>) -> Verdict {
        let Some((first, _, reference)) = sight.live().next() else { return Ok(()) };
        let ours = reference.replication();
        for (place, _, node) in sight.live() {
            let theirs = node.replication();
            // With whoever was not healed nothing can be settled.
            let ill = |id| sight.place(id).is_some_and(|place| !sight.is_healed(place));
            if let Some((log, seq, peer)) = theirs.forks().iter().find(|(_, _, peer)| !ill(*peer)) {
                let (name, other) = (sight.name(place), sight.name_of(*peer));
                return Err(format!("{name} and {other} still dispute {}", log.at(*seq)));
            }
            let differs = ours.vector().iter().find(|(log, _)| ours.tip(*log) != theirs.tip(*log));
            if let Some((log, seq)) = differs {
                let (one, other) = (sight.name(first), sight.name(place));
                return Err(format!("{one} holds {}, {other} another one or none", log.at(seq)));
            }
        }
        Ok(())
    }
}

//! C6: a place in an origin log is used once: no two entries ever claim (actor, sequence), whatever was lost.

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
    /// Who originated it, and in which life.
    origins: BTreeMap<(LogId, Seq), (u32, u32)>,
}

impl Check for PlacesAreUnique {
    fn id(&self) -> &'static str {
        "C6"
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
                let life = (who, host.epoch);
                let before = self.origins.insert((*log, *seq), life);
                before.map_or(Ok(()), |before| {
                    Err(format!("{} was originated twice, in lives {before:?} and {life:?}", log.at(*seq)))
                })
            }
            E::Delivered { log, seq, body, .. } => {
                let hash = xxh3_64(body);
                if *self.bodies.entry((*log, *seq)).or_insert(hash) == hash {
                    Ok(())
                } else {
                    Err(format!("{name} was delivered another {} than somebody before", log.at(*seq)))
                }
            }
            E::Forked { log, seq, peer } => {
                Err(format!("{name} and {} hold different entries {}", sight.name_of(*peer), log.at(*seq)))
            }
            E::PeerFault { peer, why } => Err(format!("{name} says that {} is faulty: {why}", sight.name_of(*peer))),
            _ => Ok(()),
        }
    }
}

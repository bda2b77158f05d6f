//! U9: starts can be repeated. A start that crashes after some of its changes to the disk, the last of them half done, and a second and
//! a third on what that leaves, do not change what the next one finds: the same entries as the first would have found, and
//! documents are made of nothing else. And where that would have been a new actor, since what is lost may live on elsewhere, the next one is no old one either.
//!
//! What the disk holds at each start is tried in memory and alone, at crash points that are drawn.

use std::collections::BTreeSet;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{AtDisk, Check, Sight, Verdict};
use crate::membership::Meta;
use crate::node::{Alone, BootReport, Crash, Event, Identity, Node, Setup};
use crate::types::{Actor, ClusterId, WallTime};

/// How many starts crash before the one that is looked at.
const DEPTH: u8 = 3;
/// Changes that a start makes at most before one of them is the last; most starts make one to four.
const CHANGES: u64 = 5;

/// Repeats starts.
pub(super) struct StartsRepeat {
    /// As whom each peer has written.
    actors: Vec<BTreeSet<Actor>>,
}

impl StartsRepeat {
    pub(super) fn new(peers: usize) -> Self {
        Self { actors: vec![BTreeSet::new(); peers] }
    }

    fn repeat(&self, sight: &Sight<'_>, who: u32) -> Verdict {
        let (name, host) = (sight.name(who), &sight.hosts[who as usize]);
        let wall = WallTime::from_micros(0);
        let setup = |depth: u8| Setup {
            identity: Identity { node: host.id, cluster: ClusterId::from_bytes([7; 32]) },
            seed: [depth; 32],
            meta: Meta::default(),
            config: sight.scenario.config_at(who).clone(),
            founds: false,
        };
        let mut files = host.disk.copy(|_| true);
        // A log that is refused is judged where that happens.
        let Ok((once, report)) = Alone::begun(files.clone(), setup(0), wall) else { return Ok(()) };
        let mut points = Vec::new();
        for depth in 1..=DEPTH {
            let drawn = xxh3_64_with_seed(&[depth], sight.now ^ u64::from(who));
            let crash = Crash { changes: drawn % CHANGES, half: drawn >> 32 & 1 == 1 };
            files = Alone::crashed(files, setup(depth), wall, crash);
            points.push(crash.changes);
        }
        let (again, repeated) = Alone::begun(files, setup(DEPTH + 1), wall).map_err(|error| {
            format!("{name} could start; not after starts that crashed behind {points:?} changes: {error}")
        })?;
        let entries = |node: &Node| (node.replication().digest(), node.replication().vector());
        let (first, last) = (entries(&once), entries(&again));
        if first != last {
            return Err(format!(
                "{name} finds {last:?} after starts that crashed behind {points:?} changes, not {first:?}"
            ));
        }
        let used = |actor: &Actor| self.actors[who as usize].contains(actor);
        if !used(&report.actor) && used(&repeated.actor) {
            let was = repeated.actor;
            return Err(format!(
                "{name} has to be somebody new, and is {was:?} after starts that crashed behind {points:?}"
            ));
        }
        Ok(())
    }
}

impl Check for StartsRepeat {
    fn id(&self) -> &'static str {
        "U9"
    }

    fn on_disk(&mut self, sight: &Sight<'_>, who: u32, what: AtDisk<'_>) -> Verdict {
        if matches!(what, AtDisk::Starts) { self.repeat(sight, who) } else { Ok(()) }
    }

    fn on_event(&mut self, _: &Sight<'_>, who: u32, event: &Event) -> Verdict {
        if let Event::Minted { actor, .. } = event {
            self.actors[who as usize].insert(*actor);
        }
        Ok(())
    }

    fn on_ready(&mut self, _: &Sight<'_>, who: u32, report: &BootReport) -> Verdict {
        self.actors[who as usize].insert(report.actor);
        Ok(())
    }
}

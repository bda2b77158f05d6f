//! U12: a new identity before a word. Who starts on an empty disk is an actor that nobody was before: what it wrote lives on elsewhere.
//! A disk that was put back cannot know that; on it a peer begins a life above those that the disk knows of, and as soon as it
//! hears that others hold more of its log than it does it writes no further entry of that log.

use std::collections::{BTreeMap, BTreeSet};

use super::{AtDisk, Check, Sight, Verdict};
use crate::node::{BootReport, Event};
use crate::replication;
use crate::types::{Actor, Boot, LogId, Seq};

/// As whom and in which life each peer was.
#[derive(Clone, Default)]
struct Known {
    actors: BTreeSet<Actor>,
    life: Boot,
    /// Its disk is empty, and it has not started on it.
    is_new: bool,
    /// Up to where it may have written a log by then that is longer elsewhere, as it has heard.
    longer: BTreeMap<LogId, Seq>,
}

/// Looks at each start, and at who writes.
pub(super) struct NewBeforeItSpeaks {
    peers: Vec<Known>,
    /// The last life that an image knows of.
    images: BTreeMap<usize, Boot>,
}

impl NewBeforeItSpeaks {
    pub(super) fn new(peers: usize) -> Self {
        Self { peers: vec![Known::default(); peers], images: BTreeMap::new() }
    }
}

impl Check for NewBeforeItSpeaks {
    fn id(&self) -> &'static str {
        "U12"
    }

    fn on_disk(&mut self, _: &Sight<'_>, who: u32, what: AtDisk<'_>) -> Verdict {
        if matches!(what, AtDisk::Starts) {
            self.peers[who as usize].longer.clear();
        }
        Ok(())
    }

    fn on_event(&mut self, sight: &Sight<'_>, who: u32, event: &Event) -> Verdict {
        use replication::Event as E;
        let known = &mut self.peers[who as usize];
        match event {
            Event::Minted { actor, .. } => _ = known.actors.insert(*actor),
            Event::Replication(E::RolledBack { log, held, .. }) => _ = known.longer.insert(*log, *held),
            Event::Replication(E::Originated { log, seq, .. })
                if known.longer.get(log).is_some_and(|held| seq > held) =>
            {
                let (name, entry) = (sight.name(who), log.at(*seq));
                return Err(format!("{name} has heard that others hold more of this log, and writes {entry}"));
            }
            _ => {}
        }
        Ok(())
    }

    fn on_tick(&mut self, sight: &Sight<'_>) -> Verdict {
        for (place, _, node) in sight.live() {
            let longer = &self.peers[place as usize].longer;
            if let Some(log) = longer.keys().find(|log| log.actor == node.actor()) {
                let name = sight.name(place);
                return Err(format!("{name} has heard that others hold more of {log:?}, and goes on in that name"));
            }
        }
        Ok(())
    }

    fn on_wiped(&mut self, who: u32) {
        let known = &mut self.peers[who as usize];
        (known.life, known.is_new) = (Boot::ZERO, true);
    }

    fn on_damaged(&mut self, who: u32) {
        self.peers[who as usize].life = Boot::ZERO;
    }

    fn on_imaged(&mut self, who: u32, image: usize) {
        self.images.insert(image, self.peers[who as usize].life);
    }

    fn on_put_back(&mut self, who: u32, image: usize) {
        let known = &mut self.peers[who as usize];
        (known.life, known.is_new) = (self.images.remove(&image).unwrap_or_default(), false);
    }

    fn on_ready(&mut self, sight: &Sight<'_>, who: u32, report: &BootReport) -> Verdict {
        let (name, known) = (sight.name(who), &mut self.peers[who as usize]);
        let was = !known.actors.insert(report.actor);
        if std::mem::take(&mut known.is_new) && was {
            return Err(format!("{name} starts on an empty disk as {:?}, who it was before", report.actor));
        }
        let before = std::mem::replace(&mut known.life, report.boot);
        if report.boot > before {
            return Ok(());
        }
        Err(format!("{name} calls its life {}, and its disk knows of {before}", report.boot))
    }
}

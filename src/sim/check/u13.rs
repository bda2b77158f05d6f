//! U13: a start from a snapshot is the start from the whole log; and once a peer said that it took a snapshot, it starts from one.
//!
//! What the disk holds at the start is started from twice more, in memory and alone: with the snapshots that are there, and without.

use std::collections::BTreeMap;

use super::{Check, Sight, Verdict};
use crate::membership::Meta;
use crate::node::{Alone, BootError, BootReport, Event, Identity, Setup};
use crate::replication;
use crate::types::{ClusterId, Family, SegmentId, Topic, WallTime};

/// Compares starts.
#[derive(Default)]
pub(super) struct SnapshotsTellTheLog {
    /// Who said that it took one, and has no reason not to start from it.
    have: BTreeMap<u32, u64>,
}

impl Check for SnapshotsTellTheLog {
    fn id(&self) -> &'static str {
        "U13"
    }

    fn on_event(&mut self, _: &Sight<'_>, who: u32, event: &Event) -> Verdict {
        match event {
            Event::SnapshotTaken { id, .. } => _ = self.have.insert(who, *id),
            // No snapshot of before leads over that.
            Event::Replication(replication::Event::GaveWay { log, .. }) if log.topic != Topic::EVENTS => {
                self.have.remove(&who);
            }
            _ => {}
        }
        Ok(())
    }

    fn on_wiped(&mut self, who: u32) {
        self.have.remove(&who);
    }

    fn on_snapshots_removed(&mut self, who: u32) {
        self.have.remove(&who);
    }

    fn on_put_back(&mut self, who: u32, _: usize) {
        self.have.remove(&who);
    }

    fn on_ready(&mut self, sight: &Sight<'_>, who: u32, report: &BootReport) -> Verdict {
        let name = sight.name(who);
        if report.snapshot.is_none() {
            return match self.have.get(&who) {
                Some(id) => Err(format!("{name} took snapshot {id}, and starts without any: {:?}", report.untaken)),
                None => Ok(()),
            };
        }
        let host = &sight.hosts[who as usize];
        let config = sight.scenario.config_at(who);
        let start = |snapshots: bool| {
            let setup = Setup {
                identity: Identity { node: host.id, cluster: ClusterId::from_bytes([7; 32]) },
                seed: [1; 32],
                meta: Meta::default(),
                config: config.clone(),
                founds: false,
            };
            seen(host.disk.copy(|file| snapshots || file.family() != Family::Snapshot), setup)
        };
        // What is damaged where no start from a snapshot reads is found by others.
        let Ok(whole) = start(false) else { return Ok(()) };
        match start(true) {
            Ok(behind) if behind == whole => Ok(()),
            Ok(behind) => Err(format!("{name} starts from its snapshot with {behind:?}, from its log with {whole:?}")),
            Err(error) => Err(format!("{name} does not start from its snapshot: {error}")),
        }
    }
}

/// What can be seen of a node that starts from these files.
fn seen(files: BTreeMap<SegmentId, Vec<u8>>, setup: Setup) -> Result<[String; 6], BootError> {
    let (mut alone, report) = Alone::on(files, setup, WallTime::from_micros(0))?;
    let values = match alone.documents("") {
        Ok(values) => format!("{values:?}"),
        Err(error) => error.to_string(),
    };
    let node = alone.node();
    let heads: Vec<_> = node.documents().docs().map(|(doc, state)| (doc, state.heads.clone())).collect();
    Ok([
        format!("{:?} {:?}", report.boot, report.actor),
        format!("{:?} {:?}", node.replication().digest(), node.replication().vector()),
        format!("{heads:?} {} {}", node.documents().orphans(), node.documents().refused()),
        values,
        format!("{:?}", node.consensus().promised()),
        format!("{:?}", node.policies().decided),
    ])
}

//! U6: a disk that was full and has room again is written again, and nobody has to restart the peer.

use super::super::plan::{Fault, Item};
use super::{Check, Sight, Verdict};
use crate::types::DiskFaultKind;

/// The node looks for room every five seconds at first, and less often where it was full again and again.
const BOUND: u64 = 30_000_000_000;

/// Looks who takes no edits still when it has been calm for a while.
pub(super) struct RoomIsUsed;

impl Check for RoomIsUsed {
    fn id(&self) -> &'static str {
        "U6"
    }

    fn on_tick(&mut self, sight: &Sight<'_>) -> Verdict {
        // By then every fault that ends has ended. While it lasts nothing reaches such a peer, so nobody waits for the end.
        if sight.scenario.says.disk.capacity.is_some() || sight.now < sight.scenario.calm_at() + BOUND {
            return Ok(());
        }
        for (place, _, node) in sight.live() {
            let full = |item: &&Item| matches!(item.fault, Fault::FullDisk { .. }) && item.fault.peer() == Some(place);
            let fulls: Vec<_> = sight.plan.items.iter().filter(full).collect();
            if fulls.len() > 2 || fulls.iter().any(|item| item.permanent) {
                continue;
            }
            if let Some(fault) = node.read_only().filter(|fault| fault.kind == DiskFaultKind::Full) {
                let name = sight.name(place);
                return Err(format!("{name} takes no edits, and there is room on its disk: {fault}"));
            }
        }
        Ok(())
    }
}

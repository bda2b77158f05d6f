//! U5: a disk that was full and has room again is written again, and nobody has to restart the peer.

use super::super::plan::{Fault, Item};
use super::{Check, Sight, Verdict};
use crate::documents::Listed;
use crate::types::DiskFaultKind;

/// The node looks for room every five seconds at first, and less often where it was full again and again.
const BOUND: u64 = 30_000_000_000;

/// Looks who takes no edits at the end.
pub(super) struct RoomIsUsed;

impl Check for RoomIsUsed {
    fn id(&self) -> &'static str {
        "U5"
    }

    fn on_content(&mut self, sight: &Sight<'_>, who: u32, _: &[Listed]) -> Verdict {
        let Some(node) = sight.node(who).filter(|_| sight.scenario.says.disk.capacity.is_none()) else { return Ok(()) };
        let full = |item: &&Item| matches!(item.fault, Fault::FullDisk { .. }) && item.fault.peer() == Some(who);
        let fulls: Vec<_> = sight.plan.items.iter().filter(full).collect();
        // By then every fault that ends has ended.
        let early = sight.now < sight.scenario.calm_at() + BOUND;
        if early || fulls.len() > 2 || fulls.iter().any(|item| item.permanent) {
            return Ok(());
        }
        match node.read_only() {
            Some(fault) if fault.kind == DiskFaultKind::Full => {
                Err(format!("{} takes no edits, and there is room on its disk: {fault}", sight.name(who)))
            }
            _ => Ok(()),
        }
    }
}

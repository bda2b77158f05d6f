//! R3: an acknowledgement names as many members as were wanted; if that is all, then everybody who has been well for long, as far
//! as whoever acknowledges has been so too: who was cut off takes others for lost for a while. And so do those who know of each
//! other by somebody between who was cut off: nothing is judged until everybody has been well for a moment.

use super::{Check, Sight, Verdict};
use crate::replication::Ack;
use crate::types::{LogId, NodeId, Seq};

/// Whoever has been well for so long is active.
const WELL: u64 = 30_000_000_000;
/// Whoever stands between has passed on what is known when it has been well for so long.
const SETTLED: u64 = 10_000_000_000;

/// Counts the members.
pub(super) struct AsManyAsWanted;

impl Check for AsManyAsWanted {
    fn id(&self) -> &'static str {
        "R3"
    }

    fn on_copied(
        &mut self,
        sight: &Sight<'_>,
        who: u32,
        edit: Option<usize>,
        place: (LogId, Seq),
        members: &[NodeId],
    ) -> Verdict {
        let Some(edit) = edit else { return Ok(()) };
        let configured = sight.scenario.config_at(who).replication.ack;
        let wanted = sight.plan.edits[edit].ack.map_or(configured, |level| level.0);
        let name = || format!("{} acknowledges edit {edit}, {}", sight.name(who), place.0.at(place.1));
        match wanted {
            Ack::Members(least) if members.len() < usize::from(least.get()) => {
                Err(format!("{} with {} copies, and {least} were wanted", name(), members.len()))
            }
            Ack::All if sight.live().any(|(_, host, _)| !host.well_for(sight.now, SETTLED)) => Ok(()),
            Ack::All if sight.hosts[who as usize].well_for(sight.now, WELL) => {
                let counts = |peer: &u32| *peer != who && sight.hosts[*peer as usize].well_for(sight.now, WELL);
                let lacks = |peer: &u32| !members.contains(&sight.hosts[*peer as usize].id);
                let live = sight.live().map(|(place, ..)| place);
                live.filter(counts).find(lacks).map_or(Ok(()), |peer| {
                    Err(format!("{} as held by all, and {} is not among them", name(), sight.name(peer)))
                })
            }
            Ack::All | Ack::Members(_) | Ack::Local => Ok(()),
        }
    }
}

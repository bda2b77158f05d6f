//! O3: after the calm a star or tree has no cycle, but those that somebody asked for who cannot reach whom it should.
//!
//! Where a core was healed, a peer outside of it may be alive for those whom it reaches and dead for the others. Two trees that
//! differ by a member may have a cycle between them, so nothing is asked of a core that disagrees about who is outside.

use std::collections::BTreeSet;

use super::{Check, Sight, Verdict};
use crate::types::NodeId;

/// Counts edges: O1 says that all live peers are connected, so one edge less than peers is a tree.
pub(super) struct Acyclic;

impl Check for Acyclic {
    fn id(&self) -> &'static str {
        "O3"
    }

    fn settled(&mut self, sight: &Sight<'_>) -> Verdict {
        if !agrees_about_outsiders(sight) {
            return Ok(());
        }
        let (mut ends, mut asked) = (0, 0);
        let mut peers: usize = 0;
        let among = |peer: &NodeId| sight.place(*peer).is_some_and(|place| sight.is_healed(place));
        for (_, _, node) in sight.live() {
            if node.overlay().kind() == "mesh" {
                return Ok(());
            }
            ends += node.overlay().neighbors().iter().filter(|peer| among(peer)).count();
            asked += node.overlay().stand_ins().len();
            peers += 1;
        }
        let edges = ends / 2;
        if edges > peers.saturating_sub(1) + asked {
            return Err(format!("{edges} edges join {peers} peers, and {asked} were asked for"));
        }
        Ok(())
    }
}

fn agrees_about_outsiders(sight: &Sight<'_>) -> bool {
    let outside = |id: &NodeId| sight.place(*id).is_none_or(|place| !sight.is_healed(place));
    let mut views = sight.live().map(|(_, _, node)| -> BTreeSet<NodeId> {
        let present = node.membership().members().filter(|member| member.is_present());
        present.map(|member| member.id).filter(outside).collect()
    });
    let first = views.next();
    views.all(|view| Some(&view) == first.as_ref())
}

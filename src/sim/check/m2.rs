//! M2: nobody but a member itself issues its incarnations: none is ever seen above the highest that it issued.

use super::{Check, Sight, Verdict};
use crate::membership;
use crate::node::Event;
use crate::types::{Boot, Incarnation, NodeId};

/// For each peer the highest that it issued before its process ended.
pub(super) struct OnlyItself {
    issued: Vec<Option<(Boot, Incarnation)>>,
}

impl OnlyItself {
    pub(super) fn new(peers: usize) -> Self {
        Self { issued: vec![None; peers] }
    }
}

/// Whom a membership event is about.
pub(super) fn subject_of(event: &membership::Event) -> Option<NodeId> {
    use membership::Event as E;
    match event {
        E::Joined { member, .. }
        | E::Suspected { member, .. }
        | E::Refuted { member, .. }
        | E::Died { member, .. }
        | E::Left { member, .. }
        | E::Updated { member } => Some(*member),
        E::Defended { .. } | E::Seek { .. } | E::Release { .. } | E::PeerFault { .. } => None,
    }
}

fn own(sight: &Sight<'_>, place: u32) -> Option<(Boot, Incarnation)> {
    let id = sight.hosts[place as usize].id;
    sight.node(place)?.membership().member(id).map(|member| (member.boot, member.incarnation))
}

impl Check for OnlyItself {
    fn id(&self) -> &'static str {
        "M2"
    }

    fn on_stopping(&mut self, sight: &Sight<'_>, who: u32) -> Verdict {
        let issued = &mut self.issued[who as usize];
        *issued = own(sight, who).max(*issued);
        Ok(())
    }

    fn on_replaced(&mut self, who: u32) {
        self.issued[who as usize] = None;
    }

    fn on_event(&mut self, sight: &Sight<'_>, who: u32, event: &Event) -> Verdict {
        let Event::Membership(event) = event else { return Ok(()) };
        if let membership::Event::PeerFault { peer, why } = event {
            return Err(format!("{} says that {} is faulty: {why}", sight.name(who), sight.name_of(*peer)));
        }
        let Some((id, place)) = subject_of(event).and_then(|id| Some((id, sight.place(id)?))) else { return Ok(()) };
        let Some(member) = sight.node(who).and_then(|node| node.membership().member(id)) else { return Ok(()) };
        let (seen, issued) = ((member.boot, member.incarnation), own(sight, place).max(self.issued[place as usize]));
        if Some(seen) > issued {
            let (who, whom) = (sight.name(who), sight.name(place));
            return Err(format!("{who} sees {whom} at {seen:?}, which itself issued {issued:?} at most"));
        }
        Ok(())
    }
}

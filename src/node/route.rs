//! The wiring diagram of the system: who hears what. No protocol, no policy.

use super::edge::{Effect, Event};
use super::{CommandError, Node, Outcome};
use crate::types::{Now, Topic};
use crate::{documents, membership, overlay, replication};

/// Events may cause events, but never for ever: a chain longer than this is a loop in the wiring below.
const HOPS_MAX: usize = 1 << 20;

impl Node {
    /// Delivers every event to those who listen, until there are no more.
    pub(super) fn route(&mut self, now: Now) {
        let mut hops = 0;
        loop {
            while let Some(event) = self.shared.events.pop_front() {
                hops += 1;
                assert!(hops < HOPS_MAX, "events chase each other: {event:?}");
                self.deliver(now, event);
            }
            // Neighbourhoods are computed over all members: once for all that one input brought.
            if !std::mem::take(&mut self.members_changed) {
                return;
            }
            self.shared.step(now, |cx| self.overlay.on_membership(cx, self.membership.view()));
        }
    }

    fn deliver(&mut self, now: Now, event: Event) {
        match event {
            Event::Membership(event) => self.on_membership_event(event),
            Event::Overlay(event) => self.on_overlay_event(now, event),
            Event::Replication(event) => self.on_replication_event(now, event),
            Event::Documents(event) => self.on_documents_event(now, event),
            // The node's own: told, heard by no machine.
            event @ (Event::BadFrame { .. } | Event::ReadOnly { .. } | Event::Minted { .. }) => self.tell(event),
        }
    }

    fn tell(&mut self, event: Event) {
        self.shared.effects.push_back(Effect::Notify(event));
    }

    fn on_membership_event(&mut self, event: membership::Event) {
        use membership::Event as E;
        match &event {
            E::Joined { .. } | E::Died { .. } | E::Left { .. } | E::Updated { .. } => self.members_changed = true,
            // A suspect is still present, our own incarnation changes no neighbourhood, a faulty message was ignored.
            E::Suspected { .. } | E::Refuted { .. } | E::Defended { .. } | E::PeerFault { .. } => {}
        }
        self.tell(Event::Membership(event));
    }

    fn on_overlay_event(&mut self, now: Now, event: overlay::Event) {
        use overlay::Event as E;
        match event.clone() {
            E::NeighborUp { peer } => self.shared.step(now, |cx| self.replication.on_neighbor_up(cx, peer)),
            E::NeighborDown { peer } => self.shared.step(now, |cx| self.replication.on_neighbor_down(cx, peer)),
            E::Dial { peer, addresses } => self.shared.effects.push_back(Effect::Dial { peer, addresses }),
        }
        self.tell(Event::Overlay(event));
    }

    fn on_replication_event(&mut self, now: Now, event: replication::Event) {
        use replication::Event as E;
        match event.clone() {
            E::Originated { token, log, seq, hlc, .. } => {
                let stamp = documents::Stamp { log, seq, hlc };
                self.shared.step(now, |cx| self.documents.on_originated(cx, documents::Token(token), stamp));
            }
            E::OriginateFailed { token, fault } => {
                self.shared.step(now, |cx| self.documents.on_originate_failed(cx, documents::Token(token), fault));
            }
            E::Delivered { log, seq, body, .. } => {
                self.shared.step(now, |cx| self.documents.on_delivered(cx, log, seq, body));
            }
            E::RolledBack { log, held, theirs } if log.actor == self.actor => {
                self.mint(now, &format!("a neighbour holds our log up to {theirs}, we hold it up to {held}"));
            }
            E::Forked { log, seq, .. } if log.actor == self.actor => {
                self.mint(now, &format!("a neighbour holds another entry {seq} of our log"));
            }
            E::GaveWay { log, from, .. } => self.documents.give_way(log, from),
            // Somebody else's trouble, or an actor that we no longer are: reported, nothing to wire.
            E::RolledBack { .. }
            | E::Forked { .. }
            | E::Unsettled { .. }
            | E::Drifted { .. }
            | E::Unreadable { .. }
            | E::PeerFault { .. } => {}
        }
        self.tell(Event::Replication(event));
    }

    fn on_documents_event(&mut self, now: Now, event: documents::Event) {
        use documents::Event as E;
        match event {
            E::Originate { token, body } => {
                self.shared.step(now, |cx| self.replication.originate(cx, Topic::DOCUMENTS, body, token.0));
            }
            E::Replied { command, result } => {
                let result = result.map(Outcome::Documents).map_err(CommandError::Documents);
                self.shared.effects.push_back(Effect::Reply { id: command, result });
            }
            E::Parted { actor } if actor == self.actor => {
                self.mint(now, "a document has two branches of what was written under our name");
                self.tell(Event::Documents(event));
            }
            E::Reread { log, seq } => self.shared.step(now, |cx| self.replication.reread(cx, log, seq)),
            event @ (E::Changed { .. } | E::Refused { .. } | E::Parted { .. }) => self.tell(Event::Documents(event)),
        }
    }
}

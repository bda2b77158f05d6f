//! The wiring diagram of the system: who hears what. No protocol, no policy.

use super::edge::{Effect, Event};
use super::{CommandError, Node, Outcome};
use crate::probe::planted;
use crate::topology::{Policy, graph};
use crate::types::{Hlc, LogId, NodeId, Now, Seq, Topic};
use crate::{audit, consensus, documents, events, membership, overlay, replication};

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
            if std::mem::take(&mut self.voters.changed) {
                self.mind_voters(now);
                continue;
            }
            // Neighbourhoods are computed over all members: once for all that one input brought.
            if std::mem::take(&mut self.members_changed) {
                self.shared.step(now, |cx| self.overlay.on_membership(cx, self.membership.view()));
            } else if !std::mem::take(&mut self.replicas_changed) {
                return;
            }
            self.tell_members(now);
        }
    }

    /// Who is a replica: every member, or in a large mesh the neighbours, of whom alone anything is known then.
    fn tell_members(&mut self, now: Now) {
        let (view, overlay) = (self.membership.view(), self.overlay.view());
        let present = view.present_len();
        let direct = matches!(overlay.policy(), Policy::Mesh { degree } if graph::is_full(present, degree));
        let is_near = |id: &NodeId| *id == self.identity.node || overlay.neighbors().contains(id);
        let lives: Vec<_> = if present > replication::REPLICAS_MAX {
            overlay.neighbors().iter().chain([&self.identity.node]).filter_map(|id| view.member(*id)).collect()
        } else {
            view.members().filter(|member| member.state != membership::State::Left || is_near(&member.id)).collect()
        };
        let lives = lives.into_iter().map(|member| (member.id, member.boot, member.is_present()));
        self.shared.step(now, |cx| self.replication.on_members(cx, lives, direct));
    }

    fn deliver(&mut self, now: Now, event: Event) {
        match event {
            Event::Membership(event) => self.on_membership_event(now, event),
            Event::Overlay(event) => self.on_overlay_event(now, event),
            Event::Replication(event) => self.on_replication_event(now, event),
            Event::Documents(event) => self.on_documents_event(now, event),
            Event::Events(event) => self.on_events_event(now, event),
            Event::Audit(event) => self.on_audit_event(now, event),
            Event::Consensus(event) => self.on_consensus_event(now, event),
            Event::Roles(event) => self.on_roles_event(now, event),
            // The node's own: told, heard by no machine.
            event @ (Event::BadFrame { .. }
            | Event::ReadOnly { .. }
            | Event::Writable
            | Event::DiskStalls { .. }
            | Event::DiskAnswers
            | Event::SnapshotTaken { .. }
            | Event::SnapshotFailed { .. }
            | Event::SnapshotRefused { .. }
            | Event::Minted { .. }) => self.tell(event),
        }
    }

    fn tell(&mut self, event: Event) {
        self.shared.effects.push_back(Effect::Notify(event));
    }

    fn on_membership_event(&mut self, now: Now, event: membership::Event) {
        use membership::Event as E;
        match &event {
            E::Joined { .. } | E::Died { .. } | E::Left { .. } | E::Updated { .. } => {
                self.members_changed = true;
                self.voters.changed = true;
            }
            E::Seek { member, addresses } => {
                self.shared.effects.push_back(Effect::Dial { peer: *member, addresses: addresses.clone() });
            }
            // The overlay may want the same link by now.
            E::Release { member } if self.overlay.view().computed().contains(member) => {}
            E::Release { member } => {
                let why = "it was made to probe a member, and is needed no more".into();
                self.shared.effects.push_back(Effect::Close { peer: *member, why });
            }
            // A suspect is still present, our own incarnation changes no neighbourhood, a faulty message was ignored.
            E::Suspected { member, .. } => {
                self.shared.step(now, |cx| self.consensus.on_suspected(cx, *member));
                self.serve(now, |machine, cx, sight| machine.on_suspected(cx, sight, *member));
            }
            E::Refuted { .. } | E::Defended { .. } | E::PeerFault { .. } => {}
        }
        self.tell(Event::Membership(event));
    }

    fn on_overlay_event(&mut self, now: Now, event: overlay::Event) {
        use overlay::Event as E;
        match event.clone() {
            E::NeighborUp { peer } => {
                self.shared.step(now, |cx| self.replication.on_neighbor_up(cx, peer));
                self.replicas_changed |= self.membership.view().present_len() > replication::REPLICAS_MAX;
            }
            E::NeighborDown { peer } => {
                self.shared.step(now, |cx| self.replication.on_neighbor_down(cx, peer));
                self.replicas_changed |= self.membership.view().present_len() > replication::REPLICAS_MAX;
            }
            E::Dial { peer, addresses } => self.shared.effects.push_back(Effect::Dial { peer, addresses }),
            E::PolicyTold { peer, policy } => {
                self.shared.effects.push_back(Effect::KeepPolicy { from: peer, policy });
            }
            // Whether neighbours speak for others depends on it.
            E::PolicyInForce { .. } => self.replicas_changed = true,
        }
        self.tell(Event::Overlay(event));
    }

    fn on_replication_event(&mut self, now: Now, event: replication::Event) {
        use replication::Event as E;
        match event.clone() {
            E::Originated { token, log, seq, hlc, .. } if log.topic == Topic::EVENTS => {
                let stamp = self.stamp(log, seq, hlc).expect("it has just become durable");
                self.shared.step(now, |cx| self.events.on_originated(cx, events::Token(token), stamp));
            }
            E::Originated { token, log, seq, hlc, .. } => {
                let stamp = documents::Stamp { log, seq, hlc };
                self.shared.step(now, |cx| self.documents.on_originated(cx, documents::Token(token), stamp));
            }
            E::OriginateFailed { topic: Topic::EVENTS, token, fault } => {
                self.shared.step(now, |cx| self.events.on_originate_failed(cx, events::Token(token), &fault));
            }
            E::OriginateFailed { token, fault, .. } => {
                self.shared.step(now, |cx| self.documents.on_originate_failed(cx, documents::Token(token), fault));
            }
            E::Delivered { log, seq, hlc, body } if log.topic == Topic::EVENTS => {
                if let Some(stamp) = self.stamp(log, seq, hlc) {
                    self.shared.step(now, |cx| self.events.on_delivered(cx, stamp, body));
                }
            }
            E::Delivered { log, seq, body, .. } => {
                self.shared.step(now, |cx| self.documents.on_delivered(cx, log, seq, body));
            }
            E::Again { log, seq, body } => {
                return self.shared.step(now, |cx| self.documents.on_delivered(cx, log, seq, body));
            }
            E::Unreadable { log, seq, .. } => self.shared.step(now, |cx| self.documents.on_unread(cx, log, seq)),
            E::RolledBack { log, held, theirs }
                if log.actor == self.actor && !planted!("node/actor-kept-after-rollback") =>
            {
                self.mint(now, &format!("a neighbour holds our log up to {theirs}, we hold it up to {held}"));
                self.lose_vote(now);
            }
            E::Forked { log, seq, .. } if log.actor == self.actor => {
                self.mint(now, &format!("a neighbour holds another entry {seq} of our log"));
                self.lose_vote(now);
            }
            E::GaveWay { log, from, .. } if log.topic == Topic::EVENTS => self.events.give_way(log, from),
            E::Skipped { .. } if planted!("node/gap-untold") => {}
            E::Skipped { log, after, upto } => self.events.skip(log, after, upto),
            E::Trimmed { first } => self.shared.remove_before(first),
            E::Copied { token, members } => self.on_copies(token, members, true),
            E::NotCopied { token, members } => self.on_copies(token, members, false),
            E::Paused { token, peer, paused } => self.on_paused(token, Ok(replication::Pause { peer, paused })),
            E::PauseFailed { token, fault } => self.on_paused(token, Err(fault)),
            E::GaveWay { log, from, .. } => {
                self.shared.step(now, |cx| self.documents.give_way(cx, log, from));
                self.redo_snapshot(now);
            }
            E::Recalled { log, seq, result } => {
                // Between the two of them: what it says was told when it was delivered.
                return self.shared.step(now, |cx| self.documents.on_recalled(cx, log, seq, result));
            }
            // Somebody else's trouble, or an actor that we no longer are: reported, nothing to wire.
            E::RolledBack { .. }
            | E::Forked { .. }
            | E::Unsettled { .. }
            | E::Drifted { .. }
            | E::Lagging { .. }
            | E::CaughtUp { .. }
            | E::PausedBy { .. }
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
                self.answer(now, command, result);
            }
            E::Parted { actor } if actor == self.actor => {
                self.mint(now, "a document has two branches of what was written under our name");
                self.tell(Event::Documents(event));
            }
            E::Reread { log, seq } if self.replication.view().position(log, seq).is_none() => {
                self.shared.step(now, |cx| self.documents.on_unread(cx, log, seq));
            }
            E::Reread { log, seq } => self.shared.step(now, |cx| self.replication.reread(cx, log, seq)),
            E::Recall { log, seq } => self.shared.step(now, |cx| self.replication.recall(cx, log, seq)),
            event @ (E::Changed { .. } | E::Refused { .. } | E::Parted { .. }) => self.tell(Event::Documents(event)),
        }
    }

    fn on_audit_event(&mut self, now: Now, event: audit::Event) {
        if let audit::Event::Differs { docs, missing, .. } = &event
            && !planted!("node/finding-not-mended")
        {
            let all = self.replication.view().vector();
            let logs = all.iter().filter(|(log, _)| log.topic == Topic::DOCUMENTS).collect();
            self.shared.step(now, |cx| self.documents.rebuild(cx, docs, missing, logs));
        }
        self.tell(Event::Audit(event));
    }

    fn on_consensus_event(&mut self, now: Now, event: consensus::Event) {
        use consensus::Event as E;
        match &event {
            // What it holds is of the past, as a majority says: under a new name it may be added again.
            E::NoMember { .. } => self.shared.step(now, |cx| self.consensus.leave_group(cx)),
            E::NewerEpoch { .. } => self.shared.step(now, |cx| self.consensus.withdraw(cx)),
            E::Asked { request, result } => self.on_asked(*request, result.clone()),
            E::Met { id } => self.voters.met(*id),
            E::Reborn { member, mint } => self.voters.reborn(*member, *mint),
            E::Elected { .. }
            | E::Resigned { .. }
            | E::Changed { .. }
            | E::ChangeEnded { .. }
            | E::Installed { .. } => {
                self.voters.changed = true;
                self.want_voters(now);
            }
            _ => {}
        }
        if matches!(event, E::Committed { .. } | E::Installed { .. }) {
            self.mind_policies(now);
            self.mind_wishes();
        }
        self.tell_roles(now, &event);
        self.tell(Event::Consensus(event));
    }

    /// An entry of a stream with its place on the disk, if it is held still.
    fn stamp(&self, log: LogId, seq: Seq, hlc: Hlc) -> Option<events::Stamp> {
        let position = self.replication.view().position(log, seq)?;
        Some(events::Stamp { log, seq, hlc, position })
    }

    fn on_events_event(&mut self, now: Now, event: events::Event) {
        use events::Event as E;
        match event {
            E::Originate { token, body } => {
                self.shared.step(now, |cx| self.replication.originate(cx, Topic::EVENTS, body, token.0));
            }
            E::Replied { command, result } => {
                let result = result.map(Outcome::Events).map_err(CommandError::Events);
                self.answer(now, command, result);
            }
            E::Expired { before } => {
                if let Some(next) = self.shared.trim_point(before) {
                    self.shared.step(now, |cx| self.replication.trim(cx, before, next));
                }
                self.tell(Event::Events(event));
            }
            event @ (E::Appended { .. } | E::Refused { .. }) => self.tell(Event::Events(event)),
        }
    }
}

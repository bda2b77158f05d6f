//! Whom this node holds for a neighbour, and tells so: computed neighbours, stand-ins for those that cannot be reached, and for a
//! while those that were computed before.
//!
//! **Stand-ins.** A death takes seconds to be certain, and some pairs never can be linked. Whoever misses a neighbour for longer
//! than [`Config::patience`](super::Config::patience) holds those who would be its neighbours if that one were gone
//! ([`graph::stand_ins`]). One that cannot be reached either counts as missing too, so the next ones are tried.
//!
//! **Former neighbours.** Not all compute a change at the same moment. Who is dropped is held a little longer
//! ([`Config::linger`](super::Config::linger)), and who is new is told at once: edges are made before others are broken.
//!
//! **Bounds:** a peer has one wish for each link, and an edge too many costs duplicates, which are pruned. All members are looked
//! at when a neighbour is missing, at most twice within the patience.

use std::collections::BTreeSet;

use super::{Event, Overlay, Timer};
use crate::machine::Cx;
use crate::probe::{planted, reachable, sometimes};
use crate::topology::graph::{self, Seat};
use crate::types::{NodeId, Time};

impl Overlay {
    /// These are the neighbours from now on.
    pub(super) fn hold_computed(&mut self, cx: &mut Cx<'_, Self>, computed: BTreeSet<NodeId>) {
        let before = std::mem::replace(&mut self.computed, computed);
        let until = cx.now().mono + self.config.linger;
        for peer in before.difference(&self.computed).filter(|peer| self.links.contains(peer)) {
            self.former.insert(*peer, until);
            reachable!("overlay/former-neighbour-lingers");
        }
    }

    /// A link came up.
    pub(super) fn on_reached(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        if self.missing.remove(&peer).is_some() {
            self.look_within(cx);
        }
    }

    /// A link is gone.
    pub(super) fn on_missed(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        self.told.remove(&peer);
        self.unheard.remove(&peer);
        self.heard.remove(&peer);
        if !planted!("overlay/unlinked-stay-neighbours") {
            self.held_by.remove(&peer);
        }
        self.former.remove(&peer);
        if self.computed.contains(&peer) || self.stand_ins.contains(&peer) {
            self.missing.insert(peer, cx.now().mono);
            self.look_within(cx);
        }
    }

    /// Something may have to be done about it, within the patience.
    fn look_within(&mut self, cx: &mut Cx<'_, Self>) {
        self.look_at(cx, cx.now().mono + self.config.patience);
    }

    fn look_at(&mut self, cx: &mut Cx<'_, Self>, at: Time) {
        if self.looks_at.is_none_or(|before| at < before) {
            self.looks_at = Some(at);
            cx.arm(Timer::Look, at.since(cx.now().mono));
        }
    }

    /// Lets former neighbours go, and chooses who stands in for whoever is missing by now.
    pub(super) fn review(&mut self, cx: &mut Cx<'_, Self>, seats: &[Seat<'_>]) {
        let (now, patience) = (cx.now().mono, self.config.patience);
        let lingers = planted!("overlay/former-linger-for-ever");
        self.former.retain(|peer, until| (*until > now || lingers) && !self.computed.contains(peer));
        self.note_missing(now, seats);
        let overdue = self.missing.iter().filter(|(_, since)| now.since(**since) >= patience);
        let overdue: BTreeSet<NodeId> = overdue.map(|(peer, _)| *peer).collect();
        sometimes!(!overdue.is_empty(), "overlay/neighbour-missed-for-long");
        self.stand_ins = if overdue.is_empty() {
            BTreeSet::new()
        } else {
            graph::stand_ins(seats, self.policy, self.me, &overdue).difference(&self.computed).copied().collect()
        };
        for peer in self.stand_ins.difference(&self.links) {
            self.missing.entry(*peer).or_insert(now);
        }
        let overdue_at = self.missing.values().map(|since| *since + patience).filter(|at| *at > now);
        if let Some(at) = overdue_at.chain(self.former.values().copied()).min() {
            self.look_at(cx, at);
        }
    }

    /// Who is computed and not linked is missing; so is whoever should have stood in, as long as somebody is.
    fn note_missing(&mut self, now: Time, seats: &[Seat<'_>]) {
        if self.computed.is_subset(&self.links) {
            return self.missing.clear();
        }
        if !self.missing.is_empty() {
            let present: BTreeSet<NodeId> = seats.iter().map(|seat| seat.id).collect();
            self.missing.retain(|peer, _| present.contains(peer));
        }
        for peer in self.computed.difference(&self.links) {
            self.missing.entry(*peer).or_insert(now);
        }
    }

    /// Tells others whom we hold, and our siblings who came up and who went down, since the last time.
    pub(super) fn tell(&mut self, cx: &mut Cx<'_, Self>) {
        let held = self.computed.iter().chain(&self.stand_ins).chain(self.former.keys());
        let mut held: Vec<NodeId> = held.filter(|peer| self.links.contains(peer)).copied().collect();
        held.sort_unstable();
        held.dedup();
        if self.is_told(&held) {
            sometimes!(self.up.len() > held.len(), "overlay/held-by-the-other-side-alone");
            return;
        }
        let held: BTreeSet<NodeId> = held.into_iter().collect();
        let told = std::mem::replace(&mut self.told, held.clone());
        for peer in held.difference(&told) {
            self.say(cx, *peer, true);
        }
        for peer in told.difference(&held).filter(|_| !planted!("overlay/release-untold")) {
            self.say(cx, *peer, false);
        }
        let up: BTreeSet<NodeId> = held.union(&self.held_by).copied().collect();
        sometimes!(up.len() > held.len(), "overlay/held-by-the-other-side-alone");
        for peer in self.up.difference(&up) {
            cx.emit(Event::NeighborDown { peer: *peer });
        }
        for peer in up.difference(&self.up) {
            cx.emit(Event::NeighborUp { peer: *peer });
        }
        self.up = up;
    }

    /// Whether these are held and were told so, and our siblings are who they were: so it is after most changes of links and members.
    fn is_told(&self, held: &[NodeId]) -> bool {
        let is_up = |peer: &NodeId| self.up.contains(peer);
        held.iter().eq(&self.told)
            && held.iter().chain(&self.held_by).all(is_up)
            && self.up.iter().all(|peer| self.held_by.contains(peer) || held.binary_search(peer).is_ok())
    }
}

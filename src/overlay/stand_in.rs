//! Stand-ins: what is done about neighbours that cannot be reached while the membership still counts them in.
//!
//! A death takes seconds to be certain, and some pairs never can be linked. Whoever misses a neighbour for longer than
//! [`Config::patience`](super::Config::patience) asks those who would be its neighbours if that one were gone
//! ([`graph::stand_ins`]). They oblige: an edge too many costs duplicates, which are pruned. A stand-in that cannot be reached
//! counts as missing too, so the next ones are asked.
//!
//! **Bounds:** one wish for each link; each looks at all members, at most twice within the patience.

use std::collections::BTreeSet;

use super::{Message, Overlay, Timer};
use crate::machine::Cx;
use crate::topology::graph::{self, Seat};
use crate::types::NodeId;

impl Overlay {
    /// A peer says whether it needs us.
    pub(super) fn on_wish(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, message: Message) {
        match message {
            Message::StandIn if self.links.contains(&from) => _ = self.asked_by.insert(from),
            Message::StandIn => {}
            Message::StandDown => _ = self.asked_by.remove(&from),
        }
        self.tell(cx);
    }

    /// A link came up.
    pub(super) fn on_reached(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        if self.stand_ins.contains(&peer) {
            self.ask(cx, peer);
        }
        if self.missing.remove(&peer).is_some() {
            self.look_later(cx);
        }
    }

    /// A link is gone.
    pub(super) fn on_missed(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        self.asked.remove(&peer);
        self.asked_by.remove(&peer);
        if self.computed.contains(&peer) || self.stand_ins.contains(&peer) {
            self.missing.insert(peer, cx.now().mono);
            self.look_later(cx);
        }
    }

    fn look_later(&mut self, cx: &mut Cx<'_, Self>) {
        if !std::mem::replace(&mut self.looking, true) {
            cx.arm(Timer::Missing, self.config.patience);
        }
    }

    /// Chooses who stands in for whoever is missing by now.
    pub(super) fn find_stand_ins(&mut self, cx: &mut Cx<'_, Self>, seats: &[Seat<'_>]) {
        let (now, patience) = (cx.now().mono, self.config.patience);
        if self.computed.is_subset(&self.links) {
            self.missing.clear();
        }
        let present: BTreeSet<NodeId> =
            if self.missing.is_empty() { BTreeSet::new() } else { seats.iter().map(|seat| seat.id).collect() };
        self.missing.retain(|peer, _| present.contains(peer));
        for peer in self.computed.difference(&self.links) {
            self.missing.entry(*peer).or_insert(now);
        }
        let overdue = self.missing.iter().filter(|(_, since)| now.since(**since) >= patience);
        let overdue: BTreeSet<NodeId> = overdue.map(|(peer, _)| *peer).collect();
        let mut found = BTreeSet::new();
        if !overdue.is_empty() {
            found = graph::stand_ins(seats, self.policy, self.me, &overdue);
            found.retain(|peer| !self.computed.contains(peer));
        }
        self.stand_ins = found;
        for peer in self.stand_ins.clone() {
            if self.links.contains(&peer) {
                self.ask(cx, peer);
            } else {
                self.missing.entry(peer).or_insert(now);
            }
        }
        let needed = |peer: &NodeId| self.stand_ins.contains(peer) || self.computed.contains(peer);
        let spare: Vec<NodeId> = self.asked.iter().copied().filter(|peer| !needed(peer)).collect();
        for peer in spare {
            self.asked.remove(&peer);
            cx.send(peer, Message::StandDown);
        }
        let first = self.missing.values().filter(|since| now.since(**since) < patience).min();
        if let Some(since) = first {
            self.looking = true;
            cx.arm(Timer::Missing, patience.saturating_sub(now.since(*since)));
        }
    }

    fn ask(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        if self.asked.insert(peer) {
            cx.send(peer, Message::StandIn);
        }
    }
}

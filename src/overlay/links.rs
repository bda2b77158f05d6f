//! The links that are wanted: who dials, when again, and who knocks at the dead.

use std::collections::BTreeSet;
use std::collections::btree_map::Entry;
use std::time::Duration;

use super::{Event, Overlay, Timer};
use crate::machine::Cx;
use crate::membership::{Member, State};
use crate::probe::reachable;
use crate::topology::graph::{self, Seat};
use crate::types::NodeId;

impl Overlay {
    /// Asks for the links that are wanted now, and for no others.
    pub(super) fn want(&mut self, cx: &mut Cx<'_, Self>, members: &[&Member], seats: &[Seat<'_>]) {
        let wanted = self.wants(seats);
        let given_up: Vec<NodeId> = self.wanted.keys().filter(|peer| !wanted.contains(peer)).copied().collect();
        for peer in given_up {
            self.wanted.remove(&peer);
            cx.disarm(Timer::Dial(peer));
            cx.disarm(Timer::Settled(peer));
        }
        for member in members.iter().filter(|member| wanted.contains(&member.id)) {
            if let Entry::Vacant(new) = self.wanted.entry(member.id) {
                new.insert(0);
                self.seek(cx, member.id, Some(member));
            }
        }
    }

    /// To whom links are wanted: everybody while there are few, else the neighbours, those who stand in for one, and in a star
    /// or tree those who would if the hub or parent were gone.
    fn wants(&self, seats: &[Seat<'_>]) -> BTreeSet<NodeId> {
        let mut wanted: BTreeSet<NodeId> = if seats.len() <= self.config.links_max + 1 {
            seats.iter().map(|seat| seat.id).collect()
        } else {
            let above = graph::above(seats, self.policy, self.me);
            let next = above.map(|above| graph::stand_ins(seats, self.policy, self.me, &BTreeSet::from([above])));
            self.computed
                .iter()
                .chain(&self.stand_ins)
                .chain(&self.also)
                .copied()
                .chain(next.into_iter().flatten())
                .collect()
        };
        wanted.remove(&self.me);
        wanted
    }

    /// Begins to make a wanted link: at once if nothing failed lately and the dial is ours to make.
    pub(super) fn seek(&self, cx: &mut Cx<'_, Self>, peer: NodeId, member: Option<&Member>) {
        if self.links.contains(&peer) {
            return;
        }
        match self.wanted.get(&peer) {
            None => {}
            Some(0) if self.me < peer => self.dial(cx, peer, member),
            Some(0) => cx.arm(Timer::Dial(peer), self.config.courtesy),
            Some(_) => self.back_off(cx, peer),
        }
    }

    pub(super) fn back_off(&self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        reachable!("overlay/dial-backs-off");
        let failures = self.wanted.get(&peer).copied().unwrap_or_default();
        let doubled = self.config.backoff.saturating_mul(1 << failures.saturating_sub(1).min(20));
        let wait = below(cx, doubled.min(self.config.backoff_max));
        cx.arm(Timer::Dial(peer), wait);
    }

    /// Asks for a link, unless it was made or given up meanwhile.
    pub(super) fn dial(&self, cx: &mut Cx<'_, Self>, peer: NodeId, member: Option<&Member>) {
        let Some(member) = member else { return };
        if self.wanted.contains_key(&peer) && !self.links.contains(&peer) {
            cx.emit(Event::Dial { peer, addresses: member.meta.addresses.clone() });
        }
    }

    pub(super) fn settle(&mut self, peer: NodeId) {
        if let Some(failures) = self.wanted.get_mut(&peer) {
            *failures = 0;
        }
    }

    fn is_lost(&self, member: &Member) -> bool {
        member.state == State::Dead && !self.links.contains(&member.id) && member.id != self.me
    }

    /// Begins to try the dead, if any are there.
    pub(super) fn mind_the_dead(&mut self, cx: &mut Cx<'_, Self>, members: &[&Member]) {
        if !self.knocking && members.iter().any(|member| self.is_lost(member)) {
            self.knock_later(cx);
        }
    }

    /// Tries the dead again, a bounded number of them.
    pub(super) fn knock(&mut self, cx: &mut Cx<'_, Self>, members: &[&Member]) {
        self.knocking = false;
        let mut lost: Vec<&Member> = members.iter().copied().filter(|member| self.is_lost(member)).collect();
        if lost.is_empty() {
            return;
        }
        reachable!("overlay/dead-are-knocked-at");
        cx.rng().shuffle(&mut lost);
        for member in lost.into_iter().take(self.config.redial_dead_max) {
            cx.emit(Event::Dial { peer: member.id, addresses: member.meta.addresses.clone() });
        }
        self.knock_later(cx);
    }

    fn knock_later(&mut self, cx: &mut Cx<'_, Self>) {
        self.knocking = true;
        let jitter = below(cx, self.config.redial_dead / 2);
        cx.arm(Timer::Dead, self.config.redial_dead * 3 / 4 + jitter);
    }
}

/// A uniform duration below `bound`.
fn below(cx: &mut Cx<'_, Overlay>, bound: Duration) -> Duration {
    Duration::from_nanos(cx.rng().below(u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX)))
}

//! Links: what is remembered of each, and those that this room asks for itself. The overlay makes links for data; where it
//! makes few, the others are reached by links made for a probe and closed again, the least recent first.

use super::message::Message;
use super::table::Slot;
use super::{Event, Membership, State, Timer};
use crate::machine::Cx;
use crate::types::{Boot, Incarnation, NodeId, Time};

/// A link that its peer wants to close is no loss if it ends within so many periods.
const PARTING_PERIODS: u32 = 3;

/// What is remembered of a link.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Link {
    /// When we last sent all that we know, and when we last asked for that.
    pub(super) told_at: Option<Time>,
    pub(super) asked_at: Option<Time>,
    /// When we last wrote out of turn.
    pub(super) prodded_at: Option<Time>,
    /// When we last answered an accusation of us, and as what.
    pub(super) answered: Option<(Time, (Boot, Incarnation))>,
    /// Up to which news it was told, where links are few.
    pub(super) told_to: u64,
    /// Until when its end says nothing of the peer: one of us has announced it.
    parting_until: Option<Time>,
}

impl Membership {
    pub(super) fn is_linked(&self, peer: NodeId) -> bool {
        self.links.contains_key(&peer)
    }

    /// A link to an admitted peer is up.
    pub fn on_linked(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        if peer == self.me || self.is_linked(peer) {
            return;
        }
        let now = cx.now().mono;
        let first = self.links.is_empty();
        self.links.insert(peer, Link::default());
        self.heard_at = now;
        if self.sought.remove(&peer) {
            self.pool.push_back(peer);
        }
        self.end_isolation(cx);
        let slot = self.table.slot(peer);
        let claim = slot.map(|slot| {
            self.table.amend(slot, now, cx.rng(), |entry| {
                (entry.linked, entry.lost, entry.met) = (true, false, true);
                entry.claim
            })
        });
        if self.leaving {
            return;
        }
        // Peers that agree need no more than their digests; but who has been without links may have missed anything, and so
        // have both ends of one that was cut.
        match claim {
            _ if self.is_new() => self.ask_all(cx, peer),
            None => self.ask_who(cx, peer),
            Some(State::Alive) if !first => {}
            Some(State::Suspect) if !first => self.introduce(cx, peer),
            Some(_) => {
                self.introduce(cx, peer);
                self.reconcile(cx, peer);
            }
        }
        if let Some(slot) = slot {
            self.reached(cx, slot);
        }
        self.arm_gossip(cx);
        self.arm_reconnect(cx);
    }

    /// The link is gone: a hint to probe that member soon, never a death.
    pub fn on_unlinked(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        let Some(link) = self.links.remove(&peer) else { return };
        self.pool.retain(|pooled| *pooled != peer);
        let now = cx.now().mono;
        if self.links.is_empty() {
            self.isolated = true;
            self.unlinked_at = now;
        }
        let parted = link.parting_until.is_some_and(|until| now <= until);
        if let Some(slot) = self.table.slot(peer) {
            self.table.amend(slot, now, cx.rng(), |entry| (entry.linked, entry.lost) = (false, !parted));
            if parted {
                self.begin_anew(slot);
            } else {
                self.doubt_link(cx, slot);
            }
        }
    }

    /// A wanted link could not be made. The member then counts as not answering even in a mesh too large for links to all;
    /// but not if we alone wanted it and it never had one: whoever is behind a NAT dials, and cannot be dialled.
    pub fn on_dial_failed(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        let ours = self.sought.remove(&peer);
        let Some(slot) = self.table.slot(peer) else { return };
        let entry = self.table.entry(slot);
        if entry.linked {
            return;
        }
        let evidence = !ours || entry.met || entry.claim == State::Suspect;
        if evidence && !entry.lost {
            self.table.amend(slot, cx.now().mono, cx.rng(), |entry| entry.lost = true);
            self.doubt_link(cx, slot);
        }
        self.not_reached(cx, slot);
    }

    fn doubt_link(&mut self, cx: &mut Cx<'_, Self>, slot: Slot) {
        if !self.leaving && slot != Slot::ME && self.table.entry(slot).claim == State::Alive {
            self.probe_soon(cx, slot);
        }
    }

    /// Asks for a link of our own to this member; gives up the one that was asked for longest ago if there are too many.
    pub(super) fn seek(&mut self, cx: &mut Cx<'_, Self>, slot: Slot) {
        let member = &self.table.entry(slot).member;
        let (member, addresses) = (member.id, member.meta.addresses.clone());
        if self.leaving || self.is_linked(member) {
            return;
        }
        while self.sought.len() >= self.config.pool_max {
            // A dial that was not answered for so long never will be.
            self.sought.pop_first();
        }
        self.sought.insert(member);
        while self.pool.len() >= self.config.pool_max
            && let Some(oldest) = self.pool.pop_front()
        {
            self.part(cx, oldest);
        }
        cx.emit(Event::Seek { member, addresses });
    }

    /// Announces the end of a link, so that it is no cause for worry, and ends it a period later.
    fn part(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        let until = cx.now().mono + self.config.probe_period * PARTING_PERIODS;
        if let Some(link) = self.links.get_mut(&peer) {
            link.parting_until = Some(until);
            cx.send(peer, Message::Parting);
            cx.arm(Timer::Part(peer), self.config.probe_period);
        }
    }

    pub(super) fn on_part_due(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        if self.is_linked(peer) && !self.pool.contains(&peer) {
            cx.emit(Event::Release { member: peer });
        }
    }

    pub(super) fn on_parting(&mut self, cx: &mut Cx<'_, Self>, from: NodeId) {
        let until = cx.now().mono + self.config.probe_period * PARTING_PERIODS;
        if let Some(link) = self.links.get_mut(&from) {
            link.parting_until = Some(until);
        }
    }

    /// Whether this peer may be written to out of turn now; if so, not again within a period.
    pub(super) fn may_prod(&mut self, now: Time, peer: NodeId) -> bool {
        let period = self.config.probe_period;
        self.links.get_mut(&peer).is_some_and(|link| {
            let may = link.prodded_at.is_none_or(|at| now.since(at) >= period);
            if may {
                link.prodded_at = Some(now);
            }
            may
        })
    }
}

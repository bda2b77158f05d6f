//! What a member is believed of others. One that is broken or lies must not be able to bury the living or raise the dead, and
//! no word of a third party is signed. So what somebody says of another moves this node as far as it can check, no further:
//!
//! - *Dead* is an accusation that is as sure as can be: the subject has the shortest suspicion's time to refute it, and is
//!   asked once more before it ends.
//! - *Left*, of a member that is linked with us, is asked of that member.
//! - *Alive* after all, of a suspect, is believed some times; then it has to speak for itself, so that nobody keeps a member
//!   that crashed among the living.
//! - *Alive* again after it was dead or had left: where everybody is linked with everybody, a link to it is sought, and only
//!   its own word brings it back. Where links are few, word of mouth has to do.
//!
//! A member speaks for itself over its own link, which the transport authenticates.

use std::borrow::Cow;

use super::message::Update;
use super::table::Slot;
use super::{Event, Membership, State, Timer};
use crate::machine::Cx;
use crate::types::{Address, NodeId, Time};

/// Others may refute so many suspicions of a member before it has to do so itself.
const SPOKEN_FOR_MAX: u8 = 3;

/// How far an update is believed.
pub(super) enum Belief<'a> {
    /// This much; and whether it makes a suspicion sure.
    Is(Cow<'a, Update>, bool),
    /// Not before its subject has said so.
    Ask,
}

impl Membership {
    /// How far to believe `from` in what it says of the member in this slot.
    pub(super) fn weigh<'a>(&self, from: NodeId, slot: Slot, update: &'a Update) -> Belief<'a> {
        let entry = self.table.entry(slot);
        let as_said = Belief::Is(Cow::Borrowed(update), false);
        if from == self.me || (from == update.id && update.state != State::Dead) {
            return as_said;
        }
        let raised = (update.boot, update.incarnation) > (entry.member.boot, entry.member.incarnation);
        let can_ask = entry.linked || !self.is_sparse();
        if raised && entry.claim == State::Suspect && entry.spoken_for >= SPOKEN_FOR_MAX && can_ask {
            return Belief::Ask;
        }
        match (entry.is_present(), update.state) {
            (true, State::Dead) => {
                let mut accusers = update.accusers.clone();
                if accusers.as_slice().is_empty() {
                    accusers.add(from);
                }
                Belief::Is(Cow::Owned(Update { state: State::Suspect, accusers, age_s: 0, ..update.clone() }), true)
            }
            (true, State::Left) if entry.linked => Belief::Ask,
            (false, State::Alive | State::Suspect) if can_ask => Belief::Ask,
            _ => as_said,
        }
    }

    /// Has the member in this slot speak for itself: over its link, or over one that is made for it. Of two that hear of each
    /// other again, the lower id dials at once, the other if that does not help.
    pub(super) fn ask(&mut self, cx: &mut Cx<'_, Self>, slot: Slot, update: &Update) {
        let now = cx.now().mono;
        if self.table.entry(slot).linked {
            if self.may_prod(now, update.id) {
                self.nudge(cx, slot);
            }
            return;
        }
        let fresh = |sighting: &Sighting| now.since(sighting.at) < self.config.reconnect_period;
        if self.leaving || self.sightings.get(&slot).is_some_and(fresh) || self.sightings.len() >= SIGHTINGS_MAX {
            return;
        }
        let described =
            update.meta.as_ref().map_or_else(|| &self.table.entry(slot).member.meta, |described| &described.meta);
        let addresses = described.addresses.clone();
        let later = if self.me < update.id {
            cx.emit(Event::Seek { member: update.id, addresses });
            None
        } else {
            Some(addresses)
        };
        self.sightings.insert(slot, Sighting { at: now, later });
        if self.sightings.len() == 1 {
            cx.arm(Timer::Sighting, self.config.gossip_period * 2);
        }
    }

    pub(super) fn on_sighting_due(&mut self, cx: &mut Cx<'_, Self>) {
        let (now, kept) = (cx.now().mono, self.config.reconnect_period);
        for (slot, sighting) in &mut self.sightings {
            let entry = self.table.entry(*slot);
            if let Some(addresses) = sighting.later.take()
                && !entry.is_present()
                && !entry.linked
            {
                cx.emit(Event::Seek { member: entry.member.id, addresses });
            }
        }
        self.sightings.retain(|_, sighting| now.since(sighting.at) < kept);
        if !self.sightings.is_empty() {
            cx.arm(Timer::Sighting, self.config.gossip_period * 2);
        }
    }
}

/// Most members that are sought at a time because somebody says that they are back.
const SIGHTINGS_MAX: usize = 1_024;

/// A member of which somebody says that it is back.
#[derive(Clone, Debug)]
pub(super) struct Sighting {
    at: Time,
    /// Where to dial it, if that is left to it at first.
    later: Option<Vec<Address>>,
}

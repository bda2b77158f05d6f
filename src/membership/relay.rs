//! Probes made for others (SWIM, section 3.1): the helper pings, vouches for who answers, and says in time that nothing has
//! come yet (Lifeguard, section 4.1), so that its own silence means something.

use super::message::{Message, Reach};
use super::{Membership, Timer};
use crate::machine::Cx;
use crate::types::NodeId;

/// Most probes on behalf of others at a time.
const RELAYS_MAX: usize = 1_024;

/// A probe made for another member.
#[derive(Clone, Copy, Debug)]
pub(super) struct Relay {
    asker: NodeId,
    asked: u16,
    target: NodeId,
    nacked: bool,
}

impl Membership {
    /// Another member wants to know whether `target` is alive.
    pub(super) fn on_ping_req(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, probe: u16, target: NodeId) {
        if target == self.me {
            return cx.send(from, Message::Vouch { probe });
        }
        let slot = self.table.slot(target);
        let Some(slot) = slot.filter(|slot| self.table.entry(*slot).linked) else {
            let lost = slot.is_some_and(|slot| self.table.entry(slot).lost);
            let reach = if lost { Reach::Lost } else { Reach::Unlinked };
            return cx.send(from, Message::Nack { probe, reach });
        };
        // Who is this busy had better not answer: it then counts as missing.
        if self.relays.len() < RELAYS_MAX {
            let number = self.next_number();
            self.relays.insert(number, Relay { asker: from, asked: probe, target, nacked: false });
            self.ping(cx, slot, number);
            // Lifeguard: at 80 % of the timeout.
            cx.arm(Timer::Relay(number), self.timeout() / 5 * 4);
        }
    }

    /// Who was pinged for another has answered.
    pub(super) fn vouch(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, number: u16) {
        if let Some(relay) = self.relays.get(&number).copied()
            && relay.target == from
        {
            self.relays.remove(&number);
            cx.disarm(Timer::Relay(number));
            cx.send(relay.asker, Message::Vouch { probe: relay.asked });
        }
    }

    pub(super) fn on_relay_due(&mut self, cx: &mut Cx<'_, Self>, number: u16) {
        let Some(relay) = self.relays.get_mut(&number) else { return };
        if relay.nacked {
            self.relays.remove(&number);
        } else {
            relay.nacked = true;
            cx.send(relay.asker, Message::Nack { probe: relay.asked, reach: Reach::Silent });
            // A late ack is still passed on.
            cx.arm(Timer::Relay(number), self.config.probe_period);
        }
    }
}

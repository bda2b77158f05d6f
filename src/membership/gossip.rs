//! Infection-style dissemination: news ride on probes, and on a tick of their own while there are any.

use super::message::{Message, Update, Updates};
use super::table::{Entry, Slot};
use super::{Membership, State, Timer};
use crate::machine::Cx;
use crate::types::Time;

/// News are told lambda x ceil(log2(N + 1)) times by each who learns them (SWIM, section 4.1). 2 is close to memberlist's
/// 4 x ceil(log10(N + 1)): 14 instead of 12 at 100 members, 20 instead of 16 at 1,000.
const LAMBDA: u32 = 2;
/// Who has few links need not tell one neighbour the same thing ten times: so often for each link is enough, drawn at random.
const TELLINGS_A_LINK: u32 = 3;
/// Most bytes of news on a probe: small beside the transport's own packets.
const PIGGYBACK_MAX: usize = 1_024;
/// Most bytes of news in a message of their own: a join of 1,000 must not take minutes (memberlist#167).
const GOSSIP_MAX: usize = 4_096;
/// With more news than this at a time, which is a mass join or restart, hearing an item again counts as telling it: what
/// others tell us they also tell each other (the "feedback" of Demers et al., "Epidemic Algorithms for Replicated Database
/// Maintenance", PODC 1987, section 1.4). Nobody is left out: the digest on every probe finds what was missed.
const CROWD: usize = 64;

impl Membership {
    /// There is news of this member.
    pub(super) fn enqueue(&mut self, cx: &mut Cx<'_, Self>, slot: Slot) {
        self.queue.push(slot);
        self.arm_gossip(cx);
    }

    /// The tick runs while there is news and somebody to tell.
    pub(super) fn arm_gossip(&mut self, cx: &mut Cx<'_, Self>) {
        if !self.gossip_armed && !self.queue.is_empty() && !self.table.near.is_empty() {
            self.gossip_armed = true;
            cx.arm(Timer::Gossip, self.config.gossip_period);
        }
    }

    pub(super) fn on_gossip_due(&mut self, cx: &mut Cx<'_, Self>) {
        self.gossip_armed = false;
        for slot in self.table.near.sample(cx.rng(), self.config.gossip_fanout, |_| true) {
            let to = self.table.entry(slot).member.id;
            let gossip = self.news(cx.now().mono, Some(slot), GOSSIP_MAX);
            if !gossip.as_slice().is_empty() {
                cx.send(to, Message::Gossip { gossip });
            }
        }
        self.arm_gossip(cx);
    }

    /// What to put on a probe to this peer, if it is known.
    pub(super) fn piggyback(&mut self, now: Time, to: Option<Slot>) -> Updates {
        self.news(now, to, PIGGYBACK_MAX)
    }

    /// What to tell this peer: first the accusation if it is accused (Lifeguard's buddy system; the dead are told too),
    /// then what was told least often, as far as it fits.
    fn news(&mut self, now: Time, to: Option<Slot>, budget: usize) -> Updates {
        let accused = to.filter(|slot| self.table.entry(*slot).claim != State::Alive);
        // Who still talks to us after our goodbye has not heard it.
        let accused = if self.leaving { Some(Slot::ME) } else { accused };
        if accused.is_none() && self.queue.is_empty() {
            return Updates::default();
        }
        let mut left = budget;
        let mut chosen = Vec::new();
        for slot in accused.into_iter().chain(self.queue.iter().filter(|slot| Some(*slot) != accused)) {
            let entry = self.table.entry(slot);
            let cost = entry.cost(tells_meta(entry));
            if cost > left {
                break;
            }
            // Nobody needs to be told that it is alive.
            if Some(slot) != to || entry.claim != State::Alive {
                left -= cost;
                chosen.push(slot);
            }
        }
        let limit = self.tellings();
        let mut news = Vec::with_capacity(chosen.len());
        for slot in chosen {
            news.push(self.update(slot, now, tells_meta(self.table.entry(slot))));
            self.queue.told(slot, limit);
        }
        Updates(news)
    }

    /// How often each item is told.
    fn tellings(&self) -> u32 {
        let links = u32::try_from(self.table.near.len()).unwrap_or(u32::MAX).max(1);
        (LAMBDA * ceil_log2(self.table.present_len() + 1)).min(links.saturating_mul(TELLINGS_A_LINK))
    }

    /// Somebody tells what we know already.
    pub(super) fn heard_again(&mut self, slot: Slot) {
        if self.queue.len() > CROWD {
            self.queue.told(slot, self.tellings());
        }
    }

    /// What we say of a member.
    pub(super) fn update(&self, slot: Slot, now: Time, full: bool) -> Update {
        let entry = self.table.entry(slot);
        entry.update(now, full, self.kept(entry.claim))
    }
}

/// Accusations travel without the description: whoever knows the member has it.
fn tells_meta(entry: &Entry) -> bool {
    entry.claim == State::Alive
}

/// The logarithm to base 2, rounded up; 0 for 0 and 1.
pub(super) fn ceil_log2(n: usize) -> u32 {
    n.checked_next_power_of_two().map_or(usize::BITS, usize::trailing_zeros)
}

#[cfg(test)]
mod tests {
    use super::ceil_log2;

    #[test]
    fn logarithms_are_rounded_up() {
        assert_eq!([0, 1, 2, 3, 4, 5, 1_000, 1_024, 1_025].map(ceil_log2), [0, 0, 1, 2, 2, 3, 10, 10, 11]);
    }
}

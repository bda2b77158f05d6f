//! Infection-style dissemination: news ride on probes, and on a tick of their own while there are any.
//!
//! Where everybody is linked with everybody, each tells some others, drawn at random, a number of times that grows with the
//! logarithm of their number (SWIM, section 4.1). Where links are few, each item goes over each link once, but not back: a
//! member that can only be heard through us is told, and nobody is told ten times.

use super::evidence::{Source, Word};
use super::message::{Message, Update, Updates};
use super::table::{Entry, Slot};
use super::{Membership, State, Timer};
use crate::machine::Cx;
use crate::types::{Incarnation, NodeId, Time};

/// News are told lambda x ceil(log2(N + 1)) times by each who learns them (SWIM, section 4.1). 2 is close to memberlist's
/// 4 x ceil(log10(N + 1)): 14 instead of 12 at 100 members, 20 instead of 16 at 1,000.
const LAMBDA: u32 = 2;
/// Most bytes of news on a probe: small beside the transport's own packets.
const PIGGYBACK_MAX: usize = 1_024;
/// Most bytes of news in a message of their own: a join of 1,000 must not take minutes (memberlist#167).
const GOSSIP_MAX: usize = 4_096;
/// After a pause the first news are told after this part of a period: long enough to gather what comes together, short enough
/// to pass many hops.
const FIRST_PART: u32 = 8;

impl Membership {
    /// There is news of this member, told by `from`.
    pub(super) fn enqueue(&mut self, cx: &mut Cx<'_, Self>, slot: Slot, from: NodeId) {
        self.queue.push(slot, from);
        self.arm_gossip(cx);
    }

    /// The tick runs while there is news and somebody to tell.
    pub(super) fn arm_gossip(&mut self, cx: &mut Cx<'_, Self>) {
        if !self.gossip_armed && !self.queue.is_empty() && !self.table.near.is_empty() {
            self.gossip_armed = true;
            let period = self.config.gossip_period;
            let rest = period.saturating_sub(cx.now().mono.since(self.gossiped_at));
            cx.arm(Timer::Gossip, rest.max(period / FIRST_PART));
        }
    }

    pub(super) fn on_gossip_due(&mut self, cx: &mut Cx<'_, Self>) {
        self.gossip_armed = false;
        self.gossiped_at = cx.now().mono;
        if self.is_sparse() {
            // Who is dead is told so now and then, and what it has missed when it is back.
            let present = |slot: &Option<Slot>| slot.is_none_or(|slot| self.table.entry(slot).is_present());
            let peers = self.links.keys().map(|peer| (*peer, self.table.slot(*peer)));
            let peers: Vec<_> = peers.filter(|(_, slot)| present(slot)).collect();
            for (peer, slot) in &peers {
                self.gossip(cx, *peer, *slot);
            }
            let told_to = peers.iter().filter_map(|(peer, _)| self.links.get(peer)).map(|link| link.told_to);
            self.queue.told_all(told_to.min().unwrap_or_default());
        } else {
            for slot in self.table.near.sample(cx.rng(), self.config.gossip_fanout, |_| true) {
                self.gossip(cx, self.table.entry(slot).member.id, Some(slot));
            }
        }
        self.arm_gossip(cx);
    }

    fn gossip(&mut self, cx: &mut Cx<'_, Self>, to: NodeId, slot: Option<Slot>) {
        let gossip = self.news(cx.now().mono, to, slot, GOSSIP_MAX);
        if !gossip.as_slice().is_empty() {
            cx.send(to, Message::Gossip { gossip });
        }
    }

    /// Tells an accused peer so, at once and with nothing asked for in return.
    pub(super) fn tell_accused(&mut self, cx: &mut Cx<'_, Self>, id: NodeId) {
        if let Some(slot) = self.table.slot(id).filter(|slot| self.table.entry(*slot).linked) {
            let gossip = self.piggyback(cx.now().mono, id, Some(slot));
            if gossip != Updates::default() {
                cx.send(id, Message::Gossip { gossip });
            }
        }
    }

    /// What to put on a probe to this peer, which is in this slot if it is known.
    pub(super) fn piggyback(&mut self, now: Time, to: NodeId, slot: Option<Slot>) -> Updates {
        self.news(now, to, slot, PIGGYBACK_MAX)
    }

    /// What to tell this peer: first what it must hear, then the news, as far as they fit.
    ///
    /// It must hear that it is accused, if it is (Lifeguard's buddy system; the dead are told too), and that we are alive, if
    /// it has accused us or still talks to us after our goodbye.
    fn news(&mut self, now: Time, to: NodeId, slot: Option<Slot>, budget: usize) -> Updates {
        let answer = self.leaving || self.answer_to.take_if(|peer| *peer == to).is_some();
        let accused = slot.filter(|slot| self.table.entry(*slot).claim != State::Alive);
        let first = [answer.then_some(Slot::ME), accused];
        if first == [None; 2] && self.queue.is_empty() {
            return Updates::default();
        }
        let left = budget.saturating_sub(first.iter().flatten().map(|slot| self.cost(*slot)).sum());
        let chosen = if self.is_sparse() { self.next_of_all(to, left) } else { self.next_of_some(left) };
        // Nobody needs to be told that it is alive.
        let chosen = chosen.into_iter().map(Some).filter(|told| *told != slot && !first.contains(told));
        Updates(first.into_iter().chain(chosen).flatten().map(|slot| self.news_of(now, slot)).collect())
    }

    /// What was told least often.
    fn next_of_some(&mut self, mut left: usize) -> Vec<Slot> {
        let fits = |slot: &Slot| {
            let cost = self.cost(*slot);
            let fits = cost <= left;
            left = left.saturating_sub(cost);
            fits
        };
        let chosen: Vec<Slot> = self.queue.iter().take_while(fits).collect();
        let limit = self.tellings();
        for slot in &chosen {
            self.queue.told(*slot, limit);
        }
        chosen
    }

    /// How often news are told where everybody is linked with everybody.
    fn tellings(&self) -> u32 {
        LAMBDA * ceil_log2(self.table.present_len() + 1)
    }

    /// News came that we tell ourselves: one more knows (feedback; Demers et al., "Epidemic Algorithms for Replicated Database
    /// Maintenance", PODC 1987, section 1.4). Where those who know are drawn at random, only joins are told less for it:
    /// whoever misses a refutation may bury a member that stalls again.
    pub(super) fn came_back(&mut self, word: Word, slot: Slot, update: &Update) {
        let entry = self.table.entry(slot);
        let described = update.meta.as_ref().map(|described| (described.boot, described.incarnation));
        if word.source != Source::News || update.rank() != entry.rank() || described != entry.described {
            return;
        }
        if self.is_sparse() {
            self.queue.known_by(slot, word.from);
        } else if entry.claim == State::Alive && update.incarnation == Incarnation::ZERO {
            self.queue.told(slot, self.tellings());
        }
    }

    /// What this peer was not told yet, unless it told us.
    fn next_of_all(&mut self, to: NodeId, mut left: usize) -> Vec<Slot> {
        let Some(link) = self.links.get(&to) else { return Vec::new() };
        let (mut told_to, mut chosen) = (link.told_to, Vec::new());
        for (arrival, slot, knowers) in self.queue.after(told_to) {
            if !knowers.contains(&to) {
                let cost = self.cost(slot);
                if cost > left {
                    break;
                }
                left -= cost;
                chosen.push(slot);
            }
            told_to = arrival;
        }
        if let Some(link) = self.links.get_mut(&to) {
            link.told_to = told_to;
        }
        chosen
    }

    fn cost(&self, slot: Slot) -> usize {
        let entry = self.table.entry(slot);
        entry.cost(tells_meta(entry))
    }

    fn news_of(&self, now: Time, slot: Slot) -> Update {
        self.update(slot, now, tells_meta(self.table.entry(slot)))
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

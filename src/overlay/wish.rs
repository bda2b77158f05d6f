//! Wishes are said until they are heard. Streams lose only what a full outbox drops, datagrams lose more, and a lost wish would
//! leave an edge that one side alone knows for as long as the link lasts.
//!
//! Whoever hears a wish says what it heard. A wish without such an answer is said again after 1, 2, 4 .. [`SPELL`]s, and is given
//! up after [`SPELLS_MAX`]: a peer that says nothing for so long has lost its link, or never answers. At rest nothing is said.
//!
//! Datagrams overtake each other: an earlier wish may be heard after the last one, and the answers to both may come in any order. So
//! once a peer says that it heard something else than what holds, only the answer to a wish that was said since counts.

use std::time::Duration;

use super::{Message, Overlay, Timer};
use crate::machine::Cx;
use crate::probe::{planted, reachable};
use crate::types::NodeId;

/// Before a wish is first said again: above a round trip over a satellite.
const SPELL: Duration = Duration::from_secs(1);
/// After so many a wish is not said again. A power of two: seven repetitions.
const SPELLS_MAX: u32 = 64;

/// A wish that was not heard yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unheard {
    /// For so many [`SPELL`]s.
    spells: u32,
    /// The peer has heard an earlier wish last, for all we know, and nothing was said since.
    doubted: bool,
}

const fn wish(holds: bool) -> Message {
    if holds { Message::Hold } else { Message::Release }
}

impl Overlay {
    /// Tells a linked peer whether we hold it, until it has heard it.
    pub(super) fn say(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId, holds: bool) {
        cx.send(peer, wish(holds));
        if planted!("overlay/wish-said-once") {
            return;
        }
        self.unheard.insert(peer, Unheard::default());
        self.repeat_later(cx);
    }

    /// A peer says how it has understood us. If that is not so any more, our last wish is under way or was lost.
    pub(super) fn on_heard(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, holds: bool) {
        if holds == self.told.contains(&from) {
            if self.unheard.get(&from).is_some_and(|unheard| !unheard.doubted) {
                self.unheard.remove(&from);
            }
        } else if self.links.contains(&from) {
            self.unheard.entry(from).or_default().doubted = true;
            self.repeat_later(cx);
        }
    }

    /// Says again what was not heard.
    pub(super) fn repeat(&mut self, cx: &mut Cx<'_, Self>) {
        self.repeating = false;
        self.unheard.retain(|peer, unheard| {
            unheard.spells += 1;
            if unheard.spells.is_power_of_two() {
                reachable!("overlay/wish-said-again");
                unheard.doubted = false;
                cx.send(*peer, wish(self.told.contains(peer)));
            }
            unheard.spells < SPELLS_MAX
        });
        self.repeat_later(cx);
    }

    fn repeat_later(&mut self, cx: &mut Cx<'_, Self>) {
        if !self.repeating && !self.unheard.is_empty() {
            self.repeating = true;
            cx.arm(Timer::Repeat, SPELL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Op;
    use crate::machine::testkit::step;
    use crate::overlay::Config;
    use crate::topology::Policy;

    const PEER: NodeId = NodeId::from_u128(60);

    /// Linked with one peer, of whom it is told whether we hold it.
    fn overlay(holds: bool) -> Overlay {
        let mut overlay = Overlay::new(NodeId::from_u128(50), Policy::Star, Config::default());
        step(|cx| overlay.link(cx, PEER));
        hold(&mut overlay, true);
        if !holds {
            hold(&mut overlay, false);
        }
        overlay
    }

    /// What is sent when we begin or cease to hold the peer.
    fn hold(overlay: &mut Overlay, holds: bool) -> Vec<Op<Overlay>> {
        overlay.computed = holds.then_some(PEER).into_iter().collect();
        step(|cx| overlay.tell(cx))
    }

    /// Spells until all was heard or given up, and at which of them something was said.
    fn repetitions(overlay: &mut Overlay, said: &Message) -> (u32, Vec<u32>) {
        let (mut spells, mut at) = (0, Vec::new());
        while overlay.repeating {
            spells += 1;
            let ops = step(|cx| overlay.repeat(cx));
            if let Some(Op::Send(to, message)) = ops.first() {
                assert_eq!((to, message), (&PEER, said));
                at.push(spells);
            }
        }
        (spells, at)
    }

    #[test]
    fn a_wish_is_said_again_ever_more_rarely_and_not_for_ever() {
        for (holds, said) in [(true, Message::Hold), (false, Message::Release)] {
            assert_eq!(repetitions(&mut overlay(holds), &said), (SPELLS_MAX, vec![1, 2, 4, 8, 16, 32, 64]));
        }
    }

    #[test]
    fn a_wish_that_was_heard_or_lost_its_link_is_not_said_again() {
        let mut heard = overlay(true);
        step(|cx| heard.on_message(cx, PEER, Message::Heard { holds: true }));
        let mut unlinked = overlay(true);
        step(|cx| unlinked.unlink(cx, PEER, None));
        for mut overlay in [heard, unlinked] {
            assert_eq!(repetitions(&mut overlay, &Message::Hold), (1, vec![]));
        }
    }

    #[test]
    fn only_the_last_wish_counts_as_heard() {
        let mut overlay = overlay(false);
        step(|cx| overlay.on_message(cx, PEER, Message::Heard { holds: true }));
        assert_eq!(step(|cx| overlay.repeat(cx))[..1], [Op::Send(PEER, Message::Release)]);
        step(|cx| overlay.on_message(cx, PEER, Message::Heard { holds: false }));
        assert!(overlay.unheard.is_empty());
        // An earlier wish overtook it.
        step(|cx| overlay.on_message(cx, PEER, Message::Heard { holds: true }));
        assert_eq!(step(|cx| overlay.repeat(cx))[..1], [Op::Send(PEER, Message::Release)]);
    }

    #[test]
    fn an_answer_that_was_overtaken_by_the_one_to_a_later_heard_wish_settles_nothing() {
        let mut overlay = overlay(false);
        // The peer heard the release and then the hold before it; of its answers the second comes first.
        for holds in [true, false] {
            step(|cx| overlay.on_message(cx, PEER, Message::Heard { holds }));
        }
        assert_eq!(step(|cx| overlay.repeat(cx))[..1], [Op::Send(PEER, Message::Release)]);
        step(|cx| overlay.on_message(cx, PEER, Message::Heard { holds: false }));
        assert!(overlay.unheard.is_empty());
    }

    #[test]
    fn whoever_is_linked_is_told_what_was_heard() {
        let mut overlay = overlay(true);
        for (said, holds) in [(Message::Hold, true), (Message::Hold, true), (Message::Release, false)] {
            let ops = step(|cx| overlay.on_message(cx, PEER, said));
            assert_eq!(ops, [Op::Send(PEER, Message::Heard { holds })]);
        }
        assert_eq!(step(|cx| overlay.on_message(cx, NodeId::from_u128(1), Message::Hold)), []);
    }
}

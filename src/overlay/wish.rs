//! Wishes are said until they are heard. Streams lose only what a full outbox drops, datagrams lose more, and a lost wish would
//! leave an edge that one side alone knows for as long as the link lasts.
//!
//! Whoever hears a wish says of which it has heard last. A wish without such an answer is said again after 1, 2, 4 .. [`SPELL`]s,
//! and is given up after [`SPELLS_MAX`]: a peer that says nothing for so long has lost its link, or never answers. At rest nothing
//! is said.
//!
//! Datagrams overtake each other, so wishes have numbers: an earlier one that is heard after a later one counts no more, and an
//! answer to an earlier one settles nothing. Numbers are of one link: whoever restarts begins with the first again.

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
#[derive(Clone, Copy, Debug)]
pub(super) struct Unheard {
    number: u64,
    /// For so many [`SPELL`]s.
    spells: u32,
}

impl Overlay {
    /// Tells a linked peer whether we hold it, until it has heard it.
    pub(super) fn say(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId, holds: bool) {
        self.wishes += 1;
        let number = self.wishes;
        cx.send(peer, Message::Wish { number, holds });
        if planted!("overlay/wish-said-once") {
            return;
        }
        self.unheard.insert(peer, Unheard { number, spells: 0 });
        self.repeat_later(cx);
    }

    /// A peer says whether it holds us for a neighbour.
    pub(super) fn on_wish(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, number: u64, holds: bool) {
        if !self.links.contains(&from) {
            return;
        }
        let last = self.heard.entry(from).or_default();
        if number >= *last {
            *last = number;
            if holds {
                self.held_by.insert(from);
            } else {
                self.held_by.remove(&from);
            }
        }
        cx.send(from, Message::Heard { number: *last });
        self.tell(cx);
    }

    /// A peer says of which wish it has heard last.
    pub(super) fn on_heard(&mut self, from: NodeId, number: u64) {
        if self.unheard.get(&from).is_some_and(|unheard| unheard.number == number) {
            self.unheard.remove(&from);
        }
    }

    /// Says again what was not heard.
    pub(super) fn repeat(&mut self, cx: &mut Cx<'_, Self>) {
        self.repeating = false;
        self.unheard.retain(|peer, unheard| {
            unheard.spells += 1;
            if unheard.spells.is_power_of_two() {
                reachable!("overlay/wish-said-again");
                cx.send(*peer, Message::Wish { number: unheard.number, holds: self.told.contains(peer) });
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

    /// Linked with one peer.
    fn linked() -> Overlay {
        let mut overlay = Overlay::new(NodeId::from_u128(50), Policy::Star, Config::default());
        step(|cx| overlay.link(cx, PEER));
        overlay
    }

    /// Linked with one peer, of whom it is told whether we hold it: by the first or second wish.
    fn overlay(holds: bool) -> Overlay {
        let mut overlay = linked();
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

    /// What is done when the peer speaks.
    fn hear(overlay: &mut Overlay, said: Message) -> Vec<Op<Overlay>> {
        step(|cx| overlay.on_message(cx, PEER, said))
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
        for (holds, number) in [(true, 1), (false, 2)] {
            let said = Message::Wish { number, holds };
            assert_eq!(repetitions(&mut overlay(holds), &said), (SPELLS_MAX, vec![1, 2, 4, 8, 16, 32, 64]));
        }
    }

    #[test]
    fn a_wish_that_was_heard_or_lost_its_link_is_not_said_again() {
        let mut heard = overlay(true);
        hear(&mut heard, Message::Heard { number: 1 });
        let mut unlinked = overlay(true);
        step(|cx| unlinked.unlink(cx, PEER, None));
        for mut overlay in [heard, unlinked] {
            assert_eq!(repetitions(&mut overlay, &Message::Wish { number: 1, holds: true }), (1, vec![]));
        }
    }

    #[test]
    fn only_the_last_wish_counts_as_heard() {
        let mut overlay = overlay(false);
        hear(&mut overlay, Message::Heard { number: 1 });
        let release = Op::Send(PEER, Message::Wish { number: 2, holds: false });
        assert_eq!(step(|cx| overlay.repeat(cx))[..1], [release]);
        hear(&mut overlay, Message::Heard { number: 2 });
        hear(&mut overlay, Message::Heard { number: 1 });
        assert!(overlay.unheard.is_empty());
    }

    #[test]
    fn whoever_is_linked_is_told_of_which_wish_was_heard_last_and_one_that_was_overtaken_changes_nothing() {
        let (mut overlay, wish) = (linked(), |number, holds| Message::Wish { number, holds });
        let heard = |number| Op::Send(PEER, Message::Heard { number });
        let down = Op::Emit(crate::overlay::Event::NeighborDown { peer: PEER });
        let up = || Op::Emit(crate::overlay::Event::NeighborUp { peer: PEER });
        assert_eq!(hear(&mut overlay, wish(7, true)), [heard(7), up()]);
        assert_eq!(hear(&mut overlay, wish(7, true)), [heard(7)]);
        assert_eq!(hear(&mut overlay, wish(9, false)), [heard(9), down]);
        assert_eq!(hear(&mut overlay, wish(8, true)), [heard(9)]);
        // A peer that restarted counts from the first: over another link.
        step(|cx| overlay.unlink(cx, PEER, None));
        assert_eq!(hear(&mut overlay, wish(1, true)), [], "not linked");
        step(|cx| overlay.link(cx, PEER));
        assert_eq!(hear(&mut overlay, wish(1, true)), [heard(1), up()]);
    }
}

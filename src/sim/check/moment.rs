//! The moment that a healed core has: its links with peers outside may go on to flap, and each change is answered within the patience of
//! the overlay only. What is wrong for longer than that is wrong.

use super::Sight;

/// So many looks: that patience is three seconds, and a little more until the other end has heard. A look each second falls into that four times at most.
const MOMENT: u32 = 4;

/// For how many seconds something has been wrong with a healed core.
#[derive(Default)]
pub(super) struct Moment {
    wrong_for: u32,
}

impl Moment {
    /// Another second: whether it is wrong still is asked only of a core.
    pub(super) fn tick(&mut self, sight: &Sight<'_>, is_wrong: impl FnOnce() -> bool) {
        if sight.core.is_some() {
            self.wrong_for = if is_wrong() { self.wrong_for + 1 } else { 0 };
        }
    }

    /// Whether what is wrong may be so for this moment.
    pub(super) fn excuses(&self, sight: &Sight<'_>) -> bool {
        sight.core.is_some() && self.wrong_for <= MOMENT
    }
}

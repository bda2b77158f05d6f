//! O1: after the calm the neighbourhoods connect all live peers.
//!
//! Where a core was healed, its links with peers outside may go on to flap, and each change is answered within the patience of the
//! overlay only. Such a core may be apart for a moment, not for longer.

use super::{Check, Sight, Verdict};

/// So many seconds a healed core may be apart, while what is outside of it comes and goes.
const MOMENT: u32 = 3;

/// Walks from one live peer along the neighbourhoods.
#[derive(Default)]
pub(super) struct Connected {
    /// For how many seconds some of the healed core have not been reached.
    apart_for: u32,
}

/// The live peers that are not reached from the first of them.
fn alone(sight: &Sight<'_>) -> Vec<u32> {
    let mut seen = vec![false; sight.hosts.len()];
    let mut open: Vec<u32> = sight.live().map(|(place, ..)| place).take(1).collect();
    while let Some(place) = open.pop() {
        if std::mem::replace(&mut seen[place as usize], true) {
            continue;
        }
        let Some(node) = sight.node(place) else { continue };
        open.extend(node.overlay().neighbors().iter().filter_map(|peer| sight.place(*peer)));
    }
    sight.live().map(|(place, ..)| place).filter(|place| !seen[*place as usize]).collect()
}

impl Check for Connected {
    fn id(&self) -> &'static str {
        "O1"
    }

    fn on_tick(&mut self, sight: &Sight<'_>) -> Verdict {
        if sight.core.is_some() {
            self.apart_for = if alone(sight).is_empty() { 0 } else { self.apart_for + 1 };
        }
        Ok(())
    }

    fn settled(&mut self, sight: &Sight<'_>) -> Verdict {
        let alone = alone(sight);
        match alone.first() {
            Some(first) if sight.core.is_none() || self.apart_for >= MOMENT => {
                Err(format!("{} live peers are not reached by deltas, among them {}", alone.len(), sight.name(*first)))
            }
            _ => Ok(()),
        }
    }
}

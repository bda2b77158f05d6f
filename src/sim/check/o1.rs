//! O1: after the calm the neighbourhoods connect all live peers.
//!
//! A healed core has a [`Moment`] for what comes and goes outside of it.

use super::moment::Moment;
use super::{Check, Sight, Verdict};

/// Walks from one live peer along the neighbourhoods.
#[derive(Default)]
pub(super) struct Connected {
    apart: Moment,
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
        self.apart.tick(sight, || !alone(sight).is_empty());
        Ok(())
    }

    fn settled(&mut self, sight: &Sight<'_>) -> Verdict {
        let alone = alone(sight);
        match alone.first() {
            Some(first) if !self.apart.excuses(sight) => {
                Err(format!("{} live peers are not reached by deltas, among them {}", alone.len(), sight.name(*first)))
            }
            _ => Ok(()),
        }
    }
}

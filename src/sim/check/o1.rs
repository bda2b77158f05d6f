//! O1: after the calm the neighbourhoods connect all live peers.

use super::{Check, Sight, Verdict};

/// Walks from one live peer along the neighbourhoods.
pub(super) struct Connected;

impl Check for Connected {
    fn id(&self) -> &'static str {
        "O1"
    }

    fn settled(&mut self, sight: &Sight<'_>) -> Verdict {
        let mut seen = vec![false; sight.hosts.len()];
        let mut open: Vec<u32> = sight.live().map(|(place, ..)| place).take(1).collect();
        while let Some(place) = open.pop() {
            if std::mem::replace(&mut seen[place as usize], true) {
                continue;
            }
            let Some(node) = sight.node(place) else { continue };
            open.extend(node.overlay().neighbors().iter().filter_map(|peer| sight.place(*peer)));
        }
        let alone: Vec<u32> = sight.live().map(|(place, ..)| place).filter(|place| !seen[*place as usize]).collect();
        match alone.first() {
            Some(first) => {
                Err(format!("{} live peers are not reached by deltas, among them {}", alone.len(), sight.name(*first)))
            }
            None => Ok(()),
        }
    }
}

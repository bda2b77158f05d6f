//! Peers by their place in the topology, and sets of them.

/// A set of peers as bits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PeerSet(Vec<u64>);

impl PeerSet {
    pub(super) fn of(peers: &[u32]) -> Self {
        let mut words = Vec::new();
        for peer in peers {
            let word = (peer / 64) as usize;
            if words.len() <= word {
                words.resize(word + 1, 0);
            }
            words[word] |= 1 << (peer % 64);
        }
        Self(words)
    }

    pub(super) fn has(&self, peer: u32) -> bool {
        self.0.get((peer / 64) as usize).is_some_and(|word| word >> (peer % 64) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    quickcheck::quickcheck! {
        fn a_set_has_what_it_was_made_of(peers: Vec<u16>, other: u16) -> bool {
            let peers: Vec<u32> = peers.into_iter().map(u32::from).collect();
            let set = PeerSet::of(&peers);
            peers.iter().all(|peer| set.has(*peer)) && set.has(other.into()) == peers.contains(&other.into())
        }
    }
}

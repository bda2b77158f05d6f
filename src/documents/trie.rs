//! What is held, to be compared: a trie with 16 branches over the hashes of documents' ids, whose leaves are digests of id and
//! heads. Two nodes that differ in one document find it in as many steps as the trie is deep (Merkle 1987; Dynamo, SOSP 2007,
//! section 4.7).
//!
//! Only the leaves are kept, in order, and changed as documents change; sums of branches are made when somebody asks, which
//! is when an audit found a difference. A branch's digest is the sum of its leaves (Bellare and Micciancio's AdHash: peers are
//! admitted), so the root's is [`View::content`](super::View::content).

use std::collections::BTreeMap;

use bincode::{Decode, Encode};

use crate::types::{DocId, digest64};

/// Nodes below which no branches are compared any more: at 16^12 there is one leaf at most.
const DEPTH_MAX: u8 = 12;

/// A branch: the first `depth` nibbles of hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Prefix {
    bits: u64,
    depth: u8,
}

impl Prefix {
    /// Everything.
    pub const ROOT: Self = Self { bits: 0, depth: 0 };

    /// Whether a correct peer names such a branch.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.depth <= DEPTH_MAX && self.bits & self.below() == 0
    }

    /// The hashes that begin so end at most with these bits set.
    const fn below(self) -> u64 {
        if self.depth == 0 { u64::MAX } else { u64::MAX.unbounded_shr(4 * self.depth as u32) }
    }

    /// One of its 16 branches; `None` if they are not compared.
    #[must_use]
    pub fn branch(self, nibble: usize) -> Option<Self> {
        let nibble = (nibble as u64 & 15).unbounded_shl(60 - 4 * u32::from(self.depth));
        (self.depth < DEPTH_MAX).then(|| Self { bits: self.bits | nibble, depth: self.depth + 1 })
    }

    /// Which of the branches a hash is in.
    fn nibble(self, hash: u64) -> usize {
        usize::try_from(hash.unbounded_shr(60 - 4 * u32::from(self.depth)) & 15).expect("below 16")
    }
}

/// The leaves. See the file's essay.
#[derive(Debug, Default)]
pub struct Trie {
    /// By hash: as a rule one document each.
    leaves: BTreeMap<u64, Vec<(DocId, u64)>>,
}

impl Trie {
    /// A document's digest is this now; 0 if there is none any more.
    pub(super) fn set(&mut self, doc: &DocId, digest: u64) {
        let leaves = self.leaves.entry(hash(doc)).or_default();
        leaves.retain(|(other, _)| other != doc);
        if digest != 0 {
            leaves.push((doc.clone(), digest));
        } else if leaves.is_empty() {
            self.leaves.remove(&hash(doc));
        }
    }

    fn below(&self, prefix: Prefix) -> impl Iterator<Item = (&DocId, u64, u64)> {
        let leaves = self.leaves.range(prefix.bits..=prefix.bits | prefix.below());
        leaves.flat_map(|(hash, docs)| docs.iter().map(|(doc, digest)| (doc, *hash, *digest)))
    }

    /// The digests of a branch's branches.
    #[must_use]
    pub fn sums(&self, prefix: Prefix) -> [u64; 16] {
        let mut sums = [0_u64; 16];
        for (_, hash, digest) in self.below(prefix) {
            let sum = &mut sums[prefix.nibble(hash)];
            *sum = sum.wrapping_add(digest);
        }
        sums
    }

    /// The leaves of a branch, if they are at most so many: hash and digest.
    #[must_use]
    pub fn leaves(&self, prefix: Prefix, max: usize) -> Option<Vec<(u64, u64)>> {
        let leaves: Vec<_> = self.below(prefix).take(max + 1).map(|(_, hash, digest)| (hash, digest)).collect();
        (leaves.len() <= max).then_some(leaves)
    }

    /// The documents of a branch that are not among these leaves, and the hashes of the leaves that are not here at all.
    #[must_use]
    pub fn differing(&self, prefix: Prefix, theirs: &[(u64, u64)]) -> (Vec<DocId>, Vec<u64>) {
        let ours: Vec<(u64, u64)> = self.below(prefix).map(|(_, hash, digest)| (hash, digest)).collect();
        let differs = |(_, hash, digest): &(&DocId, u64, u64)| !theirs.contains(&(*hash, *digest));
        let docs = self.below(prefix).filter(differs).map(|(doc, ..)| doc.clone()).collect();
        let only_there = |hash: &u64| ours.iter().all(|(own, _)| own != hash);
        let missing = theirs.iter().map(|(hash, _)| *hash).filter(only_there).collect();
        (docs, missing)
    }
}

/// Where a document's leaf is.
pub(super) fn hash(doc: &DocId) -> u64 {
    digest64(doc.as_str().as_bytes()).value()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trie(docs: impl IntoIterator<Item = (u64, u64)>) -> Trie {
        let mut trie = Trie::default();
        docs.into_iter().for_each(|(n, digest)| trie.set(&doc(n), digest));
        trie
    }

    fn doc(n: u64) -> DocId {
        DocId::parse(&format!("d/{n}")).unwrap()
    }

    #[test]
    fn branches_part_what_is_below_and_lose_nothing() {
        let trie = trie((1..=1_000).map(|n| (n, n)));
        let mut prefix = Prefix::ROOT;
        let mut all = 500_500;
        loop {
            let sums = trie.sums(prefix);
            assert_eq!(sums.iter().sum::<u64>(), all);
            let Some(next) = prefix.branch(7) else { break };
            (prefix, all) = (next, sums[7]);
        }
        assert_eq!(trie.leaves(Prefix::ROOT, 1_000).unwrap().len(), 1_000);
        assert_eq!(trie.leaves(Prefix::ROOT, 999), None);
    }

    #[test]
    fn what_differs_is_named_on_both_sides() {
        let (ours, theirs) = (trie([(1, 1), (2, 2), (3, 3)]), trie([(1, 1), (2, 9), (4, 4)]));
        let all = theirs.leaves(Prefix::ROOT, 9).unwrap();
        let (mut docs, missing) = ours.differing(Prefix::ROOT, &all);
        docs.sort();
        assert_eq!((docs, missing), (vec![doc(2), doc(3)], vec![hash(&doc(4))]));
    }

    quickcheck::quickcheck! {
        fn a_trie_is_what_was_last_said(said: Vec<(u8, u64)>) -> bool {
            let mut last = BTreeMap::new();
            for (n, digest) in &said {
                last.insert(u64::from(*n), *digest);
            }
            let sum = last.values().fold(0_u64, |sum, digest| sum.wrapping_add(*digest));
            let one = trie(said.iter().map(|(n, digest)| (u64::from(*n), *digest)));
            one.sums(Prefix::ROOT).iter().fold(0_u64, |sum, part| sum.wrapping_add(*part)) == sum
        }
    }
}

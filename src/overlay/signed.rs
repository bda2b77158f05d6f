//! The mesh's own policy: signed by whoever may admit, numbered, and the same everywhere in the end.
//!
//! A peer keeps the latest policy of each signer and follows the highest of them all. Both are maxima of a total order, so
//! it does not matter who hears what when, how often, or on which side of a cut: peers that hold the same follow the same.
//! That the latest of each is kept, and not the highest alone, is for the day on which a signer is found to be a thief: its
//! word then counts for nothing, whatever it has signed and when it says that it has, and the others' still does.
//!
//! Signatures are not this room's: a policy comes in with bytes that prove it, and the host has looked at them before
//! [`Policies::merge`] sees them.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};
use serde::Serialize;

use crate::probe::planted;
use crate::topology::Policy;
use crate::types::{Digest, NodeId, WallTime, digest64};

/// Longest proof, in bytes: an issuer's certificate and a signature, and then some.
pub const PROOF_MAX: usize = 1_024;

/// A policy that somebody who may has set for the whole mesh.
///
/// The order is the order of force. The version comes first: who sets a policy numbers it one above the highest it knows.
/// Two that were set on both sides of a cut may have one number; then the later one counts, by its signer's clock, and
/// after that something that all compare alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize)]
pub struct SignedPolicy {
    /// Its number.
    pub version: u64,
    /// When it was set, by the signer's clock.
    pub issued_at: WallTime,
    /// The node of the issuer that set it.
    pub signer: NodeId,
    /// Which overlay.
    pub policy: Policy,
    /// What proves it to the host: opaque here.
    #[serde(skip)]
    pub proof: Vec<u8>,
}

/// The latest policy of each signer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies(BTreeMap<NodeId, SignedPolicy>);

impl Policies {
    /// Whether this one is later than what is held of its signer.
    #[must_use]
    pub fn takes(&self, policy: &SignedPolicy) -> bool {
        self.0.get(&policy.signer).is_none_or(|held| held < policy)
    }

    /// Takes in a policy; gives whether it was news. Its proof was checked before.
    pub fn merge(&mut self, policy: SignedPolicy) -> bool {
        let news = self.takes(&policy);
        if news {
            self.0.insert(policy.signer, policy);
        }
        news
    }

    /// The policy that is in force, if any was ever set.
    #[must_use]
    pub fn in_force(&self) -> Option<&SignedPolicy> {
        if planted!("overlay/lowest-policy-wins") {
            return self.0.values().min();
        }
        self.0.values().max()
    }

    /// The number of the next policy; `None` when a signer has used the last one up.
    #[must_use]
    pub fn next_version(&self) -> Option<u64> {
        self.in_force().map_or(0, |policy| policy.version).checked_add(1)
    }

    /// What is held of this signer.
    #[must_use]
    pub fn of(&self, signer: NodeId) -> Option<&SignedPolicy> {
        self.0.get(&signer)
    }

    /// All of them, in order of their signers.
    pub fn iter(&self) -> impl Iterator<Item = &SignedPolicy> {
        self.0.values()
    }

    /// How many signers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none was ever set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Equal if and only if the same is held.
    pub(super) fn digest(&self) -> Digest {
        let bytes = self.iter().flat_map(|policy| {
            let numbers = [policy.version, policy.issued_at.as_micros()].map(u64::to_be_bytes);
            let head = policy.signer.as_bytes().iter().copied().chain(numbers.into_iter().flatten());
            head.chain(policy.proof.iter().copied())
        });
        digest64(&bytes.collect::<Vec<_>>())
    }
}

impl FromIterator<SignedPolicy> for Policies {
    fn from_iter<I: IntoIterator<Item = SignedPolicy>>(policies: I) -> Self {
        let mut held = Self::default();
        policies.into_iter().for_each(|policy| _ = held.merge(policy));
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A few signers and versions, so that ties are common.
    fn policy(bits: u8) -> SignedPolicy {
        let signer = NodeId::from_u128(u128::from(bits & 3));
        let policy = if bits & 16 == 0 { Policy::Star } else { Policy::Tree { arity: 3 } };
        let issued_at = WallTime::from_micros(u64::from(bits >> 5 & 1));
        SignedPolicy { version: u64::from(bits >> 2 & 3), issued_at, signer, policy, proof: vec![bits >> 6] }
    }

    fn held(told: impl IntoIterator<Item = u8>) -> Policies {
        told.into_iter().map(policy).collect()
    }

    quickcheck::quickcheck! {
        fn what_is_held_does_not_depend_on_order_or_repetition(told: Vec<u8>) -> bool {
            let turned = told.iter().rev().chain(&told).copied();
            held(told.clone()) == held(turned)
        }

        fn the_highest_of_all_is_in_force(told: Vec<u8>) -> bool {
            held(told.clone()).in_force() == told.into_iter().map(policy).max().as_ref()
        }

        fn a_new_policy_wins_over_all_that_its_signer_knew(told: Vec<u8>, signer: u8) -> bool {
            let mut all = held(told);
            let version = all.next_version().expect("versions are small");
            let new = SignedPolicy { version, ..policy(signer) };
            all.merge(new.clone()) && all.in_force() == Some(&new)
        }

        fn without_a_signer_the_others_are_as_if_it_had_never_been(told: Vec<u8>) -> bool {
            let thief = NodeId::from_u128(1);
            let left: Policies = held(told.clone()).iter().filter(|policy| policy.signer != thief).cloned().collect();
            left == held(told.into_iter().filter(|bits| policy(*bits).signer != thief))
        }
    }

    #[test]
    fn versions_end_where_they_end() {
        let mut all = held([0]);
        all.merge(SignedPolicy { version: u64::MAX, ..policy(1) });
        assert_eq!(all.next_version(), None);
    }
}

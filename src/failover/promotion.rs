//! Who may take a role over, and who is best.

#[cfg(feature = "net")]
pub use crate::managers::failover::promotion::{PromotionCandidate, PromotionResult, ReplicaPromotion};

use std::cmp::Reverse;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::FailoverLimits;
use crate::types::NodeId;

/// By what the best of those that are eligible is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PromotionStrategy {
    /// The highest priority, then the least lag.
    #[default]
    Priority,
    /// The least lag, then the highest priority.
    LeastLag,
    /// The least load, then the highest priority.
    LeastLoad,
    /// Nobody: an operator chooses.
    Manual,
}

/// A peer that could hold a role, as the leader knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// Who.
    pub node: NodeId,
    /// What the operator wishes; 0 is never. Of a member it is [`priority_of`](Self::priority_of) what it says.
    pub priority: u32,
    /// It only looks on.
    pub observer: bool,
    /// It is present, serves, takes writes, and is not leaving.
    pub healthy: bool,
    /// Entries that it is behind; [`u64::MAX`] where that is not known.
    pub lag: u64,
    /// How busy its machine is, in percent of its cores; [`u32::MAX`] where that is not known.
    pub load: u32,
}

impl Candidate {
    /// As what a peer counts that was configured so (`node.priority`): the lowest wish is no refusal, who is never to hold a role is an observer.
    #[must_use]
    pub fn priority_of(wish: u16) -> u32 {
        u32::from(wish) + 1
    }
}

/// Why a peer may not take a role over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Encode, Decode)]
#[serde(tag = "ineligible", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ineligible {
    /// It is no peer that is known.
    #[error("it is not known here")]
    Unknown,
    /// It only looks on.
    #[error("it is an observer")]
    Observer,
    /// The operator does not want it.
    #[error("its priority is 0")]
    Never,
    /// It is not well.
    #[error("it is not healthy")]
    Unhealthy,
    /// It is too far behind.
    #[error("it is {lag} entries behind, the limit is {max}")]
    Lags {
        /// So far.
        lag: u64,
        /// And how far it may be.
        max: u64,
    },
}

/// Chooses by a strategy, within limits.
#[derive(Clone, Copy, Debug)]
pub struct PromotionRules {
    strategy: PromotionStrategy,
    max_lag: u64,
}

impl PromotionRules {
    /// By these rules.
    #[must_use]
    pub fn new(config: &FailoverLimits) -> Self {
        Self { strategy: config.strategy, max_lag: config.max_lag }
    }

    /// By the same limits, with another strategy.
    #[must_use]
    pub fn by(self, strategy: PromotionStrategy) -> Self {
        Self { strategy, ..self }
    }

    /// Whether somebody may take over at all, whoever asks for it.
    ///
    /// # Errors
    /// [`Ineligible`] says why not.
    pub fn check(&self, candidate: &Candidate) -> Result<(), Ineligible> {
        match candidate {
            Candidate { observer: true, .. } => Err(Ineligible::Observer),
            Candidate { priority: 0, .. } => Err(Ineligible::Never),
            Candidate { healthy: false, .. } => Err(Ineligible::Unhealthy),
            Candidate { lag, .. } if *lag > self.max_lag => Err(Ineligible::Lags { lag: *lag, max: self.max_lag }),
            _ => Ok(()),
        }
    }

    /// The same of a peer by its name.
    ///
    /// # Errors
    /// [`Ineligible`] says why not.
    pub fn check_node(&self, candidates: &[Candidate], node: NodeId) -> Result<Candidate, Ineligible> {
        let candidate = candidates.iter().find(|candidate| candidate.node == node).ok_or(Ineligible::Unknown)?;
        self.check(candidate).map(|()| *candidate)
    }

    /// Those that are eligible, the best first. The order of the given ones does not matter; the lower id wins where all else is equal.
    #[must_use]
    pub fn ranked(&self, candidates: &[Candidate]) -> Vec<Candidate> {
        let mut eligible: Vec<_> =
            candidates.iter().filter(|candidate| self.check(candidate).is_ok()).copied().collect();
        let rank = |it: &Candidate| {
            let priority = u64::from(u32::MAX - it.priority);
            let (first, second, third) = match self.strategy {
                PromotionStrategy::Priority | PromotionStrategy::Manual => (priority, it.lag, u64::from(it.load)),
                PromotionStrategy::LeastLag => (it.lag, priority, u64::from(it.load)),
                PromotionStrategy::LeastLoad => (u64::from(it.load), priority, it.lag),
            };
            (first, second, third, Reverse(it.healthy), it.node)
        };
        eligible.sort_unstable_by_key(rank);
        eligible
    }

    /// The best one, if the strategy chooses at all.
    #[must_use]
    pub fn choose(&self, candidates: &[Candidate]) -> Option<Candidate> {
        if self.strategy == PromotionStrategy::Manual {
            return None;
        }
        self.ranked(candidates).first().copied()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use quickcheck::{Arbitrary, Gen};

    use super::*;

    impl Arbitrary for Candidate {
        fn arbitrary(g: &mut Gen) -> Self {
            let node = NodeId::from_u128((u8::arbitrary(g) % 8).into());
            let priority = *g.choose(&[0, 1, 254, 255, 256, 301, 65_001, 65_536]).expect("there are some");
            let load = u32::arbitrary(g) % 4;
            let lag = u64::arbitrary(g) % 100;
            Self { node, priority, observer: u8::arbitrary(g) % 5 == 0, healthy: u8::arbitrary(g) % 5 != 0, lag, load }
        }
    }

    fn rules(strategy: PromotionStrategy) -> PromotionRules {
        PromotionRules::new(&FailoverLimits { strategy, ..FailoverLimits::default() })
    }

    fn candidate(n: u128, priority: u32, lag: u64, load: u32) -> Candidate {
        Candidate { node: NodeId::from_u128(n), priority, observer: false, healthy: true, lag, load }
    }

    #[test]
    fn each_strategy_has_its_best() {
        let all = [candidate(1, 5, 9, 9), candidate(2, 4, 0, 9), candidate(3, 3, 9, 0)];
        let best = |strategy| rules(strategy).choose(&all).map(|it| it.node);
        assert_eq!(best(PromotionStrategy::Priority), Some(NodeId::from_u128(1)));
        assert_eq!(best(PromotionStrategy::LeastLag), Some(NodeId::from_u128(2)));
        assert_eq!(best(PromotionStrategy::LeastLoad), Some(NodeId::from_u128(3)));
        assert_eq!(best(PromotionStrategy::Manual), None);
    }

    #[test]
    fn who_may_not_is_told_why() {
        let rules = rules(PromotionStrategy::Priority);
        let good = candidate(1, 1, 64, 0);
        assert_eq!(rules.check(&good), Ok(()));
        assert_eq!(rules.check(&Candidate { observer: true, ..good }), Err(Ineligible::Observer));
        assert_eq!(rules.check(&Candidate { priority: 0, ..good }), Err(Ineligible::Never));
        assert_eq!(rules.check(&Candidate { healthy: false, ..good }), Err(Ineligible::Unhealthy));
        assert_eq!(rules.check(&Candidate { lag: 65, ..good }), Err(Ineligible::Lags { lag: 65, max: 64 }));
        assert_eq!(rules.check_node(&[good], NodeId::from_u128(2)), Err(Ineligible::Unknown));
    }

    #[test]
    fn priorities_count_over_all_that_can_be_configured() {
        let wishes = [0, 1, 253, 254, 255, 256, 300, 65_000, 65_534, 65_535];
        let all: Vec<_> =
            wishes.iter().map(|wish| candidate((*wish).into(), Candidate::priority_of(*wish), 0, 0)).collect();
        let ranked = rules(PromotionStrategy::Priority).ranked(&all);
        assert_eq!(ranked, all.iter().rev().copied().collect::<Vec<_>>());
    }

    quickcheck::quickcheck! {
        fn nobody_is_chosen_who_may_not(all: Vec<Candidate>, strategy: u8) -> bool {
            let strategies = [PromotionStrategy::Priority, PromotionStrategy::LeastLag, PromotionStrategy::LeastLoad];
            let rules = rules(strategies[usize::from(strategy) % 3]);
            match rules.choose(&all) {
                Some(best) => rules.check(&best).is_ok(),
                None => all.iter().all(|it| rules.check(it).is_err()),
            }
        }

        fn the_order_of_the_candidates_does_not_matter(all: Vec<Candidate>) -> bool {
            let mut back = all.clone();
            back.reverse();
            rules(PromotionStrategy::Priority).ranked(&all) == rules(PromotionStrategy::Priority).ranked(&back)
        }

        fn the_highest_priority_that_may_wins(all: Vec<Candidate>) -> bool {
            let rules = rules(PromotionStrategy::Priority);
            let highest = all.iter().filter(|it| rules.check(it).is_ok()).map(|it| it.priority).max();
            rules.choose(&all).map(|it| it.priority) == highest
        }
    }
}

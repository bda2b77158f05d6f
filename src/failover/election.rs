//! The election of a role's holder as one peer would see it: who would win, and why not others.
//!
//! What is elected here is who holds a role. Who decides that, the leader of the voters, is elected by Raft (room `consensus`), and no
//! peer can win that by itself: an election counts only when the grant is committed.

#[cfg(feature = "net")]
pub use crate::managers::failover::election::{ElectionResult, LeaderElection, NodeRole};

use super::promotion::{Candidate, Ineligible, PromotionRules};
use super::{FailoverLimits, PromotionStrategy};
use crate::types::NodeId;

/// A peer that asks how an election would end.
#[derive(Clone, Debug)]
pub struct RoleElection {
    node: NodeId,
    priority: u32,
    rules: PromotionRules,
    strategy: PromotionStrategy,
}

/// How it would end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleElected {
    /// Who wins.
    pub winner_id: NodeId,
    /// As what it stood.
    pub winner: Candidate,
    /// By what it was chosen.
    pub strategy: PromotionStrategy,
    /// All that were eligible, the best first.
    pub ranking: Vec<NodeId>,
    /// All others, and why not.
    pub out: Vec<(NodeId, Ineligible)>,
}

impl RoleElection {
    /// Of this peer, with this priority as [`Candidate::priority`] counts it; 0 is never.
    #[must_use]
    pub fn new(node: NodeId, priority: u32, config: FailoverLimits) -> Self {
        Self { node, priority, rules: PromotionRules::new(&config), strategy: config.strategy }
    }

    /// Elects among these, of which this peer has the priority that it was given. Nobody if nobody may, or if an operator chooses.
    #[must_use]
    pub fn elect(&self, candidates: &[Candidate]) -> Option<RoleElected> {
        let mut all = candidates.to_vec();
        all.iter_mut().filter(|it| it.node == self.node).for_each(|it| it.priority = self.priority);
        let winner = self.rules.choose(&all)?;
        let ranking = self.rules.ranked(&all).iter().map(|it| it.node).collect();
        let out = all.iter().filter_map(|it| self.rules.check(it).err().map(|why| (it.node, why))).collect();
        Some(RoleElected { winner_id: winner.node, winner, strategy: self.strategy, ranking, out })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_stands_with_its_own_priority() {
        let of = |n, priority| Candidate {
            node: NodeId::from_u128(n),
            priority,
            observer: n == 3,
            healthy: true,
            lag: 0,
            load: 0,
        };
        let all = [of(1, 50), of(2, 60), of(3, 255)];
        let result = RoleElection::new(all[0].node, 100, FailoverLimits::default()).elect(&all).unwrap();
        assert_eq!((result.winner_id, result.ranking), (all[0].node, vec![all[0].node, all[1].node]));
        assert_eq!(result.out, [(all[2].node, Ineligible::Observer)]);
        let never = RoleElection::new(all[0].node, 0, FailoverLimits::default());
        assert_eq!((never.elect(&all[..1]), never.elect(&[])), (None, None));
    }
}

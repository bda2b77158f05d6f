//! Who takes a role over, and having that done.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::config::FailoverConfig;
use crate::error::{Error, ErrorKind};
use crate::failover::promotion::{PromotionRules, PromotionStrategy};
use crate::failover::{Candidate, FailoverLimits};
use crate::managers::bound::{Bound, Question};
use crate::managers::error::{HaError, HaResult};
use crate::node::RoleOrder;
use crate::roles::{OrderWhat, RoleName};
use crate::types::NodeId;

/// How often it is looked whether the new holder acts.
const LOOK: Duration = Duration::from_millis(20);

/// A member that could hold the role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PromotionCandidate {
    /// Who.
    pub node_id: Uuid,
    /// Its name.
    pub name: String,
    /// What its operator wishes: higher is preferred.
    pub priority: u32,
    /// Changes that it is not known to hold; nothing where that is not known.
    pub lag: Option<u64>,
    /// Why it may not, in words.
    pub ineligible: Option<String>,
}

/// What a promotion came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PromotionResult {
    /// The role.
    pub role: String,
    /// Who held it before.
    pub old_leader_id: Option<Uuid>,
    /// Who holds it.
    pub new_leader_id: Uuid,
    /// The place of the grant among all decisions: of two grants the later one has the higher one.
    pub token: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// Promotes a member to a role: `primary`, unless it is said which.
#[derive(Clone, Debug)]
pub struct ReplicaPromotion {
    node: Option<Uuid>,
    strategy: PromotionStrategy,
    config: FailoverConfig,
    role: RoleName,
}

#[derive(Deserialize)]
struct Role {
    role: RoleName,
    holder: Option<NodeId>,
    token: Place,
    begun: Option<bool>,
}

#[derive(Deserialize)]
struct Place {
    index: u64,
}

#[derive(Deserialize)]
struct Members {
    node: NodeId,
    members: Vec<Member>,
}

#[derive(Deserialize)]
struct Member {
    node: NodeId,
    name: String,
    priority: u16,
    observer: bool,
    read_only: bool,
    state: String,
    linked: bool,
    /// In percent of its cores; absent where its machine does not tell.
    #[serde(default)]
    load: Option<u16>,
}

#[derive(Deserialize)]
struct Lagging {
    id: NodeId,
    changes: u64,
}

impl ReplicaPromotion {
    /// By this strategy, through the node of this process that was started first, or the one that the environment names.
    #[must_use]
    pub fn new(strategy: PromotionStrategy, config: FailoverConfig) -> Self {
        Self { node: None, strategy, config, role: RoleName::primary() }
    }

    /// Through this node.
    #[must_use]
    pub fn through(self, node_id: Uuid) -> Self {
        Self { node: Some(node_id), ..self }
    }

    /// To this role.
    ///
    /// # Errors
    /// It is no name of a role.
    pub fn to_role(self, role: &str) -> HaResult<Self> {
        let role = RoleName::new(role).map_err(|error| Error::new(ErrorKind::Invalid, error))?;
        Ok(Self { role, ..self })
    }

    /// All members, those that may hold the role first and the best of them in front; others with the reason. Whether one lags too much is
    /// said by the default of `roles.max-lag`: the voters' leader goes by its own.
    ///
    /// # Errors
    /// [`HaError::NoPeer`], [`HaError::OtherPeer`], or why the node does not answer.
    pub async fn candidates(&self) -> HaResult<Vec<PromotionCandidate>> {
        let bound = Bound::to(self.node).await?;
        let Members { node, members } = bound.ask(Question::Status).await?;
        let lags: Vec<Lagging> = bound.ask(Question::Replicas).await?;
        let of = |member: &Member| {
            let known = lags.iter().find(|lag| lag.id == member.node).map(|lag| lag.changes);
            let lag = if member.node == node { Some(0) } else { known };
            let reached = member.node == node || member.linked;
            let candidate = Candidate {
                node: member.node,
                priority: Candidate::priority_of(member.priority),
                observer: member.observer,
                healthy: member.state == "alive" && reached && !member.read_only,
                lag: lag.unwrap_or(u64::MAX),
                load: member.load.map_or(u32::MAX, u32::from),
            };
            (candidate, lag)
        };
        let rules = PromotionRules::new(&FailoverLimits { strategy: self.strategy, ..FailoverLimits::default() });
        let all: Vec<(Candidate, Option<u64>)> = members.iter().map(of).collect();
        let known: Vec<Candidate> = all.iter().map(|(candidate, _)| *candidate).collect();
        let ranked: Vec<NodeId> = rules.ranked(&known).iter().map(|candidate| candidate.node).collect();
        let place = |id: NodeId| ranked.iter().position(|ranked| *ranked == id).unwrap_or(usize::MAX);
        let mut told: Vec<_> = members.iter().zip(all).collect();
        told.sort_by_key(|(member, _)| (place(member.node), member.node));
        let told = told.into_iter().map(|(member, (candidate, lag))| PromotionCandidate {
            node_id: member.node.uuid(),
            name: member.name.clone(),
            priority: member.priority.into(),
            lag,
            ineligible: rules.check(&candidate).err().map(|why| why.to_string()),
        });
        Ok(told.collect())
    }

    /// The best of those that may and do not hold the role; nobody where there is none, or the strategy is
    /// [`PromotionStrategy::Manual`].
    ///
    /// ```no_run
    /// # async fn example(node: uuid::Uuid) -> oxigdal_ha::HaResult<()> {
    /// use oxigdal_ha::failover::{FailoverConfig, PromotionStrategy, promotion::ReplicaPromotion};
    ///
    /// let promotion = ReplicaPromotion::new(PromotionStrategy::default(), FailoverConfig::default()).through(node);
    /// if let Some(best) = promotion.select_candidate().await? {
    ///     println!("{best:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`candidates`](Self::candidates).
    pub async fn select_candidate(&self) -> HaResult<Option<PromotionCandidate>> {
        if self.strategy == PromotionStrategy::Manual {
            return Ok(None);
        }
        let holder = self.held(&Bound::to(self.node).await?).await?.and_then(|role| role.holder);
        let may = |it: &PromotionCandidate| it.ineligible.is_none() && Some(it.node_id) != holder.map(|it| it.uuid());
        Ok(self.candidates().await?.into_iter().find(may))
    }

    /// Moves the role to a member, and waits until it has begun, its promotion hooks included: `max_failover_time_ms` at most. The old holder ends its work first.
    ///
    /// ```no_run
    /// # async fn example(node: uuid::Uuid) -> oxigdal_ha::HaResult<()> {
    /// use oxigdal_ha::failover::{FailoverConfig, PromotionStrategy, promotion::ReplicaPromotion};
    ///
    /// let promotion = ReplicaPromotion::new(PromotionStrategy::default(), FailoverConfig::default()).to_role("export")?;
    /// println!("{:?}", promotion.promote_replica(node).await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The voters refuse: nothing was decided. [`HaError::NotPromoted`]: it is decided, and the new holder has not begun yet.
    pub async fn promote_replica(&self, node_id: Uuid) -> HaResult<PromotionResult> {
        let begun = Instant::now();
        let bound = Bound::to(self.node).await?;
        let before = self.held(&bound).await?;
        let old = before.as_ref().and_then(|role| role.holder);
        let to = NodeId::from_uuid(node_id);
        let what = OrderWhat::Move { to: Some(to) };
        let order = RoleOrder { role: self.role.clone(), what, by: "promotion".to_owned() };
        let _: serde_json::Value = bound.ask(Question::OrderRole(&order)).await?;
        let patience = Duration::from_millis(self.config.max_failover_time_ms);
        loop {
            let now = self.held(&bound).await?;
            if let Some(role) = now.filter(|role| role.holder == Some(to) && role.begun == Some(true)) {
                return Ok(PromotionResult {
                    role: self.role.to_string(),
                    old_leader_id: old.map(|old| old.uuid()),
                    new_leader_id: node_id,
                    token: role.token.index,
                    duration_ms: millis(begun.elapsed()),
                });
            }
            if begun.elapsed() >= patience {
                let (role, waited_ms) = (self.role.to_string(), millis(begun.elapsed()));
                return Err(HaError::NotPromoted { node: node_id, role, waited_ms });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Has the holder stop; nobody holds the role then until it is moved.
    ///
    /// # Errors
    /// The voters refuse: nothing was decided.
    pub async fn demote_leader(&self) -> HaResult<()> {
        let order = RoleOrder { role: self.role.clone(), what: OrderWhat::Release, by: "promotion".to_owned() };
        let bound = Bound::to(self.node).await?;
        bound.ask::<serde_json::Value>(Question::OrderRole(&order)).await.map(drop)
    }

    /// Hands the role over to the best of the others, as [`promote_replica`](Self::promote_replica) does.
    ///
    /// ```no_run
    /// # async fn example(node: uuid::Uuid) -> oxigdal_ha::HaResult<()> {
    /// use oxigdal_ha::failover::{FailoverConfig, PromotionStrategy, promotion::ReplicaPromotion};
    ///
    /// let promotion = ReplicaPromotion::new(PromotionStrategy::default(), FailoverConfig::default());
    /// println!("{:?}", promotion.graceful_handover().await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`promote_replica`](Self::promote_replica); nobody else may hold the role.
    pub async fn graceful_handover(&self) -> HaResult<PromotionResult> {
        match self.select_candidate().await? {
            Some(best) => self.promote_replica(best.node_id).await,
            None => {
                Err(Error::new(ErrorKind::NotFound, format!("no other member may hold the role {}", self.role)).into())
            }
        }
    }

    async fn held(&self, bound: &Bound) -> HaResult<Option<Role>> {
        let roles: Vec<Role> = bound.ask(Question::Roles).await?;
        Ok(roles.into_iter().find(|role| role.role == self.role))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

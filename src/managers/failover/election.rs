//! Who leads the voters of the mesh, and an election among them.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::config::FailoverConfig;
use crate::driver::Clock;
use crate::error::ErrorKind;
use crate::managers::bound::{Bound, Question};
use crate::managers::error::{HaError, HaResult};
use crate::node::VotersChange;
use crate::types::{NodeId, WallTime};

/// The register in which an election is put down: that it can be written shows that a majority follows the winner.
const REGISTER: &str = "managers/election";
/// What is answered where no majority follows the leader, or does not any more.
const UNDECIDED: [ErrorKind; 3] = [ErrorKind::NoQuorum, ErrorKind::NotLeader, ErrorKind::OutcomeUnknown];
/// How often it is looked whether somebody leads.
const LOOK: Duration = Duration::from_millis(10);

/// What a node is among the voters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeRole {
    /// It leads.
    Leader,
    /// It votes, and follows.
    Follower,
    /// It votes, and asks for votes.
    Candidate,
    /// It does not vote.
    Observer,
}

/// How an election ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ElectionResult {
    /// Who leads.
    pub winner_id: Uuid,
    /// In which term.
    pub term: u64,
    /// How many vote.
    pub total_votes: usize,
    /// So many of them are a majority: as many, at least, have elected the winner. How many exactly nobody tells.
    pub quorum: usize,
    /// How long it took from the call on, in milliseconds.
    pub duration_ms: u64,
    /// When it ended, in microseconds since 1970.
    pub timestamp: WallTime,
}

/// An election, as one node asks for it.
#[derive(Clone, Debug)]
pub struct LeaderElection {
    node: Uuid,
    priority: u32,
    config: FailoverConfig,
}

/// The voters as a node tells them.
#[derive(Clone, Deserialize)]
struct Voters {
    standing: String,
    leader: Option<NodeId>,
    term: u64,
    members: Vec<Voter>,
    quorum: usize,
}

#[derive(Clone, Deserialize)]
struct Voter {
    voter: bool,
}

/// What of a node's status says whom it reaches.
#[derive(Deserialize)]
struct Reached {
    node: NodeId,
    members: Vec<Member>,
}

#[derive(Deserialize)]
struct Member {
    node: NodeId,
    linked: bool,
}

impl LeaderElection {
    /// Of this node. With the priority 0 it does not want to lead: where it does, it hands that over before the election. Which of the
    /// voters stands first is else the voters' affair (`node.priority`).
    #[must_use]
    pub fn new(node_id: Uuid, priority: u32, config: FailoverConfig) -> Self {
        Self { node: node_id, priority, config }
    }

    /// The priority.
    #[must_use]
    pub fn priority(&self) -> u32 {
        self.priority
    }

    /// Waits until the voters have a leader whom a majority follows, shown by a decision, and says who that is. A leader that is
    /// there stays: an election is held when he is gone, by the voters themselves and without being asked.
    ///
    /// ```no_run
    /// # async fn example(node: uuid::Uuid) -> oxigdal_ha::HaResult<()> {
    /// use oxigdal_ha::failover::{FailoverConfig, election::LeaderElection};
    ///
    /// let election = LeaderElection::new(node, 100, FailoverConfig::default());
    /// println!("{:?}", election.start_election().await?);
    /// println!("{:?} in term {}", election.get_leader().await?, election.get_term().await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`HaError::NoLeader`] after `election_timeout_ms`, with what was missing; [`HaError::NoPeer`], [`HaError::OtherPeer`].
    pub async fn start_election(&self) -> HaResult<ElectionResult> {
        let (begun, bound) = (Instant::now(), self.bound().await?);
        let patience = Duration::from_millis(self.config.election_timeout_ms);
        let mut why = "no group of voters is known".to_owned();
        if self.priority == 0 && role(&bound.ask::<Voters>(Question::Voters).await?) == NodeRole::Leader {
            self.transfer(&bound).await?;
        }
        loop {
            let left = patience.saturating_sub(begun.elapsed()).max(LOOK);
            match tokio::time::timeout(left, elected(&bound)).await.unwrap_or_else(|_| not_yet("no majority answers")) {
                Ok(voters) => {
                    let winner_id = voters.leader.expect("it is looked for above").uuid();
                    if self.priority > 0 || winner_id != self.node {
                        let total_votes = voters.members.iter().filter(|it| it.voter).count();
                        let duration_ms = millis(begun.elapsed());
                        let (term, quorum) = (voters.term, voters.quorum);
                        let timestamp = Clock::start().now().wall;
                        return Ok(ElectionResult { winner_id, term, total_votes, quorum, duration_ms, timestamp });
                    }
                    "this node leads, and does not want to".clone_into(&mut why);
                }
                Err(missing) => why = missing?,
            }
            if begun.elapsed() >= patience {
                return Err(HaError::NoLeader { waited_ms: millis(begun.elapsed()), why });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What this node is among the voters.
    ///
    /// # Errors
    /// [`HaError::NoPeer`], [`HaError::OtherPeer`], or why it does not answer.
    pub async fn get_role(&self) -> HaResult<NodeRole> {
        Ok(role(&self.bound().await?.ask(Question::Voters).await?))
    }

    /// Who leads, as far as this node knows.
    ///
    /// # Errors
    /// As [`get_role`](Self::get_role).
    pub async fn get_leader(&self) -> HaResult<Option<Uuid>> {
        let voters: Voters = self.bound().await?.ask(Question::Voters).await?;
        Ok(voters.leader.map(|leader| leader.uuid()))
    }

    /// The term, as far as this node knows.
    ///
    /// # Errors
    /// As [`get_role`](Self::get_role).
    pub async fn get_term(&self) -> HaResult<u64> {
        let voters: Voters = self.bound().await?.ask(Question::Voters).await?;
        Ok(voters.term)
    }

    /// Hands the lead over to whoever is next in rank, if this node has it.
    ///
    /// ```no_run
    /// # async fn example(node: uuid::Uuid) -> oxigdal_ha::HaResult<()> {
    /// use oxigdal_ha::failover::{FailoverConfig, election::LeaderElection};
    ///
    /// let election = LeaderElection::new(node, 100, FailoverConfig::default());
    /// println!("{:?}", election.get_role().await?);
    /// election.step_down().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The node does not lead, or there is nobody else; else as [`get_role`](Self::get_role).
    pub async fn step_down(&self) -> HaResult<()> {
        self.transfer(&self.bound().await?).await
    }

    async fn transfer(&self, bound: &Bound) -> HaResult<()> {
        bound.ask::<serde_json::Value>(Question::ChangeVoters(VotersChange::Transfer { to: None })).await.map(drop)
    }

    async fn bound(&self) -> HaResult<Bound> {
        Bound::to(Some(self.node)).await
    }
}

/// The voters, when somebody leads them whom this node reaches, and a majority has just decided something; else what is missing.
async fn elected(bound: &Bound) -> Result<Voters, HaResult<String>> {
    let before: Voters = bound.ask(Question::Voters).await.map_err(Err)?;
    if before.members.is_empty() {
        return not_yet("no group of voters is known");
    }
    let Some(leader) = before.leader else { return not_yet("no majority of the voters has agreed on one") };
    let Reached { node, members } = bound.ask(Question::Status).await.map_err(Err)?;
    if leader != node && !members.iter().any(|member| member.node == leader && member.linked) {
        return not_yet("the leader that was is gone, and no other is elected yet");
    }
    let value = leader.to_string();
    match bound.ask::<serde_json::Value>(Question::Propose { register: REGISTER, value: &value }).await {
        Ok(_) => {}
        Err(error) if UNDECIDED.iter().any(|it| error.code() == Some(it.code())) => return not_yet(&error.to_string()),
        Err(error) => return Err(Err(error)),
    }
    let after: Voters = bound.ask(Question::Voters).await.map_err(Err)?;
    if after.leader == Some(leader) { Ok(after) } else { not_yet("the lead changed hands meanwhile") }
}

/// What is missing to an election.
fn not_yet<T>(why: &str) -> Result<T, HaResult<String>> {
    Err(Ok(why.to_owned()))
}

fn role(voters: &Voters) -> NodeRole {
    match voters.standing.as_str() {
        "leader" => NodeRole::Leader,
        "follower" => NodeRole::Follower,
        "candidate" => NodeRole::Candidate,
        _ => NodeRole::Observer,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

//! Replication: how far the others are, and what crossed.

use axum::extract::State;
use axum::response::Json;

use super::Interface;
use super::reply::Refusal;
use crate::node::{Command, Outcome, ReplicaNode, Replicas, ReplicationStatistics};

pub(super) async fn lag(State(interface): State<Interface>) -> Result<Json<Replicas>, Refusal> {
    match interface.link.command(Command::Replicas).await? {
        Outcome::Replicas(replicas) => Ok(Json(replicas)),
        other => unreachable!("Replicas was answered by {other:?}"),
    }
}

pub(super) async fn peers(state: State<Interface>) -> Result<Json<Vec<ReplicaNode>>, Refusal> {
    lag(state).await.map(|Json(replicas)| Json(replicas.replicas))
}

pub(super) async fn statistics(State(interface): State<Interface>) -> Result<Json<ReplicationStatistics>, Refusal> {
    match interface.link.command(Command::Statistics).await? {
        Outcome::Statistics(statistics) => Ok(Json(*statistics)),
        other => unreachable!("Statistics was answered by {other:?}"),
    }
}

//! Replication: how far the others are, what crossed, pauses, and writes that wait for copies.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use serde::Serialize;
use serde_json::Value;

use super::Interface;
use super::reply::{Last, Refusal};
use crate::error::ErrorKind;
use crate::node::{Command, Copies, Outcome, Paused, ReplicaNode, Replicas, ReplicationStatistics};
use crate::replication::{Ack, Pause};
use crate::types::NodeId;

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

pub(super) async fn pause(state: State<Interface>, Last(who): Last) -> Result<Json<Paused>, Refusal> {
    set_paused(state, &who, true).await
}

pub(super) async fn resume(state: State<Interface>, Last(who): Last) -> Result<Json<Paused>, Refusal> {
    set_paused(state, &who, false).await
}

async fn set_paused(State(interface): State<Interface>, who: &str, paused: bool) -> Result<Json<Paused>, Refusal> {
    let peer = named(&interface, who).await?;
    match interface.link.command(Command::Pause(Pause { peer, paused })).await? {
        Outcome::Paused(paused) => Ok(Json(paused)),
        other => unreachable!("Pause was answered by {other:?}"),
    }
}

/// A member by its id, or by its name if only one has it.
pub(super) async fn named(interface: &Interface, who: &str) -> Result<NodeId, Refusal> {
    if let Ok(id) = who.parse() {
        return Ok(id);
    }
    let members = interface.link.report().await?.node.members;
    let mut ids = members.iter().filter(|member| member.meta.name == who).map(|member| member.node);
    match (ids.next(), ids.count()) {
        (Some(id), 0) => Ok(id),
        (Some(_), more) => {
            let message = format!("{} members are named {who:?}: give the id", more + 1);
            Err(Refusal::new(StatusCode::CONFLICT, ErrorKind::Exists.code(), message))
        }
        (None, _) => {
            let message = format!("no member is named {who:?}");
            Err(Refusal::new(StatusCode::NOT_FOUND, ErrorKind::NotFound.code(), message))
        }
    }
}

/// What a write came to, with who else holds it under `copies` if any were wanted.
pub(super) async fn write(
    interface: &Interface,
    command: Command,
    ack: Option<&str>,
) -> Result<(Outcome, Option<Copies>), Refusal> {
    Ok(interface.link.write(command, level(ack)?).await?)
}

/// How many copies a query asks for.
pub(super) fn level(ack: Option<&str>) -> Result<Option<Ack>, Refusal> {
    let parsed = ack.map(str::parse::<Ack>).transpose();
    parsed.map_err(|error| Refusal::invalid(format!("the query: ack: {error}")))
}

/// An answer with who else holds what was written.
pub(super) fn shown(outcome: &impl Serialize, copies: Option<Copies>) -> Result<Json<Value>, Refusal> {
    let lost = |error: serde_json::Error| Refusal::invalid(format!("the answer cannot be shown: {error}"));
    let mut value = serde_json::to_value(outcome).map_err(lost)?;
    if let (Some(copies), Some(fields)) = (copies, value.as_object_mut()) {
        fields.insert("copies".to_owned(), serde_json::to_value(copies).map_err(lost)?);
    }
    Ok(Json(value))
}

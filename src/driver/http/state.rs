//! How the peer stands: for people, for load balancers, for supervisors.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use serde::Serialize;
use serde_json::{Value, json};

use super::Interface;
use super::reply::Refusal;
use crate::driver::health::Health;
use crate::driver::peer::{Links, Report};
use crate::node::{Command, MemberStatus};

pub(super) async fn status(State(interface): State<Interface>) -> Result<Json<Report>, Refusal> {
    Ok(Json(interface.link.report().await?))
}

/// A member, and why there is no link with it if one was tried.
#[derive(Serialize)]
pub(super) struct Member {
    #[serde(flatten)]
    status: MemberStatus,
    not_linked: Option<String>,
    /// Whether it was revoked: whatever its state is, it does not come back.
    expelled: bool,
}

pub(super) async fn members(State(interface): State<Interface>) -> Result<Json<Vec<Member>>, Refusal> {
    let Report { node, network, .. } = interface.link.report().await?;
    let why = |node| network.not_linked.iter().find(|trouble| trouble.node == Some(node)).map(|it| it.why.clone());
    let told = node.members.into_iter().map(|status| {
        let expelled = interface.admission.is_revoked(status.node);
        Member { not_linked: why(status.node), expelled, status }
    });
    Ok(Json(told.collect()))
}

pub(super) async fn links(State(interface): State<Interface>) -> Json<Links> {
    Json(interface.link.facts.links())
}

pub(super) async fn leave(State(interface): State<Interface>) -> Result<Json<Value>, Refusal> {
    interface.link.command(Command::Leave).await?;
    Ok(Json(json!({ "left": true })))
}

pub(super) async fn live(State(interface): State<Interface>) -> (StatusCode, Json<Value>) {
    let health = interface.link.health().await;
    answer(&health, health.live)
}

pub(super) async fn ready(State(interface): State<Interface>) -> (StatusCode, Json<Value>) {
    let health = interface.link.health().await;
    answer(&health, health.ready)
}

pub(super) async fn health(State(interface): State<Interface>) -> (StatusCode, Json<Value>) {
    let health = interface.link.health().await;
    answer(&health, health.live && health.ready)
}

/// What a probe is told: whether it is well, and why not.
fn answer(health: &Health, good: bool) -> (StatusCode, Json<Value>) {
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let (codes, reasons): (Vec<&str>, Vec<&String>) = health.unready().map(|reason| (reason.code, &reason.why)).unzip();
    let mut told = json!({ "live": health.live, "ready": health.ready, "reasons": reasons });
    if !codes.is_empty() {
        told["codes"] = json!(codes);
    }
    (status, Json(told))
}

//! Refused entries: listed, and judged again when an operator asks for it.

use axum::extract::State;
use axum::response::Json;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Interface;
use super::reply::{Body, Refusal};
use crate::node::{Command, Outcome, Quarantine};
use crate::types::NodeId;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Release {
    /// All origins if absent.
    #[serde(default)]
    origin: Option<NodeId>,
}

pub(super) async fn list(State(interface): State<Interface>) -> Result<Json<Quarantine>, Refusal> {
    match interface.link.command(Command::Quarantine).await? {
        Outcome::Quarantine(quarantine) => Ok(Json(*quarantine)),
        other => unreachable!("Quarantine was answered by {other:?}"),
    }
}

pub(super) async fn release(
    State(interface): State<Interface>,
    Body(Release { origin }): Body<Release>,
) -> Result<Json<Value>, Refusal> {
    match interface.link.command(Command::Release { origin }).await? {
        Outcome::Released { entries } => Ok(Json(json!({ "released": entries }))),
        other => unreachable!("Release was answered by {other:?}"),
    }
}

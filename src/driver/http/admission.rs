//! Who may join, and who may not any more: this peer's office as an issuer.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Json;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Interface;
use super::reply::{Body, Refusal};
use crate::driver::admission::{Admission, AdmissionError, InviteStatus};
use crate::error::Error;
use crate::types::NodeId;

/// Life of an invite when the client does not say: long enough to walk to the box.
const LIFE_S: u64 = 3_600;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewInvite {
    #[serde(default = "life")]
    ttl_s: u64,
    #[serde(default)]
    name: String,
}

const fn life() -> u64 {
    LIFE_S
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expelled {
    node: NodeId,
}

impl Interface {
    /// Does it on a thread that may wait for the disk.
    async fn office<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Admission) -> Result<T, AdmissionError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let admission = self.admission.clone();
        match tokio::task::spawn_blocking(move || work(&admission)).await {
            Ok(result) => Ok(result.map_err(Error::from)?),
            Err(error) => Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string())),
        }
    }
}

pub(super) async fn invite(
    State(interface): State<Interface>,
    Body(new): Body<NewInvite>,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    let invite = interface.office(move |office| office.issue_invite(Duration::from_secs(new.ttl_s), &new.name)).await?;
    let told = json!({
        "invite": invite.to_string(),
        "id": invite.id().to_string(),
        "expires": invite.expires_at().to_string(),
    });
    Ok((StatusCode::CREATED, Json(told)))
}

pub(super) async fn invites(State(interface): State<Interface>) -> Result<Json<Value>, Refusal> {
    let invites: Vec<InviteStatus> = interface.office(|office| Ok(office.invites())).await?;
    let told: Vec<Value> = invites
        .iter()
        .map(|invite| {
            json!({
                "id": invite.id.to_string(),
                "name": invite.name,
                "issued": invite.issued_at.to_string(),
                "expires": invite.expires_at.to_string(),
                "used_by": invite.used_by,
                "revoked": invite.revoked,
            })
        })
        .collect();
    Ok(Json(json!({ "invites": told })))
}

pub(super) async fn take_back(
    State(interface): State<Interface>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let id = id.parse().map_err(|error| Refusal::invalid(format!("the id {id:?}: {error}")))?;
    interface.office(move |office| office.revoke_invite(id)).await?;
    Ok(Json(json!({ "revoked": true })))
}

pub(super) async fn revoke(
    State(interface): State<Interface>,
    Body(Expelled { node }): Body<Expelled>,
) -> Result<Json<Value>, Refusal> {
    interface.office(move |office| office.revoke(node)).await?;
    Ok(Json(json!({ "revoked": true })))
}

pub(super) async fn revoked(State(interface): State<Interface>) -> Result<Json<Value>, Refusal> {
    let revoked = interface.office(|office| Ok(office.revoked())).await?;
    let told: Vec<Value> = revoked.iter().map(|(node, at)| json!({ "node": node, "at": at.to_string() })).collect();
    Ok(Json(json!({ "revoked": told })))
}

//! Who may join, and who may not any more: this peer's office as an issuer.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Interface;
use super::reply::{Body, Last, Refusal};
use crate::driver::admission::{Admission, AdmissionError, Invite, InviteStatus, IssuerCertificate};
use crate::driver::failure::StartError;
use crate::driver::network::rejoin;
use crate::error::Error;
use crate::types::NodeId;

/// How long issuers have to renew a ticket.
const RENEWAL_MAX: Duration = Duration::from_secs(10);

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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewOffice {
    certificate: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewTicket {
    invite: Option<String>,
}

impl Interface {
    /// Does it on a thread that may wait for the disk.
    pub(super) async fn office<T: Send + 'static>(
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
    let now = interface.link.facts.clock.now().wall;
    let told: Vec<Value> = invites
        .iter()
        .map(|invite| {
            json!({
                "id": invite.id.to_string(),
                "name": invite.name,
                "issued": invite.issued_at.to_string(),
                "expires": invite.expires_at.to_string(),
                "expired": invite.expires_at <= now,
                "used_by": invite.used_by,
                "revoked": invite.revoked,
            })
        })
        .collect();
    Ok(Json(json!({ "invites": told })))
}

pub(super) async fn take_back(State(interface): State<Interface>, Last(id): Last) -> Result<Json<Value>, Refusal> {
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

pub(super) async fn issuers(State(interface): State<Interface>) -> Json<Value> {
    let linked = interface.link.facts.links().links;
    let told = interface.admission.issuers().into_iter().map(|issuer| {
        json!({
            "node": issuer.node,
            "here": issuer.here,
            "linked": linked.iter().any(|link| link.node == issuer.node),
            "since": issuer.since.to_string(),
            "until": issuer.until.to_string(),
            "expired": issuer.expired,
            "revoked": issuer.revoked,
            "tickets": issuer.tickets,
        })
    });
    Json(json!({ "issuers": told.collect::<Vec<_>>() }))
}

pub(super) async fn request(State(interface): State<Interface>) -> Result<Json<Value>, Refusal> {
    let request = interface.office(Admission::request_office).await?;
    let (node, key) = (interface.admission.node(), request.fingerprint());
    Ok(Json(json!({ "request": request.to_string(), "node": node, "key": key })))
}

pub(super) async fn install(
    State(interface): State<Interface>,
    Body(NewOffice { certificate }): Body<NewOffice>,
) -> Result<Json<Value>, Refusal> {
    let certificate: IssuerCertificate = certificate.parse().map_err(|error| Refusal::invalid(format!("{error}")))?;
    interface.office(move |office| office.install(certificate)).await?;
    let until = interface.admission.papers().issuer_until.map(|until| until.to_string());
    Ok(Json(json!({ "node": interface.admission.node(), "until": until })))
}

pub(super) async fn renew(
    State(interface): State<Interface>,
    Body(NewTicket { invite }): Body<NewTicket>,
) -> Result<Json<Value>, Refusal> {
    let admission = &interface.admission;
    match invite {
        None => _ = admission.renew_now(RENEWAL_MAX).await.map_err(Error::from)?,
        Some(text) => {
            let invite: Invite = text.parse().map_err(|error| Refusal::invalid(format!("{error}")))?;
            rejoin(admission, &invite, RENEWAL_MAX).await.map_err(|error| Error::from(StartError::from(error)))?;
        }
    }
    let papers = admission.papers();
    Ok(Json(json!({ "until": papers.ticket_until.to_string(), "signed_by": papers.signed_by })))
}

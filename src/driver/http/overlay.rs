//! The overlay: what is configured here, what was set for the mesh, and setting it.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Interface;
use super::reply::{Body, Refusal};
use crate::driver::peer::Report;
use crate::error::ErrorKind;
use crate::node::Status;
use crate::overlay::SignedPolicy;
use crate::topology::{Policy, PolicyError};
use crate::types::NodeId;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewOverlay {
    overlay: String,
}

pub(super) async fn show(State(interface): State<Interface>) -> Result<Json<Value>, Refusal> {
    let Report { node, host, .. } = interface.link.report().await?;
    let (policies, void) = (interface.admission.policies(), interface.admission.void_policy());
    let in_force = policies.in_force();
    let configured = host.terms.iter().find(|(key, _)| *key == "overlay").map(|(_, value)| value.to_owned());
    Ok(Json(json!({
        "configured": configured,
        "in_force": in_force.map_or_else(|| configured.clone(), |set| Some(set.policy.to_string())),
        "followed": node.overlay_policy.followed,
        "set": in_force.map(|set| told(set, &node)),
        "void": void.map(|set| told(&set, &node)),
        "issuers": interface.issuers_by_name(&node),
    })))
}

pub(super) async fn set(
    State(interface): State<Interface>,
    Body(NewOverlay { overlay }): Body<NewOverlay>,
) -> Result<Json<Value>, Refusal> {
    let policy: Policy = overlay.parse().map_err(|error: PolicyError| Refusal::invalid(error.to_string()))?;
    if !interface.admission.is_issuer() {
        let Report { node, .. } = interface.link.report().await?;
        return Err(Refusal::new(StatusCode::FORBIDDEN, ErrorKind::NotAdmitted.code(), interface.who_may(&node)));
    }
    let set = interface.office(move |office| office.set_overlay(policy)).await?;
    let Report { node, .. } = interface.link.report().await?;
    Ok(Json(json!({ "set": told(&set, &node) })))
}

fn told(set: &SignedPolicy, node: &Status) -> Value {
    json!({
        "overlay": set.policy,
        "version": set.version,
        "at": set.issued_at.to_string(),
        "by": set.signer,
        "by_name": name(node, set.signer),
    })
}

fn name(node: &Status, id: NodeId) -> Option<&str> {
    node.members.iter().find(|member| member.node == id).map(|member| member.meta.name.as_str())
}

impl Interface {
    /// The issuers that are good, as this peer knows them.
    fn issuers_by_name(&self, node: &Status) -> Vec<Value> {
        let linked = self.link.facts.links().links;
        let good = self.admission.issuers().into_iter().filter(|issuer| !issuer.expired && !issuer.revoked);
        good.map(|issuer| {
            let linked = linked.iter().any(|link| link.node == issuer.node);
            json!({ "node": issuer.node, "name": name(node, issuer.node), "here": issuer.here, "linked": linked })
        })
        .collect()
    }

    /// Where an overlay can be set, for whoever tried it here.
    fn who_may(&self, node: &Status) -> String {
        let issuers = self.issuers_by_name(node).into_iter().map(|issuer| {
            let text = |key: &str| issuer[key].as_str().unwrap_or("?").to_owned();
            let away = if issuer["linked"] == true { "" } else { ", not linked with this peer" };
            format!("{} (node {}{away})", text("name"), text("node"))
        });
        let issuers: Vec<String> = issuers.collect();
        let known = match issuers.is_empty() {
            true => "none is known here".to_owned(),
            false => format!("known here: {}", issuers.join("; ")),
        };
        format!("this peer is not an issuer, and only an issuer can set the overlay of the mesh; {known}")
    }
}

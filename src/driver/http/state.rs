//! How the peer stands: for people, for load balancers, for supervisors.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use serde::Serialize;
use serde_json::{Value, json};

use super::Interface;
use super::reply::Refusal;
use crate::driver::peer::{Links, Phase, Report};
use crate::node::{Command, MemberStatus, Restoring, Status};
use crate::types::DiskFaultKind;

/// A loop that has not answered for so long is not alive: a supervisor should restart the process.
const ALIVE_MAX: Duration = Duration::from_secs(10);

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
    let verdict = interface.verdict().await;
    verdict.answer(verdict.live)
}

pub(super) async fn ready(State(interface): State<Interface>) -> (StatusCode, Json<Value>) {
    let verdict = interface.verdict().await;
    verdict.answer(verdict.ready)
}

pub(super) async fn health(State(interface): State<Interface>) -> (StatusCode, Json<Value>) {
    let verdict = interface.verdict().await;
    verdict.answer(verdict.live && verdict.ready)
}

/// What the probes say.
struct Verdict {
    live: bool,
    ready: bool,
    reasons: Vec<String>,
}

impl Verdict {
    fn answer(&self, good: bool) -> (StatusCode, Json<Value>) {
        let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, Json(json!({ "live": self.live, "ready": self.ready, "reasons": self.reasons })))
    }
}

/// Why a node does not serve, or not all of it.
fn unready(node: &Status) -> Vec<String> {
    let restoring = node.restoring.map(|Restoring { done, of }| format!("it restores documents: {done} of {of}"));
    let read_only = node.read_only.as_ref().map(|fault| match fault.kind {
        DiskFaultKind::Full => format!("it takes no edits until there is room on its disk: {fault}"),
        _ => format!("it takes no edits until it is restarted: {fault}"),
    });
    restoring.into_iter().chain(read_only).collect()
}

impl Interface {
    async fn verdict(&self) -> Verdict {
        match self.link.phase() {
            Phase::Booting => Verdict { live: true, ready: false, reasons: vec!["it reads its log still".into()] },
            Phase::Leaving => Verdict { live: true, ready: false, reasons: vec!["it is leaving the mesh".into()] },
            Phase::Stopped => Verdict { live: false, ready: false, reasons: vec!["it has stopped".into()] },
            Phase::Ready => match tokio::time::timeout(ALIVE_MAX, self.link.report()).await {
                Ok(Ok(report)) => {
                    let reasons = unready(&report.node);
                    Verdict { live: true, ready: reasons.is_empty(), reasons }
                }
                Ok(Err(error)) => Verdict { live: true, ready: false, reasons: vec![error.to_string()] },
                Err(_) => {
                    let reason = format!("its loop has not answered for {} s", ALIVE_MAX.as_secs());
                    Verdict { live: false, ready: false, reasons: vec![reason] }
                }
            },
        }
    }
}

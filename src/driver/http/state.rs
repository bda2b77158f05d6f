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
use crate::node::{Command, Intake, MemberStatus, Restoring, Status};
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
    reasons: Vec<Reason>,
}

/// Why not: a word for programs, and a sentence.
struct Reason(&'static str, String);

impl Verdict {
    fn not(live: bool, code: &'static str, why: impl std::fmt::Display) -> Self {
        Self { live, ready: false, reasons: vec![Reason(code, why.to_string())] }
    }

    fn answer(&self, good: bool) -> (StatusCode, Json<Value>) {
        let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let (codes, reasons): (Vec<&str>, Vec<&String>) =
            self.reasons.iter().map(|Reason(code, why)| (*code, why)).unzip();
        let mut told = json!({ "live": self.live, "ready": self.ready, "reasons": reasons });
        if !codes.is_empty() {
            told["codes"] = json!(codes);
        }
        (status, Json(told))
    }
}

/// Why a node does not serve, or not all of it.
fn unready(node: &Status, filling: bool) -> Vec<Reason> {
    let restoring = node
        .restoring
        .map(|Restoring { done, of }| Reason("restoring", format!("it restores documents: {done} of {of}")));
    let read_only = node.read_only.as_ref().map(|fault| {
        Reason(
            "read_only",
            match fault.kind {
                DiskFaultKind::Full => format!("it takes no edits until there is room on its disk: {fault}"),
                _ => format!("it takes no edits until it is restarted: {fault}"),
            },
        )
    });
    let Intake { behind, heard, unheard } = node.intake;
    let filling = filling.then(|| {
        Reason(
            "filling",
            match (behind, heard + unheard) {
                (0, 0) => {
                    "it began with nothing, or out of a recovery, and waits for a neighbour that may hold more".into()
                }
                (0, _) => format!("it is being filled: {unheard} of its neighbours have not told yet what they hold"),
                _ => format!("it is being filled: its neighbours hold more of {behind} logs"),
            },
        )
    });
    restoring.into_iter().chain(read_only).chain(filling).collect()
}

impl Interface {
    async fn verdict(&self) -> Verdict {
        match self.link.phase() {
            Phase::Booting => Verdict::not(true, "booting", "it reads its log still"),
            Phase::Leaving => Verdict::not(true, "leaving", "it is leaving the mesh"),
            Phase::Stopped => Verdict::not(false, "stopped", "it has stopped"),
            Phase::Ready => match tokio::time::timeout(ALIVE_MAX, self.link.report()).await {
                Ok(Ok(report)) => {
                    let reasons = unready(&report.node, report.host.filling);
                    Verdict { live: true, ready: reasons.is_empty(), reasons }
                }
                Ok(Err(error)) => Verdict::not(true, "no_answer", error),
                Err(_) => {
                    let why = format_args!("its loop has not answered for {} s", ALIVE_MAX.as_secs());
                    Verdict::not(false, "no_answer", why)
                }
            },
        }
    }
}

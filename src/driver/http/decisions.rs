//! Decisions of the voters: what was decided, who decides, and having something decided.

use axum::extract::{Query, State};
use axum::response::Json;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Interface;
use super::reply::{Body, Refusal};
use crate::backup::JOB_REGISTER;
use crate::consensus::{Expect, RequestId};
use crate::node::{Command, Deciders, Decisions, Outcome, Proposal, VotersChange};
use crate::types::Index;

/// Decisions in one page, by default.
const LIMIT: usize = 100;

pub(super) async fn leader(State(interface): State<Interface>) -> Result<Json<Value>, Refusal> {
    let Deciders { leader, epoch, term, standing, known, .. } = deciders(&interface, Command::Deciders).await?;
    Ok(Json(json!({ "leader": leader, "epoch": epoch, "term": term, "standing": standing, "known": known })))
}

pub(super) async fn voters(State(interface): State<Interface>) -> Result<Json<Deciders>, Refusal> {
    deciders(&interface, Command::Deciders).await.map(Json)
}

pub(super) async fn change(
    State(interface): State<Interface>,
    Body(change): Body<VotersChange>,
) -> Result<Json<Deciders>, Refusal> {
    deciders(&interface, Command::ChangeVoters(change)).await.map(Json)
}

async fn deciders(interface: &Interface, command: Command) -> Result<Deciders, Refusal> {
    match interface.decide(command).await? {
        Outcome::Deciders(deciders) => Ok(*deciders),
        other => unreachable!("a question about voters was answered by {other:?}"),
    }
}

impl Interface {
    /// A command that the leader may refuse, or another peer: then it is told by name who leads.
    pub(super) async fn decide(&self, command: Command) -> Result<Outcome, Refusal> {
        match self.link.command(command).await {
            Ok(outcome) => Ok(outcome),
            Err(error) => Err(self.named(error.into()).await),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct After {
    after: Option<Index>,
    limit: Option<usize>,
}

pub(super) async fn tail(
    State(interface): State<Interface>,
    Query(After { after, limit }): Query<After>,
) -> Result<Json<Decisions>, Refusal> {
    let (after, limit) = (after.unwrap_or_default(), limit.unwrap_or(LIMIT));
    match interface.link.command(Command::Decisions { after, limit }).await? {
        Outcome::Decisions(decisions) => Ok(Json(decisions)),
        other => unreachable!("Decisions was answered by {other:?}"),
    }
}

/// What a client wants decided. A value is a text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    register: String,
    #[serde(default)]
    expect: Option<Expect>,
    value: Option<String>,
    request: Option<String>,
}

/// What came of it.
#[derive(Serialize)]
pub(super) struct Made {
    request: String,
    token: String,
    #[serde(flatten)]
    outcome: crate::consensus::Outcome,
}

pub(super) async fn propose(
    State(interface): State<Interface>,
    Body(wanted): Body<Wanted>,
) -> Result<Json<Made>, Refusal> {
    let Wanted { register, expect, value, request } = wanted;
    if register == JOB_REGISTER {
        return Err(Refusal::invalid("`backup create --mesh` sets this register, and nobody else"));
    }
    let request =
        request.map(|text| parse(&text).ok_or_else(|| Refusal::invalid(format!("{text:?} names no request"))));
    let (expect, value) = (expect.unwrap_or(Expect::Any), value.map(Into::into));
    let proposal = Proposal { register, expect, value, request: request.transpose()? };
    match interface.decide(Command::Propose(proposal)).await? {
        Outcome::Decided(made) => {
            Ok(Json(Made { request: made.request.to_string(), token: made.token.to_string(), outcome: made.outcome }))
        }
        other => unreachable!("Propose was answered by {other:?}"),
    }
}

/// A request's name, as it is told.
fn parse(text: &str) -> Option<RequestId> {
    let (born, number) = text.split_once('.')?;
    let (born, number) = (born.parse().ok()?, u128::from_str_radix(number, 16).ok()?);
    Some(RequestId { born: Index::new(born), number })
}

//! Roles: who holds them, for people and load balancers, and orders about them.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::Interface;
use super::reply::{Body, Last, Query, Refusal};
use crate::consensus::Token;
use crate::membership;
use crate::node::{Command, Intake, Outcome, RoleOrder, RoleStatus};
use crate::roles::RoleName;
use crate::types::{Epoch, Index, Term};

pub(super) async fn list(State(interface): State<Interface>) -> Result<Json<Vec<RoleStatus>>, Refusal> {
    interface.roles().await.map(Json)
}

pub(super) async fn order(
    State(interface): State<Interface>,
    Body(order): Body<RoleOrder>,
) -> Result<Json<Value>, Refusal> {
    match interface.decide(Command::OrderRole(order)).await? {
        Outcome::RoleOrdered { token } => Ok(Json(json!({ "token": token }))),
        other => unreachable!("an order about a role was answered by {other:?}"),
    }
}

/// Somebody acts upon this machine in a role.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shown {
    role: RoleName,
    #[serde(deserialize_with = "token")]
    token: Token,
}

/// A token in its parts, or in one text, as hooks have it in `OXIGDAL_HA_FENCE` and commands print it.
fn token<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Token, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) => {
            let form = || D::Error::custom(format!("{text:?} is no token: EPOCH.TERM.INDEX, as in 1.2.3"));
            parsed(&text).ok_or_else(form)
        }
        parts => Token::deserialize(parts).map_err(D::Error::custom),
    }
}

fn parsed(text: &str) -> Option<Token> {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let mut parts = text.split('.').map(|part| if is_number(part) { part.parse().ok() } else { None });
    let mut next = || parts.next().flatten();
    let (epoch, term, index) = (Epoch::new(next()?), Term::new(next()?), Index::new(next()?));
    parts.next().is_none().then_some(Token { epoch, term, index })
}

/// Whether a token is to be heeded: 200 once it is the highest that was seen here, durably; else refused, for good.
pub(super) async fn admit(
    State(interface): State<Interface>,
    Body(Shown { role, token }): Body<Shown>,
) -> Result<Json<Value>, Refusal> {
    match interface.link.command(Command::AdmitRole { role, token }).await? {
        Outcome::RoleAdmitted => Ok(Json(json!({ "admitted": true }))),
        other => unreachable!("a question about a token was answered by {other:?}"),
    }
}

/// 200 where this peer acts as the primary at this moment, and has begun to: its promotion hooks are done. Else 503; the body says who does.
pub(super) async fn primary(State(interface): State<Interface>) -> (StatusCode, Json<Value>) {
    interface.holds("primary").await
}

/// The same of any role.
pub(super) async fn role(State(interface): State<Interface>, Last(name): Last) -> (StatusCode, Json<Value>) {
    interface.holds(&name).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Behind {
    /// Logs that the peer may know to be behind in, at most.
    max_behind: Option<usize>,
}

/// 200 where this peer serves reads, is not the primary, and is not further behind than asked, by what all its neighbours have told it; else
/// 503. Where there are other members and it is linked with none of them it cannot know, which is no answer to how far behind it is: 503 too.
/// Who does not ask that is served by such a peer as well, and is told by `told` that it may be behind by anything.
pub(super) async fn replica(
    State(interface): State<Interface>,
    Query(query): Query<Behind>,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    let node = interface.link.report().await?.node;
    let Intake { behind, heard, unheard } = node.intake;
    // Nobody is behind by what it was not told: whoever is cut off knows the least of that.
    let is_alone = node.members.iter().all(|it| it.node == node.node || it.state == membership::State::Left);
    let is_told = unheard == 0 && (heard > 0 || is_alone);
    let primary = RoleName::primary();
    let acts = interface.roles().await?.into_iter().any(|status| status.role == primary && status.acts);
    let near = query.max_behind.is_none_or(|max| is_told && behind <= max);
    let good = !acts && near && node.restoring.is_none();
    let told = json!({ "role": if acts { "primary" } else { "replica" }, "behind": behind, "told": is_told });
    Ok((if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(told)))
}

impl Interface {
    async fn roles(&self) -> Result<Vec<RoleStatus>, Refusal> {
        match self.link.command(Command::Roles).await? {
            Outcome::Roles(roles) => Ok(roles),
            other => unreachable!("a question about roles was answered by {other:?}"),
        }
    }

    async fn holds(&self, name: &str) -> (StatusCode, Json<Value>) {
        let none =
            |why: &str| (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "role": name, "acts": false, "why": why })));
        let roles = match self.roles().await {
            Ok(roles) => roles,
            Err(refusal) => return none(&refusal.message),
        };
        let Some(status) = roles.into_iter().find(|status| status.role.as_str() == name) else {
            // One that is configured here and was never granted says why.
            let vacancies = self.link.report().await.map(|report| report.node.vacancies).unwrap_or_default();
            let vacancy = vacancies.into_iter().find(|it| it.role.as_str() == name);
            let Some(it) = vacancy else {
                return none("nobody was granted this role, as far as this peer knows");
            };
            let (code, mut body) = none(&it.why);
            (body["code"], body["cure"]) = (json!(it.code), json!(it.cure));
            return (code, body);
        };
        let serves = status.acts && status.begun == Some(true);
        let code = if serves { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let mut body = json!({
            "role": name,
            "acts": status.acts,
            "begun": status.begun,
            "holder": status.holder.map(|node| {
                json!({ "node": node, "name": status.name, "addresses": status.addresses })
            }),
            "token": status.token,
            "state": status.state,
            "lease": status.lease,
            "granter": status.granter,
            "paused": status.paused,
        });
        if let Some(it) = status.vacancy {
            (body["why"], body["code"], body["cure"]) = (json!(it.why), json!(it.code), json!(it.cure));
            if let Some(until) = it.until {
                body["until"] = json!(until);
            }
        }
        (code, Json(body))
    }
}

//! What met in documents: open conflicts, and the trail.

use axum::extract::State;
use axum::response::Json;
use serde::Deserialize;

use super::Interface;
use super::reply::{Body, Query, Refusal};
use crate::conflict::{Priorities, Rule};
use crate::documents::{Command, Look, Outcome, Policy, Wish};
use crate::driver::policies::{remove, set};
use crate::node::{self, PoliciesStatus};
use crate::recovery::target::Target;
use crate::types::{DocId, Hlc, NodeId, WallTime};

/// Documents that are looked at for one page when the client does not say.
const PAGE: usize = 100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Where {
    #[serde(default)]
    prefix: String,
    after: Option<DocId>,
    limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    #[serde(default)]
    prefix: String,
    after: Option<DocId>,
    limit: Option<usize>,
    /// A time, or how long ago.
    since: Option<String>,
    until: Option<String>,
    by: Option<NodeId>,
}

async fn met(interface: &Interface, at: Where, look: Look, wish: Wish) -> Result<Json<Outcome>, Refusal> {
    let Where { prefix, after, limit } = at;
    if limit == Some(0) {
        return Err(Refusal::invalid("the query: a limit of 0 shows nothing"));
    }
    let command = Command::Met { prefix, after, limit: limit.unwrap_or(PAGE), look, wish };
    Ok(Json(interface.link.documents(command).await?))
}

pub(super) async fn list(
    State(interface): State<Interface>,
    Query(at): Query<Where>,
) -> Result<Json<Outcome>, Refusal> {
    met(&interface, at, Look::Open, Wish::default()).await
}

/// Which value is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct What {
    doc: DocId,
    path: String,
    /// The change that wrote it, by its hash or the first digits of it.
    change: String,
}

pub(super) async fn value(
    State(interface): State<Interface>,
    Query(what): Query<What>,
) -> Result<Json<Outcome>, Refusal> {
    let What { doc, path, change } = what;
    Ok(Json(interface.link.documents(Command::Standing { doc, path, change }).await?))
}

pub(super) async fn audit(
    State(interface): State<Interface>,
    Query(which): Query<Which>,
) -> Result<Json<Outcome>, Refusal> {
    let Which { prefix, after, limit, since, until, by } = which;
    let now = interface.link.facts.clock.now().wall;
    let wish = Wish { since: moment(now, "since", since)?, until: moment(now, "until", until)?, by };
    met(&interface, Where { prefix, after, limit }, Look::Trail, wish).await
}

fn moment(now: WallTime, name: &str, text: Option<String>) -> Result<Option<Hlc>, Refusal> {
    let Some(text) = text else { return Ok(None) };
    let wall = match text.parse() {
        Ok(Target::Time(at)) => at,
        Ok(Target::Ago(ago)) => {
            WallTime::from_micros(now.as_micros().saturating_sub(u64::try_from(ago.as_micros()).unwrap_or(u64::MAX)))
        }
        Ok(_) | Err(_) => {
            let why = "is neither a time with its zone, such as 2026-01-31T10:00:00Z, nor how long ago, such as 2h";
            return Err(Refusal::invalid(format!("the query: {name}: {text:?} {why}")));
        }
    };
    Ok(Some(Hlc { wall, logical: 0 }))
}

/// What somebody wants of a policy.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    prefix: String,
    #[serde(default)]
    path: String,
    /// Absent to take the policy away.
    rule: Option<Rule>,
    #[serde(default)]
    priorities: Priorities,
}

pub(super) async fn policies(State(interface): State<Interface>) -> Result<Json<PoliciesStatus>, Refusal> {
    match interface.link.command(node::Command::Policies).await? {
        node::Outcome::Policies(status) => Ok(Json(*status)),
        other => unreachable!("a question about policies was answered by {other:?}"),
    }
}

pub(super) async fn set_policy(
    State(interface): State<Interface>,
    Body(wanted): Body<Wanted>,
) -> Result<Json<Vec<Policy>>, Refusal> {
    let Wanted { prefix, path, rule, priorities } = wanted;
    let link = &interface.link;
    Ok(Json(match rule {
        Some(rule) => set(link, Policy { prefix, path, rule, priorities }).await?,
        None => remove(link, &prefix, &path).await?,
    }))
}

//! Documents: one, a page of them, a history.

use axum::extract::State;
use axum::response::Json;
use serde::Deserialize;
use serde_json::{Value, json};

use super::reply::{Body, Id, Query, Refusal};
use super::{Interface, replication};
use crate::documents::{Command, Edit, Listed, Outcome};
use crate::driver::revert;
use crate::node;
use crate::types::DocId;

/// Documents in a page when the client does not say.
const PAGE: usize = 100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    #[serde(default)]
    prefix: String,
    after: Option<DocId>,
    limit: Option<usize>,
    #[serde(default)]
    values: bool,
    /// Only those in which this peer's checks find something odd.
    #[serde(default)]
    flagged: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Where {
    #[serde(default)]
    path: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct How {
    #[serde(default)]
    create: bool,
    /// The heads of the version that the client had read, as hex, between commas.
    at: Option<String>,
    /// How many other members must hold it: see [`Ack`](crate::replication::Ack).
    ack: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Level {
    ack: Option<String>,
}

impl How {
    fn command(&self, doc: DocId, edits: Vec<Edit>) -> Result<Command, Refusal> {
        let Some(at) = &self.at else { return Ok(Command::Edit { doc, edits, create: self.create }) };
        if self.create {
            return Err(Refusal::invalid("the query: what is to be created has no version"));
        }
        let heads = at.split(',').filter(|head| !head.is_empty()).map(head).collect::<Result<_, _>>()?;
        Ok(Command::EditAt { doc, edits, heads })
    }
}

fn head(text: &str) -> Result<[u8; 32], Refusal> {
    revert::head(text).ok_or_else(|| {
        Refusal::invalid(format!("the query: at: {text:?} is not a head, which has 64 hexadecimal digits"))
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

type Answer = Result<Json<Outcome>, Refusal>;

impl Interface {
    async fn ask(&self, command: Command) -> Answer {
        Ok(Json(self.link.documents(command).await?))
    }

    async fn edit(&self, command: Command, ack: Option<String>) -> Result<Json<Value>, Refusal> {
        match replication::write(self, node::Command::Documents(command), ack.as_deref()).await? {
            (node::Outcome::Documents(outcome), copies) => replication::shown(&outcome, copies),
            (other, _) => unreachable!("an edit was answered by {other:?}"),
        }
    }
}

pub(super) async fn page(
    State(interface): State<Interface>,
    Query(which): Query<Which>,
) -> Result<Json<Value>, Refusal> {
    let Which { prefix, after, limit, values, flagged } = which;
    if limit == Some(0) {
        return Err(Refusal::invalid("the query: a limit of 0 shows nothing"));
    }
    let scan = Command::Scan { prefix, after, limit: limit.unwrap_or(PAGE), values: values || flagged };
    let page = interface.link.documents(scan).await?;
    let Outcome::Page { docs, more } = page else { unreachable!("a scan was answered by {page:?}") };
    if !flagged {
        return Ok(Json(json!({ "docs": docs, "more": more })));
    }
    // So many were looked at; those that are told may be few.
    let next = docs.last().map(|last| last.doc.clone()).filter(|_| more);
    let odd = |Listed { doc, heads, value }: Listed| {
        let flags = interface.link.flags(&doc, value.as_ref()?);
        let mut told = json!({ "doc": doc, "heads": heads, "flags": flags });
        if values {
            told["value"] = value?;
        }
        (!flags.is_empty()).then_some(told)
    };
    let checks: Vec<&str> = interface.link.facts.checks.names().collect();
    let docs: Vec<Value> = docs.into_iter().filter_map(odd).collect();
    Ok(Json(json!({ "docs": docs, "more": more, "next": next, "checks": checks })))
}

pub(super) async fn read(State(interface): State<Interface>, Id(doc): Id, Query(at): Query<Where>) -> Answer {
    interface.ask(Command::Get { doc, path: at.path }).await
}

pub(super) async fn history(State(interface): State<Interface>, Id(doc): Id, Query(_): Query<Nothing>) -> Answer {
    interface.ask(Command::History { doc }).await
}

pub(super) async fn put(
    State(interface): State<Interface>,
    Id(doc): Id,
    Query(how): Query<How>,
    Body(value): Body<Value>,
) -> Result<Json<Value>, Refusal> {
    if !value.is_object() {
        return Err(Refusal::invalid(format!("the body: a document is a JSON object, this is {}", kind(&value))));
    }
    interface.edit(how.command(doc, vec![Edit::Put { value }])?, how.ack).await
}

pub(super) async fn patch(
    State(interface): State<Interface>,
    Id(doc): Id,
    Query(how): Query<How>,
    Body(edits): Body<Vec<Edit>>,
) -> Result<Json<Value>, Refusal> {
    if edits.is_empty() {
        return Err(Refusal::invalid("the body: there are no edits in it"));
    }
    interface.edit(how.command(doc, edits)?, how.ack).await
}

pub(super) async fn remove(
    State(interface): State<Interface>,
    Id(doc): Id,
    Query(level): Query<Level>,
) -> Result<Json<Value>, Refusal> {
    interface.edit(Command::Edit { doc, edits: vec![Edit::Delete], create: false }, level.ack).await
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

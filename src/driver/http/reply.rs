//! Answers: errors as JSON with a code, and the requests' parts parsed with errors that name the place.

use std::fmt::Display;
use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{BODY_MAX, BODY_TIME_MAX, Interface};
use crate::error::{Error, ErrorKind};
use crate::events::Name;
use crate::node::CommandError;
use crate::roles::Refused;
use crate::types::DocId;

/// An error on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
    /// What programs go on with: who leads, under which name to ask again.
    pub(super) data: Map<String, Value>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), data: Map::new() }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorKind::Invalid.code(), message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut error = self.data;
        error.insert("code".to_owned(), self.code.into());
        error.insert("message".to_owned(), self.message.into());
        let mut response = (self.status, Json(json!({ "error": error }))).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Exists | ErrorKind::InUse | ErrorKind::Unseen | ErrorKind::Outdated | ErrorKind::NotOpen => {
                StatusCode::CONFLICT
            }
            ErrorKind::Invalid => StatusCode::BAD_REQUEST,
            ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorKind::NotAdmitted => StatusCode::FORBIDDEN,
            ErrorKind::Busy | ErrorKind::Booting | ErrorKind::Leaving => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Disk => StatusCode::INSUFFICIENT_STORAGE,
            ErrorKind::Network => StatusCode::BAD_GATEWAY,
            ErrorKind::Unreachable => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorKind::NotReplicated | ErrorKind::OutcomeUnknown => StatusCode::GATEWAY_TIMEOUT,
            ErrorKind::NotLeader | ErrorKind::NoQuorum => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let data = error.cause().downcast_ref().map(data_of).unwrap_or_default();
        Self { data, ..Self::new(status, error.kind().code(), error.to_string()) }
    }
}

/// What programs go on with.
fn data_of(error: &CommandError) -> Map<String, Value> {
    let data = match error {
        CommandError::NotLeader { leader, epoch, term } => {
            let leader = leader.map(|node| json!({ "node": node }));
            json!({ "leader": leader, "epoch": epoch, "term": term })
        }
        CommandError::OutcomeUnknown { request } => json!({ "request": request.to_string() }),
        CommandError::RoleRefused(Refused::Stale { shown, highest }) => json!({ "shown": shown, "highest": highest }),
        CommandError::RoleRefused(Refused::Beyond { shown, known }) => json!({ "shown": shown, "known": known }),
        _ => Value::Null,
    };
    if let Value::Object(data) = data { data } else { Map::new() }
}

impl Interface {
    /// The same, with the name of who leads, where that is told: people and scripts know peers by their names.
    pub(super) async fn named(&self, mut refusal: Refusal) -> Refusal {
        let Some(leader) = refusal.data.get_mut("leader").filter(|leader| leader.is_object()) else { return refusal };
        let Ok(report) = self.link.report().await else { return refusal };
        let member = report.node.members.iter().find(|member| json!(member.node) == leader["node"]);
        if let Some(member) = member {
            leader["name"] = json!(member.meta.name);
            leader["addresses"] = json!(member.meta.addresses);
        }
        refusal
    }
}

/// A JSON body. Its error names the line and the column.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let bytes = read(request.into_body()).await?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| Refusal::invalid(format!("the body: {error}")))
    }
}

/// A body as it is.
pub(super) struct Raw(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        read(request.into_body()).await.map(Self)
    }
}

async fn read(body: axum::body::Body) -> Result<Bytes, Refusal> {
    let bytes = tokio::time::timeout(BODY_TIME_MAX, axum::body::to_bytes(body, BODY_MAX)).await;
    let late = || Refusal::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body did not arrive in time");
    bytes.map_err(|_| late())?.map_err(|error| {
        // axum gives no type to tell the two apart but the cause's own words.
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        if cause.contains("length limit") {
            let message = format!("the body has more than {BODY_MAX} bytes");
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorKind::TooLarge.code(), message)
        } else {
            Refusal::invalid(format!("the body did not arrive: {error}"))
        }
    })
}

/// The query's parameters; unknown ones are refused.
pub(super) struct Query<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        axum::extract::Query::try_from_uri(&parts.uri)
            .map(|axum::extract::Query(query)| Self(query))
            .map_err(|error| Refusal::invalid(format!("the query: {}", innermost(&error))))
    }
}

fn innermost(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}

/// The last part of the path, as text.
pub(super) struct Last(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Last {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        axum::extract::Path::<String>::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Path(text)| Self(text))
            .map_err(|error| Refusal::invalid(format!("the path: {}", innermost(&error))))
    }
}

/// The last part of the path, checked as a document's id.
pub(super) struct Id(pub(super) DocId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        named(parts, state).await.map(Self)
    }
}

/// The last part of the path, checked as a stream's name.
pub(super) struct StreamName(pub(super) Name);

impl<S: Send + Sync> FromRequestParts<S> for StreamName {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        named(parts, state).await.map(Self)
    }
}

async fn named<S: Send + Sync, T: FromStr<Err: Display>>(parts: &mut Parts, state: &S) -> Result<T, Refusal> {
    let Last(text) = Last::from_request_parts(parts, state).await?;
    text.parse().map_err(|error: T::Err| Refusal::invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::RequestId;
    use crate::types::{Epoch, Index, NodeId, Term};

    #[test]
    fn what_programs_go_on_with_is_data() {
        let of = |error: CommandError| Refusal::from(Error::from(error)).data;
        let node = NodeId::from_u128(7);
        let (epoch, term) = (Epoch::new(1), Term::new(2));
        let told = of(CommandError::NotLeader { leader: Some(node), epoch, term });
        assert_eq!(Value::from(told), json!({ "leader": { "node": node }, "epoch": 1, "term": 2 }));
        assert_eq!(of(CommandError::NotLeader { leader: None, epoch, term })["leader"], Value::Null);
        let request = RequestId { born: Index::new(3), number: 0xab };
        let told = of(CommandError::OutcomeUnknown { request });
        assert_eq!(told["request"], "3.000000000000000000000000000000ab");
        assert!(of(CommandError::NoQuorum).is_empty());
    }
}

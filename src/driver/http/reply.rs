//! Answers: errors as JSON with a code, and the requests' parts parsed with errors that name the place.

use std::fmt::Display;
use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{BODY_MAX, BODY_TIME_MAX};
use crate::error::{Error, ErrorKind};
use crate::events::Name;
use crate::types::DocId;

/// An error on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorKind::Invalid.code(), message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = Json(json!({ "error": { "code": self.code, "message": self.message } }));
        let mut response = (self.status, body).into_response();
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
        Self::new(status, error.kind().code(), error.to_string())
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

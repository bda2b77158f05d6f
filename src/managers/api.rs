//! A peer behind its HTTP interface, as `OXIGDAL_HA_API` names it. `OXIGDAL_HA_TOKEN` holds its token, which changes need, or the path of
//! the token's file.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::task::spawn_blocking;
use ureq::Agent;
use ureq::http::Response;

use super::bound::API;
use super::error::{HaError, HaResult};
use super::token::{VARIABLE, read_token};

/// A peer that does not accept a connection within this time is not there.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// A peer that does not answer within this time is stuck. Long, since a write waits for the disk, and for copies.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Largest answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// See the module.
#[derive(Clone)]
pub(super) struct Api {
    at: String,
    token: Option<String>,
    agent: Agent,
}

impl std::fmt::Debug for Api {
    /// The token is a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("at", &self.at).finish_non_exhaustive()
    }
}

impl Api {
    /// The one that the environment names, if it names one.
    pub(super) fn of_environment() -> HaResult<Option<Self>> {
        let Ok(at) = std::env::var(API) else { return Ok(None) };
        let token = std::env::var_os(VARIABLE).map(|given| read_token(Path::new(&given)));
        Ok(Some(Self::at(&at, token.transpose()?)))
    }

    pub(super) fn at(at: &str, token: Option<String>) -> Self {
        let at = at.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let at = if at.starts_with(':') { format!("127.0.0.1{at}") } else { at };
        let config = Agent::config_builder()
            .timeout_connect(Some(CONNECT_MAX))
            .timeout_global(Some(ANSWER_MAX))
            .http_status_as_error(false)
            .build();
        Self { at, token, agent: config.into() }
    }

    pub(super) async fn get(&self, path: &str) -> HaResult<Value> {
        let api = self.clone();
        let url = self.url(path);
        self.blocking(move || {
            let mut request = api.agent.get(url);
            if let Some(token) = &api.token {
                request = request.header("Authorization", format!("Bearer {token}"));
            }
            request.call()
        })
        .await
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> HaResult<Value> {
        self.send(path, "application/json", body.to_string().into()).await
    }

    pub(super) async fn post_bytes(&self, path: &str, body: Bytes) -> HaResult<Value> {
        self.send(path, "application/octet-stream", body).await
    }

    async fn send(&self, path: &str, kind: &'static str, body: Bytes) -> HaResult<Value> {
        let api = self.clone();
        let url = self.url(path);
        self.blocking(move || {
            let mut request = api.agent.post(url).content_type(kind);
            if let Some(token) = &api.token {
                request = request.header("Authorization", format!("Bearer {token}"));
            }
            request.send(&body[..])
        })
        .await
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.at)
    }

    /// Waits for an answer on a thread that may.
    async fn blocking(
        &self,
        ask: impl FnOnce() -> Result<Response<ureq::Body>, ureq::Error> + Send + 'static,
    ) -> HaResult<Value> {
        let answered = spawn_blocking(move || {
            let mut response = ask().map_err(|error| error.to_string())?;
            let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
            Ok((response.status().is_success(), body.map_err(|error| error.to_string())?))
        })
        .await;
        let (is_good, body) =
            answered.map_err(|error| error.to_string()).flatten().map_err(|why| failed(&self.at, "", why))?;
        let value: Value = serde_json::from_slice(&body)
            .map_err(|error| failed(&self.at, "", format!("its answer is no JSON: {error}")))?;
        if is_good {
            return Ok(value);
        }
        let text = |field: &str| value["error"][field].as_str().unwrap_or_default().to_owned();
        Err(failed(&self.at, &text("code"), text("message")))
    }
}

fn failed(api: &str, code: &str, message: String) -> HaError {
    HaError::Api { api: api.to_owned(), code: code.to_owned(), message }
}

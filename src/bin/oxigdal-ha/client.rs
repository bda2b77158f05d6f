//! The client of a peer's local HTTP interface.

use std::io::{self, BufRead as _, BufReader};
use std::path::PathBuf;
use std::time::Duration;

use oxigdal_ha::managers::token::{is_token, read_token};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

use crate::args::Target;
use crate::failure::{Code, Failure, Result};

/// A peer that does not accept a connection within this time is not there.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// A peer that does not answer within this time is stuck. Long, since an edit waits for the disk.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// The same for what is answered from memory: who asks how a mesh stands does not wait a minute for a peer that was stopped.
const LOOK_MAX: Duration = Duration::from_secs(10);
/// Between two tries to go on with a peer that has stopped: at first, and at most.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Largest answer, in bytes: a page of documents.
const ANSWER_BYTES_MAX: u64 = 256 << 20;
/// Where a peer that was started here without further words keeps its token.
const TOKEN_FILE: &str = "oxigdal-ha-data/api-token";

/// Talks to one peer. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    api: String,
    agent: Agent,
    token_file: Option<PathBuf>,
    token: Option<String>,
    ack: Option<String>,
}

impl Client {
    /// For a peer given by arguments.
    pub(crate) fn new(target: &Target) -> Result<Self> {
        let api = target.api.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let api = if api.starts_with(':') { format!("127.0.0.1{api}") } else { api };
        if api.parse::<ureq::http::uri::Authority>().is_err() {
            return Err(Failure::usage(format_args!("--api {api:?} is not HOST:PORT")));
        }
        let token_file =
            target.token_file.clone().or_else(|| Some(TOKEN_FILE.into()).filter(|path: &PathBuf| path.exists()));
        // A file that was asked for must be there; only changes need it, but a wrong path is better told at once.
        let token = token_file.as_deref().map(read_token).transpose().map_err(Failure::usage)?;
        let token_file = token_file.filter(|path| !is_token(path));
        Ok(Self { api, agent: agent(Some(ANSWER_MAX)), token_file, token, ack: None })
    }

    /// Writes wait for so many copies.
    pub(crate) fn with_ack(self, ack: Option<String>) -> Self {
        Self { ack, ..self }
    }

    /// The arguments that name this peer.
    pub(crate) fn flags(&self) -> String {
        let token = self.token_file.as_ref().map(|file| format!(" --token-file {}", file.display()));
        format!("--api {}{}", self.api, token.unwrap_or_default())
    }

    /// Reads from the peer.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T> {
        let mut request = self.agent.get(self.url(path));
        request = query.iter().fold(request, |request, (key, value)| request.query(key, value));
        self.read(self.answered(self.signed(request).call())?)
    }

    /// As [`get`](Self::get), of what the peer answers from memory.
    pub(crate) fn look<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T> {
        let request = self.agent.get(self.url(path)).config().timeout_recv_response(Some(LOOK_MAX)).build();
        let request = query.iter().fold(request, |request, (key, value)| request.query(key, value));
        self.read(self.answered(self.signed(request).call())?)
    }

    /// As [`get`](Self::get), of a peer that is not waited for when it takes longer than this.
    pub(crate) fn probe<T: DeserializeOwned>(&self, path: &str, within: Duration) -> Result<T> {
        let request = self.agent.get(self.url(path)).config().timeout_global(Some(within)).build();
        self.read(self.answered(self.signed(request).call())?)
    }

    /// Changes something, with a body.
    pub(crate) fn send<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        body: &impl Serialize,
    ) -> Result<T> {
        let url = self.url(path);
        let request = match method {
            "PUT" => self.agent.put(url),
            "PATCH" => self.agent.patch(url),
            _ => self.agent.post(url),
        };
        let request = query.iter().fold(request, |request, (key, value)| request.query(key, value));
        let request = self.ack.iter().fold(request, |request, ack| request.query("ack", ack));
        // Compact: the library's own way to send JSON puts each number of a geometry on a line.
        let text = serde_json::to_vec(body).map_err(|error| Failure::new(error.to_string()))?;
        self.read(self.answered(self.signed(request.content_type("application/json")).send(&text[..]))?)
    }

    /// Changes something, with a body as it is.
    pub(crate) fn send_bytes<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)], body: &[u8]) -> Result<T> {
        let request = self.agent.post(self.url(path)).content_type("application/octet-stream");
        let request = query.iter().fold(request, |request, (key, value)| request.query(key, value));
        let request = self.ack.iter().fold(request, |request, ack| request.query("ack", ack));
        self.read(self.answered(self.signed(request).send(body))?)
    }

    /// Sends lines of JSON and gives the answers, one for each in their order.
    pub(crate) fn send_lines(&self, path: &str, lines: &[String]) -> Result<Vec<Value>> {
        let request = self.agent.post(self.url(path)).content_type("application/x-ndjson");
        let request = self.ack.iter().fold(request, |request, ack| request.query("ack", ack));
        let mut response = self.answered(self.signed(request).send(lines.join("\n")))?;
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let body = body.map_err(|error| self.unreachable(&error))?;
        let answers: serde_json::Result<Vec<Value>> = serde_json::Deserializer::from_slice(&body).into_iter().collect();
        let answers = answers.map_err(|error| self.garbled(&error))?;
        if answers.len() == lines.len() {
            return Ok(answers);
        }
        let words = format_args!("{} answered {} of {} lines", self.api, answers.len(), lines.len());
        Err(Failure::new(words))
    }

    /// Removes something.
    pub(crate) fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let request = self.ack.iter().fold(self.agent.delete(self.url(path)), |request, ack| request.query("ack", ack));
        self.read(self.answered(self.signed(request).call())?)
    }

    /// Server-sent events, until the peer stops or `each` has had enough. Gives each event's name and data.
    pub(crate) fn watch(
        &self,
        path: &str,
        query: &[(&str, &str)],
        each: impl FnMut(&str, Value) -> Result<bool>,
    ) -> Result {
        self.watch_behind(path, query, &mut None, || (), each)
    }

    /// As [`watch`](Self::watch); when a peer stops that was there, it is waited for and gone on with behind the last event.
    /// `turn` is told that it is waited for, and why, and that it is there again.
    pub(crate) fn watch_on(
        &self,
        path: &str,
        query: &[(&str, &str)],
        mut turn: impl FnMut(Option<&Failure>),
        mut each: impl FnMut(&str, Value) -> Result<bool>,
    ) -> Result {
        let (mut last, mut pause, mut met, mut gone) = (None, PAUSE_MIN, false, false);
        loop {
            let opened = || {
                (met, pause) = (true, PAUSE_MIN);
                if std::mem::take(&mut gone) {
                    turn(None);
                }
            };
            let Err(failure) = self.watch_behind(path, query, &mut last, opened, &mut each) else { return Ok(()) };
            // Who is not there at first is not waited for.
            if !met || !failure.is_passing() {
                return Err(failure);
            }
            if !std::mem::replace(&mut gone, true) {
                turn(Some(&failure));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Behind the event with this id, which is kept up to date.
    fn watch_behind(
        &self,
        path: &str,
        query: &[(&str, &str)],
        last: &mut Option<String>,
        opened: impl FnOnce(),
        mut each: impl FnMut(&str, Value) -> Result<bool>,
    ) -> Result {
        let endless = agent(None);
        let request = endless.get(self.url(path)).header("Accept", "text/event-stream");
        let request = last.iter().fold(request, |request, last| request.header("Last-Event-ID", last));
        let request = query.iter().fold(request, |request, (key, value)| request.query(key, value));
        let response = self.answered(self.signed(request).call())?;
        opened();
        let (mut event, mut data) = (String::new(), String::new());
        for line in BufReader::new(response.into_body().into_reader()).lines() {
            let line =
                line.map_err(|error| Failure::with(Code::NoPeer, format_args!("{} ended: {error}", self.api)))?;
            if let Some(name) = line.strip_prefix("event:") {
                name.trim().clone_into(&mut event);
            } else if let Some(text) = line.strip_prefix("data:") {
                data += text.trim();
            } else if let Some(id) = line.strip_prefix("id:") {
                *last = Some(id.trim().to_owned());
            } else if line.is_empty() && !data.is_empty() {
                let value = serde_json::from_str(&data).map_err(|error| self.garbled(&error))?;
                if !each(&event, value)? {
                    return Ok(());
                }
                event.clear();
                data.clear();
            }
        }
        Err(Failure::with(Code::NoPeer, format_args!("the peer at {} has stopped", self.api)))
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.api)
    }

    fn signed<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.token {
            Some(token) => request.header("Authorization", &format!("Bearer {token}")),
            None => request,
        }
    }

    fn answered(&self, result: std::result::Result<Response<Body>, ureq::Error>) -> Result<Response<Body>> {
        let response = result.map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() { Ok(response) } else { Err(self.refused(response)) }
    }

    fn read<T: DeserializeOwned>(&self, mut response: Response<Body>) -> Result<T> {
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let body = body.map_err(|error| self.unreachable(&error))?;
        serde_json::from_slice(&body).map_err(|error| self.garbled(&error))
    }

    fn unreachable(&self, error: &ureq::Error) -> Failure {
        match error {
            ureq::Error::Timeout(_) => Failure::with(
                Code::NoPeer,
                format_args!("the peer at {} does not answer: {error}", self.api),
            )
            .hint(
                "something accepts connections there: a peer that was stopped, or is very busy; ask another with --api",
            ),
            _ => Failure::with(Code::NoPeer, format_args!("no peer answers at {}: {}", self.api, cause(error)))
                .hint("start one with `oxigdal-ha run`, or name another with --api or OXIGDAL_HA_API"),
        }
    }

    fn garbled(&self, error: &serde_json::Error) -> Failure {
        Failure::new(format_args!("the answer of {} is not understood: {error}", self.api))
            .hint("is this the local HTTP interface of a peer of the same version?")
    }

    /// The peer's own words, with what to do where that is known.
    fn refused(&self, mut response: Response<Body>) -> Failure {
        let status = response.status();
        let body: Option<Value> = response.body_mut().read_json().ok();
        let message = body.as_ref().and_then(|body| body.pointer("/error/message")).and_then(Value::as_str);
        if (status, &self.token_file) == (StatusCode::UNAUTHORIZED, &None) {
            let words = "this needs the peer's token, and there is none in";
            return Failure::new(format_args!("{words} {TOKEN_FILE}")).kind(Some("unauthorized")).hint(
                "name it with --token-file or OXIGDAL_HA_TOKEN: the file api-token in the peer's data directory",
            );
        }
        let failure = Failure::new(message.map_or_else(|| format!("{} answered {status}", self.api), str::to_owned));
        let failure = failure.kind(body.as_ref().and_then(|body| body.pointer("/error/code")).and_then(Value::as_str));
        let data = body.as_ref().and_then(|body| body["error"].as_object()).cloned().unwrap_or_default();
        let failure = failure.data(data.into_iter().filter(|(key, _)| key != "code" && key != "message").collect());
        match (status, &self.token_file) {
            (StatusCode::UNAUTHORIZED, Some(file)) => {
                failure.hint(format!("the token was read from {}: is it the one of this peer?", file.display()))
            }
            (StatusCode::SERVICE_UNAVAILABLE, _) => match failure.datum("leader")["name"].as_str() {
                Some(name) => {
                    let hint = format!("{name} leads the voters, as far as that peer knows; try again shortly");
                    failure.busy().hint(hint)
                }
                None => failure.busy(),
            },
            _ => failure,
        }
    }
}

fn agent(answer_max: Option<Duration>) -> Agent {
    Agent::config_builder()
        .timeout_connect(Some(CONNECT_MAX))
        .timeout_recv_response(Some(ANSWER_MAX))
        .timeout_global(answer_max)
        .http_status_as_error(false)
        .proxy(None)
        .max_redirects(0)
        .user_agent(concat!("oxigdal-ha/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent()
}

/// The innermost words: the outer ones only say "io".
fn cause(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => "connection refused".into(),
        ureq::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}

/// The path of a document in the interface: each segment percent-encoded, slashes kept.
pub(crate) fn doc_path(base: &str, id: &str) -> String {
    let mut path = format!("{base}/");
    for byte in id.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => path.push(char::from(byte)),
            _ => {
                use std::fmt::Write as _;
                write!(path, "%{byte:02X}").expect("writing to a String cannot fail");
            }
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_encoded_by_segment() {
        assert_eq!(doc_path("/v1/docs", "Köln/Straße 1"), "/v1/docs/K%C3%B6ln/Stra%C3%9Fe%201");
    }
}

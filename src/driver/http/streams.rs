//! Streams: which there are, appending, reading a page, following.
//!
//! An append's body is raw: lines, each an event, or one event whole. An event that is UTF-8 is given as `text`, another as
//! `hex`. Following is by server-sent events: each `events` message is a page, and its id the cursor behind it, so a client
//! that reconnects with `Last-Event-ID`, to this peer or another, goes on where it was. A page may be waited for (`wait_ms`): it comes
//! as soon as there is an event behind the place, or empty when the time is over.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Json;
use axum::response::sse::{Event as Sse, KeepAlive, Sse as Stream};
use bytes::Bytes;
use futures::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;

use super::reply::{Query, Raw, Refusal, StreamName};
use super::{Interface, WATCHERS_MAX, replication};
use crate::driver::streams::Tail;
use crate::error::ErrorKind;
use crate::events::{Begin, Command, Info, Item, Name, Outcome, Page};
use crate::node;
use crate::types::{WallTime, hex};

/// Events in a page when the client does not say.
const PAGE: usize = 1_000;
/// Longest that a page is waited for.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// A tail that was told that the peer is busy asks again after this long.
const BUSY_PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    #[serde(default)]
    prefix: String,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Format {
    /// Each line is an event, without its end.
    #[default]
    Lines,
    /// The body is one event.
    Binary,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct How {
    #[serde(default)]
    format: Format,
    /// How many other members must hold it: see [`Ack`](crate::replication::Ack).
    ack: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Where {
    #[serde(default)]
    from: String,
    limit: Option<usize>,
    /// Only events that are this old at least, in milliseconds.
    settled_ms: Option<u64>,
    /// If there is nothing, how long it is waited for something, in milliseconds.
    #[serde(default)]
    wait_ms: u64,
}

pub(super) async fn list(
    State(interface): State<Interface>,
    Query(which): Query<Which>,
) -> Result<Json<Vec<Info>>, Refusal> {
    Ok(Json(interface.link.streams(which.prefix).await?))
}

pub(super) async fn append(
    State(interface): State<Interface>,
    StreamName(stream): StreamName,
    Query(how): Query<How>,
    Raw(body): Raw,
) -> Result<Json<Value>, Refusal> {
    let events = match how.format {
        Format::Lines => lines(&body),
        Format::Binary => vec![body],
    };
    let command = node::Command::Events(Command::Append { stream, events });
    match replication::write(&interface, command, how.ack.as_deref()).await? {
        (node::Outcome::Events(Outcome::Appended(appended)), copies) => replication::shown(&appended, copies),
        (other, _) => unreachable!("an append was answered by {other:?}"),
    }
}

/// The lines of a body, as slices of it. An end of the last line is not needed; a carriage return before it is dropped.
fn lines(body: &Bytes) -> Vec<Bytes> {
    let mut events: Vec<Bytes> = Vec::new();
    let mut from = 0;
    while from < body.len() {
        let end = body[from..].iter().position(|byte| *byte == b'\n').map_or(body.len(), |at| from + at);
        let line = &body[from..end];
        let text = line.strip_suffix(b"\r").unwrap_or(line);
        events.push(body.slice(from..from + text.len()));
        from = end + 1;
    }
    events
}

pub(super) async fn read(
    State(interface): State<Interface>,
    StreamName(stream): StreamName,
    Query(at): Query<Where>,
) -> Result<Json<Value>, Refusal> {
    let (from, limit) = (begin(&at.from)?, at.limit.unwrap_or(PAGE));
    if limit == 0 {
        return Err(Refusal::invalid("the query: a limit of 0 shows nothing"));
    }
    if at.wait_ms > 0 {
        let page = wait(&interface, stream, from, limit, &at).await?;
        return Ok(Json(shown(&page)));
    }
    let now = interface.link.facts.clock.now().wall.as_micros();
    let upto = at.settled_ms.map(|ms| WallTime::from_micros(now.saturating_sub(ms.saturating_mul(1_000))));
    let page = interface.link.page(Command::Read { stream, from, limit, upto }).await?;
    Ok(Json(shown(&page)))
}

/// A page when there is something on it, or when the time is over. Who waits counts as a watcher.
async fn wait(interface: &Interface, stream: Name, from: Begin, limit: usize, at: &Where) -> Result<Page, Refusal> {
    let wait = Duration::from_millis(at.wait_ms);
    if wait > WAIT_MAX {
        let most = WAIT_MAX.as_millis();
        return Err(Refusal::invalid(format!("the query: wait_ms is {}, the limit is {most}", at.wait_ms)));
    }
    if at.settled_ms.is_some() {
        return Err(Refusal::invalid(
            "the query: settled_ms is for pages of what is there: wait_ms waits for what arrives",
        ));
    }
    let _permit = watcher(interface)?;
    Ok(interface.link.read_within(stream, from, limit, wait).await?)
}

fn watcher(interface: &Interface) -> Result<OwnedSemaphorePermit, Refusal> {
    Arc::clone(&interface.watchers).try_acquire_owned().map_err(|_| {
        let message = format!("there are {WATCHERS_MAX} watchers already");
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, ErrorKind::Busy.code(), message)
    })
}

struct Follower {
    tail: Tail,
    _permit: OwnedSemaphorePermit,
}

pub(super) async fn tail(
    State(interface): State<Interface>,
    StreamName(stream): StreamName,
    headers: HeaderMap,
    Query(at): Query<Where>,
) -> Result<Stream<impl futures::Stream<Item = Result<Sse, Infallible>>>, Refusal> {
    // A client that reconnects sends where it was; that is newer than what its address says.
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let from = begin(last.unwrap_or(&at.from))?;
    if at.settled_ms.is_some() {
        return Err(Refusal::invalid("the query: settled_ms is for pages: a tail gives events as they arrive"));
    }
    if at.wait_ms > 0 {
        return Err(Refusal::invalid("the query: wait_ms is for pages: a tail waits by itself"));
    }
    let permit = watcher(&interface)?;
    let tail = Tail::new(interface.link.clone(), stream, from, at.limit.unwrap_or(PAGE).max(1));
    let follower = Follower { tail, _permit: permit };
    let stream =
        stream::unfold(follower, async |mut follower| follower.next().await.map(|event| (Ok(event), follower)));
    Ok(Stream::new(stream).keep_alive(KeepAlive::default()))
}

impl Follower {
    async fn next(&mut self) -> Option<Sse> {
        loop {
            match self.tail.next().await? {
                Ok(page) => {
                    let sse = Sse::default().event("events").id(page.cursor.to_string());
                    return Some(sse.data(shown(&page).to_string()));
                }
                Err(error) if error.kind() == ErrorKind::Busy => tokio::time::sleep(BUSY_PAUSE).await,
                Err(error) if matches!(error.kind(), ErrorKind::Leaving) => return None,
                Err(error) => {
                    let says = json!({ "code": error.kind().code(), "message": error.to_string() });
                    tokio::time::sleep(BUSY_PAUSE).await;
                    return Some(Sse::default().event("error").data(says.to_string()));
                }
            }
        }
    }
}

fn begin(text: &str) -> Result<Begin, Refusal> {
    Ok(match text {
        "" | "start" => Begin::Start,
        "now" => Begin::Now,
        cursor => Begin::Cursor(cursor.parse().map_err(|error| Refusal::invalid(format!("the query: from: {error}")))?),
    })
}

fn shown(page: &Page) -> Value {
    let events: Vec<Value> = page.events.iter().map(item).collect();
    json!({ "events": events, "gaps": page.gaps, "cursor": page.cursor.to_string(), "more": page.more })
}

fn item(item: &Item) -> Value {
    let id = item.id;
    let mut shown =
        json!({ "at": id.hlc.wall, "logical": id.hlc.logical, "origin": id.origin, "seq": id.seq, "index": id.index });
    match std::str::from_utf8(&item.body) {
        Ok(text) => shown["text"] = text.into(),
        Err(_) => shown["hex"] = hex(&item.body).into(),
    }
    shown
}

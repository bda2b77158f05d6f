//! Server-sent events: documents that change, members that come and go.
//!
//! `changed` {doc, heads, exists, origins, conflict, flags}: whether several values stand in it when this is told (null if it cannot be
//! read), and what this peer's checks find odd in it; `member` {event, member, ..}; `lagged` {missed} when this watcher was too slow and
//! lost so many events: it should read again what it watches. The stream ends when the peer stops. Each event has an id:
//! whoever comes back with it in `Last-Event-ID` goes on behind it, or is told `lagged`, with `missed` null when the peer was
//! restarted meanwhile.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event as Sse, KeepAlive, Sse as Stream};
use futures::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::reply::{Query, Refusal};
use super::{Interface, WATCHERS_MAX};
use crate::documents;
use crate::driver::history::{History, Mark, Next};
use crate::driver::peer::{Link, Phase};
use crate::error::ErrorKind;
use crate::node::Event;
use crate::types::hex;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct What {
    #[serde(default)]
    prefix: String,
}

struct Watcher {
    history: Arc<History>,
    at: Mark,
    more: watch::Receiver<u64>,
    phase: watch::Receiver<Phase>,
    link: Link,
    prefix: String,
    _permit: OwnedSemaphorePermit,
}

pub(super) async fn watch(
    State(interface): State<Interface>,
    Query(what): Query<What>,
    headers: HeaderMap,
) -> Result<Stream<impl futures::Stream<Item = Result<Sse, Infallible>>>, Refusal> {
    let permit = Arc::clone(&interface.watchers).try_acquire_owned().map_err(|_| {
        let message = format!("there are {WATCHERS_MAX} watchers already");
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, ErrorKind::Busy.code(), message)
    })?;
    let history = interface.link.history();
    let at = match headers.get("last-event-id") {
        Some(id) => id.to_str().unwrap_or("?").parse().map_err(Refusal::invalid)?,
        None => history.now(),
    };
    let (more, phase) = (history.watch(), interface.link.phase.clone());
    let link = interface.link.clone();
    let watcher = Watcher { history, at, more, phase, link, prefix: what.prefix, _permit: permit };
    let stream = stream::unfold(watcher, async |mut watcher| watcher.next().await.map(|event| (Ok(event), watcher)));
    Ok(Stream::new(stream).keep_alive(KeepAlive::default()))
}

impl Watcher {
    async fn next(&mut self) -> Option<Sse> {
        loop {
            // Before looking: what comes in between is seen as a change.
            self.more.mark_unchanged();
            let told = match self.history.after(self.at) {
                None => {
                    self.wait().await?;
                    continue;
                }
                Some(Next::Missed(missed, at)) => {
                    self.at = at;
                    Some(("lagged", json!({ "missed": missed })))
                }
                Some(Next::Event(event, at)) => {
                    self.at = at;
                    self.tell(&event).await
                }
            };
            if let Some((name, data)) = told {
                return Some(Sse::default().id(self.at.to_string()).event(name).data(data.to_string()));
            }
        }
    }

    /// Until there is more; `None` when the peer has stopped.
    async fn wait(&mut self) -> Option<()> {
        tokio::select! {
            more = self.more.changed() => more.ok(),
            () = stopped(&mut self.phase) => None,
        }
    }

    async fn tell(&self, event: &Event) -> Option<(&'static str, Value)> {
        match event {
            Event::Documents(documents::Event::Changed { doc, heads, exists, origins })
                if doc.as_str().starts_with(&self.prefix) =>
            {
                let heads: Vec<_> = heads.iter().map(|head| hex(head)).collect();
                let (conflict, flags) = if *exists { self.link.marks(doc).await } else { (Some(false), Vec::new()) };
                let told = json!({
                    "doc": doc, "heads": heads, "exists": exists, "origins": origins, "conflict": conflict, "flags": flags,
                });
                Some(("changed", told))
            }
            Event::Membership(event) => serde_json::to_value(event).ok().map(|event| ("member", event)),
            _ => None,
        }
    }
}

async fn stopped(phase: &mut watch::Receiver<Phase>) {
    // An error means that the loop has gone, which is the same.
    drop(phase.wait_for(|phase| *phase == Phase::Stopped).await);
}

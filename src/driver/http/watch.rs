//! Server-sent events: documents that change, members that come and go.
//!
//! `changed` {doc, heads, exists, origins}; `member` {event, member, ..}; `lagged` {missed} when this watcher was too slow and
//! lost so many events: it should read again what it watches. The stream ends when the peer stops.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event as Sse, KeepAlive, Sse as Stream};
use futures::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;

use super::reply::{Query, Refusal};
use super::{Interface, WATCHERS_MAX};
use crate::documents;
use crate::driver::peer::Events;
use crate::error::ErrorKind;
use crate::node::Event;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct What {
    #[serde(default)]
    prefix: String,
}

struct Watcher {
    events: Events,
    prefix: String,
    _permit: OwnedSemaphorePermit,
}

pub(super) async fn watch(
    State(interface): State<Interface>,
    Query(what): Query<What>,
) -> Result<Stream<impl futures::Stream<Item = Result<Sse, Infallible>>>, Refusal> {
    let permit = Arc::clone(&interface.watchers).try_acquire_owned().map_err(|_| {
        let message = format!("there are {WATCHERS_MAX} watchers already");
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, ErrorKind::Busy.code(), message)
    })?;
    let watcher = Watcher { events: interface.link.events(), prefix: what.prefix, _permit: permit };
    let stream = stream::unfold(watcher, async |mut watcher| watcher.next().await.map(|event| (Ok(event), watcher)));
    Ok(Stream::new(stream).keep_alive(KeepAlive::default()))
}

impl Watcher {
    async fn next(&mut self) -> Option<Sse> {
        loop {
            let told = match self.events.next().await? {
                Err(missed) => Some(("lagged", json!({ "missed": missed }))),
                Ok(event) => self.tell(&event),
            };
            if let Some((name, data)) = told {
                return Some(Sse::default().event(name).data(data.to_string()));
            }
        }
    }

    fn tell(&self, event: &Event) -> Option<(&'static str, Value)> {
        match event {
            Event::Documents(documents::Event::Changed { doc, heads, exists, origins })
                if doc.as_str().starts_with(&self.prefix) =>
            {
                let heads: Vec<_> = heads.iter().map(|head| hex(head)).collect();
                Some(("changed", json!({ "doc": doc, "heads": heads, "exists": exists, "origins": origins })))
            }
            Event::Membership(event) => serde_json::to_value(event).ok().map(|event| ("member", event)),
            _ => None,
        }
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    })
}

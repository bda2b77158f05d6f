//! The other side: events for this node.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::event::ReplicationEvent;
use crate::events::{Begin, Cursor, Name};
use crate::managers::bound::Bound;
use crate::managers::error::HaResult;

/// How often it is looked whether more came.
const LOOK: Duration = Duration::from_millis(50);
/// Events that are read at a time.
const PAGE: usize = 1_000;

/// Events for this node, each once and those of one source in their order. It holds a page of them at most.
#[derive(Debug)]
pub struct Received {
    bound: Bound,
    stream: Name,
    from: Begin,
    read: VecDeque<Bytes>,
}

impl Received {
    pub(super) fn new(bound: Bound, stream: Name, from: Begin) -> Self {
        Self { bound, stream, from, read: VecDeque::new() }
    }

    /// The next one, when it is there. What others appended that is no event, or is garbled, is left out.
    ///
    /// # Errors
    /// The node refused, or is gone; it may be asked again.
    pub async fn next(&mut self) -> HaResult<ReplicationEvent> {
        loop {
            while let Some(body) = self.read.pop_front() {
                match ReplicationEvent::decode(&body) {
                    Some(event) => return Ok(event),
                    None => tracing::warn!(stream = %self.stream, "what was appended is no event"),
                }
            }
            let (bodies, from) = self.bound.read(&self.stream, self.from.clone(), PAGE).await?;
            self.from = from;
            self.read.extend(bodies);
            if self.read.is_empty() {
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    /// Behind the page that is being given: who keeps it and comes back gets no event of later pages twice.
    #[must_use]
    pub fn cursor(&self) -> Option<&Cursor> {
        if let Begin::Cursor(cursor) = &self.from { Some(cursor) } else { None }
    }
}

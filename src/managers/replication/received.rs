//! The other side: events for this node.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::event::ReplicationEvent;
use crate::events::{Begin, Cursor, Name};
use crate::managers::bound::{Bound, Read};
use crate::managers::error::{HaError, HaResult};

/// How long a node is asked to wait for more. Then it is asked again: a program that ends over its interface waits no longer than this.
const WAIT: Duration = Duration::from_secs(5);
/// Events that are read at a time.
const PAGE: usize = 1_000;

/// Events for this node, each once and those of one source in their order. What was kept no longer than this node was away is told as
/// missed. It holds a page of them at most.
#[derive(Debug)]
pub struct Received {
    bound: Bound,
    stream: Name,
    /// Before the page that is being given.
    before: Begin,
    /// Behind it.
    behind: Begin,
    page: VecDeque<Bytes>,
}

impl Received {
    pub(super) fn new(bound: Bound, stream: Name, from: Begin) -> Self {
        Self { bound, stream, before: from.clone(), behind: from, page: VecDeque::new() }
    }

    /// The next one, when it is there. What others appended that is no event, or is garbled, is left out.
    ///
    /// # Errors
    /// [`HaError::Missed`]: events before the next have expired before they were read. It is said once for each gap, and what there is comes
    /// after it. Else the node refused, or is gone; it may be asked again.
    pub async fn next(&mut self) -> HaResult<ReplicationEvent> {
        loop {
            while let Some(body) = self.page.pop_front() {
                match ReplicationEvent::decode(&body) {
                    Some(event) => return Ok(event),
                    None => tracing::warn!(stream = %self.stream, "what was appended is no event"),
                }
            }
            let Read { events, gaps, behind } = self.bound.read(&self.stream, self.behind.clone(), PAGE, WAIT).await?;
            self.before = std::mem::replace(&mut self.behind, behind);
            self.page.extend(events);
            if !gaps.is_empty() {
                return Err(HaError::Missed { gaps });
            }
        }
    }

    /// Where to go on after a restart, by [`received`](super::ActiveActiveReplication::received): nothing is the beginning.
    ///
    /// Events are read by the page, up to 1,000. Until the last one of a page was given this is the place before all of it, so nothing is
    /// lost, and what of it was given comes again: at least once. Who acts on an event before asking for the cursor misses none;
    /// [`id`](ReplicationEvent::id) tells which came before.
    #[must_use]
    pub fn cursor(&self) -> Option<&Cursor> {
        let place = if self.page.is_empty() { &self.behind } else { &self.before };
        if let Begin::Cursor(cursor) = place { Some(cursor) } else { None }
    }
}

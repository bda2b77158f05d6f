//! Streams for an embedding program, and for the HTTP interface: append, read, follow.

use std::time::Duration;

use bytes::Bytes;

use super::peer::{Events, Link, Peer};
use crate::error::{Error, ErrorKind};
use crate::events::{Appended, Begin, Command, Cursor, Info, Name, Outcome, Page};
use crate::node;

/// Events of a stream as they come, from a place on. Resumable: a page's cursor is good on any peer.
#[derive(Debug)]
pub struct Tail {
    link: Link,
    events: Events,
    stream: Name,
    from: Begin,
    limit: usize,
    /// Whether the first page was given.
    begun: bool,
}

impl Tail {
    pub(super) fn new(link: Link, stream: Name, from: Begin, limit: usize) -> Self {
        // Subscribed before the first read, so that nothing falls between the two.
        let events = link.events();
        Self { link, events, stream, from, limit, begun: false }
    }

    /// The next events: at once if there are any, else when some come. The first page may be empty: its cursor says where this
    /// reader begins. `None` when the peer has stopped.
    ///
    /// # Errors
    /// As [`Peer::read`]; the tail may be asked again.
    pub async fn next(&mut self) -> Option<Result<Page, Error>> {
        loop {
            let page = match self.link.read(self.stream.clone(), self.from.clone(), self.limit).await {
                Ok(page) => page,
                Err(error) => return Some(Err(error)),
            };
            self.from = Begin::Cursor(page.cursor.clone());
            if !page.events.is_empty() || !page.gaps.is_empty() || !std::mem::replace(&mut self.begun, true) {
                self.begun = true;
                return Some(Ok(page));
            }
            // Who is too slow for the events reads all the same: they only say that there is something.
            while let Ok(event) = self.events.next().await? {
                if matches!(&*event, node::Event::Events(crate::events::Event::Appended { stream, .. }) if *stream == self.stream)
                {
                    break;
                }
            }
        }
    }

    /// The next events, or an empty page if there are none within this time.
    ///
    /// # Errors
    /// As [`Peer::read`]; [`ErrorKind::Leaving`] when the peer stops meanwhile.
    async fn within(&mut self, wait: Duration) -> Result<Page, Error> {
        let stopped = || Err(Error::new(ErrorKind::Leaving, "this peer has stopped"));
        // The first page is given at once, also an empty one: its cursor is the answer if nothing comes.
        let first = self.next().await.unwrap_or_else(stopped)?;
        if wait.is_zero() || !first.events.is_empty() || !first.gaps.is_empty() {
            return Ok(first);
        }
        match tokio::time::timeout(wait, self.next()).await {
            Ok(came) => came.unwrap_or_else(stopped),
            Err(_) => Ok(first),
        }
    }

    /// Behind the last event that was given.
    #[must_use]
    pub fn cursor(&self) -> Option<&Cursor> {
        if let Begin::Cursor(cursor) = &self.from { Some(cursor) } else { None }
    }
}

impl Peer {
    /// Appends events to a stream, in order and all or none. Durable here when it returns; the others follow.
    ///
    /// # Errors
    /// As [`command`](Self::command). Nothing was appended, unless the kind is [`ErrorKind::Disk`](crate::ErrorKind::Disk).
    pub async fn append(&self, stream: Name, events: Vec<Bytes>) -> Result<Appended, Error> {
        self.link().append(stream, events).await
    }

    /// Reads a page of events.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    pub async fn read(&self, stream: Name, from: Begin, limit: usize) -> Result<Page, Error> {
        self.link().read(stream, from, limit).await
    }

    /// Reads a page of events: at once if there are any behind the place, else as soon as some come, and without any when this time
    /// is over.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    pub async fn read_within(&self, stream: Name, from: Begin, limit: usize, wait: Duration) -> Result<Page, Error> {
        self.link().read_within(stream, from, limit, wait).await
    }

    /// Reads events as they come, `limit` at a time at most.
    #[must_use]
    pub fn tail(&self, stream: Name, from: Begin, limit: usize) -> Tail {
        Tail::new(self.link().clone(), stream, from, limit)
    }

    /// The streams whose names begin so.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    pub async fn streams(&self, prefix: &str) -> Result<Vec<Info>, Error> {
        self.link().streams(prefix.to_owned()).await
    }
}

impl Link {
    pub(super) async fn append(&self, stream: Name, events: Vec<Bytes>) -> Result<Appended, Error> {
        match self.of_events(Command::Append { stream, events }).await? {
            Outcome::Appended(appended) => Ok(appended),
            other => unreachable!("an Append was answered by {other:?}"),
        }
    }

    pub(super) async fn read(&self, stream: Name, from: Begin, limit: usize) -> Result<Page, Error> {
        self.page(Command::Read { stream, from, limit, upto: None }).await
    }

    pub(super) async fn read_within(
        &self,
        stream: Name,
        from: Begin,
        limit: usize,
        wait: Duration,
    ) -> Result<Page, Error> {
        Tail::new(self.clone(), stream, from, limit).within(wait).await
    }

    pub(super) async fn page(&self, command: Command) -> Result<Page, Error> {
        match self.of_events(command).await? {
            Outcome::Page(page) => Ok(page),
            other => unreachable!("a Read was answered by {other:?}"),
        }
    }

    pub(super) async fn streams(&self, prefix: String) -> Result<Vec<Info>, Error> {
        match self.of_events(Command::List { prefix }).await? {
            Outcome::Streams(streams) => Ok(streams),
            other => unreachable!("a List was answered by {other:?}"),
        }
    }

    async fn of_events(&self, command: Command) -> Result<Outcome, Error> {
        match self.command(node::Command::Events(command)).await?.without_copies() {
            node::Outcome::Events(outcome) => Ok(outcome),
            other => unreachable!("a command on streams was answered by {other:?}"),
        }
    }
}

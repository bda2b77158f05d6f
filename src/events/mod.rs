//! Streams of opaque events: what is appended anywhere can be read everywhere, in the order of each origin.
//!
//! A stream is a name. What a node appends to any of its streams goes to its one origin log of the topic
//! [`EVENTS`](crate::types::Topic::EVENTS), and spreads as entries do; an entry holds events of one stream. This room gathers
//! appends into entries, keeps an index of all entries by stream and origin, answers reads, and says what has expired.
//!
//! * **Append**: the first goes to the log at once; what comes while it is on its way to the disk is gathered, and becomes one
//!   entry. So hashing, framing, syncing and sending are by the batch, and a lone event does not wait. Answered when durable.
//! * **Order**: events of one origin come in its order, without gaps but for those that are told. Across origins they come by
//!   stamp, then origin, then place ([`Id`]), as far as they are here. That order is total once everything has arrived: an
//!   origin that was cut off arrives late, with stamps of then, and a reader who went on meanwhile gets its events behind
//!   younger ones. Who needs the total order reads up to a watermark ([`Command::Read`]'s `upto`) that lies further back
//!   than any origin is late.
//! * **Cursor**: a version vector of one stream. It means the same on every peer, so a reader may go on anywhere.
//! * **Retention**: by age, bytes and count of a stream, and by the bytes of all. What has expired is gone for readers at once; a
//!   segment of the log is freed when all in it, and all before it, has expired. One stream that is kept long thus keeps
//!   its neighbours' bytes on the disk, until the bound over all streams takes the segment away.
//!
//! **Invariants.** An append is answered after its entry is durable. No event is read twice with one cursor; of an origin that
//! the cursor knows, none is passed over untold. Bodies are in memory only in a bounded cache, while an append waits, and while a page is put together.
//!
//! **Limit.** Where a store was put back to an earlier image, events that lost their place in its log get a new name (see
//! `replication`), and a reader who had them gets them again under that name.
//!
//! Left to others: origin logs and their spreading (`replication`), bytes on the disk (`wal`), who may append (the driver).

mod append;
mod batch;
mod config;
mod cursor;
mod index;
mod name;
mod read;
mod retain;
#[cfg(test)]
mod tests;
mod view;
mod vocabulary;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

pub use batch::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX, EVENT_MAX};
pub use config::{Config, Retention};
pub use cursor::{Cursor, CursorError};
pub use name::{Name, NameError};
pub use view::View;
pub use vocabulary::{Appended, Begin, Command, Error, Event, Gap, Id, Info, Item, Outcome, Page, Timer, Token, Wait};

use crate::machine::{Cx, Machine, Never};
use crate::types::{CommandId, Hlc, Lane, LogId, Position, Seq};
use append::{Gathering, InFlight};
use batch::Batch;
use index::{Index, Kept};
use read::Reading;

/// Where an entry stands: in which log, when it was made, and where its bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Whose log.
    pub log: LogId,
    /// Its place there.
    pub seq: Seq,
    /// When it was made.
    pub hlc: Hlc,
    /// Where it can be read back.
    pub position: Position,
}

/// All streams of this node.
#[derive(Debug)]
pub struct Events {
    config: Config,
    index: Index,
    /// Streams with appends that are gathered or under way.
    gathering: BTreeMap<Name, Gathering>,
    in_flight: BTreeMap<Token, InFlight>,
    next_token: Token,
    /// Appends that are not answered, and their bytes.
    waiting: (usize, usize),
    /// Bodies of the newest entries, oldest first.
    cache: BTreeMap<(LogId, Seq), Bytes>,
    cached: VecDeque<(LogId, Seq)>,
    cached_bytes: usize,
    readings: BTreeMap<u64, Reading>,
    next_reading: u64,
    /// Entries that could not be taken in, since the start.
    refused: u64,
}

impl Machine for Events {
    type Message = Never;
    type Record = Never;
    type Wait = Wait;
    type Task = Never;
    type Timer = Timer;
    type Event = Event;

    fn lane(message: &Never) -> Lane {
        match *message {}
    }
}

impl Events {
    /// No streams yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            index: Index::default(),
            gathering: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            next_token: Token::default(),
            waiting: (0, 0),
            cache: BTreeMap::new(),
            cached: VecDeque::new(),
            cached_bytes: 0,
            readings: BTreeMap::new(),
            next_reading: 0,
            refused: 0,
        }
    }

    /// Takes back an entry that was durable when the process began, in the order of its log. Before [`start`](Self::start).
    pub fn restore(&mut self, stamp: Stamp, body: &Bytes) {
        // What is no batch was refused and told when it arrived.
        if self.take_in(stamp, body).is_err() {
            self.refused += 1;
        }
    }

    /// Entries of this log from behind `after` up to `upto` are not held, and will not be: they have expired.
    pub fn skip(&mut self, log: LogId, after: Seq, upto: Seq) {
        self.index.skip(log.actor, after, upto);
    }

    /// Begins. Once, after the last [`restore`](Self::restore).
    pub fn start(&mut self, cx: &mut Cx<'_, Self>) {
        self.on_timer(cx, Timer::Retention);
    }

    /// A timer fires.
    pub fn on_timer(&mut self, cx: &mut Cx<'_, Self>, timer: Timer) {
        match timer {
            Timer::Retention => self.on_retention(cx),
        }
    }

    /// A client asks.
    pub fn on_command(&mut self, cx: &mut Cx<'_, Self>, command: CommandId, says: Command) {
        let result = match says {
            Command::Append { stream, events } => match self.append(cx, command, stream, events) {
                Ok(()) => return,
                Err(error) => Err(error),
            },
            Command::Read { stream, from, limit, upto } => match self.read(cx, command, &stream, from, limit, upto) {
                Ok(None) => return,
                Ok(Some(page)) => Ok(Outcome::Page(page)),
                Err(error) => Err(error),
            },
            Command::List { prefix } => Ok(Outcome::Streams(self.index.list(&prefix))),
        };
        cx.emit(Event::Replied { command, result });
    }

    /// An entry of another origin is durable here. What was told before, under this name, is passed over.
    pub fn on_delivered(&mut self, cx: &mut Cx<'_, Self>, stamp: Stamp, body: Bytes) {
        if self.index.last(stamp.log.actor) >= stamp.seq {
            return;
        }
        match self.take_in(stamp, &body) {
            Ok((stream, events)) => self.tell(cx, stamp, stream, events, body),
            Err(why) => {
                self.refused += 1;
                cx.emit(Event::Refused { log: stamp.log, seq: stamp.seq, why });
            }
        }
    }

    /// From this entry on another branch of the log stands: these here will be delivered under another name.
    pub fn give_way(&mut self, log: LogId, from: Seq) {
        self.index.give_way(log.actor, from);
    }

    /// What others may read.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View { events: self }
    }

    /// Indexes an entry. Gives its stream and how many events it holds, or why not.
    fn take_in(&mut self, stamp: Stamp, body: &Bytes) -> Result<(Name, u32), String> {
        let Stamp { log, seq, hlc, position } = stamp;
        let measured = Batch::measure(body);
        self.index.raise(log.actor, seq, position.segment);
        let (stream, extent) = measured.map_err(|error| error.to_string())?;
        if !self.index.makes_room(&stream, self.config.streams_max) {
            return Err(format!("stream {stream} would be one too many: the limit is {}", self.config.streams_max));
        }
        self.index.insert(&stream, log.actor, Kept { seq, hlc, extent, position });
        Ok((stream, extent.events))
    }

    /// Tells that an entry can be read, keeps its body for whoever reads it at once, and lets go what it pushes out.
    fn tell(&mut self, cx: &mut Cx<'_, Self>, stamp: Stamp, stream: Name, events: u32, body: Bytes) {
        let first = Id { hlc: stamp.hlc, origin: stamp.log.actor, seq: stamp.seq, index: 0 };
        self.keep(stamp.log, stamp.seq, body);
        self.expire(cx, &stream);
        cx.emit(Event::Appended { stream, first, events });
    }

    fn keep(&mut self, log: LogId, seq: Seq, body: Bytes) {
        self.cached_bytes += body.len();
        if let Some(older) = self.cache.insert((log, seq), body) {
            self.cached_bytes -= older.len();
        }
        self.cached.push_back((log, seq));
        while self.cached_bytes > self.config.cache_bytes
            && let Some(oldest) = self.cached.pop_front()
        {
            self.cached_bytes -= self.cache.remove(&oldest).map_or(0, |body| body.len());
        }
    }
}

//! The words of this room: what clients ask, what is told, what is waited for.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Cursor, Name};
use crate::types::{Actor, CommandId, DiskFault, Hlc, LogId, SegmentId, Seq, WallTime};

/// What a client asks of streams.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Command {
    /// Append events, in order and all or none. Answered by [`Outcome::Appended`] once durable here.
    Append {
        /// To which stream; made if it is new.
        stream: Name,
        /// The events.
        events: Vec<Bytes>,
    },
    /// Read events. Answered by [`Outcome::Page`].
    Read {
        /// Of which stream; one that is not there has no events.
        stream: Name,
        /// From where.
        from: Begin,
        /// How many at most; bounded by [`Config::page_max`](super::Config::page_max).
        limit: usize,
        /// Only events with stamps up to here, if given: see [`Events`](super::Events) about order.
        upto: Option<WallTime>,
    },
    /// Which streams there are. Answered by [`Outcome::Streams`].
    List {
        /// Only names that begin with this.
        prefix: String,
    },
}

/// Where a reader begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Begin {
    /// With the oldest event that is kept.
    Start,
    /// Behind the newest event that is held here; gives an empty page.
    Now,
    /// Where an earlier page ended.
    Cursor(Cursor),
}

/// What a command came to.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// The events are durable on this node.
    Appended(Appended),
    /// Some events.
    Page(Page),
    /// The streams, in order of their names.
    Streams(Vec<Info>),
}

/// Where appended events stand: from `first` on, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Appended {
    /// The first of them.
    #[serde(flatten)]
    pub first: Id,
    /// How many.
    pub events: usize,
}

/// What names an event, everywhere and for ever; but that an origin whose disk was put back, and which appended before it heard
/// what it had forgotten, gives the newer branch another [`origin`](Self::origin) of its own and other places: stamp, node and
/// index stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Id {
    /// When it was made. First, so that ids sort as a reader gets events: by time, then origin, then place.
    pub hlc: Hlc,
    /// Who made it.
    pub origin: Actor,
    /// Which entry of that origin's log.
    pub seq: Seq,
    /// Which event of the entry.
    pub index: u32,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its name.
    pub id: Id,
    /// What was appended.
    pub body: Bytes,
}

/// Some events of one stream: of each origin in its order, without gaps but for those that are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The events, sorted by id.
    pub events: Vec<Item>,
    /// What is missing before them.
    pub gaps: Vec<Gap>,
    /// Where to go on.
    pub cursor: Cursor,
    /// Whether more can be read at once.
    pub more: bool,
}

/// Entries of an origin that this reader did not get, since they have expired. Some may have been of other streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Whose.
    pub origin: Actor,
    /// The last entry before them.
    pub after: Seq,
    /// The last one of them.
    pub upto: Seq,
}

/// How a stream stands on this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Info {
    /// Its name.
    pub stream: Name,
    /// Events kept.
    pub events: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Entries that hold them.
    pub entries: u64,
    /// When the oldest was made.
    pub first: Option<WallTime>,
    /// When the newest was made.
    pub last: Option<WallTime>,
    /// Who made them.
    pub origins: Vec<Actor>,
}

/// Why a command on streams was not done. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is nothing to append.
    #[error("stream {stream}: there are no events to append")]
    Empty {
        /// Which stream.
        stream: Name,
    },
    /// A limit would be passed.
    #[error("stream {stream}: {what} is {found}, the limit is {max}")]
    TooLarge {
        /// Which stream.
        stream: Name,
        /// What is too large.
        what: &'static str,
        /// How large it is.
        found: usize,
        /// How large it may be.
        max: usize,
    },
    /// One stream more would be too many.
    #[error("stream {stream} would be one too many: the limit is {max}")]
    TooMany {
        /// Which stream.
        stream: Name,
        /// How many there may be.
        max: usize,
    },
    /// Too much waits already; try again shortly.
    #[error("{waiting} {what} wait already, the limit is {max}")]
    Busy {
        /// Of what.
        what: &'static str,
        /// How many wait.
        waiting: usize,
        /// How many may.
        max: usize,
    },
    /// The log did not take it, or could not be read.
    #[error("not durable, or not readable: {0}")]
    Disk(#[from] DiskFault),
}

/// Names an entry between this room and the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub u64);

/// What this room waits for from the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Which read.
    pub(super) read: u64,
    /// Which entry of it.
    pub(super) at: usize,
}

/// This room's timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Timer {
    /// Look for what has expired.
    Retention,
}

/// What streams tell.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// An entry of ours wants to become durable and to spread.
    Originate {
        /// Names it until the log has answered.
        token: Token,
        /// What to log.
        body: Bytes,
    },
    /// A command is answered.
    Replied {
        /// Which command.
        command: CommandId,
        /// With what.
        result: Result<Outcome, Error>,
    },
    /// Events are durable here, and can be read.
    Appended {
        /// In which stream.
        stream: Name,
        /// The first of them.
        first: Id,
        /// How many.
        events: u32,
    },
    /// An entry could not be taken in: it is in the log and in no stream.
    Refused {
        /// Whose log brought it.
        log: LogId,
        /// Its place there.
        seq: Seq,
        /// Why.
        why: String,
    },
    /// No event before this segment of the log is kept any more.
    Expired {
        /// The first segment that is still wanted.
        before: SegmentId,
    },
}

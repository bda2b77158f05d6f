//! The words of this room: what goes to the log, what is told, what is waited for.

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroU8;
use std::str::FromStr;

use bincode::de::{BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Decode, Encode};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Lag, Line};
use crate::types::{Actor, Digest, DiskFault, Hlc, HlcDrift, LogId, Lsn, NodeId, Position, SegmentId, Seq, Topic};

/// One entry of an origin log, as it goes to disk: `body` is opaque here. A clone shares the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Which origin log.
    pub log: LogId,
    /// Its place there.
    pub seq: Seq,
    /// When it was made, by its origin.
    pub hlc: Hlc,
    /// What it says.
    pub body: Bytes,
}

impl Encode for Record {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.log.encode(encoder)?;
        self.seq.encode(encoder)?;
        self.hlc.encode(encoder)?;
        self.body.as_ref().encode(encoder)
    }
}

impl<C> Decode<C> for Record {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Ok(Self {
            log: Decode::decode(decoder)?,
            seq: Decode::decode(decoder)?,
            hlc: Decode::decode(decoder)?,
            body: Vec::decode(decoder)?.into(),
        })
    }
}

impl<'de, C> BorrowDecode<'de, C> for Record {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Decode::decode(decoder)
    }
}

/// What this room keeps in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// An entry of an origin log.
    Entry(Record),
    /// A branch gave way.
    Branch(Branch),
    /// Entries are not held any more.
    Trim(Trim),
    /// Entries that others do not hold any more were passed over.
    Skip(Line),
    /// The operator paused a replica, or resumed it.
    Pause(Pause),
}

/// The operator wants nothing exchanged with a replica, or wants it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Pause {
    /// Which.
    pub peer: NodeId,
    /// Whether it is paused from now on.
    pub paused: bool,
}

/// How many other members must hold an entry, durably, before it is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Ack {
    /// None: it is durable here. Asynchronous replication.
    #[default]
    Local,
    /// So many. Semi-synchronous replication.
    Members(NonZeroU8),
    /// Every [active](ReplicationState::Active) replica, and one at least. Synchronous replication.
    All,
}

impl FromStr for Ack {
    type Err = AckError;

    fn from_str(text: &str) -> Result<Self, AckError> {
        match text {
            "local" | "0" => Ok(Self::Local),
            "all" => Ok(Self::All),
            count => count.parse().map(Self::Members).map_err(|_| AckError { found: text.chars().take(32).collect() }),
        }
    }
}

impl fmt::Display for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Members(count) => count.fmt(f),
            Self::All => f.write_str("all"),
        }
    }
}

impl From<Ack> for String {
    fn from(ack: Ack) -> Self {
        ack.to_string()
    }
}

impl TryFrom<String> for Ack {
    type Error = AckError;

    fn try_from(text: String) -> Result<Self, AckError> {
        text.parse()
    }
}

/// A text that is no level of acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?}: expected local, all, or how many other members, 1 to 255")]
pub struct AckError {
    found: String,
}

/// What stands before a segment of the events' chain does not count any more.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Trim {
    /// With this segment the chain begins from now on.
    pub first: SegmentId,
    /// And with this record.
    pub next: Lsn,
    /// Up to where each log is not held any more, and its chain there. Logs that are not named stand as they did.
    pub lines: Vec<Line>,
}

/// Two branches claimed one log, and the one that was held here gave way: where its entries stand from now on. They are
/// not written again, so whoever replays the log gives those that it has read before their new names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Branch {
    /// The log that was claimed.
    pub log: LogId,
    /// The place of the first entry that gave way.
    pub from: Seq,
    /// The entries from this place on move. Those before it were held under their new names already.
    pub moved: Seq,
    /// Whose log of the same topic they stand in from now on.
    pub to: Actor,
    /// Where the first of them stands there.
    pub at: Seq,
}

impl Branch {
    /// Does it to the entries that were read from the log before this, for [`restore`](super::Replication::restore).
    pub fn replay(&self, entries: &mut VecDeque<(Record, Position)>) {
        let (gone, stay): (VecDeque<_>, VecDeque<_>) = std::mem::take(entries)
            .into_iter()
            .partition(|(record, _)| record.log == self.log && record.seq >= self.from);
        *entries = stay;
        // Behind those that were held under the new name before.
        entries.extend(gone.into_iter().filter_map(|(record, position)| Some((self.rename(record)?, position))));
    }

    /// An entry that was written before this, under the name that it has since: another one if it gave way; `None` if it was
    /// held under that name already.
    #[must_use]
    pub fn renamed(&self, record: Record) -> Option<Record> {
        let gives_way = record.log == self.log && record.seq >= self.from;
        if gives_way { self.rename(record) } else { Some(record) }
    }

    /// An entry that gave way, under its new name; `None` if it was held under that name already.
    fn rename(&self, record: Record) -> Option<Record> {
        let behind = record.seq.value().checked_sub(self.moved.value())?;
        let log = LogId { actor: self.to, ..record.log };
        Some(Record { log, seq: Seq::new(self.at.value().saturating_add(behind)), ..record })
    }
}

/// Which of two entries at one place stands: the older one; of two that were made at the same time, the lower hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// When it was made.
    pub hlc: Hlc,
    /// Of its stamp and its body.
    pub hash: Digest,
}

/// What this room waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// An entry of ours becomes durable.
    Originated {
        /// As given to [`originate`](super::Replication::originate).
        token: u64,
        /// Our log.
        log: LogId,
        /// Its place there.
        seq: Seq,
    },
    /// An entry of another origin becomes durable.
    Taken {
        /// Whose log.
        log: LogId,
        /// Its place there.
        seq: Seq,
        /// It was old already when it came.
        backlog: bool,
    },
    /// An entry comes back from the log, for a peer.
    Read {
        /// For whom.
        peer: NodeId,
        /// Which batch of theirs.
        batch: u64,
        /// Which entry of the batch.
        at: usize,
    },
    /// An entry comes back from the log, to be delivered once more.
    Reread {
        /// Whose log.
        log: LogId,
        /// Its place there.
        seq: Seq,
        /// Whether it was delivered at this place before.
        again: bool,
    },
    /// An entry comes back from the log, for a sibling that has had it.
    Recall {
        /// Whose log.
        log: LogId,
        /// Its place there.
        seq: Seq,
    },
    /// An entry comes back from the log, to be compared with another one that claims its place.
    Compare {
        /// Whose log.
        log: LogId,
        /// Their place there.
        seq: Seq,
        /// Who holds the other.
        peer: NodeId,
        /// The other.
        theirs: Rank,
    },
    /// An entry of a branch that gives way comes back from the log, to be chained where it moves to.
    Move {
        /// Whose log.
        log: LogId,
        /// Its place there.
        seq: Seq,
    },
    /// That a branch gave way becomes durable.
    Branch,
    /// That entries are not held any more becomes durable.
    Trim,
    /// That a replica is paused, or resumed, becomes durable.
    Pause {
        /// As given to [`pause`](super::Replication::pause).
        token: u64,
        /// Which, and how.
        pause: Pause,
    },
    /// That entries were passed over becomes durable.
    Skip {
        /// Up to where, in which log.
        line: Line,
        /// Who does not hold them any more.
        peer: NodeId,
    },
}

/// This room's timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// Compare vectors with somebody.
    AntiEntropy,
    /// Announce what became durable to lazy neighbours.
    Announce,
    /// Offer what was caught up on.
    Offer,
    /// Look after the logs that are known to be behind.
    Behind,
    /// Tell neighbours how far members hold logs.
    Report,
    /// Look at the lag of replicas.
    Lag,
    /// Look after those who wait for copies.
    Copies,
    /// Tell at once what neighbours want to know at once.
    Urgent,
    /// What was gathered for this peer has waited long enough.
    Flush(NodeId),
    /// This peer has not acknowledged in time.
    Retransmit(NodeId),
    /// This peer has not told its vector in time.
    Synchronize(NodeId),
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Statistics {
    /// Entries sent.
    pub pushed: u64,
    /// Entries taken from peers.
    pub taken: u64,
    /// Entries that arrived again.
    pub duplicates: u64,
    /// Ranges asked for because of a gap.
    pub wants: u64,
    /// Times that a neighbour was asked to push a log.
    pub grafts: u64,
    /// Times that a neighbour was asked not to push a log.
    pub prunes: u64,
    /// Batches sent again because they were not acknowledged in time.
    pub retransmits: u64,
    /// Bytes of entries sent in answer to requests.
    pub repaired_bytes: u64,
    /// Entries that arrived ahead of a gap and found no room to wait.
    pub overflows: u64,
    /// Branches of logs that gave way here.
    pub branches: u64,
    /// Messages that no correct peer sends.
    pub faults: u64,
    /// Bytes of entries sent, before compression.
    pub pushed_bytes: u64,
    /// Bytes of entries taken from peers.
    pub taken_bytes: u64,
    /// Batches that were under way when the link ended: what of them did not arrive is sent again when it is back.
    pub failed: u64,
}

/// How a replica stands, as this node sees it. A replica is another member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplicationState {
    /// Nobody has compared with it in its present life, as far as is known here.
    Initializing,
    /// It lacks what has been held here for more than five seconds.
    CatchingUp,
    /// It holds what is held here, but for what is under way.
    Active,
    /// Nothing is exchanged with it, as the operator wants.
    Paused,
    /// It is dead, as far as is known here.
    Failed,
}

/// The log could not be restored: what is on disk is not what this room wrote. Nothing of this record was kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// An entry is missing, or is there twice.
    #[error("origin log {}: the next entry should be {expected}, the disk has {found}", log.at(*found))]
    NotDense {
        /// Which log.
        log: LogId,
        /// What should have come.
        expected: Seq,
        /// What came.
        found: Seq,
    },
}

/// What this room tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// An entry of ours is durable. It spreads from here.
    Originated {
        /// As given to [`originate`](super::Replication::originate).
        token: u64,
        /// Our log.
        log: LogId,
        /// Its place there.
        seq: Seq,
        /// Its stamp.
        hlc: Hlc,
        /// What it says.
        body: Bytes,
    },
    /// An entry of ours could not be made durable; it will not spread.
    OriginateFailed {
        /// Of which topic.
        topic: Topic,
        /// As given to [`originate`](super::Replication::originate).
        token: u64,
        /// The disk's words.
        fault: DiskFault,
    },
    /// An entry that was told before, because a sibling has it [reread](super::Replication::reread).
    Again {
        /// Whose log.
        log: LogId,
        /// Its place there.
        seq: Seq,
        /// What it says.
        body: Bytes,
    },
    /// An entry of another origin is durable here. Each is told once, in order of its log.
    Delivered {
        /// Whose log.
        log: LogId,
        /// Its place there.
        seq: Seq,
        /// Its stamp.
        hlc: Hlc,
        /// What it says.
        body: Bytes,
    },
    /// To [`recall`](super::Replication::recall): an entry that was delivered before, or why it cannot be read.
    Recalled {
        /// Whose log.
        log: LogId,
        /// Its place there.
        seq: Seq,
        /// What it says.
        result: Result<Bytes, DiskFault>,
    },
    /// A neighbour holds more of our own log than we do, or another branch of it: our store was rolled back. A new actor
    /// must be minted before anything else is originated.
    RolledBack {
        /// Our log.
        log: LogId,
        /// How far we hold it.
        held: Seq,
        /// How far they do.
        theirs: Seq,
    },
    /// Two different entries claim the same place in a log: its origin's store was rolled back, and wrote on. It will be
    /// settled which one stands. Told once for each neighbour who holds the other, until that is settled.
    Forked {
        /// Which log.
        log: LogId,
        /// Where the two part at the latest.
        seq: Seq,
        /// Who holds the other.
        peer: NodeId,
    },
    /// It is settled: the branch that was held here gave way to an older one. Its entries are not lost: they stand in a log
    /// of their own, or in several if it has branches itself. Those that were not held there yet are delivered again.
    GaveWay {
        /// Which log.
        log: LogId,
        /// The first entry that gave way.
        from: Seq,
        /// The last one.
        last: Seq,
        /// In which log the last one stands from now on.
        to: LogId,
        /// Its place there.
        at: Seq,
    },
    /// It is durable that everything before this segment of the log is not wanted any more: it may be removed.
    Trimmed {
        /// The first segment that is still wanted.
        first: SegmentId,
    },
    /// Entries that nobody asked holds any more were passed over: they have expired elsewhere.
    Skipped {
        /// Whose log.
        log: LogId,
        /// The last entry before them.
        after: Seq,
        /// The last one of them.
        upto: Seq,
    },
    /// The branch that is held here cannot give way: it stays, and the log in dispute. Tried again from time to time.
    Unsettled {
        /// Which log.
        log: LogId,
        /// The entry for which there is no other place.
        seq: Seq,
        /// Why.
        why: String,
    },
    /// An origin's stamps are too far ahead of our wall clock to be followed. Its entries are taken all the same. Told
    /// once for each origin.
    Drifted {
        /// Whose stamps.
        origin: NodeId,
        /// How far.
        drift: HlcDrift,
    },
    /// An entry that is durable here could not be read back. Peers must get it from somebody else.
    Unreadable {
        /// Whose log.
        log: LogId,
        /// Its place there.
        seq: Seq,
        /// The disk's words.
        fault: DiskFault,
    },
    /// A replica's lag has passed a threshold.
    Lagging {
        /// Whose.
        member: NodeId,
        /// How large it is.
        lag: Lag,
    },
    /// A replica's lag is below half of every threshold again.
    CaughtUp {
        /// Whose.
        member: NodeId,
    },
    /// A replica is paused from now on, or not any more; durably.
    Paused {
        /// As given to [`pause`](super::Replication::pause).
        token: u64,
        /// Which.
        peer: NodeId,
        /// Whether it is.
        paused: bool,
    },
    /// That could not be made durable; nothing has changed.
    PauseFailed {
        /// As given to [`pause`](super::Replication::pause).
        token: u64,
        /// The disk's words.
        fault: DiskFault,
    },
    /// A neighbour's operator paused this node there, or resumed it.
    PausedBy {
        /// Who.
        peer: NodeId,
        /// Whether it is paused.
        paused: bool,
    },
    /// As many members hold an entry as were wanted.
    Copied {
        /// As given to [`await_copies`](super::Replication::await_copies).
        token: u64,
        /// Who is known to hold it, durably.
        members: Vec<NodeId>,
    },
    /// They do not, as far as is known, and it was waited long enough. The entry stays, and goes on spreading.
    NotCopied {
        /// As given to [`await_copies`](super::Replication::await_copies).
        token: u64,
        /// Who is known to hold it, durably.
        members: Vec<NodeId>,
    },
    /// A peer sent what no correct peer sends; it was ignored.
    PeerFault {
        /// Who sent it.
        peer: NodeId,
        /// What was wrong.
        why: String,
    },
}

//! What crosses the network, and its bounds.
//!
//! Every list has a bound that is checked when it arrives; the lengths inside a frame are bounded by the room `wire` before
//! anything is allocated. Logs that the peer is known to hold go by a 4-byte tag in place of their 26-byte id: with single
//! small entries on many logs the ids would be a fifth of all bytes.

use bincode::de::{BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Decode, Encode};
use bytes::Bytes;

use super::Rank;
use crate::types::{Boot, Digest, Hlc, Lane, LogId, NodeId, Range, Seq};

/// Longest body of an entry, in bytes.
pub const ENTRY_MAX: usize = 16 << 20;
/// Most runs in a batch.
pub(super) const RUNS_MAX: usize = 1_024;
/// Most entries in a batch.
pub(super) const ENTRIES_MAX: usize = 8_192;
/// Most logs in one control message: 1,000 lines of a vector are 46 KB at the worst.
pub(super) const LINES_MAX: usize = 1_000;
/// Most places in one comparison of two branches: a log of a million entries takes four of them.
pub(super) const MARKS_MAX: usize = 64;
/// Most members in one message.
pub(super) const MEMBERS_MAX: usize = 256;
/// Most ranges in one request.
pub(super) const RANGES_MAX: usize = 256;
/// No log grows longer: at a million entries a second it would take nine years.
pub(super) const SEQ_MAX: u64 = 1 << 48;

/// What neighbours say to each other.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Message {
    /// New entries. A duplicate among them says that the receiver has a faster source.
    Push(Batch),
    /// Entries that close a gap, or are sent again.
    Fill(Batch),
    /// Entries that were there already when the receiver asked for their log. Its own neighbours may be getting them from
    /// somebody else at this moment: it offers them instead of pushing them.
    Backlog(Batch),
    /// Everything that this batch taught is durable.
    Ack {
        /// Which batch.
        number: u64,
    },
    /// How far some logs are held, for whoever is not pushed to.
    Have(Vec<Have>),
    /// The same, of logs on which the sender is catching up: whoever has no better source should ask for them now.
    Offer(Vec<Have>),
    /// Entries that are missing.
    Want(Vec<Range>),
    /// Push these logs to me from now on, starting after what I hold.
    Graft(Vec<Graft>),
    /// Do not push these logs to me any more; announce them.
    Prune(Vec<LogId>),
    /// Of everything that is held. Equal logs have equal digests.
    Digest(Digest),
    /// Everything that is held, or a part of it.
    Vector(Chunk),
    /// The sender's chain at some places of a log of which the receiver holds another branch: they look for the first place
    /// at which the two differ.
    Marks(Marks),
    /// The sender does not hold this log up to here any more: what the receiver lacks of it has expired.
    Trimmed(Line),
    /// How far members hold logs, as far as the sender knows.
    Held(Vec<Held>),
    /// Tell all that is known of these members once more.
    Tell(Vec<NodeId>),
    /// These members hold what the sender holds.
    Equal {
        /// Of that.
        digest: Digest,
        /// Their names, shortened.
        members: Vec<Short>,
    },
    /// The sender's operator wants nothing exchanged with the receiver: nothing that it asks is answered otherwise.
    Paused,
    /// For a while, tell at once whoever is known to hold these logs, and how far.
    Watch(Vec<Name>),
    /// This batch arrived, and some of it was not taken: it waits behind a gap, or was not wanted. The rest is durable.
    Part {
        /// Which batch.
        number: u64,
    },
}

/// Why a batch is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Live,
    Repair,
    Backlog,
}

impl Kind {
    pub(super) fn message(self, batch: Batch) -> Message {
        match self {
            Self::Live => Message::Push(batch),
            Self::Repair => Message::Fill(batch),
            Self::Backlog => Message::Backlog(batch),
        }
    }
}

/// Runs of entries, numbered by their sender for the acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Batch {
    /// Counts the batches of this link, from 1.
    pub number: u64,
    /// In any order.
    pub runs: Vec<Run>,
}

/// Consecutive entries of one log.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Run {
    /// Whose entries.
    pub log: Name,
    /// The place of the first.
    pub first: Seq,
    /// The log's hash chain just before the first, shortened.
    pub before: Short,
    /// At least one.
    pub entries: Vec<Entry>,
}

/// One entry on its way. A clone shares the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it was made, by its origin.
    pub hlc: Hlc,
    /// What it says.
    pub body: Bytes,
}

/// A log by name: its tag if the receiver is known to hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// In full.
    Id(LogId),
    /// The start of its hash chain, shortened. Never zero.
    Tag(Short),
}

/// The last 4 bytes of a digest: enough to tell logs, or two branches of one, apart on a link that also compares whole
/// digests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Short([u8; 4]);

/// How far a log is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Have {
    /// Which log.
    pub log: Name,
    /// The last entry up to which all are held.
    pub last: Seq,
}

/// How far one member holds some logs: those of which it holds more than was told before.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Held {
    /// Who.
    pub member: NodeId,
    /// In which life.
    pub boot: Boot,
    /// How old this knowledge is, in milliseconds; the most that there is: nothing is said of other logs.
    pub age_ms: u64,
    /// The logs.
    pub lines: Vec<Hold>,
}

/// How far a log is held by somebody, durably.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Hold {
    /// Which log.
    pub log: Name,
    /// The last entry up to which all are held.
    pub last: Seq,
    /// The chain there, shortened: it tells branches of the log apart.
    pub chain: Short,
}

/// A log that is to be pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Graft {
    /// Which log.
    pub log: LogId,
    /// The last entry that the asker holds.
    pub after: Seq,
}

/// One line of a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Line {
    /// Which log.
    pub log: LogId,
    /// The last entry up to which all are held.
    pub last: Seq,
    /// The log's hash chain there.
    pub chain: Digest,
}

/// A part of a vector, which says everything about the logs between its bounds: each chunk can be used on its own.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Chunk {
    /// It begins after this log; with the first of all if none.
    pub after: Option<LogId>,
    /// It ends with this log; with the last of all if none.
    pub upto: Option<LogId>,
    /// The logs in between of which anything is held, in order.
    pub lines: Vec<Line>,
    /// Whether the sender wants the receiver's vector too.
    pub answer: bool,
}

/// The chain of a log at some of its places.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Marks {
    /// Which log.
    pub log: LogId,
    /// In order of their places.
    pub marks: Vec<Mark>,
}

/// The chain of a log at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Mark {
    /// Which place.
    pub seq: Seq,
    /// The chain after the entry there.
    pub chain: Digest,
}

impl Message {
    pub(super) fn lane(&self) -> Lane {
        match self {
            Self::Push(_) | Self::Fill(_) | Self::Backlog(_) => Lane::Sync,
            Self::Ack { .. }
            | Self::Have(_)
            | Self::Offer(_)
            | Self::Want(_)
            | Self::Graft(_)
            | Self::Prune(_)
            | Self::Digest(_)
            | Self::Vector(_)
            | Self::Marks(_)
            | Self::Trimmed(_)
            | Self::Held(_)
            | Self::Tell(_)
            | Self::Equal { .. }
            | Self::Paused
            | Self::Watch(_)
            | Self::Part { .. } => Lane::Control,
        }
    }

    /// What no correct peer sends, whatever it holds.
    pub(super) fn check(&self) -> Result<(), String> {
        match self {
            Self::Push(batch) | Self::Fill(batch) | Self::Backlog(batch) => batch.check(),
            Self::Ack { .. } | Self::Part { .. } | Self::Digest(_) => Ok(()),
            Self::Have(lines) | Self::Offer(lines) => {
                at_most("announcements", lines.len(), LINES_MAX)?;
                lines.iter().try_for_each(|have| in_range(have.last))
            }
            Self::Want(ranges) => {
                at_most("ranges", ranges.len(), RANGES_MAX)?;
                ranges.iter().try_for_each(check_range)
            }
            Self::Graft(grafts) => {
                at_most("grafts", grafts.len(), LINES_MAX)?;
                grafts.iter().filter(|graft| graft.after > Seq::ZERO).try_for_each(|graft| in_range(graft.after))
            }
            Self::Prune(logs) => at_most("prunes", logs.len(), LINES_MAX),
            Self::Vector(chunk) => chunk.check(),
            Self::Marks(marks) => marks.check(),
            Self::Trimmed(line) => in_range(line.last),
            Self::Held(held) => {
                at_most("members", held.len(), MEMBERS_MAX)?;
                at_most("lines", held.iter().map(|held| held.lines.len()).sum(), LINES_MAX)?;
                held.iter().flat_map(|held| &held.lines).try_for_each(|line| in_range(line.last))
            }
            Self::Tell(members) => at_most("members", members.len(), MEMBERS_MAX),
            Self::Equal { members, .. } => at_most("members", members.len(), MEMBERS_MAX),
            Self::Paused => Ok(()),
            Self::Watch(logs) => at_most("logs", logs.len(), LINES_MAX),
        }
    }
}

impl Batch {
    fn check(&self) -> Result<(), String> {
        at_most("runs", self.runs.len(), RUNS_MAX)?;
        at_most("entries", self.runs.iter().map(|run| run.entries.len()).sum(), ENTRIES_MAX)?;
        self.runs.iter().try_for_each(Run::check)
    }
}

impl Run {
    /// The place of the last entry.
    pub(super) fn last(&self) -> u64 {
        self.first.value() + self.entries.len() as u64 - 1
    }

    fn check(&self) -> Result<(), String> {
        if self.entries.is_empty() {
            return Err("a run without entries".into());
        }
        in_range(self.first)?;
        in_range(Seq::new(self.last()))?;
        self.entries.iter().try_for_each(|entry| at_most("bytes of an entry", entry.body.len(), ENTRY_MAX))
    }
}

impl Entry {
    /// What it costs to keep or to send, in bytes.
    pub(super) fn weight(&self) -> usize {
        self.body.len() + 16
    }

    /// Which of two entries at one place stands: the lower.
    pub(super) fn rank(&self) -> Rank {
        Rank { hlc: self.hlc, hash: self.link(Digest::ZERO) }
    }

    /// The hash chain after this entry.
    pub(super) fn link(&self, chain: Digest) -> Digest {
        let bytes = bincode::encode_to_vec(self, bincode::config::standard()).expect("writing to a Vec does not fail");
        chain.chain(&bytes)
    }
}

impl Short {
    pub(super) fn of(digest: Digest) -> Self {
        let [.., a, b, c, d] = digest.value().to_be_bytes();
        Self([a, b, c, d])
    }

    /// The same as a number, in the same order.
    pub(super) const fn number(self) -> u32 {
        u32::from_be_bytes(self.0)
    }

    pub(super) fn is_zero(self) -> bool {
        self == Self::default()
    }
}

impl Marks {
    fn check(&self) -> Result<(), String> {
        at_most("marks", self.marks.len(), MARKS_MAX)?;
        self.marks.iter().try_for_each(|mark| in_range(mark.seq))?;
        if self.marks.is_sorted_by(|a, b| a.seq < b.seq) { Ok(()) } else { Err("marks out of order".into()) }
    }
}

impl Chunk {
    fn check(&self) -> Result<(), String> {
        at_most("lines", self.lines.len(), LINES_MAX)?;
        self.lines.iter().try_for_each(|line| in_range(line.last))?;
        let inside = |line: &Line| self.covers(line.log);
        if !self.lines.iter().all(inside) || !self.lines.is_sorted_by(|a, b| a.log < b.log) {
            return Err("a vector out of order".into());
        }
        Ok(())
    }

    /// Whether this chunk says everything about this log.
    pub(super) fn covers(&self, log: LogId) -> bool {
        self.after.is_none_or(|after| log > after) && self.upto.is_none_or(|upto| log <= upto)
    }
}

fn at_most(what: &str, len: usize, max: usize) -> Result<(), String> {
    if len <= max { Ok(()) } else { Err(format!("{len} {what}, the limit is {max}")) }
}

fn in_range(seq: Seq) -> Result<(), String> {
    if (1..=SEQ_MAX).contains(&seq.value()) { Ok(()) } else { Err(format!("sequence number {seq}")) }
}

fn check_range(range: &Range) -> Result<(), String> {
    in_range(range.first)?;
    in_range(range.last)?;
    if range.first <= range.last { Ok(()) } else { Err(format!("a range from {} to {}", range.first, range.last)) }
}

impl Encode for Entry {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.hlc.encode(encoder)?;
        self.body.as_ref().encode(encoder)
    }
}

impl<C> Decode<C> for Entry {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Ok(Self { hlc: Decode::decode(decoder)?, body: Vec::decode(decoder)?.into() })
    }
}

impl<'de, C> BorrowDecode<'de, C> for Entry {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Decode::decode(decoder)
    }
}

impl Encode for Name {
    /// 4 bytes of tag; four zeros, then the id.
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        match self {
            Self::Tag(tag) => tag.encode(encoder),
            Self::Id(log) => {
                Short::default().encode(encoder)?;
                log.encode(encoder)
            }
        }
    }
}

impl<C> Decode<C> for Name {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let tag = Short::decode(decoder)?;
        if tag.is_zero() { Ok(Self::Id(Decode::decode(decoder)?)) } else { Ok(Self::Tag(tag)) }
    }
}

impl<'de, C> BorrowDecode<'de, C> for Name {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Decode::decode(decoder)
    }
}

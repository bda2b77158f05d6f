//! The words of this room: what is decided, what came of it, why not, and what is told.

use std::fmt;
use std::sync::Arc;

use bincode::de::{BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Decode, Encode};
use serde::{Deserialize, Serialize};

use super::bounded::Blob;
use super::group::{Change, Group};
use crate::types::{Actor, DiskFault, Epoch, Index, Mint, NodeId, Term, WallTime};

/// The place of a decision among all decisions, and its fencing token: whoever acts on a decision shows it, and whoever is acted on
/// keeps the highest it saw and refuses lower ones. Its order is that of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
pub struct Token {
    /// The generation of the group.
    pub epoch: Epoch,
    /// The term in which it was proposed.
    pub term: Term,
    /// Its place in the log.
    pub index: Index,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.epoch, self.term, self.index)
    }
}

/// The end of a log, or another place in it: two logs with an entry of one term at one place are equal up to there (Raft, section 5.3).
/// Its order says which of two logs is further.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
pub struct Mark {
    /// The term of the entry there.
    pub term: Term,
    /// The place.
    pub index: Index,
}

/// Names a request for good. Asked twice, it is done once.
///
/// The table of outcomes is bounded, so a request says from when it is: one that is older than all that the table remembers
/// may have been done and forgotten, and is refused. Whoever mints an id takes for `born` the last place that it knows to be
/// committed: what is asked under the id can only come after it. One that is too low costs a refusal, never a second effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
pub struct RequestId {
    /// Up to where the asking peer knew the log to be committed.
    pub born: Index,
    /// Drawn at random by who asks.
    pub number: u128,
}

impl fmt::Display for RequestId {
    /// As it is told to whoever may ask again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:032x}", self.born, self.number)
    }
}

/// The name of a register.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Name(Arc<str>);

impl Name {
    /// Longest name, in bytes.
    pub const LEN_MAX: usize = 128;

    /// This name, if it is neither empty nor too long.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        (1..=Self::LEN_MAX).contains(&text.len()).then(|| Self(text.into()))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Encode for Name {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.0.as_bytes().encode(encoder)
    }
}

impl<C> Decode<C> for Name {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let bytes = Blob::<{ Self::LEN_MAX }>::decode(decoder)?;
        let text = std::str::from_utf8(bytes.bytes()).ok().and_then(Self::new);
        text.ok_or(DecodeError::Other("a register's name is no text or empty"))
    }
}
impl<'de, C> BorrowDecode<'de, C> for Name {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Decode::decode(decoder)
    }
}

/// Longest value of a register, in bytes.
pub const VALUE_MAX: usize = 16 << 10;
/// What a register holds. What it means is for who set it.
pub type Value = Blob<VALUE_MAX>;

/// A coordinated decision: a register is set if it holds what is expected. What registers mean is for others (roles, backups); that
/// all peers see the same sequence of values, each with its [`Token`], is for this room.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Action {
    /// Which register.
    pub name: Name,
    /// What it must hold before.
    pub expect: Expect,
    /// What it holds afterwards; nothing removes it.
    pub value: Option<Value>,
}

/// What a register must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// Whatever.
    Any,
    /// Nothing.
    Absent,
    /// What this decision set it to.
    Set(Token),
}

/// An action that somebody wants done.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Intent {
    /// Its name.
    pub request: RequestId,
    /// No leader appends it after this. What is appended by then may become certain later: whoever begins something because of it looks at
    /// the time itself.
    pub expires: WallTime,
    /// What.
    pub action: Action,
}

/// What came of an action that was decided: the same on every peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The register was set.
    Done,
    /// It held something else.
    Differs {
        /// What that was set by.
        holds: Option<Token>,
    },
    /// There is no room for one more register, or for a value that long.
    Full,
    /// The request is older than the table remembers: it may have been done before, and was not done now.
    Forgotten,
}

/// An answer to a request that was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is decided.
    Decided {
        /// Where.
        token: Token,
        /// And what came of it.
        outcome: Outcome,
    },
    /// It was appended, and may or may not be decided in the end. Asking again under the same id tells, and does nothing twice.
    Unknown,
}

/// Why something was not taken on. Nothing was appended, and nothing will be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Somebody else leads, or nobody does at the moment.
    #[error("this peer does not lead (epoch {epoch}, term {term})")]
    NotLeader {
        /// Who does, as far as is known.
        leader: Option<NodeId>,
        /// The generation of the group.
        epoch: Epoch,
        /// The term.
        term: Term,
    },
    /// No majority is in reach.
    #[error("no majority of the voters is in reach")]
    NoQuorum,
    /// This peer is in no group.
    #[error("this peer is in no group of voters and learners")]
    Outsider,
    /// Its time had passed when it came.
    #[error("the request expired at {expires}")]
    Expired {
        /// When.
        expires: WallTime,
    },
    /// It may have been done and forgotten.
    #[error("the request is from before {floor}, and may have been done then; ask under a new id if it was not")]
    Forgotten {
        /// What the table remembers begins here.
        floor: Index,
    },
    /// A request says that it knew a later place than there is.
    #[error("the request says that {born} was committed, the log ends at {last}")]
    Unborn {
        /// What it says.
        born: Index,
        /// Where the log ends.
        last: Index,
    },
    /// Too much waits already.
    #[error("{waiting} requests wait already")]
    Busy {
        /// How many.
        waiting: usize,
    },
    /// The disk does not take records any more.
    #[error("the disk failed: {0}")]
    Disk(DiskFault),
}

/// What the machine asks for a write, to know it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Writes are numbered.
    pub number: u64,
    /// The log ends here once it is durable.
    pub last: Mark,
    /// It holds a snapshot that ends here.
    pub snapshot: Option<Index>,
}

/// A timer of this room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// Nothing was heard from a leader for too long.
    Election,
    /// A leader lets hear from it.
    Heartbeat,
    /// A leader did not hear from a majority for too long.
    Quorum,
    /// Who is no member asks whether it missed something.
    Refresh,
    /// What was told to who is no member, and not answered, is told again.
    Retell,
    /// A request is passed on again, or answered.
    Ask,
}

/// Why a leader gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resigned {
    /// Somebody was elected after it, or seeks to be.
    LaterTerm,
    /// It did not hear from a majority.
    NoQuorum,
    /// It is no voter any more.
    Removed,
    /// Its disk failed or stalled.
    Disk,
    /// It was told to be in no group, or is replaced by a group that was formed anew.
    Withdrawn,
}

/// A frame that no correct member sends, or not to us. It was ignored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A number is beyond all that can be counted to.
    #[error("a term or a place is {0}, beyond all that can be counted to")]
    Immense(u64),
    /// The sender has no voice in the group.
    #[error("{0:?} is no voter of this group")]
    NoVoter(Actor),
    /// The sender is a member that was removed.
    #[error("{0:?} was removed from this group")]
    Retired(Actor),
    /// Two leaders in one term: one of the voters voted twice.
    #[error("{second:?} leads in term {term}, in which {first:?} was elected")]
    TwoLeaders {
        /// The term.
        term: Term,
        /// Known before.
        first: Actor,
        /// And the other.
        second: Actor,
    },
    /// Entries whose terms fall, or are later than the term of who sends them.
    #[error("an entry of term {found} stands behind one of {before}, in a frame of {term}")]
    Terms {
        /// Of the frame.
        term: Term,
        /// Of the entry before.
        before: Term,
        /// Of the entry.
        found: Term,
    },
    /// A group without voters, or with too many, or out of order.
    #[error("an entry names a group that cannot be")]
    Group,
    /// Another group than ours, that was founded apart from it.
    #[error("a frame of another group, {0:?}")]
    OtherGroup(Mint),
    /// What is committed here would have to go.
    #[error("entry {index} would replace one that is committed, up to {commit}")]
    Committed {
        /// Which.
        index: Index,
        /// Up to where the log is committed.
        commit: Index,
    },
    /// A member acknowledges what was never sent to it.
    #[error("it acknowledges {claimed}, the log ends at {last}")]
    Beyond {
        /// What.
        claimed: Index,
        /// Where the log ends.
        last: Index,
    },
    /// Pieces of a snapshot that do not fit together.
    #[error("a piece of a snapshot at {offset} of {total} bytes, expected {expected}")]
    Piece {
        /// Where it begins.
        offset: u64,
        /// Of how many.
        total: u64,
        /// Where one was awaited.
        expected: u64,
    },
    /// A snapshot that cannot be read.
    #[error("the snapshot up to {index}: {why}")]
    Snapshot {
        /// Up to where it would go.
        index: Index,
        /// Why not.
        why: String,
    },
}

/// What this room tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// This peer has a name in groups from now on: whoever adds it must know it.
    Named {
        /// The name.
        id: Actor,
    },
    /// This peer leads.
    Elected {
        /// In this term.
        term: Term,
    },
    /// This peer does not lead any more.
    Resigned {
        /// The term in which it did.
        term: Term,
        /// Why.
        why: Resigned,
    },
    /// This peer follows somebody, or nobody any more.
    Follows {
        /// Whom.
        leader: Option<Actor>,
        /// In this term.
        term: Term,
    },
    /// It is decided, and known here. After a restart what comes after the last snapshot is told again, under the same tokens.
    Committed {
        /// Its place.
        token: Token,
        /// What.
        intent: Intent,
        /// What came of it.
        outcome: Outcome,
    },
    /// A request that was appended here has its answer.
    Answered {
        /// Which.
        request: RequestId,
        /// And which.
        answer: Answer,
    },
    /// What came of a request that was asked here, wherever it was decided.
    Asked {
        /// Which.
        request: RequestId,
        /// What. A refusal is certain.
        result: Result<Answer, Refusal>,
    },
    /// All that was decided before the read was asked is known here.
    Readable {
        /// As given to [`read`](super::Consensus::read).
        read: u64,
        /// Up to here.
        index: Index,
    },
    /// The read has to be asked elsewhere, or later.
    Unreadable {
        /// As given to [`read`](super::Consensus::read).
        read: u64,
    },
    /// Who decides has changed, for good.
    Changed {
        /// By this decision.
        token: Token,
        /// To these.
        group: Group,
    },
    /// A change that was asked here has its answer: it is committed, or the office was lost before.
    ChangeEnded {
        /// Which.
        change: Change,
        /// Whether it is certain. Else it may still come.
        committed: bool,
    },
    /// The state was replaced by that of another member: what was decided up to there is not told one by one.
    Installed {
        /// Up to here.
        token: Token,
    },
    /// The hand-over that was asked here came to nothing: this peer still leads.
    TransferFailed {
        /// To whom.
        to: Actor,
    },
    /// Another store speaks at a voter's or learner's node: the member is gone for good, and is to be replaced.
    Reborn {
        /// Who is gone.
        member: Actor,
        /// Under what name its node could become a learner.
        mint: Mint,
    },
    /// This peer's store lost what it had acknowledged. It is in no group any more and has a new name, under which it may be added.
    LostMemory {
        /// What the leader knows it to have held.
        acknowledged: Index,
        /// Where the log ends here.
        last: Index,
    },
    /// A peer says under what name its store could take part.
    Met {
        /// The name.
        id: Actor,
    },
    /// A frame of a generation before ours was refused.
    OldEpoch {
        /// From whom.
        peer: NodeId,
        /// Which.
        epoch: Epoch,
    },
    /// The group was formed anew without us, as a majority of the other voters says: we are of the past. Nothing was changed;
    /// [`withdraw`](super::Consensus::withdraw) makes this peer one that can join.
    NewerEpoch {
        /// Who said so last.
        peer: NodeId,
        /// Which.
        epoch: Epoch,
    },
    /// A majority of the other voters says that we are in their group no more; or one does, and our log says it too.
    NoMember {
        /// Who said so last.
        peer: NodeId,
    },
    /// A member says so, or speaks in a later generation. That alone changes nothing.
    Disowned {
        /// Who.
        peer: NodeId,
        /// The generation in which it says that; ours, or a later one.
        epoch: Epoch,
    },
    /// A peer sent what no correct one does.
    PeerFault {
        /// Which.
        peer: NodeId,
        /// What.
        fault: Fault,
    },
    /// The disk did not take a record: this peer takes part in nothing any more until it is started again.
    DiskFailed {
        /// Why.
        fault: DiskFault,
    },
}

//! What members tell each other.
//!
//! Every message says of which group and generation it is, in which term it was sent, and which stores are speaking with each
//! other: what was meant for a store that is lost, or comes late from one, is known by that.

use std::sync::Arc;

use bincode::{Decode, Encode};

use super::bounded::Blob;
use super::log::{Entries, Says};
use super::vocabulary::{Fault, Intent, Mark, Outcome, RequestId, Token};
use crate::types::{Actor, Epoch, Index, Lane, Mint, NodeId, Term};

/// Longest piece of a snapshot, in bytes.
pub const PIECE_MAX: usize = 32 << 10;
/// Longest snapshot, in bytes: more than registers and outcomes can come to.
pub const SNAPSHOT_MAX: usize = 4 << 20;
/// Terms, epochs and places in frames are below this: so they can always be advanced.
pub const COUNT_MAX: u64 = 1 << 62;
/// Whoever is not known to be a voter leads nobody so many terms ahead: no frame of a stranger uses them up.
pub(super) const LEAP_MAX: u64 = 1 << 32;

/// A message between two members, or from a member to one that is to become one.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Message {
    /// Of which group: drawn when it was founded.
    pub founding: Mint,
    /// Of which generation of it.
    pub epoch: Epoch,
    /// The term of the sender; of a pre-vote and its grant the one that it is about.
    pub term: Term,
    /// Which store of the sending node speaks.
    pub from: Mint,
    /// And to which of the receiving.
    pub to: Mint,
    /// What.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Body {
    /// Will you vote for me? (RequestVote)
    Ask {
        /// Where the log of who asks ends.
        last: Mark,
        /// How it is meant.
        ballot: Ballot,
    },
    /// The answer to a pre-vote.
    PreVoted {
        /// Yes, I would.
        granted: bool,
    },
    /// The answer to a vote.
    Voted {
        /// You have my vote.
        granted: bool,
    },
    /// Here are entries. (AppendEntries)
    Append {
        /// They come behind this one.
        prev: Mark,
        /// Up to here the leader's log is committed.
        commit: Index,
        /// None, to find where our logs part.
        entries: Entries,
    },
    /// I hold your log up to here, durably.
    Appended {
        /// Up to where.
        matched: Index,
    },
    /// I do not hold what your entries come behind.
    Conflict {
        /// What I do not hold.
        rejected: Index,
        /// My last entry at or before it that may be the same as yours.
        hint: Mark,
    },
    /// I lead. (an empty AppendEntries, which needs no log to be answered)
    Heartbeat {
        /// Up to here the log is committed, and held by you.
        commit: Index,
        /// Up to here you told me that you hold it.
        matched: Index,
        /// Names the answer.
        round: u64,
    },
    /// I follow you.
    Heard {
        /// What is answered.
        round: u64,
    },
    /// A piece of a snapshot. (InstallSnapshot)
    Piece {
        /// What the snapshot goes up to.
        last: Mark,
        /// How many bytes it has.
        total: u64,
        /// Where this piece begins.
        offset: u64,
        /// The piece.
        bytes: Blob<PIECE_MAX>,
    },
    /// I have the snapshot up to here.
    Pieced {
        /// Which.
        last: Mark,
        /// How many bytes I have.
        upto: u64,
    },
    /// Seek office now, in my place. (TimeoutNow; Ongaro's dissertation, section 3.10)
    Succeed,
    /// I heard you and did not do it.
    Refused(Why),
    /// As a heartbeat, and the next one comes after a long while: there is nothing to do.
    Rest {
        /// Up to here the log is committed, and held by you.
        commit: Index,
        /// Up to here you told me that you hold it.
        matched: Index,
        /// Names the answer.
        round: u64,
    },
    /// Somebody needs a leader: do not rest.
    Rouse,
    /// From a member to a peer that is none: so much is decided.
    Newest {
        /// Up to here.
        last: Mark,
    },
    /// From a peer that is no member: I know what was decided up to here.
    Pull {
        /// The place; nothing is known at zero.
        after: Index,
        /// Tell me also what follows, as it is decided.
        follow: bool,
    },
    /// What was decided behind a place.
    Decided {
        /// It comes behind this one.
        prev: Mark,
        /// One at least.
        entries: Entries,
    },
    /// A piece of what all decisions came to, for who is no member.
    Copy {
        /// What it goes up to.
        last: Mark,
        /// How many bytes it has.
        total: u64,
        /// Where this piece begins.
        offset: u64,
        /// The piece.
        bytes: Blob<PIECE_MAX>,
    },
    /// I have so much of that copy.
    Copied {
        /// Which.
        last: Mark,
        /// How many bytes I have.
        upto: u64,
    },
    /// Under what name does your store take part?
    Who,
    /// The frame says it.
    Name,
    /// Somebody wants this done.
    Propose {
        /// What.
        intent: Arc<Intent>,
    },
    /// What came of it.
    Proposed {
        /// Of which request.
        request: RequestId,
        /// What.
        said: Said,
    },
    /// From a member to who follows what is decided: whom it follows itself, or that it leads.
    Leads {
        /// In which term.
        term: Term,
        /// Who; nobody, as far as it knows.
        leader: Option<Actor>,
    },
}

/// An answer to a request that was passed on. All but the first two are refusals: nothing of it was appended there.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Said {
    /// It is decided.
    Decided {
        /// Where.
        token: Token,
        /// What came of it.
        outcome: Outcome,
    },
    /// It was appended, and nothing is certain.
    Unknown,
    /// Somebody else leads, or nobody at the moment.
    NotLeader {
        /// Who.
        leader: Option<NodeId>,
    },
    /// Nobody can decide anything.
    NoQuorum,
    /// Its time had passed.
    Expired,
    /// It may have been done and forgotten.
    Forgotten {
        /// What is remembered begins here.
        floor: Index,
    },
    /// It says that it knew a later place than there is.
    Unborn {
        /// Where the log ends.
        last: Index,
    },
    /// Too much waits.
    Busy,
}

impl Body {
    /// Whether it is no word between members: it may come from anybody, and names no store of the receiver.
    pub(super) fn is_aside(&self) -> bool {
        matches!(
            self,
            Self::Newest { .. }
                | Self::Pull { .. }
                | Self::Decided { .. }
                | Self::Copy { .. }
                | Self::Copied { .. }
                | Self::Who
                | Self::Name
                | Self::Rouse
                | Self::Propose { .. }
                | Self::Proposed { .. }
                | Self::Leads { .. }
        )
    }
}

/// How a vote is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Ballot {
    /// Would you? Nothing changes by asking (Ongaro's dissertation, section 9.6).
    Pre,
    /// Do you?
    Vote,
    /// Do you? The leader itself wants it, so do not wait for it to fall silent.
    Succession,
}

/// Why a message was not heeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Why {
    /// It is of a generation that is past; ours is that of this frame.
    OldEpoch,
    /// You are no member of our group.
    NoMember,
    /// Another store speaks here than the one that you mean: that one is lost.
    OtherStore,
}

impl Message {
    /// Snapshots are bulk; all else is urgent and small.
    #[must_use]
    pub fn lane(&self) -> Lane {
        if matches!(self.body, Body::Piece { .. } | Body::Copy { .. }) { Lane::Sync } else { Lane::Control }
    }

    /// What can be said of it without knowing anything else.
    pub(super) fn check(&self) -> Result<(), Fault> {
        let (a, b) = match &self.body {
            Body::Ask { last, .. } | Body::Pieced { last, .. } => (last.term.value(), last.index.value()),
            Body::Append { prev, commit, entries } => {
                check_entries(self.term, *prev, entries)?;
                (prev.index.value(), commit.value())
            }
            Body::Appended { matched } => (matched.value(), 0),
            Body::Conflict { rejected, hint } => (rejected.value(), hint.index.value().max(hint.term.value())),
            Body::Heartbeat { commit, matched, .. } | Body::Rest { commit, matched, .. } => {
                (commit.value(), matched.value())
            }
            Body::Decided { prev, entries } => {
                check_entries(self.term, *prev, entries)?;
                (prev.index.value(), 0)
            }
            Body::Pull { after, .. } => (after.value(), 0),
            Body::Piece { last, .. } | Body::Newest { last } | Body::Copy { last, .. } | Body::Copied { last, .. } => {
                (last.term.value(), last.index.value())
            }
            _ => (0, 0),
        };
        match [self.epoch.value(), self.term.value(), a, b].into_iter().find(|count| *count >= COUNT_MAX) {
            Some(count) => Err(Fault::Immense(count)),
            None => Ok(()),
        }
    }
}

/// Terms never fall along a log, and nobody has entries of a term after its own.
fn check_entries(term: Term, prev: Mark, entries: &Entries) -> Result<(), Fault> {
    let mut before = prev.term;
    if before > term {
        return Err(Fault::Terms { term, before: term, found: before });
    }
    for entry in entries.iter() {
        if entry.term < before || entry.term > term {
            return Err(Fault::Terms { term, before, found: entry.term });
        }
        if matches!(&entry.says, Says::Group(group) if !group.is_sound()) {
            return Err(Fault::Group);
        }
        before = entry.term;
    }
    Ok(())
}

/// What is the same in all messages of one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) founding: Mint,
    pub(super) epoch: Epoch,
    pub(super) term: Term,
    pub(super) from: Mint,
}

impl Head {
    /// To a member.
    pub(super) fn to(self, to: Actor, body: Body) -> (NodeId, Message) {
        let Self { founding, epoch, term, from } = self;
        (to.node, Message { founding, epoch, term, from, to: to.mint, body })
    }
}

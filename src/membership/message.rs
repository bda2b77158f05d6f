//! What members tell each other. Peers are known by the link that a message came through, so that a quiet ping and its ack
//! need no ids.

use std::sync::Arc;

use bincode::de::{BorrowDecoder, Decoder};
use bincode::error::DecodeError;
use bincode::{BorrowDecode, Decode, Encode};

use super::{Meta, State};
use crate::types::{Boot, Digest, Incarnation, NodeId};

/// A message between two members. All travel on the control lane.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Message {
    /// Are you alive?
    Ping {
        /// Names the probe in the answer.
        probe: u16,
        /// Of the sender's view.
        digest: Digest,
        /// What is fresh.
        gossip: Updates,
    },
    /// I am.
    Ack {
        /// The probe that is answered.
        probe: u16,
        /// Of the sender's view.
        digest: Digest,
        /// What is fresh.
        gossip: Updates,
    },
    /// Probe this member for me (SWIM, section 3.1).
    PingReq {
        /// Names the probe in the answer.
        probe: u16,
        /// Whom.
        target: NodeId,
        /// What is fresh.
        gossip: Updates,
    },
    /// The member that you asked for answered me.
    Vouch {
        /// The probe that is answered.
        probe: u16,
    },
    /// The member that you asked for has not answered yet; I at least am well (Lifeguard, section 4.1).
    Nack {
        /// The probe that is answered.
        probe: u16,
        /// Why not.
        reach: Reach,
    },
    /// What is fresh, outside of probes.
    Gossip {
        /// The news.
        gossip: Updates,
    },
    /// All that the sender knows, or a part of it: it takes as many messages as it needs.
    State {
        /// Some members.
        rows: Updates,
        /// Please send yours.
        ask: bool,
    },
    /// Our digests differ and there is nothing fresh: here are the sums of my 64 buckets of members.
    Buckets {
        /// In order of bucket.
        sums: Box<[u64; 64]>,
    },
    /// My members in the buckets that differ.
    Diff {
        /// Which buckets, one bit each.
        buckets: u64,
        /// Some of their members.
        rows: Updates,
        /// Please send yours.
        ask: bool,
    },
    /// I close this link soon, having no more use for it: that says nothing of how I am.
    Parting,
    /// I do not know you: who are you?
    Who,
}

/// What the link between a helper and a member says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Reach {
    /// There is none, nor need be one: no evidence.
    Unlinked,
    /// There was one, or it could not be made.
    Lost,
    /// There is one, and nothing comes back.
    Silent,
}

/// What somebody says of one member. It counts against what is known by (boot, incarnation, state).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Update {
    /// About whom.
    pub id: NodeId,
    /// Which life of it.
    pub boot: Boot,
    /// Its own counter within that life.
    pub incarnation: Incarnation,
    /// What is thought of it.
    pub state: State,
    /// Who accuses it; empty unless it is suspect or dead.
    pub accusers: Accusers,
    /// What it says of itself, if the sender knows.
    pub meta: Option<Described>,
    /// For how many seconds it has been dead or gone, so that tombstones do not start anew at every hop.
    pub age_s: u32,
}

impl Update {
    /// What decides between two claims about one member.
    pub(super) fn rank(&self) -> (Boot, Incarnation, State) {
        (self.boot, self.incarnation, self.state)
    }
}

/// What a member says of itself, and when it said so.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Described {
    /// In which life.
    pub boot: Boot,
    /// At which incarnation.
    pub incarnation: Incarnation,
    /// What.
    pub meta: Arc<Meta>,
}

/// Some updates: a bounded list, checked before anything is allocated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode)]
pub struct Updates(pub(super) Vec<Update>);

impl Updates {
    /// Most updates in one message: what a frame of 64 KiB holds of the smallest.
    pub const LEN_MAX: usize = 4_096;

    /// What is in it.
    #[must_use]
    pub fn as_slice(&self) -> &[Update] {
        &self.0
    }
}

impl<C> Decode<C> for Updates {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        bounded(decoder, Self::LEN_MAX, "more updates than one message may hold").map(Self)
    }
}
impl<'de, C> BorrowDecode<'de, C> for Updates {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Decode::decode(decoder)
    }
}

/// Who accuses a member: the smallest ids of all that did, in order, so that every order of arrival leaves the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode)]
pub struct Accusers(Vec<NodeId>);

impl Accusers {
    /// More accusers than this change nothing: one, and Lifeguard's K = 3 that confirm.
    pub const LEN_MAX: usize = 4;

    /// Nobody.
    #[must_use]
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Adds one. Whether the number of accusers grew.
    pub(super) fn add(&mut self, accuser: NodeId) -> bool {
        let Err(at) = self.0.binary_search(&accuser) else { return false };
        let full = self.0.len() == Self::LEN_MAX;
        if full && at == Self::LEN_MAX {
            return false;
        }
        if full {
            self.0.pop();
        }
        self.0.insert(at, accuser);
        !full
    }

    /// Whether adding these would change anything.
    pub(super) fn gains(&self, others: &Self) -> bool {
        let full = self.0.len() == Self::LEN_MAX;
        others.0.iter().any(|other| !self.0.contains(other) && (!full || Some(other) < self.0.last()))
    }

    /// In order of id.
    #[must_use]
    pub fn as_slice(&self) -> &[NodeId] {
        &self.0
    }
}

impl From<NodeId> for Accusers {
    fn from(accuser: NodeId) -> Self {
        Self(vec![accuser])
    }
}

impl<C> Decode<C> for Accusers {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let given: Vec<NodeId> = bounded(decoder, Self::LEN_MAX, "more accusers than count")?;
        let mut accusers = Self::none();
        for accuser in given {
            accusers.add(accuser);
        }
        Ok(accusers)
    }
}
impl<'de, C> BorrowDecode<'de, C> for Accusers {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Decode::decode(decoder)
    }
}

/// A list of at most `max` items. Nothing is allocated for a length that is only claimed.
fn bounded<C, D: Decoder<Context = C>, T: Decode<C>>(
    decoder: &mut D,
    max: usize,
    why: &'static str,
) -> Result<Vec<T>, DecodeError> {
    let len = usize::try_from(u64::decode(decoder)?).unwrap_or(usize::MAX);
    if len > max {
        return Err(DecodeError::Other(why));
    }
    let mut items = Vec::new();
    for _ in 0..len {
        items.push(T::decode(decoder)?);
    }
    Ok(items)
}

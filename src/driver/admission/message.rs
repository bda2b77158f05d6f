//! What crosses the admit lane: one request at a time from the peer that dialled, one answer each.

use bincode::{Decode, Encode};

use super::invite::Secret;
use super::key::{PublicKey, encode};
use super::refusal::Refusal;
use super::revocation::Revocation;
use super::ticket::Credential;
use super::timeline::Timeline;
use crate::config::Terms;
use crate::types::{Boot, ClusterId, Digest, NodeId, TimelineId};

/// Version of the admit protocol's messages.
pub(crate) const VERSION: u16 = 3;
/// Longest request, in bytes: what a stranger may make us read.
pub(crate) const REQUEST_MAX: usize = 4096;
/// Longest answer, in bytes: a whole revocation set.
pub(crate) const ANSWER_MAX: usize = 2 << 20;

/// Who I am.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Hello {
    pub(crate) credential: Credential,
    /// Which life of this node: of two links of one node the later life's is the living one.
    pub(crate) boot: Boot,
    /// The how many-th dial of this life it is, if the sender dialled: of two dials by one peer the later counts.
    pub(crate) attempt: u64,
    /// Of the revoked set: peers whose sets differ exchange them.
    pub(crate) revoked: Digest,
    /// Of the configuration: peers that do not agree are not linked.
    pub(crate) terms: Terms,
    /// Which history of the mesh the sender is on; none for the first. Those of different ones are not linked.
    pub(crate) timeline: Option<Box<Timeline>>,
}

/// Let me in: I hold an invite.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Join {
    pub(crate) cluster: ClusterId,
    pub(crate) issuer: PublicKey,
    pub(crate) secret: Secret,
    pub(crate) node: NodeId,
    /// A joiner that would not be linked afterwards keeps its invite.
    pub(crate) terms: Terms,
    /// Of which timeline the log is that it brings along, if it does.
    pub(crate) timeline: Option<TimelineId>,
}

/// What a joiner gets.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Joined {
    pub(crate) credential: Credential,
    pub(crate) revoked: Vec<Revocation>,
    pub(crate) timeline: Option<Timeline>,
}

/// From the peer that dialled.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Request {
    Hello(Hello),
    Join(Join),
    /// My ticket is too old or will soon be: give me the next one.
    Renew(Credential),
    /// Yours is too old, and I am an issuer: here is the next one. To be answered by another hello.
    Renewed(Credential),
}

/// From the peer that listened.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Answer {
    Hello(Hello),
    Joined(Joined),
    Renewed(Credential),
    /// With the revocations that are the reason, if they are: the refused peer may not have heard of them.
    Refused(Refusal, Vec<Revocation>),
}

impl Request {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        encode(&(VERSION, self))
    }

    /// # Errors
    /// [`Refusal::Version`] or [`Refusal::Malformed`].
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Refusal> {
        decode::<_, REQUEST_MAX>(bytes)
    }
}

impl Answer {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        encode(&(VERSION, self))
    }

    /// # Errors
    /// [`Refusal::Version`] or [`Refusal::Malformed`].
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Refusal> {
        decode::<_, ANSWER_MAX>(bytes)
    }
}

fn decode<T: Decode<()>, const MAX: usize>(bytes: &[u8]) -> Result<T, Refusal> {
    if bytes.len() > MAX {
        return Err(Refusal::Malformed);
    }
    let config = bincode::config::standard().with_limit::<MAX>();
    // The version comes first and alone: what follows may be laid out in any way.
    let (found, at) = bincode::decode_from_slice::<u16, _>(bytes, config).map_err(|_| Refusal::Malformed)?;
    if found != VERSION {
        return Err(Refusal::Version { found });
    }
    let (value, len) = bincode::decode_from_slice(&bytes[at..], config).map_err(|_| Refusal::Malformed)?;
    if at + len == bytes.len() { Ok(value) } else { Err(Refusal::Malformed) }
}

//! Invites: a text that lets one peer join, once, and the issuer's record of those it made.

use std::fmt;
use std::str::FromStr;

use bincode::{Decode, Encode};
use libp2p::Multiaddr;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::key::{PublicKey, random};
use super::refusal::Refusal;
use super::text::{self, Flaw};
use super::ticket::NAME_MAX;
use crate::types::{ClusterId, NodeId, WallTime};

/// Most invites that an issuer remembers.
pub const INVITES_MAX: usize = 1024;
/// Most addresses in one invite: the text must stay short enough to paste.
pub const ADDRESSES_MAX: usize = 8;

const PREFIX: &str = "oxha1";

/// Names an invite: derived from its secret, safe to show.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct InviteId([u8; 8]);

impl fmt::Display for InviteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for InviteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for InviteId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for InviteId {
    type Err = InviteError;
    fn from_str(text: &str) -> Result<Self, InviteError> {
        let raw = (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok()).flatten();
        raw.map(|raw| Self(raw.to_be_bytes())).ok_or(InviteError::NotAnId)
    }
}

/// What only the holder of the invite and, for one moment, its issuer know.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Secret([u8; 16]);

impl Secret {
    pub(super) fn mint() -> Self {
        Self(random())
    }

    pub(super) fn id(&self) -> InviteId {
        let hash = self.hash(b"oxigdal-ha invite id v1\0");
        InviteId(std::array::from_fn(|at| hash[at]))
    }

    /// What the issuer keeps in place of the secret.
    pub(super) fn proof(&self) -> [u8; 32] {
        self.hash(b"oxigdal-ha invite proof v1\0")
    }

    fn hash(&self, tag: &[u8]) -> [u8; 32] {
        Sha256::new().chain_update(tag).chain_update(self.0).finalize().into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret of {}", self.id())
    }
}

/// Why a text is not an invite.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InviteError {
    /// Another kind of text.
    #[error("not an invite: it does not begin with {PREFIX}")]
    Prefix,
    /// Cut or mistyped.
    #[error("the invite is damaged: copy it again as a whole")]
    Damaged,
    /// Not the id of an invite.
    #[error("the id of an invite is 16 hexadecimal digits")]
    NotAnId,
}

/// A single-use admission, as it is handed to whoever shall join. Who reads the text can use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    pub(crate) cluster: ClusterId,
    /// The transport key of the one peer that can redeem it.
    pub(crate) issuer: PublicKey,
    pub(crate) addresses: Vec<Multiaddr>,
    pub(crate) secret: Secret,
    pub(crate) expires_at: WallTime,
}

#[derive(Encode, Decode)]
struct InviteBytes {
    cluster: ClusterId,
    issuer: PublicKey,
    addresses: Vec<Vec<u8>>,
    secret: Secret,
    expires_at: WallTime,
}

impl Invite {
    /// Its name in the issuer's list.
    #[must_use]
    pub fn id(&self) -> InviteId {
        self.secret.id()
    }

    /// The mesh it leads into.
    #[must_use]
    pub const fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Until when it is good.
    #[must_use]
    pub const fn expires_at(&self) -> WallTime {
        self.expires_at
    }

    /// Whether this text means to be an invite (it may still be damaged), and not an address.
    #[must_use]
    pub fn looks_like(text: &str) -> bool {
        text::begins(PREFIX, text)
    }
}

impl fmt::Display for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = InviteBytes {
            cluster: self.cluster,
            issuer: self.issuer,
            addresses: self.addresses.iter().map(Multiaddr::to_vec).collect(),
            secret: self.secret.clone(),
            expires_at: self.expires_at,
        };
        f.write_str(&text::write(PREFIX, &bytes))
    }
}

impl FromStr for Invite {
    type Err = InviteError;
    fn from_str(text: &str) -> Result<Self, InviteError> {
        let read: InviteBytes = text::read(PREFIX, text).map_err(|flaw| match flaw {
            Flaw::Prefix => InviteError::Prefix,
            Flaw::Damaged => InviteError::Damaged,
        })?;
        if read.addresses.len() > ADDRESSES_MAX {
            return Err(InviteError::Damaged);
        }
        let addresses = read.addresses.into_iter().map(Multiaddr::try_from).collect::<Result<_, _>>();
        Ok(Self {
            cluster: read.cluster,
            issuer: read.issuer,
            addresses: addresses.map_err(|_| InviteError::Damaged)?,
            secret: read.secret,
            expires_at: read.expires_at,
        })
    }
}

/// Who used an invite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct Use {
    pub(super) node: NodeId,
    pub(super) key: PublicKey,
    pub(super) at: WallTime,
}

/// What the issuer remembers of an invite. Not the secret: who reads this file cannot join.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct InviteRecord {
    pub(super) id: InviteId,
    pub(super) proof: [u8; 32],
    pub(super) name: String,
    pub(super) issued_at: WallTime,
    pub(super) expires_at: WallTime,
    pub(super) used: Option<Use>,
    pub(super) revoked: bool,
}

impl InviteRecord {
    /// Whether the holder of `key` may use it for `node`. The same peer may ask again: its answer may have been lost.
    pub(super) fn check(&self, proof: &[u8; 32], node: NodeId, key: PublicKey, now: WallTime) -> Result<(), Refusal> {
        if self.proof != *proof {
            return Err(Refusal::InviteUnknown);
        }
        if self.used.is_some_and(|used| (used.node, used.key) != (node, key)) {
            return Err(Refusal::InviteUsed);
        }
        if self.revoked {
            return Err(Refusal::InviteRevoked);
        }
        if self.expires_at <= now {
            return Err(Refusal::InviteExpired { at: self.expires_at });
        }
        Ok(())
    }
}

/// An invite as its issuer shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InviteStatus {
    /// Its name.
    pub id: InviteId,
    /// For whom, in the words of whoever made it.
    pub name: String,
    /// When it was made.
    pub issued_at: WallTime,
    /// Until when it is good.
    pub expires_at: WallTime,
    /// Who used it.
    pub used_by: Option<NodeId>,
    /// Whether it was taken back.
    pub revoked: bool,
}

impl From<&InviteRecord> for InviteStatus {
    fn from(record: &InviteRecord) -> Self {
        Self {
            id: record.id,
            name: record.name.clone(),
            issued_at: record.issued_at,
            expires_at: record.expires_at,
            used_by: record.used.map(|used| used.node),
            revoked: record.revoked,
        }
    }
}

/// A name cut to what a ticket may carry, at a character's boundary.
pub(super) fn fit_name(name: &str) -> String {
    let mut end = name.len().min(NAME_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].to_owned()
}

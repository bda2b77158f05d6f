//! What an issuer writes down before it answers: its invites, and whom it gave tickets.

use bincode::{Decode, Encode};

use super::invite::{INVITES_MAX, InviteId, InviteRecord, Use};
use super::key::{PublicKey, encode};
use super::known::Known;
use super::message::Join;
use super::refusal::Refusal;
use crate::types::{NodeId, WallTime};

/// Most members that an issuer keeps track of.
pub const MEMBERS_MAX: usize = 4096;

/// Longest file of a full ledger, in bytes.
pub(super) const FILE_MAX: usize = 4 << 20;

/// A member that got a ticket here, or was met with one of another issuer's.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct Issued {
    pub(super) node: NodeId,
    pub(super) key: PublicKey,
    pub(super) name: String,
}

/// The file `invites`, as a value: changed as a copy, written, and only then put in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(super) struct Ledger {
    pub(super) invites: Vec<InviteRecord>,
    pub(super) issued: Vec<Issued>,
}

impl Ledger {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        encode(self)
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        // The limit bounds what a damaged length may make us allocate.
        let config = bincode::config::standard().with_limit::<FILE_MAX>();
        let (ledger, len) = bincode::decode_from_slice(bytes, config).ok()?;
        (len == bytes.len()).then_some(ledger)
    }

    /// Takes an invite in; of those that can no longer be used the oldest make place. `false` when all are still good.
    #[must_use]
    pub(super) fn add(&mut self, record: InviteRecord, now: WallTime) -> bool {
        if self.invites.len() >= INVITES_MAX {
            let spent = |invite: &InviteRecord| invite.used.is_some() || invite.revoked || invite.expires_at <= now;
            let Some(at) = self.invites.iter().position(spent) else { return false };
            self.invites.remove(at);
        }
        self.invites.push(record);
        true
    }

    pub(super) fn invite_mut(&mut self, id: InviteId) -> Option<&mut InviteRecord> {
        self.invites.iter_mut().find(|invite| invite.id == id)
    }

    /// Marks the invite as used by the holder of `key`, and gives the member's name.
    pub(super) fn redeem(&mut self, join: &Join, key: PublicKey, now: WallTime) -> Result<String, Refusal> {
        let invite = self.invite_mut(join.secret.id()).ok_or(Refusal::InviteUnknown)?;
        invite.check(&join.secret.proof(), join.node, key, now)?;
        invite.used = Some(Use { node: join.node, key, at: now });
        let name = invite.name.clone();
        self.enter(join.node, key, &name)?;
        Ok(name)
    }

    /// Enters those who were met, as far as there is room.
    pub(super) fn learn(&mut self, known: &Known) {
        for (node, met) in known.members() {
            let full = self.issued.len() >= MEMBERS_MAX;
            if !full && !self.issued.iter().any(|issued| issued.node == node) {
                self.issued.push(Issued { node, key: met.key, name: String::new() });
            }
        }
    }

    /// Enters a member. Its node id must not be another's: who joined under it could speak in the other's name.
    pub(super) fn enter(&mut self, node: NodeId, key: PublicKey, name: &str) -> Result<(), Refusal> {
        if let Some(known) = self.issued.iter().find(|known| known.node == node) {
            return if known.key == key { Ok(()) } else { Err(Refusal::NodeTaken { node }) };
        }
        if self.issued.len() >= MEMBERS_MAX {
            return Err(Refusal::Full);
        }
        self.issued.push(Issued { node, key, name: name.to_owned() });
        Ok(())
    }
}

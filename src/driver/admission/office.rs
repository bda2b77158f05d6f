//! The issuer's office: invites are made and taken back, nodes are expelled.

use std::time::Duration;

use libp2p::Multiaddr;
use tokio::sync::watch;

use super::invite::{ADDRESSES_MAX, Invite, InviteId, InviteRecord, InviteStatus, Secret, fit_name};
use super::key::encode;
use super::ledger::Ledger;
use super::papers::{Papers, Standing};
use super::refusal::Refusal;
use super::revocation::Revocation;
use super::vault::{self, FileError};
use super::{Admission, AdmissionError, INVITE_LIFE_MAX, INVITES_FILE, REVOKED_FILE, after};
use crate::types::{Digest, NodeId, WallTime};

impl Admission {
    /// Makes an invite: whoever first redeems the text within `life` becomes a member under this name.
    ///
    /// # Errors
    /// [`AdmissionError`]; nothing is recorded then.
    pub fn issue_invite(&self, life: Duration, name: &str) -> Result<Invite, AdmissionError> {
        if life < Duration::from_secs(1) || life > INVITE_LIFE_MAX {
            return Err(AdmissionError::Life);
        }
        let now = self.now();
        if !self.is_issuer() {
            return Err(AdmissionError::NotAnIssuer);
        }
        let _turn = self.turn();
        let addresses: Vec<Multiaddr> = self.state().addresses.iter().take(ADDRESSES_MAX).cloned().collect();
        if addresses.is_empty() {
            return Err(AdmissionError::NoAddress);
        }
        let secret = Secret::mint();
        let expires_at = after(now, life);
        let record = InviteRecord {
            id: secret.id(),
            proof: secret.proof(),
            name: fit_name(name),
            issued_at: now,
            expires_at,
            used: None,
            revoked: false,
        };
        let mut ledger = self.state().ledger.clone();
        if !ledger.add(record, now) {
            return Err(AdmissionError::TooManyInvites);
        }
        self.store_ledger(ledger)?;
        Ok(Invite { cluster: self.cluster(), issuer: self.shared.key.public(), addresses, secret, expires_at })
    }

    /// The invites that this issuer remembers, oldest first.
    #[must_use]
    pub fn invites(&self) -> Vec<InviteStatus> {
        self.state().ledger.invites.iter().map(InviteStatus::from).collect()
    }

    /// Takes an invite back.
    ///
    /// # Errors
    /// [`AdmissionError`] when there is none, it was used, or the disk failed; nothing is changed then.
    pub fn revoke_invite(&self, id: InviteId) -> Result<(), AdmissionError> {
        let _turn = self.turn();
        let mut ledger = self.state().ledger.clone();
        let invite = ledger.invite_mut(id).ok_or(AdmissionError::NoInvite { id })?;
        if let Some(used) = invite.used {
            return Err(AdmissionError::InviteUsed { id, by: used.node });
        }
        invite.revoked = true;
        Ok(self.store_ledger(ledger)?)
    }

    pub(super) fn store_ledger(&self, ledger: Ledger) -> Result<(), FileError> {
        vault::write(&self.path(INVITES_FILE), &ledger.to_bytes())?;
        self.state().ledger = ledger;
        Ok(())
    }
}

impl Admission {
    /// Expels a node for good: its connections close at once here, and everywhere as the word spreads. Revoking a node
    /// that is revoked changes nothing. The overlay that it has set for the mesh, if that is in force, stays: this issuer sets it
    /// anew.
    ///
    /// # Errors
    /// [`AdmissionError`]; nothing is changed then.
    pub fn revoke(&self, node: NodeId) -> Result<(), AdmissionError> {
        if node == self.node() {
            return Err(AdmissionError::RevokesItself);
        }
        let now = self.now();
        let entry = {
            let state = self.state();
            let issuer = state.issuer.as_ref().ok_or(AdmissionError::NotAnIssuer)?;
            Revocation::sign(&issuer.secret, &issuer.chain, node, now)
        };
        let policy = self.policies().in_force().filter(|policy| policy.signer == node).map(|policy| policy.policy);
        // Before, so that no peer is without; after, if who is revoked has used up the versions.
        let later = policy.filter(|policy| self.set_overlay(*policy).is_err());
        match self.merge_revocations(vec![entry]) {
            Err(AdmissionError::Refused(Refusal::Full)) => return Err(AdmissionError::TooManyRevocations),
            merged => drop(merged?),
        }
        later.map_or(Ok(()), |policy| self.set_overlay(policy).map(|_| ()))
    }

    /// The revoked nodes and when they were revoked.
    #[must_use]
    pub fn revoked(&self) -> Vec<(NodeId, WallTime)> {
        self.state().revoked.iter().map(|entry| (entry.node(), entry.at())).collect()
    }

    pub(crate) fn is_revoked(&self, node: NodeId) -> bool {
        self.state().revoked.contains(node)
    }

    /// The revocations that this process learned after the first `known`, in the order it learned them.
    pub(crate) fn revocations_after(&self, known: usize) -> Vec<Revocation> {
        self.state().revoked.after(known)
    }

    pub(crate) fn revoked_digest(&self) -> Digest {
        self.state().revoked.digest()
    }

    /// Sees what is learned of issuers.
    pub(crate) fn watch_issuers(&self) -> watch::Receiver<u64> {
        self.shared.issuers.subscribe()
    }

    /// Sees each change of the revoked set.
    pub(crate) fn watch_revoked(&self) -> watch::Receiver<u64> {
        self.shared.revoked.subscribe()
    }

    /// Takes in what a peer told, durably; gives back what was new.
    pub(crate) fn merge_revocations(&self, entries: Vec<Revocation>) -> Result<Vec<Revocation>, AdmissionError> {
        let _turn = self.turn();
        let mut revoked = self.state().revoked.clone();
        let new = revoked.merge(self.cluster(), entries)?;
        if !new.is_empty() {
            let all: Vec<&Revocation> = revoked.iter().collect();
            vault::write(&self.path(REVOKED_FILE), &encode(&all))?;
            let before = self.papers().standing;
            self.state().revoked = revoked;
            self.tell_standing(before);
            self.shared.revoked.send_modify(|changes| *changes += 1);
            // Policies of who is revoked do not count any more.
            self.shared.policies.send_modify(|changes| *changes += 1);
        }
        Ok(new)
    }

    /// Being cast out is nothing to learn from a refusal some time later.
    fn tell_standing(&self, before: Standing) {
        match self.papers() {
            Papers { standing, .. } if standing == before => {}
            Papers { standing: Standing::Revoked, .. } => tracing::error!("this peer is expelled from the mesh"),
            Papers { standing: Standing::IssuerRevoked, signed_by, .. } => {
                tracing::error!(issuer = %signed_by, "the issuer of this peer's ticket is revoked: it needs a new invite");
            }
            _ => {}
        }
    }
}

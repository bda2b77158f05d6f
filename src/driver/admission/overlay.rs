//! The overlay that an issuer sets for the whole mesh: who may, how others check it, and where it is kept.
//!
//! An issuer signs a policy as it signs a ticket, and the policy carries the issuer's certificate, so that any peer can check
//! it at any time, from the issuer's key up to the root's. A member's ticket signs nothing: neither a member nor whoever
//! stole its key can set a policy, change one, or put an old one back, since the highest version counts.
//!
//! **A revoked issuer's policies do not count, whenever they were signed**: whoever holds its key can write any date. Who
//! revokes an issuer whose policy is in force signs the same policy anew in its own name, so that the mesh stays as it is. That
//! a certificate has expired since does not matter, as with revocations.
//!
//! Each peer keeps the latest policy of each issuer, in the file `overlay`, before it follows it.

use std::path::Path;

use bincode::{Decode, Encode};
use tokio::sync::watch;

use super::key::{Purpose, Signature, encode};
use super::refusal::Refusal;
use super::ticket::IssuerCertificate;
use super::vault::{self, FileError};
use super::{Admission, AdmissionError, ISSUERS_MAX, Issuer, OVERLAY_FILE, State, read_value};
use crate::config::Terms;
use crate::overlay::{PROOF_MAX, Policies, SignedPolicy};
use crate::topology::Policy;
use crate::types::{ClusterId, NodeId, WallTime};

/// Longest file: what all issuers ever set.
const FILE_MAX: usize = ISSUERS_MAX * (PROOF_MAX + 256);

/// The term of a configuration that a policy of the mesh takes the place of.
const TERM: &str = "overlay";

/// What is signed.
#[derive(Encode)]
struct Body {
    cluster: ClusterId,
    version: u64,
    issued_at: WallTime,
    signer: NodeId,
    policy: Policy,
}

impl Body {
    const fn of(cluster: ClusterId, signed: &SignedPolicy) -> Self {
        let SignedPolicy { version, issued_at, signer, policy, .. } = *signed;
        Self { cluster, version, issued_at, signer, policy }
    }
}

/// What proves it.
#[derive(Encode, Decode)]
struct Proof {
    chain: IssuerCertificate,
    signature: Signature,
}

/// Whether an issuer of this cluster has signed it, while its certificate was good.
fn verify(cluster: ClusterId, signed: &SignedPolicy) -> Result<(), Refusal> {
    let config = bincode::config::standard().with_limit::<PROOF_MAX>();
    let Ok((Proof { chain, signature }, len)) = bincode::decode_from_slice(&signed.proof, config) else {
        return Err(Refusal::Malformed);
    };
    if len != signed.proof.len() || chain.body.holder != signed.signer {
        return Err(Refusal::Malformed);
    }
    chain.check_root(cluster)?;
    if chain.body.expires_at <= signed.issued_at {
        return Err(Refusal::IssuerExpired { at: chain.body.expires_at });
    }
    let good = chain.body.key.verify(Purpose::Overlay, &Body::of(cluster, signed), &signature);
    if good { Ok(()) } else { Err(Refusal::ForgedPolicy) }
}

fn sign(issuer: &Issuer, mut signed: SignedPolicy) -> SignedPolicy {
    let signature = issuer.secret.sign(Purpose::Overlay, &Body::of(issuer.chain.cluster(), &signed));
    signed.proof = encode(&Proof { chain: issuer.chain.clone(), signature });
    signed
}

/// The policies that were kept in this directory.
pub(super) fn open(dir: &Path, cluster: ClusterId) -> Result<Policies, FileError> {
    let path = dir.join(OVERLAY_FILE);
    let kept = read_value::<Vec<SignedPolicy>, FILE_MAX>(&path)?.unwrap_or_default();
    for signed in &kept {
        verify(cluster, signed).map_err(|error| FileError::content(&path, error.to_string()))?;
    }
    Ok(kept.into_iter().collect())
}

impl Admission {
    /// Sets the overlay of the whole mesh: durable here when this returns, and followed by every peer that hears of it.
    ///
    /// # Errors
    /// [`AdmissionError`]; nothing is changed then.
    pub fn set_overlay(&self, policy: Policy) -> Result<SignedPolicy, AdmissionError> {
        let issued_at = self.now();
        let _turn = self.turn();
        let signed = {
            let state = self.state();
            let issuer = state.issuer.as_ref().filter(|issuer| issuer.chain.body.expires_at > issued_at);
            let issuer = issuer.ok_or(AdmissionError::NotAnIssuer)?;
            if state.revoked.contains(self.node()) {
                return Err(Refusal::Revoked { node: self.node() }.into());
            }
            let version = state.policies_that_count().next_version().ok_or(AdmissionError::NoVersion)?;
            sign(issuer, SignedPolicy { version, issued_at, signer: self.node(), policy, proof: Vec::new() })
        };
        self.store_policy(signed.clone())?;
        Ok(signed)
    }

    /// Takes in what a peer told, durably; gives whether it was news.
    pub(crate) fn keep_policy(&self, signed: SignedPolicy) -> Result<bool, AdmissionError> {
        let _turn = self.turn();
        {
            let state = self.state();
            if !state.policies.takes(&signed) {
                return Ok(false);
            }
            if state.revoked.contains(signed.signer) {
                return Err(Refusal::IssuerRevoked { holder: signed.signer }.into());
            }
            if state.policies.of(signed.signer).is_none() && state.policies.len() >= ISSUERS_MAX {
                return Err(Refusal::Full.into());
            }
        }
        verify(self.cluster(), &signed)?;
        self.store_policy(signed)?;
        Ok(true)
    }

    /// Signs whatever it is given, as a thief would.
    #[cfg(test)]
    pub(super) fn sign_policy(&self, signed: SignedPolicy) -> SignedPolicy {
        sign(self.state().issuer.as_ref().expect("tests call this on an issuer"), signed)
    }

    /// Whoever calls it has the turn.
    fn store_policy(&self, signed: SignedPolicy) -> Result<(), FileError> {
        let mut policies = self.state().policies.clone();
        policies.merge(signed);
        vault::write(&self.path(OVERLAY_FILE), &encode(&policies.iter().collect::<Vec<_>>()))?;
        self.state().policies = policies;
        self.shared.policies.send_modify(|changes| *changes += 1);
        Ok(())
    }

    /// The policies that count.
    #[must_use]
    pub fn policies(&self) -> Policies {
        self.state().policies_that_count()
    }

    /// The policy that is kept and does not count, if it would be in force: a revoked issuer signed it.
    #[must_use]
    pub fn void_policy(&self) -> Option<SignedPolicy> {
        let state = self.state();
        state.policies.in_force().filter(|highest| state.revoked.contains(highest.signer)).cloned()
    }

    /// Sees each change of the policies that count.
    pub(crate) fn watch_policies(&self) -> watch::Receiver<u64> {
        self.shared.policies.subscribe()
    }
}

impl State {
    pub(super) fn policies_that_count(&self) -> Policies {
        self.policies.iter().filter(|policy| !self.revoked.contains(policy.signer)).cloned().collect()
    }

    /// What members must have alike in their configurations: where a policy was set for the mesh, what is configured does not
    /// matter any more, and peers that have not heard of it must be linked to hear of it.
    pub(super) fn terms(&self) -> Terms {
        match self.policies_that_count().is_empty() {
            true => self.terms.clone(),
            false => self.terms.without(TERM),
        }
    }
}

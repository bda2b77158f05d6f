//! How a member becomes an issuer, and where the root key comes in.
//!
//! A mesh in which one peer alone signs tickets falls apart when that peer is gone for longer than a ticket lives: nobody
//! is let in any more. So the root signs further issuers, and the root key need not be on any peer for that. The member
//! draws a key and writes a **request**, which its transport key signs; whoever keeps the root key signs a
//! **certificate** for it, on any machine, without a network; the member **installs** it, and from then on makes invites
//! and renews the tickets of all members, whoever signed those. Request and certificate are texts, no secrets.
//!
//! A revoked issuer takes its tickets with it: whoever holds its key could sign what it likes. Members whose tickets it
//! signed are not let in by anybody who has heard of it until another issuer gives them a new ticket, for an invite. So
//! an issuer that is only lost, and not stolen, is better left alone: its tickets are renewed by others as they age.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use bincode::{Decode, Encode};
use serde::Serialize;

use super::key::{PublicKey, Purpose, SecretKey, Signature};
use super::refusal::Refusal;
use super::revocation::RevocationSet;
use super::text::{self, Flaw};
use super::ticket::{Credential, IssuerCertificate, Member, cluster_of};
use super::vault::{self, FileError};
use super::{Admission, AdmissionError, ISSUER_KEY_FILE, Issuer, OFFICE_LIFE_MAX, OFFICE_LIFE_MIN, after};
use crate::driver::clock::Clock;
use crate::types::{ClusterId, NodeId, WallTime};

const REQUEST_PREFIX: &str = "oxhr1";
const CERTIFICATE_PREFIX: &str = "oxhc1";

/// Why a text is not the request or certificate that was looked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PaperError {
    /// Another kind of text.
    #[error("not {what}: it does not begin with {prefix}")]
    Prefix {
        /// What was looked for.
        what: &'static str,
        /// How it begins.
        prefix: &'static str,
    },
    /// Cut or mistyped.
    #[error("{what} is damaged: copy it again as a whole")]
    Damaged {
        /// What was looked for.
        what: &'static str,
    },
}

fn read<T: Decode<()>>(what: &'static str, prefix: &'static str, text: &str) -> Result<T, PaperError> {
    text::read(prefix, text).map_err(|flaw| match flaw {
        Flaw::Prefix => PaperError::Prefix { what, prefix },
        Flaw::Damaged => PaperError::Damaged { what },
    })
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
struct RequestBody {
    cluster: ClusterId,
    node: NodeId,
    /// The key that shall sign tickets.
    key: PublicKey,
    at: WallTime,
}

/// A member asks to become an issuer, or to have its certificate renewed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct IssuerRequest {
    body: RequestBody,
    /// Who asks: its ticket may have expired meanwhile.
    credential: Credential,
    /// By the member's transport key.
    signature: Signature,
}

impl IssuerRequest {
    /// Who asks, if the request holds: a member of this cluster made it, and nobody else.
    ///
    /// # Errors
    /// [`Refusal`] says what does not hold.
    pub fn verify(&self, cluster: ClusterId) -> Result<Member, Refusal> {
        let key = self.credential.ticket.body.key;
        let member = self.credential.verify_but_expiry(cluster, key, &RevocationSet::default())?;
        if self.body.cluster != cluster {
            return Err(Refusal::WrongCluster { found: self.body.cluster });
        }
        let good = member.node == self.body.node && key.verify(Purpose::Request, &self.body, &self.signature);
        if good { Ok(member) } else { Err(Refusal::ForgedRequest) }
    }

    /// The cluster that it names.
    #[must_use]
    pub const fn cluster(&self) -> ClusterId {
        self.body.cluster
    }

    /// A few letters of the key that shall sign tickets, to compare on both machines.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        format!("{:?}", self.body.key)
    }

    /// Puts this one's key and signature behind another member's ticket and name.
    #[cfg(test)]
    pub(super) fn forge(&mut self, other: &Self) {
        self.credential = other.credential.clone();
        self.body.node = other.body.node;
    }

    /// When it was made, by the member's clock.
    #[must_use]
    pub const fn made_at(&self) -> WallTime {
        self.body.at
    }
}

impl fmt::Display for IssuerRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::write(REQUEST_PREFIX, self))
    }
}

impl FromStr for IssuerRequest {
    type Err = PaperError;
    fn from_str(text: &str) -> Result<Self, PaperError> {
        read("an issuer's request", REQUEST_PREFIX, text)
    }
}

impl fmt::Display for IssuerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::write(CERTIFICATE_PREFIX, self))
    }
}

impl FromStr for IssuerCertificate {
    type Err = PaperError;
    fn from_str(text: &str) -> Result<Self, PaperError> {
        read("an issuer's certificate", CERTIFICATE_PREFIX, text)
    }
}

/// The key that founded a cluster. It signs issuers and timelines and nothing else, and belongs into a drawer.
#[derive(Debug)]
pub struct RootKey {
    secret: SecretKey,
    exposed: bool,
}

impl RootKey {
    /// The key in this file, which may lie on a medium that keeps no modes.
    ///
    /// # Errors
    /// [`FileError`] when there is no such file or it holds no key.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let (secret, exposed) = SecretKey::open_anywhere(path)?;
        Ok(Self { secret, exposed })
    }

    /// Whether others on this machine can read the file.
    #[must_use]
    pub const fn is_exposed(&self) -> bool {
        self.exposed
    }

    pub(super) const fn secret(&self) -> &SecretKey {
        &self.secret
    }

    /// The cluster that it founded.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        cluster_of(self.secret.public())
    }

    /// Makes whoever asks an issuer for so long from now on, by this machine's clock.
    ///
    /// # Errors
    /// [`AdmissionError`] when the request does not hold, is of another cluster, or the life is out of bounds.
    pub fn sign(&self, request: &IssuerRequest, life: Duration) -> Result<IssuerCertificate, AdmissionError> {
        self.sign_at(request, life, &Clock::start())
    }

    /// As [`Self::sign`], by another clock.
    ///
    /// # Errors
    /// As [`Self::sign`].
    pub fn sign_at(
        &self,
        request: &IssuerRequest,
        life: Duration,
        clock: &Clock,
    ) -> Result<IssuerCertificate, AdmissionError> {
        if life < OFFICE_LIFE_MIN || life > OFFICE_LIFE_MAX {
            return Err(AdmissionError::OfficeLife);
        }
        if request.cluster() != self.cluster() {
            return Err(AdmissionError::OtherRoot { root: self.cluster(), request: request.cluster() });
        }
        let member = request.verify(self.cluster())?;
        let now = clock.now().wall;
        Ok(IssuerCertificate::sign(&self.secret, request.body.key, member.node, now, after(now, life)))
    }

    /// Moves the key to another place, such as a medium that is then taken away: it is written there durably and read back
    /// before it is removed here. A directory keeps the file's name; nothing is overwritten. Gives where it is.
    ///
    /// # Errors
    /// [`FileError`]; the key is still where it was then, and perhaps in both places.
    pub fn move_to(from: &Path, to: &Path) -> Result<(Self, PathBuf), FileError> {
        let key = Self::open(from)?;
        let to = if to.is_dir() { to.join(from.file_name().unwrap_or_default()) } else { to.to_owned() };
        vault::write_new(&to, &key.secret.to_bytes())?;
        let moved = Self::open(&to)?;
        if moved.cluster() != key.cluster() {
            return Err(FileError::content(&to, "reads back as another key"));
        }
        vault::remove(from)?;
        Ok((moved, to))
    }
}

/// An issuer as this peer knows it, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IssuerStatus {
    /// The member that keeps the key.
    pub node: NodeId,
    /// Whether that is this peer.
    pub here: bool,
    /// Since when it may sign.
    pub since: WallTime,
    /// Until when it may sign.
    pub until: WallTime,
    /// Whether that is over.
    pub expired: bool,
    /// Whether it was revoked, and with it the tickets that it signed.
    pub revoked: bool,
    /// Members met by this peer whose tickets it signed.
    pub tickets: usize,
}

impl Admission {
    /// A request to become an issuer, or to go on being one. The key is drawn at the first.
    ///
    /// # Errors
    /// [`FileError`] when the key cannot be read or stored.
    pub fn request_office(&self) -> Result<IssuerRequest, AdmissionError> {
        let _turn = self.turn();
        let secret = SecretKey::open_or_mint(&self.path(ISSUER_KEY_FILE))?;
        let (cluster, node, key) = (self.cluster(), self.node(), secret.public());
        let body = RequestBody { cluster, node, key, at: self.wall() };
        let signature = self.shared.key.sign(Purpose::Request, &body);
        Ok(IssuerRequest { body, credential: self.credential(), signature })
    }

    /// Takes office with a certificate for a request that was made here: from now on this peer makes invites and renews
    /// tickets, its own first.
    ///
    /// # Errors
    /// [`AdmissionError`]; nothing is changed then.
    pub fn install(&self, certificate: IssuerCertificate) -> Result<(), AdmissionError> {
        let body = &certificate.body;
        certificate.check_root(self.cluster())?;
        if body.holder != self.node() {
            return Err(AdmissionError::OtherHolder { holder: body.holder });
        }
        if body.expires_at <= self.now() {
            return Err(Refusal::IssuerExpired { at: body.expires_at }.into());
        }
        if self.is_revoked(self.node()) {
            return Err(Refusal::Revoked { node: self.node() }.into());
        }
        {
            let _turn = self.turn();
            let secret = SecretKey::open(&self.path(ISSUER_KEY_FILE))?;
            let secret = secret.filter(|secret| secret.public() == body.key).ok_or(AdmissionError::OtherKey)?;
            self.store_certificate(certificate.clone())?;
            self.state().issuer = Some(Issuer { secret, chain: certificate });
        }
        Ok(self.renew_own(false)?)
    }

    /// The issuers that this peer knows, in order of node id.
    #[must_use]
    pub fn issuers(&self) -> Vec<IssuerStatus> {
        let (now, me) = (self.now(), self.node());
        let state = self.state();
        let signed = |holder| state.known.members().filter(|(_, met)| met.signed_by == holder).count();
        let own = |holder| usize::from(state.credential.chain.body.holder == holder);
        let status = |certificate: &IssuerCertificate| {
            let body = &certificate.body;
            IssuerStatus {
                node: body.holder,
                here: body.holder == me,
                since: body.issued_at,
                until: body.expires_at,
                expired: body.expires_at <= now,
                revoked: state.revoked.contains(body.holder),
                tickets: signed(body.holder) + own(body.holder),
            }
        };
        state.known.issuers().map(status).collect()
    }

    /// Whether this member can renew tickets, as far as is known here.
    pub(crate) fn knows_as_issuer(&self, node: NodeId) -> bool {
        let now = self.now();
        let state = self.state();
        state.known.is_issuer(node, &state.revoked, now)
    }

    /// Certificates learned after the first `known`, and how many there were by now.
    pub(crate) fn issuers_after(&self, known: u64) -> (Vec<IssuerCertificate>, u64) {
        self.state().known.issuers_after(known)
    }

    /// Takes in what a peer told of issuers. A signature costs a tenth of a millisecond to check: it is checked only of what
    /// would be kept then. So what was checked is not checked again, a certificate that the root signed costs one check for the
    /// life of this peer, and one that it did not sign costs the peer that told it its link.
    pub(crate) fn hear_of_issuers(&self, certificates: &[IssuerCertificate]) -> Result<(), Refusal> {
        let mut news = false;
        for certificate in certificates {
            if !self.state().known.is_news(certificate) {
                continue;
            }
            certificate.check_root(self.cluster())?;
            news |= self.state().known.hear_of(certificate);
        }
        if news {
            self.shared.issuers.send_modify(|changes| *changes += 1);
        }
        Ok(())
    }
}

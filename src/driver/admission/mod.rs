//! Who may talk to this mesh: keys, issuers, tickets, invites, revocation.
//!
//! Nobody joins who is not admitted, and nothing is open by default. Certificates in three steps: the cluster's **root** key
//! signs **issuers**, an issuer signs short-lived **tickets**, and a ticket binds a transport key to a node id. The cluster's
//! id is the hash of the root's public key, so a chain can be checked against the id alone, without trust on first use.
//! The transport's handshake has proved that a peer holds its key before a ticket is looked at: a ticket that leaks is
//! worth nothing. An **invite** is a single-use secret that the one issuer who made it turns into a ticket; it writes the
//! use down durably before it answers. **Revocations** are a signed set that only grows; peers compare digests when they
//! meet and hand on what is new.
//!
//! A node cut off from everybody may accept a revoked peer until that peer's ticket expires: that is the bound.
//!
//! Files, all mode 0600, each replaced whole and synced: `identity.key`, `node-id`; `ticket` (a member's credential: its
//! presence says that this directory belongs to a mesh); `revoked`; on the peer that minted the mesh `root.key`, `issuer.key`,
//! `issuer.cert`, `invites`. The root key may be taken off that peer; it is needed again once per issuer's life.
//!
//! **Invariants.** What others rely on is on the disk before they hear of it: a used invite, a revocation. No error changes
//! the state in memory. Nothing a peer sends makes this room panic or allocate beyond its message's limit.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use libp2p::Multiaddr;
use libp2p::identity::PeerId;
use tokio::sync::watch;

mod base32;
mod invite;
pub(crate) mod key;
mod ledger;
pub(crate) mod message;
mod office;
mod refusal;
mod revocation;
#[cfg(test)]
mod tests;
mod ticket;
pub(crate) mod vault;

pub use invite::{ADDRESSES_MAX, INVITES_MAX, Invite, InviteError, InviteId, InviteStatus};
pub use key::PublicKey;
pub use ledger::MEMBERS_MAX;
pub use refusal::Refusal;
pub use revocation::{REVOCATIONS_MAX, Revocation};
pub use ticket::{Credential, IssuerCertificate, Member, NAME_MAX, Roles, Ticket};
pub use vault::FileError;

use super::clock::Clock;
use super::identity::NodeKey;
use crate::config::{Differences, Terms};
use crate::types::{Boot, ClusterId, NodeId, WallTime};
use key::{SecretKey, encode, random};
use ledger::Ledger;
use message::{Hello, Join, Joined};
use revocation::RevocationSet;
use ticket::{TicketBody, cluster_of};

/// Life of a ticket: also how long a node that is cut off may accept a revoked peer.
pub const TICKET_LIFE: Duration = Duration::from_hours(7 * 24);
/// Life of an issuer's certificate; its holder renews it at half-life as long as the root key is at hand.
pub const ISSUER_LIFE: Duration = Duration::from_hours(90 * 24);
/// How long after its expiry a ticket still buys a new one from an issuer: a sensor may have spent the winter in a box.
pub const RENEW_GRACE: Duration = Duration::from_hours(180 * 24);
/// Longest life of an invite.
pub const INVITE_LIFE_MAX: Duration = Duration::from_hours(30 * 24);

const TICKET_FILE: &str = "ticket";
const REVOKED_FILE: &str = "revoked";
const ROOT_FILE: &str = "root.key";
const ISSUER_KEY_FILE: &str = "issuer.key";
const ISSUER_CERT_FILE: &str = "issuer.cert";
const INVITES_FILE: &str = "invites";
const CREDENTIAL_MAX: usize = 4096;
const REVOKED_MAX: usize = 4 << 20;

/// Why an act of admission was not done. Nothing was changed, in memory or on the disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdmissionError {
    /// A file of the data directory failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// Only issuers do this.
    #[error("this peer is not an issuer: only the peer that keeps issuer.key can do this")]
    NotAnIssuer,
    /// An invite without an address leads nowhere.
    #[error("this peer knows no address of its own to put into an invite")]
    NoAddress,
    /// The lifetime of an invite is out of bounds.
    #[error("an invite lives 1 second to {} days", INVITE_LIFE_MAX.as_secs() / 86_400)]
    Life,
    /// All remembered invites are still good.
    #[error("there are {INVITES_MAX} open invites already: revoke some")]
    TooManyInvites,
    /// No such invite.
    #[error("there is no invite {id}")]
    NoInvite {
        /// The id asked for.
        id: InviteId,
    },
    /// Too late to take it back.
    #[error("invite {id} was already used, by node {by}: revoke the node")]
    InviteUsed {
        /// The id asked for.
        id: InviteId,
        /// Who used it.
        by: NodeId,
    },
    /// An issuer that revoked itself would revoke every ticket it signed.
    #[error("an issuer cannot revoke itself")]
    RevokesItself,
    /// The set is full.
    #[error("there are {REVOCATIONS_MAX} revocations already")]
    TooManyRevocations,
    /// The directory belongs to another mesh.
    #[error("this data directory belongs to cluster {found} already")]
    OtherCluster {
        /// Which.
        found: ClusterId,
    },
    /// What a peer gave does not hold.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

struct Issuer {
    secret: SecretKey,
    chain: IssuerCertificate,
}

struct State {
    credential: Credential,
    issuer: Option<Issuer>,
    revoked: RevocationSet,
    ledger: Ledger,
    addresses: BTreeSet<Multiaddr>,
    terms: Terms,
}

struct Shared {
    dir: PathBuf,
    key: NodeKey,
    cluster: ClusterId,
    clock: Clock,
    state: Mutex<State>,
    /// Counts changes of the revoked set.
    revoked: watch::Sender<u64>,
}

/// This peer's membership and, if it is an issuer, its office. A handle: clones share one state.
#[derive(Clone)]
pub struct Admission {
    shared: Arc<Shared>,
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Admission of {:?} to {:?}", self.node(), self.cluster())
    }
}

// Opening, minting, joining.
impl Admission {
    /// The membership in this directory, `None` if it belongs to no mesh yet.
    ///
    /// # Errors
    /// [`FileError`] when a file cannot be read, is damaged, or may be read by others.
    pub fn open(dir: &Path) -> Result<Option<Self>, FileError> {
        let Some(credential) = read_value::<Credential, CREDENTIAL_MAX>(&dir.join(TICKET_FILE))? else {
            return Ok(None);
        };
        let key = NodeKey::open_or_mint(dir)?;
        if (credential.ticket.body.key, credential.ticket.body.node) != (key.public(), key.node()) {
            return Err(FileError::content(&dir.join(TICKET_FILE), "the ticket is of another identity"));
        }
        Self::assemble(dir, key, credential).map(Some)
    }

    /// The membership in this directory; a new mesh of its own if it belongs to none.
    ///
    /// # Errors
    /// [`FileError`] when a file cannot be read or written, is damaged, or may be read by others.
    pub fn open_or_mint(dir: &Path) -> Result<Self, FileError> {
        if let Some(admission) = Self::open(dir)? {
            return Ok(admission);
        }
        let key = NodeKey::open_or_mint(dir)?;
        let root = SecretKey::open_or_mint(&dir.join(ROOT_FILE))?;
        let secret = SecretKey::open_or_mint(&dir.join(ISSUER_KEY_FILE))?;
        let now = Clock::start().now().wall;
        let chain = IssuerCertificate::sign(&root, secret.public(), key.node(), now, after(now, ISSUER_LIFE));
        vault::write(&dir.join(ISSUER_CERT_FILE), &encode(&chain))?;
        let ticket = sign_ticket(&secret, &chain, key.node(), key.public(), "founder", now);
        // The ticket last: once it is there, everything is.
        let credential = Credential { chain, ticket };
        vault::write(&dir.join(TICKET_FILE), &credential.to_bytes())?;
        Self::assemble(dir, key, credential)
    }

    fn assemble(dir: &Path, key: NodeKey, credential: Credential) -> Result<Self, FileError> {
        let cluster = credential.chain.cluster();
        let issuer = open_issuer(dir, cluster)?;
        let mut revoked = RevocationSet::default();
        let path = dir.join(REVOKED_FILE);
        if let Some(entries) = read_value::<Vec<Revocation>, REVOKED_MAX>(&path)? {
            revoked.merge(cluster, entries).map_err(|error| FileError::content(&path, error.to_string()))?;
        }
        let path = dir.join(INVITES_FILE);
        let ledger = match vault::read(&path, ledger::FILE_MAX)? {
            Some(bytes) => Ledger::from_bytes(&bytes).ok_or_else(|| FileError::content(&path, "damaged"))?,
            None => Ledger::default(),
        };
        let (addresses, terms) = Default::default();
        let state = State { credential, issuer, revoked, ledger, addresses, terms };
        let (revoked, _) = watch::channel(0);
        let shared =
            Shared { dir: dir.to_owned(), key, cluster, clock: Clock::start(), state: Mutex::new(state), revoked };
        let admission = Self { shared: Arc::new(shared) };
        admission.renew_own()?;
        Ok(admission)
    }

    /// What a joiner writes when the issuer has answered. Everything in the answer is checked against the invite first.
    pub(crate) fn accept(dir: &Path, key: NodeKey, invite: &Invite, joined: Joined) -> Result<Self, AdmissionError> {
        let mut revoked = RevocationSet::default();
        let entries = revoked.merge(invite.cluster, joined.revoked)?;
        let now = Clock::start().now().wall;
        let member = joined.credential.verify(invite.cluster, key.public(), &revoked, now)?;
        if member.node != key.node() {
            return Err(Refusal::NodeTaken { node: member.node }.into());
        }
        vault::write(&dir.join(REVOKED_FILE), &encode(&entries))?;
        // The ticket last: once it is there, this directory belongs to the mesh.
        vault::write(&dir.join(TICKET_FILE), &joined.credential.to_bytes())?;
        Ok(Self::assemble(dir, key, joined.credential)?)
    }
}

// Who we are.
impl Admission {
    /// The mesh.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.shared.cluster
    }

    /// This peer's node id.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.shared.key.node()
    }

    /// This peer's name in the transport.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.shared.key.peer_id()
    }

    /// Key and node id.
    #[must_use]
    pub fn key(&self) -> &NodeKey {
        &self.shared.key
    }

    /// Whether this peer can issue invites and tickets.
    #[must_use]
    pub fn is_issuer(&self) -> bool {
        self.state().issuer.is_some()
    }

    /// Until when this peer's ticket is good.
    #[must_use]
    pub fn expires_at(&self) -> WallTime {
        self.state().credential.ticket.body.expires_at
    }

    pub(crate) fn set_addresses(&self, addresses: BTreeSet<Multiaddr>) {
        self.state().addresses = addresses;
    }

    /// What members must have alike in their configurations, as it is here.
    pub(crate) fn set_terms(&self, terms: Terms) {
        self.state().terms = terms;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().expect("nobody panics while holding it")
    }

    fn now(&self) -> WallTime {
        let own = self.state().credential.ticket.body.issued_at;
        // A clock that starts in 1970 must not make every expired ticket good.
        self.shared.clock.now().wall.max(own)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.shared.dir.join(file)
    }
}

// Meeting peers.
impl Admission {
    pub(crate) fn hello(&self, boot: Boot, attempt: u64) -> Hello {
        let state = self.state();
        Hello {
            credential: state.credential.clone(),
            boot,
            attempt,
            issuer: state.issuer.is_some(),
            revoked: state.revoked.digest(),
            terms: state.terms.clone(),
        }
    }

    /// Whether the holder of `key` is a member.
    pub(crate) fn check(&self, hello: &Hello, key: PublicKey) -> Result<Member, Refusal> {
        let now = self.now();
        hello.credential.verify(self.cluster(), key, &self.state().revoked, now)
    }

    /// Where the configuration of a member differs from ours in what all must have alike.
    pub(crate) fn differences(&self, hello: &Hello) -> Differences {
        self.state().terms.against(&hello.terms)
    }

    /// Turns an invite into a ticket for the holder of `key`. The use is on the disk before this returns.
    pub(crate) fn redeem(&self, join: &Join, key: PublicKey) -> Result<Joined, Refusal> {
        if join.cluster != self.cluster() {
            return Err(Refusal::WrongCluster { found: self.cluster() });
        }
        let now = self.now();
        let mut state = self.state();
        if state.issuer.is_none() || join.issuer != self.shared.key.public() {
            return Err(Refusal::NotTheIssuer);
        }
        if state.revoked.contains(join.node) {
            return Err(Refusal::Revoked { node: join.node });
        }
        if join.node == self.node() {
            return Err(Refusal::NodeTaken { node: join.node });
        }
        let mut ledger = state.ledger.clone();
        let name = ledger.redeem(join, key, now)?;
        // Told to holders of a good invite only.
        let differences = state.terms.against(&join.terms);
        if !differences.is_empty() {
            return Err(Refusal::Differs(differences));
        }
        self.store_ledger(&mut state, ledger).map_err(|error| {
            tracing::error!(%error, "an invite could not be marked as used, so it was not redeemed");
            Refusal::Disk
        })?;
        let credential = state.issue(join.node, key, &name, now).ok_or(Refusal::NotTheIssuer)?;
        Ok(Joined { credential, revoked: state.revoked.iter().cloned().collect() })
    }

    /// The next ticket for a member whose own is authentic, if it has not been expired for too long.
    pub(crate) fn renew(&self, old: &Credential, key: PublicKey) -> Result<Credential, Refusal> {
        let now = self.now();
        let state = self.state();
        let member = old.verify_but_expiry(self.cluster(), key, &state.revoked)?;
        if after(member.expires_at, RENEW_GRACE) <= now {
            return Err(Refusal::TicketExpired { at: member.expires_at });
        }
        state.issue(member.node, key, &member.name, now).ok_or(Refusal::NotTheIssuer)
    }

    /// Our credential, if it is time to have it renewed.
    pub(crate) fn due_for_renewal(&self) -> Option<Credential> {
        let now = self.shared.clock.now().wall;
        let state = self.state();
        (state.credential.renew_at() <= now).then(|| state.credential.clone())
    }

    /// Whether our own ticket would be refused by everybody.
    pub(crate) fn is_expired(&self) -> bool {
        self.expires_at() <= self.shared.clock.now().wall
    }

    /// Takes the ticket that an issuer has sent.
    pub(crate) fn accept_renewal(&self, credential: Credential) -> Result<(), AdmissionError> {
        let now = self.shared.clock.now().wall;
        let mut state = self.state();
        let member = credential.verify(self.cluster(), self.shared.key.public(), &state.revoked, now)?;
        if member.node != self.node() {
            return Err(Refusal::WrongPeer.into());
        }
        vault::write(&self.path(TICKET_FILE), &credential.to_bytes())?;
        state.credential = credential;
        Ok(())
    }

    /// Makes a member's ticket an old one: good for another hour, and due for renewal.
    #[cfg(test)]
    pub(crate) fn age_ticket_of(&self, member: &Self) {
        let state = self.state();
        let issuer = state.issuer.as_ref().expect("tests call this on an issuer");
        let now = self.shared.clock.now().wall;
        let mut credential = member.state().credential.clone();
        let body = TicketBody {
            issued_at: WallTime::EPOCH,
            expires_at: after(now, Duration::from_secs(3600)),
            ..credential.ticket.body.clone()
        };
        credential.ticket = Ticket::sign(&issuer.secret, body);
        member.state().credential = credential;
    }

    /// An issuer renews its own ticket, and its certificate while the root key is at hand.
    pub(crate) fn renew_own(&self) -> Result<(), FileError> {
        let now = self.shared.clock.now().wall;
        let mut state = self.state();
        let state = &mut *state;
        let Some(issuer) = &mut state.issuer else { return Ok(()) };
        let body = &issuer.chain.body;
        let half = WallTime::from_micros(body.issued_at.as_micros().midpoint(body.expires_at.as_micros()));
        if half <= now
            && let Some(root) = SecretKey::open(&self.path(ROOT_FILE))?
            && cluster_of(root.public()) == self.shared.cluster
        {
            let chain = IssuerCertificate::sign(&root, body.key, body.holder, now, after(now, ISSUER_LIFE));
            vault::write(&self.path(ISSUER_CERT_FILE), &encode(&chain))?;
            issuer.chain = chain;
        }
        if state.credential.renew_at() <= now || state.credential.chain != issuer.chain {
            let key = self.shared.key.public();
            let name = state.credential.ticket.body.name.clone();
            if let Some(credential) = state.issue(self.node(), key, &name, now) {
                vault::write(&self.path(TICKET_FILE), &credential.to_bytes())?;
                state.credential = credential;
            }
        }
        Ok(())
    }
}

impl State {
    /// A ticket of this issuer's; `None` if this peer is none or its certificate is too old to be worth a ticket.
    fn issue(&self, node: NodeId, key: PublicKey, name: &str, now: WallTime) -> Option<Credential> {
        let issuer = self.issuer.as_ref().filter(|issuer| issuer.chain.body.expires_at > now)?;
        let ticket = sign_ticket(&issuer.secret, &issuer.chain, node, key, name, now);
        Some(Credential { chain: issuer.chain.clone(), ticket })
    }
}

fn sign_ticket(
    secret: &SecretKey,
    chain: &IssuerCertificate,
    node: NodeId,
    key: PublicKey,
    name: &str,
    now: WallTime,
) -> Ticket {
    let body = TicketBody {
        cluster: chain.cluster(),
        key,
        node,
        roles: Roles::MEMBER,
        serial: u64::from_be_bytes(random()),
        name: name.to_owned(),
        issued_at: now,
        expires_at: after(now, TICKET_LIFE).min(chain.body.expires_at),
    };
    Ticket::sign(secret, body)
}

fn open_issuer(dir: &Path, cluster: ClusterId) -> Result<Option<Issuer>, FileError> {
    let Some(secret) = SecretKey::open(&dir.join(ISSUER_KEY_FILE))? else { return Ok(None) };
    let path = dir.join(ISSUER_CERT_FILE);
    let Some(chain) = read_value::<IssuerCertificate, CREDENTIAL_MAX>(&path)? else { return Ok(None) };
    if chain.body.key != secret.public() || chain.check_root(cluster).is_err() {
        return Err(FileError::content(&path, "not the certificate of issuer.key in this cluster"));
    }
    Ok(Some(Issuer { secret, chain }))
}

fn read_value<T: bincode::Decode<()>, const MAX: usize>(path: &Path) -> Result<Option<T>, FileError> {
    let Some(bytes) = vault::read(path, MAX)? else { return Ok(None) };
    // The limit bounds what a damaged length may make us allocate.
    match bincode::decode_from_slice(&bytes, bincode::config::standard().with_limit::<MAX>()) {
        Ok((value, len)) if len == bytes.len() => Ok(Some(value)),
        Ok(_) => Err(FileError::content(path, "damaged: bytes are left over")),
        Err(error) => Err(FileError::content(path, format!("damaged: {error}"))),
    }
}

fn after(now: WallTime, life: Duration) -> WallTime {
    WallTime::from_micros(now.as_micros().saturating_add(u64::try_from(life.as_micros()).unwrap_or(u64::MAX)))
}

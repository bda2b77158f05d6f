//! Who may talk to this mesh: keys, issuers, tickets, invites, revocation; and which overlay an issuer set for it.
//!
//! Nobody joins who is not admitted, and nothing is open by default. Certificates in three steps: the cluster's **root** key
//! signs **issuers** and **timelines**, an issuer signs short-lived **tickets**, and a ticket binds a transport key to a node id. The cluster's
//! id is the hash of the root's public key, so a chain can be checked against the id alone, without trust on first use.
//! The transport's handshake has proved that a peer holds its key before a ticket is looked at: a ticket that leaks is
//! worth nothing. An **invite** is a single-use secret that the one issuer who made it turns into a ticket; it writes the
//! use down durably before it answers. **Revocations** are a signed set that only grows; peers compare digests when they
//! meet and hand on what is new.
//!
//! A node cut off from everybody may accept a revoked peer until that peer's ticket expires: that is the bound.
//!
//! Files, all mode 0600, each replaced whole and synced: `identity.key`, `node-id`; `ticket` (a member's credential: its
//! presence says that this directory belongs to a mesh); `revoked`; `overlay`; `timeline` (see there); on issuers `issuer.key`, `issuer.cert`, `invites`; on the
//! peer that minted the mesh `root.key`, until it is taken away: it is needed for nothing but to sign issuers, once per
//! issuer's life, and on any machine (see `issuer`).
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
mod issuer;
pub(crate) mod key;
mod known;
mod ledger;
mod meeting;
pub(crate) mod message;
mod office;
mod overlay;
mod papers;
mod refusal;
mod revocation;
#[cfg(test)]
mod tests;
mod text;
mod ticket;
pub(crate) mod timeline;
pub(crate) mod vault;

pub use invite::{ADDRESSES_MAX, INVITES_MAX, Invite, InviteError, InviteId, InviteStatus};
pub use issuer::{IssuerRequest, IssuerStatus, PaperError, RootKey};
pub use key::PublicKey;
pub use known::ISSUERS_MAX;
pub use ledger::MEMBERS_MAX;
pub use papers::{Papers, Standing};
pub use refusal::Refusal;
pub use revocation::{REVOCATIONS_MAX, Revocation};
pub use ticket::{Credential, IssuerCertificate, Member, NAME_MAX, Roles, Ticket};
pub use timeline::{Moment, TIMELINE_FILE, Timeline, TimelineStatus};
pub use vault::FileError;

use super::clock::Clock;
use super::identity::NodeKey;
use crate::config::Terms;
use crate::overlay::Policies;
use crate::types::{ClusterId, NodeId, WallTime};
use key::{SecretKey, encode};
use known::Known;
use ledger::Ledger;
use meeting::sign_ticket;
use message::Joined;
use revocation::RevocationSet;

/// Life of a ticket: also how long a node that is cut off may accept a revoked peer.
pub const TICKET_LIFE: Duration = Duration::from_hours(7 * 24);
/// Life of an issuer's certificate; its holder renews it at half-life as long as the root key is at hand.
pub const ISSUER_LIFE: Duration = Duration::from_hours(90 * 24);
/// How long after its expiry a ticket still buys a new one from an issuer: a sensor may have spent the winter in a box.
pub const RENEW_GRACE: Duration = Duration::from_hours(180 * 24);
/// Shortest and longest life of a certificate that the root signs on request.
pub const OFFICE_LIFE_MIN: Duration = Duration::from_hours(24);
/// See [`OFFICE_LIFE_MIN`].
pub const OFFICE_LIFE_MAX: Duration = Duration::from_hours(366 * 24);
/// Longest life of an invite.
pub const INVITE_LIFE_MAX: Duration = Duration::from_hours(30 * 24);

const TICKET_FILE: &str = "ticket";
const REVOKED_FILE: &str = "revoked";
const ROOT_FILE: &str = "root.key";
const ISSUER_KEY_FILE: &str = "issuer.key";
const ISSUER_CERT_FILE: &str = "issuer.cert";
const INVITES_FILE: &str = "invites";
const OVERLAY_FILE: &str = "overlay";
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
    #[error("this peer is not an issuer, and only issuers can do this")]
    NotAnIssuer,
    /// The life of an issuer is out of bounds.
    #[error("an issuer's certificate lives {} to {} days", OFFICE_LIFE_MIN.as_secs() / 86_400, OFFICE_LIFE_MAX.as_secs() / 86_400)]
    OfficeLife,
    /// The request came from another mesh.
    #[error("this root key founded cluster {root}, and the request is of cluster {request}")]
    OtherRoot {
        /// Whose root key it is.
        root: ClusterId,
        /// Who asks.
        request: ClusterId,
    },
    /// Another key founded the mesh.
    #[error(
        "this root key founded cluster {root}, and the data directory is of cluster {cluster}: the key that founded that one is needed"
    )]
    NotTheRoot {
        /// Whose root key it is.
        root: ClusterId,
        /// Of which mesh the directory is.
        cluster: ClusterId,
    },
    /// All numbers are used up.
    #[error("this mesh is on the last timeline there is")]
    NoTimeline,
    /// The certificate was made for another peer.
    #[error("the certificate is for node {holder}, and this is another")]
    OtherHolder {
        /// For whom.
        holder: NodeId,
    },
    /// The certificate was made for another request.
    #[error(
        "the certificate is for another key than the one in issuer.key: make a request here and have that one signed"
    )]
    OtherKey,
    /// Nobody renews tickets.
    #[error("no issuer that can be reached has renewed the ticket")]
    NoIssuer,
    /// A ticket that is no newer than the one in use.
    #[error("the ticket is no newer than the one in use")]
    OldTicket,
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
    /// Somebody has used up the last version of an overlay.
    #[error("the overlay in force has the last version there is: whoever signed it means no good, revoke that issuer")]
    NoVersion,
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
    known: Known,
    /// The latest policy of each issuer, also of those that were revoked since.
    policies: Policies,
    timeline: Option<Timeline>,
    /// Later ones that members have shown.
    heard: Vec<Timeline>,
}

struct Shared {
    dir: PathBuf,
    key: NodeKey,
    cluster: ClusterId,
    clock: Clock,
    /// Held for moments only, never while the disk is waited for: tasks that serve heartbeats take it too.
    state: Mutex<State>,
    /// Whoever changes what is on the disk holds it from reading the state to putting the change in force.
    turn: Mutex<()>,
    /// Counts changes of the revoked set.
    revoked: watch::Sender<u64>,
    /// Counts what was learned of issuers.
    issuers: watch::Sender<u64>,
    /// Counts changes of the ticket.
    tickets: watch::Sender<u64>,
    /// Counts wishes to have the ticket renewed before its time.
    wanted: watch::Sender<u64>,
    /// Counts changes of the policies that count.
    policies: watch::Sender<u64>,
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
/// Whether the mesh of this directory was minted here.
pub(super) fn has_root(dir: &Path) -> bool {
    dir.join(ROOT_FILE).exists()
}

impl Admission {
    /// The membership in this directory, `None` if it belongs to no mesh yet.
    ///
    /// # Errors
    /// [`FileError`] when a file cannot be read, is damaged, or may be read by others.
    pub fn open(dir: &Path) -> Result<Option<Self>, FileError> {
        Self::open_at(dir, Clock::start())
    }

    /// As [`Self::open`], by another clock.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_at(dir: &Path, clock: Clock) -> Result<Option<Self>, FileError> {
        let Some(admission) = Self::inspect_at(dir, clock)? else { return Ok(None) };
        admission.renew_own(false)?;
        Ok(Some(admission))
    }

    /// As [`Self::open`], only to look: nothing is written, so that the peer may run meanwhile.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn inspect(dir: &Path) -> Result<Option<Self>, FileError> {
        Self::inspect_at(dir, Clock::start())
    }

    fn inspect_at(dir: &Path, clock: Clock) -> Result<Option<Self>, FileError> {
        let path = dir.join(TICKET_FILE);
        let Some(credential) = read_value::<Credential, CREDENTIAL_MAX>(&path)? else { return Ok(None) };
        let gone = || FileError::content(&path, "there is a ticket, and the identity that it is for is gone");
        let key = NodeKey::open(dir)?.ok_or_else(gone)?;
        if (credential.ticket.body.key, credential.ticket.body.node) != (key.public(), key.node()) {
            return Err(FileError::content(&path, "the ticket is of another identity"));
        }
        // Expired it may be, and revoked: both can be mended.
        let checked = credential.verify_but_expiry(credential.chain.cluster(), key.public(), &RevocationSet::default());
        checked.map_err(|why| FileError::content(&path, format!("damaged: {why}")))?;
        Self::assemble(dir, key, credential, clock).map(Some)
    }

    /// The membership in this directory; a new mesh of its own if it belongs to none.
    ///
    /// # Errors
    /// [`FileError`] when a file cannot be read or written, is damaged, or may be read by others.
    pub fn open_or_mint(dir: &Path) -> Result<Self, FileError> {
        Self::open_or_mint_at(dir, Clock::start())
    }

    /// As [`Self::open_or_mint`], by another clock.
    ///
    /// # Errors
    /// As [`Self::open_or_mint`].
    pub fn open_or_mint_at(dir: &Path, clock: Clock) -> Result<Self, FileError> {
        if let Some(admission) = Self::open_at(dir, clock.clone())? {
            return Ok(admission);
        }
        let key = NodeKey::open_or_mint(dir)?;
        let root = SecretKey::open_or_mint(&dir.join(ROOT_FILE))?;
        let secret = SecretKey::open_or_mint(&dir.join(ISSUER_KEY_FILE))?;
        let now = clock.now().wall;
        let chain = IssuerCertificate::sign(&root, secret.public(), key.node(), now, after(now, ISSUER_LIFE));
        vault::write(&dir.join(ISSUER_CERT_FILE), &encode(&chain))?;
        let founder = Member { node: key.node(), roles: Roles::MEMBER, name: "founder".into(), expires_at: now };
        let ticket = sign_ticket(&secret, &chain, &founder, key.public(), now);
        // The ticket last: once it is there, everything is.
        let credential = Credential { chain, ticket };
        vault::write(&dir.join(TICKET_FILE), &credential.to_bytes())?;
        let admission = Self::assemble(dir, key, credential, clock)?;
        admission.renew_own(false)?;
        Ok(admission)
    }

    /// Writes the node id anew that the ticket of a directory names, if it is gone: whoever saved key and ticket has all.
    ///
    /// # Errors
    /// [`FileError`] when the ticket cannot be read or the id not be written.
    pub fn mend_node(dir: &Path) -> Result<(), FileError> {
        let Some(credential) = read_value::<Credential, CREDENTIAL_MAX>(&dir.join(TICKET_FILE))? else { return Ok(()) };
        NodeKey::mend(dir, credential.ticket.body.node)
    }

    fn assemble(dir: &Path, key: NodeKey, credential: Credential, clock: Clock) -> Result<Self, FileError> {
        let cluster = credential.chain.cluster();
        let issuer = open_issuer(dir, cluster)?;
        // It is needed once a month, and must not lie open until then.
        SecretKey::open(&dir.join(ROOT_FILE))?;
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
        let mut known = Known::default();
        known.hear_of(&credential.chain);
        issuer.iter().for_each(|issuer| _ = known.hear_of(&issuer.chain));
        let (addresses, terms) = Default::default();
        let policies = overlay::open(dir, cluster)?;
        let (timeline, heard) = (Timeline::read(dir, cluster)?, Timeline::read_heard(dir, cluster)?);
        let state = State { credential, issuer, revoked, ledger, addresses, terms, known, policies, timeline, heard };
        let [revoked, issuers, tickets, wanted, policies] = std::array::from_fn(|_| watch::Sender::new(0));
        let (dir, state, turn) = (dir.to_owned(), Mutex::new(state), Mutex::new(()));
        let shared = Shared { dir, key, cluster, clock, state, turn, revoked, issuers, tickets, wanted, policies };
        Ok(Self { shared: Arc::new(shared) })
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
        if let Some(timeline) = &joined.timeline {
            timeline.verify(invite.cluster)?;
            timeline.write(dir)?;
        }
        vault::write(&dir.join(REVOKED_FILE), &encode(&entries))?;
        // The ticket last: once it is there, this directory belongs to the mesh.
        vault::write(&dir.join(TICKET_FILE), &joined.credential.to_bytes())?;
        Ok(Self::assemble(dir, key, joined.credential, Clock::start())?)
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

    /// Whether this peer can make invites and renew tickets.
    #[must_use]
    pub fn is_issuer(&self) -> bool {
        let now = self.now();
        self.state().issuer.as_ref().is_some_and(|issuer| issuer.chain.body.expires_at > now)
    }

    /// Until when this peer's ticket is good.
    #[must_use]
    pub fn expires_at(&self) -> WallTime {
        self.state().credential.expires_at()
    }

    pub(crate) fn set_addresses(&self, addresses: BTreeSet<Multiaddr>) {
        self.state().addresses = addresses;
    }

    pub(crate) fn terms(&self) -> Terms {
        self.state().terms()
    }

    /// What members must have alike in their configurations, as it is here.
    pub(crate) fn set_terms(&self, terms: Terms) {
        self.state().terms = terms;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().expect("nobody panics while holding it")
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.shared.turn.lock().expect("nobody panics while holding it")
    }

    fn wall(&self) -> WallTime {
        self.shared.clock.now().wall
    }

    fn now(&self) -> WallTime {
        // A clock that starts in 1970 must not make every expired ticket good.
        self.wall().max(self.state().credential.issued_at())
    }

    fn path(&self, file: &str) -> PathBuf {
        self.shared.dir.join(file)
    }
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

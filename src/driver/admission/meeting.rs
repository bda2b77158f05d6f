//! Meeting peers: what this one shows, whom it lets in, and whose tickets it signs if it is an issuer.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::key::{PublicKey, SecretKey, encode, random};
use super::message::{Hello, Join, Joined};
use super::papers::Standing;
use super::refusal::Refusal;
use super::revocation::Revocation;
use super::ticket::{Credential, IssuerCertificate, Member, Roles, Ticket, TicketBody, cluster_of};
use super::timeline::{self, Timeline};
use super::vault::{self, FileError};
use super::{
    Admission, AdmissionError, ISSUER_CERT_FILE, ISSUER_LIFE, Invite, RENEW_GRACE, ROOT_FILE, State, TICKET_FILE,
    TICKET_LIFE, after,
};
use crate::config::Differences;
use crate::types::{Boot, TimelineId, WallTime};

impl Admission {
    pub(crate) fn hello(&self, boot: Boot, attempt: u64) -> Hello {
        let state = self.state();
        Hello {
            credential: state.credential.clone(),
            boot,
            attempt,
            revoked: state.revoked.digest(),
            terms: state.terms(),
            timeline: state.timeline.clone().map(Box::new),
        }
    }

    /// Whether the holder of `key` is a member.
    pub(crate) fn check(&self, hello: &Hello, key: PublicKey) -> Result<Member, Refusal> {
        let now = self.now();
        let mut state = self.state();
        let member = hello.credential.verify(self.cluster(), key, &state.revoked, now)?;
        if let Some(timeline) = &hello.timeline {
            timeline.verify(self.cluster())?;
        }
        let news = state.known.meet(&member, key, &hello.credential);
        drop(state);
        if news {
            self.shared.issuers.send_modify(|changes| *changes += 1);
        }
        Ok(member)
    }

    /// Where the configuration of a member differs from ours in what all must have alike.
    pub(crate) fn differences(&self, hello: &Hello) -> Differences {
        self.state().terms().against(&hello.terms)
    }

    /// What a refused peer must see to believe it: it may not have heard of the revocation.
    pub(crate) fn proof(&self, refusal: &Refusal) -> Vec<Revocation> {
        let (Refusal::Revoked { node } | Refusal::IssuerRevoked { holder: node }) = refusal else { return Vec::new() };
        self.state().revoked.get(*node).cloned().into_iter().collect()
    }

    /// Turns an invite into a ticket for the holder of `key`. The use is on the disk before this returns.
    pub(crate) fn redeem(&self, join: &Join, key: PublicKey) -> Result<Joined, Refusal> {
        if join.cluster != self.cluster() {
            return Err(Refusal::WrongCluster { found: self.cluster() });
        }
        if join.issuer != self.shared.key.public() {
            return Err(Refusal::NotTheIssuer);
        }
        if !self.is_issuer() {
            return Err(Refusal::NotAnIssuer);
        }
        let now = self.now();
        let _turn = self.turn();
        let (name, ledger) = {
            let state = self.state();
            if state.revoked.contains(join.node) {
                return Err(Refusal::Revoked { node: join.node });
            }
            if join.node == self.node() {
                return Err(Refusal::NodeTaken { node: join.node });
            }
            let mut ledger = state.ledger.clone();
            // Other issuers give ids away too; what was learned by meeting is written down with the use of the invite.
            ledger.learn(&state.known);
            let name = ledger.redeem(join, key, now)?;
            // Told to holders of a good invite only.
            let differences = state.terms().against(&join.terms);
            if !differences.is_empty() {
                return Err(Refusal::Differs(differences));
            }
            if let Some(brought) = join.timeline {
                let here = state.timeline.as_ref();
                timeline::apart(here.map_or(TimelineId::FIRST, Timeline::id), brought, here.map(Timeline::began))?;
            }
            (name, ledger)
        };
        self.store_ledger(ledger).map_err(|error| {
            tracing::error!(%error, "an invite could not be marked as used, so it was not redeemed");
            Refusal::Disk
        })?;
        let state = self.state();
        let member = Member { node: join.node, roles: Roles::MEMBER, name, expires_at: now };
        let credential = state.issue(&member, key, now).ok_or(Refusal::NotAnIssuer)?;
        let timeline = state.timeline.clone();
        Ok(Joined { credential, revoked: state.revoked.iter().cloned().collect(), timeline })
    }
}

// Tickets that grow old.
impl Admission {
    /// The next ticket for a member whose own is authentic, whichever issuer signed it, if it has not been expired for too
    /// long.
    pub(crate) fn renew(&self, old: &Credential, key: PublicKey) -> Result<Credential, Refusal> {
        let now = self.now();
        let state = self.state();
        let member = old.verify_but_expiry(self.cluster(), key, &state.revoked)?;
        if after(member.expires_at, RENEW_GRACE) <= now {
            return Err(Refusal::TicketExpired { at: member.expires_at });
        }
        state.issue(&member, key, now).ok_or(Refusal::NotAnIssuer)
    }

    /// What we show.
    pub(crate) fn credential(&self) -> Credential {
        self.state().credential.clone()
    }

    /// Our credential, if it is time to have it renewed.
    pub(crate) fn due_for_renewal(&self) -> Option<Credential> {
        let now = self.wall();
        let state = self.state();
        (state.credential.renew_at() <= now).then(|| state.credential.clone())
    }

    /// Whether our own ticket would be refused by everybody for its age.
    pub(crate) fn is_expired(&self) -> bool {
        self.state().credential.expires_at() <= self.wall()
    }

    /// Takes the ticket that an issuer has sent.
    pub(crate) fn accept_renewal(&self, credential: Credential) -> Result<(), AdmissionError> {
        let now = self.wall();
        let _turn = self.turn();
        let member = credential.verify(self.cluster(), self.shared.key.public(), &self.state().revoked, now)?;
        if member.node != self.node() {
            return Err(Refusal::WrongPeer.into());
        }
        // Whoever has seen an earlier ticket of ours could send it again, to make us grow old.
        let own = self.credential();
        let newer = |at: fn(&Credential) -> WallTime| at(&credential) > at(&own);
        if !newer(Credential::issued_at) && !newer(Credential::expires_at) && self.papers().standing == Standing::Good {
            return Err(AdmissionError::OldTicket);
        }
        Ok(self.store_credential(credential)?)
    }

    /// Takes what an issuer gave for an invite, as [`Self::accept`] does for a peer that was no member yet.
    pub(crate) fn accept_again(&self, invite: &Invite, joined: Joined) -> Result<(), AdmissionError> {
        if invite.cluster != self.cluster() {
            return Err(AdmissionError::OtherCluster { found: self.cluster() });
        }
        self.merge_revocations(joined.revoked)?;
        self.accept_renewal(joined.credential)
    }

    fn store_credential(&self, credential: Credential) -> Result<(), FileError> {
        vault::write(&self.path(TICKET_FILE), &credential.to_bytes())?;
        self.state().credential = credential;
        self.shared.tickets.send_modify(|changes| *changes += 1);
        Ok(())
    }

    /// Has our ticket renewed before its time, if an issuer can be reached. Gives until when the next one is good.
    ///
    /// # Errors
    /// [`AdmissionError::NoIssuer`] when none has answered within `deadline`.
    pub async fn renew_now(&self, deadline: Duration) -> Result<WallTime, AdmissionError> {
        let mut tickets = self.shared.tickets.subscribe();
        self.shared.wanted.send_modify(|changes| *changes += 1);
        match timeout(deadline, tickets.changed()).await {
            Ok(Ok(())) => Ok(self.expires_at()),
            _ => Err(AdmissionError::NoIssuer),
        }
    }

    /// Sees each wish to have the ticket renewed before its time.
    pub(crate) fn watch_wanted(&self) -> watch::Receiver<u64> {
        self.shared.wanted.subscribe()
    }

    /// An issuer renews its own ticket, and its certificate while the root key is at hand. `anyway`: though it is not time.
    pub(crate) fn renew_own(&self, anyway: bool) -> Result<(), FileError> {
        let now = self.wall();
        let _turn = self.turn();
        let Some(chain) = self.state().issuer.as_ref().map(|issuer| issuer.chain.clone()) else { return Ok(()) };
        let body = &chain.body;
        let half = WallTime::from_micros(body.issued_at.as_micros().midpoint(body.expires_at.as_micros()));
        if half <= now
            && let Some(root) = SecretKey::open(&self.path(ROOT_FILE))?
            && cluster_of(root.public()) == self.cluster()
        {
            let chain = IssuerCertificate::sign(&root, body.key, body.holder, now, after(now, ISSUER_LIFE));
            self.store_certificate(chain)?;
        }
        let next = {
            let state = self.state();
            let issuer = state.issuer.as_ref().expect("nobody gives an office up");
            let due = anyway || state.credential.renew_at() <= now || state.credential.chain != issuer.chain;
            let member = state.credential.member();
            due.then(|| state.issue(&member, self.shared.key.public(), now)).flatten()
        };
        next.map_or(Ok(()), |credential| self.store_credential(credential))
    }

    /// Puts a certificate in force that was checked against `issuer.key`.
    pub(super) fn store_certificate(&self, chain: IssuerCertificate) -> Result<(), FileError> {
        vault::write(&self.path(ISSUER_CERT_FILE), &encode(&chain))?;
        let mut state = self.state();
        state.known.hear_of(&chain);
        if let Some(issuer) = &mut state.issuer {
            issuer.chain = chain;
        }
        drop(state);
        self.shared.issuers.send_modify(|changes| *changes += 1);
        Ok(())
    }

    /// Makes a member's ticket an old one: good for another hour, and due for renewal.
    #[cfg(test)]
    pub(crate) fn age_ticket_of(&self, member: &Self) {
        let mut credential = member.credential();
        let state = self.state();
        let issuer = state.issuer.as_ref().expect("tests call this on an issuer");
        let body = TicketBody {
            issued_at: WallTime::EPOCH,
            expires_at: after(self.wall(), Duration::from_hours(1)),
            ..credential.ticket.body.clone()
        };
        credential.ticket = Ticket::sign(&issuer.secret, body);
        // They may be one.
        drop(state);
        member.state().credential = credential;
    }
}

impl State {
    /// A ticket of this issuer's; `None` if this peer is none or its certificate is too old to be worth a ticket.
    fn issue(&self, member: &Member, key: PublicKey, now: WallTime) -> Option<Credential> {
        let issuer = self.issuer.as_ref().filter(|issuer| issuer.chain.body.expires_at > now)?;
        let ticket = sign_ticket(&issuer.secret, &issuer.chain, member, key, now);
        Some(Credential { chain: issuer.chain.clone(), ticket })
    }
}

pub(super) fn sign_ticket(
    secret: &SecretKey,
    chain: &IssuerCertificate,
    member: &Member,
    key: PublicKey,
    now: WallTime,
) -> Ticket {
    let body = TicketBody {
        cluster: chain.cluster(),
        key,
        node: member.node,
        roles: member.roles,
        serial: u64::from_be_bytes(random()),
        name: member.name.clone(),
        issued_at: now,
        expires_at: after(now, TICKET_LIFE).min(chain.body.expires_at),
    };
    Ticket::sign(secret, body)
}

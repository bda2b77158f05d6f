//! A peer's papers as a person wants to see them: what they are good for, until when, and whether somebody must act.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::revocation::Revocation;
use super::ticket::IssuerCertificate;
use super::timeline::TimelineStatus;
use super::{Admission, RENEW_GRACE, ROOT_FILE, after};
use crate::types::{NodeId, WallTime};

/// How a peer stands with the mesh by its own papers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Standing {
    /// Its ticket is good.
    Good,
    /// Its ticket is too old: nobody links with it until an issuer renews it.
    Expired,
    /// The issuer that signed its ticket was revoked: it needs a new invite.
    IssuerRevoked,
    /// It was expelled.
    Revoked,
}

/// A peer's papers, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Papers {
    /// How it stands.
    pub standing: Standing,
    /// Until when its ticket is good.
    #[serde(serialize_with = "as_text")]
    pub ticket_until: WallTime,
    /// The node of the issuer that signed its ticket.
    pub signed_by: NodeId,
    /// Whether its ticket should have been renewed long ago: no issuer was reached.
    pub overdue: bool,
    /// Until when it may sign tickets, if it is an issuer.
    #[serde(serialize_with = "as_text_if_any")]
    pub issuer_until: Option<WallTime>,
    /// Whether that ends soon and nothing here can renew it: the root key is elsewhere.
    pub issuer_ends: bool,
    /// Issuers that it knows and that are good, itself included.
    pub issuers: usize,
    /// Who is expelled, in order of node id.
    pub expelled: Vec<NodeId>,
    /// Which history of the mesh it is on.
    pub timeline: TimelineStatus,
}

/// People read it.
fn as_text<S: Serializer>(at: &WallTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

fn as_text_if_any<S: Serializer>(at: &Option<WallTime>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(|at| at.to_string()).serialize(serializer)
}

/// An issuer without the root key at hand is told to have its certificate renewed when it has no more life than this.
const ISSUER_ENDS: Duration = Duration::from_hours(30 * 24);

impl Admission {
    /// This peer's papers.
    #[must_use]
    pub fn papers(&self) -> Papers {
        let now = self.now();
        let has_root = self.path(ROOT_FILE).exists();
        let state = self.state();
        let (credential, me) = (&state.credential, self.node());
        let signed_by = credential.chain.body.holder;
        let ends = credential.expires_at().min(credential.chain.body.expires_at);
        let standing = if state.revoked.contains(me) {
            Standing::Revoked
        } else if state.revoked.contains(signed_by) {
            Standing::IssuerRevoked
        } else if ends <= now {
            Standing::Expired
        } else {
            Standing::Good
        };
        let issuer_until = state.issuer.as_ref().map(|issuer| issuer.chain.body.expires_at);
        let good = |issuer: &&IssuerCertificate| state.known.is_issuer(issuer.body.holder, &state.revoked, now);
        Papers {
            standing,
            ticket_until: ends,
            signed_by,
            overdue: WallTime::from_micros(credential.renew_at().as_micros().midpoint(ends.as_micros())) <= now,
            issuer_until,
            issuer_ends: !has_root && issuer_until.is_some_and(|until| until <= after(now, ISSUER_ENDS)),
            issuers: state.known.issuers().filter(good).count(),
            expelled: state.revoked.iter().map(Revocation::node).collect(),
            timeline: TimelineStatus::of(state.timeline.as_ref(), &state.heard),
        }
    }

    /// Whether only a new invite brings this peer back: no issuer may renew its ticket.
    pub(crate) fn needs_invite(&self) -> bool {
        let now = self.now();
        let state = self.state();
        let credential = &state.credential;
        state.revoked.contains(credential.chain.body.holder) || after(credential.expires_at(), RENEW_GRACE) <= now
    }
}

//! Redeeming an invite: a peer without a ticket reaches the issuer, and nobody else, until it has one.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{Swarm, SwarmEvent};
use tokio::time::{sleep, timeout};

use super::NetworkError;
use super::admit::{self, AdmitError};
use super::behaviour::{Behaviour, BehaviourEvent};
use super::handle::Shared;
use super::handler::{Negotiated, Protocol};
use super::limit::Limits;
use super::transport;
use crate::config::Terms;
use crate::driver::admission::message::{Join, Joined};
use crate::driver::admission::{Admission, AdmissionError, Invite, Refusal};
use crate::driver::identity::NodeKey;
use crate::recovery::{SourceError, line_of};
use crate::types::TimelineId;

/// Pauses between attempts to reach the issuer.
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A member that needs a new ticket serves what it has after so long, with or without it.
const REJOIN_MAX: Duration = Duration::from_secs(10);

/// Why a peer did not join. It belongs to no mesh then, and may try again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The issuer said no.
    #[error("the issuer refused: {0}")]
    Refused(Refusal),
    /// The issuer was not reached in time.
    #[error("the issuer could not be reached: {why}")]
    Unreachable {
        /// What the last attempt met.
        why: String,
    },
    /// The answer does not hold, or could not be stored.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// The transport cannot be set up.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The directory holds a log, and of which timeline that is cannot be read.
    #[error(transparent)]
    Log(#[from] SourceError),
}

/// Joins the mesh of this invite: afterwards the directory holds a ticket. A directory that belongs to that mesh already is
/// left as it is, so that a unit file may name its invite at every start; unless only a new invite can bring it back, because
/// the issuer that signed its ticket was revoked or the ticket is too old for renewal. `terms`: what this peer's
/// configuration says of what all members must have alike; an issuer that has it otherwise refuses, and the invite stays good.
///
/// # Errors
/// [`JoinError`]. Being refused is final; being unreachable was tried again until `deadline` had passed.
pub async fn join(dir: &Path, invite: &Invite, terms: Terms, deadline: Duration) -> Result<Admission, JoinError> {
    if let Some(member) = Admission::open(dir).map_err(AdmissionError::from)? {
        if member.cluster() != invite.cluster {
            return Err(AdmissionError::OtherCluster { found: member.cluster() }.into());
        }
        member.set_terms(terms);
        if member.needs_invite()
            && let Err(error) = rejoin(&member, invite, deadline.min(REJOIN_MAX)).await
        {
            // Its documents can be read and edited all the same.
            tracing::error!(%error, "this peer stays outside its mesh: it needs a new invite");
        }
        return Ok(member);
    }
    let key = NodeKey::open_or_mint(dir).map_err(AdmissionError::from)?;
    let brought = line_of(dir)?;
    let joined = redeemed(&key, invite, terms, brought, deadline).await?;
    Ok(Admission::accept(dir, key, invite, joined)?)
}

/// Has an issuer give a member a new ticket for an invite, as if it joined again: it stays who it is.
///
/// # Errors
/// As [`join`]; the ticket is the old one then.
pub async fn rejoin(member: &Admission, invite: &Invite, deadline: Duration) -> Result<(), JoinError> {
    let timeline = Some(member.timeline_id());
    let joined = redeemed(member.key(), invite, member.terms(), timeline, deadline).await?;
    let (member, invite) = (member.clone(), invite.clone());
    let accepted = tokio::task::spawn_blocking(move || member.accept_again(&invite, joined)).await;
    Ok(accepted.expect("accepting a ticket does not panic")?)
}

/// What the issuer of the invite gives for it.
async fn redeemed(
    key: &NodeKey,
    invite: &Invite,
    terms: Terms,
    timeline: Option<TimelineId>,
    deadline: Duration,
) -> Result<Joined, JoinError> {
    let shared = Arc::new(Shared::new(Limits::default()));
    let mut swarm = transport::swarm(&key.keypair(), &shared, false)?;
    let (cluster, issuer, secret) = (invite.cluster, invite.issuer, invite.secret.clone());
    let request = Join { cluster, issuer, secret, node: key.node(), terms, timeline };
    let until = Instant::now() + deadline;
    let mut pause = PAUSE;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let why = match timeout(left, redeem(&mut swarm, invite, request.clone())).await {
            Ok(Ok(joined)) => return Ok(joined),
            Ok(Err(AdmitError::RefusedByPeer(why, _) | AdmitError::Refused(why))) => {
                return Err(JoinError::Refused(why));
            }
            Ok(Err(AdmitError::Served | AdmitError::Apart { .. })) => "no answer".to_owned(),
            Ok(Err(AdmitError::Io(error))) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        if until.saturating_duration_since(Instant::now()) <= pause {
            return Err(JoinError::Unreachable { why });
        }
        tracing::info!(%why, "the issuer is not reached yet");
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// One attempt: a connection to the issuer at any of its addresses, one request, one answer.
async fn redeem(swarm: &mut Swarm<Behaviour>, invite: &Invite, request: Join) -> Result<Joined, AdmitError> {
    let issuer = invite.issuer.peer_id().ok_or(AdmitError::Refused(Refusal::Malformed))?;
    let options = DialOpts::peer_id(issuer)
        .condition(PeerCondition::Always)
        .allocate_new_port()
        .addresses(invite.addresses.clone())
        .build();
    let connection = options.connection_id();
    swarm.dial(options).map_err(std::io::Error::other)?;
    let mut opened = loop {
        match swarm.select_next_some().await {
            SwarmEvent::Behaviour(BehaviourEvent::Lanes(opened)) if opened.connection == connection => break opened,
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } if connection_id == connection => {
                return Err(std::io::Error::other(super::swarm::explain(&error)).into());
            }
            // Other connections are none of ours.
            _ => {}
        }
    };
    let exchange = async {
        match opened.ends.streams.recv().await {
            Some(Negotiated::Outbound(Protocol::Admit, mut stream)) => admit::join(&mut stream, request).await,
            Some(Negotiated::Failed(_, why)) => Err(std::io::Error::other(why).into()),
            _ => Err(std::io::Error::other("the connection closed").into()),
        }
    };
    let drive = async {
        loop {
            _ = swarm.select_next_some().await;
        }
    };
    let joined = tokio::select! {
        joined = exchange => joined,
        () = drive => unreachable!("the swarm runs for ever"),
    };
    swarm.close_connection(connection);
    joined
}

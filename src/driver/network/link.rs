//! The task of one connection, from its first byte to its end: admission, opening the lanes, work.
//!
//! It decides nothing about other connections: when both ends are admitted it asks the swarm's task, which knows whether
//! there is a better connection to the same peer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use libp2p::Stream;
use libp2p::identity::PeerId;
use libp2p::swarm::ConnectionId;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::admit::{self, AdmitError, Admitted};
use super::fault::Fault;
use super::handle::Linked;
use super::handler::{Ends, Negotiated, Protocol};
use super::limit::RETIRE;
use super::session::{End, Session, Streams, Surroundings};
use crate::driver::admission::{PublicKey, Refusal};
use crate::types::{Boot, Lane};

/// What the swarm's task tells a connection's.
#[derive(Debug)]
pub(super) enum Command {
    /// No better connection is known: open the lanes.
    Proceed,
    /// Use this connection for the link.
    Activate(Arc<Linked>),
    /// A better connection has taken over.
    Retire,
    /// End it, and tell the peer why.
    Close(Arc<str>),
    /// Send what waits, then end it.
    Finish,
    /// Ask the peer for our next ticket.
    Renew(Bytes),
}

/// What a connection's task tells the swarm's.
#[derive(Debug)]
pub(super) enum Report {
    /// Both ends let each other in. Answered by `Proceed` or `Close`.
    Admitted { connection: ConnectionId, admitted: Box<Admitted> },
    /// All lanes are open. Answered by `Activate` or `Close`.
    Open { connection: ConnectionId },
}

/// How long a goodbye may take to be written.
const GOODBYE: Duration = Duration::from_millis(500);

/// A connection and what its task needs.
pub(super) struct Link {
    pub(super) connection: ConnectionId,
    pub(super) peer_id: PeerId,
    pub(super) dialled: bool,
    pub(super) attempt: u64,
    pub(super) boot: Boot,
    pub(super) ends: Ends,
    pub(super) around: Arc<Surroundings>,
    pub(super) reports: mpsc::Sender<Report>,
    pub(super) commands: mpsc::Receiver<Command>,
}

/// The substreams that have arrived so far.
#[derive(Default)]
struct Arrived {
    control_in: Option<Stream>,
    control_out: Option<Stream>,
    sync_in: Option<Stream>,
    sync_out: Option<Stream>,
}

impl Arrived {
    fn is_whole(&self) -> bool {
        self.control_in.is_some() && self.control_out.is_some() && self.sync_in.is_some() && self.sync_out.is_some()
    }

    fn whole(self) -> Option<Streams> {
        Some(Streams {
            control_in: self.control_in?,
            control_out: self.control_out?,
            sync_in: self.sync_in?,
            sync_out: self.sync_out?,
        })
    }
}

fn gone() -> End {
    End::Gone("the connection closed".into())
}

impl Link {
    /// Runs the connection to its end.
    pub(super) async fn run(mut self) -> (ConnectionId, End) {
        let end = match self.establish().await {
            Ok((session, streams, known)) => self.work(&session, streams, known).await,
            Err(end) => end,
        };
        (self.connection, end)
    }

    async fn establish(&mut self) -> Result<(Session, Streams, usize), End> {
        let Some(key) = PublicKey::of_peer(&self.peer_id) else {
            return Err(End::Refused { why: Refusal::WrongPeer, by_peer: false, member: None });
        };
        let limit = self.around.limits.admission_timeout;
        let late = |_| End::Fault(Fault::Late { ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX) });
        let mut arrived = Arrived::default();
        let admitted = timeout(limit, self.admit(key, &mut arrived)).await.map_err(late)??;
        let node = admitted.member.node;
        // Sets that are equal need no exchange; of others the peer is told everything.
        let admission = &self.around.admission;
        let known = if admission.revoked_digest() == admitted.hello.revoked { admission.revoked().len() } else { 0 };
        self.report(Report::Admitted { connection: self.connection, admitted: Box::new(admitted) }).await?;
        let Command::Proceed = self.command().await? else { return Err(gone()) };
        self.ends.gate.open_lanes();
        timeout(limit, self.gather(&mut arrived, Arrived::is_whole)).await.map_err(late)??;
        let streams = arrived.whole().expect("just gathered");
        self.report(Report::Open { connection: self.connection }).await?;
        let Command::Activate(linked) = self.command().await? else { return Err(gone()) };
        Ok((Session::new(node, key, linked, Arc::clone(&self.around)), streams, known))
    }

    async fn report(&self, report: Report) -> Result<(), End> {
        self.reports.send(report).await.map_err(|_| End::Closed("the network stops".into()))
    }

    /// The next command, while none but the swarm's answer can be of use.
    async fn command(&mut self) -> Result<Command, End> {
        loop {
            match self.commands.recv().await {
                Some(Command::Close(why)) => return Err(End::Closed(why)),
                Some(Command::Finish) | None => return Err(End::Closed("the network stops".into())),
                Some(Command::Retire) => return Err(End::Duplicate),
                Some(Command::Renew(_)) => {}
                Some(command @ (Command::Proceed | Command::Activate(_))) => return Ok(command),
            }
        }
    }

    /// Until both ends have let each other in.
    async fn admit(&mut self, key: PublicKey, arrived: &mut Arrived) -> Result<Admitted, End> {
        let mut stream = match self.ends.streams.recv().await.ok_or_else(gone)? {
            Negotiated::Inbound(Protocol::Admit, stream) | Negotiated::Outbound(Protocol::Admit, stream) => stream,
            Negotiated::Failed(protocol, why) => {
                tracing::debug!(peer = %self.peer_id, why, "no admission");
                return Err(Fault::Unsupported { protocol: protocol.name() }.into());
            }
            Negotiated::Inbound(..) | Negotiated::Outbound(..) | Negotiated::Excess => {
                return Err(Fault::TooManyStreams.into());
            }
        };
        let (around, gate) = (Arc::clone(&self.around), Arc::clone(&self.ends.gate));
        let exchange = async {
            if self.dialled {
                let admitted = admit::request(&mut stream, &around.admission, key, self.boot, self.attempt).await;
                if admitted.is_ok() {
                    gate.accept_lanes();
                }
                admitted
            } else {
                admit::answer(&mut stream, &around.admission, key, self.boot, || gate.accept_lanes()).await
            }
        };
        let admitted = exchange.await.map_err(|error| match error {
            AdmitError::Refused(why) => End::Refused { why, by_peer: false, member: None },
            AdmitError::RefusedByPeer(why, _) => End::Refused { why, by_peer: true, member: None },
            AdmitError::Apart { member, why } => End::Refused { why, by_peer: false, member: Some(member.into()) },
            AdmitError::Served => End::Served,
            AdmitError::Io(error) => error.into(),
        })?;
        if !self.dialled {
            // The peer that dialled opens its lanes when our answer has convinced it, and not before.
            self.gather(arrived, |arrived| arrived.control_in.is_some()).await?;
        }
        Ok(admitted)
    }

    async fn gather(&mut self, arrived: &mut Arrived, enough: impl Fn(&Arrived) -> bool) -> Result<(), End> {
        while !enough(arrived) {
            match self.ends.streams.recv().await.ok_or_else(gone)? {
                Negotiated::Inbound(Protocol::Lane(Lane::Control), stream) => arrived.control_in = Some(stream),
                Negotiated::Inbound(Protocol::Lane(Lane::Sync), stream) => arrived.sync_in = Some(stream),
                Negotiated::Outbound(Protocol::Lane(Lane::Control), stream) => arrived.control_out = Some(stream),
                Negotiated::Outbound(Protocol::Lane(Lane::Sync), stream) => arrived.sync_out = Some(stream),
                Negotiated::Failed(protocol, why) => {
                    tracing::debug!(peer = %self.peer_id, why, lane = protocol.name(), "a lane was not opened");
                    return Err(Fault::Unsupported { protocol: protocol.name() }.into());
                }
                Negotiated::Inbound(Protocol::Admit, _)
                | Negotiated::Outbound(Protocol::Admit, _)
                | Negotiated::Excess => return Err(Fault::TooManyStreams.into()),
            }
        }
        Ok(())
    }

    async fn work(&mut self, session: &Session, streams: Streams, known: usize) -> End {
        let run = session.run(streams, known);
        tokio::select! {
            // A goodbye that has arrived says more than the end of the connection.
            biased;
            end = run => end,
            end = obey(session, &mut self.commands) => end,
            end = excess(&mut self.ends) => end,
        }
    }
}

async fn obey(session: &Session, commands: &mut mpsc::Receiver<Command>) -> End {
    loop {
        match commands.recv().await {
            Some(Command::Retire) => {
                session.retire();
                // A close must not wait for the end of the grace.
                return match timeout(RETIRE, commands.recv()).await {
                    Ok(Some(Command::Close(why))) => End::Closed(why),
                    _ => End::Duplicate,
                };
            }
            Some(Command::Close(why)) => {
                session.say_goodbye(Arc::clone(&why));
                sleep(GOODBYE).await;
                return End::Closed(why);
            }
            Some(Command::Finish) => session.finish(),
            Some(Command::Renew(credential)) => session.ask_renewal(credential),
            Some(Command::Proceed | Command::Activate(_)) => {}
            None => return End::Closed("the network stops".into()),
        }
    }
}

/// Substreams that no protocol of ours has, on a link that has all it needs.
async fn excess(ends: &mut Ends) -> End {
    match ends.streams.recv().await {
        Some(Negotiated::Failed(..)) => std::future::pending().await,
        Some(_) => Fault::TooManyStreams.into(),
        None => gone(),
    }
}

//! The part of a connection that libp2p drives: it negotiates substreams and hands them over whole.
//!
//! No data passes through here. A handler that carries frames as behaviour events costs 28 us of round trip in place of 17
//! and lets one slow connection hold up all others; so each negotiated substream goes to the connection's own task, which
//! owns it from then on.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::{Ready, ready};
use libp2p::Stream;
use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::swarm::handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol};
use tokio::sync::mpsc;

use super::gate::Gate;
use crate::types::Lane;

/// A protocol of ours: each has one substream a direction and connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Protocol {
    /// Opened by the peer that dialled; the only one that strangers reach.
    Admit,
    /// A lane: written by whoever opened it, read by the other.
    Lane(Lane),
}

impl Protocol {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Admit => "/oxigdal-ha/admit/1",
            Self::Lane(Lane::Control) => "/oxigdal-ha/ctl/1",
            Self::Lane(Lane::Sync) => "/oxigdal-ha/sync/1",
        }
    }
}

impl AsRef<str> for Protocol {
    fn as_ref(&self) -> &str {
        self.name()
    }
}

const LANES: [Protocol; 2] = [Protocol::Lane(Lane::Control), Protocol::Lane(Lane::Sync)];

/// A substream that is ready, or why it is not.
#[derive(Debug)]
pub(super) enum Negotiated {
    Inbound(Protocol, Stream),
    Outbound(Protocol, Stream),
    Failed(Protocol, &'static str),
    /// The peer opened more substreams than the protocol has.
    Excess,
}

/// Offers some protocols, and tells which one was agreed on.
#[derive(Clone, Debug)]
pub(super) struct Offer(Vec<Protocol>);

impl UpgradeInfo for Offer {
    type Info = Protocol;
    type InfoIter = std::vec::IntoIter<Protocol>;
    fn protocol_info(&self) -> Self::InfoIter {
        self.0.clone().into_iter()
    }
}

impl InboundUpgrade<Stream> for Offer {
    type Output = (Protocol, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;
    fn upgrade_inbound(self, stream: Stream, agreed: Protocol) -> Self::Future {
        ready(Ok((agreed, stream)))
    }
}

impl OutboundUpgrade<Stream> for Offer {
    type Output = (Protocol, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;
    fn upgrade_outbound(self, stream: Stream, agreed: Protocol) -> Self::Future {
        ready(Ok((agreed, stream)))
    }
}

/// Substreams that may wait for the connection's task: all there are, and some too many.
const WAITING: usize = 8;

/// What a connection's task gets: its substreams, and the gate.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) streams: mpsc::Receiver<Negotiated>,
    pub(super) gate: Arc<Gate>,
}

/// Negotiates substreams of one connection.
#[derive(Debug)]
pub(super) struct Handler {
    dialled: bool,
    timeout: Duration,
    gate: Arc<Gate>,
    streams: mpsc::Sender<Negotiated>,
    /// Outbound substreams still to be asked for.
    wanted: Vec<Protocol>,
    lanes_opened: bool,
    inbound_seen: Vec<Protocol>,
}

impl Handler {
    pub(super) fn new(dialled: bool, timeout: Duration, gate: Arc<Gate>) -> (Self, Ends) {
        let (sender, streams) = mpsc::channel(WAITING);
        let handler = Self {
            dialled,
            timeout,
            gate: Arc::clone(&gate),
            streams: sender,
            wanted: if dialled { vec![Protocol::Admit] } else { Vec::new() },
            lanes_opened: false,
            inbound_seen: Vec::new(),
        };
        (handler, Ends { streams, gate })
    }

    fn hand_over(&self, negotiated: Negotiated) {
        // A full channel means a peer that opens substreams faster than they can be looked at, a closed one that the task
        // has given the connection up: either way the substream is reset by being dropped.
        if let Err(mpsc::error::TrySendError::Full(_)) = self.streams.try_send(negotiated) {
            tracing::debug!("substream dropped: the connection's task is behind");
        }
    }

    fn on_inbound(&mut self, protocol: Protocol, stream: Stream) {
        if self.inbound_seen.contains(&protocol) {
            drop(stream);
            return self.hand_over(Negotiated::Excess);
        }
        self.inbound_seen.push(protocol);
        self.hand_over(Negotiated::Inbound(protocol, stream));
    }

    fn on_outbound_failed(&self, protocol: Protocol, error: &StreamUpgradeError<Infallible>) {
        let why = match error {
            StreamUpgradeError::Timeout => "no answer in time",
            StreamUpgradeError::NegotiationFailed => "not spoken by the peer",
            StreamUpgradeError::Io(_) => "the connection failed",
            StreamUpgradeError::Apply(never) => match *never {},
        };
        self.hand_over(Negotiated::Failed(protocol, why));
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = Offer;
    type OutboundProtocol = Offer;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Protocol;

    fn listen_protocol(&self) -> SubstreamProtocol<Offer, ()> {
        let mut offer = Vec::with_capacity(3);
        if !self.dialled {
            offer.push(Protocol::Admit);
        }
        if self.gate.accepts() {
            offer.extend(LANES);
        }
        SubstreamProtocol::new(Offer(offer), ()).with_timeout(self.timeout)
    }

    fn connection_keep_alive(&self) -> bool {
        // As long as the connection's task is there; when it ends the connection is closed.
        !self.streams.is_closed()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Offer, Protocol, Infallible>> {
        self.gate.register(cx);
        if !self.lanes_opened && self.gate.opens() {
            self.lanes_opened = true;
            self.wanted.extend(LANES.iter().rev());
        }
        match self.wanted.pop() {
            Some(protocol) => Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                protocol: SubstreamProtocol::new(Offer(vec![protocol]), protocol).with_timeout(self.timeout),
            }),
            None => Poll::Pending,
        }
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Offer, Offer, (), Protocol>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (protocol, stream), ..
            }) => {
                self.on_inbound(protocol, stream);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: (protocol, stream), ..
            }) => {
                self.hand_over(Negotiated::Outbound(protocol, stream));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                self.on_outbound_failed(info, &error);
            }
            // Inbound upgrades cannot fail, and what else changes on a connection is of no interest here.
            _ => {}
        }
    }
}

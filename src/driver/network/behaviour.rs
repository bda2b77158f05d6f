//! What libp2p asks us about connections: whom to let begin, and the handler of each.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Instant;

use libp2p::core::transport::PortUse;
use libp2p::core::{ConnectedPoint, Endpoint};
use libp2p::identity::PeerId;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, connection_limits, dcutr, identify, mdns, memory_connection_limits, ping, relay};

use super::gate::{Gated, Gates};
use super::handle::{Shared, rate_key};
use super::handler::{Ends, Handler};
use super::rate::RateLimit;
use super::way::Way;

/// Everything that runs on the swarm. The order counts: what may refuse a connection stands before what prepares for it.
#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p::swarm::derive_prelude")]
pub(super) struct Behaviour {
    pub(super) limits: connection_limits::Behaviour,
    pub(super) memory: memory_connection_limits::Behaviour,
    /// Over IPv4 and over IPv6: the library does one at a time.
    pub(super) mdns: Toggle<mdns::tokio::Behaviour>,
    pub(super) mdns6: Toggle<mdns::tokio::Behaviour>,
    pub(super) identify: identify::Behaviour,
    pub(super) ping: ping::Behaviour,
    /// Serves as a relay, if this peer is to.
    pub(super) relay: Toggle<Gated<relay::Behaviour>>,
    /// Reaches others through relays.
    pub(super) circuits: Gated<relay::client::Behaviour>,
    /// Makes direct connections of those.
    pub(super) punch: Gated<dcutr::Behaviour>,
    pub(super) lanes: Lanes,
}

/// Why a connection was not accepted.
#[derive(Debug, thiserror::Error)]
pub(super) enum Denied {
    #[error("too many handshakes from this address")]
    Rate,
}

/// A new connection, with what its task needs.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) connection: ConnectionId,
    pub(super) peer_id: PeerId,
    pub(super) address: Multiaddr,
    pub(super) way: Way,
    pub(super) dialled: bool,
    pub(super) ends: Ends,
}

/// Makes a handler for each connection and hands the other end of it to the swarm's task.
#[derive(Debug)]
pub(super) struct Lanes {
    shared: Arc<Shared>,
    gates: Gates,
    rate: RateLimit,
    /// Accepted connections whose peer has not shown a ticket yet; ids grow, so the first is the oldest.
    unadmitted: BTreeMap<ConnectionId, PeerId>,
    evicted: VecDeque<(ConnectionId, PeerId)>,
    /// Handlers that were made, until the connection is really there.
    made: BTreeMap<ConnectionId, Ends>,
    opened: VecDeque<Opened>,
}

impl Lanes {
    pub(super) fn new(shared: Arc<Shared>, gates: Gates) -> Self {
        let rate = RateLimit::new(&shared.limits);
        Self {
            shared,
            gates,
            rate,
            unadmitted: BTreeMap::new(),
            evicted: VecDeque::new(),
            made: BTreeMap::new(),
            opened: VecDeque::new(),
        }
    }

    /// This connection's peer has shown a ticket.
    pub(super) fn admitted(&mut self, connection: ConnectionId) {
        self.unadmitted.remove(&connection);
    }

    /// The peer at this address was refused.
    pub(super) fn punish(&mut self, address: &Multiaddr) {
        if let Some(ip) = rate_key(address) {
            self.rate.punish(ip);
        }
    }

    fn make(&mut self, connection: ConnectionId, dialled: bool) -> Handler {
        let gate = self.gates.of(connection);
        let (handler, ends) = Handler::new(dialled, self.shared.limits.admission_timeout, gate);
        self.made.insert(connection, ends);
        handler
    }

    fn forget(&mut self, connection: ConnectionId) {
        self.made.remove(&connection);
        self.gates.forget(connection);
        self.unadmitted.remove(&connection);
    }
}

impl NetworkBehaviour for Lanes {
    type ConnectionHandler = Handler;
    type ToSwarm = Opened;

    fn handle_pending_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        if rate_key(remote).is_some_and(|ip| !self.rate.admit(ip, Instant::now())) {
            self.shared.counters.rate_limited.fetch_add(1, Ordering::Relaxed);
            return Err(ConnectionDenied::new(Denied::Rate));
        }
        Ok(())
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        // The oldest makes place: whoever holds places without showing a ticket must not keep members out.
        if self.unadmitted.len() >= self.shared.limits.unadmitted {
            self.evicted.extend(self.unadmitted.pop_first());
        }
        self.unadmitted.insert(connection, peer);
        Ok(self.make(connection, false))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        role: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.make(connection, role.is_dialer()))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(established) => {
                let connection = established.connection_id;
                let Some(ends) = self.made.remove(&connection) else { return };
                self.opened.push_back(Opened {
                    connection,
                    peer_id: established.peer_id,
                    address: established.endpoint.get_remote_address().clone(),
                    way: way(established.endpoint),
                    dialled: dialled(established.endpoint),
                    ends,
                });
            }
            FromSwarm::ConnectionClosed(closed) => self.forget(closed.connection_id),
            FromSwarm::DialFailure(failure) => self.forget(failure.connection_id),
            FromSwarm::ListenFailure(failure) => self.forget(failure.connection_id),
            // Addresses and listeners are the swarm task's business.
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Opened, THandlerInEvent<Self>>> {
        // Both are filled only while the swarm is at work, after which it polls again: no waker is needed.
        if let Some((connection, peer_id)) = self.evicted.pop_front() {
            let connection = CloseConnection::One(connection);
            return Poll::Ready(ToSwarm::CloseConnection { peer_id, connection });
        }
        match self.opened.pop_front() {
            Some(opened) => Poll::Ready(ToSwarm::GenerateEvent(opened)),
            None => Poll::Pending,
        }
    }
}

/// Of two ends that dial each other through their NATs at once, one takes the other's part.
const fn dialled(endpoint: &ConnectedPoint) -> bool {
    matches!(endpoint, ConnectedPoint::Dialer { role_override: Endpoint::Dialer, .. })
}

fn way(endpoint: &ConnectedPoint) -> Way {
    match endpoint {
        ConnectedPoint::Dialer { address, .. } => Way::of(address),
        ConnectedPoint::Listener { local_addr, .. } => Way::of(local_addr),
    }
}

//! Protocols of libp2p's that only members may speak: relaying, and the punching of holes.
//!
//! Their behaviours know nothing of admission. Each handler is wrapped: until both ends of its connection are admitted it
//! offers nothing and asks for nothing, so a stranger cannot even learn that they are spoken here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::{InboundUpgrade, UpgradeInfo};
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::identity::PeerId;
use libp2p::swarm::handler::{ConnectionEvent, FullyNegotiatedInbound, InboundUpgradeSend, ListenUpgradeError};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour, Stream,
    SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};

/// What the connection's task allows and asks of the handlers.
#[derive(Debug, Default)]
pub(super) struct Gate {
    accept: AtomicBool,
    open: AtomicBool,
    /// All handlers of a connection are polled by one task.
    waker: AtomicWaker,
}

impl Gate {
    /// From now on the peer may speak what members speak.
    pub(super) fn accept_lanes(&self) {
        self.accept.store(true, Ordering::Release);
        // The connection offers what `listen_protocol` says at each inbound substream; waking it tells the peer, too.
        self.waker.wake();
    }

    /// Asks for our own lanes to be opened.
    pub(super) fn open_lanes(&self) {
        self.open.store(true, Ordering::Release);
        self.waker.wake();
    }

    pub(super) fn accepts(&self) -> bool {
        self.accept.load(Ordering::Acquire)
    }

    pub(super) fn opens(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    pub(super) fn register(&self, cx: &Context<'_>) {
        self.waker.register(cx.waker());
    }
}

/// The gates of all connections.
#[derive(Clone, Debug, Default)]
pub(super) struct Gates(Arc<Mutex<BTreeMap<ConnectionId, Arc<Gate>>>>);

impl Gates {
    /// The gate of a connection: whoever makes the first handler makes it.
    pub(super) fn of(&self, connection: ConnectionId) -> Arc<Gate> {
        Arc::clone(self.0.lock().expect("nobody panics while holding it").entry(connection).or_default())
    }

    pub(super) fn forget(&self, connection: ConnectionId) {
        self.0.lock().expect("nobody panics while holding it").remove(&connection);
    }
}

/// A behaviour whose protocols only members speak.
#[derive(Debug)]
pub(super) struct Gated<B> {
    pub(super) inner: B,
    gates: Gates,
}

impl<B> Gated<B> {
    pub(super) fn new(inner: B, gates: Gates) -> Self {
        Self { inner, gates }
    }

    fn wrap<H>(&self, connection: ConnectionId, inner: H) -> GatedHandler<H> {
        GatedHandler { inner, gate: self.gates.of(connection) }
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for Gated<B> {
    type ConnectionHandler = GatedHandler<THandler<B>>;
    type ToSwarm = B::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.inner.handle_pending_inbound_connection(connection, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let inner = self.inner.handle_established_inbound_connection(connection, peer, local, remote)?;
        Ok(self.wrap(connection, inner))
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.inner.handle_pending_outbound_connection(connection, peer, addresses, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let inner = self.inner.handle_established_outbound_connection(connection, peer, address, role, port)?;
        Ok(self.wrap(connection, inner))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        self.inner.on_connection_handler_event(peer, connection, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.inner.poll(cx)
    }
}

/// A handler that is neither heard nor asked before the gate is open.
#[derive(Debug)]
pub(super) struct GatedHandler<H> {
    inner: H,
    gate: Arc<Gate>,
}

/// What is offered to the peer: nothing, as long as the gate is closed.
#[derive(Debug)]
pub(super) struct Offered<U> {
    upgrade: U,
    open: bool,
}

impl<U: InboundUpgradeSend> UpgradeInfo for Offered<U> {
    type Info = U::Info;
    type InfoIter = std::iter::Take<U::InfoIter>;
    fn protocol_info(&self) -> Self::InfoIter {
        self.upgrade.protocol_info().take(if self.open { usize::MAX } else { 0 })
    }
}

impl<U: InboundUpgradeSend> InboundUpgrade<Stream> for Offered<U> {
    type Output = U::Output;
    type Error = U::Error;
    type Future = U::Future;
    fn upgrade_inbound(self, stream: Stream, agreed: U::Info) -> U::Future {
        self.upgrade.upgrade_inbound(stream, agreed)
    }
}

impl<H: ConnectionHandler> ConnectionHandler for GatedHandler<H> {
    type FromBehaviour = H::FromBehaviour;
    type ToBehaviour = H::ToBehaviour;
    type InboundProtocol = Offered<H::InboundProtocol>;
    type OutboundProtocol = H::OutboundProtocol;
    type InboundOpenInfo = H::InboundOpenInfo;
    type OutboundOpenInfo = H::OutboundOpenInfo;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol, Self::InboundOpenInfo> {
        let open = self.gate.accepts();
        self.inner.listen_protocol().map_upgrade(|upgrade| Offered { upgrade, open })
    }

    fn connection_keep_alive(&self) -> bool {
        self.gate.accepts() && self.inner.connection_keep_alive()
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Self::OutboundOpenInfo, Self::ToBehaviour>> {
        self.gate.register(cx);
        // What the behaviour asks for meanwhile waits in the handler: until the other end's gate is open, too.
        if self.gate.opens() { self.inner.poll(cx) } else { Poll::Pending }
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        self.inner.on_behaviour_event(event);
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<
            '_,
            Self::InboundProtocol,
            Self::OutboundProtocol,
            Self::InboundOpenInfo,
            Self::OutboundOpenInfo,
        >,
    ) {
        self.inner.on_connection_event(match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, info }) => {
                ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, info })
            }
            ConnectionEvent::ListenUpgradeError(ListenUpgradeError { info, error }) => {
                ConnectionEvent::ListenUpgradeError(ListenUpgradeError { info, error })
            }
            ConnectionEvent::FullyNegotiatedOutbound(negotiated) => {
                ConnectionEvent::FullyNegotiatedOutbound(negotiated)
            }
            ConnectionEvent::DialUpgradeError(error) => ConnectionEvent::DialUpgradeError(error),
            ConnectionEvent::AddressChange(change) => ConnectionEvent::AddressChange(change),
            ConnectionEvent::LocalProtocolsChange(change) => ConnectionEvent::LocalProtocolsChange(change),
            ConnectionEvent::RemoteProtocolsChange(change) => ConnectionEvent::RemoteProtocolsChange(change),
            // The library may come to tell more; none of these handlers asks for it.
            _ => return,
        });
    }
}

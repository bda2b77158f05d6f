//! The stack below the swarm: TCP + Noise + Yamux, QUIC where it is built in, names, deadlines, and which address goes first.
//!
//! QUIC is not in the default build: it brings aws-lc, a second library of cryptography in C, more than doubles the program
//! and is no faster here. It serves where TCP does not get through.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use libp2p::core::Transport as _;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::transport::timeout::TransportTimeout;
use libp2p::core::upgrade::Version;
use libp2p::identity::{Keypair, PeerId};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{
    Multiaddr, Swarm, connection_limits, dcutr, dns, identify, mdns, memory_connection_limits, noise, ping, relay,
    swarm, tcp, yamux,
};

use super::NetworkError;
use super::behaviour::{Behaviour, Lanes};
use super::gate::{Gated, Gates};
use super::handle::Shared;
use super::limit::{
    IDLE, Limits, NEGOTIATING, RELAY_CIRCUIT, RELAY_CIRCUITS, RELAY_CIRCUITS_EACH, RELAY_PLACE, RELAY_PLACES,
    SUBSTREAMS,
};
#[cfg(feature = "quic")]
use super::limit::{QUIC_CONNECTION, QUIC_IDLE_MS, QUIC_KEEP_ALIVE, QUIC_STREAM};
use super::pace::Paced;

/// What identify tells: no version, no host name.
const AGENT: &str = "oxigdal-ha";
const IDENTIFY: &str = "/oxigdal-ha/1";
/// Our own keep-alive measures round trips; libp2p's ping is there to answer tools.
const PING: Duration = Duration::from_hours(1);
/// How often the LAN is asked, and how long an answer counts.
const MDNS_QUERY: Duration = Duration::from_secs(10);
const MDNS_LIFE: Duration = Duration::from_secs(60);

/// How a transport is given here: whom a connection is with, and its substreams.
type Wires = Boxed<(PeerId, StreamMuxerBox)>;

/// A swarm that speaks the lanes.
pub(super) fn swarm(keypair: &Keypair, shared: &Arc<Shared>, mdns: bool) -> Result<Swarm<Behaviour>, NetworkError> {
    let failed = |why: String| NetworkError::Transport { why };
    let sockets = sockets(keypair).map_err(|error| failed(error.to_string()))?;
    let named = with_names(sockets).map_err(|error| failed(error.to_string()))?;
    let (circuits, client) = circuits(keypair).map_err(|error| failed(error.to_string()))?;
    let all = circuits.or_transport(named).map(|either, _| either.into_inner());
    // A handshake has a deadline only through this wrapper: without it a silent client stays for ever.
    let timed = TransportTimeout::new(all, shared.limits.handshake_timeout).boxed();
    let wires = Paced::new(timed, Arc::clone(&shared.best)).boxed();
    let config = swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(IDLE)
        .with_max_negotiating_inbound_streams(NEGOTIATING);
    Ok(Swarm::new(wires, behaviour(keypair, shared, mdns, client), keypair.public().to_peer_id(), config))
}

/// Through a relay, which sees nothing but what is encrypted between both ends.
fn circuits(keypair: &Keypair) -> Result<(Wires, relay::client::Behaviour), noise::Error> {
    let (transport, client) = relay::client::new(keypair.public().to_peer_id());
    let wires = transport
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(keypair)?)
        .multiplex(substreams())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    Ok((wires.boxed(), client))
}

/// TCP with Noise and Yamux, and QUIC in a build that has it.
pub(super) fn sockets(keypair: &Keypair) -> Result<Wires, noise::Error> {
    let tcp = tcp::tokio::Transport::new(tcp::Config::default())
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(keypair)?)
        .multiplex(substreams())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    #[cfg(feature = "quic")]
    let tcp = tcp.or_transport(quic(keypair)).map(|either, _| either.into_inner());
    Ok(tcp.boxed())
}

/// Two limits are far below the library's: a killed peer is noticed after 3 s in place of 10, and a connection holds 4 MiB of
/// unread bytes in place of 15.
#[cfg(feature = "quic")]
fn quic(keypair: &Keypair) -> Wires {
    let mut config = libp2p::quic::Config::new(keypair);
    config.max_idle_timeout = QUIC_IDLE_MS;
    config.keep_alive_interval = QUIC_KEEP_ALIVE;
    config.max_stream_data = QUIC_STREAM;
    config.max_connection_data = QUIC_CONNECTION;
    config.max_concurrent_stream_limit = u32::try_from(SUBSTREAMS).expect("a small constant");
    libp2p::quic::tokio::Transport::new(config).map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer))).boxed()
}

/// Names are looked up at each dial.
fn with_names(inner: Wires) -> io::Result<Wires> {
    if Path::new("/etc/resolv.conf").exists() {
        return Ok(dns::tokio::Transport::system(inner)?.boxed());
    }
    // Without the system's configuration there are still numeric addresses, and the resolver's own defaults.
    Ok(dns::tokio::Transport::custom(inner, dns::ResolverConfig::default(), dns::ResolverOpts::default()).boxed())
}

/// Whether a port is free to be listened on. The library would share it: it sets `SO_REUSEPORT`, and then the kernel gives
/// half of the connections to whoever else listens there, another peer perhaps that was meant to have its own port.
pub(super) fn is_free(address: &Multiaddr) -> io::Result<()> {
    let mut parts = address.iter();
    let ip: Option<IpAddr> = match parts.next() {
        Some(Protocol::Ip4(ip)) => Some(ip.into()),
        Some(Protocol::Ip6(ip)) => Some(ip.into()),
        _ => None,
    };
    match (ip, parts.next()) {
        (Some(ip), Some(Protocol::Tcp(port @ 1..))) => unless_taken(TcpListener::bind((ip, port))),
        (Some(ip), Some(Protocol::Udp(port @ 1..))) => unless_taken(UdpSocket::bind((ip, port))),
        _ => Ok(()),
    }
}

/// Whatever else is wrong, the library says when it tries.
fn unless_taken<T>(bound: io::Result<T>) -> io::Result<()> {
    match bound {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
        _ => Ok(()),
    }
}

/// Whether the kernel, or a sandbox around this process, knows no addresses of this family. The library's error does not give
/// the system's number, so the system is asked.
pub(super) fn lacks_family(address: &Multiaddr) -> bool {
    let any: IpAddr = match address.iter().next() {
        Some(Protocol::Ip4(_)) => Ipv4Addr::UNSPECIFIED.into(),
        Some(Protocol::Ip6(_)) => Ipv6Addr::UNSPECIFIED.into(),
        _ => return false,
    };
    let unsupported = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    UdpSocket::bind((any, 0)).is_err_and(|error| error.raw_os_error() == Some(unsupported))
}

fn substreams() -> yamux::Config {
    let mut config = yamux::Config::default();
    config.set_max_num_streams(SUBSTREAMS);
    config
}

fn behaviour(keypair: &Keypair, shared: &Arc<Shared>, mdns: bool, client: relay::client::Behaviour) -> Behaviour {
    let (own, gates) = (keypair.public().to_peer_id(), Gates::default());
    let identify = identify::Config::new(IDENTIFY.into(), keypair.public())
        .with_agent_version(AGENT.into())
        .with_hide_listen_addrs(true)
        .with_cache_size(0);
    Behaviour {
        limits: connection_limits::Behaviour::new(connection_limits(&shared.limits)),
        memory: match shared.limits.memory_bytes {
            Some(bytes) => memory_connection_limits::Behaviour::with_max_bytes(bytes),
            None => memory_connection_limits::Behaviour::with_max_percentage(0.8),
        },
        mdns: Toggle::from(mdns.then(|| on_lan(keypair, false)).flatten()),
        mdns6: Toggle::from(mdns.then(|| on_lan(keypair, true)).flatten()),
        identify: identify::Behaviour::new(identify),
        ping: ping::Behaviour::new(ping::Config::new().with_interval(PING)),
        relay: Toggle::from(shared.relay.then(|| Gated::new(relay(own), gates.clone()))),
        circuits: Gated::new(client, gates.clone()),
        punch: Gated::new(dcutr::Behaviour::new(own), gates.clone()),
        lanes: Lanes::new(Arc::clone(shared), gates),
    }
}

/// For members, who may use it for as long and as much as they need: with the library's limits, two minutes and 128 KiB, a
/// mesh could not work.
fn relay(own: PeerId) -> relay::Behaviour {
    let config = relay::Config {
        max_reservations: RELAY_PLACES,
        max_reservations_per_peer: 2,
        reservation_duration: RELAY_PLACE,
        // Whoever reaches the relay is a member, and restarts of many come at once.
        reservation_rate_limiters: Vec::new(),
        max_circuits: RELAY_CIRCUITS,
        max_circuits_per_peer: RELAY_CIRCUITS_EACH,
        max_circuit_duration: RELAY_CIRCUIT,
        max_circuit_bytes: 0,
        circuit_src_rate_limiters: Vec::new(),
    };
    let mut relay = relay::Behaviour::new(own, config);
    relay.set_status(Some(relay::Status::Enable));
    relay
}

fn connection_limits(limits: &Limits) -> connection_limits::ConnectionLimits {
    connection_limits::ConnectionLimits::default()
        .with_max_pending_incoming(Some(limits.pending_inbound))
        .with_max_pending_outgoing(Some(limits.pending_outbound))
        .with_max_established_incoming(Some(limits.established_inbound))
        .with_max_established(Some(limits.established))
        .with_max_established_per_peer(Some(limits.established_per_peer))
}

/// `None` when this machine has no network to ask: the mesh works without.
fn on_lan(keypair: &Keypair, enable_ipv6: bool) -> Option<mdns::tokio::Behaviour> {
    let config = mdns::Config { ttl: MDNS_LIFE, query_interval: MDNS_QUERY, enable_ipv6 };
    let behaviour = mdns::tokio::Behaviour::new(config, keypair.public().to_peer_id());
    behaviour.inspect_err(|error| tracing::warn!(%error, enable_ipv6, "peers on the LAN will not be found")).ok()
}

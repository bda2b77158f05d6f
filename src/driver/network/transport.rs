//! TCP + Noise + Yamux through libp2p's builder, which alone gives handshakes a deadline.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{
    Multiaddr, Swarm, SwarmBuilder, connection_limits, dns, identify, mdns, memory_connection_limits, noise, ping, tcp,
    yamux,
};

use super::NetworkError;
use super::behaviour::{Behaviour, Lanes};
use super::handle::Shared;
use super::limit::{IDLE, Limits, NEGOTIATING, SUBSTREAMS};

/// What identify tells: no version, no host name.
const AGENT: &str = "oxigdal-ha";
const IDENTIFY: &str = "/oxigdal-ha/1";
/// Our own keep-alive measures round trips; libp2p's ping is there to answer tools.
const PING: Duration = Duration::from_hours(1);
/// How often the LAN is asked, and how long an answer counts.
const MDNS_QUERY: Duration = Duration::from_secs(10);
const MDNS_LIFE: Duration = Duration::from_secs(60);

/// A swarm that speaks the lanes.
pub(super) fn swarm(keypair: Keypair, shared: &Arc<Shared>, mdns: bool) -> Result<Swarm<Behaviour>, NetworkError> {
    let limits = &shared.limits;
    let builder = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, substreams)
        .map_err(|error| NetworkError::Transport { why: error.to_string() })?;
    // The builder's type differs with the resolver, so both ways go to the end.
    macro_rules! finish {
        ($builder:expr) => {
            $builder
                .with_behaviour(|keypair| behaviour(keypair, shared, mdns))
                .expect("making a behaviour does not fail")
                .with_swarm_config(|config| {
                    config.with_idle_connection_timeout(IDLE).with_max_negotiating_inbound_streams(NEGOTIATING)
                })
                .with_connection_timeout(limits.handshake_timeout)
                .build()
        };
    }
    if Path::new("/etc/resolv.conf").exists() {
        let builder = builder.with_dns().map_err(|error| NetworkError::Transport { why: error.to_string() })?;
        Ok(finish!(builder))
    } else {
        // Without the system's configuration there are still numeric addresses, and the resolver's own defaults.
        let (config, options) = (dns::ResolverConfig::default(), dns::ResolverOpts::default());
        Ok(finish!(builder.with_dns_config(config, options)))
    }
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
        (Some(ip), Some(Protocol::Tcp(port @ 1..))) => match TcpListener::bind((ip, port)) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
            // Whatever else is wrong, the library says when it tries.
            _ => Ok(()),
        },
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

fn behaviour(keypair: &Keypair, shared: &Arc<Shared>, mdns: bool) -> Behaviour {
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
        lanes: Lanes::new(Arc::clone(shared)),
    }
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

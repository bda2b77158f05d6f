//! A connection to one of a holder's places, and why there is none.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::Target;

/// How long a place may take to accept a connection, before the next one is tried.
const DIAL_MAX: Duration = Duration::from_millis(500);

/// A connection to the first place that takes one; else what each of them did, in words.
pub(super) async fn dial(target: &Target, listening: SocketAddr) -> Result<TcpStream, String> {
    let mut whys: Vec<String> = Vec::new();
    for (host, port) in &target.places {
        let why = match timeout(DIAL_MAX, place(host, *port, listening)).await {
            Ok(Ok(server)) => return Ok(server),
            Ok(Err(why)) => why,
            Err(_) => format!("{} does not answer", name(host, *port)),
        };
        // A host that has several addresses in the mesh is one place.
        if !whys.contains(&why) {
            whys.push(why);
        }
    }
    if whys.is_empty() { Err("no address of it is known".to_owned()) } else { Err(whys.join("; ")) }
}

/// A place as people write it.
fn name(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A connection to one host; of a name all addresses are tried.
async fn place(host: &str, port: u16, listening: SocketAddr) -> Result<TcpStream, String> {
    let named = |words: &str| format!("{} {words}", name(host, port));
    let unknown = |error: io::Error| named(&format!("has no address: {error}"));
    let mut why = named("has no address");
    for address in lookup_host((host, port)).await.map_err(unknown)? {
        why = if is_own(listening, address) {
            named("is where this redirector itself listens, and nobody is led there")
        } else {
            match TcpStream::connect(address).await {
                Ok(server) => return Ok(server),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => named("refuses connections"),
                Err(error) => named(&format!("takes no connection: {error}")),
            }
        };
    }
    Err(why)
}

/// Whether who connects to an address comes to who listens at this one.
pub(super) fn is_own(listening: SocketAddr, address: SocketAddr) -> bool {
    let (ours, theirs) = (listening.ip().to_canonical(), address.ip().to_canonical());
    if listening.port() != address.port() {
        return false;
    }
    // Who connects to no address in particular comes to the loopback.
    let theirs = match theirs {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    // Of all addresses: those of version 6 stand for those of version 4 too.
    let is_heard = ours.is_ipv6() || theirs.is_ipv4();
    ours == theirs || ours.is_unspecified() && is_heard && is_local(theirs)
}

/// Whether an address is this machine's: only such a one can be bound.
fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

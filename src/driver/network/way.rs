//! How a connection runs, and which way is better.

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

/// The kinds of connections, the better ones last. Over TCP the death of the other process is told by its kernel within
/// milliseconds, over QUIC after three seconds; a relay is a detour through somebody's uplink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// Through another member.
    #[default]
    Relayed,
    /// Over UDP.
    Quic,
    /// Over TCP.
    Tcp,
}

impl Way {
    /// The way that an address stands for, the dialler's or the one that was listened on.
    pub(super) fn of(address: &Multiaddr) -> Self {
        let has = |wanted: Protocol<'_>| address.iter().any(|part| part == wanted);
        match (has(Protocol::P2pCircuit), has(Protocol::QuicV1)) {
            (true, _) => Self::Relayed,
            (false, true) => Self::Quic,
            (false, false) => Self::Tcp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_is_the_last_way_whatever_leads_to_it() {
        let way = |text: &str| Way::of(&text.parse().unwrap());
        assert_eq!(way("/ip4/192.0.2.1/tcp/1"), Way::Tcp);
        assert_eq!(way("/ip4/192.0.2.1/udp/1/quic-v1"), Way::Quic);
        let relay = "/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA/p2p-circuit";
        assert_eq!(way(&format!("/ip4/192.0.2.1/udp/1/quic-v1{relay}")), Way::Relayed);
        assert!(Way::Relayed < Way::Quic && Way::Quic < Way::Tcp);
    }
}

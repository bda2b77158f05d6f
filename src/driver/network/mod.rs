//! The network: admitted peers, one link each, two lanes a link. libp2p's types stay inside.
//!
//! Below is libp2p's swarm with TCP, Noise and Yamux, and QUIC in builds with the feature `quic`; identify, mDNS and its connection limits serve, everything else is
//! ours. Each connection has a task of its own (`link`) that admits the peer, opens the lanes and then carries frames between
//! the lanes and the two queues of the peer; the swarm's task (`swarm`) only sees connections come and go, and no data.
//!
//! - **Lanes**: each side opens its own write-only substream a lane and reads the other's. Round trip 17 us that way, 28
//!   through swarm events, 88 with request-response (measured).
//! - **Control never behind bulk**: sync frames travel in 16 KiB pieces under a window that follows the round trip.
//! - **Liveness is ours**: TCP outlives a silent cut, and Yamux can deadlock for good when both sides saturate (rust-yamux
//!   issue 227): who is silent on the control lane for three seconds is gone.
//! - **One link a peer**: simultaneous dials always leave two connections; `peers` says which is kept.
//! - **Peers that nobody can dial** keep a place at a member that relays, and are reached through it until a hole is punched.
//!   All that belongs to it is gated (`gate`): it is for members, and strangers do not see it.
//! - **Strangers** reach identify, ping and the admit protocol, for five seconds, sixteen at a time, at a limited rate.
//!
//! **Invariants.** `Linked` and `Unlinked` alternate for each peer, and frames are told only in between. Nothing here waits
//! for a slow peer except that peer's own task. Nothing a peer sends makes this room panic; every queue and table has a
//! bound in `limit`. It leaves to others: who should be linked with whom (overlay), who is alive (membership).

mod admit;
mod behaviour;
mod dial;
mod event;
mod fault;
mod frame;
mod gate;
mod handle;
mod handler;
mod join;
mod limit;
mod link;
mod meter;
mod outbox;
mod pace;
mod peers;
mod rate;
mod session;
mod swarm;
#[cfg(test)]
mod tests;
mod transport;
mod trouble;
mod way;
mod window;

use std::sync::{Arc, Mutex, RwLock};

use libp2p::{Multiaddr, Swarm};
use tokio::sync::{Notify, Semaphore, mpsc, watch};

pub use event::NetworkEvent;
pub use fault::Fault;
pub use handle::{LinkStatus, NetworkHandle, NetworkView, Totals};
pub use join::{JoinError, join, rejoin};
pub use limit::Limits;
pub use meter::Rate;
pub use trouble::NotLinked;

use super::admission::Admission;
use super::admission::key::random;
use crate::config::Terms;
use crate::machine::Rng;
use crate::types::{Address, Boot, NodeId};
use behaviour::Behaviour;
use dial::{DialBook, Key, targets};
use handle::{Counters, Guard, Shared, Wishes};
use session::Surroundings;
use swarm::{Hub, innermost};

/// Why the network did not start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {why}")]
    Listen {
        /// The address.
        address: Multiaddr,
        /// The system's words.
        why: String,
        /// Whether somebody else listens there.
        taken: bool,
    },
    /// The transport cannot be set up.
    #[error("the transport cannot be set up: {why}")]
    Transport {
        /// The library's words.
        why: String,
    },
}

/// What the network needs to start.
#[derive(Clone, Debug)]
pub struct NetworkSetup {
    /// Who this peer is and whom it lets in.
    pub admission: Admission,
    /// This life of the node.
    pub boot: Boot,
    /// What all members must have alike in their configurations.
    pub terms: Terms,
    /// Where to listen; none for a peer that only dials.
    pub listen: Vec<Multiaddr>,
    /// Where others shall dial instead: if there is any, only these are advertised.
    pub announce: Vec<Multiaddr>,
    /// Addresses to stay connected with, tried for ever.
    pub bootstrap: Vec<Multiaddr>,
    /// Members of an earlier life.
    pub remembered: Vec<(NodeId, Vec<Address>)>,
    /// Whether to find peers on the LAN, and be found.
    pub mdns: bool,
    /// Whether members that nobody can dial may be reached through this peer.
    pub relay: bool,
    /// The bounds.
    pub limits: Limits,
}

impl NetworkSetup {
    /// A peer that listens nowhere and knows nobody, with default limits.
    #[must_use]
    pub fn new(admission: Admission, boot: Boot) -> Self {
        Self {
            admission,
            boot,
            terms: Terms::default(),
            listen: Vec::new(),
            announce: Vec::new(),
            bootstrap: Vec::new(),
            remembered: Vec::new(),
            mdns: false,
            relay: false,
            limits: Limits::default(),
        }
    }
}

/// Starts networks.
#[derive(Clone, Copy, Debug)]
pub struct Network;

impl Network {
    /// Listens, begins to dial, and tells `events`. Runs on the ambient tokio runtime until the handle stops it, its last
    /// clone is dropped, or nobody listens to the events. A full event channel slows peers down and loses nothing.
    ///
    /// # Errors
    /// [`NetworkError`] when an address cannot be listened on.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(setup: NetworkSetup, events: mpsc::Sender<NetworkEvent>) -> Result<NetworkHandle, NetworkError> {
        let NetworkSetup { admission, boot, terms, listen, announce, bootstrap, remembered, mdns, relay, limits } =
            setup;
        admission.set_terms(terms);
        let shared = Arc::new(Shared { relay, ..Shared::new(limits.clone()) });
        let mut swarm = transport::swarm(&admission.key().keypair(), &shared, mdns)?;
        listen_on(&mut swarm, &listen)?;
        let mut book = DialBook::new(limits.clone(), Rng::fork(&random(), "dial"));
        let now = std::time::Instant::now();
        for address in bootstrap {
            book.add(Key::Bootstrap(address.clone()), targets([address]), now);
        }
        for (node, addresses) in remembered {
            let addresses = addresses.iter().filter_map(|address| address.as_str().parse().ok());
            book.add(Key::Remembered(node), targets(addresses), now);
        }
        let assembly = Arc::new(Semaphore::new(limits.assembly_bytes.div_ceil(1024)));
        let around = Arc::new(Surroundings { limits, admission, events, assembly, shared: Arc::clone(&shared) });
        let (sender, stopped) = watch::channel(false);
        let hub = Hub::new(swarm, Arc::clone(&shared), around, boot, announce, &listen, book);
        tokio::spawn(hub.run(sender));
        let guard = Arc::new(Guard::new(Arc::clone(&shared)));
        Ok(NetworkHandle { shared, stopped, _guard: guard })
    }
}

/// Whether nobody listens on these addresses.
///
/// # Errors
/// [`NetworkError::Listen`] names the first that is taken.
pub(super) fn are_free(listen: &[Multiaddr]) -> Result<(), NetworkError> {
    for address in listen {
        let (address, taken) = (address.clone(), true);
        transport::is_free(&address).map_err(|error| NetworkError::Listen {
            address,
            why: error.to_string(),
            taken,
        })?;
    }
    Ok(())
}

/// A default that names both families must do on a machine that has one; a list of which nothing can be had must not.
fn listen_on(swarm: &mut Swarm<Behaviour>, listen: &[Multiaddr]) -> Result<(), NetworkError> {
    // All before the first is listened on: what is free of one family may be taken by our own listener of the other.
    are_free(listen)?;
    let mut missing = None;
    let mut listening = 0;
    for address in listen {
        match swarm.listen_on(address.clone()) {
            Ok(_) => listening += 1,
            Err(error) => {
                let failed = NetworkError::Listen { address: address.clone(), why: innermost(&error), taken: false };
                if !transport::lacks_family(address) {
                    return Err(failed);
                }
                tracing::warn!(%failed, "this machine has no such addresses");
                missing.get_or_insert(failed);
            }
        }
    }
    missing.filter(|_| listening == 0).map_or(Ok(()), Err)
}

impl Shared {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            peers: RwLock::default(),
            wishes: Mutex::new(Wishes::default()),
            wake: Notify::new(),
            counters: Counters::default(),
            troubles: Mutex::default(),
            best: Arc::default(),
            relay: false,
        }
    }
}

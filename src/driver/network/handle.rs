//! What the rest of the driver holds of the network. Nothing here waits.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use libp2p::Multiaddr;
use libp2p::identity::PeerId;
use serde::Serialize;
use tokio::sync::{Notify, watch};

use super::limit::Limits;
use super::outbox::Outbox;
use super::pace::Best;
use super::trouble::{NotLinked, Troubles};
use super::way::Way;
use crate::types::{Address, Lane, NodeId};

/// One linked peer, as the handle and the link's tasks share it.
#[derive(Debug)]
pub(super) struct Linked {
    pub(super) peer_id: PeerId,
    pub(super) outbox: Outbox,
    pub(super) since: Instant,
    pub(super) traffic: Traffic,
    /// Of the connection in use; a second one may replace it.
    pub(super) path: Mutex<Path>,
    /// Whether the peer relays for members.
    pub(super) relays: AtomicBool,
}

/// Which way a link runs.
#[derive(Clone, Debug)]
pub(super) struct Path {
    pub(super) address: Multiaddr,
    pub(super) dialled: bool,
    pub(super) way: Way,
}

#[derive(Debug, Default)]
pub(super) struct Traffic {
    pub(super) bytes_in: AtomicU64,
    pub(super) bytes_out: AtomicU64,
    pub(super) frames_in: AtomicU64,
    pub(super) frames_out: AtomicU64,
    /// Last round trip on the control lane, in microseconds; 0 while unknown.
    pub(super) rtt_us: AtomicU64,
    /// Unacknowledged sync bytes allowed.
    pub(super) window: AtomicU64,
    /// How long the peer was not read because it sent too much, in microseconds.
    pub(super) held_back_us: AtomicU64,
}

/// Events of the whole network, counted since its start.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) refused: AtomicU64,
    pub(super) rate_limited: AtomicU64,
    pub(super) faults: AtomicU64,
    pub(super) duplicates: AtomicU64,
    pub(super) events_lost: AtomicU64,
    pub(super) unsent: AtomicU64,
    pub(super) floods: AtomicU64,
    pub(super) denied: AtomicU64,
}

/// What the handle wants the swarm's task to do; bounded by the number of peers, since wishes for one peer merge.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    pub(super) dials: BTreeMap<NodeId, Vec<Address>>,
    pub(super) closes: BTreeMap<NodeId, Arc<str>>,
    pub(super) shutdown: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) limits: Limits,
    pub(super) peers: RwLock<BTreeMap<NodeId, Arc<Linked>>>,
    pub(super) wishes: Mutex<Wishes>,
    pub(super) wake: Notify,
    pub(super) counters: Counters,
    pub(super) troubles: Mutex<Troubles>,
    pub(super) best: Arc<Best>,
    /// Whether this peer relays for members.
    pub(super) relay: bool,
}

impl Shared {
    fn wish(&self, change: impl FnOnce(&mut Wishes)) {
        change(&mut self.wishes.lock().expect("nobody panics while holding it"));
        self.wake.notify_one();
    }
}

/// Most peers for which dials may be wished at once.
const WISHES_MAX: usize = 4096;

/// Steers the network. Clones share it. The network stops when it is told to, or when the last handle is dropped.
#[derive(Clone, Debug)]
pub struct NetworkHandle {
    pub(super) shared: Arc<Shared>,
    pub(super) stopped: watch::Receiver<bool>,
    pub(super) _guard: Arc<Guard>,
}

/// Stops the network when the last handle is gone.
#[derive(Debug)]
pub(super) struct Guard(Arc<Shared>);

impl Guard {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.wish(|wishes| wishes.shutdown = Some(PARTING));
    }
}

/// Time for goodbyes when the last handle was dropped.
const PARTING: Duration = Duration::from_secs(1);

/// A link, for people and metrics.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LinkStatus {
    /// With whom.
    pub node: NodeId,
    /// Its name in the transport.
    pub peer_id: String,
    /// The other end's address as this end sees it.
    pub address: String,
    /// Whether this end dialled.
    pub dialled: bool,
    /// Whether no relay is in between.
    pub direct: bool,
    /// Whether it relays for members that nobody can dial.
    pub relays: bool,
    /// Last round trip on the control lane, in microseconds.
    pub rtt_us: Option<u64>,
    /// Seconds since it was linked.
    pub up_s: u64,
    /// Bytes received on both lanes, without encryption.
    pub bytes_in: u64,
    /// Bytes sent on both lanes, without encryption.
    pub bytes_out: u64,
    /// Frames received.
    pub frames_in: u64,
    /// Frames sent.
    pub frames_out: u64,
    /// Control frames that wait.
    pub control_waiting: usize,
    /// Bytes of sync frames that wait.
    pub sync_waiting_bytes: usize,
    /// Control frames dropped because too many waited.
    pub control_dropped: u64,
    /// Sync frames dropped because too many bytes waited.
    pub sync_dropped: u64,
    /// Unacknowledged sync bytes that the link allows at the moment.
    pub window_bytes: u64,
    /// For how long the peer was not read because it sent more than it may, in milliseconds.
    pub held_back_ms: u64,
}

/// Totals of the network since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Peers that were not let in.
    pub refused: u64,
    /// Handshakes that were turned away before any cryptography.
    pub rate_limited: u64,
    /// Connections closed because the peer broke the protocol or fell silent.
    pub faults: u64,
    /// Second connections to a peer that were given up.
    pub duplicates: u64,
    /// Events about strangers that nobody was there to hear.
    pub events_lost: u64,
    /// Frames for peers without a link.
    pub unsent: u64,
    /// Of the faults: links closed because the peer sent more than it may and did not stop.
    pub floods: u64,
    /// Connections that were not accepted because there were too many, or too little memory.
    pub denied: u64,
}

impl NetworkHandle {
    /// Queues a frame for a linked peer. Never waits: without a link the frame is dropped and counted.
    ///
    /// # Panics
    /// When the frame is longer than its lane allows: whoever encodes frames bounds them.
    pub fn send(&self, to: NodeId, lane: Lane, frame: Bytes) {
        assert!(frame.len() <= super::frame::max(lane), "a frame of {} bytes on the {lane} lane", frame.len());
        let peers = self.shared.peers.read().expect("nobody panics while holding it");
        match peers.get(&to) {
            Some(linked) => linked.outbox.push(lane, frame),
            None => _ = self.shared.counters.unsent.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Asks for a link to this peer. Answered by `Linked` or `DialFailed`, unless there is a link already.
    pub fn dial(&self, peer: NodeId, addresses: Vec<Address>) {
        self.shared.wish(|wishes| {
            if wishes.dials.len() < WISHES_MAX {
                wishes.dials.insert(peer, addresses);
            }
        });
    }

    /// Closes the link to this peer, if there is one. Answered by `Unlinked`.
    pub fn close(&self, peer: NodeId, why: Arc<str>) {
        self.shared.wish(|wishes| {
            if wishes.closes.len() < WISHES_MAX {
                wishes.closes.insert(peer, why);
            }
        });
    }

    /// Sends what waits, says goodbye to every peer, and stops; at the latest after `deadline`.
    pub async fn shutdown(&self, deadline: Duration) {
        self.shared.wish(|wishes| wishes.shutdown = Some(deadline));
        let mut stopped = self.stopped.clone();
        // An error means that the network's task is gone, which is what we wait for.
        _ = stopped.wait_for(|stopped| *stopped).await;
    }

    /// What there is to see, for those who must not keep the network running.
    #[must_use]
    pub fn view(&self) -> NetworkView {
        NetworkView { shared: Arc::clone(&self.shared) }
    }

    /// All links, in order of node id.
    #[must_use]
    pub fn links(&self) -> Vec<LinkStatus> {
        self.view().links()
    }

    /// Totals since the start.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.view().totals()
    }

    /// With whom there is no link though one was tried lately, refusals first.
    #[must_use]
    pub fn not_linked(&self) -> Vec<NotLinked> {
        self.view().not_linked()
    }
}

/// Looks at the network without steering it.
#[derive(Clone, Debug)]
pub struct NetworkView {
    shared: Arc<Shared>,
}

impl NetworkView {
    /// All links, in order of node id.
    #[must_use]
    pub fn links(&self) -> Vec<LinkStatus> {
        let peers = self.shared.peers.read().expect("nobody panics while holding it");
        peers.iter().map(|(node, linked)| linked.status(*node)).collect()
    }

    /// Totals since the start.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.shared.counters;
        Totals {
            refused: load(&counters.refused),
            rate_limited: load(&counters.rate_limited),
            faults: load(&counters.faults),
            duplicates: load(&counters.duplicates),
            events_lost: load(&counters.events_lost),
            unsent: load(&counters.unsent),
            floods: load(&counters.floods),
            denied: load(&counters.denied),
        }
    }

    /// With whom there is no link though one was tried lately, refusals first.
    #[must_use]
    pub fn not_linked(&self) -> Vec<NotLinked> {
        self.shared.troubles.lock().expect("nobody panics while holding it").list(Instant::now())
    }
}

impl Linked {
    pub(super) fn new(peer_id: PeerId, path: Path, limits: &Limits) -> Self {
        Self {
            peer_id,
            outbox: Outbox::new(limits),
            since: Instant::now(),
            traffic: Traffic::default(),
            path: path.into(),
            relays: AtomicBool::new(false),
        }
    }

    /// Whether this end dialled the other without a relay: then its address leads to it.
    pub(super) fn is_dialled_direct(&self) -> bool {
        let path = self.path.lock().expect("nobody panics while holding it");
        path.dialled && path.way != Way::Relayed
    }

    fn status(&self, node: NodeId) -> LinkStatus {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let path = self.path.lock().expect("nobody panics while holding it").clone();
        let (control_waiting, sync_waiting_bytes) = self.outbox.waiting();
        LinkStatus {
            node,
            peer_id: self.peer_id.to_string(),
            direct: path.way != Way::Relayed,
            relays: self.relays.load(Ordering::Relaxed),
            address: path.address.to_string(),
            dialled: path.dialled,
            rtt_us: Some(load(&self.traffic.rtt_us)).filter(|us| *us > 0),
            up_s: self.since.elapsed().as_secs(),
            bytes_in: load(&self.traffic.bytes_in),
            bytes_out: load(&self.traffic.bytes_out),
            frames_in: load(&self.traffic.frames_in),
            frames_out: load(&self.traffic.frames_out),
            control_waiting,
            sync_waiting_bytes,
            control_dropped: load(&self.outbox.control_dropped),
            sync_dropped: load(&self.outbox.sync_dropped),
            window_bytes: load(&self.traffic.window),
            held_back_ms: load(&self.traffic.held_back_us) / 1_000,
        }
    }
}

/// The address of a peer that a rate limit counts: IPv4 whole, IPv6 by /64 (one customer's share).
pub(super) fn rate_key(address: &Multiaddr) -> Option<IpAddr> {
    use libp2p::multiaddr::Protocol;
    address.iter().find_map(|part| match part {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(match ip.to_ipv4_mapped() {
            Some(ip) => IpAddr::V4(ip),
            None => IpAddr::V6((u128::from(ip) >> 64 << 64).into()),
        }),
        _ => None,
    })
}

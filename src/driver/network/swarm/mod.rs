//! The task that owns the swarm: connections come and go here, data does not pass through.

mod connections;
mod dialling;
mod relaying;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{ConnectionId, ListenError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, mdns};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep_until};

use super::behaviour::{Behaviour, BehaviourEvent, Denied, Opened};
use super::dial::{DialBook, Failed, Key, targets};
use super::event::NetworkEvent;
use super::handle::{Linked, Shared};
use super::limit::EVENTS_WAITING;
use super::link::{Command, Link, Report};
use super::peers::Peers;
use super::session::{End, Surroundings};
use super::way::Way;
use crate::driver::admission::Admission;
use crate::types::{Address, Boot, NodeId};
pub(super) use dialling::{explain, innermost};
use relaying::Places;

/// Of two peers that find each other on the LAN at once, the higher waits this long: most double dials are avoided.
const POLITENESS: Duration = Duration::from_millis(300);
/// No stop takes longer, whatever was asked.
const DEADLINE_MAX: Duration = Duration::from_hours(1);
/// Commands that may wait for a connection's task.
const COMMANDS: usize = 8;

/// What the swarm's task knows of a connection.
struct Handle {
    commands: mpsc::Sender<Command>,
    peer_id: PeerId,
    address: Multiaddr,
    way: Way,
    dialled: bool,
    attempt: u64,
    /// The node of the issuer that signed the peer's ticket, once it is admitted.
    signed_by: Option<NodeId>,
}

/// When our papers or others' are to be looked at.
struct Occasions {
    renewal: Interval,
    revoked: watch::Receiver<u64>,
    issuers: watch::Receiver<u64>,
    wanted: watch::Receiver<u64>,
}

impl Occasions {
    fn of(admission: &Admission, look: Duration) -> Self {
        let mut renewal = interval(look);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (revoked, issuers) = (admission.watch_revoked(), admission.watch_issuers());
        Self { renewal, revoked, issuers, wanted: admission.watch_wanted() }
    }
}

/// What happens in order: a link is told before its frames are.
enum Out {
    Tell(NetworkEvent),
    Activate { connection: ConnectionId, linked: Arc<Linked>, retired: Option<ConnectionId> },
}

/// The swarm and everything about connections.
pub(super) struct Hub {
    swarm: Swarm<Behaviour>,
    shared: Arc<Shared>,
    around: Arc<Surroundings>,
    boot: Boot,
    announce: Vec<Multiaddr>,
    loopback_only: bool,
    listening: BTreeSet<Multiaddr>,
    book: DialBook,
    peers: Peers,
    handles: BTreeMap<ConnectionId, Handle>,
    tasks: JoinSet<(ConnectionId, End)>,
    reports: (mpsc::Sender<Report>, mpsc::Receiver<Report>),
    out: VecDeque<Out>,
    /// Why a link ended whose retired connections are still to end.
    ending: BTreeMap<NodeId, Arc<str>>,
    places: Places,
    /// Who was shown out for a flood, and until when it is not linked again.
    shunned: BTreeMap<NodeId, Instant>,
    attempts: u64,
    stop_at: Option<Instant>,
}

impl Hub {
    pub(super) fn new(
        swarm: Swarm<Behaviour>,
        shared: Arc<Shared>,
        around: Arc<Surroundings>,
        boot: Boot,
        announce: Vec<Multiaddr>,
        listen: &[Multiaddr],
        book: DialBook,
    ) -> Self {
        Self {
            swarm,
            shared,
            around,
            boot,
            announce,
            loopback_only: listen.iter().all(is_loopback),
            listening: BTreeSet::new(),
            book,
            peers: Peers::default(),
            handles: BTreeMap::new(),
            tasks: JoinSet::new(),
            reports: mpsc::channel(64),
            out: VecDeque::new(),
            ending: BTreeMap::new(),
            places: Places::default(),
            shunned: BTreeMap::new(),
            attempts: 0,
            stop_at: None,
        }
    }

    /// Runs until the network is told to stop or nobody listens any more.
    pub(super) async fn run(mut self, stopped: watch::Sender<bool>) {
        self.announce();
        let mut occasions = Occasions::of(&self.around.admission, self.shared.limits.renewal_look);
        while self.flush() && !(self.stop_at.is_some() && self.handles.is_empty() && self.out.is_empty()) {
            self.dial_due();
            self.take_places();
            if !self.step(&mut occasions).await {
                break;
            }
        }
        self.tasks.shutdown().await;
        self.shared.peers.write().expect("nobody panics while holding it").clear();
        drop(self);
        stopped.send_replace(true);
    }

    /// Waits for whatever comes first; `false` when it is over.
    async fn step(&mut self, occasions: &mut Occasions) -> bool {
        let deadline = match self.stop_at {
            Some(at) => Some(at),
            None => [self.book.deadline(), self.places.deadline()].into_iter().flatten().min(),
        };
        let shared = Arc::clone(&self.shared);
        let around = Arc::clone(&self.around);
        tokio::select! {
            event = self.swarm.select_next_some() => self.on_swarm_event(event),
            Some(report) = self.reports.1.recv() => self.on_report(report),
            Some(ended) = self.tasks.join_next() => self.on_task_ended(ended),
            () = shared.wake.notified() => {
                self.on_wishes();
                self.seek_places();
            }
            permit = around.events.reserve(), if !self.out.is_empty() => return permit.is_ok(),
            // None of them ends: we hold the admission ourselves.
            Ok(()) = occasions.revoked.changed() => self.on_revoked(),
            Ok(()) = occasions.issuers.changed() => self.renew(false),
            Ok(()) = occasions.wanted.changed() => self.renew(true),
            _ = occasions.renewal.tick() => self.renew(false),
            () = until(deadline) => return self.stop_at.is_none_or(|at| Instant::now() < at),
        }
        true
    }

    /// Performs what waits as far as the listener takes it; `false` when there is no listener.
    fn flush(&mut self) -> bool {
        loop {
            match self.out.pop_front() {
                None => return true,
                Some(Out::Activate { connection, linked, retired }) => {
                    self.command(connection, Command::Activate(linked));
                    self.ask_renewal(connection);
                    if let Some(retired) = retired {
                        self.command(retired, Command::Retire);
                    }
                }
                Some(Out::Tell(event)) => match self.around.events.try_send(event) {
                    Ok(()) => {}
                    Err(mpsc::error::TrySendError::Full(event)) => {
                        self.out.push_front(Out::Tell(event));
                        return true;
                    }
                    Err(mpsc::error::TrySendError::Closed(_)) => return false,
                },
            }
        }
    }

    fn tell(&mut self, event: NetworkEvent) {
        self.out.push_back(Out::Tell(event));
    }

    /// Tells what strangers can cause as often as they like: beyond a bound it is only counted.
    fn tell_of_strangers(&mut self, event: NetworkEvent) {
        if self.out.len() < EVENTS_WAITING {
            self.tell(event);
        } else {
            self.shared.counters.events_lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn tell_failed(&mut self, failed: Option<Failed>) {
        if let Some(Failed { peer, why }) = failed {
            self.tell(NetworkEvent::DialFailed { peer, why });
        }
    }

    fn command(&self, connection: ConnectionId, command: Command) {
        if let Some(handle) = self.handles.get(&connection)
            && let Err(mpsc::error::TrySendError::Full(command)) = handle.commands.try_send(command)
        {
            tracing::warn!(?connection, ?command, "a connection's task is behind with its commands");
        }
    }
}

// The swarm.
impl Hub {
    fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Lanes(opened)) => self.on_opened(opened),
            SwarmEvent::Behaviour(BehaviourEvent::Mdns(event) | BehaviourEvent::Mdns6(event)) => self.on_lan(event),
            SwarmEvent::NewListenAddr { listener_id, address } => {
                self.places.given(listener_id);
                self.on_listening(address);
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => self.on_listener_closed(&address),
            SwarmEvent::ListenerClosed { listener_id, addresses, reason } => {
                let was_place = self.places.lost(listener_id, Instant::now());
                match reason {
                    Err(error) if was_place => tracing::debug!(error = innermost(&error), "no place at a relay"),
                    Err(error) => tracing::error!(%error, "a listener closed"),
                    Ok(()) => {}
                }
                for address in addresses {
                    self.on_listener_closed(&address);
                }
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "a listener failed to accept"),
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                self.on_dial_failed(connection_id, &error);
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                tracing::debug!(address = %send_back_addr, %error, "a connection was not accepted");
                // What the rate of an address turns away is counted there.
                if let ListenError::Denied { cause } = error
                    && cause.downcast::<Denied>().is_err()
                {
                    self.shared.counters.denied.fetch_add(1, Ordering::Relaxed);
                }
            }
            // The ends of connections are told by their tasks; identify and ping serve others; the rest are details.
            _ => {}
        }
    }

    fn on_opened(&mut self, opened: Opened) {
        let Opened { connection, peer_id, address, way, dialled, ends } = opened;
        self.attempts += u64::from(dialled);
        let (sender, commands) = mpsc::channel(COMMANDS);
        let link = Link {
            connection,
            peer_id,
            dialled,
            attempt: self.attempts,
            boot: self.boot,
            ends,
            around: Arc::clone(&self.around),
            reports: self.reports.0.clone(),
            commands,
        };
        let attempt = self.attempts;
        let handle = Handle { commands: sender, peer_id, address, way, dialled, attempt, signed_by: None };
        self.handles.insert(connection, handle);
        self.tasks.spawn(link.run());
    }

    fn on_listening(&mut self, address: Multiaddr) {
        let own = *self.swarm.local_peer_id();
        let relayed = Way::of(&address) == Way::Relayed;
        let shown = self.announce.is_empty() && (relayed || self.loopback_only || is_reachable(&address));
        self.listening.insert(address.clone());
        self.publish();
        if let Some(address) = as_address(&address, own) {
            self.tell(NetworkEvent::Listening { address, advertise: shown });
        }
    }

    fn on_listener_closed(&mut self, address: &Multiaddr) {
        if self.listening.remove(address) {
            self.publish();
            if let Some(address) = as_address(address, *self.swarm.local_peer_id()) {
                self.tell(NetworkEvent::ListenerClosed { address });
            }
        }
    }

    /// Addresses that stand in for those listened on: a forwarded port, a proxy.
    fn announce(&mut self) {
        let own = *self.swarm.local_peer_id();
        self.publish();
        for address in self.announce.clone() {
            if let Some(address) = as_address(&address, own) {
                self.tell(NetworkEvent::Listening { address, advertise: true });
            }
        }
    }

    /// Invites name the addresses that others are told, and so does a relay. Who holds an invite is no member yet, and no
    /// relay lets it through.
    fn publish(&mut self) {
        let addresses: Vec<Multiaddr> = if self.announce.is_empty() {
            let direct = self.listening.iter().filter(|address| Way::of(address) != Way::Relayed);
            direct.filter(|address| self.loopback_only || is_reachable(address)).cloned().collect()
        } else {
            self.announce.clone()
        };
        if self.shared.relay {
            let gone: Vec<_> =
                self.swarm.external_addresses().filter(|old| !addresses.contains(old)).cloned().collect();
            gone.iter().for_each(|address| self.swarm.remove_external_address(address));
            addresses.iter().for_each(|address| self.swarm.add_external_address(address.clone()));
        }
        self.around.admission.set_addresses(addresses.into_iter().collect());
    }

    fn on_lan(&mut self, event: mdns::Event) {
        match event {
            mdns::Event::Discovered(found) => self.on_found(found),
            mdns::Event::Expired(gone) => gone.into_iter().for_each(|(peer, _)| self.book.forget(&Key::Found(peer))),
        }
    }

    fn on_found(&mut self, found: Vec<(PeerId, Multiaddr)>) {
        let own = *self.swarm.local_peer_id();
        for (peer, address) in found {
            // Also one that is linked already: it is found once, and may have to be dialled when the link is lost.
            let wait = if own > peer { POLITENESS } else { Duration::ZERO };
            let address = address.with_p2p(peer).unwrap_or_else(|address| address);
            self.book.add(Key::Found(peer), targets([address]), Instant::now() + wait);
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn as_address(address: &Multiaddr, own: PeerId) -> Option<Address> {
    let address = address.clone().with_p2p(own).unwrap_or_else(|address| address);
    Address::parse(&address.to_string()).ok()
}

fn is_loopback(address: &Multiaddr) -> bool {
    address.iter().any(|part| match part {
        Protocol::Ip4(ip) => ip.is_loopback(),
        Protocol::Ip6(ip) => ip.is_loopback(),
        _ => false,
    })
}

/// Whether another machine may reach it.
fn is_reachable(address: &Multiaddr) -> bool {
    !is_loopback(address) && !address.iter().any(|part| matches!(part, Protocol::Ip6(ip) if ip.is_unicast_link_local()))
}

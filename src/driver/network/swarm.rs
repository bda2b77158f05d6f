//! The task that owns the swarm: connections come and go here, data does not pass through.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, mdns};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep_until};

use super::admit::Admitted;
use super::behaviour::{Behaviour, BehaviourEvent, Opened};
use super::dial::{DialBook, Failed, Key, Target, targets};
use super::event::NetworkEvent;
use super::fault::Fault;
use super::handle::{Linked, Path, Shared};
use super::limit::EVENTS_WAITING;
use super::link::{Command, Link, Report};
use super::peers::{Ending, Opening, Peers, Rank, Verdict};
use super::session::{End, Surroundings};
use crate::types::{Address, Boot, NodeId};

/// How often tickets are looked at.
const RENEWAL: Duration = Duration::from_secs(60);
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
    dialled: bool,
    attempt: u64,
    /// The peer can renew tickets.
    issuer: bool,
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
            attempts: 0,
            stop_at: None,
        }
    }

    /// Runs until the network is told to stop or nobody listens any more.
    pub(super) async fn run(mut self, stopped: watch::Sender<bool>) {
        self.announce();
        let mut renewal = interval(RENEWAL);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut revoked = self.around.admission.watch_revoked();
        while self.flush() && !(self.stop_at.is_some() && self.handles.is_empty() && self.out.is_empty()) {
            self.dial_due();
            if !self.step(&mut renewal, &mut revoked).await {
                break;
            }
        }
        self.tasks.shutdown().await;
        self.shared.peers.write().expect("nobody panics while holding it").clear();
        drop(self);
        stopped.send_replace(true);
    }

    /// Waits for whatever comes first; `false` when it is over.
    async fn step(&mut self, renewal: &mut Interval, revoked: &mut watch::Receiver<u64>) -> bool {
        let deadline = if self.stop_at.is_some() { self.stop_at } else { self.book.deadline() };
        let shared = Arc::clone(&self.shared);
        let around = Arc::clone(&self.around);
        tokio::select! {
            event = self.swarm.select_next_some() => self.on_swarm_event(event),
            Some(report) = self.reports.1.recv() => self.on_report(report),
            Some(ended) = self.tasks.join_next() => self.on_task_ended(ended),
            () = shared.wake.notified() => self.on_wishes(),
            permit = around.events.reserve(), if !self.out.is_empty() => return permit.is_ok(),
            changed = revoked.changed() => {
                debug_assert!(changed.is_ok(), "we hold the admission ourselves");
                self.on_revoked();
            }
            _ = renewal.tick() => self.renew(),
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
            SwarmEvent::Behaviour(BehaviourEvent::Mdns(mdns::Event::Discovered(found))) => self.on_found(found),
            SwarmEvent::Behaviour(BehaviourEvent::Mdns(mdns::Event::Expired(gone))) => {
                for (peer, _) in gone {
                    self.book.forget(&Key::Found(peer));
                }
            }
            SwarmEvent::NewListenAddr { address, .. } => self.on_listening(address),
            SwarmEvent::ExpiredListenAddr { address, .. } => self.on_listener_closed(&address),
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                if let Err(error) = reason {
                    tracing::error!(%error, "a listener closed");
                }
                for address in addresses {
                    self.on_listener_closed(&address);
                }
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "a listener failed to accept"),
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                let failed = self.book.failed(connection_id, &explain(&error), is_hopeless(&error), Instant::now());
                self.tell_failed(failed);
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                tracing::debug!(address = %send_back_addr, %error, "a connection was not accepted");
            }
            // The ends of connections are told by their tasks; identify and ping serve others; the rest are details.
            _ => {}
        }
    }

    fn on_opened(&mut self, opened: Opened) {
        let Opened { connection, peer_id, address, dialled, ends } = opened;
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
        let handle = Handle { commands: sender, peer_id, address, dialled, attempt: self.attempts, issuer: false };
        self.handles.insert(connection, handle);
        self.tasks.spawn(link.run());
    }

    fn on_listening(&mut self, address: Multiaddr) {
        let own = *self.swarm.local_peer_id();
        let shown = self.announce.is_empty() && (self.loopback_only || is_reachable(&address));
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

    /// Invites name the addresses that others are told.
    fn publish(&self) {
        let addresses = if self.announce.is_empty() {
            let shown = self.listening.iter().filter(|address| self.loopback_only || is_reachable(address));
            shown.cloned().collect()
        } else {
            self.announce.iter().cloned().collect()
        };
        self.around.admission.set_addresses(addresses);
    }

    fn on_found(&mut self, found: Vec<(PeerId, Multiaddr)>) {
        let own = *self.swarm.local_peer_id();
        for (peer, address) in found {
            if self.peers.reached_as(peer).is_some() {
                continue;
            }
            let wait = if own > peer { POLITENESS } else { Duration::ZERO };
            let address = address.with_p2p(peer).unwrap_or_else(|address| address);
            self.book.add(Key::Found(peer), targets([address]), Instant::now() + wait);
        }
    }
}

// Dialling.
impl Hub {
    fn dial_due(&mut self) {
        while self.stop_at.is_none() {
            let now = Instant::now();
            let Some((key, target)) = self.book.due(now) else { return };
            let reached = target.peer.and_then(|peer| self.peers.reached_as(peer));
            if let (Some(node), false) = (reached, matches!(key, Key::Asked(_))) {
                let linked_at = self.peers.is_linked(node).then_some(now);
                self.book.attach(&key, node, linked_at);
                continue;
            }
            let options = dial_options(target);
            let connection = options.connection_id();
            match self.swarm.dial(options) {
                Ok(()) => self.book.dialling(&key, connection),
                Err(error) => {
                    let failed = self.book.refused_to_dial(&key, &explain(&error), is_hopeless(&error), now);
                    self.tell_failed(failed);
                }
            }
        }
    }

    fn on_wishes(&mut self) {
        let wishes = std::mem::take(&mut *self.shared.wishes.lock().expect("nobody panics while holding it"));
        for (node, why) in wishes.closes {
            for connection in self.peers.connections_of(node) {
                self.command(connection, Command::Close(Arc::clone(&why)));
            }
        }
        for (node, addresses) in wishes.dials {
            self.on_dial_wanted(node, &addresses);
        }
        if let (Some(deadline), None) = (wishes.shutdown, self.stop_at) {
            self.stop_at = Some(Instant::now() + deadline.min(DEADLINE_MAX));
            for connection in self.handles.keys().copied().collect::<Vec<_>>() {
                self.command(connection, Command::Finish);
            }
        }
    }

    fn on_dial_wanted(&mut self, node: NodeId, addresses: &[Address]) {
        if self.peers.is_linked(node) {
            return;
        }
        if self.peers.is_reached(node) {
            return self.book.ask_reached(node);
        }
        let addresses = addresses.iter().filter_map(|address| address.as_str().parse().ok());
        let why = if node == self.around.admission.node() {
            "that is this peer itself"
        } else if self.around.admission.is_revoked(node) {
            "it is revoked"
        } else if self.book.add(Key::Asked(node), targets(addresses), Instant::now()) {
            return;
        } else {
            "no usable address is known"
        };
        self.tell(NetworkEvent::DialFailed { peer: node, why: why.into() });
    }
}

// Connections.
impl Hub {
    fn on_report(&mut self, report: Report) {
        match report {
            Report::Admitted { connection, admitted } => self.on_admitted(connection, &admitted),
            Report::Open { connection } => self.on_open(connection),
        }
    }

    fn on_admitted(&mut self, connection: ConnectionId, admitted: &Admitted) {
        self.swarm.behaviour_mut().lanes.admitted(connection);
        let own = *self.swarm.local_peer_id();
        let Some(handle) = self.handles.get_mut(&connection) else { return };
        handle.issuer = admitted.hello.issuer;
        let (peer_id, dialled) = (handle.peer_id, handle.dialled);
        let rank = Rank {
            boot: admitted.hello.boot,
            by_lower: (own < peer_id) == dialled,
            attempt: if dialled { handle.attempt } else { admitted.hello.attempt },
        };
        let node = admitted.member.node;
        let failed = self.book.reached(connection, node, Instant::now());
        self.tell_failed(failed);
        match self.peers.admitted(connection, node, peer_id, rank) {
            Verdict::Proceed { superseded } => {
                self.command(connection, Command::Proceed);
                for old in superseded {
                    self.command(old, Command::Close("the peer has restarted".into()));
                }
            }
            Verdict::Duplicate => {
                self.shared.counters.duplicates.fetch_add(1, Ordering::Relaxed);
                self.command(connection, Command::Retire);
            }
            Verdict::Taken => {
                tracing::warn!(%node, %peer_id, "a second peer shows a ticket for a node that is connected");
                self.command(connection, Command::Close("this node id is connected already".into()));
            }
        }
    }

    fn on_open(&mut self, connection: ConnectionId) {
        let Some((node, opening)) = self.peers.open(connection) else { return };
        let Some(handle) = self.handles.get(&connection) else { return };
        let path = Path { address: handle.address.clone(), dialled: handle.dialled };
        let (linked, retired) = match opening {
            Opening::First => return self.begin_link(connection, node),
            Opening::Waits => return,
            Opening::GoesOn { linked } => (linked, None),
            Opening::TakesOver { linked, retired } => {
                self.shared.counters.duplicates.fetch_add(1, Ordering::Relaxed);
                *linked.path.lock().expect("nobody panics while holding it") = path;
                (linked, Some(retired))
            }
            Opening::Duplicate => {
                self.shared.counters.duplicates.fetch_add(1, Ordering::Relaxed);
                return self.command(connection, Command::Retire);
            }
        };
        self.out.push_back(Out::Activate { connection, linked, retired });
    }

    fn begin_link(&mut self, connection: ConnectionId, node: NodeId) {
        let Some(handle) = self.handles.get(&connection) else { return };
        let path = Path { address: handle.address.clone(), dialled: handle.dialled };
        let linked = Arc::new(Linked::new(handle.peer_id, path, &self.shared.limits));
        self.peers.set_linked(connection, Arc::clone(&linked));
        self.shared.peers.write().expect("nobody panics while holding it").insert(node, Arc::clone(&linked));
        self.book.linked(node, Instant::now());
        self.tell(NetworkEvent::Linked { peer: node });
        self.out.push_back(Out::Activate { connection, linked, retired: None });
    }

    fn end_link(&mut self, node: NodeId, why: &Arc<str>) {
        self.shared.peers.write().expect("nobody panics while holding it").remove(&node);
        self.tell(NetworkEvent::Unlinked { peer: node, why: Arc::clone(why) });
    }

    fn on_task_ended(&mut self, ended: Result<(ConnectionId, End), JoinError>) {
        let (connection, end) = ended.expect("a connection's task does not panic");
        let handle = self.handles.remove(&connection).expect("a task has a handle until it ends");
        self.swarm.behaviour_mut().lanes.admitted(connection);
        self.swarm.close_connection(connection);
        tracing::debug!(peer_id = %handle.peer_id, %end, "connection ended");
        self.account(connection, &handle, &end);
        let hopeless = matches!(end, End::Refused { .. } | End::Fault(Fault::Unsupported { .. }));
        let why: Arc<str> = end.to_string().into();
        let now = Instant::now();
        let failed = self.book.failed(connection, &why, hopeless, now);
        self.tell_failed(failed);
        match self.peers.ended(connection) {
            None | Some((_, Ending::OthersLeft)) => {}
            Some((node, Ending::CloseRetired(retired))) => {
                self.ending.insert(node, Arc::clone(&why));
                for connection in retired {
                    self.command(connection, Command::Close(Arc::clone(&why)));
                }
            }
            Some((node, Ending::LifeOver { next })) => {
                let why = self.ending.remove(&node).unwrap_or(why);
                self.end_link(node, &why);
                self.book.life_over();
                if let Some(next) = next {
                    self.begin_link(next, node);
                }
            }
            Some((node, Ending::Last { was_linked })) => {
                let why = self.ending.remove(&node).unwrap_or(why);
                if was_linked {
                    self.end_link(node, &why);
                }
                let failed = self.book.lost(node, &why, was_linked, hopeless, now);
                self.tell_failed(failed);
            }
        }
    }

    /// Counts and tells what the other end did wrong.
    fn account(&mut self, connection: ConnectionId, handle: &Handle, end: &End) {
        match end {
            End::Fault(fault) => {
                self.shared.counters.faults.fetch_add(1, Ordering::Relaxed);
                if let Some(peer) = self.peers.node_of(connection) {
                    self.tell(NetworkEvent::Fault { peer, fault: fault.clone() });
                }
            }
            End::Refused { why, by_peer } => {
                self.shared.counters.refused.fetch_add(1, Ordering::Relaxed);
                if !by_peer && !handle.dialled {
                    self.swarm.behaviour_mut().lanes.punish(&handle.address);
                }
                let address = handle.address.to_string().into();
                self.tell_of_strangers(NetworkEvent::Refused { address, by_peer: *by_peer, why: why.clone() });
            }
            End::Gone(_) | End::Goodbye(_) | End::Closed(_) | End::Duplicate | End::Served => {}
        }
    }

    fn on_revoked(&mut self) {
        let revoked: Vec<NodeId> = self.peers.nodes().filter(|node| self.around.admission.is_revoked(*node)).collect();
        for node in revoked {
            self.book.forget(&Key::Remembered(node));
            for connection in self.peers.connections_of(node) {
                self.command(connection, Command::Close("revoked".into()));
            }
        }
    }

    fn renew(&self) {
        let admission = self.around.admission.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = admission.renew_own() {
                tracing::error!(%error, "this issuer could not renew its own ticket");
            }
        });
        let Some(due) = self.around.admission.due_for_renewal() else { return };
        let mut issuers = self.peers.active().filter(|at| self.handles.get(at).is_some_and(|handle| handle.issuer));
        if let Some(connection) = issuers.next() {
            self.command(connection, Command::Renew(due.to_bytes().into()));
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// New ports for dials: with the listener's port two simultaneous dials can meet in one TCP connection with two diallers.
fn dial_options(target: Target) -> DialOpts {
    match (target.peer, target.addresses) {
        (Some(peer), addresses) => {
            DialOpts::peer_id(peer).condition(PeerCondition::Always).allocate_new_port().addresses(addresses).build()
        }
        (None, addresses) => {
            let address = addresses.into_iter().next().expect("a target has an address");
            DialOpts::unknown_peer_id().address(address).allocate_new_port().build()
        }
    }
}

/// libp2p's errors are nested; people want the innermost words.
pub(super) fn explain(error: &DialError) -> String {
    match error {
        DialError::LocalPeerId { .. } => "that is this peer itself".to_owned(),
        DialError::NoAddresses => "no usable address".to_owned(),
        DialError::WrongPeerId { obtained, .. } => format!("another peer answers there: {obtained}"),
        DialError::Denied { cause } => innermost(cause),
        DialError::Transport(tried) => {
            let tried = tried.iter().map(|(address, error)| format!("{address}: {}", innermost(error)));
            tried.collect::<Vec<_>>().join("; ")
        }
        DialError::DialPeerConditionFalse(_) | DialError::Aborted => innermost(error),
    }
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn is_hopeless(error: &DialError) -> bool {
    matches!(error, DialError::LocalPeerId { .. } | DialError::NoAddresses)
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

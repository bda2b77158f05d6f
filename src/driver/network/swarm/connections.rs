//! Connections: which is used for the link, and what the end of one means.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::Instant;

use libp2p::swarm::ConnectionId;
use tokio::task::JoinError;

use super::super::admit::Admitted;
use super::super::dial::Key;
use super::super::event::NetworkEvent;
use super::super::fault::Fault;
use super::super::handle::{Linked, Path};
use super::super::limit::SHUNNED;
use super::super::link::{Command, Report};
use super::super::peers::{Ending, Opening, Rank, Verdict};
use super::super::session::End;
use super::super::trouble::{Attempt, Troubles, Whom};
use super::{Handle, Hub, Out};
use crate::driver::admission::{Member, Refusal};
use crate::types::{Boot, NodeId};

/// That one end did not let the other in, and who the other showed itself to be.
#[derive(Clone, Copy)]
struct Refused<'a> {
    why: &'a Refusal,
    member: Option<&'a Member>,
}

impl Hub {
    pub(super) fn on_report(&mut self, report: Report) {
        match report {
            Report::Admitted { connection, admitted } => self.on_admitted(connection, &admitted),
            Report::Open { connection } => self.on_open(connection),
        }
    }

    pub(super) fn on_admitted(&mut self, connection: ConnectionId, admitted: &Admitted) {
        self.swarm.behaviour_mut().lanes.admitted(connection);
        let own = *self.swarm.local_peer_id();
        let Some(handle) = self.handles.get_mut(&connection) else { return };
        handle.signed_by = Some(admitted.hello.credential.signed_by());
        let (peer_id, dialled) = (handle.peer_id, handle.dialled);
        let rank = Rank {
            boot: admitted.hello.boot,
            way: handle.way,
            by_lower: (own < peer_id) == dialled,
            attempt: if dialled { handle.attempt } else { admitted.hello.attempt },
        };
        let node = admitted.member.node;
        if let Some((key, target)) = self.book.dialled(connection) {
            let whom = Whom::dialled(key, target);
            self.troubles().over(&whom);
        }
        if self.is_shunned(node) {
            return self.command(connection, Command::Close("it sent more than it may, a moment ago".into()));
        }
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
            Verdict::Closing(why) => self.command(connection, Command::Close(why)),
            Verdict::Taken => {
                tracing::warn!(%node, %peer_id, "a second peer shows a ticket for a node that is connected");
                self.command(connection, Command::Close("this node id is connected already".into()));
            }
        }
    }

    pub(super) fn on_open(&mut self, connection: ConnectionId) {
        let Some((node, opening)) = self.peers.open(connection) else { return };
        let Some(handle) = self.handles.get(&connection) else { return };
        let path = Path { address: handle.address.clone(), dialled: handle.dialled, way: handle.way };
        let (linked, retired) = match opening {
            Opening::First => return self.begin_link(connection, node),
            Opening::Waits => return,
            Opening::GoesOn { linked } => {
                *linked.path.lock().expect("nobody panics while holding it") = path;
                (linked, None)
            }
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

    pub(super) fn begin_link(&mut self, connection: ConnectionId, node: NodeId) {
        let Some(handle) = self.handles.get(&connection) else { return };
        let path = Path { address: handle.address.clone(), dialled: handle.dialled, way: handle.way };
        let linked = Arc::new(Linked::new(handle.peer_id, path, &self.shared.limits));
        self.peers.set_linked(connection, Arc::clone(&linked));
        self.shared.peers.write().expect("nobody panics while holding it").insert(node, Arc::clone(&linked));
        self.troubles().linked(node, linked.peer_id);
        self.book.linked(node, Instant::now());
        self.tell(NetworkEvent::Linked { peer: node });
        self.out.push_back(Out::Activate { connection, linked, retired: None });
    }

    pub(super) fn end_link(&mut self, node: NodeId, why: &Arc<str>) {
        self.leave_place(node);
        self.shared.peers.write().expect("nobody panics while holding it").remove(&node);
        self.tell(NetworkEvent::Unlinked { peer: node, why: Arc::clone(why) });
    }

    pub(super) fn on_task_ended(&mut self, ended: Result<(ConnectionId, End), JoinError>) {
        let (connection, end) = ended.expect("a connection's task does not panic");
        let handle = self.handles.remove(&connection).expect("a task has a handle until it ends");
        self.swarm.behaviour_mut().lanes.admitted(connection);
        self.swarm.close_connection(connection);
        tracing::debug!(peer_id = %handle.peer_id, %end, "connection ended");
        self.account(connection, &handle, &end);
        let hopeless = match &end {
            End::Refused { why, .. } => why.is_final(),
            end => matches!(end, End::Fault(Fault::Unsupported { .. })),
        };
        let why: Arc<str> = end.to_string().into();
        let now = Instant::now();
        let failed = self.book.failed(connection, &why, hopeless, now);
        self.tell_failed(failed);
        let life = self.peers.life_of(connection);
        let ending = self.peers.ended(connection);
        if let (End::Goodbye(_), Some(life), Some((node, _))) = (&end, life, &ending) {
            self.close_rest(*node, life, &why);
        }
        match ending {
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

    /// The peer has closed the link: what is left of it, the other of two dials, ends here too. For the peer it is gone, and
    /// what is told at one end must be told at the other.
    fn close_rest(&mut self, node: NodeId, life: Boot, why: &Arc<str>) {
        let rest = self.peers.close(node, Some(life), why);
        if !rest.is_empty() {
            self.ending.insert(node, Arc::clone(why));
        }
        for connection in rest {
            self.command(connection, Command::Close(Arc::clone(why)));
        }
    }

    /// Counts and tells what the other end did wrong.
    pub(super) fn account(&mut self, connection: ConnectionId, handle: &Handle, end: &End) {
        match end {
            End::Fault(fault) => {
                self.note_failure(connection, handle, None, &fault.to_string());
                self.shared.counters.faults.fetch_add(1, Ordering::Relaxed);
                if let Some(peer) = self.peers.node_of(connection) {
                    if let Fault::Flood { .. } = fault {
                        self.shun(peer, handle, &fault.to_string());
                    }
                    self.tell(NetworkEvent::Fault { peer, fault: fault.clone() });
                }
            }
            End::Refused { why, by_peer, member } => {
                self.shared.counters.refused.fetch_add(1, Ordering::Relaxed);
                if !by_peer && !handle.dialled && member.is_none() {
                    self.swarm.behaviour_mut().lanes.punish(&handle.address);
                }
                let refused = Refused { why, member: member.as_deref() };
                let again = !self.note_failure(connection, handle, Some(refused), &end.to_string());
                let (peer, address) = (member.as_ref().map(|member| member.node), handle.address.to_string().into());
                let (by_peer, why) = (*by_peer, why.clone());
                self.tell_of_strangers(NetworkEvent::Refused { peer, address, by_peer, why, again });
            }
            End::Gone(why) => _ = self.note_failure(connection, handle, None, why),
            End::Goodbye(_) | End::Closed(_) | End::Duplicate | End::Served => {}
        }
    }

    /// Who floods is not linked again for a while, and the person who looks sees why.
    fn shun(&mut self, node: NodeId, handle: &Handle, why: &str) {
        self.shared.counters.floods.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        self.shunned.retain(|_, until| *until > now);
        if self.shunned.len() >= SHUNNED {
            let first = self.shunned.iter().min_by_key(|(_, until)| **until).map(|(node, _)| *node);
            first.map(|node| self.shunned.remove(&node));
        }
        self.shunned.insert(node, now + self.shared.limits.shun);
        let attempt = Attempt { node: Some(node), name: None, address: Some(&handle.address), refusal: None, why };
        self.troubles().note(Whom::Peer(handle.peer_id), &attempt, now);
    }

    fn is_shunned(&self, node: NodeId) -> bool {
        self.shunned.get(&node).is_some_and(|until| *until > Instant::now())
    }

    /// Notes a connection that led to no link, for the person who looks; `false` when that is no news.
    fn note_failure(&self, connection: ConnectionId, handle: &Handle, refused: Option<Refused<'_>>, why: &str) -> bool {
        let node = self.peers.node_of(connection);
        if node.is_some_and(|node| self.peers.is_linked(node)) {
            return true;
        }
        let dialled = self.book.dialled(connection).map(|(key, target)| Whom::dialled(key, target));
        let member = refused.and_then(|refused| refused.member);
        if dialled.is_none() && member.is_none() {
            return true;
        }
        let (mut troubles, whom) = (self.troubles(), Whom::Peer(handle.peer_id));
        // Who answered is known now.
        dialled.iter().filter(|dialled| **dialled != whom).for_each(|dialled| troubles.over(dialled));
        // The port that a peer dials from is nobody's address.
        let from = handle.address.iter().take(1).collect();
        let attempt = Attempt {
            node: member.map(|member| member.node).or(node).or_else(|| dialled.as_ref()?.node()),
            name: member.map(|member| member.name.as_str()).filter(|name| !name.is_empty()),
            address: Some(if handle.dialled { &handle.address } else { &from }),
            refusal: refused.map(|refused| refused.why),
            why,
        };
        troubles.note(whom, &attempt, Instant::now())
    }

    pub(super) fn troubles(&self) -> MutexGuard<'_, Troubles> {
        self.shared.troubles.lock().expect("nobody panics while holding it")
    }

    pub(super) fn on_revoked(&mut self) {
        let revoked: Vec<NodeId> = self.peers.nodes().filter(|node| self.around.admission.is_revoked(*node)).collect();
        for node in revoked {
            self.book.forget(&Key::Remembered(node));
            for connection in self.peers.connections_of(node) {
                self.command(connection, Command::Close("revoked".into()));
            }
        }
        // Who has got a ticket of another issuer meanwhile comes back with it at once.
        let by_revoked = |handle: &Handle| handle.signed_by.is_some_and(|by| self.around.admission.is_revoked(by));
        for (connection, _) in self.handles.iter().filter(|(_, handle)| by_revoked(handle)) {
            self.command(*connection, Command::Close("the issuer of its ticket is revoked".into()));
        }
    }

    /// Has our ticket renewed if it is time, or `anyway`: then at another issuer than the one that signed it, if one is linked.
    pub(super) fn renew(&self, anyway: bool) {
        let admission = self.around.admission.clone();
        if admission.is_issuer() {
            tokio::task::spawn_blocking(move || {
                if let Err(error) = admission.renew_own(anyway) {
                    tracing::error!(%error, "this issuer could not renew its own ticket");
                }
            });
            return;
        }
        let Some(credential) = (if anyway { Some(admission.credential()) } else { admission.due_for_renewal() }) else {
            return;
        };
        let is_issuer = |node: NodeId| admission.knows_as_issuer(node);
        let (issuers, others): (Vec<_>, Vec<_>) = self.peers.active().partition(|(node, _)| is_issuer(*node));
        let another = |(node, _): &&(NodeId, ConnectionId)| *node != credential.signed_by();
        let elsewhere: Vec<_> = issuers.iter().filter(another).copied().collect();
        // Somebody may have become an issuer whom nobody has told us of: it costs little to ask.
        let asked = match (anyway && !elsewhere.is_empty(), issuers.is_empty()) {
            (true, _) => elsewhere,
            (false, false) => issuers,
            (false, true) => others,
        };
        let credential = bytes::Bytes::from(credential.to_bytes());
        for (_, connection) in asked {
            self.command(connection, Command::Renew(credential.clone()));
        }
    }

    /// Asks this peer for our next ticket, if it can give one and it is time. Also done as soon as a link is up: a peer that
    /// is awake for a minute a day would otherwise never ask.
    pub(super) fn ask_renewal(&self, connection: ConnectionId) {
        let admission = &self.around.admission;
        if self.peers.node_of(connection).is_some_and(|node| admission.knows_as_issuer(node))
            && !admission.is_issuer()
            && let Some(due) = admission.due_for_renewal()
        {
            self.command(connection, Command::Renew(due.to_bytes().into()));
        }
    }
}

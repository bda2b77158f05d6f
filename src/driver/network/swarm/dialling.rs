//! Dials: what is due, what was asked for, and what their failures mean.

use std::sync::Arc;
use std::time::Instant;

use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError};

use super::super::dial::{Key, Target, targets};
use super::super::event::NetworkEvent;
use super::super::link::Command;
use super::super::trouble::{Attempt, Whom};
use super::{DEADLINE_MAX, Hub};
use crate::types::{Address, NodeId};

impl Hub {
    pub(super) fn dial_due(&mut self) {
        while self.stop_at.is_none() {
            let now = Instant::now();
            let Some((key, target)) = self.book.due(now) else { return };
            let reached = target.peer.and_then(|peer| self.peers.reached_as(peer));
            if let (Some(node), false) = (reached, matches!(key, Key::Asked(_))) {
                let linked_at = self.peers.is_linked(node).then_some(now);
                self.book.attach(&key, node, linked_at);
                continue;
            }
            let options = dial_options(target.clone());
            let connection = options.connection_id();
            let best = Arc::clone(&self.shared.best);
            match best.among(&target.addresses, || self.swarm.dial(options)) {
                Ok(()) => self.book.dialling(&key, connection),
                Err(error) => {
                    self.note_unreached(&Whom::dialled(&key, &target), &error);
                    let failed = self.book.refused_to_dial(&key, &explain(&error), is_hopeless(&error), now);
                    self.tell_failed(failed);
                }
            }
        }
    }

    /// A dial came to nothing before there was a connection.
    pub(super) fn on_dial_failed(&mut self, connection: ConnectionId, error: &DialError) {
        if let Some((key, target)) = self.book.dialled(connection) {
            self.note_unreached(&Whom::dialled(key, target), error);
        }
        let failed = self.book.failed(connection, &explain(error), is_hopeless(error), Instant::now());
        self.tell_failed(failed);
    }

    fn note_unreached(&self, whom: &Whom, error: &DialError) {
        // One's own address among those given is no trouble.
        if !matches!(error, DialError::LocalPeerId { .. }) {
            let why = explain(error);
            let attempt = Attempt { node: whom.node(), name: None, address: None, refusal: None, why: &why };
            self.troubles().note(whom.clone(), &attempt, Instant::now());
        }
    }

    pub(super) fn on_wishes(&mut self) {
        let wishes = std::mem::take(&mut *self.shared.wishes.lock().expect("nobody panics while holding it"));
        for (node, why) in wishes.closes {
            for connection in self.peers.close(node, None, &why) {
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

    pub(super) fn on_dial_wanted(&mut self, node: NodeId, addresses: &[Address]) {
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
pub(in super::super) fn explain(error: &DialError) -> String {
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

/// The words of the cause: those around it say little, or nothing at all.
pub(in super::super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn is_hopeless(error: &DialError) -> bool {
    matches!(error, DialError::LocalPeerId { .. } | DialError::NoAddresses)
}

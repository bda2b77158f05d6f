//! What clients ask of replication: pauses, and acknowledgements that wait for copies.
//!
//! Documents and streams answer when an entry is durable here. Where more is wanted, their answer waits here until replication
//! says who else holds the entry.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use super::edge::Effect;
use super::{Command, CommandError, Node, Outcome};
use crate::replication::{Ack, Pause};
use crate::topology::graph::{self, Seat};
use crate::types::{CommandId, DiskFault, LogId, NodeId, Now, Seq, Topic};
use crate::{documents, events};

/// Members up to which it is looked who is cut off by a pause.
const GRAPH_MAX: usize = 512;
/// How long it is waited at most until others hold all that was written.
const SPREAD_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Answers that wait for copies.
#[derive(Debug, Default)]
pub(super) struct Acks {
    /// What requests asked for that are at work.
    asked: BTreeMap<CommandId, Ack>,
    /// What is answered once there are copies enough.
    waiting: BTreeMap<CommandId, (Outcome, Ack)>,
}

/// Who holds what was asked, besides this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Copies {
    /// How many were wanted: a number, or `all`.
    pub ack: String,
    /// The members that are known to hold it durably.
    pub members: Vec<NodeId>,
}

/// What a pause, or its end, came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Paused {
    /// The replica.
    pub peer: NodeId,
    /// Whether it is paused here now. That survives restarts of this node.
    pub paused: bool,
    /// Whether this node would exchange entries with it. If not, the pause changes nothing until that is so.
    pub neighbor: bool,
    /// The members that this node cannot reach any more by exchanging entries, over whomever, nor they this node: the replica
    /// itself, and who is behind it. By the overlay as it is computed; of pauses elsewhere nothing is known here.
    pub cut_off: Vec<NodeId>,
}

impl Acks {
    /// A client wants this for the command.
    pub(super) fn ask(&mut self, id: CommandId, ack: Ack) {
        self.asked.insert(id, ack);
    }
}

impl Node {
    /// A command that may want copies.
    pub(super) fn on_acknowledged(&mut self, now: Now, id: CommandId, command: Command, ack: Ack) {
        let writes = matches!(
            command,
            Command::Documents(documents::Command::Edit { .. } | documents::Command::EditAt { .. })
                | Command::Events(events::Command::Append { .. })
        );
        if writes && !self.leaving {
            self.acks.ask(id, ack);
        }
        self.on_command(now, id, command);
    }

    /// A client waits for copies of all that was written here.
    pub(super) fn on_spread(&mut self, now: Now, id: CommandId, ack: Ack, within: Option<Duration>) {
        let ours = |log: &LogId| log.actor.node == self.identity.node;
        let places: Vec<(LogId, Seq)> = self.replication.view().logs().filter(|(log, _)| ours(log)).collect();
        if ack == Ack::Local || places.is_empty() {
            let (outcome, copies) = (Box::new(Outcome::Told), Copies { ack: ack.to_string(), members: Vec::new() });
            let result = Ok(Outcome::Copied { outcome, copies });
            return self.shared.effects.push_back(Effect::Reply { id, result });
        }
        let patience = within.unwrap_or_else(|| self.replication.view().config().ack_timeout).min(SPREAD_MAX);
        self.acks.waiting.insert(id, (Outcome::Told, ack));
        let token = id.value();
        self.shared.step(now, |cx| self.replication.await_copies_of_all(cx, token, &places, ack, patience));
    }

    /// An answer of documents or streams: given at once, or when there are copies enough.
    pub(super) fn answer(&mut self, now: Now, id: CommandId, result: Result<Outcome, CommandError>) {
        let ack = self.acks.asked.remove(&id).unwrap_or_else(|| self.replication.view().config().ack);
        let places = match &result {
            Ok(outcome) if ack != Ack::Local => self.places(outcome),
            _ => Vec::new(),
        };
        match result {
            Ok(outcome) if !places.is_empty() => {
                let patience = self.replication.view().config().ack_timeout;
                self.acks.waiting.insert(id, (outcome, ack));
                let token = id.value();
                self.shared.step(now, |cx| self.replication.await_copies_of_all(cx, token, &places, ack, patience));
            }
            result => self.shared.effects.push_back(Effect::Reply { id, result }),
        }
    }

    /// Which entries others must hold; none if it is no answer to a write, or the document was never written by anybody.
    fn places(&self, outcome: &Outcome) -> Vec<(LogId, Seq)> {
        match outcome {
            Outcome::Documents(documents::Outcome::Edited { stamp: Some(stamp), .. }) => vec![(stamp.log, stamp.seq)],
            // Nothing differed, perhaps because it was asked before, or because others wrote it: what the document is made of
            // counts, whoever wrote that.
            Outcome::Documents(documents::Outcome::Edited { doc, .. }) => self.documents.view().places(doc),
            Outcome::Events(events::Outcome::Appended(events::Appended { first, .. })) => {
                vec![(LogId { actor: first.origin, topic: Topic::EVENTS }, first.seq)]
            }
            _ => Vec::new(),
        }
    }

    /// There are copies enough, or there were not in time.
    pub(super) fn on_copies(&mut self, token: u64, members: Vec<NodeId>, enough: bool) {
        let id = CommandId::new(token);
        let Some((outcome, ack)) = self.acks.waiting.remove(&id) else { return };
        // Of what others wrote, the client knows no entry.
        let ours = |place: &(LogId, Seq)| place.0.actor.node == self.identity.node;
        let place = self.places(&outcome).into_iter().rfind(ours);
        let result = if enough {
            let copies = Copies { ack: ack.to_string(), members };
            Ok(Outcome::Copied { outcome: Box::new(outcome), copies })
        } else {
            Err(CommandError::NotReplicated { ack, members, place })
        };
        self.shared.effects.push_back(Effect::Reply { id, result });
    }

    /// The operator pauses a member, or resumes it.
    pub(super) fn on_pause(&mut self, now: Now, id: CommandId, Pause { peer, paused }: Pause) {
        let known = self.membership.view().member(peer).is_some();
        // Who has left may be resumed still.
        let refused = if peer == self.identity.node {
            Some(CommandError::PauseSelf)
        } else if !known && paused {
            Some(CommandError::UnknownMember { node: peer })
        } else {
            None
        };
        match refused {
            Some(error) => self.shared.effects.push_back(Effect::Reply { id, result: Err(error) }),
            None => self.shared.step(now, |cx| self.replication.pause(cx, peer, paused, id.value())),
        }
    }

    /// That is durable, or failed.
    pub(super) fn on_paused(&mut self, token: u64, result: Result<Pause, DiskFault>) {
        let result = match result {
            Ok(Pause { peer, paused }) => {
                let neighbor = self.overlay.view().neighbors().contains(&peer);
                Ok(Outcome::Paused(Paused { peer, paused, neighbor, cut_off: self.cut_off() }))
            }
            Err(fault) => Err(CommandError::Disk(fault)),
        };
        self.shared.effects.push_back(Effect::Reply { id: CommandId::new(token), result });
    }

    /// The present members to whom no way is left that leads over no pause of ours.
    fn cut_off(&self) -> Vec<NodeId> {
        let (me, policy) = (self.identity.node, self.overlay.view().policy());
        let present: Vec<_> = self.membership.view().present().collect();
        if present.len() > GRAPH_MAX {
            return Vec::new();
        }
        let seats: Vec<Seat<'_>> = present
            .iter()
            .map(|member| Seat {
                id: member.id,
                region: &member.meta.region,
                priority: member.meta.priority,
                observer: member.meta.observer,
            })
            .collect();
        let view = self.replication.view();
        let paused = view.paused();
        let (mut reached, mut open) = (BTreeSet::from([me]), vec![me]);
        while let Some(at) = open.pop() {
            for next in graph::neighbors(&seats, policy, at) {
                let closed = (at == me && paused.contains(&next)) || (next == me && paused.contains(&at));
                if !closed && reached.insert(next) {
                    open.push(next);
                }
            }
        }
        present.iter().map(|member| member.id).filter(|id| !reached.contains(id)).collect()
    }
}

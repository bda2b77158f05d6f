//! Snapshots of the state: taken now and then so that the log stays short, and sent in pieces to who is too far behind.

use std::sync::Arc;

use bytes::Bytes;

use super::bounded::Blob;
use super::message::{Body, PIECE_MAX, SNAPSHOT_MAX};
use super::progress::Pace;
use super::state::State;
use super::vocabulary::{Event, Fault, Mark, Token};
use super::{Consensus, Office, Record, Snapshot};
use crate::machine::Cx;
use crate::types::{Actor, Index, Time};

/// While a snapshot is under way, entries behind it are kept for so many snapshots.
const KEPT_FOR_SNAPSHOTS: u64 = 4;

/// A snapshot that is being received.
#[derive(Clone, Debug)]
pub(super) struct Incoming {
    from: Actor,
    last: Mark,
    total: u64,
    bytes: Vec<u8>,
}

/// The piece of a snapshot from a place on.
pub(super) fn piece(last: Mark, bytes: &Bytes, upto: u64) -> Body {
    let from = usize::try_from(upto).unwrap_or(usize::MAX).min(bytes.len());
    let to = (from + PIECE_MAX).min(bytes.len());
    let piece = Blob::new(bytes.slice(from..to)).expect("cut above");
    Body::Piece { last, total: bytes.len() as u64, offset: from as u64, bytes: piece }
}

impl Consensus {
    /// Takes a snapshot once enough was decided since the last.
    pub(super) fn snapshot_if_due(&mut self, cx: &mut Cx<'_, Self>) {
        let since = self.commit.value().saturating_sub(self.snapshot.last.index.value());
        if since < self.config.snapshot_every {
            return;
        }
        let (Some(term), Some(group)) = (self.log.term(self.commit), self.groups.at(self.commit.value())) else {
            return;
        };
        let last = Mark { term, index: self.commit };
        let state = Blob::new(self.state.encode()).expect("registers and outcomes are bounded");
        let (founding, epoch, group) = (self.founding, self.epoch, group.clone());
        self.snapshot = Arc::new(Snapshot { founding, epoch, last, group, state });
        self.write(cx, Record::Snapshot(self.snapshot.clone()));
    }

    /// Lets go of what the snapshot covers, but for the last of it.
    pub(super) fn compact(&mut self, now: Time) {
        let mut upto = Index::new(self.snapshot.last.index.value().saturating_sub(self.config.entries_kept));
        if let Office::Leader(lead) = &self.office {
            // Whoever is being sent one goes on behind it: under load it would need the next one by then, and so for ever. What is kept for that is
            // bounded.
            let silence = self.silence_max();
            let sent = lead.peers.values().filter_map(|progress| match &progress.pace {
                Pace::Snapshot { last, .. } if now.since(progress.heard_at) < silence => Some(last.index),
                _ => None,
            });
            let least =
                self.snapshot.last.index.value().saturating_sub(KEPT_FOR_SNAPSHOTS * self.config.snapshot_every);
            upto = sent.filter(|at| at.value() >= least).fold(upto, Index::min);
        }
        if upto > self.log.base().index {
            self.log.compact(upto);
            self.groups.compact(upto.value());
        }
    }

    /// A follower has so much of it.
    pub(super) fn on_pieced(&mut self, cx: &mut Cx<'_, Self>, from: Actor, of: Mark, have: u64) {
        let head = self.head();
        let Office::Leader(lead) = &mut self.office else { return };
        let Some(progress) = lead.peers.get_mut(&from) else { return };
        progress.heard_at = cx.now().mono;
        let Pace::Snapshot { last, bytes, upto, sent } = &mut progress.pace else { return };
        // Of another snapshot, or what was said before: the one under way is not to be sent twice.
        if of != *last || have > bytes.len() as u64 || have <= *upto {
            return;
        }
        (*upto, *sent) = (have, Some(cx.now().mono));
        if have < bytes.len() as u64 {
            let (node, message) = head.to(from, piece(*last, bytes, *upto));
            cx.send(node, message);
        }
    }

    /// A piece from the leader.
    pub(super) fn on_piece(
        &mut self,
        cx: &mut Cx<'_, Self>,
        from: Actor,
        last: Mark,
        total: u64,
        offset: u64,
        bytes: &Bytes,
    ) {
        if last.index <= self.commit {
            // It may come late, and what it ends with may be compacted here.
            if self.log.term(last.index).is_some_and(|term| term != last.term) {
                return self.fault(cx, from.node, Fault::Committed { index: last.index, commit: self.commit });
            }
            return self.promise(cx, from, Body::Appended { matched: last.index });
        }
        if self.incoming.as_ref().is_none_or(|it| (it.from, it.last, it.total) != (from, last, total)) {
            self.incoming = Some(Incoming { from, last, total, bytes: Vec::new() });
        }
        let Some(incoming) = &mut self.incoming else { return };
        let expected = incoming.bytes.len() as u64;
        let end = offset.saturating_add(bytes.len() as u64);
        if total == 0 || total > SNAPSHOT_MAX as u64 || end > total || (bytes.is_empty() && offset < total) {
            self.incoming = None;
            return self.fault(cx, from.node, Fault::Piece { offset, total, expected });
        }
        if offset == expected {
            incoming.bytes.extend_from_slice(bytes);
        }
        let upto = incoming.bytes.len() as u64;
        if upto < total {
            return self.say(cx, from, Body::Pieced { last, upto });
        }
        if let Err(why) = self.install(cx, from) {
            self.fault(cx, from.node, Fault::Snapshot { index: last.index, why });
        }
    }

    /// All of it is here.
    fn install(&mut self, cx: &mut Cx<'_, Self>, from: Actor) -> Result<(), String> {
        let Some(incoming) = self.incoming.take() else { return Ok(()) };
        let snapshot = Snapshot::decode(&incoming.bytes)?;
        if (snapshot.last, snapshot.founding, snapshot.epoch) != (incoming.last, self.founding, self.epoch) {
            return Err("it is another one than was announced".into());
        }
        if snapshot.last.term > self.term {
            return Err(format!("it is of term {}, after that of who sends it", snapshot.last.term));
        }
        let state = State::decode(snapshot.state.bytes())?;
        let (last, snapshot) = (snapshot.last, Arc::new(snapshot));
        let was_outside = self.group().is_none();
        self.take_snapshot(snapshot.clone(), state);
        self.write(cx, Record::Snapshot(snapshot));
        cx.emit(Event::Installed { token: Token { epoch: self.epoch, term: last.term, index: last.index } });
        self.promise(cx, from, Body::Appended { matched: last.index });
        if was_outside {
            self.enter_group(cx);
        } else {
            self.let_go_of_outside();
        }
        self.tell_subscribers(cx);
        Ok(())
    }
}

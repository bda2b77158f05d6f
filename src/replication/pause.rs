//! Pausing: the operator wants nothing exchanged with a replica.
//!
//! It is a matter of this node's links alone, and of both directions: the replica gets no entries from here, and none of its
//! own are taken here; whatever it asks is answered by [`Message::Paused`], and it stops asking. Others go on exchanging with
//! it, so in a mesh it hears all from them, and they are asked for what it writes. In a star or tree the link may be the only
//! way: then everybody behind it is cut off, which who pauses is told.
//!
//! It is durable: a restart of this node changes nothing. When it ends, vectors are compared as if the two had just met, so
//! nothing is lost. Should both have paused each other, both must resume.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Event, Kept, Message, Pause, Replication, Wait};
use crate::machine::Cx;
use crate::probe::{planted, reachable};
use crate::types::{Lane, NodeId, Time};

/// A paused replica is told so at most so often.
const REFUSE_EVERY: Duration = Duration::from_secs(1);

/// Who paused us is taken to have resumed at most so often; twice as long after each time, up to [`RESUME_MAX`], until it has
/// kept to one for [`STEADY`]: each time everything is told anew. It asks again, so nothing is missed.
const RESUME_EVERY: Duration = Duration::from_secs(1);
const RESUME_MAX: Duration = Duration::from_secs(64);
const STEADY: Duration = Duration::from_secs(600);

/// With whom nothing is exchanged although it is a neighbour.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    /// Whom the operator paused here. At most one for each member that ever was.
    pub(super) here: BTreeSet<NodeId>,
    /// Of whom so many pauses and ends of pauses are on their way to the disk: what is asked behind them goes the same way, so
    /// that the last one counts and each is answered in its turn.
    under_way: BTreeMap<NodeId, u32>,
    /// Who paused us.
    pub(super) there: BTreeSet<NodeId>,
    /// With whom entries would be exchanged.
    neighbors: BTreeSet<NodeId>,
    refused_at: BTreeMap<NodeId, Time>,
    /// When who resumed last, and how often of late.
    resumed: BTreeMap<NodeId, (Time, u32)>,
}

impl Pauses {
    /// Whether this peer, who paused us, may resume now.
    fn may_resume(&mut self, peer: NodeId, now: Time) -> bool {
        self.resumed.retain(|_, (at, _)| now.since(*at) < STEADY);
        let (at, times) = self.resumed.get(&peer).copied().unwrap_or((Time::ZERO, 0));
        let pause = RESUME_EVERY.saturating_mul(2_u32.pow(times.saturating_sub(1).min(6))).min(RESUME_MAX);
        let may = times == 0 || now.since(at) >= pause;
        if may {
            self.resumed.insert(peer, (now, times + 1));
        }
        may
    }
}

impl Replication {
    /// Exchanges nothing with this member from now on, or does so again. Answered by [`Event::Paused`] when that is durable, or
    /// by [`Event::PauseFailed`].
    pub fn pause(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId, paused: bool, token: u64) {
        if let Some(fault) = self.failed.clone() {
            return cx.emit(Event::PauseFailed { token, fault });
        }
        if !self.pauses.under_way.contains_key(&peer) && self.pauses.here.contains(&peer) == paused {
            return cx.emit(Event::Paused { token, peer, paused });
        }
        self.writes.0 += 1;
        *self.pauses.under_way.entry(peer).or_default() += 1;
        let pause = Pause { peer, paused };
        cx.persist(Kept::Pause(pause), Wait::Pause { token, pause });
    }

    /// Takes back a pause from the log, before [`start`](Self::start).
    pub fn restore_pause(&mut self, Pause { peer, paused }: Pause) {
        if planted!("replication/pause-forgotten") && self.pauses.neighbors.is_empty() {
            return;
        }
        if paused {
            self.pauses.here.insert(peer);
        } else {
            self.pauses.here.remove(&peer);
        }
    }

    /// The disk will not answer for what is on its way.
    pub(super) fn forget_pauses_under_way(&mut self) {
        self.pauses.under_way.clear();
    }

    /// Whether the operator paused this member here.
    pub(super) fn is_paused(&self, member: NodeId) -> bool {
        self.pauses.here.contains(&member)
    }

    pub(super) fn on_pause_durable(&mut self, cx: &mut Cx<'_, Self>, token: u64, pause: Pause) {
        let Pause { peer, paused } = pause;
        let left = self.pauses.under_way.remove(&peer).unwrap_or_default().saturating_sub(1);
        if left > 0 {
            self.pauses.under_way.insert(peer, left);
        }
        // What is so already was asked behind what made it so: nothing begins anew.
        if self.pauses.here.contains(&peer) == paused {
            return cx.emit(Event::Paused { token, peer, paused });
        }
        self.restore_pause(pause);
        if paused {
            self.end_exchange(cx, peer);
        }
        if self.pauses.neighbors.contains(&peer) {
            if paused {
                cx.send(peer, Message::Paused);
            } else {
                self.begin_exchange(cx, peer);
            }
        }
        cx.emit(Event::Paused { token, peer, paused });
        self.flush_acks(cx);
        self.move_on(cx);
    }

    /// Deltas are exchanged with this linked peer from now on.
    pub fn on_neighbor_up(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        self.pauses.neighbors.insert(peer);
        if self.pauses.here.contains(&peer) {
            return cx.send(peer, Message::Paused);
        }
        self.begin_exchange(cx, peer);
    }

    /// Deltas are no longer exchanged with this peer. What it was the source of is asked of another.
    pub fn on_neighbor_down(&mut self, cx: &mut Cx<'_, Self>, peer: NodeId) {
        self.pauses.neighbors.remove(&peer);
        self.pauses.there.remove(&peer);
        self.pauses.refused_at.remove(&peer);
        self.end_exchange(cx, peer);
    }

    /// Whether what this peer says is heard.
    pub(super) fn hears(&mut self, cx: &mut Cx<'_, Self>, from: NodeId, message: &Message) -> bool {
        if !self.pauses.neighbors.contains(&from) {
            return false;
        }
        let refused = matches!(message, Message::Paused);
        if refused {
            self.on_paused(cx, from);
        } else if self.pauses.here.contains(&from) {
            self.answer_paused(cx, from);
        } else if message.lane() == Lane::Control
            && self.pauses.there.contains(&from)
            && self.pauses.may_resume(from, cx.now().mono)
        {
            // It speaks to us again. What was under way on the other lane may be from before.
            self.pauses.there.remove(&from);
            cx.emit(Event::PausedBy { peer: from, paused: false });
            self.begin_exchange(cx, from);
        }
        !refused && self.peers.contains_key(&from)
    }

    fn on_paused(&mut self, cx: &mut Cx<'_, Self>, from: NodeId) {
        self.end_exchange(cx, from);
        if self.pauses.there.insert(from) {
            reachable!("replication/paused-by-a-peer");
            cx.emit(Event::PausedBy { peer: from, paused: true });
        }
    }

    fn answer_paused(&mut self, cx: &mut Cx<'_, Self>, from: NodeId) {
        let now = cx.now().mono;
        let before = self.pauses.refused_at.get(&from);
        if before.is_none_or(|before| now.since(*before) >= REFUSE_EVERY) {
            self.pauses.refused_at.insert(from, now);
            cx.send(from, Message::Paused);
        }
    }
}

//! Rest: a group that has nothing to do hears its leader every few seconds, not twenty times a second.
//!
//! When all is decided and every member that answers holds it, the leader says so with its last word ([`Body::Rest`]), and whoever hears
//! that waits for so much longer before it seeks office. Anything new ends it: entries or a heartbeat from the leader; a request for a
//! vote; a link to the leader that closes; somebody who wants something decided and asks ([`Body::Rouse`]). Whoever is roused takes the
//! leader for heard at that moment, lets it know, and then all is as it is while the group is busy. A member that passes a request on rouses all voters at
//! once, and who is no member when the answer is late by a heartbeat: so a leader that died unseen is missed as soon as somebody needs it, and as
//! soon as under load. A voter alone needs no timer at all.

use std::time::Duration;

use super::message::Body;
use super::progress::{Pace, Progress};
use super::vocabulary::Timer;
use super::{Consensus, Office};
use crate::machine::Cx;
use crate::probe::reachable;
use crate::types::{NodeId, Time};

/// Nobody is waited for longer than for this: a stopped process is no distance.
pub(super) const ROUND_TRIP_MAX: Duration = Duration::from_secs(2);

impl Consensus {
    /// Of a leader: whether there is nothing to do, and was not for a while.
    pub(super) fn may_rest(&self, now: Time) -> bool {
        let Office::Leader(lead) = &self.office else { return false };
        let (last, timeout) = (self.log.last().index, self.silence_max());
        let nothing_waits =
            lead.waiting.is_empty() && lead.reads.is_empty() && lead.change.is_none() && lead.transfer.is_none();
        if self.config.rest.is_zero() || self.commit != last || !self.durable.is_idle() || !nothing_waits {
            return false;
        }
        // Whoever does not answer is looked for as often as anything is said, and when its link is up.
        let has_all = |progress: &Progress| {
            let heard_at = progress.heard_at.max(lead.woken_at);
            matches!(progress.pace, Pace::Gone) || progress.matched == last || now.since(heard_at) >= timeout
        };
        let rested = lead.peers.is_empty() || now.since(lead.busy_at) >= self.config.rest_after;
        rested && lead.peers.values().all(has_all)
    }

    /// The last word for a while.
    pub(super) fn lie_down(&mut self, cx: &mut Cx<'_, Self>) {
        let Office::Leader(lead) = &mut self.office else { return };
        let alone = lead.peers.is_empty();
        if !lead.resting {
            reachable!("consensus/group-rests");
        }
        lead.resting = true;
        if alone {
            return cx.disarm(Timer::Heartbeat);
        }
        self.beat(cx);
        cx.arm(Timer::Heartbeat, self.config.rest);
        self.on_quorum_due(cx);
    }

    /// Of a leader: there is something to do.
    pub(super) fn wake(&mut self, cx: &mut Cx<'_, Self>) {
        let now = cx.now().mono;
        let Office::Leader(lead) = &mut self.office else { return };
        lead.busy_at = now;
        if std::mem::take(&mut lead.resting) {
            // Nobody had to answer meanwhile.
            lead.woken_at = now;
            cx.arm(Timer::Heartbeat, self.config.heartbeat);
            self.on_quorum_due(cx);
        }
    }

    /// How long a majority may be silent. Where an answer takes longer than what is configured, that counts: a leader that gives up for
    /// the distance alone would be followed by another one that does.
    pub(super) fn silence_max(&self) -> Duration {
        let awake = self.config.quorum_timeout.max(2 * (self.round_trip + self.config.heartbeat));
        match &self.office {
            Office::Leader(lead) if lead.resting => 2 * self.config.rest + awake,
            _ => awake,
        }
    }

    /// An answer took so long.
    pub(super) fn measure(&mut self, took: Duration) {
        self.round_trip = took.max(self.round_trip / 8 * 7).min(ROUND_TRIP_MAX);
    }

    /// How much longer than else a follower waits for its leader.
    pub(super) fn patience_at_rest(&self) -> Duration {
        if self.resting { 2 * self.config.rest } else { Duration::ZERO }
    }

    /// Somebody needs a leader. Where it rests, it is to show that it is there.
    pub fn rouse(&mut self, cx: &mut Cx<'_, Self>) {
        if matches!(self.office, Office::Leader(_)) {
            let resting = matches!(&self.office, Office::Leader(lead) if lead.resting);
            self.wake(cx);
            if resting {
                self.beat(cx);
            }
            return;
        }
        if !std::mem::take(&mut self.resting) {
            return;
        }
        reachable!("consensus/follower-roused");
        self.heard_at = cx.now().mono;
        self.arm_election(cx);
        if let Some(leader) = self.leader {
            self.say(cx, leader, Body::Rouse);
        }
    }

    /// A peer wants to know whether there is a leader.
    pub(super) fn on_rouse(&mut self, cx: &mut Cx<'_, Self>, _from: NodeId) {
        self.rouse(cx);
    }
}

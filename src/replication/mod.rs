//! Origin logs and their spreading: live push, ranged repair, version-vector anti-entropy.

mod config;
mod message;
mod view;
mod vocabulary;

use bytes::Bytes;

pub use config::Config;
pub use message::Message;
pub use view::View;
pub use vocabulary::{Event, Record, RestoreError, Statistics, Timer, Wait};

use crate::machine::{Cx, Machine, Never};
use crate::types::{Actor, DiskFault, Lane, NodeId, Position, Topic, VersionVector};

/// The origin logs of this node and of everybody else, as far as they are held here.
#[derive(Debug)]
pub struct Replication {
    actor: Actor,
    config: Config,
    vector: VersionVector,
    statistics: Statistics,
}

impl Machine for Replication {
    type Message = Message;
    type Record = Record;
    type Wait = Wait;
    type Task = Never;
    type Timer = Timer;
    type Event = Event;

    fn lane(message: &Message) -> Lane {
        message.lane()
    }
}

impl Replication {
    /// Holds nothing yet; writes as `actor`.
    #[must_use]
    pub fn new(actor: Actor, config: Config) -> Self {
        Self { actor, config, vector: VersionVector::new(), statistics: Statistics::default() }
    }

    /// Takes back an entry from the log, in the order of the log, before [`start`](Self::start).
    ///
    /// # Errors
    /// [`RestoreError`]: the log on disk is not what this room wrote. Nothing of this record was kept.
    pub fn restore(&mut self, record: &Record, _position: Position) -> Result<(), RestoreError> {
        self.vector.raise(record.log, record.seq);
        Ok(())
    }

    /// Begins. Once, after the last [`restore`](Self::restore).
    pub fn start(&mut self, cx: &mut Cx<'_, Self>) {
        cx.arm(Timer::AntiEntropy, self.config.anti_entropy);
    }

    /// Writes as `actor` from now on, and originates what waited for it.
    pub fn mint(&mut self, _cx: &mut Cx<'_, Self>, actor: Actor) {
        self.actor = actor;
    }

    /// Adds an entry to our log of this topic. Answered by [`Event::Originated`] or [`Event::OriginateFailed`].
    pub fn originate(&mut self, _cx: &mut Cx<'_, Self>, _topic: Topic, _body: Bytes, _token: u64) {}

    /// Deltas are exchanged with this linked peer from now on.
    pub fn on_neighbor_up(&mut self, _cx: &mut Cx<'_, Self>, _peer: NodeId) {}

    /// Deltas are no longer exchanged with this peer.
    pub fn on_neighbor_down(&mut self, _cx: &mut Cx<'_, Self>, _peer: NodeId) {}

    /// A peer speaks.
    pub fn on_message(&mut self, _cx: &mut Cx<'_, Self>, _from: NodeId, _message: Message) {}

    /// A timer fires.
    pub fn on_timer(&mut self, _cx: &mut Cx<'_, Self>, _timer: Timer) {}

    /// The disk answers a write.
    pub fn on_persisted(&mut self, _cx: &mut Cx<'_, Self>, _wait: Wait, _result: Result<Position, DiskFault>) {}

    /// The disk answers a read.
    pub fn on_read(&mut self, _cx: &mut Cx<'_, Self>, _wait: Wait, _result: Result<Record, DiskFault>) {}

    /// What others may read.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View { replication: self }
    }
}

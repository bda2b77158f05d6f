//! The machine: which documents there are, and in which order work is done on each.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Command, Config, DocState, Done, Event, Stamp, Task, Timer, Token, View};
use crate::machine::{Cx, Machine, Never};
use crate::types::{Actor, CommandId, Digest, DiskFault, DocId, Lane, LogId, Seq};

/// The documents of one node. See the room's essay.
#[derive(Debug)]
pub struct Documents {
    actor: Actor,
    config: Config,
    docs: BTreeMap<DocId, DocState>,
}

impl Machine for Documents {
    type Message = Never;
    type Record = Never;
    type Wait = Never;
    type Task = Task;
    type Timer = Timer;
    type Event = Event;

    fn lane(message: &Never) -> Lane {
        match *message {}
    }
}

impl Documents {
    /// No documents yet; edits will be written as `actor`.
    #[must_use]
    pub fn new(actor: Actor, config: Config) -> Self {
        Self { actor, config, docs: BTreeMap::new() }
    }

    /// Write as this actor from now on.
    pub fn mint(&mut self, actor: Actor) {
        self.actor = actor;
    }

    /// Takes an entry of the log at boot, in the log's order, before [`start`](Self::start).
    pub fn restore(&mut self, log: LogId, seq: Seq, body: Bytes) {
        let _ = (log, seq, body);
    }

    /// Begins: what was restored goes to the workers.
    pub fn start(&mut self, cx: &mut Cx<'_, Self>) {
        let _ = (cx, &self.config);
    }

    /// A client asks. Answered by one [`Event::Replied`].
    pub fn on_command(&mut self, cx: &mut Cx<'_, Self>, id: CommandId, command: Command) {
        let _ = (cx, id, command);
    }

    /// The change of [`Event::Originate`] is durable.
    pub fn on_originated(&mut self, cx: &mut Cx<'_, Self>, token: Token, stamp: Stamp) {
        let _ = (cx, token, stamp);
    }

    /// The change of [`Event::Originate`] could not be made durable.
    pub fn on_originate_failed(&mut self, cx: &mut Cx<'_, Self>, token: Token, fault: DiskFault) {
        let _ = (cx, token, fault);
    }

    /// An entry of another origin is durable here. Each log's entries come in order; an entry asked for by
    /// [`Event::Reread`] comes again.
    pub fn on_delivered(&mut self, cx: &mut Cx<'_, Self>, log: LogId, seq: Seq, body: Bytes) {
        let _ = (cx, log, seq, body);
    }

    /// A worker is done.
    pub fn on_done(&mut self, cx: &mut Cx<'_, Self>, done: Done) {
        let _ = (cx, done);
    }

    /// A timer has fired.
    pub fn on_timer(&mut self, cx: &mut Cx<'_, Self>, timer: Timer) {
        let _ = (cx, timer);
    }

    /// What siblings may see.
    #[must_use]
    pub const fn view(&self) -> View<'_> {
        View::new(self)
    }

    pub(super) const fn docs(&self) -> &BTreeMap<DocId, DocState> {
        &self.docs
    }

    pub(super) const fn content(&self) -> Digest {
        Digest::ZERO
    }

    pub(super) fn count(&self) -> usize {
        self.docs.values().filter(|state| state.exists).count()
    }

    pub(super) const fn orphans(&self) -> usize {
        0
    }

    pub(super) const fn refused(&self) -> u64 {
        0
    }

    pub(super) const fn busy(&self) -> bool {
        false
    }
}

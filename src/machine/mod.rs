//! The contract between a protocol and the node that hosts it.
//!
//! A [`Machine`] is a deterministic state machine with its own vocabulary: the messages it sends, the records it wants
//! kept, the timers it arms, the events it tells. Its `on_` functions take a [`Cx`] and leave behind a list of [`Op`]s, in
//! the order they were asked for. It reads no clock, no socket, no file and no entropy, and it never names a sibling:
//! who hears whose events is decided in one place, `node/route.rs`.
//!
//! **Invariant:** a machine is a function of the inputs it was given and of its forked generator. Two runs with the same
//! inputs leave the same ops.

#[cfg(test)]
pub(crate) mod mutate;
mod rng;
#[cfg(test)]
pub(crate) mod testkit;

use std::fmt;
use std::time::Duration;

pub use rng::Rng;

use crate::types::{Lane, NodeId, Now, Position};

/// A protocol's vocabulary. Use [`Never`] for a word that it does not have.
pub trait Machine {
    /// What crosses the network.
    type Message: fmt::Debug + PartialEq;
    /// What goes to the log.
    type Record: fmt::Debug + PartialEq;
    /// What the machine wants to remember until the disk has answered a persist or a read; handed back with the answer.
    type Wait: fmt::Debug + PartialEq;
    /// Heavy work for a worker; its result names what it was about.
    type Task: fmt::Debug + PartialEq;
    /// Names of its timers: arming one again replaces it.
    type Timer: fmt::Debug + Clone + Ord;
    /// What it tells its siblings, the host and the simulator's checkers.
    type Event: fmt::Debug + PartialEq;

    /// Which lane carries this message.
    fn lane(message: &Self::Message) -> Lane;
}

/// A word that a machine does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Never {}

impl bincode::Encode for Never {
    fn encode<E: bincode::enc::Encoder>(&self, _: &mut E) -> Result<(), bincode::error::EncodeError> {
        match *self {}
    }
}

/// One thing a machine asks for.
pub enum Op<M: Machine> {
    /// Send to a peer. May be lost.
    Send(NodeId, M::Message),
    /// Append to the log; answered once, after the sync, with where it stands or why it failed. Answers keep the order.
    Persist(M::Record, M::Wait),
    /// Read a record back from the log; answered once, in any order.
    Read(Position, M::Wait),
    /// Have a worker do this; answered once. Tasks with the same key keep their order.
    Task(M::Task),
    /// Fire this timer once, after this long; replaces it if it is armed.
    Arm(M::Timer, Duration),
    /// Forget this timer.
    Disarm(M::Timer),
    /// Tell everybody who listens.
    Emit(M::Event),
}

/// What a machine holds while it handles one input: the time, its own luck, and where to put its ops.
pub struct Cx<'a, M: Machine> {
    now: Now,
    rng: &'a mut Rng,
    ops: &'a mut Vec<Op<M>>,
}

impl<'a, M: Machine> Cx<'a, M> {
    /// For hosts and tests.
    pub fn new(now: Now, rng: &'a mut Rng, ops: &'a mut Vec<Op<M>>) -> Self {
        Self { now, rng, ops }
    }

    /// Both clocks, as they stood when the input arrived.
    #[must_use]
    pub fn now(&self) -> Now {
        self.now
    }

    /// This machine's own generator.
    pub fn rng(&mut self) -> &mut Rng {
        self.rng
    }

    /// Asks to send.
    pub fn send(&mut self, to: NodeId, message: M::Message) {
        self.ops.push(Op::Send(to, message));
    }

    /// Asks to append to the log.
    pub fn persist(&mut self, record: M::Record, wait: M::Wait) {
        self.ops.push(Op::Persist(record, wait));
    }

    /// Asks to read from the log.
    pub fn read(&mut self, position: Position, wait: M::Wait) {
        self.ops.push(Op::Read(position, wait));
    }

    /// Asks for heavy work.
    pub fn task(&mut self, task: M::Task) {
        self.ops.push(Op::Task(task));
    }

    /// Arms or re-arms a timer.
    pub fn arm(&mut self, timer: M::Timer, after: Duration) {
        self.ops.push(Op::Arm(timer, after));
    }

    /// Disarms a timer.
    pub fn disarm(&mut self, timer: M::Timer) {
        self.ops.push(Op::Disarm(timer));
    }

    /// Tells an event.
    pub fn emit(&mut self, event: M::Event) {
        self.ops.push(Op::Emit(event));
    }
}

impl<M: Machine> fmt::Debug for Op<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(to, message) => f.debug_tuple("Send").field(to).field(message).finish(),
            Self::Persist(record, wait) => f.debug_tuple("Persist").field(record).field(wait).finish(),
            Self::Read(position, wait) => f.debug_tuple("Read").field(position).field(wait).finish(),
            Self::Task(task) => f.debug_tuple("Task").field(task).finish(),
            Self::Arm(timer, after) => f.debug_tuple("Arm").field(timer).field(after).finish(),
            Self::Disarm(timer) => f.debug_tuple("Disarm").field(timer).finish(),
            Self::Emit(event) => f.debug_tuple("Emit").field(event).finish(),
        }
    }
}

impl<M: Machine> PartialEq for Op<M> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Send(a, b), Self::Send(c, d)) => a == c && b == d,
            (Self::Persist(a, b), Self::Persist(c, d)) => a == c && b == d,
            (Self::Read(a, b), Self::Read(c, d)) => a == c && b == d,
            (Self::Task(a), Self::Task(b)) => a == b,
            (Self::Arm(a, b), Self::Arm(c, d)) => a == c && b == d,
            (Self::Disarm(a), Self::Disarm(b)) => a == b,
            (Self::Emit(a), Self::Emit(b)) => a == b,
            _ => false,
        }
    }
}

//! How a machine's own words become the edge's: one impl a machine, no decisions.

use crate::audit::{self, Audit};
use crate::consensus::{self, Consensus};
use crate::documents::{self, Documents};
use crate::events::{self, Events};
use crate::machine::{Machine, Rng};
use crate::membership::{self, Membership};
use crate::overlay::{self, Overlay};
use crate::replication::{self, Replication};
use crate::roles::{self, Roles};
use crate::types::CommandId;
use crate::wire::Kind;

use super::edge::Event;
use super::points::Point;
use super::record::Own;
use super::shared::Rngs;
use super::timers::Timer;

/// Who waits for the disk, and with which words.
#[derive(Debug)]
pub(super) enum Wait {
    Replication(replication::Wait),
    Events(events::Wait),
    Consensus(consensus::Wait),
    Roles(roles::Wait),
    /// A restore point, for a client.
    Point(CommandId, Point),
    /// The node's own records: nobody waits, a failure shows as read-only.
    Node,
    /// The log is opened anew after the disk was full.
    Reopen,
    /// A snapshot.
    Snapshot(super::snapshot::Wait),
}

/// A machine that the node hosts.
pub(super) trait Hosted: Machine<Message: bincode::Encode> {
    /// Whose messages these are; `None` for a machine that sends none.
    const KIND: Option<Kind>;
    fn rng(rngs: &mut Rngs) -> &mut Rng;
    fn record(record: Self::Record) -> Own;
    fn wait(wait: Self::Wait) -> Wait;
    fn task(task: Self::Task) -> documents::Task;
    fn timer(timer: Self::Timer) -> Timer;
    fn event(event: Self::Event) -> Event;
}

impl Hosted for Membership {
    const KIND: Option<Kind> = Some(Kind::Membership);
    fn rng(rngs: &mut Rngs) -> &mut Rng {
        &mut rngs.membership
    }
    fn record(record: Self::Record) -> Own {
        match record {}
    }
    fn wait(wait: Self::Wait) -> Wait {
        match wait {}
    }
    fn task(task: Self::Task) -> documents::Task {
        match task {}
    }
    fn timer(timer: membership::Timer) -> Timer {
        Timer::Membership(timer)
    }
    fn event(event: membership::Event) -> Event {
        Event::Membership(event)
    }
}

impl Hosted for Overlay {
    const KIND: Option<Kind> = Some(Kind::Overlay);
    fn rng(rngs: &mut Rngs) -> &mut Rng {
        &mut rngs.overlay
    }
    fn record(record: Self::Record) -> Own {
        match record {}
    }
    fn wait(wait: Self::Wait) -> Wait {
        match wait {}
    }
    fn task(task: Self::Task) -> documents::Task {
        match task {}
    }
    fn timer(timer: overlay::Timer) -> Timer {
        Timer::Overlay(timer)
    }
    fn event(event: overlay::Event) -> Event {
        Event::Overlay(event)
    }
}

impl Hosted for Replication {
    const KIND: Option<Kind> = Some(Kind::Replication);
    fn rng(rngs: &mut Rngs) -> &mut Rng {
        &mut rngs.replication
    }
    fn record(record: replication::Kept) -> Own {
        match record {
            replication::Kept::Entry(record) => Own::Entry(record),
            replication::Kept::Branch(branch) => Own::Branch(branch),
            replication::Kept::Trim(trim) => Own::Trim(trim),
            replication::Kept::Skip(line) => Own::Skip(line),
            replication::Kept::Pause(pause) => Own::Pause(pause),
        }
    }
    fn wait(wait: replication::Wait) -> Wait {
        Wait::Replication(wait)
    }
    fn task(task: Self::Task) -> documents::Task {
        match task {}
    }
    fn timer(timer: replication::Timer) -> Timer {
        Timer::Replication(timer)
    }
    fn event(event: replication::Event) -> Event {
        Event::Replication(event)
    }
}

impl Hosted for Audit {
    const KIND: Option<Kind> = Some(Kind::Audit);
    fn rng(rngs: &mut Rngs) -> &mut Rng {
        &mut rngs.audit
    }
    fn record(record: Self::Record) -> Own {
        match record {}
    }
    fn wait(wait: Self::Wait) -> Wait {
        match wait {}
    }
    fn task(task: Self::Task) -> documents::Task {
        match task {}
    }
    fn timer(timer: audit::Timer) -> Timer {
        Timer::Audit(timer)
    }
    fn event(event: audit::Event) -> Event {
        Event::Audit(event)
    }
}

impl Hosted for Documents {
    const KIND: Option<Kind> = None;
    fn rng(rngs: &mut Rngs) -> &mut Rng {
        &mut rngs.documents
    }
    fn record(record: Self::Record) -> Own {
        match record {}
    }
    fn wait(wait: Self::Wait) -> Wait {
        match wait {}
    }
    fn task(task: documents::Task) -> documents::Task {
        task
    }
    fn timer(timer: documents::Timer) -> Timer {
        Timer::Documents(timer)
    }
    fn event(event: documents::Event) -> Event {
        Event::Documents(event)
    }
}

impl Hosted for Events {
    const KIND: Option<Kind> = None;
    fn rng(rngs: &mut Rngs) -> &mut Rng {
        &mut rngs.events
    }
    fn record(record: Self::Record) -> Own {
        match record {}
    }
    fn wait(wait: events::Wait) -> Wait {
        Wait::Events(wait)
    }
    fn task(task: Self::Task) -> documents::Task {
        match task {}
    }
    fn timer(timer: events::Timer) -> Timer {
        Timer::Events(timer)
    }
    fn event(event: events::Event) -> Event {
        Event::Events(event)
    }
}

impl Hosted for Consensus {
    const KIND: Option<Kind> = Some(Kind::Consensus);
    fn rng(rngs: &mut Rngs) -> &mut Rng {
        &mut rngs.consensus
    }
    fn record(record: consensus::Record) -> Own {
        Own::Consensus(record)
    }
    fn wait(wait: consensus::Wait) -> Wait {
        Wait::Consensus(wait)
    }
    fn task(task: Self::Task) -> documents::Task {
        match task {}
    }
    fn timer(timer: consensus::Timer) -> Timer {
        Timer::Consensus(timer)
    }
    fn event(event: consensus::Event) -> Event {
        Event::Consensus(event)
    }
}

impl Hosted for Roles {
    const KIND: Option<Kind> = Some(Kind::Roles);
    fn rng(rngs: &mut Rngs) -> &mut Rng {
        &mut rngs.roles
    }
    fn record(record: roles::Record) -> Own {
        Own::Roles(record)
    }
    fn wait(wait: roles::Wait) -> Wait {
        Wait::Roles(wait)
    }
    fn task(task: Self::Task) -> documents::Task {
        match task {}
    }
    fn timer(timer: roles::Timer) -> Timer {
        Timer::Roles(timer)
    }
    fn event(event: roles::Event) -> Event {
        Event::Roles(event)
    }
}

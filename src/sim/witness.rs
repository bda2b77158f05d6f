//! Watching a run from outside: what happened, where, and because of what. A witness changes nothing.

use super::net::Fate;
use super::plan::Item;
use super::queue::EventId;
use super::world::Mesh;
use crate::node::{BootError, BootReport, Effect, Input};
use crate::types::Lane;

/// Which event it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Happened {
    /// When, in nanoseconds of true time.
    pub(super) at: u64,
    /// The event.
    pub(super) id: EventId,
    /// The event during which it was asked for.
    pub(super) cause: EventId,
}

/// What happens at a peer.
#[derive(Debug)]
pub(super) enum Seen<'a> {
    /// A process begins.
    Start,
    /// Its node may speak from now on.
    Ready(&'a BootReport),
    /// Its process gave up its log.
    Refused(&'a BootError),
    /// An input is handled.
    Input(&'a Input),
    /// An effect of it.
    Effect(&'a Effect),
    /// A frame is sent; without a time of arrival it waits behind a cut, or is lost.
    Sent { to: u32, lane: Lane, fate: &'a Fate, frame: &'a [u8] },
    /// An item of the plan begins.
    Begins { item: usize, says: &'a Item },
    /// An item of the plan ends.
    Ends { item: usize, says: &'a Item },
}

/// Whoever watches.
pub(super) trait Witness {
    /// An event happens; what it does is seen next.
    fn event(&mut self, _event: Happened) {}

    /// Something is seen at a peer. An input that waited in the peer's inbox is seen under the event that brought it.
    fn seen(&mut self, _event: Happened, _place: u32, _what: &Seen<'_>) {}

    /// A second has passed.
    fn tick(&mut self, _mesh: &Mesh) {}
}

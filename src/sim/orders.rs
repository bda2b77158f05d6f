//! What a run is told besides its scenario and its seed.

use super::guest::Guests;
use super::outcome::Line;
use super::plan::Plan;
use super::replay::{self, Replay};
use super::witness::Witness;

/// Nothing of it changes what happens, but the plan, the replay and the guests.
pub(super) struct Orders<'a> {
    /// In place of the one that scenario and seed expand to.
    pub(super) plan: Option<&'a Plan>,
    pub(super) replay: &'a Replay,
    /// The program that embeds the nodes.
    pub(super) guests: Option<&'a mut (dyn Guests + 'a)>,
    /// Told of each step.
    pub(super) sink: Option<&'a mut (dyn FnMut(Line) + 'a)>,
    /// Shown each step.
    pub(super) witness: Option<&'a mut (dyn Witness + 'a)>,
    /// Whether to call the run off. The host has a clock, the run has none.
    pub(super) stop: Option<&'a (dyn Fn() -> bool + 'a)>,
}

impl Default for Orders<'_> {
    fn default() -> Self {
        Self { plan: None, replay: &replay::NONE, guests: None, sink: None, witness: None, stop: None }
    }
}

impl<'a> Orders<'a> {
    /// The same, for a run that ends sooner than they do.
    pub(super) fn shorter<'b>(self) -> Orders<'b>
    where
        'a: 'b,
    {
        let Self { plan, replay, guests, sink, witness, stop } = self;
        let guests = guests.map(|guests| guests as &mut (dyn Guests + 'b));
        let sink = sink.map(|sink| sink as &mut (dyn FnMut(Line) + 'b));
        let witness = witness.map(|witness| witness as &mut (dyn Witness + 'b));
        Orders { plan, replay, guests, sink, witness, stop }
    }
}

//! A program that embeds nodes, run in the simulator: its own state beside each node, under the same virtual time and faults.
//!
//! Whoever embeds a node writes a state machine around it: it hears what the node tells, asks commands, keeps something of its
//! own. [`Program`] is that state machine for all peers of a mesh, and [`run_hosting`](super::run_hosting) runs it in a
//! scenario: a peer that crashes loses its [`Guest`] as it would lose its memory, one that restarts gets a new one, and after
//! every virtual second and at the end the program judges what it sees. A run is a function of the scenario, the seed and the
//! program, as long as the program draws on nothing else.
//!
//! The invariants of the mesh are judged as in any run: at the end of the calm all must hold the same, so a guest that writes stops
//! some seconds before. `examples/own_nodes.rs` is a whole host.
//!
//! ```
//! use oxigdal_ha::node::{Command, Event};
//! use oxigdal_ha::sim::{Found, Guest, GuestAt, GuestCx, Program, Scenario, run_hosting};
//!
//! /// Counts the members that its node tells of.
//! #[derive(Default)]
//! struct Greeter(usize);
//!
//! impl Guest for Greeter {
//!     fn heard(&mut self, _: &mut GuestCx<'_>, event: &Event) {
//!         if let Event::Membership(oxigdal_ha::membership::Event::Joined { .. }) = event {
//!             self.0 += 1;
//!         }
//!     }
//! }
//!
//! struct Greeters;
//!
//! impl Program for Greeters {
//!     type At = Greeter;
//!
//!     fn start(&mut self, _peer: u32) -> Greeter {
//!         Greeter::default()
//!     }
//!
//!     fn at_rest(&self, up: &[GuestAt<'_, Greeter>]) -> Result<(), String> {
//!         match up.iter().find(|one| one.guest.0 < 2) {
//!             Some(one) => Err(format!("peer {} met {} others", one.peer, one.guest.0)),
//!             None => Ok(()),
//!         }
//!     }
//! }
//!
//! let text = r#"
//!     schema = 1
//!     description = "Three that meet."
//!     mesh = { peers = 3, delay = "5ms" }
//!     phases = { warm-up = "5s", chaos = "5s", calm = "10s" }
//! "#;
//! let mut none = |name: &str| -> Result<Found, String> { Err(format!("no topology {name}")) };
//! let scenario = Scenario::parse("three.toml", text, &mut none).unwrap();
//! assert!(run_hosting(&scenario, 1, &mut Greeters, None).passed());
//! ```

use std::collections::BTreeMap;

use super::host::Host;
use crate::node::{Command, CommandError, Event, Node, Outcome};
use crate::types::{CommandId, Now, Time};

/// A program that embeds one node, at one peer of the mesh: made when its process starts, lost when that ends. Everything is
/// told while the node is up, in the order in which it happened.
pub trait Guest {
    /// The node has read its log, and may speak from now on.
    fn started(&mut self, _cx: &mut GuestCx<'_>) {}

    /// The node tells something.
    fn heard(&mut self, _cx: &mut GuestCx<'_>, _event: &Event) {}

    /// A command of this guest is answered. What is asked when a process ends is not answered: it may be done or not.
    fn answered(&mut self, _cx: &mut GuestCx<'_>, _id: CommandId, _result: Result<Outcome, CommandError>) {}

    /// The time has come that [`GuestCx::wake_at`] named.
    fn woken(&mut self, _cx: &mut GuestCx<'_>) {}
}

/// The program at all peers, and what must hold of it.
pub trait Program {
    /// What it is at one peer.
    type At: Guest;

    /// The process of this peer starts, by its place from 0. What an earlier process had made durable is for the program to
    /// remember.
    fn start(&mut self, peer: u32) -> Self::At;

    /// The process of this peer has ended, as by `kill -9`: what of it was durable is the program's to keep.
    fn ended(&mut self, _peer: u32, _at: Self::At) {}

    /// What must hold at every time, of those that are up; looked at once a virtual second.
    ///
    /// # Errors
    /// What is wrong: invariant H1 is broken, and the run ends.
    fn always(&self, _up: &[GuestAt<'_, Self::At>]) -> Result<(), String> {
        Ok(())
    }

    /// What must hold at the end, of those that are up: faults are over, and the calm too.
    ///
    /// # Errors
    /// What is wrong: invariant H1 is broken.
    fn at_rest(&self, _up: &[GuestAt<'_, Self::At>]) -> Result<(), String> {
        Ok(())
    }
}

/// A guest that is up, as the program looks at it.
#[derive(Debug)]
pub struct GuestAt<'a, G> {
    /// Its peer, by its place from 0.
    pub peer: u32,
    /// The guest.
    pub guest: &'a G,
    /// Its node.
    pub node: &'a Node,
}

/// What a guest sees and may do. What it asks, its node hears when the guest has returned.
#[derive(Debug)]
pub struct GuestCx<'a> {
    /// Both clocks of its machine.
    pub now: Now,
    /// Its node.
    pub node: &'a Node,
    /// The number of the last command before these.
    last: u64,
    asks: Vec<Command>,
    wake_at: Option<Time>,
}

impl<'a> GuestCx<'a> {
    pub(super) const fn new(now: Now, node: &'a Node, last: u64) -> Self {
        Self { now, node, last, asks: Vec::new(), wake_at: None }
    }

    /// Asks the node; the answer comes with this id.
    pub fn ask(&mut self, command: Command) -> CommandId {
        self.asks.push(command);
        CommandId::new(self.last + self.asks.len() as u64)
    }

    /// Asks to be woken at this time of the machine's monotonic clock, or as soon as the process has time for it after that. In
    /// place of what was asked before.
    pub const fn wake_at(&mut self, at: Time) {
        self.wake_at = Some(at);
    }

    pub(super) fn into_asks(self) -> (Vec<Command>, Option<Time>) {
        (self.asks, self.wake_at)
    }
}

/// What happens to a guest.
pub(super) enum Tell<'a> {
    Started,
    Heard(&'a Event),
    Answered(CommandId, Result<Outcome, CommandError>),
    Woken,
}

/// A program, whatever its guests are.
pub(super) trait Guests {
    fn start(&mut self, peer: u32);
    fn end(&mut self, peer: u32);
    fn tell(&mut self, peer: u32, cx: &mut GuestCx<'_>, what: Tell<'_>);
    fn judge(&self, hosts: &[Host], at_rest: bool) -> Result<(), String>;
}

/// A program with those of its guests that are up.
pub(super) struct Hosted<'a, P: Program> {
    program: &'a mut P,
    guests: BTreeMap<u32, P::At>,
}

impl<'a, P: Program> Hosted<'a, P> {
    pub(super) const fn new(program: &'a mut P) -> Self {
        Self { program, guests: BTreeMap::new() }
    }
}

impl<P: Program> Guests for Hosted<'_, P> {
    fn start(&mut self, peer: u32) {
        self.guests.insert(peer, self.program.start(peer));
    }

    fn end(&mut self, peer: u32) {
        if let Some(guest) = self.guests.remove(&peer) {
            self.program.ended(peer, guest);
        }
    }

    fn tell(&mut self, peer: u32, cx: &mut GuestCx<'_>, what: Tell<'_>) {
        let Some(guest) = self.guests.get_mut(&peer) else { return };
        match what {
            Tell::Started => guest.started(cx),
            Tell::Heard(event) => guest.heard(cx, event),
            Tell::Answered(id, result) => guest.answered(cx, id, result),
            Tell::Woken => guest.woken(cx),
        }
    }

    fn judge(&self, hosts: &[Host], at_rest: bool) -> Result<(), String> {
        let up = self.guests.iter().filter_map(|(peer, guest)| {
            let node = hosts[*peer as usize].node()?;
            Some(GuestAt { peer: *peer, guest, node })
        });
        let up: Vec<GuestAt<'_, P::At>> = up.collect();
        self.program.always(&up)?;
        if at_rest { self.program.at_rest(&up) } else { Ok(()) }
    }
}

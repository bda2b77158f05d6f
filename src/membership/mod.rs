//! SWIM with Lifeguard: who is in the mesh, and who is alive.

mod event;
mod member;

pub use event::Event;
pub use member::{Member, Meta, State};

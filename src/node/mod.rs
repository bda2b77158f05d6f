//! The node: composition only. It translates between the edge and the machines, and wires the machines to each other.

mod edge;
mod status;

pub use edge::{Command, CommandError, Effect, Event, Identity, Input, Io, IoOutcome, Outcome};
pub use status::{MemberStatus, Status};

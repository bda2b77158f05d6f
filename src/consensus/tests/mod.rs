//! Tests of the room: peers in one little world under virtual time, and what must always hold there.

mod changes;
mod chaos;
mod checks;
mod disasters;
mod elections;
mod explore;
mod hostile;
mod linear;
mod logs;
mod requests;
mod rest;
pub(super) mod world;

use super::*;

/// A group that never rests: what is measured then is how it is when it is busy.
fn awake() -> Config {
    Config { rest: Duration::ZERO, ..Config::default() }
}

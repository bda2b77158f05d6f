//! Tests of the room: peers in one little world under virtual time, and what must always hold there.

mod changes;
mod chaos;
mod checks;
mod disasters;
mod elections;
mod explore;
mod hostile;
mod logs;
mod requests;
mod world;

use super::*;

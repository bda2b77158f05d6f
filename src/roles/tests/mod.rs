//! Tests of the room: alone, and in a little world in which real consensus decides.

mod chaos;
mod checks;
mod holders;
mod leaders;
mod passing;
mod stories;
mod weather;
mod world;

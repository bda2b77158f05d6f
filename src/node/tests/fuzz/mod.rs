//! What a node, its wire and its log make of inputs that no correct peer, disk or person gives.
//!
//! See [`mutate`](crate::machine::mutate) for how many, and how to make more.

mod frames;
mod liar;
mod log;
mod texts;

use super::*;

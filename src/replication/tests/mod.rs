//! Rules one by one, then whole meshes under virtual time.

mod branches;
mod control;
mod hearsay;
mod knowledge;
mod liars;
mod mesh;
mod rules;
mod settings;
mod spreading;
mod trees;
mod words;

use bytes::Bytes;

use super::*;
use crate::types::{LogId, Mint, Position, SegmentId};

/// The node with this number.
const fn node(n: u8) -> NodeId {
    NodeId::from_u128(n as u128)
}

fn actor(n: u8, mint: u64) -> Actor {
    Actor { node: node(n), mint: Mint::new(mint) }
}

fn at(offset: u64, len: usize) -> Position {
    Position { segment: SegmentId::new(1), offset, len: u32::try_from(len).unwrap() }
}

/// A body that nobody can compress, and that says whose it is.
fn body(log: LogId, number: u64, len: usize) -> Bytes {
    let mut rng = crate::machine::Rng::fork(&[9; 32], &log.at(Seq::new(number)));
    std::iter::repeat_with(|| rng.bits().to_be_bytes()).flatten().take(len).collect::<Vec<u8>>().into()
}

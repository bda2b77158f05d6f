//! The life of a real peer, written down: every input of its node with its time, and a digest of every effect that followed.
//!
//! A node's state is a function of its seed and its inputs. So who holds a recording can have the same node live the same
//! life again, on another machine and as often as is wanted, and look at it there: [`replay()`] does that, and says at which
//! input the effects are not those that were recorded. What went wrong once in production becomes a test.
//!
//! **What is written** (`format`): a header with all that a node is made of, then blocks of entries, each block compressed
//! and with a checksum of its own. The recording of a peer that is killed has no end, which is told, and lacks what was not written by then. Of
//! workers' results only digests are kept: the same engine does the same tasks again, and is compared too.
//!
//! **What it is not**: a backup (it says what entered, not what stands), or anything to hand to strangers. It holds what
//! clients wrote and what peers sent, in clear. No key is in it: keys live in the driver.

mod digest;
mod format;
mod kept;
mod replay;
#[cfg(test)]
mod tests;

pub use digest::Mark;
pub use format::{BLOCK_MAX, Header, ReadError, Reader, Writer};
pub use kept::{Entry, Kept};
pub use replay::{Difference, ReplayError, Replayed, replay};

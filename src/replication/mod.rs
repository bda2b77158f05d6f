//! Origin logs and their spreading: live push, ranged repair, version-vector anti-entropy.

mod vocabulary;

pub use vocabulary::{Event, Record};

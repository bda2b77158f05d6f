//! What a mesh looks like: `topologies/*.toml`.

mod policy;

pub use policy::{Policy, PolicyError};

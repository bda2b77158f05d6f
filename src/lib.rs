//! A gossip-based peer-to-peer high-availability mesh.

pub mod types;

pub mod machine;
pub mod topology;

pub mod documents;
pub mod membership;

pub mod overlay;

pub mod replication;

pub mod node;

#[cfg(feature = "net")]
#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "the driver is where time and threads enter")]
pub mod driver;

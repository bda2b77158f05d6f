//! The library of a peer-to-peer mesh that keeps documents highly available.
#![doc = include_str!("../README.md")]

// Rooms in the order of their tiers: each imports only from those above it (tests/tidy.rs holds the table).
pub mod probe;
pub mod types;

pub mod conflict;
pub mod machine;
pub mod topology;
pub mod wal;
pub mod wire;

pub mod consensus;
pub mod documents;
pub mod events;
pub mod membership;

pub mod failover;
pub mod overlay;

pub mod replication;
pub mod roles;

pub mod audit;

pub mod config;
#[cfg(feature = "net")]
mod error;
#[cfg(feature = "net")]
pub use error::{Error, ErrorKind};

pub mod node;
pub mod recording;
pub mod recovery;

#[cfg(feature = "net")]
pub mod backup;
pub mod dr;
#[cfg(feature = "net")]
#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "the driver is where time and threads enter")]
pub mod driver;
#[cfg(feature = "net")]
pub use driver::mesh::{Change, Changes, MemberUpdate, Mesh, MeshBuilder, Update};
#[cfg(feature = "net")]
pub use driver::{Health, Lease};
#[cfg(feature = "sim")]
pub mod sim;

#[cfg(feature = "net")]
#[expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "they run in a host, and say how long things took"
)]
pub mod managers;
#[cfg(feature = "net")]
pub use managers::{HaError, HaResult};

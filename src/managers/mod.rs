//! The calls of the user's documents, each bound to a real node: `replication::ActiveActiveReplication`, `failover::FailureDetector`,
//! `failover::LeaderElection`, `failover::ReplicaPromotion`.
//!
//! They are names that programs were written for, before there was a mesh; [`Mesh`](crate::Mesh) is what a new program embeds. Nothing here
//! pretends: each binds to the node of this process with the id that it was given (without an id to the one that was started
//! first), else to the peer whose interface `OXIGDAL_HA_API` names, with the token that `OXIGDAL_HA_TOKEN` holds, or whose file it names; where
//! there is neither, and where what was given does not fit the mesh that is there, it is a [`HaError`] that says so.
//!
//! What they do is the mesh's doing. An event is appended to a stream and is on this node's disk when
//! [`replicate`](replication::ReplicationManager::replicate) returns; a replica is a member that joined by invite and is not made one by its
//! address; failures are found by SWIM; leaders are elected by the voters. A configuration's documented fields are kept, with their
//! defaults, and `configure` lays on a node's [`Config`](crate::config::Config) what is the node's own affair; each field says what it does.
//!
//! The rooms whose paths the documents name give these out under them, by a line each.
//!
//! **Invariant.** A manager keeps no node running, and what it says of the mesh was asked of a node.

mod api;
mod bound;
mod error;
pub mod failover;
pub mod replication;
#[cfg(test)]
mod tests;
pub mod token;

pub use error::{HaError, HaResult};

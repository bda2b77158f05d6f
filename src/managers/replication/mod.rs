//! Active-active replication of opaque events from this node to others, under the names of the user's documents.
//!
//! An event goes into the stream `replication/TARGET` of the mesh, where every node holds it; the node that it is for reads it with
//! [`ActiveActiveReplication::received`]. That is durable, in order for each source, goes on after restarts and cuts, and needs nobody to be
//! there. It is kept as long as the mesh's streams are: whoever was away for longer is told of the gap ([`HaError::Missed`](crate::HaError::Missed)).

mod batches;
mod config;
mod event;
mod manager;
mod received;
#[cfg(test)]
mod tests;

pub use config::{ReplicationConfig, ReplicationMode, ReplicationTopology};
pub use event::{ReplicaNode, ReplicationEvent, ReplicationStats};
pub use manager::{ActiveActiveReplication, ReplicationManager};
pub use received::Received;

//! Copies: how far others hold what this node holds, and waiting for that.

use std::num::NonZeroU8;
use std::time::Duration;

use tokio::time::timeout;

use super::Mesh;
use crate::error::{Error, ErrorKind};
use crate::node::{Command, Outcome, Replicas};
use crate::replication::Ack;
use crate::types::NodeId;

impl Mesh {
    /// Waits until `copies` other nodes hold, on their disks, all that this node has written by now, and gives which ones; what is written
    /// while it waits is not waited for. For callers who want that before they answer; writes themselves do not wait for it. With 0 it
    /// returns at once; it waits for a day at most. On their disks is not yet in their documents: it is read there a moment later.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # async fn save(mesh: oxigdal_ha::Mesh) -> Result<(), oxigdal_ha::Error> {
    /// mesh.set("layers/countries/FJI", "properties/pop_est", 889_953).await?;
    /// let holders = mesh.wait_synced(2, Duration::from_secs(10)).await?;
    /// # let _ = holders;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NotReplicated`]: not known to be so in time. What was written stays, and goes on spreading.
    /// [`ErrorKind::Leaving`] when the node has stopped.
    pub async fn wait_synced(&self, copies: u8, within: Duration) -> Result<Vec<NodeId>, Error> {
        let ack = NonZeroU8::new(copies).map_or(Ack::Local, Ack::Members);
        let late = || {
            let why = format!("{copies} other nodes are not known to hold all that was written here, after {within:?}");
            Error::new(ErrorKind::NotReplicated, why)
        };
        let command = Command::Spread { ack, within: Some(within) };
        match timeout(within, self.peer().command(command)).await.map_err(|_| late())? {
            Ok(Outcome::Copied { copies, .. }) => Ok(copies.members),
            Ok(other) => unreachable!("Spread was answered by {other:?}"),
            Err(error) => Err(error),
        }
    }

    /// The other members as replicas of what this node holds: their states, and how far behind each is known to be.
    ///
    /// # Errors
    /// [`ErrorKind::Leaving`] when the node has stopped.
    pub async fn replicas(&self) -> Result<Replicas, Error> {
        match self.peer().command(Command::Replicas).await? {
            Outcome::Replicas(replicas) => Ok(replicas),
            other => unreachable!("Replicas was answered by {other:?}"),
        }
    }
}

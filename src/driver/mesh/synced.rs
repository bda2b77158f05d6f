//! Copies: how far others hold what this node holds, and waiting for that.

use std::num::NonZeroU8;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::Mesh;
use crate::error::{Error, ErrorKind};
use crate::node::{Command, Outcome, Replicas};
use crate::replication::Ack;
use crate::types::NodeId;

/// It is waited for a day at most, which is what a node waits for.
const WITHIN_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a node may be held up before it answers.
const HELD_UP_MAX: Duration = Duration::from_secs(1);
/// Who is refused before the time is over asks again after so long, and twice as long each time, up to the greatest.
const AGAIN_AFTER: Duration = Duration::from_millis(50);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(2);

impl Mesh {
    /// Waits until `copies` other nodes hold, on their disks, all that this node has written by now, and gives which ones; what is written
    /// while it waits is not waited for. For callers who want that before they answer; writes themselves do not wait for it. With 0, and
    /// where this node has written nothing, it returns at once, with none; it waits for a day at most. With no time at all it says what
    /// is known already. On their disks is not yet in their documents: it is read there a moment later.
    ///
    /// ```
    /// # use oxigdal_ha::{Mesh, config::{self, Flags}};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let data_dir = dir.path().join("node").display().to_string();
    /// # let flags = Flags::new().set("example", "node.data-dir", data_dir).set("example", "api.listen", "");
    /// # let flags = flags.list("example", "network.listen", ["127.0.0.1:0"]);
    /// # let mesh = Mesh::builder(config::parse(None, [], &flags)?).start().await?;
    /// use std::time::Duration;
    ///
    /// mesh.put("layers/relief", &serde_json::json!({ "style": "grey" })).await?;
    /// match mesh.wait_synced(2, Duration::from_millis(10)).await {
    ///     Ok(holders) => println!("{holders:?} hold it too"),
    ///     Err(error) => assert_eq!(error.kind(), oxigdal_ha::ErrorKind::NotReplicated),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NotReplicated`]: not known to be so in time. What was written stays, and goes on spreading.
    /// [`ErrorKind::Leaving`] when the node has stopped.
    pub async fn wait_synced(&self, copies: u8, within: Duration) -> Result<Vec<NodeId>, Error> {
        let ack = NonZeroU8::new(copies).map_or(Ack::Local, Ack::Members);
        let (until, mut pause) = (Instant::now() + within.min(WITHIN_MAX), AGAIN_AFTER);
        loop {
            let left = || until.saturating_duration_since(Instant::now());
            let within = left();
            // The node answers in time by itself, unless it is held up.
            match timeout(within + HELD_UP_MAX, self.peer().command(Command::Spread { ack, within: Some(within) }))
                .await
            {
                Ok(Ok(Outcome::Copied { copies, .. })) => return Ok(copies.members),
                Ok(Ok(other)) => unreachable!("Spread was answered by {other:?}"),
                // It gave up before its time: too many wait, or what was written stands in another log since. It is asked again, which
                // takes in what was written meanwhile.
                Ok(Err(error)) => match rest(pause, left()).filter(|_| error.kind() == ErrorKind::NotReplicated) {
                    Some(rest) => {
                        sleep(rest).await;
                        pause = (2 * pause).min(AGAIN_AFTER_MAX);
                    }
                    None => return Err(error),
                },
                Err(_) => {
                    let why = format!("{copies} other nodes are not known to hold all that was written here in time");
                    return Err(Error::new(ErrorKind::NotReplicated, format!("{why}: the node is held up")));
                }
            }
        }
    }

    /// The other members as replicas of what this node holds: their states, and how far behind each is known to be.
    ///
    /// ```
    /// # use oxigdal_ha::{Mesh, config::{self, Flags}};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let data_dir = dir.path().join("node").display().to_string();
    /// # let flags = Flags::new().set("example", "node.data-dir", data_dir).set("example", "api.listen", "");
    /// # let flags = flags.list("example", "network.listen", ["127.0.0.1:0"]);
    /// # let mesh = Mesh::builder(config::parse(None, [], &flags)?).start().await?;
    /// let replicas = mesh.replicas().await?;
    /// println!("{}", serde_json::to_string_pretty(&replicas)?);
    /// # Ok(())
    /// # }
    /// ```
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

/// How long to rest before it is asked again: the last time with no time left, which tells what is known then. Nothing if the time is over.
fn rest(pause: Duration, left: Duration) -> Option<Duration> {
    (!left.is_zero()).then_some(pause.min(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_refused_asks_until_the_time_is_over() {
        for within in [0, 30, 50, 750, 1_000, 60_000].map(Duration::from_millis) {
            let (mut left, mut pause) = (within, AGAIN_AFTER);
            while let Some(rested) = rest(pause, left) {
                assert!(rested <= pause && !rested.is_zero());
                (left, pause) = (left - rested, (2 * pause).min(AGAIN_AFTER_MAX));
            }
            assert_eq!(left, Duration::ZERO, "of {within:?}");
        }
    }
}

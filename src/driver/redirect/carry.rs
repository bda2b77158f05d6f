//! One connection, from a client to a holder.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout, timeout_at};

use super::counts::{Counts, End};
use super::{Config, Target};

/// How long a place may take to accept a connection, before the next one is tried.
const DIAL_MAX: Duration = Duration::from_millis(500);
/// Between two rounds over the places of a holder that takes nothing: it may have just begun, or be going.
const DIAL_AGAIN: Duration = Duration::from_millis(20);

pub(super) struct Carry {
    pub(super) client: TcpStream,
    pub(super) targets: watch::Receiver<Option<Target>>,
    pub(super) config: Config,
    pub(super) counts: Arc<Counts>,
    pub(super) number: u32,
}

impl Carry {
    pub(super) async fn run(mut self) {
        let until = tokio::time::Instant::now() + self.config.wait;
        let end = match timeout_at(until, reach(&mut self.targets)).await {
            Ok(Some((holder, server))) => self.carry(&holder, server).await,
            // Nobody took it in time, or whoever says who holds the role is gone.
            Ok(None) | Err(_) => End::Unserved,
        };
        self.counts.end(end);
    }

    async fn carry(&mut self, holder: &str, mut server: TcpStream) -> End {
        // Small answers are not to wait for large ones; where it cannot be set it is only slower.
        _ = self.client.set_nodelay(true);
        _ = server.set_nodelay(true);
        let Self { client, targets, config, number, .. } = self;
        let carried = copy_bidirectional(client, &mut server);
        tokio::pin!(carried);
        tokio::select! {
            // Which side failed makes no difference to the other: both are closed.
            _ = &mut carried => return End::Ended,
            () = moved(targets, holder) => {}
        }
        match timeout(config.strategy.grace(*number), carried).await {
            Ok(_) => End::Drained,
            Err(_) => End::Moved,
        }
    }
}

/// A connection to the holder, and who that is.
async fn reach(targets: &mut watch::Receiver<Option<Target>>) -> Option<(String, TcpStream)> {
    loop {
        let target = targets.wait_for(Option::is_some).await.ok()?.clone()?;
        for (host, port) in &target.places {
            if let Ok(Ok(server)) = timeout(DIAL_MAX, TcpStream::connect((host.as_str(), *port))).await {
                // It may have moved while it was dialled.
                if targets.borrow().as_ref().is_some_and(|now| now.holder == target.holder) {
                    return Some((target.holder, server));
                }
                break;
            }
        }
        tokio::select! {
            () = sleep(DIAL_AGAIN) => {}
            changed = targets.changed() => changed.ok()?,
        }
    }
}

/// Comes back when somebody else holds the role, or nobody does. Not when it is not known any more who does: what is carried goes on.
async fn moved(targets: &mut watch::Receiver<Option<Target>>, holder: &str) {
    let elsewhere = |target: &Option<Target>| target.as_ref().is_none_or(|target| target.holder != holder);
    if targets.wait_for(elsewhere).await.is_err() {
        std::future::pending().await
    }
}

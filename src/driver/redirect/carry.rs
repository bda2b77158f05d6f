//! One connection, from a client to a holder.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout, timeout_at};

use super::counts::{Counts, End, Trouble};
use super::dial::dial;
use super::{Config, Target};

/// Between two rounds over the places of a holder that takes nothing: it may have just begun, or be going.
const DIAL_AGAIN: Duration = Duration::from_millis(20);

pub(super) struct Carry {
    pub(super) client: TcpStream,
    pub(super) targets: watch::Receiver<Option<Target>>,
    pub(super) config: Config,
    pub(super) counts: Arc<Counts>,
    /// Where the redirector is.
    pub(super) listening: SocketAddr,
    pub(super) number: u32,
}

impl Carry {
    pub(super) async fn run(mut self) {
        let (until, mut is_held) = (tokio::time::Instant::now() + self.config.wait, false);
        let end = match timeout_at(until, self.reach(&mut is_held)).await {
            Ok(Some((holder, server))) => self.carry(&holder, server).await,
            // There is a holder, and it took nothing in time.
            Err(_) if is_held => End::Refused,
            // There was none in time, or whoever says who it is is gone.
            Ok(None) | Err(_) => End::Unserved,
        };
        self.counts.end(end);
    }

    /// A connection to the holder, and who that is; on the way, whether there is one.
    async fn reach(&mut self, is_held: &mut bool) -> Option<(String, TcpStream)> {
        loop {
            *is_held = false;
            let target = self.targets.wait_for(Option::is_some).await.ok()?.clone()?;
            *is_held = true;
            let dialled = dial(&target, self.listening).await;
            // It may have moved while it was dialled.
            let is_still = self.targets.borrow().as_ref().is_some_and(|now| now.holder == target.holder);
            match dialled {
                Ok(server) if is_still => {
                    self.counts.works();
                    return Some((target.holder, server));
                }
                Err(why) if is_still => self.counts.fails(Trouble { holder: target.holder, why }),
                Ok(_) | Err(_) => {}
            }
            tokio::select! {
                () = sleep(DIAL_AGAIN) => {}
                changed = self.targets.changed() => changed.ok()?,
            }
        }
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

/// Comes back when somebody else holds the role, or nobody does. Not when it is not known any more who does: what is carried goes on.
async fn moved(targets: &mut watch::Receiver<Option<Target>>, holder: &str) {
    let elsewhere = |target: &Option<Target>| target.as_ref().is_none_or(|target| target.holder != holder);
    if targets.wait_for(elsewhere).await.is_err() {
        std::future::pending().await
    }
}

//! Work for clients that reads files and computes, on threads that may wait for that: not the loop's.
//!
//! The loop neither starts nor ends it, so it may be at work when the peer has stopped. It is counted: who shuts a peer down waits until
//! none is left, but not for ever, since a file system may not answer. And it looks now and then whether the peer has stopped, since then nobody wants it.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::timeout;

use super::peer::{Link, Phase};

/// How much of it is at work.
#[derive(Debug, Default)]
pub(super) struct Errands {
    count: watch::Sender<usize>,
}

/// One that is at work, until it is dropped.
struct Errand(watch::Sender<usize>);

impl Errands {
    fn begin(&self) -> Errand {
        self.count.send_modify(|count| *count += 1);
        Errand(self.count.clone())
    }

    /// Waits until there is none, for so long at most; gives how much is left.
    pub(super) async fn over(&self, within: Duration) -> usize {
        // Its own sender is here, so there is no error.
        let _ = timeout(within, self.count.subscribe().wait_for(|count| *count == 0)).await;
        *self.count.borrow()
    }
}

impl Drop for Errand {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// Runs work on a thread where it holds nobody up. It goes on when nobody waits for it any more.
///
/// # Errors
/// It panicked, or the runtime is shut down.
pub(super) async fn aside<T: Send + 'static>(
    link: &Link,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    let errand = link.facts.errands.begin();
    spawn_blocking(move || {
        let done = work();
        drop(errand);
        done
    })
    .await
}

/// As [`aside`], work that waits for others besides: it is dropped where it waits when the peer has stopped. Nothing comes of it then.
///
/// # Errors
/// As [`aside`].
pub(super) async fn aside_until_stopped<T, W, F>(link: &Link, work: W) -> Result<Option<T>, JoinError>
where
    T: Send + 'static,
    W: FnOnce() -> F + Send + 'static,
    F: Future<Output = T>,
{
    let (runtime, mut phase) = (Handle::current(), link.phase.clone());
    aside(link, move || {
        runtime.block_on(async {
            tokio::select! {
                done = work() => Some(done),
                // An error means that the loop has gone, which is the same.
                _ = phase.wait_for(|phase| *phase == Phase::Stopped) => None,
            }
        })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_does_not_end_is_waited_for_no_longer_than_was_said() {
        let errands = Errands::default();
        assert_eq!(errands.over(Duration::MAX).await, 0);
        let (one, other) = (errands.begin(), errands.begin());
        assert_eq!(errands.over(Duration::from_millis(1)).await, 2);
        drop(one);
        assert_eq!(errands.over(Duration::ZERO).await, 1);
        drop(other);
        assert_eq!(errands.over(Duration::MAX).await, 0);
    }
}

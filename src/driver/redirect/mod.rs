//! A TCP redirector: clients connect to one address, and are carried to whoever holds a role at the time.
//!
//! It knows nothing of roles: whoever starts it says in a [`watch`] channel where to carry to. A connection that is open cannot be
//! moved to another machine, only ended, so that its client connects again and comes to the right one: when that is done is
//! the [`Strategy`]. New connections go to the new holder at once, whatever the strategy; while there is none they wait.
//!
//! **What it does not promise.** A redirector sees that a role moved some milliseconds after it did. That nothing is written at an old holder
//! is the business of fencing tokens, not of who carries bytes.
//!
//! **Itself.** Where a holder's place is where the redirector listens, it would be its own client, and each connection would make another until
//! there is no room: such a place is never dialled. That, and a holder whose service takes nothing, is told by [`Counts::trouble`].
//!
//! **Bounds.** So many connections as [`Config::connections_max`] are carried at once; beyond that no more are accepted, and the
//! kernel's queue holds them ([`Counts::filled`]). None waits longer for a holder than [`Config::wait`].

mod carry;
mod counts;
mod dial;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

pub use counts::{Carried, Counts, Trouble};

/// Where to carry to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Who it is: connections are moved when this changes.
    pub holder: String,
    /// Host and port, those first that are tried first.
    pub places: Vec<(String, u16)>,
}

/// What becomes of connections that are open when the role moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// They end at once.
    Immediate,
    /// They end one after the other, evenly within this time, so that not all clients come back in one moment.
    Gradual(Duration),
    /// They go on until they end by themselves, for this long at most. For holders that finish what they began.
    Drain(Duration),
}

impl Strategy {
    /// How long the connection of this number may go on once the role has moved.
    fn grace(self, number: u32) -> Duration {
        match self {
            Self::Immediate => Duration::ZERO,
            // Bits in reverse: whichever connections are open, their turns are spread (van der Corput, 1935).
            Self::Gradual(over) => over.mul_f64(f64::from(number.reverse_bits()) / f64::from(u32::MAX)),
            Self::Drain(limit) => limit,
        }
    }
}

/// How to redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// What becomes of open connections.
    pub strategy: Strategy,
    /// How long a new connection waits for a holder that takes it.
    pub wait: Duration,
    /// How many connections are carried at once, at most.
    pub connections_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { strategy: Strategy::Immediate, wait: Duration::from_secs(5), connections_max: 10_000 }
    }
}

/// Carries connections until `stop` comes. Those that are open then end.
///
/// # Errors
/// The listener cannot be used any more.
pub async fn serve(
    listener: TcpListener,
    mut targets: watch::Receiver<Option<Target>>,
    config: Config,
    counts: Arc<Counts>,
    stop: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let (room, listening) = (Arc::new(Semaphore::new(config.connections_max)), listener.local_addr()?);
    let mut open = JoinSet::new();
    tokio::pin!(stop);
    let mut number = 0_u32;
    loop {
        let accepted = async {
            let permit = match Arc::clone(&room).try_acquire_owned() {
                Ok(permit) => permit,
                Err(_) => {
                    counts.fill();
                    Arc::clone(&room).acquire_owned().await.expect("it is never closed")
                }
            };
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = &mut stop => return Ok(()),
            accepted = accepted => accepted,
            // What has ended is not kept.
            Some(_) = open.join_next() => continue,
            Ok(()) = targets.changed() => {
                counts.held_by(targets.borrow_and_update().as_ref().map(|target| &*target.holder));
                continue;
            }
        };
        let client = match accepted {
            Ok((client, _)) => client,
            Err(error) if is_passing(&error) => {
                tracing::warn!(%error, "a connection was not accepted");
                // Out of files or memory: what is open must end first.
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        counts.accept();
        let (targets, counts) = (targets.clone(), Arc::clone(&counts));
        let one = carry::Carry { client, targets, config, counts, listening, number };
        number = number.wrapping_add(1);
        open.spawn(async move {
            one.run().await;
            drop(permit);
        });
    }
}

/// After an error that passes.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

fn is_passing(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let passing = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::CONNABORTED, Errno::INTR];
    error.raw_os_error().is_some_and(|code| passing.iter().any(|errno| errno.raw_os_error() == code))
}

//! When to stop: the time that was given is over, or Ctrl-C, or SIGTERM. The second time it ends the process at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::failure::{Code, Failure, Result};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Says when to stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop {
    until: Option<Instant>,
}

impl Stop {
    /// From now on; without a budget only Ctrl-C stops.
    pub(super) fn within(budget: Option<Duration>) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::new(format_args!("cannot listen for Ctrl-C: {error}")))?;
        std::thread::spawn(move || {
            runtime.block_on(async {
                let mut asked = Asked::listen();
                while asked.again().await {
                    if INTERRUPTED.swap(true, Ordering::Relaxed) {
                        std::process::exit(i32::from(Code::Interrupted as u8));
                    }
                }
            });
        });
        Ok(Self { until: budget.map(|budget| Instant::now() + budget) })
    }

    /// So much later than now; somebody else listens for Ctrl-C.
    #[cfg(feature = "planted-bugs")]
    pub(super) fn after(budget: Duration) -> Self {
        Self { until: Some(Instant::now() + budget) }
    }

    /// Whether it is time.
    pub(super) fn now(self) -> bool {
        self.interrupted() || self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// Whether somebody pressed Ctrl-C.
    pub(super) fn interrupted(self) -> bool {
        INTERRUPTED.load(Ordering::Relaxed)
    }
}

/// What asks a process to end.
struct Asked {
    #[cfg(unix)]
    term: Option<tokio::signal::unix::Signal>,
}

impl Asked {
    fn listen() -> Self {
        #[cfg(unix)]
        let term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).ok();
        Self {
            #[cfg(unix)]
            term,
        }
    }

    /// Waits until somebody asks; false if nobody can.
    async fn again(&mut self) -> bool {
        #[cfg(unix)]
        if let Some(term) = &mut self.term {
            return tokio::select! {
                asked = tokio::signal::ctrl_c() => asked.is_ok(),
                asked = term.recv() => asked.is_some(),
            };
        }
        tokio::signal::ctrl_c().await.is_ok()
    }
}

/// A duration as people write it: `90s`, `8m`, `8min`, `1h`.
pub(super) fn duration(text: &str) -> std::result::Result<Duration, String> {
    let minutes = text.strip_suffix('m').map(|count| format!("{count}min"));
    oxigdal_ha::topology::duration(minutes.as_deref().unwrap_or(text)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_may_be_short() {
        assert_eq!(duration("8m"), Ok(Duration::from_secs(480)));
        assert_eq!(duration("8min"), duration("480s"));
        assert!(duration("8").is_err() && duration("m").is_err());
    }
}

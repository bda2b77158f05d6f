//! When to stop: the time that was given is over, or Ctrl-C. Pressed again it ends the process at once.

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
                while tokio::signal::ctrl_c().await.is_ok() {
                    if INTERRUPTED.swap(true, Ordering::Relaxed) {
                        std::process::exit(i32::from(Code::Interrupted as u8));
                    }
                }
            });
        });
        Ok(Self { until: budget.map(|budget| Instant::now() + budget) })
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

//! L2: after the calm every healed peer that should run is up, unless something is wrong with its machine for good.
//!
//! The other invariants look at the peers that are up. One that starts and is never ready would be seen by none of them.

use super::{Check, Sight, Verdict};
use crate::sim::host::{Host, Life};

/// Looks for peers that are not up.
pub(super) struct AllAreUp;

/// Why this peer may not be up, or what it does instead.
fn excuse(sight: &Sight<'_>, place: u32, host: &Host) -> Result<(), &'static str> {
    let ill = !host.wrongs.is_empty() || host.paused_since.is_some();
    match host.life {
        Life::Up(_) => Ok(()),
        Life::Off => {
            let stopped = host.down_by.is_some_and(|item| sight.active[item]);
            let waits = sight.plan.starts[place as usize] >= sight.now;
            if stopped || waits { Ok(()) } else { Err("does not run, and no fault keeps it down") }
        }
        Life::Booting(_) => {
            if ill {
                Ok(())
            } else {
                Err("starts, and never is ready")
            }
        }
        Life::Refused => {
            if ill {
                Ok(())
            } else {
                Err("refuses its log, and nobody did anything about it")
            }
        }
    }
}

impl Check for AllAreUp {
    fn id(&self) -> &'static str {
        "L2"
    }

    fn settled(&mut self, sight: &Sight<'_>) -> Verdict {
        if sight.live().next().is_none() {
            return Err("nobody is up, so that nothing can be judged".to_owned());
        }
        for (place, host) in (0..).zip(sight.hosts).filter(|(place, _)| sight.is_healed(*place)) {
            excuse(sight, place, host).map_err(|what| format!("{} {what}", sight.name(place)))?;
        }
        Ok(())
    }
}

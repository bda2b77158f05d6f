//! L2: after the calm every healed peer that should run is up, unless something is wrong with its machine for good.
//!
//! The other invariants look at the peers that are up. One that starts and is never ready would be seen by none of them.

use super::{Check, Sight, Verdict};
use crate::sim::host::{Host, Life};
use crate::sim::plan::Fault;

/// Looks for peers that are not up.
pub(super) struct AllAreUp;

/// Whether a start may take for ever where this lasts.
const fn hinders(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::StallDisk { .. }
            | Fault::SlowDisk { .. }
            | Fault::FullDisk { .. }
            | Fault::FailingDisk { .. }
            | Fault::UnreadableDisk { .. }
            | Fault::Slow { .. }
    )
}

/// Why this peer may not be up, or what it does instead.
fn excuse(sight: &Sight<'_>, place: u32, host: &Host) -> Result<(), &'static str> {
    let lasting =
        || sight.plan.items.iter().zip(sight.active).filter(|(_, active)| **active).map(|(item, _)| &item.fault);
    let hindered =
        || host.paused_since.is_some() || lasting().any(|fault| fault.peer() == Some(place) && hinders(fault));
    let stopped = || host.down_by.is_some_and(|item| sight.active[item]);
    let waits = || sight.plan.starts[place as usize] >= sight.now;
    let (excused, what) = match host.life {
        Life::Up(_) => return Ok(()),
        Life::Off => (stopped() || waits(), "does not run, and no fault keeps it down"),
        Life::Booting(_) => (hindered(), "starts, and never is ready"),
        Life::Refused => (hindered(), "refuses its log, and nobody did anything about it"),
    };
    if excused { Ok(()) } else { Err(what) }
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

//! U11: nobody starts from a log that a newer version wrote into; it is refused by name, and nothing of it is changed. The refusals
//! themselves are judged where they happen.

use super::{Check, Sight, Verdict};
use crate::node::BootReport;

/// Looks at each start.
pub(super) struct NewerLogsAreRefused;

impl Check for NewerLogsAreRefused {
    fn id(&self) -> &'static str {
        "U11"
    }

    fn on_ready(&mut self, sight: &Sight<'_>, who: u32, _: &BootReport) -> Verdict {
        let host = &sight.hosts[who as usize];
        // Of a damaged disk nobody knows what is left.
        if host.is_next || host.damaged || !host.disk.has_newer() {
            return Ok(());
        }
        Err(format!("{} starts from a log that a newer version wrote into", sight.name(who)))
    }
}

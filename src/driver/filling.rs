//! A peer that began with nothing, or out of a recovery, is being filled until it holds what its neighbours told it of. Until then it
//! is alive, answers, and is not ready.
//!
//! That is over for good when it has heard out every neighbour and lacks nothing of what they hold; or when for [`ALONE_MAX`] there
//! was nobody to be filled by, so that a peer alone serves with what it has.

use std::path::Path;
use std::time::{Duration, Instant};

use super::aftermath;
use super::peer::{Link, Phase};
use crate::node::Intake;

/// How often it is looked whether it is filled.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// So long it is waited for neighbours who hold more.
const ALONE_MAX: Duration = Duration::from_secs(30);

/// Whether a peer with so many entries in its log begins so; one that knows nobody has nobody to be filled by.
pub(super) fn begins(dir: &Path, entries: u64, knows_somebody: bool) -> bool {
    knows_somebody && (entries == 0 || aftermath::is_awaited(dir))
}

/// Looks until it is over.
pub(super) async fn watch(link: Link) {
    let mut waiting = Waiting { since: Instant::now() };
    while link.phase() != Phase::Stopped {
        // Its loop may not have begun yet.
        if let Ok(report) = link.report().await
            && waiting.is_over(report.node.intake, report.node.read_only.is_none(), Instant::now())
        {
            tracing::info!("it holds what its neighbours hold: it is ready");
            return link.facts.set_filled();
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Since when nobody is known who holds more.
struct Waiting {
    since: Instant,
}

impl Waiting {
    fn is_over(&mut self, Intake { behind, heard, unheard }: Intake, writes: bool, now: Instant) -> bool {
        // Whoever cannot write takes nothing, and does not count what it lacks.
        if !writes || (behind > 0 && heard + unheard > 0) {
            self.since = now;
        }
        writes && ((heard > 0 && unheard == 0 && behind == 0) || now.duration_since(self.since) >= ALONE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_filled_when_it_lacks_nothing_of_what_all_neighbours_told_or_when_it_stays_alone() {
        let (start, later) = (Instant::now(), |seconds| Instant::now() + Duration::from_secs(seconds));
        let intake = |behind, heard, unheard| Intake { behind, heard, unheard };
        let mut waiting = Waiting { since: start };
        assert!(!waiting.is_over(intake(0, 0, 0), true, later(1)) && !waiting.is_over(intake(0, 0, 2), true, later(2)));
        assert!(!waiting.is_over(intake(0, 1, 1), true, later(3)), "one has not told yet what it holds");
        assert!(!waiting.is_over(intake(3, 2, 0), true, later(100)), "however long it takes");
        assert!(!waiting.is_over(intake(3, 0, 0), true, later(120)), "the others are gone for a moment");
        assert!(waiting.is_over(intake(0, 2, 0), true, later(121)));
        assert!(waiting.is_over(intake(3, 0, 0), true, later(140)), "they are gone for long");
        assert!(Waiting { since: start }.is_over(intake(0, 0, 1), true, later(31)), "nobody says anything");
    }

    #[test]
    fn a_peer_whose_disk_takes_nothing_is_not_filled() {
        let (start, full) = (Instant::now(), Intake { behind: 0, heard: 2, unheard: 0 });
        let mut waiting = Waiting { since: start };
        assert!(!waiting.is_over(full, false, start) && !waiting.is_over(full, false, start + 9 * ALONE_MAX));
        assert!(!waiting.is_over(Intake { heard: 0, ..full }, true, start + 9 * ALONE_MAX), "it was not alone");
        assert!(waiting.is_over(full, true, start + 9 * ALONE_MAX));
    }
}

//! A peer that began with nothing, or out of a recovery, is being filled until it holds what its neighbours told it of. Until then it
//! is alive, answers, and is not ready.
//!
//! That is over for good when it has heard out every neighbour and lacks nothing of what they hold; or when for [`ALONE_MAX`] there
//! was nobody to be filled by, so that a peer alone serves with what it has; or when for [`STUCK_MAX`] no entry came though somebody
//! holds more: one neighbour that cannot give what it names keeps nobody away from all the rest.

use std::path::Path;
use std::time::{Duration, Instant};

use super::aftermath;
use super::peer::{Link, Phase};
use crate::node::{Intake, Status};

/// How often it is looked whether it is filled.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// So long it is waited for neighbours who hold more.
const ALONE_MAX: Duration = Duration::from_secs(30);
/// So long no entry may come while neighbours hold more, or have not told what they hold.
const STUCK_MAX: Duration = Duration::from_secs(600);

/// Whether a peer with so many entries in its log begins so; one that knows nobody has nobody to be filled by.
pub(super) fn begins(dir: &Path, entries: u64, knows_somebody: bool) -> bool {
    knows_somebody && (entries == 0 || aftermath::is_awaited(dir))
}

/// Looks until it is over.
pub(super) async fn watch(link: Link) {
    let mut waiting = Waiting::begun(Instant::now());
    while link.phase() != Phase::Stopped {
        // Its loop may not have begun yet.
        if let Ok(report) = link.report().await {
            let Status { intake, entries, read_only, .. } = report.node;
            if waiting.is_over(intake, (entries, read_only.is_none()), Instant::now()) {
                tell(intake);
                return link.facts.set_filled();
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn tell(Intake { behind, heard, unheard }: Intake) {
    if behind == 0 && unheard == 0 && heard > 0 {
        return tracing::info!("it holds what its neighbours hold: it is ready");
    }
    tracing::warn!(
        behind,
        heard,
        unheard,
        "it is ready with what it has: nobody gave it more, though in so many logs somebody holds more, or so many neighbours have not \
         told what they hold; look at these with `oxigdal-ha status`"
    );
}

struct Waiting {
    /// Since when nobody is known who holds more.
    since: Instant,
    /// How many entries there were, and since when it is so many.
    entries: (u64, Instant),
}

impl Waiting {
    const fn begun(now: Instant) -> Self {
        Self { since: now, entries: (0, now) }
    }

    /// Of so many entries, and whether its log takes writes.
    fn is_over(&mut self, intake: Intake, (entries, writes): (u64, bool), now: Instant) -> bool {
        let Intake { behind, heard, unheard } = intake;
        if !writes || entries != self.entries.0 {
            self.entries = (entries, now);
        }
        // Whoever cannot write takes nothing, and does not count what it lacks.
        if !writes || (behind > 0 && heard + unheard > 0) {
            self.since = now;
        }
        let passed = |since: Instant, most: Duration| now.duration_since(since) >= most;
        let given_up = passed(self.since, ALONE_MAX) || passed(self.entries.1, STUCK_MAX);
        writes && ((heard > 0 && unheard == 0 && behind == 0) || given_up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_filled_when_it_lacks_nothing_of_what_all_neighbours_told_or_when_it_stays_alone() {
        let (start, later) = (Instant::now(), |seconds| Instant::now() + Duration::from_secs(seconds));
        let intake = |behind, heard, unheard| Intake { behind, heard, unheard };
        let mut waiting = Waiting::begun(start);
        assert!(
            !waiting.is_over(intake(0, 0, 0), (0, true), later(1))
                && !waiting.is_over(intake(0, 0, 2), (0, true), later(2))
        );
        assert!(!waiting.is_over(intake(0, 1, 1), (0, true), later(3)), "one has not told yet what it holds");
        assert!(!waiting.is_over(intake(3, 2, 0), (0, true), later(100)), "however long it takes");
        assert!(!waiting.is_over(intake(3, 0, 0), (0, true), later(120)), "the others are gone for a moment");
        assert!(waiting.is_over(intake(0, 2, 0), (0, true), later(121)));
        assert!(waiting.is_over(intake(3, 0, 0), (0, true), later(140)), "they are gone for long");
        assert!(Waiting::begun(start).is_over(intake(0, 0, 1), (0, true), later(31)), "nobody says anything");
    }

    #[test]
    fn a_peer_whose_disk_takes_nothing_is_not_filled() {
        let (start, full) = (Instant::now(), Intake { behind: 0, heard: 2, unheard: 0 });
        let mut waiting = Waiting::begun(start);
        assert!(!waiting.is_over(full, (0, false), start) && !waiting.is_over(full, (0, false), start + 9 * ALONE_MAX));
        assert!(!waiting.is_over(Intake { heard: 0, ..full }, (0, true), start + 9 * ALONE_MAX), "it was not alone");
        assert!(waiting.is_over(full, (0, true), start + 9 * ALONE_MAX));
    }

    #[test]
    fn what_nobody_gives_is_not_waited_for_for_ever() {
        let (start, lacks) = (Instant::now(), Intake { behind: 1, heard: 2, unheard: 0 });
        let mut waiting = Waiting::begun(start);
        assert!(!waiting.is_over(lacks, (5, true), start + STUCK_MAX / 2));
        assert!(!waiting.is_over(lacks, (6, true), start + STUCK_MAX), "entries come, as slowly as they do");
        assert!(!waiting.is_over(lacks, (6, false), start + 2 * STUCK_MAX), "it was the disk");
        assert!(!waiting.is_over(lacks, (6, true), start + 3 * STUCK_MAX - Duration::from_secs(1)));
        assert!(waiting.is_over(lacks, (6, true), start + 3 * STUCK_MAX));
    }
}

//! The first life behind a recovery adds to its figures: how long until the peer served, and until it had caught up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::peer::{Link, Phase};
use crate::recovery::history::{self, Entry};
use crate::recovery::target::Stamp;
use crate::types::WallTime;

/// How often it is looked whether the peer has caught up.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// For how long that is looked for.
const LOOK_MAX: Duration = Duration::from_hours(24);

const SERVING: &str = "run: serving";
const CAUGHT_UP: &str = "run: caught up";

/// Whether the directory's last recovery succeeded, and no peer has caught up with the others since.
pub(super) fn is_awaited(dir: &Path) -> bool {
    let entries = history::read(dir).unwrap_or_default();
    let recovery = entries.iter().rposition(|entry| !entry.what.starts_with("run") && entry.error.is_none());
    recovery.is_some_and(|at| entries[at..].iter().all(|entry| entry.what != CAUGHT_UP))
}

/// Where, and since when.
#[derive(Debug)]
pub(super) struct Aftermath {
    pub(super) dir: PathBuf,
    pub(super) began: Instant,
    pub(super) started: WallTime,
}

impl Aftermath {
    /// Called when the peer serves. What is written is for people and for drills: that it cannot be is no reason to stop.
    pub(super) async fn watch(self, link: Link) {
        let since = self.began.elapsed();
        let dir = self.dir.clone();
        let Ok(Ok(entries)) = tokio::task::spawn_blocking(move || history::read(&dir)).await else { return };
        let Some(recovery) = entries.iter().rfind(|entry| !entry.what.starts_with("run") && entry.error.is_none())
        else {
            return;
        };
        let told = |what: &str| {
            let behind = entries.iter().rev().take_while(|entry| *entry != recovery);
            behind.into_iter().any(|entry| entry.what == what)
        };
        if !told(SERVING) {
            self.keep(SERVING, recovery, since).await;
        }
        if told(CAUGHT_UP) {
            return;
        }
        while self.began.elapsed() < LOOK_MAX && link.phase() != Phase::Stopped {
            tokio::time::sleep(LOOK_EVERY).await;
            let Ok(report) = link.report().await else { continue };
            // An audit is made of neighbours only whose logs are the same, while nothing is under way.
            if report.node.audit.agreed + report.node.audit.differed > 0 {
                return self.keep(CAUGHT_UP, recovery, self.began.elapsed()).await;
            }
        }
    }

    async fn keep(&self, what: &str, recovery: &Entry, took: Duration) {
        let entry = Entry {
            what: what.to_owned(),
            target: recovery.target.clone(),
            from: format!("{} of {}", recovery.what, recovery.started),
            started: Stamp(self.started).to_string(),
            seconds: BTreeMap::from([("since the start".to_owned(), took.as_secs_f64())]),
            ..Entry::default()
        };
        let dir = self.dir.clone();
        match tokio::task::spawn_blocking(move || history::append(&dir, &entry)).await {
            Ok(Err(error)) => tracing::warn!(%error, "what the recovery took was not written down"),
            _ => tracing::info!(what, seconds = took.as_secs_f64(), "the first start behind a recovery"),
        }
    }
}

//! Removing backups: mark, wait, look again, delete. No lock is needed.
//!
//! A backup that no rule keeps gets a **mark** (`tombs/`). Nothing is built on a marked backup any more. When the mark
//! is older than the grace period, it is looked again whether anything needs the backup; only then it goes: children
//! before parents, the manifest before the objects, the mark last. So a crash at any point leaves either a whole backup
//! or a mark by which the next run goes on.
//!
//! **Against a backup that is being made at the same time**: it writes its intent, which names its parent, and then
//! looks for marks; whoever marks writes the mark and then looks for intents. One of the two sees the other, whoever is
//! first, and before its manifest the backup looks again.

use std::collections::BTreeMap;
use std::time::Duration;

use super::catalogue::Catalogue;
use super::create::{DAY_MICROS, PENDING_DAYS, age};
use super::error::Error;
use super::host::{Host, Phase, Progress};
use super::id::BackupId;
use super::manifest::BackupMetadata;
use super::repository::{Repository, Tomb, data_folder, intent_name, manifest_name, tomb_name};
use super::retention::{Candidate, Kept, Retention, close};
use crate::types::{NodeId, WallTime};

/// What is done with a backup, and why.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Fate {
    /// It stays.
    Keep {
        /// Why: rules, and what continues it.
        why: Vec<String>,
        /// It was marked, and is needed again.
        unmark: bool,
    },
    /// No rule keeps it: it is marked, and deleted when the grace period is over.
    Mark,
    /// It is marked, and the grace period is not over.
    Wait {
        /// When it was marked.
        marked: WallTime,
    },
    /// It is deleted.
    Delete {
        /// When it was marked.
        marked: WallTime,
    },
    /// An interrupted run left it, and nobody has gone on with it.
    Sweep {
        /// When it was begun.
        begun: WallTime,
    },
}

/// What a run of prune does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pruning {
    node: NodeId,
    /// Each backup, oldest first.
    pub fates: BTreeMap<BackupId, Fate>,
}

/// What prune has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Pruned {
    /// Backups marked.
    pub marked: u64,
    /// Marks taken back.
    pub unmarked: u64,
    /// Backups deleted, interrupted ones too.
    pub deleted: u64,
    /// Objects deleted.
    pub objects: u64,
    /// Bytes of these.
    pub bytes: u64,
}

impl Pruning {
    /// What would be done. Changes nothing.
    ///
    /// # Errors
    /// [`Error::EmptyPolicy`]; and any fault of the catalogue: what a manifest that cannot be read continues is not
    /// known, so nothing is removed.
    pub fn plan(mut catalogue: Catalogue, policy: Retention, grace: Duration, now: WallTime) -> Result<Self, Error> {
        let candidates = candidates(&mut catalogue)?;
        let mut kept = policy.judge(&candidates, now)?;
        keep_for_intents(&catalogue, &candidates, &mut kept, now);
        let grace = u64::try_from(grace.as_micros()).unwrap_or(u64::MAX);
        let mut fates = BTreeMap::new();
        for backup in &candidates {
            let tomb = catalogue.tombs.get(&backup.id);
            let fate = match (kept.remove(&backup.id), tomb) {
                (Some(why), tomb) => Fate::Keep { why: why.into_iter().collect(), unmark: tomb.is_some() },
                (None, None) => Fate::Mark,
                (None, Some(tomb)) if age(tomb.marked, now) < grace => Fate::Wait { marked: tomb.marked },
                (None, Some(tomb)) => Fate::Delete { marked: tomb.marked },
            };
            fates.insert(backup.id, fate);
        }
        for (id, tomb) in &catalogue.tombs {
            // Its manifest is gone: a deletion that was broken off.
            fates.entry(*id).or_insert(Fate::Delete { marked: tomb.marked });
        }
        for (id, intent) in &catalogue.intents {
            if catalogue.backups.contains_key(id) {
                continue;
            }
            if age(intent.begun, now) >= PENDING_DAYS * DAY_MICROS {
                fates.entry(*id).or_insert(Fate::Sweep { begun: intent.begun });
            }
        }
        Ok(Self { node: catalogue.node, fates })
    }

    /// Does it.
    ///
    /// # Errors
    /// What the store refuses. What was not done is done by the next run.
    pub async fn run(&self, repository: &Repository, host: &dyn Host) -> Result<Pruned, Error> {
        let mut pruned = Pruned::default();
        let now = host.wall();
        for (id, fate) in &self.fates {
            match fate {
                Fate::Mark => {
                    repository
                        .write(&tomb_name(self.node, *id), &Tomb { id: *id, node: self.node, marked: now })
                        .await?;
                    pruned.marked += 1;
                }
                Fate::Keep { unmark: true, .. } => {
                    repository.store.remove(&tomb_name(self.node, *id)).await?;
                    pruned.unmarked += 1;
                }
                Fate::Sweep { .. } => {
                    // The mark first: until the last object is gone it says what happens here.
                    repository
                        .write(&tomb_name(self.node, *id), &Tomb { id: *id, node: self.node, marked: now })
                        .await?;
                    self.delete(repository, *id, &mut pruned, host).await?;
                }
                Fate::Keep { .. } | Fate::Wait { .. } | Fate::Delete { .. } => {}
            }
        }
        let due: Vec<BackupId> =
            self.fates.iter().filter(|(_, fate)| matches!(fate, Fate::Delete { .. })).map(|(id, _)| *id).collect();
        let still_due = self.look_again(repository, &due, now).await?;
        for id in still_due {
            self.delete(repository, id, &mut pruned, host).await?;
        }
        Ok(pruned)
    }

    /// Of what is due, what nothing that is there now needs; children before what they continue.
    async fn look_again(
        &self,
        repository: &Repository,
        due: &[BackupId],
        now: WallTime,
    ) -> Result<Vec<BackupId>, Error> {
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let mut catalogue = Catalogue::read(repository, self.node).await?;
        let candidates = candidates(&mut catalogue)?;
        let stays = candidates.iter().filter(|backup| !due.contains(&backup.id) || !catalogue.is_marked(backup.id));
        let mut kept: Kept = stays.map(|backup| (backup.id, ["stays".to_owned()].into())).collect();
        keep_for_intents(&catalogue, &candidates, &mut kept, now);
        close(&candidates, &mut kept);
        let mut free: Vec<BackupId> = due.iter().copied().filter(|id| !kept.contains_key(id)).collect();
        let depth = |id: BackupId| {
            let mut at = candidates.iter().find(|backup| backup.id == id);
            let mut depth = 0_usize;
            while let Some(parent) = at.and_then(|backup| backup.parent).filter(|_| depth <= candidates.len()) {
                depth += 1;
                at = candidates.iter().find(|backup| backup.id == parent);
            }
            depth
        };
        free.sort_by_key(|id| std::cmp::Reverse((depth(*id), *id)));
        Ok(free)
    }

    async fn delete(
        &self,
        repository: &Repository,
        id: BackupId,
        pruned: &mut Pruned,
        host: &dyn Host,
    ) -> Result<(), Error> {
        repository.store.remove(&manifest_name(self.node, id)).await?;
        for object in repository.store.list(&data_folder(self.node, id)).await? {
            repository.store.remove(&object.name).await?;
            pruned.objects += 1;
            pruned.bytes += object.len;
            host.progress(&Progress {
                phase: Phase::Prune,
                done: pruned.bytes,
                total: None,
                objects: pruned.objects,
                records: 0,
            });
        }
        repository.store.remove(&intent_name(self.node, id)).await?;
        repository.store.remove(&tomb_name(self.node, id)).await?;
        pruned.deleted += 1;
        Ok(())
    }
}

/// What a backup that is being made continues is kept, as long as it can still be finished.
fn keep_for_intents(catalogue: &Catalogue, candidates: &[Candidate], kept: &mut Kept, now: WallTime) {
    for (id, intent) in &catalogue.intents {
        let open = !catalogue.backups.contains_key(id) && age(intent.begun, now) < PENDING_DAYS * DAY_MICROS;
        if let Some(parent) = intent.parent.as_ref().filter(|_| open) {
            kept.entry(parent.id).or_default().insert(format!("backup {id} is being made on it"));
        }
    }
    close(candidates, kept);
}

/// What there is to be judged. What a manifest that cannot be read continues is not known: then nothing is.
fn candidates(catalogue: &mut Catalogue) -> Result<Vec<Candidate>, Error> {
    if let Some(fault) = catalogue.faults.pop() {
        return Err(fault);
    }
    let candidate = |backup: &BackupMetadata| Candidate {
        id: backup.id,
        parent: backup.parent.as_ref().map(|parent| parent.id),
        at: backup.finished,
    };
    Ok(catalogue.backups().map(candidate).collect())
}

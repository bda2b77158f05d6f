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
//!
//! **Against another prune**: whoever deletes says so (`deleting/`) and then looks whether the mark is there still; whoever takes
//! a mark back removes it and then looks whether a deletion has begun. Again one of the two sees the other: a backup that was
//! taken back is there, or it is told that it is going.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::catalogue::{Catalogue, id_of};
use super::create::{DAY_MICROS, PENDING_DAYS, age};
use super::error::Error;
use super::host::{Host, Phase, Progress};
use super::id::BackupId;
use super::manifest::BackupMetadata;
use super::pending;
use super::private::LeftOver;
use super::repository::{
    Repository, Tomb, data_folder, deleting_name, intent_name, manifest_name, takings_folder, tomb_name,
};
use super::retention::{Candidate, Kept, Retention, close};
use crate::types::{NodeId, WallTime};

/// The longest mark.
const TOMB_MAX: u64 = 64 << 10;

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
    /// Files that killed processes left and that no list of the store shows; they are removed.
    pub left_over: Vec<LeftOver>,
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
    /// Files removed that killed processes had left.
    pub left_over: u64,
    /// Backups that another prune has marked, or takes back, at the same time: they were left to it.
    pub contended: u64,
}

impl Pruning {
    /// What would be done. Changes nothing. A backup that is given up goes whatever the rules say, also if its manifest cannot be
    /// read.
    ///
    /// # Errors
    /// [`Error::EmptyPolicy`]; and any fault of the catalogue that is not of a backup given up, or marked: what a manifest that
    /// cannot be read continues is not known, so nothing is removed.
    pub fn plan(
        mut catalogue: Catalogue,
        policy: Retention,
        given_up: &BTreeSet<BackupId>,
        grace: Duration,
        now: WallTime,
    ) -> Result<Self, Error> {
        let damaged: Vec<BackupId> = catalogue
            .faults
            .iter()
            .filter_map(|fault| id_of(fault.object()?))
            .filter(|id| given_up.contains(id))
            .collect();
        let candidates = candidates(&mut catalogue, given_up)?;
        let left: Vec<Candidate> = candidates.iter().filter(|backup| !given_up.contains(&backup.id)).copied().collect();
        let mut kept = policy.judge(&left, now)?;
        keep_for_intents(&catalogue, &left, &mut kept, now);
        keep_histories(&catalogue, &left, &mut kept, now);
        let grace = u64::try_from(grace.as_micros()).unwrap_or(u64::MAX);
        let mut fates = BTreeMap::new();
        for id in candidates.iter().map(|backup| backup.id).chain(damaged) {
            let tomb = catalogue.tombs.get(&id);
            let fate = match (kept.remove(&id), tomb) {
                (Some(why), tomb) => Fate::Keep { why: why.into_iter().collect(), unmark: tomb.is_some() },
                (None, None) => Fate::Mark,
                (None, Some(tomb)) if age(tomb.marked, now) < grace => Fate::Wait { marked: tomb.marked },
                (None, Some(tomb)) => Fate::Delete { marked: tomb.marked },
            };
            fates.insert(id, fate);
        }
        for (id, tomb) in &catalogue.tombs {
            // Its manifest is gone, or cannot be read: a deletion that was broken off, or a backup that was given up.
            let due = age(tomb.marked, now) >= grace
                || !catalogue.faults.iter().any(|fault| fault.object().and_then(id_of) == Some(*id));
            let marked = tomb.marked;
            fates.entry(*id).or_insert(if due { Fate::Delete { marked } } else { Fate::Wait { marked } });
        }
        for (id, intent) in &catalogue.intents {
            if catalogue.backups.contains_key(id) {
                continue;
            }
            if age(intent.begun, now) >= PENDING_DAYS * DAY_MICROS {
                fates.entry(*id).or_insert(Fate::Sweep { begun: intent.begun });
            }
        }
        Ok(Self { node: catalogue.node, fates, left_over: Vec::new() })
    }

    /// What would be done with ranges of the archive that others stand for, and with what was left of deletions and writers. All
    /// other backups stay as they are, marked or not.
    ///
    /// # Errors
    /// As [`Self::plan`].
    pub(super) fn of_archive(catalogue: Catalogue, grace: Duration, now: WallTime) -> Result<Self, Error> {
        let ranges: BTreeSet<BackupId> =
            catalogue.backups().filter(|backup| backup.archive).map(|backup| backup.id).collect();
        let all = Retention { last: u32::MAX, ..Retention::default() };
        let mut plan = Self::plan(catalogue, all, &BTreeSet::new(), grace, now)?;
        plan.fates.retain(|id, fate| ranges.contains(id) || !matches!(fate, Fate::Keep { .. }));
        Ok(plan)
    }

    /// Looks also for what killed processes left in a local repository and nobody has touched for as long as `grace`.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn with_left_over(mut self, repository: &Repository, grace: Duration, now: WallTime) -> Result<Self, Error> {
        self.left_over = repository.store.left_over(now.as_secs().saturating_sub(grace.as_secs()))?;
        Ok(self)
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
                Fate::Mark => match self.mark(repository, *id, now).await? {
                    true => pruned.marked += 1,
                    false => pruned.contended += 1,
                },
                Fate::Keep { unmark: true, .. } => {
                    repository.store.remove(&tomb_name(self.node, *id)).await?;
                    let deleting = deleting_name(self.node, *id);
                    if repository.store.find(&deleting, TOMB_MAX).await?.is_some() {
                        return Err(Error::Going { id: *id });
                    }
                    pruned.unmarked += 1;
                }
                Fate::Sweep { .. } => {
                    // The mark first: until the last object is gone it says what happens here.
                    if self.mark(repository, *id, now).await? {
                        self.delete(repository, *id, &mut pruned, host).await?;
                    }
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
        for LeftOver { path, .. } in &self.left_over {
            match std::fs::remove_file(path) {
                Ok(()) => pruned.left_over += 1,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    let error = object_store::Error::Generic { store: "directory", source: error.into() };
                    return Err(Error::Store { what: "remove", name: path.display().to_string(), error });
                }
            }
        }
        Ok(pruned)
    }

    /// Marks a backup; false if another prune has done so at the same time.
    async fn mark(&self, repository: &Repository, id: BackupId, marked: WallTime) -> Result<bool, Error> {
        match repository.write(&tomb_name(self.node, id), &Tomb { id, node: self.node, marked }).await {
            Ok(_) => Ok(true),
            Err(Error::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
        }
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
        let candidates = candidates(&mut catalogue, &due.iter().copied().collect())?;
        let stays = candidates.iter().filter(|backup| !due.contains(&backup.id) || !catalogue.is_marked(backup.id));
        let mut kept: Kept = stays.map(|backup| (backup.id, ["stays".to_owned()].into())).collect();
        keep_for_intents(&catalogue, &candidates, &mut kept, now);
        close(&candidates, &mut kept);
        // What is kept is all that will be left: it has to be there before anything else goes.
        for backup in catalogue.backups().filter(|backup| kept.contains_key(&backup.id)) {
            let listed = repository.store.lengths(&data_folder(backup.node, backup.id)).await?;
            backup.objects.iter().try_for_each(|object| object.check_listed(&listed, backup.id))?;
        }
        let marked = |id: &BackupId| catalogue.is_marked(*id);
        let mut free: Vec<BackupId> = due.iter().copied().filter(|id| !kept.contains_key(id) && marked(id)).collect();
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
        // Whoever takes the mark back at the same time sees this, or its mark is not there any more.
        let (deleting, tomb) = (deleting_name(self.node, id), tomb_name(self.node, id));
        repository.store.make(&deleting, Bytes::new()).await?;
        if repository.store.find(&tomb, TOMB_MAX).await?.is_none() {
            repository.store.remove(&deleting).await?;
            pruned.contended += 1;
            return Ok(());
        }
        let manifest = manifest_name(self.node, id);
        let mut objects: BTreeMap<String, u64> = repository.store.lengths(&data_folder(self.node, id)).await?;
        // A store that lists late may not show all of them; what cannot be read tells nothing.
        if let Ok(Some((metadata, _))) = repository.manifest(&manifest).await {
            objects.extend(metadata.objects.into_iter().map(|object| (object.key, object.len)));
        }
        repository.store.remove(&manifest).await?;
        for (name, len) in objects {
            repository.store.remove(&name).await?;
            pruned.objects += 1;
            pruned.bytes += len;
            host.progress(&Progress {
                phase: Phase::Prune,
                done: pruned.bytes,
                total: None,
                objects: pruned.objects,
                records: 0,
            });
        }
        pending::forget(repository, &intent_name(self.node, id), &takings_folder(self.node, id)).await?;
        repository.store.remove(&deleting).await?;
        repository.store.remove(&tomb).await?;
        pruned.deleted += 1;
        Ok(())
    }
}

/// Which of several histories of one log is the right one nobody knows, and rules that count backups do not either: the end of each stays,
/// unless it is given up.
fn keep_histories(catalogue: &Catalogue, left: &[Candidate], kept: &mut Kept, now: WallTime) {
    let Some(newest) = catalogue.newest(now).map(|newest| newest.id) else { return };
    let others = catalogue.beside(newest, now);
    let mut ends: Vec<BackupId> = [newest].into_iter().chain(others.iter().copied()).collect();
    ends.retain(|end| !others.is_empty() && left.iter().any(|backup| backup.id == *end));
    for end in ends {
        kept.entry(end).or_default().insert("the end of one of several histories".into());
    }
    close(left, kept);
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
fn candidates(catalogue: &mut Catalogue, given_up: &BTreeSet<BackupId>) -> Result<Vec<Candidate>, Error> {
    if let Some(fault) = catalogue.take_blocking(given_up) {
        return Err(fault);
    }
    // Whoever stands for others does so only while its own chain is whole and stays.
    let stands = |backup: &&BackupMetadata| {
        let whole = catalogue.chain(backup.id);
        whole.is_ok_and(|chain| chain.iter().all(|link| !catalogue.is_marked(link.id) && !given_up.contains(&link.id)))
    };
    let replaced: BTreeMap<BackupId, BackupId> = catalogue
        .backups()
        .filter(|backup| !backup.replaces.is_empty())
        .filter(stands)
        .flat_map(|backup| backup.replaces.iter().map(|replaced| (*replaced, backup.id)))
        .collect();
    let candidate = |backup: &BackupMetadata| Candidate {
        id: backup.id,
        parent: backup.parent.as_ref().map(|parent| parent.id),
        at: backup.finished,
        archive: backup.archive,
        replaced_by: replaced.get(&backup.id).copied(),
    };
    Ok(catalogue.backups().map(candidate).collect())
}

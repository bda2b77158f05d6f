//! Looking whether a repository still holds what it says. Everything is looked at, also behind the first fault.

use super::catalogue::Catalogue;
use super::error::Error;
use super::host::{Host, Phase, Progress};
use super::id::BackupId;
use super::manifest::BackupMetadata;
use super::object::OBJECT_MAX;
use super::repository::{Repository, data_folder};
use super::restore::{Opened, check_sum};
use crate::probe::planted;

/// How closely it is looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Manifests, chains, and that every object is listed with its length. Reads no object.
    List,
    /// Every byte of every object against its checksum. Needs no key.
    Checksums,
    /// Every object is decrypted and unpacked, and its records counted.
    Content,
}

impl Level {
    /// By its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::List, Self::Checksums, Self::Content].into_iter().find(|level| level.name() == name)
    }

    /// What it is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Checksums => "checksums",
            Self::Content => "content",
        }
    }
}

/// What was found.
#[derive(Debug, Default)]
pub struct Verified {
    /// Backups looked at.
    pub backups: u64,
    /// Objects looked at.
    pub objects: u64,
    /// Bytes read.
    pub bytes: u64,
    /// What is wrong; each names its object.
    pub faults: Vec<Error>,
}

impl Verified {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.faults.is_empty()
    }
}

/// Looks at all backups of a node, or at one and what it continues.
///
/// # Errors
/// What the store refuses: then nothing is known; [`Error::NoBackup`] where there is nothing to look at. Damage is no error but a fault in what is returned.
pub async fn verify(
    repository: &Repository,
    mut catalogue: Catalogue,
    only: Option<BackupId>,
    level: Level,
    host: &dyn Host,
) -> Result<Verified, Error> {
    if level == Level::Content && repository.is_encrypted() && repository.key.is_none() {
        return Err(Error::NoKey);
    }
    let mut verified = Verified { faults: std::mem::take(&mut catalogue.faults), ..Verified::default() };
    verified.faults.extend(repository.hurt());
    if catalogue.backups.is_empty() && verified.faults.is_empty() {
        // Who looks after backups must not hear that none is well.
        return Err(Error::NoBackup { wanted: format!("of node {} in {}", catalogue.node, repository.at()) });
    }
    let wanted: Vec<&BackupMetadata> = match only {
        None => catalogue.backups().collect(),
        Some(id) => match catalogue.chain(id) {
            Ok(chain) => chain,
            Err(error) => {
                verified.faults.push(error);
                return Ok(verified);
            }
        },
    };
    let last = only.or_else(|| catalogue.newest(host.wall()).map(|backup| backup.id));
    verified.faults.extend(last.and_then(|id| catalogue.check_alone(id, host.wall()).err()));
    let total = wanted.iter().map(|backup| backup.statistics.stored_bytes).fold(0, u64::saturating_add);
    let mut progress = Progress { phase: Phase::Verify, done: 0, total: Some(total), objects: 0, records: 0 };
    for backup in wanted {
        verified.backups += 1;
        if only.is_none() {
            // With one backup the chain has been followed.
            let broken = catalogue.chain(backup.id).err();
            verified.note(broken.map_or(Ok(()), Err))?;
        }
        verified.backup(repository, backup, level, &mut progress, host).await?;
    }
    Ok(verified)
}

impl Verified {
    /// Keeps a fault; the same object is complained about once.
    fn note(&mut self, result: Result<(), Error>) -> Result<(), Error> {
        match result {
            Ok(()) => {}
            Err(error @ Error::Store { .. }) => return Err(error),
            Err(error) if self.faults.iter().any(|known| known.to_string() == error.to_string()) => {}
            Err(error) => self.faults.push(error),
        }
        Ok(())
    }

    async fn backup(
        &mut self,
        repository: &Repository,
        backup: &BackupMetadata,
        level: Level,
        progress: &mut Progress,
        host: &dyn Host,
    ) -> Result<(), Error> {
        let listed = repository.store.lengths(&data_folder(backup.node, backup.id)).await?;
        let needed_by = format!("backup {} holds it", backup.id);
        for (place, object) in (0..).zip(&backup.objects) {
            self.objects += 1;
            let listed = object.check_listed(&listed, backup.id);
            if planted!("backup/missing-passed-over") && matches!(listed, Err(Error::Missing { .. })) {
                continue;
            }
            if listed.is_err() || level == Level::List {
                self.note(listed)?;
                continue;
            }
            match repository.store.read(&object.key, OBJECT_MAX, &needed_by).await {
                Ok(bytes) => {
                    self.bytes += bytes.len() as u64;
                    self.note(match level {
                        Level::Content => {
                            Opened::of(repository, backup, place, object, &bytes).and_then(|mut opened| {
                                while let Some(frames) = opened.next()? {
                                    progress.records += frames.len() as u64;
                                }
                                Ok(())
                            })
                        }
                        Level::List | Level::Checksums => check_sum(object, &bytes),
                    })?;
                }
                Err(error) => self.note(Err(error))?,
            }
            (progress.done, progress.objects) = (self.bytes, self.objects);
            host.progress(progress);
        }
        Ok(())
    }
}

//! Reading a backup back: every object is checked before one of its records is given out, and the records are one run.

use super::batch;
use super::catalogue::Catalogue;
use super::error::{Cause, Error};
use super::host::{Host, Phase, Progress};
use super::id::BackupId;
use super::manifest::{BackupMetadata, ObjectEntry};
use super::object::{self, OBJECT_MAX, Owner};
use super::repository::{Repository, data_folder};
use crate::types::{Chain, Lsn};
use crate::wal::Frame;

/// Up to where each chain is restored: the record is the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upto {
    /// Of the main chain.
    pub main: Lsn,
    /// Of the events' chain.
    pub events: Lsn,
}

/// What can be restored: a backup with all that it continues.
#[derive(Debug)]
pub struct Plan<'a> {
    repository: &'a Repository,
    chain: Vec<&'a BackupMetadata>,
}

/// What was restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Restored {
    /// Records given out.
    pub records: u64,
    /// Bytes of these.
    pub plain_bytes: u64,
    /// Bytes of objects that were read for it.
    pub stored_bytes: u64,
    /// Objects that were read.
    pub objects: u64,
}

impl<'a> Plan<'a> {
    /// The backup with this id and what it continues.
    ///
    /// # Errors
    /// What of the chain does not hold.
    pub fn of(repository: &'a Repository, catalogue: &'a Catalogue, id: BackupId) -> Result<Self, Error> {
        if repository.is_encrypted() && repository.key.is_none() {
            return Err(Error::NoKey);
        }
        Ok(Self { repository, chain: catalogue.chain(id)? })
    }

    /// The newest backup. Any fault of the catalogue is one of it: a manifest that cannot be read may be the newest.
    ///
    /// # Errors
    /// The fault; [`Error::NoBackup`] if there is none at all.
    pub fn newest(repository: &'a Repository, catalogue: &'a mut Catalogue) -> Result<Self, Error> {
        if let Some(fault) = catalogue.faults.pop() {
            return Err(fault);
        }
        let id = catalogue.newest().map(|backup| backup.id);
        let id = id.ok_or_else(|| Error::NoBackup { wanted: format!("of node {}", catalogue.node) })?;
        Self::of(repository, catalogue, id)
    }

    /// The backup itself.
    #[must_use]
    pub fn backup(&self) -> &BackupMetadata {
        self.chain.last().expect("a chain has one link at least")
    }

    /// The backups that are read, the full one first.
    #[must_use]
    pub fn links(&self) -> &[&'a BackupMetadata] {
        &self.chain
    }

    /// Where the restored chain begins: what had expired when the backup was made does not come back.
    #[must_use]
    pub fn first(&self, chain: Chain) -> Lsn {
        self.backup().run(chain).oldest
    }

    /// All that the backup holds.
    #[must_use]
    pub fn all(&self) -> Upto {
        Upto { main: self.backup().main.last, events: self.backup().events.last }
    }

    /// Gives out the records of the main chain in order, then those of the events' chain, each from the first that the backup has up to
    /// `upto`, and in the segment that it stood in.
    /// Reads object by object: memory does not grow with the backup.
    ///
    /// # Errors
    /// Before anything is given out, if a record is asked for that is not there or an object is not listed as it should be; while it is, if an
    /// object is damaged or `take` refuses.
    pub async fn records(
        &self,
        upto: Upto,
        host: &dyn Host,
        mut take: impl FnMut(Chain, Frame) -> Result<(), Cause> + Send,
    ) -> Result<Restored, Error> {
        let mut restored = Restored::default();
        self.check_range(upto)?;
        self.check_listed().await?;
        let ends = [upto.main, upto.events];
        let total = self.objects(ends).map(|(_, _, object)| object.plain).sum();
        let mut next = Chain::ALL.map(|chain| self.first(chain));
        for (backup, place, object) in self.objects(ends) {
            let chain = Chain::from(object.chain);
            let at = usize::from(chain == Chain::Events);
            let needed_by = format!("backup {} holds it", backup.id);
            let bytes = self.repository.store.read(&object.key, OBJECT_MAX, &needed_by).await?;
            checked(self.repository, backup, place, object, &bytes, |frame| {
                let expected = next[at];
                if frame.lsn < expected || frame.lsn > ends[at] {
                    // What had expired, or comes after the target.
                    return Ok(());
                }
                if frame.lsn != expected {
                    return Err(Error::Gap { name: object.key.clone(), chain, expected, found: frame.lsn });
                }
                next[at] = expected.next();
                restored.records += 1;
                restored.plain_bytes += (batch::RECORD + frame.payload.len()) as u64;
                take(chain, frame).map_err(Error::Sink)
            })?;
            restored.objects += 1;
            restored.stored_bytes += object.len;
            host.progress(&Progress {
                phase: Phase::Restore,
                done: restored.plain_bytes.min(total),
                total: Some(total),
                objects: restored.objects,
                records: restored.records,
            });
        }
        for chain in Chain::ALL {
            let (expected, end) =
                (next[usize::from(chain == Chain::Events)], ends[usize::from(chain == Chain::Events)]);
            if expected <= end {
                let name = super::repository::manifest_name(self.backup().node, self.backup().id);
                return Err(Error::Gap { name, chain, expected, found: end.next() });
            }
        }
        Ok(restored)
    }

    fn check_range(&self, upto: Upto) -> Result<(), Error> {
        for (chain, wanted) in [(Chain::Main, upto.main), (Chain::Events, upto.events)] {
            let run = self.backup().run(chain);
            let (first, last) = (run.oldest, run.last);
            // One before the first is nothing at all.
            if wanted > last || wanted.next() < first {
                return Err(Error::OutOfRange { chain, wanted, id: self.backup().id, first, last });
            }
        }
        Ok(())
    }

    /// Whether the store has every object of the chain, with its length.
    async fn check_listed(&self) -> Result<(), Error> {
        for backup in &self.chain {
            let listed = self.repository.store.lengths(&data_folder(backup.node, backup.id)).await?;
            backup.objects.iter().try_for_each(|object| object.check_listed(&listed, backup.id))?;
        }
        Ok(())
    }

    /// The objects that hold something of what is wanted, in order.
    fn objects(&self, ends: [Lsn; 2]) -> impl Iterator<Item = (&'a BackupMetadata, u32, &'a ObjectEntry)> + '_ {
        Chain::ALL.into_iter().zip(ends).flat_map(move |(chain, end)| {
            let all = self
                .chain
                .iter()
                .flat_map(|backup| (0..).zip(&backup.objects).map(move |(place, object)| (*backup, place, object)));
            let first = self.first(chain);
            all.filter(move |(_, _, object)| {
                Chain::from(object.chain) == chain && object.first <= end && object.last >= first
            })
        })
    }
}

/// Gives out the records of an object, batch by batch, once it is known to be the one that the manifest names, to the last byte.
pub(super) fn checked(
    repository: &Repository,
    backup: &BackupMetadata,
    place: u32,
    object: &ObjectEntry,
    bytes: &bytes::Bytes,
    mut take: impl FnMut(Frame) -> Result<(), Error>,
) -> Result<(), Error> {
    check_sum(object, bytes)?;
    let name = &object.key;
    let owner = Owner { node: backup.node, backup: backup.id, place };
    let id = repository.id_bytes().expect("looked at when the repository was opened");
    let content = object::content(name, bytes, owner, id, repository.key.as_ref())?;
    let mut expected = object.first;
    for batch in batch::batches(&content) {
        for frame in batch.map_err(|what| Error::damaged(name, what))? {
            let chain = Chain::from(object.chain);
            if frame.lsn != expected || frame.position.segment.chain() != chain {
                return Err(Error::Gap { name: name.clone(), chain, expected, found: frame.lsn });
            }
            expected = expected.next();
            take(frame)?;
        }
    }
    if expected == object.last.next() {
        return Ok(());
    }
    Err(Error::damaged(name, format!("it ends before record {expected}, its manifest says with {}", object.last)))
}

/// Whether the bytes have the checksum that the manifest names.
pub(super) fn check_sum(object: &ObjectEntry, bytes: &[u8]) -> Result<(), Error> {
    let sum = object::check(&object.key, bytes)?;
    if bytes.len() as u64 == object.len && sum.to_hex().as_str() == object.blake3 {
        return Ok(());
    }
    Err(Error::damaged(&object.key, format!("it has BLAKE3 {}, its manifest says {}", sum.to_hex(), object.blake3)))
}

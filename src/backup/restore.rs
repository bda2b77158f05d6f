//! Reading a backup back: every object is checked before one of its records is given out, and the records are one run.

use std::collections::VecDeque;

use super::batch;
use super::catalogue::Catalogue;
use super::error::Error;
use super::host::{Host, Phase, Progress};
use super::id::BackupId;
use super::manifest::{BackupMetadata, ChainName, ObjectEntry};
use super::object::{self, OBJECT_MAX, Owner};
use super::repository::{Repository, data_folder, manifest_name};
use crate::recovery::Upto;
use crate::types::{Chain, Hlc, Lsn};
use crate::wal::Frame;

/// What can be restored: a backup with all that it continues.
#[derive(Debug)]
pub struct Plan<'a> {
    repository: &'a Repository,
    chain: Vec<&'a BackupMetadata>,
    /// What of it can be had: up to what is known to be damaged.
    ends: [Lsn; 2],
}

/// Records that are left out, since an object that holds them, or some before them, is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LeftOut {
    /// Which chain.
    pub chain: ChainName,
    /// The first.
    pub first: Lsn,
    /// The last that the backup names.
    pub last: Lsn,
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
        let chain = catalogue.chain(id)?;
        let mut plan = Self { repository, chain, ends: [Lsn::ZERO; 2] };
        plan.ends = Chain::ALL.map(|chain| {
            let (first, last) = (plan.first(chain), plan.backup().run(chain).last);
            let of_it =
                plan.chain.iter().flat_map(|backup| &backup.objects).filter(|it| Chain::from(it.chain) == chain);
            let damaged = of_it.filter(|it| it.last >= first && catalogue.damaged.contains(&it.key));
            let ends = damaged.map(|it| it.first.max(first)).min();
            ends.map_or(last, |behind| Lsn::new(behind.value() - 1))
        });
        Ok(plan)
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

    /// All that the backup holds and can be had.
    #[must_use]
    pub fn all(&self) -> Upto {
        let [main, events] = self.ends;
        Upto { main, events }
    }

    /// What of a chain cannot be had, since something is known to be damaged.
    #[must_use]
    pub fn left_out(&self, chain: Chain) -> Option<LeftOut> {
        let (end, last) = (self.all().of(chain), self.backup().run(chain).last);
        (end < last).then(|| LeftOut { chain: chain.into(), first: end.next(), last })
    }

    /// The stamp of a record of the main chain, read from the one object that holds it, whatever is damaged elsewhere; none if that
    /// object is known to be, or if there is none.
    ///
    /// # Errors
    /// The object is missing or damaged, and that was not known.
    pub(super) async fn stamp_of(&self, catalogue: &Catalogue, lsn: Lsn) -> Result<Option<Hlc>, Error> {
        let held = self.objects([lsn, lsn], [lsn, Lsn::ZERO]).next();
        let held = held.filter(|(_, _, object)| !catalogue.damaged.contains(&object.key));
        let Some((backup, place, object)) = held else { return Ok(None) };
        let needed_by = format!("backup {} holds it", backup.id);
        let bytes = self.repository.store.read(&object.key, OBJECT_MAX, &needed_by).await?;
        let mut opened = Opened::of(self.repository, backup, place, object, &bytes)?;
        while let Some(frames) = opened.next()? {
            if let Some(frame) = frames.iter().find(|frame| frame.lsn == lsn) {
                return Ok(Some(frame.hlc));
            }
        }
        Ok(None)
    }

    /// Begins to read the records of the main chain, then those of the events' chain, each from the first that the
    /// backup has up to `upto`. With `after`, only those of the main chain behind that record.
    ///
    /// # Errors
    /// A record is asked for that is not there, or an object is not listed as it should be.
    pub async fn read(&self, upto: Upto, after: Option<Lsn>) -> Result<Reading<'a>, Error> {
        let none = Lsn::new(upto.events.value());
        self.read_behind(upto, after.map_or_else(Upto::default, |main| Upto { main, events: none })).await
    }

    /// As [`Self::read`], of both chains only what stands behind these records.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn read_behind(&self, upto: Upto, behind: Upto) -> Result<Reading<'a>, Error> {
        self.check_range(upto)?;
        self.check_listed().await?;
        let next = Chain::ALL.map(|chain| self.first(chain).max(behind.of(chain).next()));
        let ends = [upto.main, upto.events];
        let objects: VecDeque<_> = self.objects(next, ends).collect();
        let total = objects.iter().map(|(_, _, object)| object.plain).fold(0, u64::saturating_add);
        let name = manifest_name(self.backup().node, self.backup().id);
        let restored = Restored::default();
        Ok(Reading { repository: self.repository, objects, opened: None, next, ends, total, name, restored })
    }

    fn check_range(&self, upto: Upto) -> Result<(), Error> {
        for (chain, wanted) in [(Chain::Main, upto.main), (Chain::Events, upto.events)] {
            let run = self.backup().run(chain);
            let (first, last) = (run.oldest, self.all().of(chain));
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
            let wanted = backup.objects.iter().filter(|object| object.first <= self.all().of(object.chain.into()));
            wanted.into_iter().try_for_each(|object| object.check_listed(&listed, backup.id))?;
        }
        Ok(())
    }

    /// The objects that hold something of what is wanted, in order.
    fn objects(
        &self,
        first: [Lsn; 2],
        ends: [Lsn; 2],
    ) -> impl Iterator<Item = (&'a BackupMetadata, u32, &'a ObjectEntry)> + '_ {
        Chain::ALL.into_iter().zip(first.into_iter().zip(ends)).flat_map(move |(chain, (first, end))| {
            let all = self
                .chain
                .iter()
                .flat_map(|backup| (0..).zip(&backup.objects).map(move |(place, object)| (*backup, place, object)));
            let holds = move |object: &ObjectEntry| first <= end && object.first <= end && object.last >= first;
            all.filter(move |(_, _, object)| Chain::from(object.chain) == chain && holds(object))
        })
    }
}

/// Records on their way back. Holds one object at a time.
pub struct Reading<'a> {
    repository: &'a Repository,
    objects: VecDeque<(&'a BackupMetadata, u32, &'a ObjectEntry)>,
    opened: Option<Opened<'a>>,
    /// The next record of each chain.
    next: [Lsn; 2],
    /// The last that is wanted.
    ends: [Lsn; 2],
    total: u64,
    /// The manifest, for what should be there and is not.
    name: String,
    restored: Restored,
}

impl Reading<'_> {
    /// The next records, all of one chain; none when all came.
    ///
    /// # Errors
    /// An object is missing or damaged: none of its records is given out.
    pub async fn next(&mut self, host: &dyn Host) -> Result<Option<(Chain, Vec<Frame>)>, Error> {
        loop {
            if let Some(opened) = &mut self.opened {
                let (chain, name) = (Chain::from(opened.object.chain), &opened.object.key);
                if let Some(mut frames) = opened.next()? {
                    let at = usize::from(chain == Chain::Events);
                    // What had expired, and what comes after the target.
                    frames.retain(|frame| frame.lsn >= self.next[at] && frame.lsn <= self.ends[at]);
                    let Some((first, last)) = frames.first().zip(frames.last()) else { continue };
                    if first.lsn != self.next[at] {
                        let (expected, found) = (self.next[at], first.lsn);
                        return Err(Error::Gap { name: name.clone(), chain, expected, found });
                    }
                    self.next[at] = last.lsn.next();
                    self.restored.records += frames.len() as u64;
                    self.restored.plain_bytes +=
                        frames.iter().map(|frame| (batch::RECORD + frame.payload.len()) as u64).sum::<u64>();
                    self.tell(host);
                    return Ok(Some((chain, frames)));
                }
                self.restored.objects += 1;
                self.restored.stored_bytes += opened.object.len;
                self.opened = None;
            }
            let Some((backup, place, object)) = self.objects.pop_front() else { break };
            let needed_by = format!("backup {} holds it", backup.id);
            let bytes = self.repository.store.read(&object.key, OBJECT_MAX, &needed_by).await?;
            self.opened = Some(Opened::of(self.repository, backup, place, object, &bytes)?);
        }
        for (chain, (expected, end)) in Chain::ALL.into_iter().zip(self.next.into_iter().zip(self.ends)) {
            if expected <= end {
                return Err(Error::Gap { name: self.name.clone(), chain, expected, found: end.next() });
            }
        }
        Ok(None)
    }

    fn tell(&self, host: &dyn Host) {
        let Restored { records, plain_bytes, objects, .. } = self.restored;
        host.progress(&Progress {
            phase: Phase::Restore,
            done: plain_bytes.min(self.total),
            total: Some(self.total),
            objects,
            records,
        });
    }

    /// What was read so far.
    #[must_use]
    pub const fn restored(&self) -> Restored {
        self.restored
    }
}

/// An object that is the one its manifest names, to the last byte: its records, batch by batch.
pub(super) struct Opened<'a> {
    object: &'a ObjectEntry,
    content: bytes::Bytes,
    at: usize,
    expected: Lsn,
}

impl<'a> Opened<'a> {
    pub(super) fn of(
        repository: &Repository,
        backup: &BackupMetadata,
        place: u32,
        object: &'a ObjectEntry,
        bytes: &bytes::Bytes,
    ) -> Result<Self, Error> {
        check_sum(object, bytes)?;
        let owner = Owner { node: backup.node, backup: backup.id, place };
        let id = repository.id_bytes().expect("looked at when the repository was opened");
        let content = object::content(&object.key, bytes, owner, id, repository.key.as_ref())?;
        Ok(Self { object, content, at: 0, expected: object.first })
    }

    pub(super) fn next(&mut self) -> Result<Option<Vec<Frame>>, Error> {
        let (name, chain) = (&self.object.key, Chain::from(self.object.chain));
        let Some(frames) = batch::next(&self.content, &mut self.at) else {
            if self.expected == self.object.last.next() {
                return Ok(None);
            }
            let what = format!("it ends before record {}, its manifest says with {}", self.expected, self.object.last);
            return Err(Error::damaged(name, what));
        };
        let frames = frames.map_err(|what| Error::damaged(name, what))?;
        for frame in &frames {
            if frame.lsn != self.expected || frame.position.segment.chain() != chain {
                return Err(Error::Gap { name: name.clone(), chain, expected: self.expected, found: frame.lsn });
            }
            self.expected = self.expected.next();
        }
        Ok(Some(frames))
    }
}

/// Whether the bytes have the checksum that the manifest names.
pub(super) fn check_sum(object: &ObjectEntry, bytes: &[u8]) -> Result<(), Error> {
    let sum = object::check(&object.key, bytes)?;
    if bytes.len() as u64 == object.len && sum.to_hex().as_str() == object.blake3 {
        return Ok(());
    }
    Err(Error::damaged(&object.key, format!("it has BLAKE3 {}, its manifest says {}", sum.to_hex(), object.blake3)))
}

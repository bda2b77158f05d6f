//! The live archive: ranges of the log, shipped to a repository while its peer writes.
//!
//! Each range is an incremental backup like any other, so all that is said of backups holds of it: it is there when its manifest
//! is, and it continues its parent without a gap. The host asks for a [tick](Archive::tick) from time to time; nothing is lost by
//! one that fails, since the next one ships from the last range that is there.
//!
//! **Chains stay short without work of their own.** Mostly a range continues the one before. When the last ranges of one size are
//! [`FANOUT`], the next one begins where they begin and stands for them: what it holds of theirs is read from the log again, and
//! they are marked and deleted when the grace period is over (the log-structured merge tree of O'Neil et al., 1996, with ranges
//! for levels). So a record is shipped a few times, and a chain of `n` ranges is some `8 log8 n` long. A range with events that have
//! expired in the log since is not merged and never replaced: nothing else holds them any more.
//!
//! **One peer a node**: `claim.rs`.
//!
//! **What is known.** [`Covered::until`] is the time up to which all that the log held is in the repository. It goes on also while
//! nothing is written, so that an idle archive looks different from one that is stuck.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::branch::Branch;
use super::catalogue::{Catalogue, Listed};
use super::claim::Claim;
use super::codec::BackupCompression;
use super::create::{self, Order};
use super::directory::Directory;
use super::error::Error;
use super::host::Host;
use super::id::BackupId;
use super::manifest::{BackupMetadata, BackupType};
use super::prune::{Pruned, Pruning};
use super::repository::Repository;
use crate::recovery::Upto;
use crate::types::{WallTime, hex};

/// Ranges of one size that are replaced by one.
pub const FANOUT: usize = 8;
/// Sizes are told apart by this factor, from the smallest on: were that larger, small ranges would be shipped again with large ones.
const SIZE_STEP: u64 = 8;
const SIZE_FIRST: u64 = 256;
/// Ranges that hold more than this together are not shipped again: that would hold up what is new.
const MERGE_BYTES_MAX: u64 = 64 << 20;
/// The longest chain; then what came since the full backup is shipped as one, or all of it.
pub const LINKS_MAX: usize = 128;
/// Most ranges that one stands for.
const REPLACES_MAX: usize = 4_096;
/// What replaced ranges leave is removed, and what others did to the repository looked at, so often, in microseconds.
const TIDY_MICROS: u64 = 600_000_000;

/// How it is archived.
#[derive(Clone, Debug)]
pub struct Archiving {
    /// The data directory.
    pub dir: PathBuf,
    /// The mesh, for manifests.
    pub mesh: Option<String>,
    /// How often the host asks, in microseconds.
    pub every_micros: u64,
    /// How batches are compressed.
    pub codec: BackupCompression,
    /// How long a replaced range is kept, in microseconds.
    pub grace_micros: u64,
    /// The name of this life: drawn anew at each start.
    pub holder: String,
    /// The names of lives before, of this data directory or of one that it was copied from.
    pub before: Vec<String>,
    /// Those of them that have ended for certain: their words are not waited for.
    pub ended: Vec<String>,
}

/// What of the log is in the repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Covered {
    /// All that the log held up to this time is.
    pub until: WallTime,
    /// The last record of the main chain that is.
    pub main: u64,
    /// The last of the events' chain.
    pub events: u64,
}

impl Covered {
    /// The same as a place of the log.
    #[must_use]
    pub const fn upto(self) -> Upto {
        Upto { main: crate::types::Lsn::new(self.main), events: crate::types::Lsn::new(self.events) }
    }
}

/// What a tick did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ticked {
    /// There was nothing new.
    Idle,
    /// A range was shipped.
    Shipped(Box<BackupMetadata>),
}

/// How far behind the archive is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Behind {
    /// Records that are known and not shipped.
    pub records: u64,
    /// Bytes of these, before they are packed.
    pub bytes: u64,
}

/// A live archive of one log.
#[derive(Debug)]
pub struct Archive {
    repository: Repository,
    how: Archiving,
    log: Directory,
    catalogue: Option<Catalogue>,
    /// The range that was shipped last.
    tip: Option<BackupId>,
    claim: Claim,
    behind: Behind,
    /// Backups that another branch of the log left: it was put back.
    others: BTreeMap<BackupId, String>,
    tidied: Option<WallTime>,
}

impl Archive {
    /// Begins: looks at the log. Nothing is written yet.
    ///
    /// # Errors
    /// The log cannot be read, or the repository is encrypted and no key was given.
    pub fn begin(repository: Repository, how: Archiving, host: &dyn Host) -> Result<Self, Error> {
        if repository.is_encrypted() && repository.key.is_none() {
            return Err(Error::NoKey);
        }
        let log = Directory::open(&how.dir, how.mesh.clone(), host.wall());
        let log = log.map_err(|error| Error::Source(error.into()))?;
        let behind = Behind { records: log.known().main.last.value(), bytes: 0 };
        let claim = Claim::new(log.known().node, log.known().store, &how);
        let (catalogue, tip, others, tidied) = Default::default();
        Ok(Self { repository, how, log, catalogue, tip, claim, behind, others, tidied })
    }

    /// What of the log is in the repository.
    #[must_use]
    pub const fn covered(&self) -> Option<Covered> {
        self.claim.covered
    }

    /// What is known of the log and not in the repository.
    #[must_use]
    pub const fn behind(&self) -> Behind {
        self.behind
    }

    /// When the repository last took a word of it.
    #[must_use]
    pub fn last_contact(&self) -> Option<WallTime> {
        self.claim.last_contact()
    }

    /// Backups in the chain that would be restored.
    #[must_use]
    pub fn links(&self) -> usize {
        let chain = self.tip.and_then(|tip| self.catalogue.as_ref()?.chain(tip).ok());
        chain.map_or(0, |chain| chain.len())
    }

    /// Reads what is new of the log. Touches no store.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn look(&mut self, host: &dyn Host) -> Result<Behind, Error> {
        let grown = self.log.renew(host.wall()).map_err(|error| Error::Source(error.into()))?;
        self.behind.records += grown.records;
        self.behind.bytes += grown.bytes;
        Ok(self.behind)
    }

    /// Ships what is new, if there is something.
    ///
    /// # Errors
    /// [`Error::Claimed`] if another peer archives as this node; else what the store refuses or the log does not give. The next
    /// tick goes on.
    pub async fn tick(&mut self, host: &dyn Host) -> Result<Ticked, Error> {
        self.look(host)?;
        let ticked = self.ship(host).await;
        if ticked.is_err() {
            // Others may have done something to the repository.
            self.catalogue = None;
            self.others.clear();
        }
        ticked
    }

    async fn ship(&mut self, host: &dyn Host) -> Result<Ticked, Error> {
        // What is written beside a repository that is gone is lost, and looks like an archive.
        self.repository.is_still_there().await?;
        let cut = self.log.known().clone();
        let ends = (cut.main.last.value(), cut.events.last.value());
        let shipped = self.covered().is_some_and(|covered| (covered.main, covered.events) == ends);
        if shipped {
            self.cover(cut.seen, ends);
            self.claim.keep(&self.repository, host).await?;
            self.tidy(host).await?;
            return Ok(Ticked::Idle);
        }
        self.claim.look(&self.repository, host).await?;
        self.claim.keep(&self.repository, host).await?;
        // If this is broken off, what it has written by then is not in it: then it is read again.
        let mut catalogue = match self.catalogue.take() {
            Some(catalogue) => catalogue,
            None => Catalogue::read(&self.repository, cut.node).await?,
        };
        let Choice { base, kind, replaces, apart } = choose(&catalogue, &self.log, &mut self.others)?;
        if let Some(base) = base.filter(|base| (base.main.last.value(), base.events.last.value()) == ends) {
            // A former life had shipped all of it.
            self.tip = Some(base.id);
            self.cover(cut.seen, ends);
            self.catalogue = Some(catalogue);
            return Ok(Ticked::Idle);
        }
        let order = Order { kind, codec: self.how.codec, base, archive: Some(&mut self.claim), replaces, apart };
        let (metadata, blake3) =
            create::write(&self.repository, &catalogue, &self.log, cut.clone(), order, host).await?;
        self.tip = Some(metadata.id);
        catalogue.backups.insert(metadata.id, Listed { metadata: metadata.clone(), blake3 });
        self.catalogue = Some(catalogue);
        self.cover(cut.seen, ends);
        self.claim.keep(&self.repository, host).await?;
        self.tidy(host).await?;
        Ok(Ticked::Shipped(Box::new(metadata)))
    }

    fn cover(&mut self, until: WallTime, (main, events): (u64, u64)) {
        self.claim.covered = Some(Covered { until, main, events });
        self.behind = Behind::default();
    }

    /// From time to time: removes what replaced ranges leave, and looks what others did to the repository.
    async fn tidy(&mut self, host: &dyn Host) -> Result<Option<Pruned>, Error> {
        let now = host.wall();
        let due = self.how.grace_micros.clamp(1, TIDY_MICROS);
        if self.tidied.is_some_and(|tidied| create::age(tidied, now) < due) {
            return Ok(None);
        }
        self.tidied = Some(now);
        let grace = std::time::Duration::from_micros(self.how.grace_micros);
        let catalogue = Catalogue::read(&self.repository, self.log.known().node).await?;
        let pruned = match Pruning::of_archive(catalogue, grace, now) {
            Ok(plan) => Some(plan.run(&self.repository, host).await?),
            // Damage is for verifying to tell, and keeps nothing from being archived.
            Err(error) if error.object().is_some() && !matches!(error, Error::Store { .. }) => {
                tracing::warn!(%error, "what the archive does not need any more stays as long as this is so");
                None
            }
            Err(error) => return Err(error),
        };
        self.catalogue = Some(Catalogue::read(&self.repository, self.log.known().node).await?);
        Ok(pruned)
    }

    /// Ends in order: ships what is left, and takes its word back, so that another peer need not wait.
    ///
    /// # Errors
    /// As [`Self::tick`].
    pub async fn end(&mut self, host: &dyn Host) -> Result<Ticked, Error> {
        let ticked = self.tick(host).await?;
        self.claim.give_up(&self.repository).await?;
        Ok(ticked)
    }
}

/// A name for a life.
#[must_use]
pub fn draw_holder(host: &dyn Host) -> String {
    let mut luck = [0; 16];
    host.random(&mut luck);
    hex(&luck)
}

/// What the next range is.
struct Choice<'a> {
    base: Option<&'a BackupMetadata>,
    kind: BackupType,
    replaces: Vec<BackupId>,
    apart: Vec<BackupId>,
}

/// What the next range continues, and what it stands for. Of another branch nothing stands for anything.
fn choose<'a>(
    catalogue: &'a Catalogue,
    log: &Directory,
    others: &mut BTreeMap<BackupId, String>,
) -> Result<Choice<'a>, Error> {
    let branch = Branch::of(catalogue, log, log.known(), others)?.of_archive(catalogue);
    let apart = branch.apart;
    let full = |replaces, apart| Choice { base: None, kind: BackupType::Full, replaces, apart };
    let Some(base) = branch.base else { return Ok(full(Vec::new(), apart)) };
    let mut chain = catalogue.chain(base.id)?;
    let mut replaces = Vec::new();
    if let Some(full) = Branch::last(catalogue, log, log.known(), true, others)?.0.filter(|full| full.id > chain[0].id)
    {
        // Somebody has taken a full one since: with what came behind it, it stands for all ranges before.
        replaces.extend(chain.iter().filter(|link| link.archive).map(|link| link.id));
        chain = vec![full];
    }
    // Events that have expired since cannot be read from the log again: what holds them stays.
    let in_log = |link: &BackupMetadata| link.events.count() == 0 || link.events.first >= log.known().events.first;
    replaces.retain(|id| in_log(&catalogue.backups[id].metadata));
    let may_merge = |link: &&&BackupMetadata| link.archive && link.parent.is_some() && in_log(link);
    let ranges = chain.iter().rev().take_while(may_merge).count();
    let stored = |link: &&BackupMetadata| link.statistics.stored_bytes;
    let (kind, parent) = if chain.len() >= LINKS_MAX {
        let since: u64 = chain[1..].iter().map(stored).sum();
        replaces.extend(chain.iter().filter(|link| link.archive && in_log(link)).map(|link| link.id));
        if since > stored(&chain[0]) {
            return Ok(full(known(catalogue, replaces), apart));
        }
        replaces.retain(|id| *id != chain[0].id);
        (BackupType::Differential, chain[0])
    } else {
        let sizes: Vec<u64> = chain[chain.len() - ranges..].iter().map(stored).collect();
        let merged = merged(&sizes);
        replaces.extend(chain[chain.len() - merged..].iter().map(|link| link.id));
        (BackupType::Incremental, chain[chain.len() - merged - 1])
    };
    Ok(Choice { base: Some(parent), kind, replaces: known(catalogue, replaces), apart })
}

/// How many of the last ranges, by their sizes in order, the next one stands for.
fn merged(sizes: &[u64]) -> usize {
    let level = |size: u64| (size.max(SIZE_FIRST) / SIZE_FIRST).ilog(SIZE_STEP);
    let mut merged = 0;
    // Larger ones wait until the last is as large as they: else they would be shipped again with it.
    let smallest = sizes.last().map_or(0, |size| level(*size));
    for up_to in smallest..=u64::MAX.ilog(SIZE_STEP) {
        let fit = sizes.iter().rev().take_while(|size| level(**size) <= up_to).count();
        // Those that are merged already count as one.
        let count = fit - merged + usize::from(merged > 0);
        let bytes: u64 = sizes[sizes.len() - fit..].iter().sum();
        if count < FANOUT || bytes > MERGE_BYTES_MAX {
            break;
        }
        merged = fit;
    }
    merged
}

/// These, and what they stand for that is still there.
fn known(catalogue: &Catalogue, replaces: Vec<BackupId>) -> Vec<BackupId> {
    let mut all = BTreeSet::new();
    let mut open = replaces;
    while let Some(id) = open.pop() {
        let Some(listed) = catalogue.backups.get(&id) else { continue };
        if all.len() < REPLACES_MAX && all.insert(id) {
            open.extend(&listed.metadata.replaces);
        }
    }
    all.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ranges of any sizes: chains stay short, and what is shipped again is a small multiple of what is new.
    #[test]
    fn chains_are_short_and_little_is_shipped_twice() {
        for step in [1 << 10, 40 << 10, 700 << 10] {
            let (mut sizes, mut shipped, mut longest) = (Vec::new(), 0_u64, 0);
            for _ in 0..20_000_u64 {
                let merged = merged(&sizes);
                let size = step + sizes.split_off(sizes.len() - merged).iter().sum::<u64>();
                shipped += size;
                sizes.push(size);
                longest = longest.max(sizes.len());
            }
            let new = 20_000 * step;
            assert!(longest < 700, "{step}: {longest} links");
            assert!(shipped < 9 * new, "{step}: {shipped} of {new}");
        }
    }
}

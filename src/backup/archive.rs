//! The live archive: ranges of the log, shipped to a repository while its peer writes.
//!
//! Each range is an incremental backup like any other, so all that is said of backups holds of it: it is there when its manifest
//! is, and it continues its parent without a gap. The host asks for a [tick](Archive::tick) from time to time; nothing is lost by
//! one that fails, since the next one ships from the last range that is there.
//!
//! **Chains stay short without work of their own.** Mostly a range continues the one before. When the last ranges of one size are
//! [`FANOUT`], the next one begins where they begin and stands for them: what it holds of theirs is read from the log again, and
//! they are marked and deleted when the grace period is over (the log-structured merge tree of O'Neil et al., 1996, with ranges
//! for levels). So a record is shipped a few times, and a chain of `n` ranges is some `8 log8 n` long.
//!
//! **One peer a node.** Two logs of one identity would both be wrong. Whoever archives leaves a word (`archive/NODE/`) that it is
//! there, again and again under new names, and looks for those of others before each range: who finds its own word gone and
//! another's there, or another's that was first, stops. Only the word of its own former life, known by the name that its data
//! directory keeps, is taken over at once; that of a peer that is silent, after three times as long as it promised.
//!
//! **What is known.** [`Covered::until`] is the time up to which all that the log held is in the repository. It goes on also while
//! nothing is written, so that an idle archive looks different from one that is stuck.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::catalogue::{Catalogue, Listed};
use super::cipher::hex;
use super::codec::BackupCompression;
use super::create::{self, Order};
use super::directory::Directory;
use super::error::Error;
use super::host::Host;
use super::id::BackupId;
use super::manifest::{BackupMetadata, BackupType};
use super::prune::{Pruned, Pruning};
use super::repository::{Repository, beat_name, beats_folder};
use crate::recovery::Upto;
use crate::types::{NodeId, WallTime};

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
/// A word that the peer is there is left so often at least, in microseconds.
const BEAT_MICROS: u64 = 10_000_000;
/// After so many times of what was promised a silent peer is taken for gone.
const SILENT_TIMES: u64 = 3;
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
    /// The names of lives before, of this very data directory.
    pub before: Vec<String>,
}

/// That a peer archives: its word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Beat {
    pub(super) id: BackupId,
    pub(super) node: NodeId,
    /// Which life of which data directory.
    pub(super) holder: String,
    /// The log's store.
    pub(super) store: String,
    /// The next word comes within so many microseconds.
    pub(super) within: u64,
    /// What the log held up to then is in the repository.
    pub(super) covered: Option<Covered>,
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
    covered: Option<Covered>,
    behind: Behind,
    /// Its own last word, and when it was left.
    said: Option<(BackupId, WallTime)>,
    /// Somebody else's word, and since when it has been the last.
    heard: Option<(BackupId, WallTime)>,
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
        let (catalogue, tip, covered, said, heard, tidied) = Default::default();
        Ok(Self { repository, how, log, catalogue, tip, covered, behind, said, heard, tidied })
    }

    /// What of the log is in the repository.
    #[must_use]
    pub const fn covered(&self) -> Option<Covered> {
        self.covered
    }

    /// What is known of the log and not in the repository.
    #[must_use]
    pub const fn behind(&self) -> Behind {
        self.behind
    }

    /// When the repository last took a word of it.
    #[must_use]
    pub fn last_contact(&self) -> Option<WallTime> {
        self.said.map(|(_, at)| at)
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
        }
        ticked
    }

    async fn ship(&mut self, host: &dyn Host) -> Result<Ticked, Error> {
        let cut = self.log.known().clone();
        let ends = (cut.main.last.value(), cut.events.last.value());
        let shipped = self.covered.is_some_and(|covered| (covered.main, covered.events) == ends);
        if shipped {
            self.cover(cut.seen, ends);
            if self.said.is_none_or(|(_, at)| create::age(at, host.wall()) >= self.beat_every()) {
                self.claim(host).await?;
                self.say(host).await?;
            }
            self.tidy(host).await?;
            return Ok(Ticked::Idle);
        }
        self.claim(host).await?;
        if self.said.is_none() {
            self.say(host).await?;
        }
        let catalogue = match self.catalogue.take() {
            Some(catalogue) => catalogue,
            None => Catalogue::read(&self.repository, cut.node).await?,
        };
        let catalogue = self.catalogue.insert(catalogue);
        let Choice { base, kind, replaces } = choose(catalogue, &self.log)?;
        if let Some(base) = base.filter(|base| (base.main.last.value(), base.events.last.value()) == ends) {
            // A former life had shipped all of it.
            self.tip = Some(base.id);
            self.cover(cut.seen, ends);
            return Ok(Ticked::Idle);
        }
        let order = Order { kind, codec: self.how.codec, base, archive: true, replaces };
        let (metadata, blake3) =
            create::write(&self.repository, catalogue, &self.log, cut.clone(), order, host).await?;
        self.tip = Some(metadata.id);
        catalogue.backups.insert(metadata.id, Listed { metadata: metadata.clone(), blake3 });
        self.cover(cut.seen, ends);
        if self.said.is_none_or(|(_, at)| create::age(at, host.wall()) >= self.beat_every()) {
            self.say(host).await?;
        }
        self.tidy(host).await?;
        Ok(Ticked::Shipped(Box::new(metadata)))
    }

    fn cover(&mut self, until: WallTime, (main, events): (u64, u64)) {
        self.covered = Some(Covered { until, main, events });
        self.behind = Behind::default();
    }

    fn beat_every(&self) -> u64 {
        self.how.every_micros.max(BEAT_MICROS)
    }

    /// Looks whether this peer is the one that archives its node.
    async fn claim(&mut self, host: &dyn Host) -> Result<(), Error> {
        let node = self.log.known().node;
        let mine = self.said.map(|(id, _)| id);
        let listed = super::catalogue::ids(&self.repository, &beats_folder(node)).await?;
        let still_there = mine.is_some_and(|mine| listed.iter().any(|(id, _)| *id == mine));
        let mut other: Option<(String, Beat)> = None;
        for (id, name) in listed.into_iter().filter(|(id, _)| Some(*id) != mine) {
            let Some(beat) = self.repository.small::<Beat>(&name).await? else { continue };
            if beat.holder == self.how.holder || self.how.before.contains(&beat.holder) {
                // Left by this peer, or by the one that ran here before it.
                self.repository.store.remove(&name).await?;
            } else if other.as_ref().is_none_or(|(_, known)| known.id < id) {
                other = Some((name, beat));
            }
        }
        let Some((name, beat)) = other else {
            self.heard = None;
            if mine.is_some() && !still_there {
                // Somebody took it away: it is said again.
                self.said = None;
            }
            return Ok(());
        };
        if still_there && mine.is_some_and(|mine| mine < beat.id) {
            // It was here first: the other one stops when it sees that.
            return Ok(());
        }
        if let Some((mine, _)) = self.said.take() {
            self.repository.store.remove(&beat_name(node, mine)).await?;
        }
        let since = match self.heard {
            Some((heard, since)) if heard == beat.id => since,
            _ => host.wall(),
        };
        self.heard = Some((beat.id, since));
        let silent = create::age(since, host.wall());
        if silent < beat.within.saturating_mul(SILENT_TIMES) {
            self.catalogue = None;
            return Err(Error::Claimed { node, holder: beat.holder, silent_ms: silent / 1_000 });
        }
        tracing::warn!(holder = %beat.holder, "the peer that archived as this node is silent: this one takes over");
        self.repository.store.remove(&name).await?;
        self.heard = None;
        Ok(())
    }

    /// Leaves a word that it is there.
    async fn say(&mut self, host: &dyn Host) -> Result<(), Error> {
        let (mut luck, now, node) = ([0_u8; 10], host.wall(), self.log.known().node);
        host.random(&mut luck);
        let id = BackupId::new(now, luck);
        let beat = Beat {
            id,
            node,
            holder: self.how.holder.clone(),
            store: create::store_name(self.log.known().store),
            within: self.beat_every() + self.how.every_micros,
            covered: self.covered,
        };
        self.repository.write(&beat_name(node, id), &beat).await?;
        let before = self.said.replace((id, now));
        if let Some((before, _)) = before {
            self.repository.store.remove(&beat_name(node, before)).await?;
        }
        Ok(())
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
        if let Some((mine, _)) = self.said.take() {
            self.repository.store.remove(&beat_name(self.log.known().node, mine)).await?;
        }
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
}

/// What the next range continues, and what it stands for.
fn choose<'a>(catalogue: &'a Catalogue, log: &Directory) -> Result<Choice<'a>, Error> {
    let full = |replaces| Choice { base: None, kind: BackupType::Full, replaces };
    let cut = log.known();
    let Some(base) = catalogue.base(&create::store_name(cut.store), false) else { return Ok(full(Vec::new())) };
    if create::differs(base, log, cut)?.is_some() {
        // Of another branch nothing stands for anything.
        return Ok(full(Vec::new()));
    }
    let mut chain = catalogue.chain(base.id)?;
    let mut replaces = Vec::new();
    let newest = catalogue.base(&create::store_name(cut.store), true).filter(|full| full.id > chain[0].id);
    if let Some(full) = newest.filter(|full| create::differs(full, log, cut).is_ok_and(|why| why.is_none())) {
        // Somebody has taken a full one since: with what came behind it, it stands for all ranges before.
        replaces.extend(chain.iter().filter(|link| link.archive).map(|link| link.id));
        chain = vec![full];
    }
    let ranges = chain.iter().rev().take_while(|link| link.archive && link.parent.is_some()).count();
    let stored = |link: &&BackupMetadata| link.statistics.stored_bytes;
    let (kind, parent) = if chain.len() >= LINKS_MAX {
        let since: u64 = chain[1..].iter().map(stored).sum();
        replaces.extend(chain.iter().filter(|link| link.archive).map(|link| link.id));
        if since > stored(&chain[0]) {
            return Ok(full(known(catalogue, replaces)));
        }
        replaces.retain(|id| *id != chain[0].id);
        (BackupType::Differential, chain[0])
    } else {
        let sizes: Vec<u64> = chain[chain.len() - ranges..].iter().map(stored).collect();
        let merged = merged(&sizes);
        replaces.extend(chain[chain.len() - merged..].iter().map(|link| link.id));
        (BackupType::Incremental, chain[chain.len() - merged - 1])
    };
    Ok(Choice { base: Some(parent), kind, replaces: known(catalogue, replaces) })
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
    let mut all = std::collections::BTreeSet::new();
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

//! Taking a backup. No lock: names hold the node and the backup, so writers do not meet; the manifest comes last, so a
//! crash before it leaves objects that count for nothing, and the next run takes them over.

use std::collections::BTreeMap;

use futures::TryStreamExt as _;
use futures::stream::FuturesOrdered;

use super::batch;
use super::branch::{Branch, MARK_RECORDS, gap, look, marked};
use super::catalogue::Catalogue;
use super::claim::Claim;
use super::codec::BackupCompression;
use super::error::Error;
use super::host::{Host, Phase, Progress};
use super::id::BackupId;
use super::manifest::{BackupMetadata, BackupType, Mark, ObjectEntry, Parent, Run, Statistics};
use super::object::{self, Made, Maker, OBJECT_MAX, Owner};
use super::pending::{self, Writer};
use super::repository::{Intent, Repository, data_folder, intent_name, manifest_name, takings_folder, tomb_name};
use super::retention::is_future;
use super::source::{Cut, Source};
use crate::probe::planted;
use crate::types::{Chain, Hlc, Lsn, WallTime};

/// For so many days the objects of an interrupted backup are kept, so that its next run goes on with them.
pub(super) const PENDING_DAYS: u64 = 14;

/// The longest chain that is not an archive's: what is restored is read from all of it.
pub(super) const LINKS_MAX: usize = 24;

/// Objects that are being stored at a time, beside the one that is being made: what bounds memory.
const IN_FLIGHT_MAX: usize = 2;

/// A backup that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// What it says of itself.
    pub metadata: BackupMetadata,
    /// It was made now. Else there was nothing new, and this one holds all of the log.
    pub is_new: bool,
    /// Why it is of another kind than was asked for.
    pub promoted: Option<String>,
    /// Backups of this node that hold other records than this log, and were made since this log's last: its log was put back or lost
    /// its end, or two peers have one identity. From now on nothing takes either history for the newest.
    pub beside: Vec<BackupId>,
}

/// Takes a backup of the log as it stands now. An incremental or differential one that has nothing to continue becomes
/// a full one, and says why; so does an incremental one whose chain is as long as it may be, unless a differential one is smaller. Where
/// nothing is new, no backup is made but for a full one.
///
/// # Errors
/// What cannot be read or stored. There is no backup then; what was stored of it is taken over by the next run of the
/// same kind.
pub async fn create(
    repository: &Repository,
    source: &dyn Source,
    kind: BackupType,
    codec: BackupCompression,
    host: &dyn Host,
) -> Result<Created, Error> {
    if repository.is_encrypted() && repository.key.is_none() {
        return Err(Error::NoKey);
    }
    let cut = source.cut().map_err(Error::Source)?;
    let catalogue = Catalogue::read(repository, cut.node).await?;
    let (Branch { base, newest, apart, found, .. }, kind, promoted) = choose(&catalogue, source, &cut, kind)?;
    let holds_all =
        |held: &&BackupMetadata| Chain::ALL.iter().all(|chain| held.run(*chain).last == cut.span(*chain).last);
    // What continues a full backup directly is not made of a longer chain by this.
    let stands_for = |held: &&BackupMetadata| kind == BackupType::Incremental || held.kind != BackupType::Incremental;
    let held = newest.filter(holds_all).filter(|held| kind != BackupType::Full && found.is_empty() && stands_for(held));
    if let Some(held) = held {
        return Ok(Created { metadata: held.clone(), is_new: false, promoted: None, beside: found });
    }
    let order = Order { kind, codec, base, archive: None, replaces: Vec::new(), apart };
    let (metadata, _) = write(repository, &catalogue, source, cut, order, host).await?;
    Ok(Created { metadata, is_new: true, promoted, beside: found })
}

/// What is to be written.
pub(super) struct Order<'a> {
    pub(super) kind: BackupType,
    pub(super) codec: BackupCompression,
    /// What it continues: must be of this log, and be continued by it.
    pub(super) base: Option<&'a BackupMetadata>,
    /// It is a range of a live archive, whose claim must hold until it is there.
    pub(super) archive: Option<&'a mut Claim>,
    /// Ranges of the archive that are not needed beside it.
    pub(super) replaces: Vec<BackupId>,
    /// Backups of another branch of the node's history.
    pub(super) apart: Vec<BackupId>,
}

/// Writes a backup of the log up to the cut. Gives what its manifest says, and what its file hashes to.
pub(super) async fn write(
    repository: &Repository,
    catalogue: &Catalogue,
    source: &dyn Source,
    cut: Cut,
    order: Order<'_>,
    host: &dyn Host,
) -> Result<(BackupMetadata, blake3::Hash), Error> {
    let intent = intend(catalogue, &cut, &order, host);
    let behind = (order.replaces, order.apart);
    let mut writing = Writing::begin(repository, catalogue, source, cut, (intent, order.archive), host).await?;
    for chain in Chain::ALL {
        writing.store_chain(chain).await?;
    }
    writing.commit(behind).await
}

/// What is continued, or why a full backup is made in the place of another.
fn choose<'a>(
    catalogue: &'a Catalogue,
    source: &dyn Source,
    cut: &Cut,
    kind: BackupType,
) -> Result<(Branch<'a>, BackupType, Option<String>), Error> {
    let mut known = BTreeMap::new();
    let mut branch = Branch::of(catalogue, source, cut, &mut known)?;
    if kind == BackupType::Differential {
        branch.base = Branch::last(catalogue, source, cut, true, &mut known)?.0;
    }
    if kind == BackupType::Full {
        branch.base = None;
    }
    if let (BackupType::Incremental, Some(base)) = (kind, branch.base) {
        let chain = catalogue.chain(base.id)?;
        if chain.iter().filter(|link| !link.archive).count() >= LINKS_MAX {
            let why =
                format!("the chain of backup {} has {} links, and {LINKS_MAX} are the most", base.id, chain.len());
            let since: u64 = chain[1..].iter().map(|link| link.statistics.stored_bytes).sum();
            let is_small = since <= chain[0].statistics.stored_bytes;
            branch.base = Some(chain[0]).filter(|_| is_small);
            let kind = if is_small { BackupType::Differential } else { BackupType::Full };
            return Ok((branch, kind, Some(why)));
        }
    }
    if kind == BackupType::Full || branch.base.is_some() {
        return Ok((branch, kind, None));
    }
    let none = match catalogue.backups().any(|backup| backup.store != store_name(cut.store)) {
        true => "the log is of another store than what was backed up so far",
        false => "there is no backup yet that it could continue",
    };
    let why = branch.differs.clone().unwrap_or_else(|| none.into());
    Ok((branch, BackupType::Full, Some(why)))
}

/// The log's store, as manifests spell it.
pub(super) fn store_name(store: u64) -> String {
    format!("{store:016x}")
}

fn intend(catalogue: &Catalogue, cut: &Cut, order: &Order<'_>, host: &dyn Host) -> Intent {
    let (mut random, begun) = ([0; 10], host.wall());
    host.random(&mut random);
    let first = Chain::ALL.map(|chain| {
        let oldest = cut.span(chain).first;
        order.base.map_or(oldest, |base| base.run(chain).last.next().max(oldest)).value()
    });
    let blake3 = |base: &BackupMetadata| catalogue.backups[&base.id].blake3.to_hex().to_string();
    // Names sort as backups follow each other, also where the clock was set back. One that is dated in the future for no reason of this
    // log's draws no other after it.
    let before = catalogue.backups.keys().rfind(|id| !is_future(id.time(), begun));
    let before = before.copied().max(order.base.map(|base| base.id)).map_or(0, |id| id.time().as_micros() + 1_000);
    Intent {
        id: BackupId::new(begun.max(WallTime::from_micros(before)), random),
        node: cut.node,
        kind: order.kind,
        store: store_name(cut.store),
        parent: order.base.map(|base| Parent { id: base.id, blake3: blake3(base) }),
        codec: order.codec,
        first,
        begun,
        archive: order.archive.is_some(),
        holder: host.life(),
    }
}

/// A backup that is being written.
struct Writing<'a> {
    repository: &'a Repository,
    source: &'a dyn Source,
    host: &'a dyn Host,
    cut: Cut,
    intent: Intent,
    claim: Option<&'a mut Claim>,
    /// All that it continues.
    parents: Vec<BackupId>,
    maker: Maker,
    objects: Vec<ObjectEntry>,
    /// The first record of each chain: of the intent of an interrupted run it may be an earlier one.
    first: [Lsn; 2],
    /// The next record of each chain.
    next: [Lsn; 2],
    /// How each chain ends.
    ends: [Option<(Hlc, Mark)>; 2],
    statistics: Statistics,
    progress: Progress,
}

impl<'a> Writing<'a> {
    /// Says what is going to be written, or goes on with what an earlier run has written.
    async fn begin(
        repository: &'a Repository,
        catalogue: &Catalogue,
        source: &'a dyn Source,
        cut: Cut,
        (intent, claim): (Intent, Option<&'a mut Claim>),
        host: &'a dyn Host,
    ) -> Result<Self, Error> {
        let parents = match &intent.parent {
            Some(parent) => catalogue.chain(parent.id)?.iter().map(|link| link.id).collect(),
            None => Vec::new(),
        };
        let total = Chain::ALL.iter().map(|chain| cut.span(*chain).bytes).sum();
        let mut writing = Self {
            repository,
            source,
            host,
            parents,
            maker: Maker::new(intent.codec, repository.key.clone()),
            objects: Vec::new(),
            first: intent.first.map(Lsn::new),
            next: intent.first.map(Lsn::new),
            ends: [None, None],
            statistics: Statistics::default(),
            // What the log's files hold in all: an estimate for what continues another.
            progress: Progress {
                phase: Phase::BackUp,
                done: 0,
                total: intent.parent.is_none().then_some(total),
                objects: 0,
                records: 0,
            },
            cut,
            intent,
            claim,
        };
        let name = intent_name(writing.intent.node, writing.intent.id);
        let earlier: Vec<&Intent> =
            catalogue.intents.values().filter(|earlier| writing.may_resume(catalogue, earlier)).collect();
        let mut said = false;
        for earlier in earlier.into_iter().rev() {
            if writing.take_over(earlier, &mut said).await? && writing.resume(earlier).await? {
                if said {
                    repository.store.remove(&name).await?;
                }
                writing.intent = earlier.clone();
                return Ok(writing);
            }
        }
        if !said {
            repository.write(&name, &writing.intent).await?;
        }
        // Now whoever deletes sees that the parents are needed; who marked them before is seen here.
        writing.check_marks().await?;
        Ok(writing)
    }

    /// Whether it is this life's to go on with, if need be from now on. Where only the store can tell, it is asked by its own clock: the
    /// intent of this one is stored for that.
    async fn take_over(&self, earlier: &Intent, said: &mut bool) -> Result<bool, Error> {
        let (repository, mine) = (self.repository, &self.intent);
        let number = match pending::writer(repository, earlier, self.host).await? {
            Writer::Over(None) => return Ok(true),
            Writer::Over(Some(number)) => number,
            Writer::Unknown(number) => {
                if !*said {
                    repository.write(&intent_name(mine.node, mine.id), mine).await?;
                    *said = true;
                }
                if !pending::is_silent(repository, earlier, mine).await? {
                    return Ok(false);
                }
                number
            }
        };
        pending::take(repository, earlier, number, self.host).await
    }

    fn may_resume(&self, catalogue: &Catalogue, earlier: &Intent) -> bool {
        let mine = &self.intent;
        // The beginning of the events' chain moves on: what is not there any more is not taken over.
        let (id, begun, first, holder) = (mine.id, mine.begun, mine.first, mine.holder.clone());
        let same = Intent { id, begun, first, holder, ..earlier.clone() } == *mine && earlier.first[0] == mine.first[0];
        let young = age(earlier.begun, mine.begun) < PENDING_DAYS / 4 * DAY_MICROS;
        // Names rise in the order of backups: under an earlier one's name this would not be the newest.
        let newest = catalogue.backups.keys().next_back().is_none_or(|newest| *newest < earlier.id);
        same && young && newest && !catalogue.backups.contains_key(&earlier.id) && !catalogue.is_marked(earlier.id)
    }

    /// Takes over the objects of an interrupted run, as far as they are whole and what the log still says.
    async fn resume(&mut self, earlier: &Intent) -> Result<bool, Error> {
        let folder = data_folder(earlier.node, earlier.id);
        let mut taken: Vec<ObjectEntry> = Vec::new();
        let mut next = self.next;
        let mut sums = [blake3::Hasher::new(), blake3::Hasher::new()];
        for object in self.repository.store.list(&folder).await? {
            let place = u32::try_from(taken.len()).expect("fewer objects than 2^32");
            let owner = Owner { node: earlier.node, backup: earlier.id, place };
            if !object.name.starts_with(&format!("{folder}/{place:08}-")) {
                continue;
            }
            let Some(bytes) = self.repository.store.find(&object.name, OBJECT_MAX).await? else { continue };
            self.host.progress(&self.progress);
            self.keep_claim().await?;
            let Some((entry, records)) = self.read_back(&object.name, &bytes, owner, &sums) else { continue };
            let chain = usize::from(Chain::from(entry.chain) == Chain::Events);
            if entry.first == next[chain] && entry.last <= self.cut.span(Chain::ALL[chain]).last {
                next[chain] = entry.last.next();
                sums[chain] = records;
                taken.push(entry);
            }
        }
        for (at, chain) in (0..).zip(Chain::ALL) {
            let last = taken.iter().rev().find(|entry| Chain::from(entry.chain) == chain);
            let Some(last) = last else { continue };
            // The log may have lost its end since, and gone on differently.
            let (_, there) = look(self.source, chain, self.next[at], last.last)?;
            if there.blake3 != sums[at].finalize().to_hex().as_str() {
                return Ok(false);
            }
        }
        self.next = next;
        for entry in taken {
            self.statistics.resumed_objects += 1;
            self.enter(entry);
        }
        Ok(true)
    }

    /// What an object holds, if it is whole, and the sum of its chain with its records, as they are marked.
    fn read_back(
        &self,
        name: &str,
        bytes: &bytes::Bytes,
        owner: Owner,
        sums: &[blake3::Hasher; 2],
    ) -> Option<(ObjectEntry, blake3::Hasher)> {
        let sum = object::check(name, bytes).ok()?;
        let (id, key) = (self.repository.id_bytes()?, self.repository.key.as_ref());
        let content = object::content(name, bytes, owner, id, key).ok()?;
        let (mut at, mut plain) = (0, 0);
        let mut run: Option<(Chain, Lsn, Lsn, blake3::Hasher)> = None;
        while let Some(batch) = batch::next(&content, &mut at) {
            for frame in batch.ok()? {
                let chain = frame.position.segment.chain();
                let begin = || (chain, frame.lsn, frame.lsn, sums[usize::from(chain == Chain::Events)].clone());
                let run = run.get_or_insert_with(begin);
                let record = marked(&frame);
                plain += record.len() - size_of::<u64>();
                run.2 = frame.lsn;
                run.3.update(&record);
            }
        }
        let (chain, first, last, records) = run?;
        let entry = ObjectEntry {
            key: name.into(),
            len: bytes.len() as u64,
            blake3: sum.to_hex().to_string(),
            chain: chain.into(),
            first,
            last,
            plain: plain as u64,
        };
        Some((entry, records))
    }

    /// A range that takes long is of a peer that is there all the while.
    async fn keep_claim(&mut self) -> Result<(), Error> {
        match &mut self.claim {
            Some(claim) => claim.keep(self.repository, self.host).await,
            None => Ok(()),
        }
    }

    fn enter(&mut self, entry: ObjectEntry) {
        self.statistics.records += entry.last.value() - entry.first.value() + 1;
        self.statistics.plain_bytes += entry.plain;
        self.statistics.stored_bytes += entry.len;
        self.progress.records = self.statistics.records;
        self.progress.done = self.statistics.plain_bytes;
        self.progress.objects += 1;
        self.host.progress(&self.progress);
        self.objects.push(entry);
    }

    /// Stores what is not stored yet of a chain, up to the cut.
    async fn store_chain(&mut self, chain: Chain) -> Result<(), Error> {
        let (at, end) = (usize::from(chain == Chain::Events), self.cut.span(chain).last);
        let source = self.source;
        let mut in_flight = FuturesOrdered::new();
        if self.next[at] <= end {
            for frame in source.frames(chain, self.next[at]) {
                let frame = frame.map_err(Error::Source)?;
                if frame.lsn != self.next[at] {
                    return Err(Error::Source(gap(chain, self.next[at], Some(frame.lsn))));
                }
                if self.maker.is_full_for(&frame) {
                    while in_flight.len() >= IN_FLIGHT_MAX {
                        if let Some(entry) = in_flight.try_next().await? {
                            self.enter(entry);
                            self.keep_claim().await?;
                        }
                    }
                    in_flight.extend(self.finish_object(in_flight.len())?);
                }
                self.maker.take(&frame)?;
                self.next[at] = frame.lsn.next();
                if frame.lsn == end {
                    break;
                }
            }
        }
        if self.next[at] <= end {
            return Err(Error::Source(gap(chain, self.next[at], None)));
        }
        in_flight.extend(self.finish_object(in_flight.len())?);
        while let Some(entry) = in_flight.try_next().await? {
            self.enter(entry);
            self.keep_claim().await?;
        }
        let oldest = self.cut.span(chain).first;
        if oldest <= end {
            let from = oldest.max(Lsn::new(end.value().saturating_sub(MARK_RECORDS - 1)));
            self.ends[at] = Some(look(source, chain, from, end)?);
        }
        Ok(())
    }

    /// Finishes the object that is being made; what comes out stores it.
    fn finish_object(
        &mut self,
        in_flight: usize,
    ) -> Result<Option<impl Future<Output = Result<ObjectEntry, Error>> + Send + use<'a>>, Error> {
        let place =
            u32::try_from(self.objects.len() + in_flight).map_err(|_| Error::Cipher("too many objects".into()))?;
        let Intent { node, id, .. } = self.intent;
        let owner = Owner { node, backup: id, place };
        let repository = self.repository;
        let bytes = repository.id_bytes().expect("looked at when the repository was opened");
        let Some(made) = self.maker.finish(owner, bytes, self.host)? else { return Ok(None) };
        let Made { bytes, blake3, chain, first, last, plain } = made;
        let hash = blake3.to_hex();
        let key = format!("{}/{place:08}-{}.oxb", data_folder(node, id), &hash[..16]);
        let entry = ObjectEntry {
            len: bytes.len() as u64,
            blake3: hash.to_string(),
            chain: chain.into(),
            first,
            last,
            plain,
            key,
        };
        Ok(Some(async move {
            match repository.store.make(&entry.key, bytes).await {
                Err(_) if planted!("backup/manifest-without-objects") => {}
                made => made?,
            }
            Ok(entry)
        }))
    }

    /// Looks whether everything is there and needed, and makes the backup by writing its manifest.
    async fn commit(
        mut self,
        (replaces, apart): (Vec<BackupId>, Vec<BackupId>),
    ) -> Result<(BackupMetadata, blake3::Hash), Error> {
        let Intent { id, node, kind, .. } = self.intent;
        let listed = self.repository.store.lengths(&data_folder(node, id)).await?;
        for object in self.objects.iter().filter(|_| !planted!("backup/manifest-without-objects")) {
            object.check_listed(&listed, id)?;
        }
        self.check_marks().await?;
        let finished = self.host.wall();
        if age(self.intent.begun, finished) > PENDING_DAYS / 2 * DAY_MICROS {
            return Err(Error::TooLong { days: PENDING_DAYS / 2 });
        }
        let [main, events] = Chain::ALL.map(|chain| self.run(chain));
        if let Some(claim) = &mut self.claim {
            claim.look(self.repository, self.host).await?;
        }
        let metadata = BackupMetadata {
            id,
            kind,
            repository: self.repository.id().into(),
            node,
            mesh: self.cut.mesh.clone(),
            timeline: self.cut.timeline,
            store: self.intent.store.clone(),
            parent: self.intent.parent.clone(),
            main,
            events,
            objects: std::mem::take(&mut self.objects),
            codec: self.intent.codec,
            key: self.repository.key_id(),
            tool: env!("CARGO_PKG_VERSION").into(),
            started: self.cut.seen,
            finished,
            statistics: self.statistics.clone(),
            archive: self.intent.archive,
            replaces,
            apart,
        };
        metadata.check().map_err(|what| Error::Source(what.into()))?;
        let blake3 = self.repository.write(&manifest_name(node, id), &metadata).await?;
        // There is a backup now; the intent is in nobody's way.
        if let Err(error) = pending::forget(self.repository, &intent_name(node, id), &takings_folder(node, id)).await {
            tracing::warn!(%error, "the backup is there, its intent could not be removed");
        }
        Ok((metadata, blake3))
    }

    fn run(&self, chain: Chain) -> Run {
        let (at, span) = (usize::from(chain == Chain::Events), self.cut.span(chain));
        let end = self.ends[at].as_ref();
        Run {
            begins: span.begins,
            oldest: span.first,
            first: self.first[at],
            last: span.last,
            stamp: end.map_or_else(Hlc::default, |(stamp, _)| *stamp),
            mark: end.map(|(_, mark)| mark.clone()),
        }
    }

    /// Whether somebody is going to delete this backup, or one that it continues.
    async fn check_marks(&self) -> Result<(), Error> {
        let node = self.intent.node;
        if planted!("backup/marks-not-looked-at") {
            return Ok(());
        }
        let tombs = self.repository.store.lengths(&format!("tombs/{node}")).await?;
        let manifests = self.repository.store.lengths(&format!("backups/{node}")).await?;
        if let Some(id) = self.parents.iter().copied().find(|id| !manifests.contains_key(&manifest_name(node, *id))) {
            let needed_by = format!("backup {} was going to continue it", self.intent.id);
            return Err(Error::Missing { name: manifest_name(node, id), needed_by });
        }
        let marked = |id: &BackupId| tombs.contains_key(&tomb_name(node, *id));
        match self.parents.iter().copied().chain([self.intent.id]).find(marked) {
            Some(id) => Err(Error::Marked { id }),
            None => Ok(()),
        }
    }
}

pub(super) const DAY_MICROS: u64 = 86_400_000_000;

/// How long after `then` it is; nothing if the clock went back.
pub(super) const fn age(then: WallTime, now: WallTime) -> u64 {
    now.as_micros().saturating_sub(then.as_micros())
}

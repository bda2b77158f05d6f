//! The room as a whole, over stores in memory: what goes in comes out, what is damaged is named, and an end at any
//! operation leaves no half.

mod branches;
mod damage;
mod ends;
mod laws;
mod lives;
mod prunes;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::executor::block_on;
use object_store::ObjectStore;
use object_store::memory::InMemory;

use super::host::tests::Fixed;
use super::{
    BackupCompression, BackupId, BackupMetadata, BackupType, Catalogue, Cause, Created, Cut, Error, Fate, Level, Plan,
    Pruned, Pruning, Repository, Retention, Secret, Source, Span, Stretch, create, verify,
};
use crate::recovery::Upto;
use crate::types::{Chain, Hlc, Lsn, NodeId, Position, WallTime};
use crate::wal::Frame;

const NODE: NodeId = NodeId::from_u128(7);
const DAY: Duration = Duration::from_secs(86_400);

/// A log in memory: each chain's records, from the first that has not expired.
#[derive(Clone, Debug, Default)]
struct Log {
    store: u64,
    main: Vec<Frame>,
    events: Vec<Frame>,
    /// When it was looked at.
    seen: u64,
    /// Events that have expired.
    expired: usize,
}

impl Log {
    /// So many records of each chain; ten stand in a segment.
    fn of(main: usize, events: usize) -> Self {
        let mut log = Self { store: 99, ..Self::default() };
        log.grow(main, events);
        log
    }

    fn grow(&mut self, main: usize, events: usize) {
        (0..main).for_each(|_| self.main.push(frame(Chain::Main, self.main.len(), "a record of the main chain ")));
        (0..events).for_each(|_| self.events.push(frame(Chain::Events, self.events.len(), "an event ")));
    }

    fn chain(&self, chain: Chain) -> &[Frame] {
        match chain {
            Chain::Main => &self.main,
            Chain::Events => &self.events,
        }
    }

    fn upto(&self) -> Upto {
        Upto { main: Lsn::new(self.main.len() as u64), events: Lsn::new(self.events.len() as u64) }
    }

    /// What a restore up to there must give.
    fn expected(&self, upto: Upto) -> Vec<Frame> {
        let main = self.main.iter().filter(|frame| frame.lsn <= upto.main);
        let events = self.events.iter().skip(self.expired).filter(|frame| frame.lsn <= upto.events);
        main.chain(events).cloned().collect()
    }
}

fn frame(chain: Chain, at: usize, text: &str) -> Frame {
    let lsn = at as u64 + 1;
    let segment = (0..=at / 10).fold(chain.origin(), |segment, _| segment.next());
    let hlc = Hlc { wall: WallTime::from_micros(1_000_000 + lsn), logical: 3 };
    let payload = Bytes::from(format!("{}{lsn}", text.repeat(at % 5)));
    Frame { lsn: Lsn::new(lsn), kind: 3, hlc, position: Position { segment, offset: 0, len: 0 }, payload }
}

impl Source for Log {
    fn cut(&self) -> Result<Cut, Cause> {
        let span = |chain: Chain, expired: usize| {
            let frames = self.chain(chain);
            let begins = frames.get(expired).map_or_else(|| chain.origin().next(), |frame| frame.position.segment);
            Span { begins, first: Lsn::new(expired as u64 + 1), last: Lsn::new(frames.len() as u64), bytes: 1 }
        };
        let (main, events) = (span(Chain::Main, 0), span(Chain::Events, self.expired));
        let seen = WallTime::from_micros(self.seen.max(1));
        Ok(Cut { node: NODE, mesh: None, seen, timeline: 1, store: self.store, main, events })
    }

    fn frames(&self, chain: Chain, from: Lsn) -> Box<dyn Iterator<Item = Result<Frame, Cause>> + Send + '_> {
        let skip = if chain == Chain::Events { self.expired } else { 0 };
        Box::new(self.chain(chain).iter().skip(skip).filter(move |frame| frame.lsn >= from).cloned().map(Ok))
    }
}

/// A repository, its store and its host.
struct Bench {
    store: Arc<dyn ObjectStore>,
    host: Fixed,
    secret: Option<Secret>,
}

impl Bench {
    fn new() -> Self {
        Self { store: Arc::new(InMemory::new()), host: Fixed::new(1), secret: None }
    }

    fn try_open(&self) -> Result<Repository, Error> {
        let stretch = Stretch { memory_kib: 64, passes: 1 };
        block_on(Repository::open_or_make(Arc::clone(&self.store), "memory", self.secret.as_ref(), stretch, &self.host))
    }

    fn open(&self) -> Repository {
        self.try_open().unwrap()
    }

    fn later(&self, by: Duration) {
        self.host.micros.fetch_add(u64::try_from(by.as_micros()).unwrap(), Ordering::Relaxed);
    }

    fn try_create(&self, log: &Log, kind: BackupType, codec: BackupCompression) -> Result<Created, Error> {
        self.later(Duration::from_secs(60));
        block_on(create(&self.try_open()?, log, kind, codec, &self.host))
    }

    fn create(&self, log: &Log, kind: BackupType) -> BackupMetadata {
        let created = self.try_create(log, kind, BackupCompression::Zstd).unwrap();
        assert_eq!(created.promoted, None);
        created.metadata
    }

    fn catalogue(&self) -> Catalogue {
        block_on(Catalogue::read(&self.open(), NODE)).unwrap()
    }

    /// What a restore gives, up to there or in all.
    fn restore(&self, id: Option<BackupId>, upto: Option<Upto>) -> Result<Vec<Frame>, Error> {
        let repository = self.try_open()?;
        let mut catalogue = block_on(Catalogue::read(&repository, NODE))?;
        let id = match id {
            Some(id) => id,
            None => catalogue.newest_or_fault(super::Host::wall(&self.host))?,
        };
        let plan = Plan::of(&repository, &catalogue, id)?;
        let mut frames = Vec::new();
        let mut reading = block_on(plan.read(upto.unwrap_or_else(|| plan.all()), None))?;
        while let Some((_, more)) = block_on(reading.next(&self.host))? {
            frames.extend(more);
        }
        Ok(frames)
    }

    /// What verifying complains about.
    fn faults(&self, level: Level) -> Result<Vec<Error>, Error> {
        let repository = self.try_open()?;
        let catalogue = block_on(Catalogue::read(&repository, NODE))?;
        Ok(block_on(verify(&repository, catalogue, None, level, &self.host))?.faults)
    }

    fn plan_prune(&self, policy: Retention) -> Pruning {
        Pruning::plan(self.catalogue(), policy, &BTreeSet::new(), DAY, super::Host::wall(&self.host)).unwrap()
    }

    fn prune(&self, policy: Retention) -> Pruned {
        block_on(self.plan_prune(policy).run(&self.open(), &self.host)).unwrap()
    }
}

const KINDS: [BackupType; 3] = [BackupType::Full, BackupType::Incremental, BackupType::Differential];

#[test]
fn each_kind_and_codec_restores_what_a_full_one_does() {
    for codec in BackupCompression::ALL {
        for secret in [None, Some(Secret::KeyFile(vec![5; 32]))] {
            let bench = Bench { secret, ..Bench::new() };
            let mut log = Log::of(25, 12);
            let kinds = [0, 1, 1, 2, 1, 0, 2, 2].map(|kind| KINDS[kind]);
            for kind in kinds {
                let created = bench.try_create(&log, kind, codec).unwrap();
                assert_eq!((created.promoted, created.metadata.kind), (None, kind));
                assert_eq!(bench.restore(Some(created.metadata.id), None).unwrap(), log.expected(log.upto()));
                assert_eq!(bench.restore(None, None).unwrap(), log.expected(log.upto()));
                log.grow(7, 3);
            }
            assert!(bench.faults(Level::Content).unwrap().is_empty());
        }
    }
}

#[test]
fn what_a_backup_holds_is_what_is_new() {
    let bench = Bench::new();
    let mut log = Log::of(30, 0);
    bench.create(&log, BackupType::Full);
    log.grow(5, 4);
    let second = bench.create(&log, BackupType::Incremental);
    assert_eq!((second.main.first, second.main.count(), second.events.count()), (Lsn::new(31), 5, 4));
    let nothing = |kind| bench.try_create(&log, kind, BackupCompression::Zstd).unwrap();
    assert_eq!(
        (nothing(BackupType::Incremental).is_new, nothing(BackupType::Incremental).metadata),
        (false, second.clone())
    );
    let since = nothing(BackupType::Differential);
    assert_eq!((since.is_new, since.metadata.statistics.records), (true, 9));
    assert!(!nothing(BackupType::Differential).is_new, "the one before is one");
    assert!(nothing(BackupType::Full).is_new && !nothing(BackupType::Differential).is_new);
    assert_eq!(bench.restore(None, None).unwrap().len(), 39);
    let full = nothing(BackupType::Full).metadata;
    log.grow(1, 0);
    let since_full = bench.create(&log, BackupType::Differential);
    assert_eq!((since_full.main.first, since_full.parent.unwrap().id), (Lsn::new(36), full.id));
}

/// A peer whose schedule is incremental for ever: what is restored is read from few backups, and rules of retention can let go.
#[test]
fn no_chain_is_longer_than_its_bound() {
    let (bench, mut log) = (Bench::new(), Log::of(60, 4));
    let (mut longest, mut before, mut kinds) = (0, 0, std::collections::BTreeMap::new());
    for _ in 0..3 * create::LINKS_MAX {
        let made = bench.try_create(&log, BackupType::Incremental, BackupCompression::Zstd).unwrap();
        let chain = bench.catalogue().chain(made.metadata.id).unwrap().len();
        assert_eq!(made.promoted.is_some(), made.metadata.kind != BackupType::Incremental);
        if chain < before {
            assert!(made.promoted.is_some_and(|why| why.contains("24 are the most")));
        }
        *kinds.entry(made.metadata.kind.to_string()).or_insert(0) += 1;
        (before, longest) = (chain, longest.max(chain));
        log.grow(1, 0);
    }
    assert_eq!(longest, create::LINKS_MAX, "{kinds:?}");
    assert!(kinds["full"] + kinds.get("differential").copied().unwrap_or(0) >= 3, "{kinds:?}");
    bench.prune(Retention { last: 3, ..Retention::default() });
    bench.later(2 * DAY);
    assert!(bench.prune(Retention { last: 3, ..Retention::default() }).deleted > 20);
    assert!(bench.faults(Level::Content).unwrap().is_empty());
}

#[test]
fn any_record_of_either_chain_may_be_the_last() {
    let bench = Bench::new();
    let mut log = Log::of(12, 6);
    bench.create(&log, BackupType::Full);
    log.grow(9, 7);
    let id = bench.create(&log, BackupType::Incremental).id;
    for main in 0..=21 {
        for events in 0..=13 {
            let upto = Upto { main: Lsn::new(main), events: Lsn::new(events) };
            assert_eq!(bench.restore(Some(id), Some(upto)).unwrap(), log.expected(upto), "{upto:?}");
        }
    }
    let beyond = bench.restore(Some(id), Some(Upto { main: Lsn::new(22), events: Lsn::new(13) })).unwrap_err();
    assert!(beyond.to_string().contains("holds records 1 to 21"), "{beyond}");
}

#[test]
fn events_that_expired_between_two_backups_do_not_come_back() {
    let bench = Bench::new();
    let mut log = Log::of(3, 25);
    let full = bench.create(&log, BackupType::Full);
    log.expired = 20;
    log.grow(1, 3);
    let second = bench.create(&log, BackupType::Incremental);
    assert_eq!(bench.restore(Some(second.id), None).unwrap(), log.expected(log.upto()));
    // All of what the one before had is gone, and some that no backup saw.
    log.grow(0, 20);
    log.expired = 40;
    let third = bench.create(&log, BackupType::Incremental);
    assert_eq!((third.events.first, third.events.oldest), (Lsn::new(41), Lsn::new(41)));
    assert_eq!(bench.restore(Some(third.id), None).unwrap(), log.expected(log.upto()));
    assert_eq!(bench.restore(Some(full.id), None).unwrap().len(), 28);
    let gone = Upto { main: Lsn::new(4), events: Lsn::new(30) };
    assert!(matches!(bench.restore(Some(third.id), Some(gone)), Err(Error::OutOfRange { chain: Chain::Events, .. })));
}

#[test]
fn what_cannot_be_continued_becomes_a_full_backup_and_says_why() {
    let bench = Bench::new();
    let mut log = Log::of(10, 0);
    let made = |log: &Log| bench.try_create(log, BackupType::Incremental, BackupCompression::None).unwrap();
    let first = made(&log);
    assert_eq!(first.metadata.kind, BackupType::Full);
    assert!(first.promoted.unwrap().contains("no backup yet"));
    // It lost its end, and went on differently.
    log.main[9].payload = Bytes::from_static(b"another");
    assert!(made(&log).promoted.unwrap().contains("records up to 10"));
    log.main.truncate(8);
    assert!(made(&log).promoted.unwrap().contains("ends with record 8"));
    log.store = 100;
    assert!(made(&log).promoted.unwrap().contains("another store"));
}

/// Two in a row that no codec makes smaller are longer together than an object may be.
#[test]
fn the_longest_records_come_back() {
    let bench = Bench::new();
    let mut log = Log::of(5, 0);
    for frame in &mut log.main {
        frame.payload = Bytes::from(vec![u8::try_from(frame.lsn.value()).unwrap(); 15 << 20]);
    }
    bench.try_create(&log, BackupType::Full, BackupCompression::None).unwrap();
    assert_eq!(bench.restore(None, None).unwrap(), log.expected(log.upto()));
    assert!(bench.faults(Level::Content).unwrap().is_empty());
}

#[test]
fn who_gives_a_secret_writes_nothing_in_clear() {
    let mut bench = Bench::new();
    bench.create(&Log::of(3, 0), BackupType::Full);
    bench.secret = Some(Secret::Passphrase("correct horse battery".into()));
    let refused = bench.try_create(&Log::of(6, 0), BackupType::Full, BackupCompression::Zstd);
    assert!(matches!(refused, Err(Error::NotEncrypted { .. })));
}

#[test]
fn an_encrypted_repository_shows_nothing_without_its_secret() {
    let secret = Secret::Passphrase("correct horse battery".into());
    let mut bench = Bench { secret: Some(secret.clone()), ..Bench::new() };
    let log = Log::of(30, 5);
    bench.try_create(&log, BackupType::Full, BackupCompression::None).unwrap();
    let names = block_on(bench.open().store.list("")).unwrap();
    for object in names {
        let bytes = block_on(bench.open().store.read(&object.name, u64::MAX, "")).unwrap();
        assert!(!bytes.windows(9).any(|window| window == b"the main "), "{} shows a record", object.name);
    }
    bench.secret = Some(Secret::Passphrase("correct horse batterx".into()));
    assert!(matches!(bench.try_open(), Err(Error::WrongKey { .. })));
    bench.secret = None;
    // Checksums are for everybody.
    assert!(bench.faults(Level::Checksums).unwrap().is_empty());
    assert!(matches!(bench.faults(Level::Content), Err(Error::NoKey)));
    assert!(matches!(bench.restore(None, None), Err(Error::NoKey)));
    assert!(matches!(bench.try_create(&log, BackupType::Full, BackupCompression::None), Err(Error::NoKey)));
    bench.secret = Some(secret);
    assert_eq!(bench.restore(None, None).unwrap(), log.expected(log.upto()));
}

#[test]
fn prune_marks_waits_and_deletes_and_never_breaks_a_chain() {
    let bench = Bench::new();
    let mut log = Log::of(10, 0);
    let mut ids = Vec::new();
    for kind in [0, 1, 1, 0, 1].map(|kind| KINDS[kind]) {
        ids.push(bench.create(&log, kind).id);
        log.grow(3, 1);
        bench.later(DAY);
    }
    let policy = Retention { last: 1, ..Retention::default() };
    let plan = bench.plan_prune(policy);
    assert!(matches!(&plan.fates[&ids[3]], Fate::Keep { why, .. } if why[0].contains("continued by")));
    assert!(ids[..3].iter().all(|id| plan.fates[id] == Fate::Mark));
    assert_eq!(bench.prune(policy).marked, 3);
    assert!(matches!(bench.plan_prune(policy).fates[&ids[0]], Fate::Wait { .. }));
    // A marked backup is still whole, and is taken back when a rule wants it again.
    assert!(bench.faults(Level::Content).unwrap().is_empty());
    let more = Retention { last: 3, ..policy };
    assert_eq!(bench.prune(more).unmarked, 3);
    assert_eq!(bench.prune(policy).marked, 3);
    bench.later(DAY);
    let pruned = bench.prune(policy);
    assert_eq!((pruned.deleted, pruned.objects > 0), (3, true));
    assert_eq!(bench.catalogue().backups().map(|backup| backup.id).collect::<Vec<_>>(), ids[3..]);
    assert!(bench.faults(Level::Content).unwrap().is_empty());
    let left = block_on(bench.open().store.list("")).unwrap();
    assert!(left.iter().all(|object| ids[..3].iter().all(|id| !object.name.contains(&id.to_string()))), "{left:?}");
}

#[test]
fn nothing_is_built_on_what_is_marked() {
    let bench = Bench::new();
    let mut log = Log::of(10, 0);
    let first = bench.create(&log, BackupType::Full).id;
    log.grow(3, 0);
    let second = bench.create(&log, BackupType::Full).id;
    bench.prune(Retention { last: 1, ..Retention::default() });
    assert!(bench.catalogue().is_marked(first));
    log.grow(3, 0);
    assert_eq!(bench.create(&log, BackupType::Differential).parent.unwrap().id, second);
}

//! The live archive over a real node's log: what it says is in the repository is, chains stay short, and two of one identity are
//! not mixed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use object_store::memory::InMemory;
use oxigdal_ha::backup::{
    self, Archive, Archiving, BackupCompression, BackupType, Catalogue, Error, Host as _, Level, Repository, Stretch,
    Ticked,
};
use oxigdal_ha::recovery::target::Target;
use oxigdal_ha::recovery::{LOG_DIR, Source, Survey};
use oxigdal_ha::types::WallTime;
use oxigdal_ha::{events, node, wal};
use tempfile::TempDir;

use super::repository::{Clock, held};
use super::store::Faulty;
use super::{Docs, Life, Luck, ME, START, bounded};

pub(super) const SECOND: u64 = 1_000_000;
const GRACE: u64 = 30 * SECOND;

/// A data directory with its life, and a repository.
pub(super) struct Bench {
    pub(super) home: TempDir,
    pub(super) life: Life,
    pub(super) luck: Luck,
    pub(super) clock: Clock,
    pub(super) inner: Arc<InMemory>,
    pub(super) store: Faulty,
}

impl Bench {
    pub(super) fn new(seed: u64) -> Self {
        let home = TempDir::new().unwrap();
        let log = home.path().join("data").join(LOG_DIR);
        std::fs::create_dir_all(&log).unwrap();
        let (life, inner) = (Life::begin(&log, START, Vec::new()), Arc::new(InMemory::new()));
        let store = Faulty::over(Arc::clone(&inner), seed);
        Self { home, life, luck: Luck(seed), clock: Clock::at(START), inner, store }
    }

    pub(super) fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    pub(super) fn live(&mut self, times: u64) {
        (0..times).for_each(|_| self.life.live(&mut self.luck));
        let wall = self.life.wall.max(self.clock.0.load(Ordering::Relaxed));
        self.life.wall = wall;
        self.clock.0.store(wall, Ordering::Relaxed);
    }

    pub(super) fn later(&mut self, micros: u64) {
        let now = self.clock.0.fetch_add(micros, Ordering::Relaxed) + micros;
        self.life.wall = self.life.wall.max(now);
    }

    pub(super) async fn open(&self, store: &Faulty) -> Result<Repository, Error> {
        let store: Arc<dyn object_store::ObjectStore> = Arc::new(store.clone());
        let stretch = Stretch { memory_kib: 64, passes: 1 };
        Repository::open_or_make(store, "memory", None, stretch, &self.clock).await
    }

    pub(super) async fn archive(&self, dir: &Path, holder: &str, before: &[&str]) -> Result<Archive, Error> {
        self.archive_in(&self.store, dir, holder, before).await
    }

    pub(super) async fn archive_in(
        &self,
        store: &Faulty,
        dir: &Path,
        holder: &str,
        ended: &[&str],
    ) -> Result<Archive, Error> {
        Archive::begin(self.open(store).await?, self.how(dir, holder, &[], ended), &self.clock)
    }

    pub(super) fn how(&self, dir: &Path, holder: &str, before: &[&str], ended: &[&str]) -> Archiving {
        let lives = |lives: &[&str]| lives.iter().map(|&life| life.to_owned()).collect();
        Archiving {
            dir: dir.to_owned(),
            mesh: None,
            every_micros: SECOND,
            codec: BackupCompression::Zstd,
            grace_micros: GRACE,
            holder: holder.into(),
            before: lives(before),
            ended: lives(ended),
        }
    }

    pub(super) async fn catalogue(&self) -> Catalogue {
        Catalogue::read(&self.open(&self.store).await.unwrap(), ME).await.unwrap()
    }

    /// What a restore of the newest gives.
    pub(super) async fn restored(&self, name: &str) -> (Docs, u64) {
        let repository = self.open(&self.store).await.unwrap();
        let mut catalogue = Catalogue::read(&repository, ME).await.unwrap();
        let found = backup::find(&repository, &mut catalogue, &Target::Latest, false, &self.clock).await.unwrap();
        let into = self.home.path().join(name);
        backup::restore_into(&repository, &catalogue, &found, "a test".into(), &into, &self.clock).await.unwrap();
        let held = held(&into, self.clock.wall());
        std::fs::remove_dir_all(into).unwrap();
        held
    }

    pub(super) fn lived(&self) -> (Docs, u64) {
        let last = self.life.model.last().unwrap();
        (last.docs.clone(), last.events)
    }

    pub(super) async fn is_good(&self, what: &str) {
        let repository = self.open(&self.store).await.unwrap();
        let verified =
            backup::verify(&repository, self.catalogue().await, None, Level::Content, &self.clock).await.unwrap();
        assert!(verified.is_good(), "{what}: {:?}", verified.faults);
    }
}

/// The look that goes on from the last one sees what one from the beginning does.
#[test]
fn a_log_that_is_looked_at_again_is_seen_as_from_the_beginning() {
    let mut bench = Bench::new(5);
    let data = bench.data();
    let mut kept = backup::Directory::open(&data, None, bench.clock.wall()).unwrap();
    for step in 0..60 {
        let n = bench.luck.below(4);
        bench.live(n);
        let before = kept.known().clone();
        let grown = kept.renew(bench.clock.wall()).unwrap();
        let fresh = backup::Directory::open(&data, None, bench.clock.wall()).unwrap();
        assert_eq!(kept.known(), fresh.known(), "step {step}");
        let records = |cut: &backup::Cut| cut.main.last.value() + cut.events.last.value();
        assert_eq!(grown.records, records(kept.known()) - records(&before), "step {step}");
    }
    // It lost its end and went on differently, as a log that was put back does.
    let copy = bench.home.path().join("copy");
    copy_dir(&data, &copy);
    bench.live(4);
    kept.renew(bench.clock.wall()).unwrap();
    std::fs::remove_dir_all(&data).unwrap();
    copy_dir(&copy, &data);
    let mut life = Life::begin(&data.join(LOG_DIR), bench.life.wall + 5, Vec::new());
    (0..9).for_each(|_| life.live(&mut bench.luck));
    kept.renew(bench.clock.wall()).unwrap();
    let fresh = backup::Directory::open(&data, None, bench.clock.wall()).unwrap();
    assert_eq!(kept.known(), fresh.known());
}

pub(super) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.join(LOG_DIR)).unwrap();
    for entry in std::fs::read_dir(from.join(LOG_DIR)).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), to.join(LOG_DIR).join(entry.file_name())).unwrap();
    }
}

#[test]
fn what_is_archived_is_restored_and_chains_stay_short() {
    bounded(async {
        let mut bench = Bench::new(1);
        let mut archive = bench.archive(&bench.data(), "one", &[]).await.unwrap();
        let (mut longest, mut most) = (0, 0);
        for step in 0..90 {
            let idle = step % 7 == 3;
            bench.live(if idle { 0 } else { 2 });
            bench.later(SECOND);
            let ticked = archive.tick(&bench.clock).await.unwrap();
            assert_eq!(matches!(ticked, Ticked::Idle), idle && step > 0, "step {step}");
            let covered = archive.covered().unwrap();
            assert_eq!((covered.until, archive.behind().records), (bench.clock.wall(), 0));
            longest = longest.max(archive.links());
            if step % 15 == 14 {
                assert_eq!(bench.restored("back").await, bench.lived(), "step {step}");
                bench.is_good("while it is archived").await;
                most = most.max(bench.catalogue().await.backups().count());
            }
        }
        assert!(longest <= 3 * backup::FANOUT, "{longest} links");
        // What is replaced stays for the grace period, and the look for it comes as often.
        assert!(most < 90, "{most} backups are there at once");
        for _ in 0..5 {
            bench.later(GRACE + SECOND);
            archive.tick(&bench.clock).await.unwrap();
        }
        assert!(bench.catalogue().await.backups().count() <= 3 * backup::FANOUT);
        assert_eq!(bench.restored("back").await, bench.lived());
        bench.is_good("at the end").await;
    });
}

/// Backups that people take, and their rules, live beside it.
#[test]
fn backups_and_their_rules_live_beside_an_archive() {
    bounded(async {
        let mut bench = Bench::new(2);
        let mut archive = bench.archive(&bench.data(), "one", &[]).await.unwrap();
        let repository = bench.open(&bench.store).await.unwrap();
        let mut full = None;
        for step in 0..40 {
            bench.live(2);
            bench.later(10 * SECOND);
            archive.tick(&bench.clock).await.unwrap();
            if step == 12 {
                let directory = backup::Directory::open(&bench.data(), None, bench.clock.wall()).unwrap();
                let codec = BackupCompression::Zstd;
                let made =
                    backup::create(&repository, &directory, BackupType::Full, codec, &bench.clock).await.unwrap();
                full = Some(made.metadata.id);
            }
        }
        let catalogue = bench.catalogue().await;
        let tip = catalogue.newest(bench.clock.wall()).unwrap().id;
        let chain = catalogue.chain(tip).unwrap();
        assert_eq!(chain[0].id, full.unwrap(), "it went on behind the full backup that somebody took");
        let policy = backup::Retention { last: 1, ..backup::Retention::default() };
        let none = std::collections::BTreeSet::new();
        let plan =
            backup::Pruning::plan(catalogue, policy, &none, std::time::Duration::ZERO, bench.clock.wall()).unwrap();
        plan.run(&repository, &bench.clock).await.unwrap();
        assert_eq!(bench.restored("back").await, bench.lived());
        bench.is_good("after a prune").await;
    });
}

#[test]
fn two_of_one_identity_are_not_mixed() {
    bounded(async {
        let mut bench = Bench::new(3);
        bench.live(5);
        let copy = bench.home.path().join("copy");
        copy_dir(&bench.data(), &copy);
        let mut other_life = Life::begin(&copy.join(LOG_DIR), bench.life.wall + 1, bench.life.model.clone());
        let mut mine = bench.archive(&bench.data(), "mine", &[]).await.unwrap();
        let mut theirs = bench.archive(&copy, "theirs", &[]).await.unwrap();
        let refused = |error: Error| assert!(matches!(error, Error::Claimed { .. }), "{error}");
        let Ticked::Shipped(shared) = mine.tick(&bench.clock).await.unwrap() else { panic!("it is the first") };
        for _ in 0..30 {
            bench.live(1);
            other_life.live(&mut bench.luck);
            bench.later(3 * SECOND);
            mine.tick(&bench.clock).await.unwrap();
            refused(theirs.tick(&bench.clock).await.unwrap_err());
        }
        assert_eq!(bench.restored("back").await, bench.lived(), "theirs is nowhere in it");
        // The first one dies. The other waits until that is sure, and then a history of its own branches off.
        drop(mine);
        refused(theirs.tick(&bench.clock).await.unwrap_err());
        bench.later(60 * SECOND);
        let Ticked::Shipped(range) = theirs.tick(&bench.clock).await.unwrap() else { panic!("it holds other things") };
        assert_eq!(range.parent.map(|parent| parent.id), Some(shared.id), "it continues what both have in common");
        bench.is_good("two histories").await;
        // The one that ran in this very directory before has ended for certain: it is not waited for. Whoever was there finds out.
        let mut copied = bench.archive(&bench.data(), "copied", &["mine", "theirs"]).await.unwrap();
        copied.tick(&bench.clock).await.unwrap();
        other_life.live(&mut bench.luck);
        bench.later(SECOND);
        refused(theirs.tick(&bench.clock).await.unwrap_err());
        copied.tick(&bench.clock).await.unwrap();
        // In order: the word is taken back, and nobody need wait.
        copied.end(&bench.clock).await.unwrap();
        theirs.tick(&bench.clock).await.unwrap();
        bench.is_good("in the end").await;
    });
}

#[test]
fn a_store_that_was_away_is_caught_up_with_and_nothing_is_missing() {
    bounded(async {
        let mut bench = Bench::new(4);
        let mut archive = bench.archive(&bench.data(), "one", &[]).await.unwrap();
        archive.tick(&bench.clock).await.unwrap();
        let before = archive.covered().unwrap();
        bench.store.fail(1_000);
        for _ in 0..20 {
            bench.live(3);
            bench.later(10 * SECOND);
            archive.tick(&bench.clock).await.unwrap_err();
        }
        assert_eq!(archive.covered(), Some(before), "it does not say what is not so");
        assert!(archive.behind().records >= 60 && archive.behind().bytes > 0, "{:?}", archive.behind());
        bench.store.fail(0);
        archive.tick(&bench.clock).await.unwrap();
        assert_eq!((bench.restored("back").await, archive.behind().records), (bench.lived(), 0));
        bench.is_good("it is back").await;
        // At any time of the outage, too.
        let repository = bench.open(&bench.store).await.unwrap();
        let mut catalogue = bench.catalogue().await;
        for state in bench.life.model.iter().step_by(9) {
            let target = Target::Time(WallTime::from_micros(state.at));
            let found = backup::find(&repository, &mut catalogue, &target, false, &bench.clock).await.unwrap();
            let into = bench.home.path().join("then");
            backup::restore_into(&repository, &catalogue, &found, "a test".into(), &into, &bench.clock).await.unwrap();
            let expected = super::state_at(&bench.life.model, state.at, false).unwrap();
            assert_eq!(held(&into, bench.clock.wall()), (expected.docs.clone(), expected.events));
            std::fs::remove_dir_all(into).unwrap();
        }
    });
}

/// The process ends at each operation of the store: of a range, of one that stands for others, of the prune, of the end.
#[test]
fn an_archive_that_ends_at_any_operation_leaves_no_half_and_the_next_goes_on() {
    bounded(async {
        let mut bench = Bench::new(6);
        let mut archive = bench.archive(&bench.data(), "one", &[]).await.unwrap();
        for _ in 0..=backup::FANOUT {
            bench.live(1);
            bench.later(SECOND);
            archive.tick(&bench.clock).await.unwrap();
        }
        bench.live(2);
        let start = bench.clock.0.load(Ordering::Relaxed);
        for unheard in [false, true] {
            for operations in 0.. {
                let what = format!("after {operations} operations, unheard: {unheard}");
                bench.clock.0.store(start, Ordering::Relaxed);
                bench.store = Faulty::over(Arc::new(bench.inner.fork()), 1);
                let dying = bench.store.clone();
                dying.die_after(operations, unheard);
                let through = async {
                    let mut archive = bench.archive(&bench.data(), "two", &["one"]).await?;
                    archive.tick(&bench.clock).await?;
                    for _ in 0..2 {
                        bench.clock.0.fetch_add(GRACE + SECOND, Ordering::Relaxed);
                        archive.tick(&bench.clock).await?;
                    }
                    archive.end(&bench.clock).await
                };
                let done = through.await;
                let died = bench.store.is_dead();
                bench.store.fail(0);
                bench.is_good(&what).await;
                let mut archive = bench.archive(&bench.data(), "three", &["one", "two"]).await.unwrap();
                archive.tick(&bench.clock).await.unwrap();
                bench.is_good(&what).await;
                if operations % 8 == 0 || done.is_ok() {
                    assert_eq!(bench.restored("back").await, bench.lived(), "{what}");
                }
                if done.is_ok() && !died {
                    assert!(operations > 40, "{operations} operations");
                    break;
                }
            }
        }
    });
}

/// Restoring ends at each operation: there is no directory, or all of it.
#[test]
fn a_restore_that_ends_at_any_operation_leaves_nothing() {
    bounded(async {
        let mut bench = Bench::new(7);
        let mut archive = bench.archive(&bench.data(), "one", &[]).await.unwrap();
        for _ in 0..4 {
            bench.live(4);
            bench.later(SECOND);
            archive.tick(&bench.clock).await.unwrap();
        }
        for operations in 0.. {
            let dying = Faulty::over(Arc::clone(&bench.inner), 1);
            dying.die_after(operations, false);
            let into = bench.home.path().join("back");
            let through = async {
                let repository = bench.open(&dying).await?;
                let mut catalogue = Catalogue::read(&repository, ME).await?;
                let found = backup::find(&repository, &mut catalogue, &Target::Latest, false, &bench.clock).await?;
                backup::restore_into(&repository, &catalogue, &found, "a test".into(), &into, &bench.clock).await
            };
            if through.await.is_ok() {
                assert_eq!(held(&into, bench.clock.wall()), bench.lived());
                assert!(operations > 10);
                break;
            }
            assert!(!into.exists(), "after {operations} operations");
        }
    });
}

/// The repository is made, and its keys: the next one opens it, or makes it.
#[test]
fn a_repository_whose_making_ends_at_any_operation_can_be_made() {
    bounded(async {
        let clock = Clock::at(START);
        for unheard in [false, true] {
            for operations in 0.. {
                let inner = Arc::new(InMemory::new());
                let dying = Faulty::over(inner, 1);
                dying.die_after(operations, unheard);
                let secret = backup::Secret::KeyFile(vec![7; 40]);
                let stretch = Stretch { memory_kib: 64, passes: 1 };
                let open = async || {
                    let store: Arc<dyn object_store::ObjectStore> = Arc::new(dying.clone());
                    Repository::open_or_make(store, "memory", Some(&secret), stretch, &clock).await
                };
                let done = open().await.is_ok() && !dying.is_dead();
                dying.fail(0);
                let repository = open().await.unwrap();
                assert!(repository.is_encrypted() && repository.hurt().is_empty(), "after {operations} operations");
                let again = open().await.unwrap();
                assert_eq!((again.id(), again.hurt().len()), (repository.id(), 0));
                if done {
                    assert!(operations > 10);
                    break;
                }
            }
        }
    });
}

/// Of ranges that hold events alone the main chain says nothing: a moment among them is known by the events themselves.
#[test]
fn a_moment_among_events_alone_has_those_up_to_it() {
    bounded(async {
        let mut bench = Bench::new(6);
        bench.live(8);
        let mut archive = bench.archive(&bench.data(), "one", &[]).await.unwrap();
        archive.tick(&bench.clock).await.unwrap();
        let first = bench.life.model.len();
        for _ in 0..4 {
            bench.later(SECOND);
            bench.life.append();
            bench.later(SECOND);
            archive.tick(&bench.clock).await.unwrap();
        }
        let repository = bench.open(&bench.store).await.unwrap();
        let mut catalogue = bench.catalogue().await;
        for state in &bench.life.model[first..] {
            let target = Target::Time(WallTime::from_micros(state.at));
            let found = backup::find(&repository, &mut catalogue, &target, false, &bench.clock).await.unwrap();
            assert_eq!(found.upto.events.value(), state.events, "{found:?}");
        }
    });
}

/// What has expired in the log by the time that ranges are merged is had back still: they stay beside what is made of the others.
#[test]
fn what_expired_since_it_was_shipped_is_not_merged_away() {
    bounded(async {
        let mut bench = Bench::new(9);
        let retention = events::Retention { count: Some(6), ..Default::default() };
        let events = events::Config { retention, ..Default::default() };
        let config = node::Config { events, wal: wal::Config { segment_bytes: 600 }, ..Default::default() };
        let log = bench.data().join(LOG_DIR);
        std::fs::remove_dir_all(&log).unwrap();
        std::fs::create_dir_all(&log).unwrap();
        bench.life = Life::with(&log, START, Vec::new(), config);
        let mut archive = bench.archive(&bench.data(), "one", &[]).await.unwrap();
        let mut shipped = Vec::new();
        for _ in 0..70 {
            bench.life.append();
            bench.live(1);
            bench.later(SECOND);
            archive.tick(&bench.clock).await.unwrap();
            let newest = bench.catalogue().await.newest(bench.clock.wall()).unwrap().clone();
            shipped.push((bench.clock.wall(), newest.events.last));
        }
        for _ in 0..3 {
            bench.later(GRACE + SECOND);
            archive.tick(&bench.clock).await.unwrap();
        }
        let catalogue = bench.catalogue().await;
        let mut held = std::collections::BTreeSet::new();
        for backup in catalogue.backups() {
            held.extend(backup.events.first.value()..=backup.events.last.value());
        }
        let (_, last) = *shipped.last().unwrap();
        let gone: Vec<u64> = (1..=last.value()).filter(|lsn| !held.contains(lsn)).collect();
        assert!(gone.is_empty(), "events {gone:?} of {last} were shipped once and are in no backup now");
        assert!(catalogue.backups().count() < shipped.len(), "what is whole in the log still is merged");
        bench.is_good("at the end").await;
    });
}

/// Events that expire, and whose files go, while a backup reads them.
#[test]
fn what_expires_while_it_is_backed_up_is_read_to_its_end() {
    bounded(async {
        let mut bench = Bench::new(8);
        bench.live(20);
        (0..200).for_each(|_| bench.life.append());
        bench.live(0);
        let directory = backup::Directory::open(&bench.data(), None, bench.clock.wall()).unwrap();
        let source = Source::open(&bench.data()).unwrap();
        let survey = Survey::of(&source).unwrap();
        let events: Vec<&str> =
            survey.segments.iter().filter(|found| found.chain == "events").map(|found| found.file.as_str()).collect();
        assert!(events.len() > 2, "{events:?}");
        for file in &events[..events.len() - 1] {
            std::fs::remove_file(bench.data().join(LOG_DIR).join(file)).unwrap();
        }
        let repository = bench.open(&bench.store).await.unwrap();
        let codec = BackupCompression::Zstd;
        backup::create(&repository, &directory, BackupType::Full, codec, &bench.clock).await.unwrap();
        assert_eq!(bench.restored("back").await, bench.lived());
    });
}

/// The repository in `golden/` was written by version 0.1.0 and is never written again: what was backed up then is restored by every
/// later version. `OXIGDAL_HA_GOLDEN=DIR` writes one of this version, for when the format gets a new number.
#[test]
fn a_repository_that_an_earlier_version_wrote_is_restored() {
    bounded(async {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recovery_test/golden");
        if let Some(dir) = std::env::var_os("OXIGDAL_HA_GOLDEN") {
            write_golden(Path::new(&dir)).await;
        }
        // Opening it must not change it.
        let home = TempDir::new().unwrap();
        let copy = home.path().join("repository");
        copy_all(&golden.join("repository"), &copy);
        let secret = backup::Secret::KeyFile(vec![9; 32]);
        let location = backup::locate(copy.to_str().unwrap(), false).unwrap();
        let repository = Repository::open(location, "golden", Some(&secret)).await.unwrap();
        let clock = Clock::at(START + 100_000_000_000);
        let mut catalogue = Catalogue::read(&repository, ME).await.unwrap();
        let found = backup::find(&repository, &mut catalogue, &Target::Latest, false, &clock).await.unwrap();
        let into = home.path().join("back");
        backup::restore_into(&repository, &catalogue, &found, "a test".into(), &into, &clock).await.unwrap();
        let (docs, events) = held(&into, clock.wall());
        let docs: std::collections::BTreeMap<String, serde_json::Value> =
            docs.into_iter().map(|(doc, value)| (doc.to_string(), value)).collect();
        let expected = std::fs::read_to_string(golden.join("expected.json")).unwrap();
        let expected: serde_json::Value = serde_json::from_str(&expected).unwrap();
        assert_eq!(serde_json::json!({ "docs": docs, "events": events }), expected);
        let verified = backup::verify(&repository, catalogue, None, Level::Content, &clock).await.unwrap();
        assert!(verified.is_good() && verified.backups == 2, "{verified:?}");
    });
}

async fn write_golden(dir: &Path) {
    let mut bench = Bench::new(77);
    let location = backup::locate(dir.join("repository").to_str().unwrap(), true).unwrap();
    let secret = backup::Secret::KeyFile(vec![9; 32]);
    let stretch = Stretch { memory_kib: 64, passes: 1 };
    let repository = Repository::open_or_make(location, "golden", Some(&secret), stretch, &bench.clock).await.unwrap();
    for (kind, codec) in
        [(BackupType::Full, BackupCompression::Zstd), (BackupType::Incremental, BackupCompression::Gzip)]
    {
        bench.live(12);
        bench.later(SECOND);
        let directory = backup::Directory::open(&bench.data(), None, bench.clock.wall()).unwrap();
        backup::create(&repository, &directory, kind, codec, &bench.clock).await.unwrap();
    }
    let (docs, events) = bench.lived();
    let docs: std::collections::BTreeMap<String, serde_json::Value> =
        docs.into_iter().map(|(doc, value)| (doc.to_string(), value)).collect();
    let expected = serde_json::json!({ "docs": docs, "events": events });
    std::fs::write(dir.join("expected.json"), expected.to_string() + "\n").unwrap();
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_all(&path, &to);
        } else {
            std::fs::copy(path, to).unwrap();
        }
    }
}

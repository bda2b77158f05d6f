//! An end at each operation of the store: the process dies before it, or right after it before it hears the answer.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::AtomicU64;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, Result,
};

use super::*;

/// A store that does so many operations and then no more. What is done last is done; with `unheard` its answer is lost.
#[derive(Debug)]
struct Mortal {
    inner: Arc<dyn ObjectStore>,
    left: Arc<AtomicU64>,
    unheard: bool,
    /// Answers a create as if the object were there, and overwrites: as `rclone serve s3` does.
    liar: bool,
}

impl fmt::Display for Mortal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("mortal")
    }
}

fn dead() -> object_store::Error {
    object_store::Error::Generic { store: "mortal", source: "the process has died".into() }
}

impl Mortal {
    /// Whether the next operation is done, and whether its answer is heard.
    fn next(&self) -> (bool, bool) {
        let left = self.left.load(Ordering::Relaxed);
        self.left.store(left.saturating_sub(1), Ordering::Relaxed);
        (left > 0, left > 1 || !self.unheard)
    }

    async fn through<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        match self.next() {
            (false, _) => Err(dead()),
            (true, true) => work.await,
            (true, false) => work.await.and(Err(dead())),
        }
    }
}

#[async_trait::async_trait]
impl ObjectStore for Mortal {
    async fn put_opts(&self, at: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        if self.liar {
            options.mode = object_store::PutMode::Overwrite;
        }
        self.through(self.inner.put_opts(at, payload, options)).await
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.through(self.inner.get_opts(at, options)).await
    }

    async fn get_ranges(&self, at: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(at, ranges).await
    }

    fn delete_stream(&self, at: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.next() {
            (false, _) => futures::stream::once(async { Err(dead()) }).boxed(),
            (true, true) => self.inner.delete_stream(at),
            (true, false) => self.inner.delete_stream(at).map(|done| done.and(Err(dead()))).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.next() {
            (false, _) => futures::stream::once(async { Err(dead()) }).boxed(),
            (true, _) => self.inner.list(prefix),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.through(self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// The bench behind a store that dies after so many operations.
pub(super) fn mortal(bench: &Bench, operations: u64, unheard: bool, liar: bool) -> (Bench, Arc<AtomicU64>) {
    let left = Arc::new(AtomicU64::new(operations));
    let store = Mortal { inner: Arc::clone(&bench.store), left: Arc::clone(&left), unheard, liar };
    let host = Fixed::new(operations.wrapping_mul(2).wrapping_add(1_000_000));
    host.micros.store(bench.host.micros.load(Ordering::Relaxed), Ordering::Relaxed);
    (Bench { store: Arc::new(store), host, secret: None }, left)
}

/// Everything that is listed restores to what the log was, and verifying finds nothing.
fn is_whole(bench: &Bench, logs: &[&Log], what: &str) {
    assert_eq!(bench.faults(Level::Content).unwrap().len(), 0, "{what}: {:?}", bench.faults(Level::Content));
    for backup in bench.catalogue().backups() {
        let log = logs
            .iter()
            .find(|log| log.main.len() as u64 == backup.main.last.value())
            .expect("one of these was backed up");
        assert_eq!(bench.restore(Some(backup.id), None).unwrap(), log.expected(log.upto()), "{what}");
    }
}

/// Runs to its end at each operation, until it gets through.
fn sweep(liar: bool) {
    for unheard in [false, true] {
        for operations in 0.. {
            let what = format!("after {operations} operations, unheard: {unheard}");
            let bench = Bench::new();
            let before = Log::of(12, 4);
            let mut log = before.clone();
            log.grow(25, 9);
            if operations % 2 == 0 {
                bench.create(&before, BackupType::Full);
            }
            let (dying, left) = mortal(&bench, operations, unheard, liar);
            let done = dying.try_create(&log, BackupType::Incremental, BackupCompression::Zstd);
            if operations > 0 && operations % 2 == 0 {
                is_whole(&bench, &[&before, &log], &what);
            }
            bench.later(Duration::from_secs(600));
            // The next run goes on, whatever was left.
            let again = bench.try_create(&log, BackupType::Incremental, BackupCompression::Zstd).unwrap();
            is_whole(&bench, &[&before, &log], &what);
            let stored = again.metadata.statistics.resumed_objects;
            if done.is_ok() {
                assert_eq!(stored, 0);
                if left.load(Ordering::Relaxed) > 2 {
                    break;
                }
            }
        }
    }
}

#[test]
fn a_backup_that_ends_at_any_operation_leaves_no_half() {
    sweep(false);
}

#[test]
fn a_store_that_ignores_conditions_is_found_out_and_handled() {
    let bench = Bench::new();
    let (lied_to, _) = mortal(&bench, u64::MAX, false, true);
    assert!(!lied_to.open().capabilities().create, "it overwrites what is there");
    let mut log = Log::of(12, 4);
    let first = lied_to.create(&log, BackupType::Full);
    log.grow(5, 5);
    lied_to.create(&log, BackupType::Incremental);
    is_whole(&lied_to, &[&Log::of(12, 4), &log], "behind a liar");
    let name = super::super::repository::manifest_name(NODE, first.id);
    let other = block_on(lied_to.open().store.make(&name, Bytes::from_static(b"other")));
    assert!(matches!(other, Err(Error::Conflict { .. })), "{other:?}");
    sweep(true);
}

#[test]
fn an_interrupted_backup_is_taken_over_with_what_it_had_stored() {
    let bench = Bench::new();
    let mut log = Log::of(12, 4);
    bench.create(&log, BackupType::Full);
    log.grow(20, 8);
    // One object is stored, then another.
    for operations in [10, 13] {
        let (dying, _) = mortal(&bench, operations, false, false);
        dying.try_create(&log, BackupType::Incremental, BackupCompression::Zstd).unwrap_err();
        assert_eq!(bench.catalogue().pending().count(), 1, "each run goes on with the one before");
        log.grow(2, 1);
    }
    let before = log.clone();
    let last = bench.create(&log, BackupType::Incremental);
    assert!(last.statistics.resumed_objects > 0, "{last:?}");
    assert_eq!(bench.catalogue().pending().count(), 0);
    assert_eq!(bench.restore(None, None).unwrap(), before.expected(before.upto()));
    assert!(bench.faults(Level::Content).unwrap().is_empty());
}

#[test]
fn what_the_log_does_not_say_any_more_is_not_taken_over() {
    let bench = Bench::new();
    let mut log = Log::of(30, 0);
    bench.open();
    let (dying, _) = mortal(&bench, 9, false, false);
    dying.try_create(&log, BackupType::Full, BackupCompression::Zstd).unwrap_err();
    assert_eq!(bench.catalogue().pending().count(), 1);
    log.main[20].payload = Bytes::from_static(b"another");
    let made = bench.create(&log, BackupType::Full);
    assert_eq!(made.statistics.resumed_objects, 0);
    assert_eq!(bench.restore(None, None).unwrap(), log.expected(log.upto()));
}

#[test]
fn a_prune_that_ends_at_any_operation_leaves_no_half() {
    for unheard in [false, true] {
        for operations in 0.. {
            let what = format!("after {operations} operations, unheard: {unheard}");
            let bench = Bench::new();
            let first = Log::of(12, 4);
            let mut second = first.clone();
            second.grow(9, 2);
            bench.create(&first, BackupType::Full);
            bench.create(&second, BackupType::Incremental);
            let mut third = second.clone();
            third.grow(1, 1);
            bench.create(&third, BackupType::Full);
            let policy = Retention { last: 1, ..Retention::default() };
            bench.prune(policy);
            bench.later(2 * DAY);
            let plan = bench.plan_prune(policy);
            let (dying, left) = mortal(&bench, 9, false, false);
            let repository = dying.open();
            left.store(operations, Ordering::Relaxed);
            let done = block_on(plan.run(&repository, &dying.host));
            is_whole(&bench, &[&first, &second, &third], &what);
            bench.prune(policy);
            is_whole(&bench, &[&first, &second, &third], &what);
            assert_eq!(bench.catalogue().backups().count(), 1, "{what}");
            let names = block_on(bench.open().store.list("")).unwrap();
            assert!(!names.iter().any(|object| object.name.starts_with("tombs/")), "{what}: {names:?}");
            if done.is_ok() {
                break;
            }
        }
    }
}

#[test]
fn what_an_interrupted_run_left_is_swept_when_nobody_goes_on_with_it() {
    let bench = Bench::new();
    let mut log = Log::of(12, 4);
    bench.create(&log, BackupType::Full);
    log.grow(30, 8);
    let (dying, _) = mortal(&bench, 12, false, false);
    dying.try_create(&log, BackupType::Incremental, BackupCompression::Zstd).unwrap_err();
    assert_eq!(bench.catalogue().pending().count(), 1);
    let policy = Retention { last: 1, ..Retention::default() };
    assert_eq!(bench.prune(policy).deleted, 0);
    bench.later(15 * DAY);
    assert_eq!(bench.prune(policy).deleted, 1);
    assert_eq!(bench.catalogue().pending().count(), 0);
    is_whole(&bench, &[&Log::of(12, 4)], "swept");
}

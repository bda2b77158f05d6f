//! Who goes on with what is unfinished: only whose writer is over.

use super::ends::mortal;
use super::*;
use crate::backup::pending::SILENT_MICROS;

/// A backup of which one object is stored, by a writer of this life who is at it still.
fn unfinished(bench: &Bench, life: &'static str) -> Log {
    let mut log = Log::of(12, 4);
    bench.create(&log, BackupType::Full);
    log.grow(20, 8);
    let (mut writing, _) = mortal(bench, 11, false, false);
    writing.host.life = life;
    writing.try_create(&log, BackupType::Incremental, BackupCompression::Zstd).unwrap_err();
    assert_eq!(bench.catalogue().pending().count(), 1);
    log
}

#[test]
fn what_another_life_writes_is_left_to_it() {
    let bench = Bench::new();
    let log = unfinished(&bench, "another");
    let mine = bench.create(&log, BackupType::Incremental);
    assert_eq!(mine.statistics.resumed_objects, 0);
    let catalogue = bench.catalogue();
    assert!(catalogue.pending().all(|id| id != mine.id) && catalogue.pending().count() == 1);
    assert_eq!(bench.restore(Some(mine.id), None).unwrap(), log.expected(log.upto()));
    assert!(bench.faults(Level::Content).unwrap().is_empty());
}

#[test]
fn what_a_life_left_that_has_ended_is_gone_on_with_by_one_alone() {
    let mut bench = Bench::new();
    let log = unfinished(&bench, "another");
    bench.host.ended = vec!["another"];
    // One takes it over, and is at it still.
    let (mut taking, _) = mortal(&bench, 14, false, false);
    (taking.host.life, taking.host.ended) = ("a third", vec!["another"]);
    taking.try_create(&log, BackupType::Incremental, BackupCompression::Zstd).unwrap_err();
    assert_eq!(bench.catalogue().pending().count(), 1, "it goes on with what is there");
    let beside = bench.create(&log, BackupType::Incremental);
    assert_eq!(beside.statistics.resumed_objects, 0, "its writer is another one by now");
    bench.host.ended.push("a third");
    let mut log = log;
    log.grow(1, 0);
    bench.create(&log, BackupType::Incremental);
    assert!(bench.faults(Level::Content).unwrap().is_empty());
    let policy = Retention { last: 9, ..Retention::default() };
    bench.later(15 * DAY);
    bench.prune(policy);
    let left = block_on(bench.open().store.list("pending")).unwrap();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn what_has_been_silent_for_long_is_gone_on_with() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut bench = Bench::new();
    bench.store = super::super::locate(dir.path().to_str().unwrap(), true).unwrap().store;
    let log = unfinished(&bench, "another");
    let mut open = vec![dir.path().to_owned()];
    while let Some(next) = open.pop() {
        if next.is_dir() {
            open.extend(std::fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let file = std::fs::File::options().append(true).open(next).unwrap();
            let stored = file.metadata().unwrap().modified().unwrap();
            file.set_modified(stored - Duration::from_micros(SILENT_MICROS + 1_000_000)).unwrap();
        }
    }
    let made = bench.create(&log, BackupType::Incremental);
    assert!(made.statistics.resumed_objects > 0, "{made:?}");
    let left = block_on(bench.open().store.list("pending")).unwrap();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(bench.restore(Some(made.id), None).unwrap(), log.expected(log.upto()));
}

/// Whoever can write to a repository can put any name there.
#[test]
fn files_that_nobody_wrote_for_it_say_nothing_of_who_goes_on() {
    let mut bench = Bench::new();
    let log = unfinished(&bench, "another");
    let id = bench.catalogue().pending().next().unwrap();
    let folder = crate::backup::repository::takings_folder(NODE, id);
    for name in ["18446744073709551615", "00001001", "99999999", "+0000001", "1", "00000000", "0000000x"] {
        let path = object_store::path::Path::from(format!("{folder}/{name}.json"));
        block_on(object_store::ObjectStoreExt::put(&bench.store, &path, Bytes::from_static(b"x").into())).unwrap();
    }
    bench.host.ended = vec!["another"];
    let made = bench.create(&log, BackupType::Incremental);
    assert!(made.statistics.resumed_objects > 0, "{made:?}");
    let left = block_on(bench.open().store.list("pending")).unwrap();
    assert!(left.is_empty(), "{left:?}");
}

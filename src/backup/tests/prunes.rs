//! Prunes beside each other, what killed processes left, and the rights of what is made.

use std::os::unix::fs::PermissionsExt as _;

use super::super::locate;
use super::*;

/// Three full backups, of which the rule keeps one.
fn three() -> (Bench, Vec<BackupId>, Log) {
    let bench = Bench::new();
    let mut log = Log::of(10, 2);
    let mut ids = Vec::new();
    for _ in 0..3 {
        log.grow(3, 1);
        ids.push(bench.create(&log, BackupType::Full).id);
    }
    (bench, ids, log)
}

const ONE: Retention = Retention { last: 1, hourly: 0, daily: 0, weekly: 0, monthly: 0 };
const ALL: Retention = Retention { last: 9, ..ONE };

#[test]
fn two_prunes_at_once_do_the_work_once() {
    let (bench, ids, _) = three();
    let plans = [bench.plan_prune(ONE), bench.plan_prune(ONE)];
    bench.later(Duration::from_secs(1));
    let [first, second] = plans.map(|plan| {
        bench.later(Duration::from_secs(1));
        block_on(plan.run(&bench.open(), &bench.host)).unwrap()
    });
    assert_eq!([(first.marked, first.contended), (second.marked, second.contended)], [(2, 0), (0, 2)]);
    bench.later(DAY);
    let plans = [bench.plan_prune(ONE), bench.plan_prune(ONE)];
    let [first, second] = plans.map(|plan| block_on(plan.run(&bench.open(), &bench.host)).unwrap());
    assert_eq!((first.deleted, second.deleted), (2, 0));
    assert_eq!(bench.catalogue().backups().map(|backup| backup.id).collect::<Vec<_>>(), ids[2..]);
}

/// One wants to delete what the other takes back: whoever comes first wins, and the other one knows.
#[test]
fn a_mark_that_is_taken_back_keeps_its_backup_or_it_is_told() {
    let (bench, ids, log) = three();
    bench.prune(ONE);
    bench.later(DAY);
    let (deletes, keeps) = (bench.plan_prune(ONE), bench.plan_prune(ALL));
    assert_eq!(block_on(keeps.run(&bench.open(), &bench.host)).unwrap().unmarked, 2);
    let done = block_on(deletes.run(&bench.open(), &bench.host)).unwrap();
    assert_eq!((done.deleted, bench.catalogue().backups().count()), (0, 3));
    // The other has begun to delete.
    bench.prune(ONE);
    bench.later(DAY);
    let keeps = bench.plan_prune(ALL);
    let deleting = super::super::repository::deleting_name(NODE, ids[0]);
    block_on(bench.open().store.make(&deleting, Bytes::new())).unwrap();
    let told = block_on(keeps.run(&bench.open(), &bench.host)).unwrap_err();
    assert!(matches!(told, Error::Going { id } if id == ids[0]), "{told}");
    assert_eq!(bench.restore(Some(ids[2]), None).unwrap(), log.expected(log.upto()));
}

#[test]
fn a_local_repository_is_its_owners_alone_and_what_killed_runs_left_is_swept() {
    let home = tempfile::TempDir::new().unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let place = |name: &str| home.path().join(name).display().to_string();
    let host = Fixed::new(5);
    for (name, there) in [("new/repo", false), ("old", true)] {
        if there {
            std::fs::create_dir(home.path().join(name)).unwrap();
        }
        let location = locate(&place(name), true).unwrap();
        let repository = block_on(Repository::open_or_make(location, name, None, Stretch::default(), &host)).unwrap();
        let made =
            block_on(create(&repository, &Log::of(9, 3), BackupType::Full, BackupCompression::None, &host)).unwrap();
        let mut open = vec![home.path().join(name)];
        let mut files = 0;
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
                let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
                let is_dir = entry.metadata().unwrap().is_dir();
                assert_eq!(mode, if is_dir { 0o700 } else { 0o600 }, "{}", entry.path().display());
                files += usize::from(!is_dir);
                open.extend(is_dir.then(|| entry.path()));
            }
        }
        assert!(files >= 5);
        let object = home.path().join(name).join(&made.metadata.objects[0].key);
        let left = object.with_extension("oxb#1");
        std::fs::write(&left, "half").unwrap();
        std::fs::write(home.path().join(name).join("notes#1"), "not ours").unwrap();
        let catalogue = || block_on(Catalogue::read(&repository, NODE)).unwrap();
        let plan = |now: WallTime| {
            let plan = Pruning::plan(catalogue(), ONE, &BTreeSet::new(), DAY, now).unwrap();
            plan.with_left_over(&repository, DAY, now).unwrap()
        };
        assert_eq!(plan(WallTime::from_micros(1_000_000)).left_over, [], "somebody may be writing it");
        let plan = plan(WallTime::from_micros(u64::MAX));
        assert_eq!(plan.left_over.iter().map(|file| &file.path).collect::<Vec<_>>(), [&left.canonicalize().unwrap()]);
        assert_eq!(block_on(plan.run(&repository, &host)).unwrap().left_over, 1);
        assert!(!left.exists() && object.exists());
    }
}

#[test]
fn where_there_is_nothing_verifying_is_not_good() {
    let bench = Bench::new();
    bench.open();
    assert!(matches!(bench.faults(Level::Content), Err(Error::NoBackup { .. })));
}

/// The log's events go on expiring while it is interrupted: what was stored of the main chain is not stored again.
#[test]
fn a_full_backup_is_resumed_though_the_events_begin_later_now() {
    let bench = Bench::new();
    let mut log = Log::of(40, 30);
    bench.open();
    let (dying, _) = ends::mortal(&bench, 12, false, false);
    dying.try_create(&log, BackupType::Full, BackupCompression::Zstd).unwrap_err();
    assert_eq!(bench.catalogue().pending().count(), 1);
    log.expired = 20;
    log.grow(3, 3);
    let made = bench.create(&log, BackupType::Full);
    assert!(made.statistics.resumed_objects > 0, "{made:?}");
    assert_eq!(bench.restore(None, None).unwrap(), log.expected(log.upto()));
    assert!(bench.faults(Level::Content).unwrap().is_empty());
}

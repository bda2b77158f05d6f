//! Two histories of one log: neither passes for the newest, and a person says which one it is.

use super::damage::pointed;
use super::*;
use crate::backup::{Found, find};
use crate::recovery::target::Target;

fn found(bench: &Bench, target: &str) -> Result<Found, Error> {
    let target: Target = target.parse().unwrap();
    block_on(find(&bench.open(), &mut bench.catalogue(), &target, false, &bench.host))
}

/// A log goes on, and so does a copy of it.
fn copied() -> (Bench, Log, Log) {
    let (bench, mut log) = (Bench::new(), Log::of(12, 4));
    pointed(&mut log);
    bench.create(&log, BackupType::Full);
    let mut copy = log.clone();
    log.grow(1, 1);
    pointed(&mut log);
    bench.create(&log, BackupType::Incremental);
    for at in 12..14 {
        let wall = WallTime::from_micros(1_500_000 + at);
        let at = usize::try_from(at).unwrap();
        copy.main.push(Frame { hlc: Hlc { wall, logical: 0 }, ..frame(Chain::Main, at, "of the copy ") });
    }
    pointed(&mut copy);
    (bench, log, copy)
}

fn created(bench: &Bench, log: &Log, kind: BackupType) -> Created {
    bench.try_create(log, kind, BackupCompression::Zstd).unwrap()
}

#[test]
fn a_copy_of_a_log_does_not_pass_for_the_newest_history_of_its_node() {
    for kind in KINDS {
        let (bench, log, copy) = copied();
        let mine = bench.catalogue().backups().next_back().unwrap().id;
        let theirs = created(&bench, &copy, kind);
        assert_eq!(theirs.beside, [mine], "{kind}");
        let is_told = |error: Error| {
            let (told, theirs) = (error.to_string(), theirs.metadata.id.to_string());
            assert!(matches!(error, Error::Branches { .. }), "{told}");
            assert!(told.contains(&mine.to_string()) && told.contains(&theirs) && told.contains("lsn:14"), "{told}");
        };
        is_told(found(&bench, "latest").unwrap_err());
        is_told(found(&bench, "lsn:13").unwrap_err());
        is_told(bench.faults(Level::List).unwrap().remove(0));
        // What both have in common is no matter of opinion, and neither is what is named.
        assert_eq!(found(&bench, "lsn:12").unwrap().upto.main, Lsn::new(12));
        assert_eq!(found(&bench, &format!("backup:{mine}")).unwrap().upto.main, Lsn::new(13));
        // Both go on, in either way, and it stays so.
        let (mut log, mut copy) = (log, copy);
        for more in [BackupType::Incremental, BackupType::Full, BackupType::Incremental] {
            log.grow(2, 0);
            copy.grow(1, 1);
            pointed(&mut log);
            pointed(&mut copy);
            assert_eq!(created(&bench, &log, more).beside.len(), 1, "{kind} {more}");
            assert!(matches!(found(&bench, "latest"), Err(Error::Branches { .. })), "{kind} {more}");
            created(&bench, &copy, more);
            assert!(matches!(found(&bench, "latest"), Err(Error::Branches { .. })), "{kind} {more}");
        }
    }
}

#[test]
fn a_history_that_was_given_up_is_in_nobodys_way() {
    let (bench, log, copy) = copied();
    let mine = bench.catalogue().backups().next_back().unwrap().id;
    let theirs = created(&bench, &copy, BackupType::Incremental).metadata.id;
    let all = Retention { last: 9, ..Retention::default() };
    let now = super::super::Host::wall(&bench.host);
    let plan = Pruning::plan(bench.catalogue(), all, &[theirs].into(), DAY, now).unwrap();
    block_on(plan.run(&bench.open(), &bench.host)).unwrap();
    assert!(bench.faults(Level::List).unwrap().is_empty());
    let mut log = log;
    log.grow(1, 0);
    pointed(&mut log);
    let next = created(&bench, &log, BackupType::Incremental);
    assert_eq!((next.beside, next.metadata.parent.unwrap().id), (Vec::new(), mine));
    assert_eq!(found(&bench, "latest").unwrap().backup, next.metadata.id);
}

/// A copy whose schedule keeps one backup does not take away the last of its original.
#[test]
fn rules_of_one_history_let_no_other_go() {
    let (bench, log, mut copy) = copied();
    let mine = bench.catalogue().backups().next_back().unwrap().id;
    for _ in 0..4 {
        created(&bench, &copy, BackupType::Full);
        copy.grow(2, 0);
        pointed(&mut copy);
        bench.prune(Retention { last: 1, ..Retention::default() });
        bench.later(2 * DAY);
    }
    assert!(bench.prune(Retention { last: 1, ..Retention::default() }).deleted > 0);
    assert!(!bench.catalogue().is_marked(mine));
    assert_eq!(bench.restore(Some(mine), None).unwrap(), log.expected(log.upto()));
}

/// What was backed up twice over, in fulls and chains, is one history.
#[test]
fn parallel_chains_of_one_log_are_one_history() {
    let (bench, mut log) = (Bench::new(), Log::of(12, 4));
    for kind in [0, 1, 2, 1, 0, 2, 1].map(|kind| KINDS[kind]) {
        log.grow(3, 1);
        pointed(&mut log);
        assert_eq!(created(&bench, &log, kind).beside, []);
        assert_eq!(found(&bench, "latest").unwrap().upto, log.upto());
        assert!(!found(&bench, "lsn:2").unwrap().older_history);
    }
    assert!(bench.faults(Level::Content).unwrap().is_empty());
}

#[test]
fn a_time_that_only_an_abandoned_history_has_is_said_to_be_of_one() {
    let (bench, mut log) = (Bench::new(), Log::of(12, 4));
    pointed(&mut log);
    log.seen = 1_000_900;
    bench.later(Duration::from_secs(3_600));
    let first = bench.create(&log, BackupType::Full);
    // The log is replaced by one that was restored, under another store.
    let mut put_back = Log::of(5, 0);
    (put_back.store, put_back.seen) = (100, 2_000_100);
    let late = WallTime::from_micros(2_000_000);
    put_back.main.push(Frame { hlc: Hlc { wall: late, logical: 0 }, ..frame(Chain::Main, 5, "restored ") });
    pointed(&mut put_back);
    bench.create(&put_back, BackupType::Full);
    let at = |lsn: usize| crate::recovery::target::Stamp(log.main[lsn - 1].hlc.wall).to_string();
    let old = found(&bench, "lsn:9").unwrap();
    assert!(old.older_history && old.backup == first.id, "{old:?}");
    let old = found(&bench, &at(9)).unwrap();
    assert_eq!((old.upto.main, old.backup, old.older_history), (Lsn::new(9), first.id, true), "{old:?}");
    let refused = found(&bench, "lsn:99").unwrap_err().to_string();
    assert!(refused.contains(&format!("backup:{} (another one, up to lsn:12", first.id)), "{refused}");
}
